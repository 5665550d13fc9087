//! The server's own secret in every key's hash: without it a stolen database of keys is worth nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use aws_lc_rs::hmac;
use zeroize::Zeroize as _;

use crate::authn::AuthnError;

const LENGTH: usize = 32;

/// Hashes keys.
pub(in crate::authn) struct Pepper(hmac::Key);

/// The stored hash of a key.
pub(in crate::authn) type KeyHash = [u8; 32];

impl Pepper {
    /// Reads the pepper, or makes one when `may_create` (there is no key yet that hangs on a lost one).
    pub(in crate::authn) fn open(path: &Path, may_create: bool) -> Result<Self, AuthnError> {
        let failed = |source| AuthnError::PepperFile { path: path.to_owned(), source };
        match Self::read(path) {
            Err(AuthnError::PepperFile { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if !may_create {
                    let reason = "it is missing, and the stored keys cannot be checked without it: restore it from the backup";
                    return Err(AuthnError::Pepper { path: path.to_owned(), reason });
                }
                create(path)?.map_err(failed)?;
                Self::read(path)
            }
            result => result,
        }
    }

    fn read(path: &Path) -> Result<Self, AuthnError> {
        let failed = |source| AuthnError::PepperFile { path: path.to_owned(), source };
        let refuse = |reason| AuthnError::Pepper { path: path.to_owned(), reason };
        let mut file = crate::regular::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(refuse("others than its owner may read or write it: set its mode to 0600"));
        }
        let mut bytes = [0; LENGTH + 1];
        let mut length = 0;
        while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read(rest).map_err(failed)? {
                0 => break,
                count => length += count,
            }
        }
        let key = bytes
            .get(..LENGTH)
            .filter(|_| length == LENGTH)
            .map(|key| hmac::Key::new(hmac::HMAC_SHA256, key));
        bytes.zeroize();
        key.map(Self).ok_or_else(|| refuse("it does not have 32 bytes"))
    }

    pub(in crate::authn) fn hash(&self, key_text: &str) -> KeyHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, key_text.as_bytes()).as_ref());
        hash
    }
}

/// Writes a temporary file and links it into place: a second process finds the whole pepper of the first.
fn create(path: &Path) -> Result<io::Result<()>, AuthnError> {
    let mut bytes = [0_u8; LENGTH];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthnError::Random)?;
    let result = link_into_place(path, &bytes);
    bytes.zeroize();
    Ok(result)
}

fn link_into_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let draft = path.with_extension(format!("new-{}", uuid::Uuid::now_v7().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let linked =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}
