//! `mcp.*` and `tool_security.*`: the MCP endpoint, the servers behind it, and the tools that exist at all.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::mcp_auth;
use super::server::Server;
use crate::api;
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{
    DurationRange, FilePath, Flag, FreeText, HttpsUrl, Integer, List, NamedValues, ParsedWord, SecretText,
    Size, WebOrigin, is_loopback,
};
use crate::model::ServerName;
use crate::secret::Address;
use crate::tools::{ConnectionSettings, ServerSettings, Settings, SharedSecret, Transport};

/// What the section says of two modules.
pub(super) struct Mcp {
    pub(super) tools: Settings,
    /// Web origins that may call the endpoint.
    pub(super) allowed_origins: Vec<String>,
    /// `Host` names under which the endpoint may be called; `None` for any.
    pub(super) allowed_hosts: Option<Vec<String>>,
}

impl Mcp {
    pub(super) fn read(r: &mut Reader<'_>, server: &Server, schema_dir: Option<PathBuf>) -> Self {
        let host = server.listen.ip();
        let usual = Settings::default();
        let auto_import = r.value(
            "mcp.auto_import",
            Flag,
            false,
            "Offer tools of upstream servers whose definitions are not pinned with `caxton tools import`.",
        );
        let allowed_origins = r.value(
            "mcp.allowed_origins",
            List(WebOrigin),
            Vec::new(),
            "Web origins that may call `/mcp` from a browser. Calls without `Origin` are not affected.",
        );
        let allowed_hosts = allowed_hosts(r, host);
        let connect_timeout = r.value(
            "mcp.connect_timeout",
            DurationRange::seconds(1, 60),
            Duration::from_secs(10),
            "Time to reach an upstream server and read its tools.",
        );
        let connections = connections(r, server);
        let (servers, wants_accounts) = servers(r, connect_timeout, server.public_url.as_ref());
        let tools = Settings {
            auto_import,
            schema_dir: schema_dir.unwrap_or(usual.schema_dir),
            max_tools_per_server: r.value(
                "mcp.max_tools_per_server",
                Integer::new(1..=10_000, "tools"),
                usual.max_tools_per_server,
                "Tools of one upstream server; a server with more is refused.",
            ),
            max_definition_bytes: r.value(
                "mcp.max_definition_bytes",
                Size(1 << 10..=1 << 20),
                usual.max_definition_bytes,
                "Bytes of one tool definition; a larger one is refused.",
            ),
            max_response_bytes: r.value(
                "mcp.max_response_bytes",
                Size(1 << 10..=64 << 20),
                usual.max_response_bytes,
                "Bytes of one tool's answer; a larger one is an error.",
            ),
            max_concurrent_calls: r.value(
                "mcp.max_concurrent_calls",
                Integer::new(1..=10_000, "calls"),
                usual.max_concurrent_calls,
                "Calls at once at one upstream server; more wait within their own time.",
            ),
            refresh_interval: r.value(
                "mcp.refresh_interval",
                DurationRange::seconds(1, 86_400),
                usual.refresh_interval,
                "Time after which an upstream server is asked again for its tools, so that a changed one is noticed.",
            ),
            servers,
            connections,
            refresh_gap: usual.refresh_gap,
            retry_min: usual.retry_min,
            retry_max: usual.retry_max,
            allowed_tools: None,
            forbidden_tools: BTreeSet::new(),
        };
        if wants_accounts {
            check_connections(r, server, auto_import);
        }
        Self { tools, allowed_origins, allowed_hosts }
    }
}

const CONNECTION_KEY: &str = "mcp.connection_key";
const CONNECTION_KEY_FILE: &str = "mcp.connection_key_file";

/// Where the tokens of connected accounts are kept, and the key that seals them.
fn connections(r: &mut Reader<'_>, server: &Server) -> ConnectionSettings {
    let key = r.optional(
        CONNECTION_KEY,
        SecretText,
        "Key that seals the tokens of accounts that callers connect (`auth.grant: authorization_code`): 64 hexadecimal digits.",
    );
    let key_file = r.optional(
        CONNECTION_KEY_FILE,
        FilePath { must_exist: true },
        "File with that key, instead of `connection_key`; made with `openssl rand -hex 32`. It may hold several keys, one a line: the first seals, all open. An account whose key is not in it has to be connected again.",
    );
    let usual = ConnectionSettings::in_directory(&server.data_dir);
    let max_idle = r.value(
        "mcp.connection_max_idle",
        DurationRange::seconds(3_600, 3_660 * 86_400),
        usual.max_idle,
        "A connected account that was not used for so long ends, and its tokens are revoked.",
    );
    if r.is_given(CONNECTION_KEY) && r.is_given(CONNECTION_KEY_FILE) {
        let message = format!("cannot be given beside `{CONNECTION_KEY}`");
        let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
        r.report(problem.with_help("keep one of the two"), CONNECTION_KEY_FILE);
    }
    ConnectionSettings {
        key: key.map(SharedSecret::Given).or(key_file.map(SharedSecret::File)),
        public_url: server.public_url.as_ref().map(|address| address.expose().clone()),
        max_idle,
        ..usual
    }
}

/// What a server with `auth.grant: authorization_code` needs of the gateway.
fn check_connections(r: &mut Reader<'_>, server: &Server, auto_import: bool) {
    const PUBLIC_URL: &str = "server.public_url";
    const GRANT: &str = "auth.grant: authorization_code";
    let missing =
        || ConfigProblem::error(ProblemCode::Missing, format!("must be given for a server with `{GRANT}`"));
    if !r.is_given(CONNECTION_KEY) && !r.is_given(CONNECTION_KEY_FILE) {
        let help =
            "write a key with `openssl rand -hex 32 > FILE`, and keep it apart from the data directory";
        r.report(missing().with_help(help), CONNECTION_KEY_FILE);
    }
    if !r.is_given(PUBLIC_URL) {
        let help = "write the address to which authorization servers send browsers back";
        r.report(missing().with_help(help), PUBLIC_URL);
    }
    if auto_import {
        // What a server offers depends on the account, so any caller who connects one would decide it for all.
        let message = "would offer to all callers the tools that the account of one is offered";
        let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
        let help = format!(
            "set it to `false`, because of `{GRANT}`, and approve the tools of each server with `caxton tools import`"
        );
        r.report(problem.with_help(help), "mcp.auto_import");
    }
    // `server.public_url` may be weaker than the way of a code can be.
    let is_weak = |url: &reqwest::Url| url.scheme() != "https" && !is_loopback(url);
    if server.public_url.as_ref().is_some_and(|address| is_weak(address.expose())) {
        let message = "would bring the codes of accounts back in the clear";
        let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
        r.report(problem.with_help(format!("write an `https` address, because of `{GRANT}`")), PUBLIC_URL);
    }
}

/// `url` may be weaker than the way of a token can be.
fn check_way_of_tokens(r: &mut Reader<'_>, transport: &Transport) {
    let Transport::Http { url, .. } = transport else { return };
    if r.is_given("auth") && url.expose().scheme() != "https" && !is_loopback(url.expose()) {
        let message = "would send the tokens of `auth` in the clear";
        let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
        r.report(problem.with_help("write an `https` address"), "url");
    }
}

/// `tool_security.*`: bounds for all callers, before any policy is evaluated.
pub(super) fn tool_security(r: &mut Reader<'_>, tools: &mut Settings) {
    let allowed = r.optional(
        "tool_security.allowed_tools",
        List(FreeText(256)),
        "The only tools that may be called, as `SERVER___TOOL` or `TOOL`. Without the key, policy alone decides.",
    );
    let forbidden = r.value(
        "tool_security.forbidden_tools",
        List(FreeText(256)),
        Vec::new(),
        "Tools that may not be called, as `SERVER___TOOL` or `TOOL`.",
    );
    let both = forbidden.iter().find(|tool| allowed.as_ref().is_some_and(|all| all.contains(tool)));
    if let Some(tool) = both {
        let problem =
            ConfigProblem::error(ProblemCode::Contradiction, format!("`{tool}` is allowed and forbidden"));
        r.report(problem.with_help("take it out of one of the lists"), "tool_security.forbidden_tools");
    }
    tools.allowed_tools = allowed.map(|names| names.into_iter().collect());
    tools.forbidden_tools = forbidden.into_iter().collect();
}

/// A page in a browser can make its own name mean this host (DNS rebinding); the `Host` field gives it away.
fn allowed_hosts(r: &mut Reader<'_>, host: IpAddr) -> Option<Vec<String>> {
    let names = r.optional(
        "mcp.allowed_hosts",
        List(FreeText(256)),
        "`Host` names under which `/mcp` may be called. Without the key: `localhost`, `127.0.0.1` and `::1` if `server.host` is loopback, else any. Behind a proxy, give the public name.",
    );
    names.or_else(|| host.is_loopback().then(api::Settings::loopback_hosts))
}

/// The servers, and whether callers are to connect accounts at one.
fn servers(
    r: &mut Reader<'_>,
    connect_timeout: Duration,
    public_url: Option<&Address>,
) -> (Vec<ServerSettings>, bool) {
    let mut names = BTreeSet::new();
    let mut wants_accounts = false;
    let servers = r.records("mcp.servers", "Upstream MCP servers, each with `url` or `command`.", |r, _| {
        let name = r.required(
            "name",
            ParsedWord::<ServerName>::new("a server name"),
            "The first part of its tools' names: `NAME___TOOL`.",
        );
        let call_timeout =
            r.value("timeout", DurationRange::seconds(1, 600), Duration::from_secs(30), "Time for a call.");
        let labels = r.value(
            "labels",
            NamedValues::of_tools(List(FreeText(64))),
            Vec::new(),
            "What the answers of a tool carry, such as `read_file: [pii]`; policies see it on the session.",
        );
        let actor_bound = r.value(
            "actor_bound",
            List(FreeText(256)),
            Vec::new(),
            "Tools, by name, that an agent may call on behalf of an actor only if the actor may call them itself; `*` for all. Enforced by the shipped policy `agents.on-behalf`.",
        );
        let transport = transport(r);
        if let Some(transport) = &transport {
            check_way_of_tokens(r, transport);
        }
        let auth = mcp_auth::read(r, (name.as_ref(), public_url), &mut wants_accounts);
        let name = name?;
        let reserved = name.as_str() == "builtin";
        if reserved || !names.insert(name.clone()) {
            let message =
                if reserved { "is the name of the built-in tools" } else { "is the name of another server" };
            r.report(ConfigProblem::error(ProblemCode::Contradiction, message).with_help("choose another name"), "name");
            return None;
        }
        Some(ServerSettings {
            name,
            transport: transport?,
            auth: auth.map(Arc::new),
            connect_timeout,
            call_timeout,
            labels: labels.into_iter().map(|(tool, labels)| (tool, label_set(labels))).collect(),
            actor_bound: actor_bound.into_iter().collect(),
        })
    });
    (servers, wants_accounts)
}

fn label_set(labels: Vec<String>) -> BTreeSet<Arc<str>> {
    labels.into_iter().map(Into::into).collect()
}

fn transport(r: &mut Reader<'_>) -> Option<Transport> {
    let url =
        r.optional("url", HttpsUrl { may_weaken: true }, "Endpoint of a server that speaks streamable HTTP.");
    let headers = r.value(
        "headers",
        NamedValues::of_words(SecretText),
        Vec::new(),
        "Header fields that the gateway adds, with `url`. A client's token is never passed on.",
    );
    let command =
        r.optional("command", FreeText(4_096), "Program of a server that speaks on stdin and stdout.");
    let args = r.value("args", ArgumentList, Vec::new(), "Arguments of `command`.");
    let env = r.value(
        "env",
        NamedValues::of_words(SecretText),
        Vec::new(),
        "Environment of `command`; it inherits nothing else.",
    );
    let has_url = r.is_given("url");
    let has_command = r.is_given("command");
    match (has_url, has_command) {
        (true, true) => {
            let problem =
                ConfigProblem::error(ProblemCode::Contradiction, "a server has `url` or `command`, not both");
            r.report(problem.with_help("remove one of them"), "command");
            None
        }
        (false, false) => {
            r.report(ConfigProblem::error(ProblemCode::Missing, "must be given, or `command`"), "url");
            None
        }
        (true, false) => {
            report_meaningless(r, "args", "command");
            report_meaningless(r, "env", "command");
            let authorization = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"));
            if authorization && r.is_given("auth") {
                let message = "has `Authorization` although `auth` gives the server a token";
                let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
                r.report(problem.with_help("keep one of the two"), "headers");
            }
            Some(Transport::Http { url: url?, headers })
        }
        (false, true) => {
            report_meaningless(r, "headers", "url");
            report_meaningless(r, "auth", "url");
            Some(Transport::Stdio { command: command?, args, env })
        }
    }
}

/// Arguments of a program: a list in which a text may come twice or be empty.
struct ArgumentList;

impl crate::config::value_type::ValueType for ArgumentList {
    type Value = Vec<String>;

    fn read(
        &self,
        node: &crate::config::document::Node,
        scope: &mut crate::config::value_type::ReadContext<'_>,
    ) -> Option<Vec<String>> {
        let crate::config::document::Value::List(items) = &node.value else {
            return scope.reject(node, ProblemCode::WrongType, "is not a list", "write `[one, two]`");
        };
        if items.len() > 256 {
            return scope.reject(node, ProblemCode::OutOfRange, "has more than 256 values", "");
        }
        let words: Vec<_> = items.iter().map(|item| scope.word(item, "a text")).collect();
        let words: Option<Vec<_>> = words.into_iter().collect();
        let words = words?;
        if words.iter().any(|word| word.text.contains('\0')) {
            return scope.reject(node, ProblemCode::OutOfRange, "has a NUL character", "");
        }
        Some(words.into_iter().map(|word| word.text).collect())
    }

    // Arguments often carry keys.
    fn show(&self, value: &Vec<String>) -> String {
        if value.is_empty() { String::from("[]") } else { format!("({} arguments)", value.len()) }
    }

    fn type_name(&self) -> String {
        String::from("list; each: text")
    }

    fn schema(&self) -> serde_json::Value {
        serde_json::json!({ "type": "array", "items": { "type": ["string", "number", "boolean"] }, "maxItems": 256 })
    }

    fn secret(&self) -> bool {
        true
    }
}

/// Reports `key` when it is given: without `with`, it has no meaning.
fn report_meaningless(r: &mut Reader<'_>, key: &str, with: &str) {
    if r.is_given(key) {
        let message = format!("has no meaning without `{with}`");
        let problem = ConfigProblem::error(ProblemCode::Contradiction, message);
        r.report(problem.with_help("remove one of them"), key);
    }
}
