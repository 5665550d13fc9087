//! A value that must not be seen: it cannot be printed, serialised or cloned, and is wiped when dropped.
//!
//! ```compile_fail,E0277
//! let key = caxton::secret::Secret::new(String::from("hunter2"));
//! println!("{key:?}");
//! ```
//! ```compile_fail,E0599
//! let key = caxton::secret::Secret::new(String::from("hunter2"));
//! let copy = key.clone();
//! ```

mod address;

use zeroize::Zeroize;

pub use address::{Address, HiddenError};

/// Holds a secret; the only way to the value is [`Secret::expose`], which is easy to search for.
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one line that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
