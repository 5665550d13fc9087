//! The shape of a test file and of a fixture file, read under a budget.
//!
//! Test files come with pull requests from outside: no aliases, no merge keys, no duplicate keys, bounded depth
//! and size, and no key that is not known.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use serde_saphyr::Spanned;

use super::{CaseError, Gate, Located, Statement};

/// The most bytes of one file.
const MAX_BYTES: usize = 256 * 1024;

/// A `*.test.yaml` file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct SuiteFile {
    pub(in crate::workbench) suite: String,
    #[serde(default)]
    pub(in crate::workbench) now: Option<Spanned<String>>,
    #[serde(default)]
    pub(in crate::workbench) fixtures: Vec<Spanned<String>>,
    #[serde(default)]
    pub(in crate::workbench) entities: EntityTable,
    pub(in crate::workbench) tests: Vec<Spanned<TestCase>>,
    #[serde(default)]
    pub(in crate::workbench) prove: Vec<Spanned<Statement>>,
    #[serde(default)]
    pub(in crate::workbench) gate: Option<Spanned<Gate>>,
}

/// A `*.fixtures.yaml` file: entities that several suites share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct FixtureFile {
    pub(in crate::workbench) entities: EntityTable,
}

/// Entities by name.
pub(in crate::workbench) type EntityTable = BTreeMap<String, Spanned<EntityEntry>>;

/// One entity; what is left out gets its neutral value.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct EntityEntry {
    #[serde(default)]
    pub(in crate::workbench) attrs: Map<String, Json>,
    #[serde(default, rename = "in")]
    pub(in crate::workbench) parents: Vec<String>,
    #[serde(default)]
    pub(in crate::workbench) tags: Map<String, Json>,
    /// It can be named and nothing is known of it, as of one that the gateway does not find.
    #[serde(default)]
    pub(in crate::workbench) absent: bool,
}

/// One test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct TestCase {
    pub(in crate::workbench) name: String,
    #[serde(default)]
    pub(in crate::workbench) matrix: Option<Json>,
    #[serde(default)]
    pub(in crate::workbench) entities: EntityTable,
    #[serde(default)]
    pub(in crate::workbench) request: Option<Request>,
    #[serde(default)]
    pub(in crate::workbench) search: Option<Search>,
    pub(in crate::workbench) expect: Expect,
}

/// Who asks for what, and in which circumstances.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct Request {
    pub(in crate::workbench) principal: String,
    pub(in crate::workbench) action: String,
    pub(in crate::workbench) resource: String,
    #[serde(default)]
    pub(in crate::workbench) context: Map<String, Json>,
}

/// Which resources of a type the principal may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct Search {
    pub(in crate::workbench) principal: String,
    pub(in crate::workbench) action: String,
    pub(in crate::workbench) resource: String,
    #[serde(default)]
    pub(in crate::workbench) context: Map<String, Json>,
}

/// What has to come out. What is left out is not compared, but for errors: those are none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::workbench) struct Expect {
    #[serde(default)]
    pub(in crate::workbench) outcome: Option<String>,
    #[serde(default)]
    pub(in crate::workbench) policies: Option<Vec<String>>,
    #[serde(default)]
    pub(in crate::workbench) errors: Option<usize>,
    #[serde(default)]
    pub(in crate::workbench) exactly: Option<Vec<String>>,
}

impl SuiteFile {
    /// Reads a suite, or says what is wrong with it.
    pub(in crate::workbench) fn parse(text: &str) -> Result<Self, Located> {
        let suite: Self = parse(text)?;
        if let Some(statement) = suite.prove.iter().find(|statement| statement.value.count() != 1) {
            let error = CaseError::Statement("a statement states exactly one thing");
            return Err(Located::at(statement.referenced.line(), error));
        }
        if let Some(gate) = suite.gate.as_ref().filter(|gate| !gate.value.is_sound()) {
            return Err(Located::at(gate.referenced.line(), CaseError::Gate));
        }
        Ok(suite)
    }
}

impl FixtureFile {
    /// Reads shared entities, or says what is wrong with them.
    pub(in crate::workbench) fn parse(text: &str) -> Result<Self, Located> {
        parse(text)
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Located> {
    if text.len() > MAX_BYTES {
        return Err(Located::at(0, CaseError::TooLarge { bytes: text.len(), limit: MAX_BYTES }));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let message = slip(text, line).unwrap_or_else(|| parser_message(&error));
        Located::at(line, CaseError::Shape(message))
    })
}

/// Two slips that the parser reports in terms of YAML's grammar, at or just before the line it stops in.
fn slip(text: &str, line: u64) -> Option<String> {
    let at = usize::try_from(line).ok()?.checked_sub(1)?;
    let near = || text.lines().enumerate().skip(at.saturating_sub(1)).take(2);
    let indented = |line: &str| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
    if let Some((number, _)) = near().find(|(_, line)| indented(line)) {
        return Some(format!("line {} is indented with a tab: use spaces", number + 1));
    }
    let (_, found) = near().find(|(_, line)| unquoted_variable(line).is_some())?;
    let variable = unquoted_variable(found)?;
    Some(format!("`{variable}` has to be quoted: write `\"{variable}\"`"))
}

/// A `${name}` that stands in no quotes.
fn unquoted_variable(line: &str) -> Option<&str> {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '$') => {
                let rest = line.get(at..).filter(|rest| rest.starts_with("${"))?;
                return rest.find('}').and_then(|end| rest.get(..=end));
            }
            _ => {}
        }
    }
    None
}

/// The parser's message in our words: without its picture of the source, its place, and its own settings' names.
fn parser_message(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    use serde_saphyr::budget::BudgetBreach;
    match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is there twice"),
        Error::DuplicateMappingKey { key: None, .. } => "a key is there twice".to_owned(),
        Error::Budget { breach: BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. }, .. } => {
            "anchors and aliases are not allowed".to_owned()
        }
        Error::MergeKeyNotAllowed { .. } => "merge keys are not allowed".to_owned(),
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            "there is more than one document".to_owned()
        }
        Error::Budget { .. } => "the file is too large or nested too deeply".to_owned(),
        other => {
            let text = other.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.split(" at line ").next().unwrap_or(first);
            match first.strip_prefix("error: ").unwrap_or(first) {
                "recursion limit exceeded" => "the file is too large or nested too deeply".to_owned(),
                words => words.to_owned(),
            }
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MAX_BYTES),
            flow_nesting_limit: 32,
            max_events: 100_000,
            max_aliases: 0,
            max_anchors: 0,
            max_depth: 32,
            max_inclusion_depth: 0,
            max_documents: 1,
            max_nodes: 50_000,
            max_total_scalar_bytes: MAX_BYTES,
            max_merge_keys: 0,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        strict_booleans: true,
    }
}
