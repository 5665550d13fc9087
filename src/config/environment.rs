//! The process environment: read once, here, and handed on as a value.

use std::collections::HashMap;

/// The variables of the environment. No `Debug`: they hold secrets.
#[derive(Default)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// What this process was started with. Names and values that are not UTF-8 count as not set.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// The variable `name`.
    pub fn read(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names of all variables that begin with `prefix`, in order.
    pub(super) fn names_with(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<_> =
            self.0.keys().map(String::as_str).filter(|name| name.starts_with(prefix)).collect();
        names.sort_unstable();
        names
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
