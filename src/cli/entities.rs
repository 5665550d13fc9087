//! `caxton entities`: the attributes of entities in a running gateway.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use reqwest::Method;
use serde_json::{Map, Value as Json, json};

use super::output::{Exit, Output, table};
use super::remote::{GatewayClient, Remote, list as items, number, text};

/// The largest file, in bytes; the gateway has a bound of its own.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Reads and changes the attributes of entities.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List entities
    ///
    /// Example: `caxton entities list --type User`
    List {
        /// Only this type; `User` is `Caxton::User`
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Show one entity
    ///
    /// Example: `caxton entities get User 'https://login.example|ann'`
    Get {
        /// The type; `User` is `Caxton::User`
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The id
        id: String,
    },
    /// Store an entity from a file in Cedar's JSON, replacing what was there
    ///
    /// Example: `caxton entities put ann.json`
    Put {
        /// The file; `-` is standard input
        file: PathBuf,
    },
    /// Change parts of an entity: `null` removes, what is not given stays
    ///
    /// Example: `caxton entities patch Acme::Person ann '{"attrs": {"level": 3}}'`
    Patch {
        /// The type; `User` is `Caxton::User`
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The id
        id: String,
        /// What changes, as JSON
        change: String,
    },
    /// Remove an entity
    ///
    /// Example: `caxton entities delete Acme::Person ann`
    Delete {
        /// The type; `User` is `Caxton::User`
        #[arg(value_name = "TYPE")]
        kind: String,
        /// The id
        id: String,
    },
    /// Import a file of entities: all of them or none
    ///
    /// Example: `caxton entities import entities.json --replace`
    Import {
        /// A list of entities in Cedar's JSON; `-` is standard input
        file: PathBuf,
        /// Remove entities that are not in the file
        #[arg(long)]
        replace: bool,
    },
    /// Write all entities in Cedar's JSON, as `import` and other Cedar tools read them
    ///
    /// Example: `caxton entities export > entities.json`
    Export {
        /// Only this type; `User` is `Caxton::User`
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Print changes, one line each, until interrupted
    ///
    /// Example: `caxton entities watch --since 41 --once`
    Watch {
        /// Begin after this version instead of now
        #[arg(long)]
        since: Option<u64>,
        /// End after the first change
        #[arg(long)]
        once: bool,
    },
}

/// Runs the command.
pub fn run(remote: &Remote, command: Command, output: &Output) -> anyhow::Result<Exit> {
    let gateway = remote.open()?;
    let done = match command {
        Command::List { kind } => list(&gateway, kind.as_deref(), output),
        Command::Export { kind } => export(&gateway, kind.as_deref(), output),
        Command::Get { kind, id } => {
            let kind = full(&kind);
            let found = gateway.done(output, Method::GET, &["v1", "entities", &kind, &id], &[], None);
            found.map(|entity| print(&entity, output))
        }
        Command::Put { file } => {
            let entity = read(&file)?;
            let (kind, id) = name(&entity)?;
            change(&gateway, Method::PUT, (&kind, &id), Some(&entity), output)
        }
        Command::Patch { kind, id, change: text } => {
            let body = crate::json::parse(text.as_bytes()).context("the change is no JSON")?;
            change(&gateway, Method::PATCH, (&full(&kind), &id), Some(&body), output)
        }
        Command::Delete { kind, id } => change(&gateway, Method::DELETE, (&full(&kind), &id), None, output),
        Command::Import { file, replace } => {
            let entities = read(&file)?;
            if !entities.is_array() {
                bail!("`{}` is no list of entities: it begins with something else than `[`", file.display());
            }
            let body = json!({ "entities": entities, "replace": replace });
            let path = ["v1", "entities", "import"];
            gateway.done(output, Method::POST, &path, &[], Some(&body)).map(|done| {
                output.data(&done, |done| {
                    format!(
                        "{} entities, {} changed, {} removed: version {}",
                        number(done, "/entities"),
                        number(done, "/changed"),
                        number(done, "/removed"),
                        number(done, "/version")
                    )
                })
            })
        }
        Command::Watch { since, once } => watch(&gateway, since, once, output),
    };
    match done {
        Ok(printed) => printed.map(|()| Exit::Fine),
        Err(exit) => Ok(exit),
    }
}

type Printed = Result<anyhow::Result<()>, Exit>;

/// A type without a namespace is Caxton's own.
pub(super) fn full(kind: &str) -> String {
    if kind.contains("::") { kind.to_owned() } else { format!("Caxton::{kind}") }
}

fn read(file: &Path) -> anyhow::Result<Json> {
    let mut text = String::new();
    let shown = file.display();
    match file.to_str() {
        Some("-") => std::io::stdin().take(FILE_BYTES + 1).read_to_string(&mut text),
        _ => std::fs::File::open(file).and_then(|open| open.take(FILE_BYTES + 1).read_to_string(&mut text)),
    }
    .with_context(|| format!("`{shown}` cannot be read"))?;
    if text.len() as u64 > FILE_BYTES {
        bail!("`{shown}` is longer than {FILE_BYTES} bytes");
    }
    crate::json::parse(text.as_bytes()).with_context(|| format!("`{shown}` is no JSON"))
}

fn name(entity: &Json) -> anyhow::Result<(String, String)> {
    let uid = entity.get("uid").map(|uid| uid.get("__entity").unwrap_or(uid));
    let text = |key: &str| uid.and_then(|uid| uid.get(key)).and_then(Json::as_str).map(str::to_owned);
    match (text("type"), text("id")) {
        (Some(kind), Some(id)) => Ok((kind, id)),
        _ => bail!("the entity has no name: write `\"uid\": {{\"type\": …, \"id\": …}}`"),
    }
}

fn change(
    gateway: &GatewayClient,
    method: Method,
    (kind, id): (&str, &str),
    body: Option<&Json>,
    output: &Output,
) -> Printed {
    let done = gateway.done(output, method, &["v1", "entities", kind, id], &[], body)?;
    Ok(output.data(&done, |done| format!("version {}", number(done, "/version"))))
}

fn print(entity: &Json, output: &Output) -> anyhow::Result<()> {
    output.line(&serde_json::to_string_pretty(entity)?)
}

/// All pages of the list.
fn all(gateway: &GatewayClient, kind: Option<&str>, output: &Output) -> Result<Vec<Map<String, Json>>, Exit> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", "1000".to_owned())];
        query.extend(kind.map(|kind| ("type", full(kind))));
        query.extend(after.take().map(|after| ("after", after)));
        let page = gateway.done(output, Method::GET, &["v1", "entities"], &query, None)?;
        found.extend(items(&page, "/entities").filter_map(Json::as_object).cloned());
        match text(&page, "/next") {
            "" => return Ok(found),
            next => after = Some(next.to_owned()),
        }
    }
}

fn list(gateway: &GatewayClient, kind: Option<&str>, output: &Output) -> Printed {
    let found = all(gateway, kind, output)?;
    Ok(output.data(&found, |found| {
        let mut rows = table(["type", "id", "in", "revoked", "claims", "version"]);
        for entity in found {
            let uid = entity.get("uid").cloned().unwrap_or_default();
            let names = |key: &str| {
                let names = entity.get(key).and_then(Json::as_array).into_iter().flatten();
                names.map(|name| shown(text(name, "/id"))).collect::<Vec<_>>().join(", ")
            };
            let claims = entity.get("claims").and_then(Json::as_str).unwrap_or("ignored");
            let version = entity.get("version").map(Json::to_string).unwrap_or_default();
            rows.add_row([
                shown(text(&uid, "/type")),
                shown(text(&uid, "/id")),
                names("parents"),
                names("revoked"),
                claims.to_owned(),
                version,
            ]);
        }
        rows.to_string()
    }))
}

/// An id can hold anything that is no control character; what would turn a line round is escaped.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

fn export(gateway: &GatewayClient, kind: Option<&str>, output: &Output) -> Printed {
    let mut found = all(gateway, kind, output)?;
    // The version is this gateway's own.
    found.iter_mut().for_each(|entity| drop(entity.remove("version")));
    Ok(serde_json::to_string_pretty(&found).map_err(Into::into).and_then(|text| output.line(&text)))
}

fn watch(gateway: &GatewayClient, since: Option<u64>, once: bool, output: &Output) -> Printed {
    let ask = |since: u64, wait: u64| {
        let query = [("since", since.to_string()), ("wait", wait.to_string())];
        gateway.done(output, Method::GET, &["v1", "entities", "changes"], &query, None)
    };
    let version = |news: &Json| number(news, "/version");
    let mut from = match since {
        Some(since) => since,
        None => version(&ask(0, 0)?),
    };
    loop {
        let news = ask(from, 60)?;
        if version(&news) == from {
            continue;
        }
        from = version(&news);
        if let Err(error) = output.line(&news.to_string()) {
            return Ok(Err(error));
        }
        if once {
            return Ok(Ok(()));
        }
    }
}
