//! Where things are: files, directories, addresses.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::{ReadContext, ValueType};
use crate::config::document::Node;
use crate::config::problem::ProblemCode;
use crate::secret::Address;

/// A directory; when `must_exist` is false it is made when needed.
pub(in crate::config) struct DirectoryPath {
    pub(in crate::config) must_exist: bool,
}

impl ValueType for DirectoryPath {
    type Value = PathBuf;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<PathBuf> {
        let (path, shown) = path(node, scope)?;
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Some(path),
            Ok(_) => {
                scope.reject(node, ProblemCode::MissingFile, format!("`{shown}` is not a directory"), "")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.must_exist => Some(path),
            Err(error) => absent(node, scope, &path, &shown, &error),
        }
    }

    fn show(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn type_name(&self) -> String {
        String::from(if self.must_exist { "directory that exists" } else { "directory" })
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A file; when `must_exist` is false it is made when needed.
pub(in crate::config) struct FilePath {
    pub(in crate::config) must_exist: bool,
}

impl ValueType for FilePath {
    type Value = PathBuf;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<PathBuf> {
        let (path, shown) = path(node, scope)?;
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => Some(path),
            Ok(_) => scope.reject(node, ProblemCode::MissingFile, format!("`{shown}` is not a file"), ""),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.must_exist => Some(path),
            Err(error) => absent(node, scope, &path, &shown, &error),
        }
    }

    fn show(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn type_name(&self) -> String {
        String::from(if self.must_exist { "file that exists" } else { "file" })
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A relative path is taken from the directory of the configuration file.
fn path(node: &Node, scope: &mut ReadContext<'_>) -> Option<(PathBuf, String)> {
    let word = scope.word(node, "a path")?;
    if word.text.is_empty() || word.text.len() > 4_096 || word.text.contains(char::is_control) {
        return scope.reject(node, ProblemCode::OutOfRange, "is not a path", "");
    }
    Some((scope.base.join(Path::new(&word.text)), word.shown))
}

fn absent<T>(
    node: &Node,
    scope: &mut ReadContext<'_>,
    path: &Path,
    shown: &str,
    error: &std::io::Error,
) -> Option<T> {
    let (message, help) = match error.kind() {
        std::io::ErrorKind::NotFound if path.is_relative() => {
            (format!("`{shown}` does not exist"), "a relative path is taken from the directory of this file")
        }
        std::io::ErrorKind::NotFound => (format!("`{shown}` does not exist"), "make it, or correct the path"),
        _ => {
            (format!("`{shown}` cannot be looked at: {error}"), "check the owner and mode of its directories")
        }
    };
    let rejected = scope.reject(node, ProblemCode::MissingFile, message, help);
    if error.kind() == std::io::ErrorKind::NotFound
        && let Some(problem) = scope.problems.last_mut()
    {
        problem.absent = Some(path.to_owned());
    }
    rejected
}

/// An `https` address; `http` only to this host, or where that is offered with `security.allow_weakened`.
pub(in crate::config) struct HttpsUrl {
    pub(in crate::config) may_weaken: bool,
}

impl ValueType for HttpsUrl {
    type Value = Address;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Address> {
        let address = address(node, scope)?;
        let url = address.expose();
        if url.scheme() == "http" && !is_loopback(url) && !(self.may_weaken && scope.weakened) {
            let help = match self.may_weaken {
                true => {
                    "write an `https` address; for a trusted network, set `security.allow_weakened: true`"
                }
                false => "write an `https` address, or put a proxy that speaks `https` on this host",
            };
            let message = "credentials and data would cross the network in the clear";
            return scope.reject(node, ProblemCode::Weakens, message, help);
        }
        Some(address)
    }

    fn show(&self, value: &Address) -> String {
        value.to_string()
    }

    fn type_name(&self) -> String {
        String::from("`https` address (`http` to this host)")
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^https?://|\\$\\{" })
    }
}

/// An `http` or `https` address of something that is signed, so that it cannot be changed on the way.
pub(in crate::config) struct SignedUrl;

impl ValueType for SignedUrl {
    type Value = Address;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Address> {
        address(node, scope)
    }

    fn show(&self, value: &Address) -> String {
        HttpsUrl { may_weaken: false }.show(value)
    }

    fn type_name(&self) -> String {
        String::from("`http` or `https` address")
    }

    fn schema(&self) -> Json {
        HttpsUrl { may_weaken: false }.schema()
    }
}

/// A web origin: scheme, host, port, and nothing else.
pub(in crate::config) struct WebOrigin;

impl ValueType for WebOrigin {
    type Value = String;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<String> {
        let address = address(node, scope)?;
        let url = address.expose();
        if url.path() != "/" || url.query().is_some() {
            return scope.reject(
                node,
                ProblemCode::WrongType,
                "is more than an origin",
                "write scheme, host and port only, such as `https://app.example.com`",
            );
        }
        Some(url.origin().ascii_serialization())
    }

    fn show(&self, value: &String) -> String {
        value.clone()
    }

    fn type_name(&self) -> String {
        String::from("origin, such as `https://app.example.com`")
    }

    fn schema(&self) -> Json {
        json!({ "type": "string", "pattern": "^https?://[^/]+$|\\$\\{" })
    }
}

fn address(node: &Node, scope: &mut ReadContext<'_>) -> Option<Address> {
    let word = scope.word(node, "an address")?;
    let help = "write an address such as `https://host.example.com/path`";
    let Ok(url) = reqwest::Url::parse(&word.text) else {
        return scope.reject(node, ProblemCode::WrongType, "is not an address", help);
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return scope.reject(node, ProblemCode::WrongType, "is not a web address", help);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return scope.reject(
            node,
            ProblemCode::WrongType,
            "has a user name or password inside",
            "addresses are logged: give credentials in a header or a secret key",
        );
    }
    if url.fragment().is_some() {
        return scope.reject(node, ProblemCode::WrongType, "has a fragment (`#…`)", help);
    }
    Some(Address::of_template(url, &word.masked))
}

pub(in crate::config) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
