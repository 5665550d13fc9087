//! Reads one agent file: YAML front matter between `---` lines, then markdown that is the agent's instructions.
//!
//! The front matter is written by people and may be hostile: no aliases, no anchors, no duplicate or unknown
//! keys, bounded depth and size.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

use super::permission::AgentPermission;
use crate::limit::Rate;
use crate::model::{AgentId, CapabilityName, IdError, MemoryScope, ServerName, ToolId, WorkspaceId};
use crate::tools::{KnownTools, NamedTool};

/// The workspace of an agent whose memory is that of its workspace and whose file names none.
pub const DEFAULT_WORKSPACE: &str = "default";

/// Why a file is not an agent, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AgentDefinitionError {
    /// Line of the file, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// The fault, in one line.
    pub message: String,
    /// How to correct it.
    pub help: Option<&'static str>,
}

/// A WebAssembly module that answers in place of a language model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandlerName {
    /// One that ships with the gateway (`builtin:echo_agent`).
    Builtin(String),
    /// A `.wasm` file beside the agent's own.
    File(String),
}

/// The memory that an agent uses when it acts by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Whether memory functions are offered at all.
    pub enabled: bool,
    /// The scope that it reads and writes.
    pub scope: MemoryScope,
    /// The most entities in that scope, when it is less than the gateway's own bound.
    pub max_entities: Option<u32>,
    /// The most relations in that scope.
    pub max_relations: Option<u32>,
}

/// The content of an agent's file.
#[derive(Debug, Clone)]
pub struct AgentDefinition {
    /// The agent's name, which is its id.
    pub id: AgentId,
    /// The author's version.
    pub version: String,
    /// One line for people.
    pub description: String,
    /// The capabilities that it offers.
    pub capabilities: BTreeSet<CapabilityName>,
    /// What it may do at all.
    pub permissions: BTreeSet<AgentPermission>,
    /// The tools it may be offered, as `<server>___<tool>`.
    pub tools: BTreeSet<ToolId>,
    /// Its memory.
    pub memory: MemoryPlan,
    /// The workspace it belongs to.
    pub workspace: Option<WorkspaceId>,
    /// The model it asks for; the gateway's own when it names none.
    pub model: Option<String>,
    /// The module that answers in place of a model.
    pub handler: Option<HandlerName>,
    /// How often one sender may wake it.
    pub rate_limit: Option<Rate>,
    /// The markdown: its instructions.
    pub instructions: String,
    /// SHA-256 of the file, lower-case hexadecimal.
    pub sha256: String,
    /// What the file says without an effect, each in one line.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: AgentId,
    #[serde(default = "first_version")]
    version: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    capabilities: BTreeSet<CapabilityName>,
    #[serde(default)]
    tools: Vec<String>,
    #[serde(default)]
    memory: RawMemory,
    #[serde(default)]
    security: RawSecurity,
    workspace: Option<WorkspaceId>,
    model: Option<String>,
    handler: Option<String>,
}

fn first_version() -> String {
    "0.0.0".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMemory {
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    scope: RawScope,
    max_entities: Option<u32>,
    max_relations: Option<u32>,
}

impl Default for RawMemory {
    fn default() -> Self {
        Self { enabled: true, scope: RawScope::Agent, max_entities: None, max_relations: None }
    }
}

fn yes() -> bool {
    true
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum RawScope {
    #[default]
    Agent,
    Workspace,
    Global,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawSecurity {
    rate_limit: Option<String>,
    require_auth: Option<bool>,
    allowed_capabilities: Option<BTreeSet<CapabilityName>>,
}

impl AgentDefinition {
    /// Reads the text of an agent file. `known` are the tools that it may name.
    ///
    /// # Errors
    /// The text is not an agent file; with the line and column.
    pub fn parse(text: &str, known: &KnownTools) -> Result<Self, AgentDefinitionError> {
        let (front, first_line, instructions) = split(text)?;
        let raw: Raw = serde_saphyr::from_str_with_options(front, options())
            .map_err(|error| yaml_error(&error, first_line))?;
        let wrong = |message: String, help| AgentDefinitionError { line: 1, column: 1, message, help };
        let mut warnings = Vec::new();
        let tools: BTreeSet<ToolId> =
            raw.tools.iter().map(|name| tool_id(name, known, &mut warnings)).collect::<Result<_, _>>()?;
        if raw.security.require_auth == Some(false) {
            return Err(wrong(
                "`security.require_auth: false` is not possible: every caller is authenticated".to_owned(),
                Some("remove the line"),
            ));
        }
        if let Some(allowed) = &raw.security.allowed_capabilities
            && let Some(extra) = raw.capabilities.iter().find(|name| !allowed.contains(*name))
        {
            return Err(wrong(
                format!("capability `{extra}` is declared and not in `security.allowed_capabilities`"),
                Some("add it there, or do not declare it"),
            ));
        }
        let rate_limit = raw
            .security
            .rate_limit
            .map(|text| {
                text.parse::<Rate>().map_err(|error| wrong(format!("`security.rate_limit`: {error}"), None))
            })
            .transpose()?;
        let (workspace, scope) = memory_scope(&raw.name, raw.memory.scope, raw.workspace)?;
        let handler = raw.handler.map(|name| handler(&name)).transpose()?;
        let (permissions, capabilities) = AgentPermission::split(raw.capabilities);
        if !tools.is_empty() && !permissions.contains(&AgentPermission::ToolAccess) {
            warnings
                .push("`tools` without the capability `tool-access`: it may call none of them".to_owned());
        }
        Ok(Self {
            id: raw.name,
            version: raw.version,
            description: raw.description,
            capabilities,
            permissions,
            tools,
            memory: MemoryPlan {
                enabled: raw.memory.enabled,
                scope,
                max_entities: raw.memory.max_entities,
                max_relations: raw.memory.max_relations,
            },
            workspace,
            model: raw.model,
            handler,
            rate_limit,
            instructions: instructions.trim().to_owned(),
            sha256: hex::encode(digest(&SHA256, text.as_bytes())),
            warnings,
        })
    }
}

/// Front matter, the line it begins on, and what follows it.
fn split(text: &str) -> Result<(&str, u64, &str), AgentDefinitionError> {
    let wrong = |line, message: &str| AgentDefinitionError {
        line,
        column: 1,
        message: message.to_owned(),
        help: Some("an agent file is `---`, YAML, `---`, then markdown"),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = text
        .strip_prefix("---\n")
        .or_else(|| text.strip_prefix("---\r\n"))
        .ok_or_else(|| wrong(1, "the file does not begin with a `---` line"))?;
    let mut offset = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            let (front, after) = rest.split_at(offset);
            return Ok((front, 2, after.get(line.len()..).unwrap_or_default()));
        }
        offset += line.len();
    }
    Err(wrong(1, "the front matter has no closing `---` line"))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(64 * 1024),
            max_events: 10_000,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 8,
            max_documents: 1,
            max_nodes: 5_000,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
    }
}

fn yaml_error(error: &serde_saphyr::Error, first_line: u64) -> AgentDefinitionError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line() + first_line - 1, at.column()));
    let message = error.without_snippet().to_string();
    // The library ends its message with its own position, which is counted inside the front matter.
    let message = match message.split(" at line ").next().unwrap_or(&message) {
        budget
            if budget.starts_with("budget breached: Anchors")
                || budget.starts_with("budget breached: Aliases") =>
        {
            "anchors and aliases are not allowed".to_owned()
        }
        budget if budget.starts_with("budget breached") => {
            "the front matter is larger or nested deeper than allowed".to_owned()
        }
        other => other.to_owned(),
    };
    AgentDefinitionError { line, column, message, help: None }
}

/// The workspace and the scope of memory; memory of a workspace is that of the default one where the file names none.
fn memory_scope(
    agent: &AgentId,
    scope: RawScope,
    workspace: Option<WorkspaceId>,
) -> Result<(Option<WorkspaceId>, MemoryScope), AgentDefinitionError> {
    Ok(match scope {
        RawScope::Agent => (workspace, MemoryScope::Agent(agent.clone())),
        RawScope::Global => (workspace, MemoryScope::Global),
        RawScope::Workspace => {
            let named = workspace.map_or_else(|| WorkspaceId::parse(DEFAULT_WORKSPACE), Ok);
            let named = named.map_err(|error| AgentDefinitionError {
                line: 1,
                column: 1,
                message: error.to_string(),
                help: None,
            })?;
            (Some(named.clone()), MemoryScope::Workspace(named))
        }
    })
}

/// The tool that a name of the file stands for. A name that stands for none is kept as that of a built-in tool, which
/// nobody has, and warned of.
fn tool_id(
    name: &str,
    known: &KnownTools,
    warnings: &mut Vec<String>,
) -> Result<ToolId, AgentDefinitionError> {
    let wrong = |error: IdError| AgentDefinitionError {
        line: 1,
        column: 1,
        message: format!("`tools`: {error}"),
        help: Some("write `<server>___<tool>`, or the bare name of a tool that one server has"),
    };
    let warning = match known.resolve(name).map_err(wrong)? {
        NamedTool::One(id) => return Ok(id),
        NamedTool::Unknown(advice) => format!("no tool `{name}` is approved; {advice}"),
        NamedTool::Several(servers) => {
            let ids: Vec<String> = servers.iter().map(|server| format!("`{server}___{name}`")).collect();
            format!("several servers have the tool `{name}`: write {}", ids.join(" or "))
        }
    };
    warnings.push(warning);
    let id = if name.contains(ToolId::SEPARATOR) {
        ToolId::parse(name)
    } else {
        ServerName::parse("builtin").and_then(|server| ToolId::new(&server, name))
    };
    id.map_err(wrong)
}

fn handler(name: &str) -> Result<HandlerName, AgentDefinitionError> {
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('.')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    match name.strip_prefix("builtin:") {
        Some(builtin) if plain(builtin) => Ok(HandlerName::Builtin(builtin.to_owned())),
        None if plain(name) && name.ends_with(".wasm") => Ok(HandlerName::File(name.to_owned())),
        _ => Err(AgentDefinitionError {
            line: 1,
            column: 1,
            message: format!("`handler: {}` names no module", name.escape_debug()),
            help: Some("write `builtin:<name>`, or the name of a `.wasm` file in the agents' directory"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AgentDefinition, AgentDefinitionError> {
        AgentDefinition::parse(text, &KnownTools::builtin())
    }

    const WHOLE: &str = "---\nname: researcher\nversion: \"1.2.0\"\ncapabilities: [research]\ntools: [csv_parser, everything___get-sum]\nworkspace: lab\nmemory:\n  scope: workspace\nsecurity:\n  rate_limit: 50/minute\nhandler: builtin:echo_agent\n---\n\nYou look things up.\n";

    #[test]
    fn a_whole_file_is_read() {
        let agent = parse(WHOLE).unwrap();
        assert_eq!(agent.id.as_str(), "researcher");
        let tools: Vec<_> = agent.tools.iter().map(ToolId::as_str).collect();
        assert_eq!(tools, ["builtin___csv_parser", "everything___get-sum"]);
        assert_eq!(agent.memory.scope.to_string(), "workspace:lab");
        assert_eq!(agent.instructions, "You look things up.");
        assert_eq!(agent.handler, Some(HandlerName::Builtin("echo_agent".to_owned())));
    }

    #[test]
    fn the_words_for_what_an_agent_may_do_are_not_capabilities_that_it_offers() {
        let text = "---\nname: x\ncapabilities: [desk, memory-read, tool-access]\n---\n";
        let agent = parse(text).unwrap();
        assert_eq!(agent.capabilities.iter().map(CapabilityName::as_str).collect::<Vec<_>>(), ["desk"]);
        let may: Vec<&str> = agent.permissions.iter().map(|permission| permission.as_str()).collect();
        assert_eq!(may, ["memory-read", "tool-access"]);
    }

    #[test]
    fn memory_of_a_workspace_is_that_of_the_default_one_where_none_is_named() {
        let agent = parse("---\nname: x\nmemory: { scope: workspace }\n---\n").unwrap();
        assert_eq!(agent.memory.scope.to_string(), "workspace:default");
        assert_eq!(agent.workspace.unwrap().as_str(), DEFAULT_WORKSPACE);
    }

    #[test]
    fn what_has_no_effect_is_warned_of() {
        let warnings = |text: &str| parse(text).unwrap().warnings;
        let text =
            "---\nname: x\ncapabilities: [tool-access]\ntools: [csv_parse, get-env, mail___send]\n---\n";
        assert_eq!(
            warnings(text),
            [
                "no tool `csv_parse` is approved; did you mean `csv_parser`?",
                "no tool `get-env` is approved; write `<server>___get-env` for a tool of a server",
                "no tool `mail___send` is approved; there is no server `mail` in the configuration",
            ]
        );
        let without = warnings("---\nname: x\ntools: [csv_parser]\n---\n");
        assert_eq!(without, ["`tools` without the capability `tool-access`: it may call none of them"]);
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_read_over() {
        let agent = parse("\u{feff}---\r\nname: x\r\n---\r\nYou are x.\r\n").unwrap();
        assert_eq!((agent.id.as_str(), agent.instructions.as_str()), ("x", "You are x."));
    }

    #[test]
    fn every_mistake_names_its_place() {
        let cases: &[(&str, u64, &str)] = &[
            ("name: x\n", 1, "does not begin"),
            ("---\nname: x\n", 1, "no closing"),
            ("---\nname: x\ncolour: red\n---\n", 3, "colour"),
            ("---\nname: x\nname: y\n---\n", 3, "duplicate"),
            ("---\nname: &a x\ndescription: *a\n---\n", 2, "anchor"),
            ("---\nname: a/b\n---\n", 2, "agent id"),
            ("---\nname: x\ntools: [\"a\\u202eb\"]\n---\n", 1, "tools"),
            ("---\nname: x\nsecurity: { require_auth: false }\n---\n", 1, "every caller is authenticated"),
            ("---\nname: x\nhandler: ../../etc/passwd.wasm\n---\n", 1, "names no module"),
            ("---\nname: x\ncapabilities: [a, b]\nsecurity: { allowed_capabilities: [a] }\n---\n", 1, "`b`"),
            ("---\nname: x\nsecurity: { rate_limit: often }\n---\n", 1, "rate_limit"),
            ("---\ncapabilities: [a]\n---\n", 2, "name"),
        ];
        for (text, line, part) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.message.to_lowercase().contains(part), "{text:?}: {error:?}");
            assert_eq!(error.line, *line, "{text:?}: {error:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_quickly() {
        let deep = format!("---\nname: x\ncapabilities: {}{}\n---\n", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse(&deep).is_err());
        let aliases = "---\nname: &a x\ncapabilities: [*a, *a, *a]\n---\n";
        assert!(parse(aliases).is_err());
    }
}
