//! The real provider as a process of its own.

use serde_json::json;

use crate::support::node::{Node, clients};

pub(crate) const CLIENT: &str = "caxton";
pub(crate) const SECRET: &str = "a-secret-of-the-test-0123456789abcdef";

pub(crate) struct Provider {
    pub(crate) issuer: String,
    _process: Node,
}

impl Provider {
    /// `None`, said aloud, where `tests/run` was never run; there and in CI it is a failure.
    pub(crate) async fn start(redirect_uri: &str) -> Option<Self> {
        if !clients().join("node_modules/oidc-provider").exists() {
            let must = ["CI", "CAXTON_TESTS"].iter().any(|name| std::env::var_os(name).is_some());
            assert!(!must, "the identity provider is not installed: run tests/run");
            eprintln!("skipped: run tests/run first");
            return None;
        }
        let process = Node::start("identity-provider.mjs", &json!({ "redirect_uri": redirect_uri })).await;
        Some(Self { issuer: process.said["issuer"].as_str().unwrap().to_owned(), _process: process })
    }
}
