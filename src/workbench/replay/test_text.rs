//! A recorded decision as a test that a person can read: who, what, on what, and of the circumstances only what differs
//! from the neutral default and what some policy looks at.
//!
//! Every test is run before it is handed out. One that does not come to what it states is not written: the log may hold
//! too little, or something that test files have no words for.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};
use smol_str::SmolStr;

use super::reads::{Hidden, Reads, Root};
use super::record::{Asked, Decided, Known, Logged, Without};
use super::report::NotEvaluated;
use super::{BadRecord, ReplayFlip};
use crate::clock::rfc3339;
use crate::model::cedar_json::instant_text;
use crate::model::{Entity, EntityUid, Fields, Value};
use crate::policy::{Bundle, Query};
use crate::text::{one_line, quote_yaml};
use crate::workbench::case::{World, shorthand};
use crate::workbench::run;
use crate::workbench::run::{Suites, TestResult};

/// Why a recorded decision cannot be written as a test.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The line is no record.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// There is no decision in it that could be asked again.
    #[error("record `{record}` has no decision that can be asked again: {why}")]
    Without {
        /// The record.
        record: String,
        /// What it lacks.
        why: String,
    },
    /// The request does not fit the schema.
    #[error("the request of record `{record}` does not fit the schema: {why}")]
    Mismatch {
        /// The record.
        record: String,
        /// In what.
        why: String,
    },
    /// The test does not come to what the record says.
    #[error("the test of record `{record}` does not reproduce the logged decision: {got}")]
    Unlike {
        /// The record.
        record: String,
        /// What it came to.
        got: String,
    },
}

/// The tests of flips: each states what was recorded, and says in a comment what the candidate decides. Flips that differ
/// in nothing that matters become one test. What cannot be written is told.
pub fn suite_of_flips<'f>(
    baseline: &Bundle,
    candidate: &Bundle,
    flips: impl IntoIterator<Item = &'f ReplayFlip>,
) -> (String, usize, Vec<TestError>) {
    let reads = Reads::of_bundles(&[baseline, candidate]);
    let writer = Writer { bundle: baseline, reads: &reads };
    let known = |id: &str| candidate.policy(id).is_some();
    let (mut tests, mut failed): (Vec<(String, u64)>, _) = (Vec::new(), Vec::new());
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for flip in flips {
        let Some(record) = &flip.kept else { continue };
        let by =
            if flip.new.policies.is_empty() { "no policy".to_owned() } else { flip.new.policies.join(", ") };
        let note = format!("the candidate decides {} by {by}", flip.new.outcome);
        match writer.item(record, flip.item, Some(&note), &known) {
            Ok(text) => {
                let body = text.lines().filter(|line| !line.starts_with("  - name:")).collect();
                let number = *numbers.entry(body).or_insert(tests.len());
                match tests.get_mut(number) {
                    Some((_, like)) => *like += 1,
                    None => tests.push((text, 0)),
                }
            }
            Err(error) => failed.push(error),
        }
    }
    let written = tests.len();
    let mut suite = String::from("suite: replay\ntests:\n");
    for (text, like) in tests {
        if like > 0 {
            // Writing to a `String` cannot fail.
            let _ = writeln!(suite, "  # {like} more like this one");
        }
        suite.push_str(&text);
    }
    (suite, written, failed)
}

/// The test of one record: its decision, and one for each item of a list.
pub fn suite_of_record(bundle: &Bundle, record: Json) -> Result<(String, Vec<TestError>), TestError> {
    let record = Logged::read(record)?;
    let reads = Reads::of_bundles(&[bundle]);
    let writer = Writer { bundle, reads: &reads };
    let known = |id: &str| bundle.policy(id).is_some();
    let (mut tests, mut failed) = (String::new(), Vec::new());
    let own = record.decision().is_some().then_some(None);
    let items = (1..=record.items.len()).map(Some);
    for item in own.into_iter().chain(items) {
        match writer.item(&record, item, None, &known) {
            Ok(text) => tests.push_str(&text),
            Err(error) => failed.push(error),
        }
    }
    if !tests.is_empty() {
        return Ok((format!("suite: from the log\ntests:\n{tests}"), failed));
    }
    let nothing = || {
        let why = "it is the head of a list without items".to_owned();
        TestError::Without { record: record.decision_id.clone(), why }
    };
    Err(failed.pop().unwrap_or_else(nothing))
}

struct Writer<'b> {
    bundle: &'b Bundle,
    reads: &'b Reads,
}

impl Writer<'_> {
    fn item(
        &self,
        record: &Logged,
        item: Option<usize>,
        note: Option<&str>,
        known: &dyn Fn(&str) -> bool,
    ) -> Result<String, TestError> {
        let question = match item {
            None => record.decision().unwrap_or(Err(Without::NoDecision)),
            Some(number) => match record.items.get(number - 1) {
                Some(item) => record.item(item),
                None => Err(Without::NoDecision),
            },
        };
        let id = || record.decision_id.clone();
        let (asked, decided) = question.map_err(|without| {
            let why = match without {
                Without::NoDecision => "it tells of an event".to_owned(),
                without => NotEvaluated::from(without).to_string(),
            };
            TestError::Without { record: id(), why }
        })?;
        let typed = asked.typed(&[self.bundle], &mut Known::default());
        let typed = typed.map_err(|why| TestError::Mismatch { record: id(), why: why.to_string() })?;
        let mut text = self.test(record, item, &asked, &decided, &typed.query, known);
        for comment in note.map(str::to_owned).into_iter().chain(comments(&asked, &typed.hidden)) {
            text = format!("  # {}\n{text}", one_line(&comment, usize::MAX));
        }
        match self.got(&text) {
            None => Ok(text),
            Some(got) => Err(TestError::Unlike { record: id(), got }),
        }
    }

    fn test(
        &self,
        record: &Logged,
        item: Option<usize>,
        asked: &Asked<'_>,
        decided: &Decided<'_>,
        query: &Query,
        known: &dyn Fn(&str) -> bool,
    ) -> String {
        let mut world = World::new(self.bundle);
        let mut yaml = Yaml::default();
        let mut entities = String::new();
        for uid in mentioned(query) {
            let neutral = world.neutral(&uid);
            let recorded = query.entities.iter().find(|entity| entity.uid == uid);
            let entry = match (recorded, neutral.as_deref()) {
                (Some(entity), neutral) => Some(self.entity(&mut yaml, entity, neutral)),
                // Without attributes it makes no difference whether it is there.
                (None, Some(neutral)) if !neutral.is_bare() => Some(" absent: true ".to_owned()),
                (None, _) => None,
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(entities, "      {}: {{{}}}", key(&shorthand(&uid)), entry.unwrap_or_default());
        }
        let now = instant(&query.context);
        let given: Map<String, Json> = match &now {
            Some(now) => [("system".to_owned(), json!({ "now": now }))].into_iter().collect(),
            None => Map::new(),
        };
        let neutral = world.query(&query.principal, &query.action, &query.resource, &given).ok();
        let mut path = vec![];
        let neutral = neutral.as_ref().map(|query| &query.context);
        let context = self.fields(&mut yaml, &query.context, neutral, &mut path, Root::Context);
        let item = item.map(|item| format!(" item {item}")).unwrap_or_default();
        let name = format!("record {}{item}", record.decision_id);
        let by: Vec<&str> = decided.by().collect();
        let mut text = format!("  - name: {}\n", quote_yaml(&name));
        let _ = write!(text, "    entities:\n{entities}");
        let [principal, resource] = [&asked.principal, &asked.resource].map(|uid| key(&shorthand(uid)));
        let _ = writeln!(
            text,
            "    request:\n      principal: {principal}\n      action: {}\n      resource: {resource}",
            key(asked.action.id())
        );
        if !context.is_empty() {
            let _ = writeln!(text, "      context: {{ {} }}", context.join(", "));
        }
        let policies = match by.iter().all(|id| known(id)) {
            true => format!(", policies: [{}]", by.iter().map(|id| key(id)).collect::<Vec<_>>().join(", ")),
            false => String::new(),
        };
        let errors = if record.errors.is_empty() {
            String::new()
        } else {
            format!(", errors: {}", record.errors.len())
        };
        let _ = writeln!(text, "    expect: {{ outcome: {}{policies}{errors} }}", decided.outcome.as_str());
        let matrix = yaml.matrix();
        if matrix.is_empty() {
            text
        } else {
            text.replacen("    entities:\n", &format!("{matrix}    entities:\n"), 1)
        }
    }

    fn reads_time(&self) -> bool {
        ["now", "hour", "weekday"].iter().any(|name| {
            self.reads.concerns(&Hidden { root: Root::Context, names: vec!["system".into(), (*name).into()] })
        })
    }

    /// What of an entity differs from the neutral one.
    fn entity(&self, yaml: &mut Yaml, entity: &Entity, neutral: Option<&Entity>) -> String {
        let mut parts = Vec::new();
        let record = |fields: &Fields| Value::Record(fields.clone());
        let usual = neutral.map(|neutral| record(&neutral.attributes));
        let attributes =
            self.fields(yaml, &record(&entity.attributes), usual.as_ref(), &mut Vec::new(), Root::Attributes);
        if !attributes.is_empty() {
            parts.push(format!("attrs: {{ {} }}", attributes.join(", ")));
        }
        let implied = |parent: &&EntityUid| !neutral.is_some_and(|neutral| neutral.parents.contains(parent));
        let parents: Vec<String> =
            entity.parents.iter().filter(implied).map(|parent| key(&shorthand(parent))).collect();
        if !parents.is_empty() {
            parts.push(format!("in: [{}]", parents.join(", ")));
        }
        let tags = self.fields(yaml, &record(&entity.tags), None, &mut Vec::new(), Root::Tags);
        if !tags.is_empty() {
            parts.push(format!("tags: {{ {} }}", tags.join(", ")));
        }
        if parts.is_empty() { String::new() } else { format!(" {} ", parts.join(", ")) }
    }

    /// The fields that differ from the neutral ones and that some policy can look at.
    fn fields(
        &self,
        yaml: &mut Yaml,
        value: &Value,
        neutral: Option<&Value>,
        path: &mut Vec<SmolStr>,
        root: Root,
    ) -> Vec<String> {
        let Value::Record(fields) = value else { return Vec::new() };
        let usual = match neutral {
            Some(Value::Record(usual)) => Some(usual),
            _ => None,
        };
        let mut found = Vec::new();
        for (name, value) in fields {
            let usual = usual.and_then(|usual| usual.get(name));
            // Hour and weekday follow from the instant, which is never the neutral one.
            let clock = root == Root::Context && path.is_empty() && name == "system" && self.reads_time();
            if usual == Some(value) && !clock {
                continue;
            }
            path.push(name.clone());
            let concerns = self.reads.concerns(&Hidden { root, names: path.clone() });
            let inside = match (value, usual) {
                (Value::Record(fields), Some(_)) => {
                    let mut inside = self.fields(yaml, value, usual, path, root);
                    if let Some(Value::Datetime(now)) = fields.get("now").filter(|_| clock) {
                        inside.insert(0, format!("now: {}", quote_yaml(&rfc3339(*now))));
                    }
                    (!inside.is_empty()).then(|| format!("{{ {} }}", inside.join(", ")))
                }
                _ if concerns => Some(yaml.value(value)),
                _ => None,
            };
            path.pop();
            found.extend(inside.map(|inside| format!("{}: {inside}", key(name))));
        }
        found
    }

    /// What a test comes to when that is not what it states.
    fn got(&self, test: &str) -> Option<String> {
        let mut suites = Suites::default();
        suites.add("replay.test.yaml", format!("suite: replay\ntests:\n{test}"));
        let report = run::run(self.bundle, &suites, &run::Settings::default());
        let suite = report.suites.into_iter().next()?;
        if let Some(problem) = suite.problem {
            return Some(problem.message);
        }
        suite.tests.into_iter().find_map(|test| match test.result {
            TestResult::Passed => None,
            TestResult::Failed { failures } => {
                Some(failures.into_iter().flat_map(|one| one.got).collect::<Vec<_>>().join(", "))
            }
            TestResult::Broken { problem } => Some(problem.message),
        })
    }
}

/// Writes values. A text that has `${` in it would be taken for a variable, so it becomes one.
#[derive(Default)]
struct Yaml {
    variables: Vec<String>,
}

impl Yaml {
    fn value(&mut self, value: &Value) -> String {
        match value {
            Value::Bool(value) => value.to_string(),
            Value::Long(value) => value.to_string(),
            Value::String(text) => self.text(text),
            Value::Decimal(text) | Value::Duration(text) | Value::Ip(text) => quote_yaml(text),
            Value::Datetime(millis) => quote_yaml(&instant_text(*millis)),
            Value::Entity(uid) => self.text(&shorthand(uid)),
            Value::Set(items) => {
                let items: Vec<String> = items.iter().map(|item| self.value(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Record(fields) => {
                let fields =
                    fields.iter().map(|(name, value)| format!("{}: {}", key(name), self.value(value)));
                format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn text(&mut self, text: &str) -> String {
        if !text.contains("${") {
            return quote_yaml(text);
        }
        self.variables.push(text.to_owned());
        format!("\"${{text{}}}\"", self.variables.len())
    }

    fn matrix(&self) -> String {
        if self.variables.is_empty() {
            return String::new();
        }
        let numbered = self.variables.iter().enumerate();
        let lists: Vec<String> =
            numbered.map(|(at, text)| format!("text{}: [{}]", at + 1, quote_yaml(text))).collect();
        format!("    matrix: {{ {} }}\n", lists.join(", "))
    }
}

/// Every entity that the question names, for test files list them all.
fn mentioned(query: &Query) -> BTreeSet<EntityUid> {
    let mut found = BTreeSet::from([query.principal.clone(), query.resource.clone()]);
    let mut keep = |uid: &EntityUid| {
        found.insert(uid.clone());
    };
    query.context.each_entity(&mut keep);
    for entity in &query.entities {
        keep(&entity.uid);
        entity.each_neighbour(&mut keep);
    }
    found
}

fn instant(context: &Value) -> Option<String> {
    let Value::Record(fields) = context else { return None };
    let Some(Value::Record(system)) = fields.get("system") else { return None };
    match system.get("now") {
        Some(Value::Datetime(now)) => Some(rfc3339(*now)),
        _ => None,
    }
}

fn comments(asked: &Asked<'_>, hidden: &[Hidden]) -> Vec<String> {
    let mut comments: Vec<String> = Vec::new();
    if asked.open_input {
        comments.push(
            "a list asked whether any input could be permitted; this test has a neutral one".to_owned(),
        );
    }
    let paths: BTreeSet<String> = hidden.iter().map(Hidden::path).collect();
    comments.extend(paths.iter().map(|path| format!("the log does not hold {path}; no policy looks at it")));
    comments
}

/// A text as it may stand without quotes, else quoted.
pub(in crate::workbench) fn key(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@' | '|' | ':' | '"');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    match begins
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !word.contains(&text.to_lowercase().as_str())
    {
        true => text.to_owned(),
        false => quote_yaml(text),
    }
}
