//! An upstream server whose tools and manners a test decides, over streamable HTTP on a free loopback port.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// The cursors of a list.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cursors {
    /// There is one page.
    #[default]
    None,
    /// Each page has another one: a list without an end.
    EverNew,
    /// Each page has the same one.
    Same,
    /// Each page has an empty one.
    Empty,
}

/// What the server offers and what it was asked.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) tools: Vec<Json>,
    /// The next cursor of every page.
    pub(super) cursors: Cursors,
    /// Pages that were asked for.
    pub(super) pages: usize,
    /// `tools/list` is never answered.
    pub(super) silent: bool,
    pub(super) calls: Vec<(String, Json)>,
    /// The `authorization` header of each HTTP request.
    pub(super) credentials: Vec<Option<String>>,
}

#[derive(Debug, Clone)]
pub(super) struct Handler(pub(super) Arc<Mutex<State>>);

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if self.0.lock().silent {
            std::future::pending::<()>().await;
        }
        let mut state = self.0.lock();
        state.pages += 1;
        let tools: Vec<Tool> =
            state.tools.iter().map(|json| serde_json::from_value(json.clone()).unwrap()).collect();
        let mut page = ListToolsResult::with_all_items(tools);
        page.next_cursor = match state.cursors {
            Cursors::None => None,
            Cursors::EverNew => Some(state.pages.to_string()),
            Cursors::Same => Some("more".to_owned()),
            Cursors::Empty => Some(String::new()),
        };
        Ok(page)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Json::Object(request.arguments.clone().unwrap_or_default());
        self.0.lock().calls.push((request.name.to_string(), arguments.clone()));
        let text = match request.name.as_ref() {
            "hang" => std::future::pending().await,
            "huge" => "x".repeat(2_000_000),
            "refuse" => return Err(ErrorData::invalid_params("no\u{1b}[31m thanks", None)),
            _ => arguments.to_string(),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }
}

/// The running server; it ends when this is dropped.
pub(super) struct Fake {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) url: String,
    address: std::net::SocketAddr,
    accept: Option<AbortOnDropHandle<()>>,
}

impl Fake {
    pub(super) async fn start(tools: Vec<Json>) -> Self {
        let state = Arc::new(Mutex::new(State { tools, ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut fake = Self { state, url: format!("http://{address}/mcp"), address, accept: None };
        fake.serve(listener);
        fake
    }

    /// Ends every connection and the listener.
    pub(super) fn stop(&mut self) {
        self.accept = None;
    }

    /// Starts again on the same port, without the old sessions.
    pub(super) async fn restart(&mut self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    fn serve(&mut self, listener: TcpListener) {
        let handler = Handler(Arc::clone(&self.state));
        let service = StreamableHttpService::new(
            move || Ok(handler.clone()),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let state = Arc::clone(&self.state);
        let accept = async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (service, state) = (service.clone(), Arc::clone(&state));
                let seen = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let header = request.headers().get("authorization");
                    let header = header.map(|value| value.to_str().unwrap().to_owned());
                    state.lock().credentials.push(header);
                    tower::ServiceExt::oneshot(service.clone(), request)
                });
                connections.spawn(async move {
                    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(seen))
                        .await;
                });
            }
        };
        self.accept = Some(AbortOnDropHandle::new(tokio::spawn(accept)));
    }
}

/// A tool with one text argument.
pub(super) fn tool(name: &str) -> Json {
    described(name, "a tool")
}

pub(super) fn described(name: &str, description: &str) -> Json {
    json!({
        "name": name, "description": description,
        "inputSchema": { "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] }
    })
}
