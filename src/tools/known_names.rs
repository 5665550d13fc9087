//! Which tools there are by approved definitions, for what is written about tools outside policies: agent files.

use std::collections::{BTreeMap, BTreeSet};

use super::builtin;
use super::pin::{PinError, Pins};
use super::settings::Settings;
use crate::model::{ServerName, ToolId};
use crate::sandbox::builtin_tools;
use crate::suggest::nearest;

/// The tools that come with the gateway, and those of servers whose definitions a person approved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownTools {
    servers_by_tool: BTreeMap<String, BTreeSet<ServerName>>,
    /// Servers whose tools are taken over when they answer, and are not known before.
    imported: BTreeSet<ServerName>,
    servers: BTreeSet<ServerName>,
}

/// What a name in an agent file stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedTool {
    /// A tool that there is, or one of a server whose tools are not known yet.
    One(ToolId),
    /// No tool; what to do about it.
    Unknown(String),
    /// A name without a server that several servers have.
    Several(Vec<ServerName>),
}

impl KnownTools {
    /// Those of the files of approved definitions in the settings' directory. Blocking.
    ///
    /// # Errors
    /// A file of approved definitions cannot be trusted.
    pub fn read(settings: &Settings) -> Result<Self, PinError> {
        let dir = settings.pin_dir();
        let mut known = Self::builtin();
        for server in &settings.servers {
            let pins = Pins::load(&dir, &server.name, settings.max_definition_bytes)?;
            known.add(&server.name, pins.as_ref(), settings.auto_import);
        }
        Ok(known)
    }

    /// Those that come with the gateway.
    pub fn builtin() -> Self {
        let mut known = Self::default();
        let Ok(server) = builtin::server() else { return known };
        for tool in builtin_tools() {
            known.servers_by_tool.entry(tool.name.to_owned()).or_default().insert(server.clone());
        }
        known.servers.insert(server);
        known
    }

    /// A server of the configuration. Without approved definitions its tools are unknown, or with `auto_import` all are taken.
    pub(super) fn add(&mut self, server: &ServerName, pins: Option<&Pins>, auto_import: bool) {
        self.servers.insert(server.clone());
        let Some(pins) = pins else {
            if auto_import {
                self.imported.insert(server.clone());
            }
            return;
        };
        for definition in pins.definitions() {
            self.servers_by_tool.entry(definition.name.clone()).or_default().insert(server.clone());
        }
    }

    /// The tool that `name` stands for: `<server>___<tool>`, or the bare name of a tool. A bare name is that of the
    /// built-in tool, else that of the one server that has it: a server that comes later takes no name over.
    ///
    /// # Errors
    /// It cannot be the name of a tool.
    pub fn resolve(&self, name: &str) -> Result<NamedTool, crate::model::IdError> {
        if name.contains(ToolId::SEPARATOR) {
            let id = ToolId::parse(name)?;
            return Ok(if self.has(&id) { NamedTool::One(id) } else { self.unknown(name) });
        }
        let bare = ToolId::parse(format!("{}{}{name}", builtin::SERVER, ToolId::SEPARATOR))?;
        let Some(servers) = self.servers_by_tool.get(name) else { return Ok(self.unknown(name)) };
        let mut servers: Vec<&ServerName> = servers.iter().collect();
        if servers.iter().any(|server| server.as_str() == builtin::SERVER) {
            return Ok(NamedTool::One(bare));
        }
        match (servers.pop(), servers.as_slice()) {
            (Some(only), []) => ToolId::new(only, name).map(NamedTool::One),
            (last, others) => Ok(NamedTool::Several(others.iter().copied().chain(last).cloned().collect())),
        }
    }

    fn has(&self, id: &ToolId) -> bool {
        let is_of = |server: &ServerName| server.as_str() == id.server();
        let tool = id.as_str().split_once(ToolId::SEPARATOR).map_or("", |(_, tool)| tool);
        self.imported.iter().any(is_of)
            || self.servers_by_tool.get(tool).is_some_and(|servers| servers.iter().any(is_of))
    }

    fn unknown(&self, name: &str) -> NamedTool {
        let all: Vec<String> = self
            .servers_by_tool
            .iter()
            .flat_map(|(tool, servers)| {
                servers.iter().map(move |server| format!("{server}{}{tool}", ToolId::SEPARATOR))
            })
            .collect();
        let qualified = name.split_once(ToolId::SEPARATOR);
        let near = match qualified {
            Some(_) => nearest(name, all.iter().map(String::as_str)),
            None => nearest(name, self.servers_by_tool.keys().map(String::as_str)),
        };
        let has = |server: &str| self.servers.iter().any(|known| known.as_str() == server);
        NamedTool::Unknown(match (near, qualified) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, Some((server, _))) if has(server) => {
                format!("`caxton tools import {server}` shows what it offers")
            }
            (None, Some((server, _))) => format!("there is no server `{server}` in the configuration"),
            (None, None) => format!("write `<server>{}{name}` for a tool of a server", ToolId::SEPARATOR),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(pinned: &[(&str, &[&str])], unpinned: &[&str]) -> KnownTools {
        let mut known = KnownTools::builtin();
        for (server, tools) in pinned {
            let server = ServerName::parse(server).unwrap();
            for tool in *tools {
                known.servers_by_tool.entry((*tool).to_owned()).or_default().insert(server.clone());
            }
        }
        for server in unpinned {
            known.add(&ServerName::parse(server).unwrap(), None, true);
        }
        known
    }

    #[test]
    fn a_bare_name_is_the_built_in_tool_or_that_of_the_one_server_that_has_it() {
        let known = known(&[("a", &["echo", "sum", "csv_parser"]), ("b", &["echo"])], &[]);
        let one = |text| NamedTool::One(ToolId::parse(text).unwrap());
        assert_eq!(known.resolve("csv_parser").unwrap(), one("builtin___csv_parser"));
        assert_eq!(known.resolve("sum").unwrap(), one("a___sum"));
        assert_eq!(known.resolve("b___echo").unwrap(), one("b___echo"));
        let servers = ["a", "b"].map(|name| ServerName::parse(name).unwrap()).to_vec();
        assert_eq!(known.resolve("echo").unwrap(), NamedTool::Several(servers));
    }

    #[test]
    fn of_a_tool_that_there_is_not_it_is_said_what_to_do() {
        let known = known(&[("everything", &["echo"])], &["late"]);
        for (name, advice) in [
            ("everythin___echo", "did you mean `everything___echo`?"),
            ("csv_parse", "did you mean `csv_parser`?"),
            ("get-env", "write `<server>___get-env` for a tool of a server"),
            ("builtin___send_mail", "`caxton tools import builtin` shows what it offers"),
            ("mail___send", "there is no server `mail` in the configuration"),
        ] {
            assert_eq!(known.resolve(name).unwrap(), NamedTool::Unknown(advice.to_owned()), "{name}");
        }
        // What a server without approved definitions offers is known once it answers.
        assert!(matches!(known.resolve("late___anything").unwrap(), NamedTool::One(_)));
        assert!(known.resolve("a\u{202e}b").is_err());
    }
}
