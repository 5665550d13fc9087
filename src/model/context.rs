//! The circumstances of a request, as far as policies may ask about them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::telemetry::{TraceIds, TraceSpan};
use std::sync::atomic::{AtomicU64, Ordering};

use smol_str::{SmolStr, format_smolstr};

use super::{Delegate, Entity, RequestId};

/// Where the request came from.
#[derive(Debug, Clone)]
pub struct RequestSource {
    /// The peer's address.
    pub ip: IpAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether the client proved itself with a certificate.
    pub mtls: bool,
    /// The `User-Agent` header, bounded and cleaned.
    pub user_agent: Option<Arc<str>>,
}

impl RequestSource {
    /// The gateway itself: background work and the calls of its agents.
    pub fn local() -> Self {
        Self { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), tls: false, mtls: false, user_agent: None }
    }

    /// Whether the request could not be read on a network: encrypted, or from this host.
    pub fn is_private(&self) -> bool {
        self.tls || self.ip.is_loopback()
    }
}

/// What the session has done so far. Labels are information-flow control: what was read stays on the session.
#[derive(Debug, Clone, Default)]
pub struct SessionFacts {
    /// The session's name; the principal's when the client has none.
    pub id: Arc<str>,
    /// Seconds since the session began.
    pub age_seconds: i64,
    /// Labels of what was read (`pii`).
    pub labels: BTreeSet<Arc<str>>,
    /// Tool calls allowed so far.
    pub tool_calls: i64,
    /// Decisions denied so far.
    pub denied: i64,
    /// The tools called so far.
    pub tools_called: BTreeSet<Arc<str>>,
}

/// What the screens found in the untrusted text of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Screening {
    /// Whether the score reached the threshold of an injection.
    pub injection: bool,
    /// 0 to 10,000, in ten-thousandths (Cedar's `decimal` has four digits).
    pub score: u16,
    /// The rules that matched, by name.
    pub findings: BTreeSet<&'static str>,
}

impl Screening {
    /// The score as Cedar's decimal text, `"0.8500"`.
    pub fn score_decimal(&self) -> SmolStr {
        format_smolstr!("{}.{:04}", self.score / 10_000, self.score % 10_000)
    }
}

/// Who an agent acts for: the first that asked, of any kind, also where agents asked one another in between.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The principal that asked, with the attributes that its credential gives it.
    pub principal: Arc<Entity>,
    /// What the user's own credential allowed.
    pub scopes: BTreeSet<Arc<str>>,
    /// Those that acted for it when it asked.
    pub delegation: Arc<[Delegate]>,
}

/// What is left of the caller's quota: noted where decisions are counted, read for the headers of the answer. Shared by all
/// decisions of one request; the last one counts.
#[derive(Debug, Clone)]
pub struct Meter(Arc<AtomicU64>);

/// Nothing has been noted.
const BLANK: u64 = u64::MAX;

impl Default for Meter {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(BLANK)))
    }
}

impl Meter {
    /// Notes how many decisions may still follow at once.
    pub fn note(&self, remaining: u32) {
        self.0.store(u64::from(remaining), Ordering::Relaxed);
    }

    /// What was noted, if anything was.
    pub fn remaining(&self) -> Option<u32> {
        u32::try_from(self.0.load(Ordering::Relaxed)).ok()
    }
}

/// Everything about the circumstances that the caller's side of the guard knows.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Correlates the records of one request.
    pub request_id: RequestId,
    /// Where it came from.
    pub source: RequestSource,
    /// The client's session, when it has one of its own.
    pub session: Option<Arc<str>>,
    /// Who asked first, in an agent's turn.
    pub actor: Option<Actor>,
    /// The route that was called, `GET /v1/agents/{id}`, when the request came over HTTP.
    pub route: Option<Arc<str>>,
    /// W3C trace context (`trace_id`, `span_id`): of the span of this request where traces are kept, else what the caller sent.
    pub trace: Option<TraceIds>,
    /// The span of this request; its stages are spans below it.
    pub span: TraceSpan,
    /// What is left of the caller's quota.
    pub meter: Meter,
}

impl RequestContext {
    /// The circumstances of work that the gateway starts by itself.
    pub fn internal() -> Self {
        Self {
            request_id: RequestId::generate(),
            source: RequestSource::local(),
            session: None,
            actor: None,
            route: None,
            trace: None,
            span: TraceSpan::default(),
            meter: Meter::default(),
        }
    }
}
