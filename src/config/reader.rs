//! Reads keys and, by the same calls, gathers the table of all keys.
//!
//! A section of the settings asks for each key once, with its kind, default and documentation. From these calls
//! come the typed settings, the reference page, the JSON Schema, the provenance that `config show` prints, and the
//! knowledge of which keys of a file are unknown. So none of them can be forgotten or fall behind.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::document::{Node, Value};
use super::env_overrides::Override;
use super::expand::Variables;
use super::problem::{Code, Place, Problem};
use super::value_type::{Kind, Scope, printable};

/// One key, as the reference and the schema describe it.
#[derive(Debug, Clone)]
pub struct Key {
    /// The path; `[]` stands for each record of a list.
    pub path: String,
    /// The type in words.
    pub words: String,
    /// The default as one would write it; `None` when there is none.
    pub default: Option<String>,
    /// What it does.
    pub doc: &'static str,
    /// Whether it may, must or cannot be changed.
    pub status: Status,
    pub(super) schema: Json,
    pub(super) secret: bool,
}

/// Whether a key may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It may be given.
    Optional,
    /// It must be given in each record.
    Required,
    /// It says what holds anyway; only that value is accepted.
    Fixed,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nothing was given.
    Default,
    /// This line of the file.
    File {
        /// The line, from 1.
        line: usize,
    },
    /// This variable.
    Environment {
        /// Its name.
        variable: &'static str,
    },
}

/// One value in force.
#[derive(Debug, Clone, Serialize)]
pub struct Effective {
    /// The path, with the number of the record in a list.
    pub key: String,
    /// The value as one would write it; secrets are masked.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// What a fixed key accepts, and what is said about other values.
pub(super) struct Fixed {
    pub(super) path: &'static str,
    /// Accepted values, the first being the one in force.
    pub(super) accepts: &'static [&'static str],
    /// A weaker value that the guides show: accepted with a warning, without effect.
    pub(super) ignored: Option<&'static str>,
    pub(super) code: Code,
    pub(super) doc: &'static str,
    /// Advice for who wants another value.
    pub(super) help: &'static str,
}

/// Where keys are looked up: the document, or one record of a list in it.
#[derive(Clone)]
struct Frame<'a> {
    node: &'a Node,
    pattern: String,
    shown: String,
}

/// See the module.
pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    variables: &'a Variables<'a>,
    overrides: &'a [Override],
    pub(super) base: PathBuf,
    frame: Frame<'a>,
    /// Describing a record that the file does not have: nothing is told.
    dry: bool,
    pub(super) weakened: bool,
    pub(super) keys: Vec<Key>,
    pub(super) values: Vec<Effective>,
    pub(super) problems: Vec<Problem>,
    pub(super) records: Vec<String>,
}

/// A section of no keys, for describing.
static NOTHING: Node = Node { at: 0..0, value: Value::Section(Vec::new()) };

impl<'a> Reader<'a> {
    pub(super) fn new(
        text: &'a str,
        root: &'a Node,
        variables: &'a Variables<'a>,
        overrides: &'a [Override],
        base: &Path,
    ) -> Self {
        Self {
            text,
            variables,
            overrides,
            base: base.to_owned(),
            frame: Frame { node: root, pattern: String::new(), shown: String::new() },
            dry: false,
            weakened: false,
            keys: Vec::new(),
            values: Vec::new(),
            problems: Vec::new(),
            records: Vec::new(),
        }
    }

    /// A key with a default. After a mistake the default is returned: reading goes on, the mistake is kept.
    pub(super) fn value<K: Kind>(
        &mut self,
        path: &str,
        kind: K,
        default: K::Value,
        doc: &'static str,
    ) -> K::Value {
        let shown = kind.show(&default);
        self.declare(path, &kind, Some(shown), doc, Status::Optional);
        self.read(path, &kind).unwrap_or_else(|| {
            self.in_force(path, kind.show(&default), Source::Default);
            default
        })
    }

    /// A key without a default; what is absent stays absent.
    pub(super) fn optional<K: Kind>(&mut self, path: &str, kind: K, doc: &'static str) -> Option<K::Value> {
        self.declare(path, &kind, None, doc, Status::Optional);
        self.read(path, &kind)
    }

    /// A key that each record must have.
    pub(super) fn required<K: Kind>(&mut self, path: &str, kind: K, doc: &'static str) -> Option<K::Value> {
        self.declare(path, &kind, None, doc, Status::Required);
        if self.frame.node.find(path).is_none() {
            self.tell(Problem::error(Code::Missing, "must be given"), path);
        }
        self.read(path, &kind)
    }

    /// A key that can only say what holds anyway.
    pub(super) fn fixed(&mut self, fixed: &Fixed) {
        let in_force = fixed.accepts.first().copied().unwrap_or_default();
        let words = match fixed.accepts {
            [only] => format!("`{only}`"),
            several => several.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        };
        let allowed: Vec<Json> =
            fixed.accepts.iter().chain(fixed.ignored.iter()).map(|word| json_word(word)).collect();
        self.keys.push(Key {
            path: fixed.path.to_owned(),
            words,
            default: Some(in_force.to_owned()),
            doc: fixed.doc,
            status: Status::Fixed,
            schema: json!({ "enum": allowed }),
            secret: false,
        });
        let Some((node, source)) = self.look_up(fixed.path) else { return };
        let Some(word) = self.scope(fixed.path, false).word(node, "a word") else { return };
        if fixed.accepts.contains(&word.text.as_str()) {
            self.in_force(fixed.path, word.text, source);
        } else if fixed.ignored == Some(word.text.as_str()) {
            let message = format!("`{}` is the weaker value: `{in_force}` stays in force", word.shown);
            self.tell(Problem::warning(Code::Weakens, message).with_help(fixed.help), fixed.path);
            self.in_force(fixed.path, in_force.to_owned(), Source::Default);
        } else {
            let message = match fixed.code {
                Code::NotAvailable => format!("`{}` is not available in this version", word.shown),
                _ => format!("`{}` would switch off a protection that is always on", word.shown),
            };
            self.tell(Problem::error(fixed.code, message).with_help(fixed.help), fixed.path);
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
        self.frame = Frame { node: &NOTHING, pattern: pattern.clone(), shown: pattern.clone() };
        self.dry = true;
        read(self, 0);
        self.dry = false;
        let mut all = Vec::new();
        let items = match outer.node.find(path).map(|node| &node.value) {
            Some(Value::List(items)) => items.as_slice(),
            None | Some(Value::Empty) => &[],
            Some(Value::Scalar(_) | Value::Section(_)) => {
                self.frame = outer.clone();
                self.tell(
                    Problem::error(Code::WrongType, "is not a list").with_help("begin each record with `- `"),
                    path,
                );
                &[]
            }
        };
        if items.len() > 256 {
            self.frame = outer.clone();
            self.tell(Problem::error(Code::OutOfRange, "has more than 256 records"), path);
        }
        for (number, item) in items.iter().enumerate().take(256) {
            let shown = format!("{}{path}[{number}].", outer.shown);
            self.frame = Frame { node: item, pattern: pattern.clone(), shown };
            all.extend(read(self, number));
        }
        self.frame = outer;
        all
    }

    /// Tells a mistake at `path`, or at the record or section that should have it.
    pub(super) fn tell(&mut self, problem: Problem, path: &str) {
        if self.dry {
            return;
        }
        let problem = problem.of_key(format!("{}{path}", self.frame.shown));
        let problem = match self.look_up(path) {
            Some((_, Source::Environment { variable })) => problem.of_variable(variable),
            Some((node, _)) => problem.at(self.text, &node.at),
            None if self.frame.node.at.end > 0 && !self.frame.shown.is_empty() => {
                problem.at(self.text, &(self.frame.node.at.start..self.frame.node.at.start))
            }
            None => problem,
        };
        self.problems.push(problem);
    }

    /// Tells that `path` is missing although `given` asks for it; the place is that of `given`.
    pub(super) fn tell_missing(&mut self, path: &str, given: &str) {
        let problem =
            Problem::error(Code::Missing, format!("must be given with `{}{given}`", self.frame.shown));
        self.tell(problem, given);
        if let Some(problem) = self.problems.last_mut().filter(|_| !self.dry) {
            problem.key = Some(format!("{}{path}", self.frame.shown));
        }
    }

    /// True when the file or the environment gives `path`.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.look_up(path).is_some()
    }

    /// Changes what `config show` says about a value that depends on others.
    pub(super) fn in_force(&mut self, path: &str, value: String, source: Source) {
        if !self.dry {
            self.values.push(Effective { key: format!("{}{path}", self.frame.shown), value, source });
        }
    }

    fn read<K: Kind>(&mut self, path: &str, kind: &K) -> Option<K::Value> {
        let (node, source) = self.look_up(path)?;
        let mut scope = self.scope(path, kind.secret());
        let value = kind.read(node, &mut scope)?;
        let is_secret = scope.secret || scope.from_secret;
        let shown = if is_secret { String::from("(secret)") } else { printable_value(&kind.show(&value)) };
        self.in_force(path, shown, source);
        Some(value)
    }

    fn look_up(&self, path: &str) -> Option<(&'a Node, Source)> {
        if self.frame.pattern.is_empty()
            && let Some(over) = self.overrides.iter().find(|over| over.path == path)
        {
            return Some((&over.node, Source::Environment { variable: over.variable }));
        }
        let node = self.frame.node.find(path)?;
        Some((node, Source::File { line: Place::of(self.text, &node.at).line }))
    }

    fn scope(&mut self, path: &str, secret: bool) -> Scope<'_> {
        let variable = match self.look_up(path) {
            Some((_, Source::Environment { variable })) => Some(variable),
            _ => None,
        };
        Scope {
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

    fn declare<K: Kind>(
        &mut self,
        path: &str,
        kind: &K,
        default: Option<String>,
        doc: &'static str,
        status: Status,
    ) {
        let path = format!("{}{path}", self.frame.pattern);
        if self.keys.iter().all(|key| key.path != path) {
            let (words, schema, secret) = (kind.words(), kind.schema(), kind.secret());
            self.keys.push(Key { path, words, default, doc, status, schema, secret });
        }
    }

    fn declare_list(&mut self, path: &str, doc: &'static str) {
        let path = format!("{}{path}", self.frame.pattern);
        self.records.push(path.clone());
        self.keys.push(Key {
            path,
            words: String::from("list of records"),
            default: Some(String::from("[]")),
            doc,
            status: Status::Optional,
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
