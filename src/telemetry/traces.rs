//! Traces (OpenTelemetry): one span for a request, one for an MCP message in it, and one for each stage of it.
//!
//! A span says which stage took how long, what was called, and how it ended; never an argument, a result, a name of a
//! person or a credential. Spans are sent behind the requests, from a queue that is bounded: what does not fit is dropped, and no
//! request waits. Without a collector in the configuration nothing is made at all.
//!
//! The caller's trace (W3C Trace Context) is continued. Whether a trace is kept is decided by its id and the configured share
//! alone: the caller's flag does not count, and the id is hashed with a key of this process, so that no caller chooses an id that
//! is kept.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample,
};
use tokio::runtime::Handle;

use super::conventions as name;
use crate::secret::{Address, Secret};

/// How long the collector may take for one batch, and the last one at the end of the gateway.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most of a collector's answer that is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where spans go. There is no `Debug`: a field is a secret.
#[derive(Clone)]
pub struct TraceSettings {
    /// The collector's address for traces over OTLP/HTTP with protobuf: `https://collector.example.com:4318/v1/traces`.
    pub url: Address,
    /// The value of the header field `Authorization`.
    pub authorization: Option<Arc<Secret<String>>>,
    /// Further certificate authorities that the collector's certificate may be issued by, in PEM.
    pub ca_file: Option<PathBuf>,
    /// How many of a hundred traces are kept.
    pub sample_percent: u8,
}

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file with certificate authorities.
    #[error("the certificate authorities in `{path}` cannot be used")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// The fault.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The value of `Authorization`.
    #[error("`telemetry.traces.authorization` is not a value of a header field")]
    Authorization,
    /// The client.
    #[error("the client of the trace collector could not be made")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Makes spans; none without settings.
#[derive(Clone, Default)]
pub struct Traces {
    tracer: Option<Arc<Tracer>>,
}

struct Tracer {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Starts sending. Reads a file, and keeps the runtime that it is called in.
    ///
    /// # Errors
    /// A file cannot be used, or the client could not be made.
    pub fn start(settings: &TraceSettings) -> Result<Self, TraceError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Collector::new(settings)?)
            .with_endpoint(settings.url.expose().to_string())
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| TraceError::Client(error.into()))?;
        let share = f64::from(settings.sample_percent.min(100)) / 100.0;
        let resource = Resource::builder_empty().with_attributes([
            KeyValue::new(name::SERVICE_NAME, "caxton"),
            KeyValue::new(name::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
        ]);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(KeyedShare { key: RandomState::new(), share })
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer("caxton");
        Ok(Self { tracer: Some(Arc::new(Tracer { provider, tracer })) })
    }

    /// The span of a request: `GET /v1/agents/{id}`, in the caller's trace when it sent one.
    pub fn request(&self, parent: Option<&TraceIds>, method: &str, route: &str) -> TraceSpan {
        let Some(tracer) = &self.tracer else { return TraceSpan::default() };
        let attributes = vec![
            KeyValue::new(name::HTTP_METHOD, method.to_owned()),
            KeyValue::new(name::HTTP_ROUTE, route.to_owned()),
        ];
        let context = parent.map_or_else(Context::new, remote);
        TraceSpan::begin(tracer, &context, format!("{method} {route}"), SpanKind::Server, attributes)
    }

    /// Sends what is left, and ends. Blocks for ten seconds at most.
    pub fn stop(&self) {
        if let Some(tracer) = &self.tracer
            && let Err(error) = tracer.provider.shutdown_with_timeout(TIMEOUT)
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("on", &self.tracer.is_some()).finish()
    }
}

/// The ids of a span as W3C Trace Context writes them: trace (32 hexadecimal digits) and span (16).
pub type TraceIds = (Arc<str>, Arc<str>);

/// The caller's span.
fn remote((trace, span): &TraceIds) -> Context {
    let (Ok(trace), Ok(span)) = (TraceId::from_hex(trace), SpanId::from_hex(span)) else {
        return Context::new();
    };
    let parent = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE);
    if parent.is_valid() { Context::new().with_remote_span_context(parent) } else { Context::new() }
}

/// Keeps a share of traces, by a keyed hash of the trace's id.
#[derive(Debug, Clone)]
struct KeyedShare {
    key: RandomState,
    share: f64,
}

impl ShouldSample for KeyedShare {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        _: &str,
        _: &SpanKind,
        _: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let drawn = self.key.hash_one(trace.to_bytes()) as f64 / u64::MAX as f64;
        let is_kept = self.share > 0.0 && drawn <= self.share;
        let trace_state = parent.map(|parent| parent.span().span_context().trace_state().clone());
        SamplingResult {
            decision: if is_kept { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: trace_state.unwrap_or_default(),
        }
    }
}

/// A stage of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The credential is proven.
    Authenticate,
    /// The rate is asked.
    Limit,
    /// Untrusted text is looked at.
    Screen,
    /// The policies are asked.
    Decide,
    /// The record is written.
    Record,
    /// What was permitted is done.
    Effect,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Limit => "limit",
            Self::Screen => "screen",
            Self::Decide => "decide",
            Self::Record => "record",
            Self::Effect => "effect",
        }
    }
}

/// A span; it ends when the last clone of it is dropped. Costs nothing when there is no tracer.
#[derive(Clone, Default)]
pub struct TraceSpan(Option<Arc<LiveSpan>>);

struct LiveSpan {
    tracer: Arc<Tracer>,
    context: Context,
    ids: TraceIds,
}

impl Drop for LiveSpan {
    fn drop(&mut self) {
        self.context.span().end();
    }
}

impl TraceSpan {
    fn begin(
        tracer: &Arc<Tracer>,
        parent: &Context,
        name: String,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
    ) -> Self {
        let builder = tracer.tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let context = parent.with_span(builder.start_with_context(&tracer.tracer, parent));
        let own = context.span().span_context().clone();
        let ids = (own.trace_id().to_string().into(), own.span_id().to_string().into());
        Self(Some(Arc::new(LiveSpan { tracer: Arc::clone(tracer), context, ids })))
    }

    fn child(
        &self,
        name: impl FnOnce() -> String,
        kind: SpanKind,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        match &self.0 {
            Some(live) => Self::begin(&live.tracer, &live.context, name(), kind, attributes()),
            None => Self::default(),
        }
    }

    /// The span of a stage; it ends when it is dropped.
    #[must_use = "a span that is dropped at once has no length"]
    pub fn stage(&self, stage: Stage) -> Self {
        self.child(|| stage.name().to_owned(), SpanKind::Internal, Vec::new)
    }

    /// The span of an MCP message from a client, in the trace that its `_meta` names, when it names one: `tools/call NAME`.
    #[must_use = "a span that is dropped at once has no length"]
    pub fn mcp_message(&self, remote_parent: Option<&TraceIds>, method: &str, tool: Option<&str>) -> Self {
        let Some(live) = &self.0 else { return Self::default() };
        let mut attributes = vec![KeyValue::new(name::MCP_METHOD, method.to_owned())];
        let title = match tool {
            Some(tool) => {
                attributes.push(KeyValue::new(name::TOOL_NAME, tool.to_owned()));
                attributes.push(KeyValue::new(name::OPERATION, name::EXECUTE_TOOL));
                format!("{method} {tool}")
            }
            None => method.to_owned(),
        };
        let parent = remote_parent.map_or_else(|| live.context.clone(), remote);
        Self::begin(&live.tracer, &parent, title, SpanKind::Server, attributes)
    }

    /// The span of a call of a tool.
    #[must_use = "a span that is dropped at once has no length"]
    pub fn execute_tool(&self, tool: &str) -> Self {
        let attributes = || {
            vec![
                KeyValue::new(name::TOOL_NAME, tool.to_owned()),
                KeyValue::new(name::OPERATION, name::EXECUTE_TOOL),
            ]
        };
        self.child(|| format!("{} {tool}", name::EXECUTE_TOOL), SpanKind::Client, attributes)
    }

    /// Notes the status of the answer.
    pub fn answered(&self, status: u16) {
        if let Some(live) = &self.0 {
            let span = live.context.span();
            span.set_attribute(KeyValue::new(name::HTTP_STATUS, i64::from(status)));
            if status >= 500 {
                span.set_attribute(KeyValue::new(name::ERROR_TYPE, status.to_string()));
                span.set_status(Status::error(""));
            }
        }
    }

    /// Notes that it did not succeed, in one word of a closed list.
    pub fn failed(&self, kind: &'static str) {
        if let Some(live) = &self.0 {
            let span = live.context.span();
            span.set_attribute(KeyValue::new(name::ERROR_TYPE, kind));
            span.set_status(Status::error(""));
        }
    }

    /// Its ids; `None` when there is no tracer.
    pub fn ids(&self) -> Option<&TraceIds> {
        self.0.as_ref().map(|live| &live.ids)
    }
}

impl fmt::Debug for TraceSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TraceSpan").field(&self.ids()).finish()
    }
}

/// The client of the exporter. The exporter calls it on a thread of its own; the request runs in the gateway's runtime.
struct Collector {
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
    runtime: Handle,
    /// Failures in a row.
    failures: AtomicU32,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    fn new(settings: &TraceSettings) -> Result<Self, TraceError> {
        let mut client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            // `http` is for a collector on this host, and not for a proxy on the way there.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca_file {
            let fault = |source: Box<dyn std::error::Error + Send + Sync>| TraceError::Authorities {
                path: path.clone(),
                source,
            };
            let pem = std::fs::read(path).map_err(|error| fault(error.into()))?;
            let authorities =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| fault(error.into()))?;
            client = authorities.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        }
        let header = |value: &Arc<Secret<String>>| {
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| TraceError::Authorization)?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Self {
            client: client.build().map_err(|error| TraceError::Client(error.into()))?,
            authorization: settings.authorization.as_ref().map(header).transpose()?,
            runtime: Handle::current(),
            failures: AtomicU32::new(0),
        })
    }

    /// Tells the operator of the first failure in a row, and of each doubling.
    fn tell(&self, answered: &Result<(http::StatusCode, Vec<u8>), reqwest::Error>) {
        let why = match answered {
            Ok((status, _)) if status.is_success() => return self.failures.store(0, Ordering::Relaxed),
            Ok((status, _)) => format!("status {status}"),
            Err(error) => error.to_string(),
        };
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures.is_power_of_two() {
            tracing::warn!(failures, why, "spans could not be sent, and are dropped");
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (mut parts, body) = request.into_parts();
        if let Some(authorization) = &self.authorization {
            parts.headers.insert(AUTHORIZATION, authorization.clone());
        }
        let address = parts.uri.to_string();
        let request = self.client.request(parts.method, address).headers(parts.headers).body(body);
        // Not only awaited there: sending looks for the runtime's timer at once.
        let answered = self.runtime.spawn(async move {
            let mut answer = request.send().await?;
            let (status, mut body) = (answer.status(), Vec::new());
            while let Some(chunk) = answer.chunk().await? {
                body.extend_from_slice(
                    chunk.get(..chunk.len().min(ANSWER_BYTES - body.len())).unwrap_or_default(),
                );
                if body.len() >= ANSWER_BYTES {
                    break;
                }
            }
            Ok::<_, reqwest::Error>((status, body))
        });
        // The address may hold a secret, and it is in the configuration.
        let answered = answered.await?.map_err(reqwest::Error::without_url);
        self.tell(&answered);
        let (status, body) = answered?;
        Ok(Response::builder().status(status).body(body.into())?)
    }
}
