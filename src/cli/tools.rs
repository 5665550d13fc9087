//! `caxton tools`: what the servers offer, what was approved, and how the two differ.

mod connect;
mod redirect_file;
mod shown;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value as Json;

use crate::clock::SystemClock;
use crate::model::ServerName;
use crate::sandbox::{self, Sandbox};
use crate::telemetry::Metrics;
use crate::tools::{
    Definition, Health, Listing, PinChange, Pins, Registry, RegistryPorts, ServerSettings, Settings,
    ToolProblem, fragment_path, offered, pin_path,
};

use super::output::{Exit, Output, table};
use crate::text::{one_line, shorten};
use shown::ShownTool;

/// Characters of one value in the table of differences; `--format json` has all of them.
const SHOWN_CHARS: usize = 160;

/// What to do with tools.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show every tool, where it comes from, and whether it can be called.
    #[command(after_help = "Example:\n  caxton tools list --config caxton.yaml")]
    List,
    /// Fetch the tools of a server and pin them as approved, with their typed actions.
    #[command(after_help = "Example:\n  caxton tools import tickets --config caxton.yaml")]
    Import {
        /// The server's name in the configuration.
        server: String,
        #[command(flatten)]
        connected: connect::AsConnected,
    },
    /// Show how a server's tools differ from what was approved.
    #[command(after_help = "Example:\n  caxton tools diff tickets --config caxton.yaml")]
    Diff {
        /// The server's name in the configuration.
        server: String,
        #[command(flatten)]
        connected: connect::AsConnected,
    },
    /// Approve what a server offers now.
    #[command(after_help = "Example:\n  caxton tools approve tickets create_ticket --config caxton.yaml")]
    Approve {
        /// The server's name in the configuration.
        server: String,
        /// Only this tool, by the server's name for it.
        tool: Option<String>,
        #[command(flatten)]
        connected: connect::AsConnected,
    },
    /// Connect your account at a server: a running gateway then uses it for your calls of the server's tools.
    #[command(after_help = "Example:\n  caxton tools connect crm --url https://caxton.example")]
    Connect(connect::ConnectOptions),
    /// Show the connected accounts of a running gateway.
    #[command(after_help = "Example:\n  caxton tools connections --all --api-key-file admin.key")]
    Connections(connect::ConnectionsOptions),
    /// End the connection of an account; its tokens are revoked and forgotten.
    #[command(after_help = "Example:\n  caxton tools disconnect crm --url https://caxton.example")]
    Disconnect(connect::DisconnectOptions),
    /// Check that a WebAssembly module fits the sandbox.
    #[command(after_help = "Example:\n  caxton tools verify parser.wasm")]
    Verify {
        /// The module.
        file: PathBuf,
    },
}

impl Command {
    /// Runs a command that asks a running gateway, and needs no configuration; gives any other one back.
    pub fn ask_gateway(self, output: &Output) -> Result<anyhow::Result<Exit>, Box<Self>> {
        match self {
            Self::Connect(wanted) => Ok(connect::connect(&wanted, output)),
            Self::Connections(wanted) => Ok(connect::connections(&wanted, output)),
            Self::Disconnect(wanted) => Ok(connect::disconnect(&wanted, output)),
            other => Err(Box::new(other)),
        }
    }
}

/// Runs the command in a runtime of its own. `list` connects to all servers, the others to the one they name.
pub fn run(
    command: Command,
    settings: Settings,
    sandbox: sandbox::Settings,
    output: &Output,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::List => list(settings, sandbox, output).await,
            Command::Import { server, connected } => import(&settings, (&server, &connected), output).await,
            Command::Diff { server, connected } => diff(&settings, (&server, &connected), output).await,
            Command::Approve { server, tool, connected } => {
                approve(&settings, (&server, &connected), tool.as_deref(), output).await
            }
            Command::Verify { file } => verify(&file, sandbox, output),
            // These ask a running gateway, see above.
            Command::Connect(_) | Command::Connections(_) | Command::Disconnect(_) => Ok(Exit::Usage),
        }
    })
}

#[derive(Serialize)]
struct Inventory {
    servers: Vec<ServerRow>,
    tools: Vec<ToolRow>,
    problems: Vec<ToolProblem>,
}

#[derive(Serialize)]
struct ServerRow {
    name: String,
    /// `state`, and `reason` where it is down.
    #[serde(flatten)]
    health: Health,
}

impl ServerRow {
    /// The state in the table.
    fn word(&self) -> &'static str {
        match self.health {
            Health::Up => "up",
            Health::NeedsAccount => "needs an account",
            Health::Down { .. } => "down",
        }
    }
}

#[derive(Serialize)]
struct ToolRow {
    id: String,
    server: String,
    callable: bool,
    pinned: bool,
    drifted: bool,
    description: Option<String>,
}

async fn list(settings: Settings, sandbox: sandbox::Settings, output: &Output) -> anyhow::Result<Exit> {
    let metrics = Arc::new(Metrics::new());
    let sandbox = Sandbox::new(sandbox, Arc::clone(&metrics))?;
    let ports = RegistryPorts::without_callers(metrics);
    let (registry, problems) = Registry::connect(settings, sandbox, ports).await?;
    let tools = registry.tools();
    let rows = tools.iter().map(|tool| ToolRow {
        id: tool.id().to_string(),
        server: tool.server().to_string(),
        callable: !tool.drifted(),
        pinned: tool.pinned(),
        drifted: tool.drifted(),
        description: tool.definition().description.clone(),
    });
    let health = registry.health().into_iter();
    let servers = health.map(|(name, health)| ServerRow { name: name.to_string(), health }).collect();
    let inventory = Inventory { servers, tools: rows.collect(), problems };
    output.data(&inventory, |inventory| {
        let mut shown = table(["tool", "state", "server", "description"]);
        for row in &inventory.tools {
            let state = match (row.drifted, row.pinned) {
                (true, _) => "drifted",
                (false, true) => "approved",
                (false, false) => "first seen",
            };
            let server = inventory.servers.iter().find(|server| server.name == row.server);
            let server = server.map_or("built in", ServerRow::word);
            let description = first_line(row.description.as_deref().unwrap_or_default());
            shown.add_row([&row.id, state, server, &description]);
        }
        shown.to_string()
    })?;
    report_problems(&inventory.problems, output);
    Ok(if inventory.problems.is_empty() { Exit::Fine } else { Exit::Found })
}

fn report_problems(problems: &[ToolProblem], output: &Output) {
    for problem in problems {
        let tool = problem.tool.as_deref().map(|tool| format!(" `{tool}`")).unwrap_or_default();
        output.say(format_args!("warning: `{}`{tool}: {}", problem.server, problem.message));
        output.say(format_args!("  help: {}", problem.help));
    }
}

fn find<'a>(settings: &'a Settings, server: &str) -> anyhow::Result<&'a ServerSettings> {
    let found = settings.servers.iter().find(|known| known.name.as_str() == server);
    found.with_context(|| {
        format!("there is no server `{server}` in the configuration: {}", configured_servers(settings))
    })
}

/// The names of the servers, for a message.
fn configured_servers(settings: &Settings) -> String {
    let names: Vec<String> = settings.servers.iter().map(|server| format!("`{}`", server.name)).collect();
    if names.is_empty() {
        "none are configured".to_owned()
    } else {
        format!("there are {}", names.join(", "))
    }
}

/// What the server offers to the gateway itself, or to the caller's account.
async fn ask(
    settings: &Settings,
    (server, connected): (&ServerSettings, &connect::AsConnected),
    output: &Output,
) -> anyhow::Result<Listing> {
    let asked = match connected.wanted() {
        Some(remote) => tokio::task::block_in_place(|| connect::offered_by(remote, &server.name, settings)),
        None => offered(server, settings, Arc::new(SystemClock)).await.map_err(Into::into),
    };
    let listing =
        asked.with_context(|| format!("the server `{}` cannot be asked for its tools", server.name))?;
    for (tool, error) in &listing.refused {
        output.say(format_args!("warning: `{}` `{tool}` is left out: {error}", server.name));
    }
    Ok(listing)
}

fn pins(settings: &Settings, server: &ServerName) -> anyhow::Result<Option<Pins>> {
    Ok(Pins::load(&settings.pin_dir(), server, settings.max_definition_bytes)?)
}

async fn import(
    settings: &Settings,
    (server, connected): (&str, &connect::AsConnected),
    output: &Output,
) -> anyhow::Result<Exit> {
    let server = find(settings, server)?;
    if pins(settings, &server.name)?.is_some() {
        output.say(format_args!(
            "error: the tools of `{0}` were imported before\n  help: see `caxton tools diff {0}`, then `caxton tools approve {0}`",
            server.name
        ));
        return Ok(Exit::Usage);
    }
    let listing = ask(settings, (server, connected), output).await?;
    let names: Vec<String> = listing.definitions.iter().map(|definition| definition.name.clone()).collect();
    let pins = Pins::new(&server.name, listing.definitions)?;
    written(&pins, settings, server, names, output)
}

#[derive(Serialize)]
struct PinnedTools {
    server: String,
    tools: Vec<String>,
    /// What of each is approved; a tool that was removed is not here.
    approved: Vec<ShownTool>,
    definitions: PathBuf,
    schema: PathBuf,
}

fn written(
    pins: &Pins,
    settings: &Settings,
    server: &ServerSettings,
    tools: Vec<String>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let dir = settings.pin_dir();
    std::fs::create_dir_all(&dir).with_context(|| format!("creating `{}`", dir.display()))?;
    pins.write(&dir)?;
    let definitions = tools.iter().filter_map(|tool| pins.tool(tool));
    let written = PinnedTools {
        server: server.name.to_string(),
        approved: definitions.map(|definition| ShownTool::new(server, definition)).collect(),
        definitions: pin_path(&dir, &server.name),
        schema: fragment_path(&dir, &server.name),
        tools,
    };
    output.data(&written, |written| {
        let approved = written.approved.iter().map(ShownTool::text).collect::<Vec<_>>().join("\n\n");
        match written.approved.len() {
            0 => "no tool is approved".to_owned(),
            count => format!("{approved}\n\n{count} approved"),
        }
    })?;
    output.say(format_args!("wrote {}", written.definitions.display()));
    output.say(format_args!("wrote {}", written.schema.display()));
    output.say("who holds `tool:call` may call them from the next start on; agents may when their definitions name them");
    Ok(Exit::Fine)
}

#[derive(Serialize)]
struct Difference {
    tool: String,
    #[serde(flatten)]
    change: PinChange,
    approved: Option<Json>,
    offered: Option<Json>,
}

async fn diff(
    settings: &Settings,
    (server, connected): (&str, &connect::AsConnected),
    output: &Output,
) -> anyhow::Result<Exit> {
    let server = find(settings, server)?;
    let pins = pins(settings, &server.name)?.unwrap_or(Pins::new(&server.name, [])?);
    let listing = ask(settings, (server, connected), output).await?;
    let differences = differences(&pins, &listing.definitions);
    output.data(&differences, |differences| match differences.as_slice() {
        [] => format!("no differences: the tools of `{}` are as approved", server.name),
        differences => difference_table(differences),
    })?;
    match differences.len() {
        0 => {}
        count => output.say(format_args!("{count} tools of `{}` are not as approved", server.name)),
    }
    Ok(if differences.is_empty() { Exit::Fine } else { Exit::Found })
}

fn differences(pins: &Pins, live: &[Definition]) -> Vec<Difference> {
    let offered: BTreeMap<&str, &Definition> =
        live.iter().map(|definition| (definition.name.as_str(), definition)).collect();
    let json = |definition: &Definition| definition.to_mcp(definition.wire_name());
    pins.compare(live)
        .into_iter()
        .filter(|(_, change)| *change != PinChange::Unchanged)
        .map(|(tool, change)| Difference {
            approved: pins.tool(&tool).map(json),
            offered: offered.get(tool.as_str()).map(|definition| json(definition)),
            tool,
            change,
        })
        .collect()
}

fn difference_table(differences: &[Difference]) -> String {
    let mut shown = table(["tool", "change", "approved", "offered"]);
    for difference in differences {
        match &difference.change {
            PinChange::Changed { fields } => {
                for field in fields {
                    let value = |side: &Option<Json>| {
                        side.as_ref().and_then(|json| json.get(field)).map(short).unwrap_or_default()
                    };
                    shown.add_row([
                        difference.tool.as_str(),
                        field,
                        &value(&difference.approved),
                        &value(&difference.offered),
                    ]);
                }
            }
            PinChange::Added => {
                shown.add_row([difference.tool.as_str(), "added", "", &described(&difference.offered)]);
            }
            PinChange::Removed => {
                shown.add_row([difference.tool.as_str(), "removed", &described(&difference.approved), ""]);
            }
            PinChange::Unchanged => {}
        }
    }
    shown.to_string()
}

fn described(definition: &Option<Json>) -> String {
    let text = definition.as_ref().and_then(|json| json.get("description")).and_then(Json::as_str);
    first_line(text.unwrap_or_default())
}

async fn approve(
    settings: &Settings,
    (server, connected): (&str, &connect::AsConnected),
    tool: Option<&str>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let server = find(settings, server)?;
    let Some(mut pins) = pins(settings, &server.name)? else {
        output.say(format_args!(
            "error: the tools of `{0}` were never imported\n  help: run `caxton tools import {0}`",
            server.name
        ));
        return Ok(Exit::Usage);
    };
    let listing = ask(settings, (server, connected), output).await?;
    let changed: Vec<String> = differences(&pins, &listing.definitions)
        .into_iter()
        .map(|difference| difference.tool)
        .filter(|name| tool.is_none_or(|tool| tool == name))
        .collect();
    pins.approve(listing.definitions, tool)?;
    written(&pins, settings, server, changed, output)
}

#[derive(Serialize)]
struct Verified {
    file: PathBuf,
    sha256: Option<String>,
    problem: Option<String>,
}

fn verify(file: &std::path::Path, sandbox: sandbox::Settings, output: &Output) -> anyhow::Result<Exit> {
    let wasm = std::fs::read(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let sandbox = Sandbox::new(sandbox, Arc::new(Metrics::new()))?;
    let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let (sha256, problem) = match sandbox.compile(&name, &wasm) {
        Ok(module) => (Some(module.sha256().to_owned()), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let verified = Verified { file: file.to_owned(), sha256, problem };
    output.data(&verified, |verified| match (&verified.sha256, &verified.problem) {
        (Some(sha256), _) => format!("fits the sandbox, sha256 {sha256}"),
        (None, problem) => problem.clone().unwrap_or_default(),
    })?;
    Ok(if verified.problem.is_none() { Exit::Fine } else { Exit::Found })
}

fn first_line(text: &str) -> String {
    short_line(text.lines().next().unwrap_or_default())
}

fn short(json: &Json) -> String {
    match json {
        Json::String(text) => short_line(text),
        other => short_line(&other.to_string()),
    }
}

fn short_line(text: &str) -> String {
    shorten(&one_line(text, usize::MAX), SHOWN_CHARS)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use serde_json::json;

    use super::super::output::Format;
    use super::*;
    use crate::secret::Secret;
    use crate::tools::Transport;

    /// The server itself is asked.
    fn here() -> connect::AsConnected {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            connected: connect::AsConnected,
        }
        <Alone as clap::Parser>::parse_from(["tools"]).connected
    }

    /// A server in shell that offers one tool with the description `told`.
    fn settings(dir: &Path, told: &str) -> Settings {
        let script = r#"
            read -r request
            echo '{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}'
            read -r initialized; read -r request
            printf '{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"get-sum","description":"%s","inputSchema":{"type":"object"}}]}}\n' "$TOLD"
            read -r end"#;
        let transport = Transport::Stdio {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![("TOLD".to_owned(), Secret::new(told.to_owned()))],
        };
        let mut server = ServerSettings::new(ServerName::parse("sums").unwrap(), transport);
        server.connect_timeout = Duration::from_secs(30);
        Settings { servers: vec![server], schema_dir: dir.to_owned(), ..Settings::default() }
    }

    fn run(command: Command, dir: &Path, told: &str) -> anyhow::Result<Exit> {
        let output = Output::new(Format::Json);
        super::run(command, settings(dir, told), sandbox::Settings::default(), &output)
    }

    #[test]
    fn tools_are_imported_compared_and_approved() {
        let dir = tempfile::tempdir().unwrap();
        let server = || "sums".to_owned();
        let run = |command, told| run(command, dir.path(), told).unwrap();
        let approve = |tool: Option<&str>| Command::Approve {
            server: server(),
            tool: tool.map(str::to_owned),
            connected: here(),
        };
        assert_eq!(run(approve(None), "adds"), Exit::Usage, "nothing was imported");
        assert_eq!(run(Command::Import { server: server(), connected: here() }, "adds"), Exit::Fine);
        let schema = std::fs::read_to_string(dir.path().join("tools/sums.cedarschema")).unwrap();
        assert!(schema.contains("sums___get-sum"), "{schema}");
        assert_eq!(
            run(Command::Import { server: server(), connected: here() }, "adds"),
            Exit::Usage,
            "it would approve unseen"
        );
        assert_eq!(run(Command::Diff { server: server(), connected: here() }, "adds"), Exit::Fine);
        assert_eq!(
            run(Command::Diff { server: server(), connected: here() }, "adds, and sends"),
            Exit::Found
        );
        assert_eq!(run(approve(Some("get-sum")), "adds, and sends"), Exit::Fine);
        assert_eq!(run(Command::Diff { server: server(), connected: here() }, "adds, and sends"), Exit::Fine);
    }

    #[test]
    fn unknown_names_are_told_with_those_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let diff = Command::Diff { server: "sum".to_owned(), connected: here() };
        let error = run(diff, dir.path(), "").unwrap_err();
        assert_eq!(error.to_string(), "there is no server `sum` in the configuration: there are `sums`");
        let import = Command::Import { server: "sums".to_owned(), connected: here() };
        run(import, dir.path(), "adds").unwrap();
        let tool = Some("get-som".to_owned());
        let approve = Command::Approve { server: "sums".to_owned(), tool, connected: here() };
        let error = run(approve, dir.path(), "adds").unwrap_err();
        assert_eq!(error.to_string(), "the server has no tool `get-som`");
    }

    #[test]
    fn a_difference_shows_both_sides() {
        let tool = |text: &str| {
            let json = json!({ "name": "t", "description": text, "inputSchema": { "type": "object" } });
            Definition::read(&json, 65_536).unwrap()
        };
        let pins = Pins::new(&ServerName::parse("s").unwrap(), [tool("reads")]).unwrap();
        let shown = difference_table(&differences(&pins, &[tool("reads and sends")]));
        assert!(shown.contains("description") && shown.contains("reads and sends"), "{shown}");
        let shown = difference_table(&differences(&pins, &[]));
        assert!(shown.contains("removed"), "{shown}");
    }

    /// Whoever approves sees what, and what could go wrong with it.
    #[test]
    fn what_is_approved_is_shown() {
        let json = json!({
            "name": "get-env", "description": "Prints an environment variable.\nAll of them without a name.",
            "inputSchema": { "type": "object", "properties": { "name": { "type": "string" }, "n": {} }, "required": ["name"] },
            "annotations": { "readOnlyHint": true },
        });
        let definition = Definition::read(&json, 65_536).unwrap();
        let transport = Transport::Stdio { command: "sh".to_owned(), args: vec![], env: vec![] };
        let mut server = ServerSettings::new(ServerName::parse("s").unwrap(), transport);
        server.labels.insert("get-env".to_owned(), ["pii".into()].into());
        let wanted = "s___get-env
  Prints an environment variable.
  All of them without a name.
  arguments  name: string, n: any (optional)
  hints      read-only, destructive (not declared), open world (not declared)
  labels     pii
  warning    may reach the open world: the server does not say that it does not
  warning    may read secrets: it speaks of `env`, `environment`";
        assert_eq!(ShownTool::new(&server, &definition).text(), wanted);
    }

    #[test]
    fn a_module_that_does_not_fit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("m.wasm");
        let verify = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            run(Command::Verify { file: file.clone() }, dir.path(), "").unwrap()
        };
        assert_eq!(verify(b"not wasm"), Exit::Found);
        let [_, validator] = crate::sandbox::builtin_tools();
        assert_eq!(verify(validator.wasm), Exit::Fine);
    }
}
