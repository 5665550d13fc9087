//! Pinned definitions: what a person approved, on disk beside the policies, and how it compares with what a
//! server says today.
//!
//! `<dir>/<server>.tools.json` holds the definitions with their digests, `<dir>/<server>.cedarschema` the
//! actions generated from them. A file whose digests do not fit its definitions is refused: a person edited
//! one without the other.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::model::ServerName;

use super::arguments::ArgumentSchema;
use super::definition::{Definition, DefinitionError};
use super::schema_fragment::cedar_fragment;
use crate::text::one_line;

/// The most bytes of a file of pins.
pub(super) const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;

/// The approved definitions of one server, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Pins {
    server: ServerName,
    tools: BTreeMap<String, Definition>,
}

/// How a tool compares with its pin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum PinChange {
    /// As approved.
    Unchanged,
    /// These fields are not as approved.
    Changed {
        /// Their MCP names.
        fields: Vec<&'static str>,
    },
    /// Not approved yet.
    Added,
    /// Approved, and no longer offered.
    Removed,
}

/// Why pins cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read or written.
    #[error("`{path}` cannot be used")]
    PinFile {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file is not a list of pins.
    #[error("`{path}` is not a file of pinned tools: {message}")]
    Form {
        /// The file.
        path: PathBuf,
        /// The fault in it.
        message: String,
    },
    /// The file belongs to another server.
    #[error("`{path}` pins the tools of `{found}`")]
    Server {
        /// The file.
        path: PathBuf,
        /// The server it names.
        found: String,
    },
    /// A definition and its digest differ.
    #[error("`{path}`: the digest of the tool `{tool}` does not fit its definition")]
    Digest {
        /// The file.
        path: PathBuf,
        /// The tool.
        tool: String,
    },
    /// A definition breaks a rule.
    #[error("the tool `{tool}` cannot be pinned")]
    Definition {
        /// The tool.
        tool: String,
        /// The rule.
        #[source]
        source: DefinitionError,
    },
    /// Two tools have names that are one after normalisation.
    #[error("the tool `{0}` is there twice")]
    Twice(String),
    /// The named tool is neither pinned nor offered.
    #[error("the server has no tool `{0}`")]
    NoTool(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinFile {
    server: String,
    tools: Vec<PinEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinEntry {
    sha256: String,
    definition: Json,
}

impl Pins {
    /// Pins for `definitions` as they are.
    pub fn new(
        server: &ServerName,
        definitions: impl IntoIterator<Item = Definition>,
    ) -> Result<Self, PinError> {
        let mut pins = Self::empty(server);
        for definition in definitions {
            pins.add(definition)?;
        }
        Ok(pins)
    }

    /// No pins.
    pub(super) fn empty(server: &ServerName) -> Self {
        Self { server: server.clone(), tools: BTreeMap::new() }
    }

    fn add(&mut self, definition: Definition) -> Result<(), PinError> {
        let name = definition.name.clone();
        match self.tools.insert(name.clone(), definition) {
            None => Ok(()),
            Some(_) => Err(PinError::Twice(name)),
        }
    }

    /// Takes over a tool that was not seen before; one that is there stays as it is.
    pub(super) fn remember(&mut self, definition: &Definition) {
        self.tools.entry(definition.name.clone()).or_insert_with(|| definition.clone());
    }

    /// Reads the pins of `server`; `None` when there are none yet.
    pub fn load(dir: &Path, server: &ServerName, max_definition: usize) -> Result<Option<Self>, PinError> {
        let path = pin_path(dir, server);
        let Some(text) = read_bounded(&path)? else {
            return Ok(None);
        };
        let form = |message: String| PinError::Form { path: path.clone(), message };
        let file: PinFile =
            crate::json::parse_as(text.as_bytes()).map_err(|error| form(error.to_string()))?;
        if file.server != server.as_str() {
            return Err(PinError::Server { path, found: one_line(&file.server, 80) });
        }
        let mut pins = Self::empty(server);
        for entry in file.tools {
            let definition = Definition::read(&entry.definition, max_definition)
                .map_err(|error| form(error.to_string()))?;
            if definition.sha256() != entry.sha256 {
                return Err(PinError::Digest { path, tool: definition.name });
            }
            pins.add(definition)?;
        }
        Ok(Some(pins))
    }

    /// The pinned definition of a tool.
    pub fn tool(&self, name: &str) -> Option<&Definition> {
        self.tools.get(name)
    }

    /// All pinned definitions, by name.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.tools.values()
    }

    /// How each tool, pinned or offered, compares.
    pub fn compare(&self, live: &[Definition]) -> BTreeMap<String, PinChange> {
        let mut changes: BTreeMap<String, PinChange> =
            self.tools.keys().map(|name| (name.clone(), PinChange::Removed)).collect();
        for definition in live {
            let change = match self.tools.get(&definition.name) {
                None => PinChange::Added,
                Some(pinned) if definition.is_pinned_as(pinned) => PinChange::Unchanged,
                Some(pinned) => PinChange::Changed { fields: pinned.changed_fields(definition) },
            };
            changes.insert(definition.name.clone(), change);
        }
        changes
    }

    /// Takes over what the server offers now: everything, or one tool (which may have been added or removed).
    pub fn approve(&mut self, live: Vec<Definition>, only: Option<&str>) -> Result<(), PinError> {
        let Some(name) = only else {
            *self = Self::new(&self.server, live)?;
            return Ok(());
        };
        let offered = live.into_iter().find(|definition| definition.name == name);
        match offered {
            Some(definition) => {
                self.tools.insert(name.to_owned(), definition);
                Ok(())
            }
            None if self.tools.remove(name).is_some() => Ok(()),
            None => Err(PinError::NoTool(name.to_owned())),
        }
    }

    /// The schema fragment of the pinned tools.
    pub fn fragment(&self) -> Result<String, PinError> {
        let mut tools = Vec::with_capacity(self.tools.len());
        for (name, definition) in &self.tools {
            let typed = definition
                .id(&self.server)
                .map_err(DefinitionError::from)
                .and_then(|id| Ok((id, ArgumentSchema::compile(&definition.input_schema)?)))
                .map_err(|source| PinError::Definition { tool: name.clone(), source })?;
            tools.push(typed);
        }
        Ok(cedar_fragment(&self.server, tools.iter().map(|(id, schema)| (id, schema.input()))))
    }

    /// Writes both files and says where. Each is replaced as a whole or not at all.
    pub fn write(&self, dir: &Path) -> Result<[PathBuf; 2], PinError> {
        let fragment = self.fragment()?;
        let file = PinFile {
            server: self.server.to_string(),
            tools: self
                .tools
                .values()
                .map(|definition| PinEntry {
                    sha256: definition.sha256(),
                    definition: definition.to_mcp(definition.wire_name()),
                })
                .collect(),
        };
        let paths = [fragment_path(dir, &self.server), pin_path(dir, &self.server)];
        let [fragment_file, pin_file] = &paths;
        let json = serde_json::to_string_pretty(&file)
            .map_err(|error| PinError::Form { path: pin_file.clone(), message: error.to_string() })?;
        fs::create_dir_all(dir).map_err(|source| PinError::PinFile { path: dir.to_owned(), source })?;
        replace(fragment_file, &fragment)?;
        replace(pin_file, &format!("{json}\n"))?;
        Ok(paths)
    }
}

/// The file with the pinned definitions of `server`.
pub fn pin_path(dir: &Path, server: &ServerName) -> PathBuf {
    dir.join(format!("{server}.tools.json"))
}

/// The file with the schema fragment of `server`.
pub fn fragment_path(dir: &Path, server: &ServerName) -> PathBuf {
    dir.join(format!("{server}.cedarschema"))
}

fn read_bounded(path: &Path) -> Result<Option<String>, PinError> {
    let failed = |source| PinError::PinFile { path: path.to_owned(), source };
    let file = match crate::regular::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        let message = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return Err(PinError::Form { path: path.to_owned(), message });
    }
    Ok(Some(text))
}

fn replace(path: &Path, text: &str) -> Result<(), PinError> {
    write_beside_and_rename(path, text).map_err(|source| PinError::PinFile { path: path.to_owned(), source })
}

fn write_beside_and_rename(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BUDGET: usize = 65_536;

    fn server() -> ServerName {
        ServerName::parse("files").unwrap()
    }

    fn tool(name: &str, description: &str) -> Definition {
        let json = json!({
            "name": name, "description": description,
            "inputSchema": { "type": "object", "properties": { "path": { "type": "string" } } }
        });
        Definition::read(&json, BUDGET).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins::new(&server(), [tool("read", "r"), tool("cafe\u{301}/x", "w")]).unwrap();
        let [fragment, _] = pins.write(dir.path()).unwrap();
        assert_eq!(Pins::load(dir.path(), &server(), BUDGET).unwrap().unwrap(), pins);
        assert!(fs::read_to_string(fragment).unwrap().contains("\"files___caf\\u{e9}/x\""));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside the two files");
        let other = ServerName::parse("other").unwrap();
        assert_eq!(Pins::load(dir.path(), &other, BUDGET).unwrap(), None);
    }

    #[test]
    fn an_edited_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Pins::new(&server(), [tool("read", "harmless")]).unwrap().write(dir.path()).unwrap();
        let path = pin_path(dir.path(), &server());
        let text = fs::read_to_string(&path).unwrap();
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Pins::load(dir.path(), &server(), BUDGET).unwrap_err()
        };
        let edited = load(&text.replace("harmless", "harmful"));
        assert!(matches!(edited, PinError::Digest { tool, .. } if tool == "read"));
        assert!(matches!(load(&text.replace("\"files\"", "\"other\"")), PinError::Server { .. }));
        assert!(matches!(load(&text.replace("\"tools\"", "\"tool\"")), PinError::Form { .. }));
        assert!(matches!(load("{"), PinError::Form { .. }));
    }

    #[test]
    fn every_kind_of_change_is_told() {
        let pins =
            Pins::new(&server(), [tool("same", "a"), tool("new-text", "a"), tool("gone", "a")]).unwrap();
        let changes = pins.compare(&[tool("same", "a"), tool("new-text", "b"), tool("more", "a")]);
        let expected = [
            ("gone", PinChange::Removed),
            ("more", PinChange::Added),
            ("new-text", PinChange::Changed { fields: vec!["description"] }),
            ("same", PinChange::Unchanged),
        ];
        assert_eq!(changes, expected.map(|(name, change)| (name.to_owned(), change)).into());
    }

    #[test]
    fn approval_of_one_tool_leaves_the_others() {
        let mut pins = Pins::new(&server(), [tool("a", "1"), tool("b", "1"), tool("c", "1")]).unwrap();
        let live = || vec![tool("a", "2"), tool("b", "2"), tool("d", "2")];
        pins.approve(live(), Some("a")).unwrap();
        assert_eq!(pins.tool("a"), Some(&tool("a", "2")));
        assert_eq!(pins.tool("b"), Some(&tool("b", "1")));
        pins.approve(live(), Some("c")).unwrap();
        assert_eq!(pins.tool("c"), None);
        assert!(matches!(pins.approve(live(), Some("x")), Err(PinError::NoTool(_))));
        pins.approve(live(), None).unwrap();
        assert!(pins.compare(&live()).values().all(|change| *change == PinChange::Unchanged));
    }

    #[test]
    fn two_spellings_of_one_name_are_refused() {
        let twice = Pins::new(&server(), [tool("caf\u{e9}", ""), tool("cafe\u{301}", "")]);
        assert!(matches!(twice, Err(PinError::Twice(_))));
    }
}
