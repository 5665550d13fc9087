//! The MCP endpoint and the servers behind it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::kind::{Flag, Hidden, Integer, List, Named, Origin, Parsed, Size, Span, Text, Url};
use crate::config::problem::{Code, Problem};
use crate::config::reader::Reader;
use crate::model::ServerName;
use crate::secret::Secret;

/// `mcp.*`
pub struct Mcp {
    /// Offer tools of upstream servers that nobody has pinned.
    pub auto_import: bool,
    /// Web origins that may call the endpoint, beside none.
    pub allowed_origins: Vec<String>,
    /// `Host` names under which the endpoint may be called; `None` for any.
    pub allowed_hosts: Option<Vec<String>>,
    /// Upstream servers.
    pub servers: Vec<McpServer>,
    /// Time to reach a server.
    pub connect_timeout: Duration,
    /// Calls at once at one server; more wait.
    pub max_concurrent_calls: usize,
    /// Time after which a server is asked again for its tools.
    pub refresh_interval: Duration,
    /// Tools of one server.
    pub max_tools_per_server: usize,
    /// Bytes of one tool definition.
    pub max_definition_bytes: usize,
    /// Bytes of one tool's answer.
    pub max_response_bytes: usize,
}

/// `mcp.servers[]`
pub struct McpServer {
    /// The first part of its tools' names.
    pub name: ServerName,
    /// How it is reached.
    pub transport: Transport,
    /// Time for a call.
    pub timeout: Duration,
    /// What the answers of a tool carry, by tool.
    pub labels: Vec<(String, Vec<String>)>,
    /// Tools that an agent calls for an actor only where the actor may call them too.
    pub actor_bound: Vec<String>,
}

/// How an upstream server is reached.
pub enum Transport {
    /// Streamable HTTP.
    Http {
        /// The endpoint.
        url: crate::secret::Address,
        /// The gateway's own header fields, such as `Authorization`.
        headers: Vec<(String, Secret<String>)>,
    },
    /// A child process that speaks on stdin and stdout.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its environment; it inherits nothing else.
        env: Vec<(String, Secret<String>)>,
    },
}

impl Mcp {
    pub(super) fn read(r: &mut Reader<'_>, host: IpAddr) -> Self {
        let seconds = |low, high| Span(Duration::from_secs(low)..=Duration::from_secs(high));
        Self {
            auto_import: r.value("mcp.auto_import", Flag, false, "Offer tools of upstream servers whose definitions nobody has pinned with `caxton tools import`."),
            allowed_origins: r.value("mcp.allowed_origins", List(Origin), Vec::new(), "Web origins that may call `/mcp` from a browser. Calls without `Origin` are not affected."),
            allowed_hosts: allowed_hosts(r, host),
            connect_timeout: r.value("mcp.connect_timeout", seconds(1, 60), Duration::from_secs(10), "Time to reach an upstream server and read its tools."),
            max_tools_per_server: r.value("mcp.max_tools_per_server", Integer::new(1..=10_000, "tools"), 256, "Tools of one upstream server; a server with more is refused."),
            max_definition_bytes: r.value("mcp.max_definition_bytes", Size(1 << 10..=1 << 20), 64 << 10, "Bytes of one tool definition; a larger one is refused."),
            max_response_bytes: r.value("mcp.max_response_bytes", Size(1 << 10..=64 << 20), 4 << 20, "Bytes of one tool's answer; a larger one is an error."),
            max_concurrent_calls: r.value("mcp.max_concurrent_calls", Integer::new(1..=10_000, "calls"), 32, "Calls at once at one upstream server; more wait within their own time."),
            refresh_interval: r.value("mcp.refresh_interval", seconds(1, 86_400), Duration::from_secs(300), "Time after which an upstream server is asked again for its tools, so that a changed one is noticed."),
            servers: servers(r),
        }
    }
}

/// A page in a browser can make its own name mean this host (DNS rebinding); the `Host` field gives it away.
fn allowed_hosts(r: &mut Reader<'_>, host: IpAddr) -> Option<Vec<String>> {
    let names = r.optional("mcp.allowed_hosts", List(Text(256)), "`Host` names under which `/mcp` may be called. Without the key: `localhost`, `127.0.0.1` and `::1` if `server.host` is loopback, else any. Behind a proxy, give the public name.");
    let loopback = || ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.or_else(|| host.is_loopback().then(loopback))
}

fn servers(r: &mut Reader<'_>) -> Vec<McpServer> {
    let mut names = BTreeSet::new();
    r.records("mcp.servers", "Upstream MCP servers, each with `url` or `command`.", |r, _| {
        let name = r.required(
            "name",
            Parsed::<ServerName>::new("a server name"),
            "The first part of its tools' names: `NAME___TOOL`.",
        );
        let timeout = Span(Duration::from_secs(1)..=Duration::from_secs(600));
        let timeout = r.value("timeout", timeout, Duration::from_secs(30), "Time for a call.");
        let labels = r.value(
            "labels",
            Named::of_tools(List(Text(64))),
            Vec::new(),
            "What the answers of a tool carry, such as `read_file: [pii]`; policies see it on the session.",
        );
        let actor_bound = r.value(
            "actor_bound",
            List(Text(256)),
            Vec::new(),
            "Tools, by name, that an agent may call on behalf of an actor only if the actor may call them itself; `*` for all. Enforced by the shipped policy `agents.on-behalf`.",
        );
        let transport = transport(r);
        let name = name?;
        let reserved = name.as_str() == "builtin";
        if reserved || !names.insert(name.clone()) {
            let message =
                if reserved { "is the name of the built-in tools" } else { "is the name of another server" };
            r.tell(Problem::error(Code::Contradiction, message).with_help("choose another name"), "name");
            return None;
        }
        Some(McpServer { name, transport: transport?, timeout, labels, actor_bound })
    })
}

fn transport(r: &mut Reader<'_>) -> Option<Transport> {
    let url =
        r.optional("url", Url { may_weaken: true }, "Endpoint of a server that speaks streamable HTTP.");
    let headers = r.value(
        "headers",
        Named::of_words(Hidden),
        Vec::new(),
        "Header fields that the gateway adds, with `url`. A client's token is never passed on.",
    );
    let command = r.optional("command", Text(4_096), "Program of a server that speaks on stdin and stdout.");
    let args = r.value("args", Arguments, Vec::new(), "Arguments of `command`.");
    let env = r.value(
        "env",
        Named::of_words(Hidden),
        Vec::new(),
        "Environment of `command`; it inherits nothing else.",
    );
    let (has_url, has_command) = (r.is_given("url"), r.is_given("command"));
    let stray = |r: &mut Reader<'_>, key: &str, with: &str| {
        if r.is_given(key) {
            let message = format!("has no meaning without `{with}`");
            r.tell(Problem::error(Code::Contradiction, message).with_help("remove one of them"), key);
        }
    };
    match (has_url, has_command) {
        (true, true) => {
            let problem = Problem::error(Code::Contradiction, "a server has `url` or `command`, not both");
            r.tell(problem.with_help("remove one of them"), "command");
            None
        }
        (false, false) => {
            r.tell(Problem::error(Code::Missing, "must be given, or `command`"), "url");
            None
        }
        (true, false) => {
            stray(r, "args", "command");
            stray(r, "env", "command");
            Some(Transport::Http { url: url?, headers })
        }
        (false, true) => {
            stray(r, "headers", "url");
            Some(Transport::Stdio { command: command?, args, env })
        }
    }
}

/// Arguments of a program: a list in which a text may come twice or be empty.
struct Arguments;

impl crate::config::kind::Kind for Arguments {
    type Value = Vec<String>;

    fn read(
        &self,
        node: &crate::config::document::Node,
        scope: &mut crate::config::kind::Scope<'_>,
    ) -> Option<Vec<String>> {
        let crate::config::document::Value::List(items) = &node.value else {
            return scope.wrong(node, Code::WrongType, "is not a list", "write `[one, two]`");
        };
        if items.len() > 256 {
            return scope.wrong(node, Code::OutOfRange, "has more than 256 values", "");
        }
        let words: Vec<_> = items.iter().map(|item| scope.word(item, "a text")).collect();
        let words: Option<Vec<_>> = words.into_iter().collect();
        let words = words?;
        if words.iter().any(|word| word.text.contains('\0')) {
            return scope.wrong(node, Code::OutOfRange, "has a NUL character", "");
        }
        Some(words.into_iter().map(|word| word.text).collect())
    }

    // Arguments often carry keys.
    fn show(&self, value: &Vec<String>) -> String {
        if value.is_empty() { String::from("[]") } else { format!("({} arguments)", value.len()) }
    }

    fn words(&self) -> String {
        String::from("list; each: text")
    }

    fn schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] }, "maxItems": 256 })
    }

    fn secret(&self) -> bool {
        true
    }
}
