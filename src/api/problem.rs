//! What a caller learns when a request fails: RFC 9457 problem details, and never more about the policy than the
//! caller may know. The only place that knows status codes.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::attributes::AttributesError;
use crate::authn::oauth2::LoginError;
use crate::authn::{Refused, RefusedKind};
use crate::authz::Denied;
use crate::blocking;
use crate::changes::{ReloadError, SourceError};
use crate::credentials::CredentialError;
use crate::memory::{Fault, MemoryError};
use crate::messages::MessageError;
use crate::model::{DecisionId, Outcome, ReasonCode};
use crate::policy::version::VersionError;
use crate::runtime::EffectError;
use crate::shared_state::{ConversationLimit, Unavailable};
use crate::tools::{ConnectionError, ToolError};

/// An `application/problem+json` answer.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: Box<str>,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_id: Option<DecisionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip)]
    retry_after: Option<Duration>,
    #[serde(skip)]
    headers: Option<Box<HeaderMap>>,
    /// Of a 401: something was presented, and `detail` says in a fixed sentence what is wrong with it.
    #[serde(skip)]
    presented: bool,
}

impl Problem {
    /// A problem of one of the kinds below; `name` is the last part of its `type`.
    fn new(status: StatusCode, name: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:caxton:problem:{name}").into(),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            decision_id: None,
            reason: None,
            retry_after: None,
            headers: None,
            presented: false,
        }
    }

    /// 400: not well formed.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 422: well formed and not acceptable.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    /// 401.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 401 for credentials that were presented and do not count.
    pub fn refused(detail: &'static str) -> Self {
        let mut problem = Self::unauthenticated(detail);
        problem.presented = true;
        problem
    }

    /// The answer to credentials that do not count, the same for every reason.
    pub(super) fn of_refusal(refused: &Refused) -> Self {
        match refused.kind {
            RefusedKind::Unavailable => Self::unavailable(refused.client_text),
            RefusedKind::Missing => Self::unauthenticated(refused.client_text),
            RefusedKind::Invalid | RefusedKind::Expired => Self::refused(refused.client_text),
        }
    }

    /// 403 for a browser page that may not call.
    pub fn origin() -> Self {
        Self::new(StatusCode::FORBIDDEN, "origin", "requests from this origin are not accepted")
    }

    /// 403 for credentials that crossed a network in the clear.
    pub fn tls_required() -> Self {
        Self::new(StatusCode::FORBIDDEN, "tls-required", "credentials are accepted over TLS only")
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 405.
    pub fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "method not allowed for this path")
    }

    /// 406.
    pub fn not_acceptable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail)
    }

    /// 403 for a name of this host under which it is not to be called.
    pub fn host() -> Self {
        Self::new(StatusCode::FORBIDDEN, "host", "requests to this host name are not accepted")
    }

    /// 409.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("at most {limit} bytes are accepted"))
    }

    /// 415.
    pub fn media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "send `Content-Type: application/json`")
    }

    /// 415 for a coded body; the field says which codings are taken (RFC 9110, section 12.5.3).
    pub fn coding() -> Self {
        let detail = "send the body without `Content-Encoding`: compressed bodies are not read";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", detail)
            .with_headers([(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))])
    }

    /// 408.
    pub fn timeout() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long")
    }

    /// 500: our fault; the log has the rest.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error; the gateway's log has the cause",
        )
    }

    /// 503.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
    }

    /// 503 for now.
    pub(super) fn busy(detail: impl Into<String>, retry_after: Duration) -> Self {
        let mut problem = Self::unavailable(detail);
        problem.retry_after = Some(retry_after);
        problem
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn limited(detail: impl Into<String>, retry_after: Duration) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail);
        problem.retry_after = Some(retry_after);
        problem
    }

    /// With more header fields in the answer.
    pub(super) fn with_headers(
        mut self,
        fields: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        let headers = self.headers.get_or_insert_default();
        fields.into_iter().for_each(|(name, value)| _ = headers.append(name, value));
        self
    }

    fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    fn of_decision(mut self, decision: DecisionId) -> Self {
        self.decision_id = Some(decision);
        self
    }

    /// With a further sentence.
    pub(super) fn add_detail(&mut self, more: &str) {
        self.detail.push_str(more);
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn decision(&self) -> Option<DecisionId> {
        self.decision_id
    }

    /// What to tell a model that made the call: one line.
    pub(super) fn line(&self) -> String {
        match self.decision_id {
            Some(decision) => format!("{} (decision {decision})", self.detail),
            None => self.detail.clone(),
        }
    }

    /// The machine-readable part of an error inside another protocol.
    pub(super) fn data(&self) -> serde_json::Value {
        let mut data = serde_json::json!({ "status": self.status });
        if let Some(fields) = data.as_object_mut() {
            if let Some(decision) = self.decision_id {
                fields.insert("decision_id".to_owned(), decision.to_string().into());
            }
            if let Some(reason) = self.reason {
                fields.insert("reason".to_owned(), reason.into());
            }
            if let Some(after) = self.retry_after {
                fields.insert("retryAfterSeconds".to_owned(), whole_seconds(after).into());
            }
        }
        data
    }
}

/// RFC 6750, section 3. The error word is left out when nothing was presented.
fn challenge(error: Option<&String>) -> HeaderValue {
    let error = error.and_then(|said| {
        let text = format!("Bearer realm=\"caxton\", error=\"invalid_token\", error_description=\"{said}\"");
        HeaderValue::from_str(&text).ok()
    });
    error.unwrap_or(HeaderValue::from_static("Bearer realm=\"caxton\""))
}

/// `Retry-After` counts whole seconds (RFC 9110, section 10.2.3); rounded up, so that the caller is not early.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, challenge(self.presented.then_some(&self.detail)));
        }
        for (name, value) in self.headers.iter().flat_map(|more| more.iter()) {
            headers.append(name, value.clone());
        }
        response
    }
}

/// What a caller learns when a port of the shared state cannot be asked.
const STATE_UNAVAILABLE: &str = "state that decisions depend on is not available at the moment; retry later";

impl From<Unavailable> for Problem {
    fn from(why: Unavailable) -> Self {
        why.report();
        Self { reason: Some(ReasonCode::StateUnavailable.as_str()), ..Self::unavailable(STATE_UNAVAILABLE) }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        if denied.reason == ReasonCode::StateUnavailable {
            let mut problem = Self::unavailable(STATE_UNAVAILABLE);
            problem.reason = Some(denied.reason.as_str());
            problem.decision_id = denied.decision;
            return problem;
        }
        if denied.reason == ReasonCode::AuditUnavailable {
            let mut problem = Self::unavailable("decisions cannot be recorded at the moment");
            problem.reason = Some(ReasonCode::AuditUnavailable.as_str());
            return problem;
        }
        if denied.reason == ReasonCode::LabelsFull {
            let mut problem = Self::new(
                StatusCode::FORBIDDEN,
                "denied",
                "this session has reached the limit of data labels; start a new session",
            );
            problem.reason = Some(denied.reason.as_str());
            problem.decision_id = denied.decision;
            return problem;
        }
        if denied.reason == ReasonCode::AttributesUnavailable {
            let mut problem = Self::unavailable("entity attributes are missing or too old; retry later");
            problem.reason = Some(denied.reason.as_str());
            problem.decision_id = denied.decision;
            return problem;
        }
        let mut problem = match (denied.outcome, denied.retry_after) {
            (Outcome::Limited, wait) => {
                Self::limited("too many requests", wait.unwrap_or(Duration::from_secs(1)))
            }
            _ if denied.reason == ReasonCode::ReceiverUnknown => {
                Self::not_found("no agent provides this capability")
            }
            _ => {
                let text = denied.caller_text.as_deref().unwrap_or("this is not allowed");
                Self::new(StatusCode::FORBIDDEN, "denied", text)
            }
        };
        problem.decision_id = denied.decision;
        problem
    }
}

impl From<blocking::Stopped> for Problem {
    fn from(_: blocking::Stopped) -> Self {
        Self::internal()
    }
}

impl From<AttributesError> for Problem {
    fn from(error: AttributesError) -> Self {
        match error {
            AttributesError::Json(fault) => Self::malformed(fault.to_string()),
            AttributesError::Unknown(_) => Self::not_found(error.to_string()),
            error if error.is_of_request() => Self::invalid(error.to_string()),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store of attributes failed");
                Self::internal()
            }
        }
    }
}

/// A change of the policies that was refused. Who may change them may know why; what the system said stays in the log.
impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        let detail = error.to_string();
        match error {
            ReloadError::Locked(_) => Self::new(StatusCode::LOCKED, "locked", detail),
            ReloadError::NoStore | ReloadError::MustBeSigned => {
                Self::new(StatusCode::CONFLICT, "not-here", detail)
            }
            ReloadError::Policies(_)
            | ReloadError::Agents(_)
            | ReloadError::Pins(_)
            | ReloadError::Keys(_) => Self::invalid(detail),
            ReloadError::Source(SourceError::Version(error)) => match error {
                VersionError::NotFound(_) | VersionError::Empty(_) => Self::not_found(detail),
                VersionError::Replayed { .. } | VersionError::Raced(_) => {
                    Self::new(StatusCode::CONFLICT, "changed", detail)
                }
                VersionError::Io { .. } => Self::internal(),
                _ => Self::invalid(detail),
            },
            ReloadError::Slow(_) => Self::unavailable(detail),
            ReloadError::Unrecorded => Self::unavailable("changes cannot be recorded at the moment"),
            ReloadError::Source(SourceError::Files(_))
            | ReloadError::LockedFile(_)
            | ReloadError::Remember(_)
            | ReloadError::Stopped => Self::internal(),
        }
    }
}

impl From<MessageError> for Problem {
    fn from(error: MessageError) -> Self {
        let detail = error.to_string();
        match error {
            MessageError::TooLong { limit, .. } => Self::too_large(limit),
            MessageError::Limit(ConversationLimit::ConversationFull { .. }) => Self::invalid(detail),
            MessageError::Limit(ConversationLimit::TooMany { .. }) => {
                Self::limited(detail, Duration::from_secs(60))
            }
            MessageError::Limit(ConversationLimit::Busy) => Self::unavailable(detail),
            MessageError::Unavailable(why) => why.into(),
        }
    }
}

impl From<MemoryError> for Problem {
    fn from(error: MemoryError) -> Self {
        let detail = error.to_string();
        match (error.fault(), &error) {
            (Fault::Caller, MemoryError::NoSuchRow(_)) => Self::not_found(detail),
            (Fault::Caller, MemoryError::Changed(_)) => Self::new(StatusCode::CONFLICT, "changed", detail),
            (Fault::Caller, _) => Self::invalid(detail),
            (Fault::Load, _) => Self::unavailable(detail),
            (Fault::Operator, _) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the memory failed");
                Self::internal()
            }
        }
    }
}

impl From<CredentialError> for Problem {
    fn from(error: CredentialError) -> Self {
        let detail = error.to_string();
        match error {
            CredentialError::NoKey | CredentialError::NoSession => Self::invalid(detail),
            CredentialError::NoSuchKey => Self::not_found(detail),
            CredentialError::Gone => Self::unauthenticated("the credentials are not valid"),
            CredentialError::Mismatch | CredentialError::Store(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "credentials could not be changed");
                Self::internal()
            }
        }
    }
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        let detail = error.to_string();
        match error {
            LoginError::NotOffered => Self::not_found(detail),
            LoginError::ProviderDown => Self::busy(detail, Duration::from_secs(10)),
            LoginError::Busy => Self::busy(detail, Duration::from_secs(30)),
            LoginError::Parameter(_) => Self::malformed(detail),
            LoginError::Pending => Self::malformed(detail).because("authorization_pending"),
            LoginError::SlowDown => Self::malformed(detail).because("slow_down"),
            LoginError::Refused(refused) => Self::of_refusal(&refused),
            LoginError::Failed(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a login failed");
                Self::internal()
            }
        }
    }
}

/// What a browser learns that may not finish what it came for. Which of them it was is for the operator.
const LINK_REFUSED: &str = "the link is not valid: it expired, was used before, was started by another user or in another browser, or consent was not given";

impl From<ConnectionError> for Problem {
    fn from(error: ConnectionError) -> Self {
        let detail = error.to_string();
        match error {
            ConnectionError::NotOffered(_) | ConnectionError::NoConnection => Self::not_found(detail),
            ConnectionError::Delegated => Self::invalid(detail),
            ConnectionError::Busy => Self::busy(detail, Duration::from_secs(30)),
            ConnectionError::Parameter(_) => Self::malformed(detail),
            ConnectionError::Refused(_) => {
                Self::new(StatusCode::FORBIDDEN, "connection-refused", LINK_REFUSED)
            }
            ConnectionError::AuthorizationServer { .. } => {
                tracing::warn!(error = &error as &dyn std::error::Error, "an account was not connected");
                Self::new(StatusCode::BAD_GATEWAY, "authorization-server-failed", detail)
            }
            ConnectionError::Mismatch | ConnectionError::Store(_) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "connected accounts cannot be used"
                );
                Self::internal()
            }
        }
    }
}

impl From<ToolError> for Problem {
    fn from(error: ToolError) -> Self {
        if matches!(error, ToolError::NotConnected { .. }) {
            let problem = Self::new(StatusCode::FORBIDDEN, "needs-account", error.to_string());
            return problem.because("needs_account");
        }
        tracing::warn!(error = &error as &dyn std::error::Error, "a tool call failed");
        let is_of_a_credential = matches!(error, ToolError::Credentials { .. });
        let problem = Self::new(StatusCode::BAD_GATEWAY, "tool-failed", error.to_string());
        if is_of_a_credential { problem.because("upstream_credentials") } else { problem }
    }
}

impl From<EffectError> for Problem {
    fn from(error: EffectError) -> Self {
        match error {
            EffectError::Denied(denied) => denied.into(),
            EffectError::Memory(error) => error.into(),
            EffectError::Arguments { decision, error } => {
                let mut problem = Self::invalid(error.to_string());
                problem.decision_id = decision;
                problem
            }
            EffectError::Tool { decision, error } => Self::from(error).of_decision(decision),
            EffectError::Message(error) => error.into(),
            EffectError::Connection(error) => error.into(),
            EffectError::Unavailable(why) => why.into(),
            EffectError::NotFound(_) => Self::not_found(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_that_cannot_be_asked_is_no_fault_of_the_caller() {
        let why = Unavailable::new("sessions", "10.0.0.7: connection refused");
        for problem in [
            Problem::from(why.clone()),
            MessageError::from(why.clone()).into(),
            EffectError::from(why).into(),
        ] {
            assert_eq!((problem.status, problem.reason), (503, Some("state_unavailable")));
            assert!(!problem.detail.contains("10.0.0.7"), "where state is kept is not said to the caller");
        }
    }
}
