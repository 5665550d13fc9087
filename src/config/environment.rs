//! The process environment: read once, here, and handed on as a value.

use std::collections::HashMap;
use std::sync::Arc;

use crate::secret::Secret;

/// The variables of the environment, and secrets that were fetched for it. No `Debug`: they hold secrets.
#[derive(Default)]
pub struct Environment {
    variables: Arc<HashMap<String, String>>,
    secrets: HashMap<String, Secret<String>>,
}

impl Environment {
    /// What this process was started with. Names and values that are not UTF-8 count as not set.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    /// The same with secrets, which come before variables of their names.
    #[must_use]
    pub fn with_secrets(&self, secrets: Vec<(String, Secret<String>)>) -> Self {
        Self { variables: Arc::clone(&self.variables), secrets: secrets.into_iter().collect() }
    }

    /// The secret `name`.
    pub(super) fn secret(&self, name: &str) -> Option<&str> {
        self.secrets.get(name).map(|secret| secret.expose().as_str())
    }

    /// The variable `name`.
    pub fn read(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The names of all variables that begin with `prefix`, in order.
    pub(super) fn names_with(&self, prefix: &str) -> Vec<&str> {
        let mut names: Vec<_> =
            self.variables.keys().map(String::as_str).filter(|name| name.starts_with(prefix)).collect();
        names.sort_unstable();
        names
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables: Arc::new(variables), secrets: HashMap::new() }
    }
}
