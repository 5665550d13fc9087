//! What one authentication scheme can say about a request.

use std::sync::Arc;

use crate::model::Subject;

/// The answer of one scheme.
#[derive(Debug)]
pub enum Presented {
    /// The request has no credential of this kind.
    Nothing,
    /// It has one, and that is refused.
    Rejected(Refused),
    /// It has one, and that proves who is calling.
    Proven(Arc<Subject>),
}

impl From<Result<Arc<Subject>, Refused>> for Presented {
    fn from(result: Result<Arc<Subject>, Refused>) -> Self {
        match result {
            Ok(subject) => Self::Proven(subject),
            Err(refused) => Self::Rejected(refused),
        }
    }
}

/// As much about a refusal as the caller may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// Nothing was presented.
    Missing,
    /// What was presented does not count.
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

/// Why nobody was authenticated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a credential of kind `{method}` was refused: {reason}{}", .detail.as_deref().map(|d| format!(" ({d})")).unwrap_or_default())]
pub struct Refused {
    /// `jwt`, `api_key`, or `none` when nothing was presented; a metric label.
    pub method: &'static str,
    /// The reason in one stable word; a metric label, for operators only.
    pub reason: &'static str,
    /// What the caller is told.
    pub client_text: &'static str,
    /// The same as a value, for the status code.
    pub kind: RefusedKind,
    /// More for the operator's log; never holds the credential.
    pub detail: Option<String>,
}

impl Refused {
    pub(super) fn new(kind: RefusedKind, method: &'static str, reason: &'static str) -> Self {
        Self { method, reason, client_text: kind.client_text(), kind, detail: None }
    }

    /// Whatever was presented crossed a network in the clear, and may be in other hands by now.
    pub fn insecure_transport() -> Self {
        Self::invalid("none", "insecure_transport")
    }

    pub(super) fn invalid(method: &'static str, reason: &'static str) -> Self {
        Self::new(RefusedKind::Invalid, method, reason)
    }

    #[must_use]
    pub(super) fn because(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
}
