//! Reads keys and, by the same calls, gathers the table of all keys.
//!
//! A section of the settings asks for each key once, with its kind, default and documentation. From these calls
//! come the typed settings, the reference page, the JSON Schema, the provenance that `config show` prints, and the
//! knowledge of which keys of a file are unknown. So none of them can be forgotten or fall behind.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::document::{Node, Value};
use super::env_overrides::EnvOverride;
use super::expand::Variables;
use super::problem::{ConfigProblem, Position, ProblemCode};
use super::value_type::{ReadContext, ValueType, printable};

/// One key, as the reference and the schema describe it.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// The path; `[]` stands for each record of a list.
    pub path: String,
    /// The type, as the reference shows it.
    pub type_name: String,
    /// The default as one would write it; `None` when there is none.
    pub default: Option<String>,
    /// The sentence of the reference on what it does.
    pub doc: &'static str,
    /// Whether it may, must or cannot be changed.
    pub status: KeyStatus,
    pub(super) schema: Json,
    pub(super) secret: bool,
}

/// Whether a key may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// The key may be given.
    Optional,
    /// The key must be given in each record.
    Required,
    /// The key has one accepted value, which holds in any case.
    Fixed,
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueSource {
    /// The default: the key is not given.
    Default,
    /// A line of the file.
    File {
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: &'static str,
    },
}

/// One value in force.
#[derive(Debug, Clone, Serialize)]
pub struct EffectiveValue {
    /// The path, with the number of the record in a list.
    pub key: String,
    /// The value as one would write it; secrets are masked.
    pub value: String,
    /// The origin of the value.
    pub source: ValueSource,
}

/// A key with one accepted value, and the messages for other values.
pub(super) struct FixedKey {
    pub(super) path: &'static str,
    /// Accepted values, the first being the one in force.
    pub(super) accepts: &'static [&'static str],
    /// A weaker value that the guides show: accepted with a warning, without effect.
    pub(super) ignored: Option<&'static str>,
    pub(super) code: ProblemCode,
    pub(super) doc: &'static str,
    /// The advice for other values.
    pub(super) help: &'static str,
}

/// Where keys are looked up: the document, or one record of a list in it.
#[derive(Clone)]
struct LookupFrame<'a> {
    node: &'a Node,
    pattern: String,
    shown: String,
}

/// Reads the keys of one document; see the module.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    variables: &'a Variables<'a>,
    overrides: &'a [EnvOverride],
    pub(super) base: PathBuf,
    frame: LookupFrame<'a>,
    /// A record is described that the file does not have; nothing is reported.
    describing: bool,
    pub(super) weakened: bool,
    pub(super) keys: Vec<KeyInfo>,
    pub(super) values: Vec<EffectiveValue>,
    pub(super) problems: Vec<ConfigProblem>,
    pub(super) records: Vec<String>,
}

/// A section of no keys, for describing.
static NOTHING: Node = Node { at: 0..0, value: Value::Section(Vec::new()) };

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a str,
        root: &'a Node,
        variables: &'a Variables<'a>,
        overrides: &'a [EnvOverride],
        base: &Path,
    ) -> Self {
        Self {
            text,
            variables,
            overrides,
            base: base.to_owned(),
            frame: LookupFrame { node: root, pattern: String::new(), shown: String::new() },
            describing: false,
            weakened: false,
            keys: Vec::new(),
            values: Vec::new(),
            problems: Vec::new(),
            records: Vec::new(),
        }
    }

    /// A key with a default. After a mistake the default is returned: reading goes on, the mistake is kept.
    pub(super) fn value<K: ValueType>(
        &mut self,
        path: &str,
        kind: K,
        default: K::Value,
        doc: &'static str,
    ) -> K::Value {
        let shown = kind.show(&default);
        self.declare(path, &kind, Some(shown), doc, KeyStatus::Optional);
        self.read(path, &kind).unwrap_or_else(|| {
            self.set_in_force(path, kind.show(&default), ValueSource::Default);
            default
        })
    }

    /// A key without a default; what is absent stays absent.
    pub(super) fn optional<K: ValueType>(
        &mut self,
        path: &str,
        kind: K,
        doc: &'static str,
    ) -> Option<K::Value> {
        self.declare(path, &kind, None, doc, KeyStatus::Optional);
        self.read(path, &kind)
    }

    /// A key that each record must have.
    pub(super) fn required<K: ValueType>(
        &mut self,
        path: &str,
        kind: K,
        doc: &'static str,
    ) -> Option<K::Value> {
        self.declare(path, &kind, None, doc, KeyStatus::Required);
        if self.frame.node.find(path).is_none() {
            self.report(ConfigProblem::error(ProblemCode::Missing, "must be given"), path);
        }
        self.read(path, &kind)
    }

    /// A key with one accepted value, which holds in any case.
    pub(super) fn fixed(&mut self, fixed: &FixedKey) {
        let set_in_force = fixed.accepts.first().copied().unwrap_or_default();
        let type_name = match fixed.accepts {
            [only] => format!("`{only}`"),
            several => several.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        };
        let allowed: Vec<Json> =
            fixed.accepts.iter().chain(fixed.ignored.iter()).map(|word| json_word(word)).collect();
        self.keys.push(KeyInfo {
            path: fixed.path.to_owned(),
            type_name,
            default: Some(set_in_force.to_owned()),
            doc: fixed.doc,
            status: KeyStatus::Fixed,
            schema: json!({ "enum": allowed }),
            secret: false,
        });
        let Some((node, source)) = self.look_up(fixed.path) else { return };
        let Some(word) = self.scope(fixed.path, false).word(node, "a word") else { return };
        if fixed.accepts.contains(&word.text.as_str()) {
            self.set_in_force(fixed.path, word.text, source);
        } else if fixed.ignored == Some(word.text.as_str()) {
            let message = format!("`{}` is the weaker value: `{set_in_force}` stays in force", word.shown);
            self.report(
                ConfigProblem::warning(ProblemCode::Weakens, message).with_help(fixed.help),
                fixed.path,
            );
            self.set_in_force(fixed.path, set_in_force.to_owned(), ValueSource::Default);
        } else {
            let message = match fixed.code {
                ProblemCode::NotAvailable => format!("`{}` is not available in this version", word.shown),
                _ => format!("`{}` would switch off a protection that is always on", word.shown),
            };
            self.report(ConfigProblem::error(fixed.code, message).with_help(fixed.help), fixed.path);
        }
    }

    /// A list of records, each read by `read`, which returns `None` after a mistake.
    pub(super) fn records<T>(
        &mut self,
        path: &str,
        doc: &'static str,
        mut read: impl FnMut(&mut Self, usize) -> Option<T>,
    ) -> Vec<T> {
        self.declare_list(path, doc);
        let outer = self.frame.clone();
        let pattern = format!("{}{path}[].", outer.pattern);
        self.frame = LookupFrame { node: &NOTHING, pattern: pattern.clone(), shown: pattern.clone() };
        self.describing = true;
        read(self, 0);
        self.describing = false;
        let mut all = Vec::new();
        let items = match outer.node.find(path).map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            None | Some(Value::Empty) => &[],
            Some(Value::Scalar(_) | Value::Section(_)) => {
                self.frame = outer.clone();
                self.report(
                    ConfigProblem::error(ProblemCode::WrongType, "is not a list")
                        .with_help("begin each record with `- `"),
                    path,
                );
                &[]
            }
        };
        if items.len() > 256 {
            self.frame = outer.clone();
            self.report(ConfigProblem::error(ProblemCode::OutOfRange, "has more than 256 records"), path);
        }
        for (number, item) in items.iter().enumerate().take(256) {
            let shown = format!("{}{path}[{number}].", outer.shown);
            self.frame = LookupFrame { node: item, pattern: pattern.clone(), shown };
            all.extend(read(self, number));
        }
        self.frame = outer;
        all
    }

    /// Reports a mistake at `path`, or at the record or section that should have it.
    pub(super) fn report(&mut self, problem: ConfigProblem, path: &str) {
        if self.describing {
            return;
        }
        let problem = problem.of_key(format!("{}{path}", self.frame.shown));
        let problem = match self.look_up(path) {
            Some((_, ValueSource::Environment { variable })) => problem.of_variable(variable),
            Some((node, _)) => problem.at(self.text, &node.at),
            None if self.frame.node.at.end > 0 && !self.frame.shown.is_empty() => {
                problem.at(self.text, &(self.frame.node.at.start..self.frame.node.at.start))
            }
            None => problem,
        };
        self.problems.push(problem);
    }

    /// Reports that `path` is missing although `given` needs it; the position is that of `given`.
    pub(super) fn report_missing(&mut self, path: &str, given: &str) {
        let problem = ConfigProblem::error(
            ProblemCode::Missing,
            format!("must be given with `{}{given}`", self.frame.shown),
        );
        self.report(problem, given);
        if let Some(problem) = self.problems.last_mut().filter(|_| !self.describing) {
            problem.key = Some(format!("{}{path}", self.frame.shown));
        }
    }

    /// True when the file or the environment gives `path`.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.look_up(path).is_some()
    }

    /// Changes what `config show` says about a value that depends on others.
    pub(super) fn set_in_force(&mut self, path: &str, value: String, source: ValueSource) {
        if !self.describing {
            self.values.push(EffectiveValue { key: format!("{}{path}", self.frame.shown), value, source });
        }
    }

    fn read<K: ValueType>(&mut self, path: &str, kind: &K) -> Option<K::Value> {
        let (node, source) = self.look_up(path)?;
        let mut scope = self.scope(path, kind.secret());
        let value = kind.read(node, &mut scope)?;
        let is_secret = scope.secret || scope.from_secret;
        let shown = if is_secret { String::from("(secret)") } else { printable_value(&kind.show(&value)) };
        self.set_in_force(path, shown, source);
        Some(value)
    }

    fn look_up(&self, path: &str) -> Option<(&'a Node, ValueSource)> {
        if self.frame.pattern.is_empty()
            && let Some(over) = self.overrides.iter().find(|over| over.path == path)
        {
            return Some((&over.node, ValueSource::Environment { variable: over.variable }));
        }
        let node = self.frame.node.find(path)?;
        Some((node, ValueSource::File { line: Position::of(self.text, &node.at).line }))
    }

    fn scope(&mut self, path: &str, secret: bool) -> ReadContext<'_> {
        let variable = match self.look_up(path) {
            Some((_, ValueSource::Environment { variable })) => Some(variable),
            _ => None,
        };
        ReadContext {
            text: self.text,
            variables: self.variables,
            base: &self.base,
            key: format!("{}{path}", self.frame.shown),
            secret,
            variable,
            weakened: self.weakened,
            from_secret: false,
            problems: &mut self.problems,
        }
    }

    fn declare<K: ValueType>(
        &mut self,
        path: &str,
        kind: &K,
        default: Option<String>,
        doc: &'static str,
        status: KeyStatus,
    ) {
        let path = format!("{}{path}", self.frame.pattern);
        if self.keys.iter().all(|key| key.path != path) {
            self.keys.push(KeyInfo {
                path,
                type_name: kind.type_name(),
                default,
                doc,
                status,
                schema: kind.schema(),
                secret: kind.secret(),
            });
        }
    }

    fn declare_list(&mut self, path: &str, doc: &'static str) {
        let path = format!("{}{path}", self.frame.pattern);
        self.records.push(path.clone());
        self.keys.push(KeyInfo {
            path,
            type_name: String::from("list of records"),
            default: Some(String::from("[]")),
            doc,
            status: KeyStatus::Optional,
            schema: json!({ "type": "array", "maxItems": 256 }),
            secret: false,
        });
    }
}

/// A shown value on one line, without anything that moves a terminal.
fn printable_value(text: &str) -> String {
    if text.chars().count() <= 60 {
        printable(text)
    } else {
        text.chars().filter(|c| !c.is_control()).collect()
    }
}

fn json_word(word: &str) -> Json {
    match word {
        "true" => Json::Bool(true),
        "false" => Json::Bool(false),
        number => number.parse::<u64>().map_or_else(|_| Json::from(number), Json::from),
    }
}
