//! What one authentication scheme can say about a request.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::mtls::ClientCertificate;
use crate::model::{HolderKeys, KeyId, Subject};

/// The parts of a request that can have credentials.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'r> {
    /// Its header fields.
    pub headers: &'r HeaderMap,
    /// The certificate that the connection has proven, as far as the handshake goes.
    pub certificate: Option<&'r ClientCertificate>,
    /// Its method.
    pub method: &'r Method,
    /// The address that the caller has called, as far as that is certain; a proof of possession is for one.
    pub address: Option<&'r str>,
}

/// The authenticated subject, and the keys that it has proven to hold.
#[derive(Debug, Clone)]
pub struct Proven {
    /// The authenticated requester.
    pub subject: Arc<Subject>,
    /// A token that is made for it can be bound to these.
    pub holder: HolderKeys,
}

/// The answer of one scheme.
#[derive(Debug)]
pub enum Presented {
    /// The request has no credential of this kind.
    Nothing,
    /// It has one, and that is refused.
    Rejected(Refused),
    /// The request has a credential, and it is valid.
    Proven(Arc<Subject>),
}

impl Presented {
    /// The caller, if there was a credential.
    pub(super) fn proven(self) -> Result<Option<Arc<Subject>>, Refused> {
        match self {
            Self::Nothing => Ok(None),
            Self::Rejected(refused) => Err(refused),
            Self::Proven(subject) => Ok(Some(subject)),
        }
    }
}

impl From<Result<Arc<Subject>, Refused>> for Presented {
    fn from(result: Result<Arc<Subject>, Refused>) -> Self {
        match result {
            Ok(subject) => Self::Proven(subject),
            Err(refused) => Self::Rejected(refused),
        }
    }
}

/// The part of a refusal that the caller may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// Nothing was presented.
    Missing,
    /// The credential is not valid.
    Invalid,
    /// It was good once; said only after the credential has been proven genuine.
    Expired,
    /// The gateway cannot check it at the moment.
    Unavailable,
}

impl RefusedKind {
    /// The sentence for the caller.
    pub fn client_text(self) -> &'static str {
        match self {
            Self::Missing => "credentials are missing",
            Self::Invalid => "the credentials are not valid",
            Self::Expired => "the credentials have expired",
            Self::Unavailable => "credentials cannot be checked at the moment",
        }
    }
}

/// Why authentication failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a credential of kind `{method}` was refused: {reason}{}", .detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
pub struct Refused {
    /// `jwt`, `api_key`, or `none` when nothing was presented; a metric label.
    pub method: &'static str,
    /// The reason in one stable word; a metric label, for operators only.
    pub reason: &'static str,
    /// The text for the caller.
    pub client_text: &'static str,
    /// The same as a value, for the status code.
    pub kind: RefusedKind,
    /// More for the operator's log; never holds the credential.
    pub detail: Option<String>,
    /// The public id of the API key that was shown, when it has the form of one.
    pub key_id: Option<Arc<str>>,
}

impl Refused {
    pub(super) fn new(kind: RefusedKind, method: &'static str, reason: &'static str) -> Self {
        Self { method, reason, client_text: kind.client_text(), kind, detail: None, key_id: None }
    }

    /// A configured proxy wrote something in place of the client's address that is none.
    pub fn unreadable_proxy() -> Self {
        Self::invalid("none", "unreadable_proxy_header")
    }

    /// What was presented crossed a network in the clear, and may be in other hands by now.
    pub fn insecure_transport() -> Self {
        Self::invalid("none", "insecure_transport")
    }

    /// A browser that connects an account at a server is not the one that may.
    pub fn of_connection(reason: &'static str) -> Self {
        Self::invalid("connection", reason)
    }

    pub(super) fn invalid(method: &'static str, reason: &'static str) -> Self {
        Self::new(RefusedKind::Invalid, method, reason)
    }

    #[must_use]
    pub(super) fn of_key(mut self, id: &KeyId) -> Self {
        self.key_id = Some(id.shared());
        self
    }

    #[must_use]
    pub(super) fn because(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
}
