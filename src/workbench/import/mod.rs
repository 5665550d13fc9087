//! Rules that others wrote, as Cedar that a person would have written.
//!
//! Three things come out: policies, tests that pin what the source meant, and a list of what could not be said. The tests'
//! expectations are worked out from the source by itself, never by asking the policies, and every import is run against
//! them before it is handed out.

mod agent_authz;
mod agent_router;
mod agentgateway;
mod calls;
mod casbin;
mod cel;
mod condition;
mod document;
mod lexer;
mod rbac;
mod roles;
mod rules;
mod suite;
mod toolhive;

use serde::Serialize;

use super::format::format;
use super::run::{self, Suites, TestResult};
use crate::policy::set::text::{self, PolicyText};
use crate::policy::set::yaml::{self, TextError};
use crate::policy::{Bundle, SourceKind, Sources};
use suite::Suite;

/// What the rules are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// `roles.yaml`: roles with permission words.
    Roles,
    /// One agent's `authorization:` document.
    AgentAuthz,
    /// Casbin's RBAC on the gateway's own actions: a model, and `p` and `g` lines.
    Rbac,
    /// Any model of Casbin with its rules, on entity types of its own.
    Casbin,
    /// ToolHive's Cedar authorisation: a file of its own, or Kubernetes objects.
    Toolhive,
    /// agentgateway's rules on MCP: `mcpAuthorization` in its configuration, or Kubernetes objects.
    Agentgateway,
    /// The `MCPRoute` objects of Agent Router (Envoy AI Gateway before).
    AgentRouter,
}

/// What is imported, and where to.
#[derive(Debug, Clone, Copy)]
pub struct ImportInput<'a> {
    /// The topic: the file's name and the first part of each `@id`.
    pub topic: &'a str,
    /// The file's name, for descriptions.
    pub file: &'a str,
    /// The text.
    pub text: &'a str,
    /// Lines at its beginning that are of another file (a model), and the name of that.
    pub lines_before: u64,
    /// The name of the file that these lines are of.
    pub file_before: &'a str,
    /// The server that rules on tools are about, when the source does not name one.
    pub server: Option<&'a str>,
    /// The schema that the policies are written for.
    pub schema: &'a Bundle,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Imported {
    /// The policies, laid out.
    pub policies: String,
    /// How many.
    pub count: usize,
    /// A schema of the types that they are about, where these are their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// A test file.
    pub tests: String,
    /// How many rows it has.
    pub rows: usize,
    /// What could not be said.
    pub gaps: Vec<Remark>,
    /// What is said elsewhere, or holds anyway.
    pub notes: Vec<Remark>,
    /// The roles that the source names, those that get nothing among them.
    pub roles: Vec<String>,
}

/// Something about a line of the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// The line, from 1; 0 when it is about the whole.
    pub line: u64,
    /// What there is to say.
    pub what: String,
}

/// Why a source cannot be imported at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// It is not what it should be.
    #[error("line {line}: {what}")]
    Source {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The file before it (a model) is not what it should be.
    #[error("`{file}` line {line}: {what}")]
    Before {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// Nothing in it can be said, or there is nothing in it.
    #[error("nothing in it becomes a policy{}", reasons(.0))]
    Nothing(Vec<Remark>),
    /// The policies do not come to what the source says.
    #[error("the policies would not mean what the source means ({0}); nothing was written")]
    Unfaithful(String),
}

/// JSON or YAML in braces, under the bounds of sources.
pub(super) fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    yaml::parse(text).map_err(|error| error.what)
}

impl std::convert::From<TextError> for ImportError {
    fn from(TextError { line, what }: TextError) -> Self {
        Self::Source { line, what }
    }
}

fn reasons(gaps: &[Remark]) -> String {
    let reasons = gaps.iter().take(5).map(|gap| format!("line {}: {}", gap.line, gap.what));
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    if reasons.is_empty() { String::new() } else { format!(": {reasons}") }
}

/// What an importer collects.
#[derive(Debug, Default)]
struct Collected {
    heading: String,
    policies: Vec<PolicyText>,
    suite: Suite,
    /// A test file that is written already, with its rows, in place of `suite`.
    tests: Option<(String, usize)>,
    schema: Option<String>,
    gaps: Vec<Remark>,
    notes: Vec<Remark>,
    roles: Vec<String>,
}

impl Collected {
    fn gap(&mut self, line: u64, what: impl Into<String>) {
        self.gaps.push(Remark { line, what: what.into() });
    }

    fn note(&mut self, line: u64, what: impl Into<String>) {
        self.notes.push(Remark { line, what: what.into() });
    }
}

/// Imports a source.
pub fn import(from: From, input: &ImportInput<'_>) -> Result<Imported, ImportError> {
    let read = match from {
        From::Roles => roles::read,
        From::AgentAuthz => agent_authz::read,
        From::Rbac => rbac::read,
        From::Casbin => casbin::read,
        From::Toolhive => toolhive::read,
        From::Agentgateway => agentgateway::read,
        From::AgentRouter => agent_router::read,
    };
    let is_before = |line: u64| line > 0 && line <= input.lines_before;
    let mut collected = read(input).map_err(|error| match error {
        ImportError::Source { line, what } if is_before(line) => {
            ImportError::Before { file: input.file_before.to_owned(), line, what }
        }
        ImportError::Source { line, what } => {
            ImportError::Source { line: line.saturating_sub(input.lines_before), what }
        }
        other => other,
    })?;
    for remark in collected.gaps.iter_mut().chain(&mut collected.notes) {
        if is_before(remark.line) {
            remark.what = format!("`{}` line {}: {}", input.file_before, remark.line, remark.what);
            remark.line = 0;
        } else {
            remark.line = remark.line.saturating_sub(input.lines_before);
        }
    }
    if input.text.contains("${") {
        collected.suite = Suite::default();
        collected.tests = None;
        collected.gap(0, "tests: a name has `${` in it, which a test file would take for a variable");
    }
    collected.gaps.sort_by_key(|gap| gap.line);
    collected.notes.sort_by_key(|note| note.line);
    if collected.policies.is_empty() {
        return Err(ImportError::Nothing(collected.gaps));
    }
    let written = text::file(&collected.heading, input.topic, &mut collected.policies);
    let unfaithful = |why: &dyn std::fmt::Display| ImportError::Unfaithful(why.to_string());
    let policies = format(&written).map_err(|error| unfaithful(&error))?;
    let written_tests = collected.tests.take();
    let (tests, rows) = written_tests.unwrap_or_else(|| collected.suite.text(input.topic, input.file));
    check(input, &policies, collected.schema.as_deref(), &tests, rows).map_err(ImportError::Unfaithful)?;
    let count = collected.policies.len();
    let Collected { gaps, notes, roles, schema, .. } = collected;
    Ok(Imported { policies, count, schema, tests, rows, gaps, notes, roles })
}

/// Whether the policies are valid and come to what the tests say.
fn check(
    input: &ImportInput<'_>,
    policies: &str,
    schema: Option<&str>,
    tests: &str,
    rows: usize,
) -> Result<(), String> {
    let schemas = input.schema.sources().iter().filter(|source| source.kind == SourceKind::Schema);
    let sources = schemas.fold(Sources::new(), |all, schema| all.with_schema(&schema.name, &schema.text));
    let sources = match schema {
        Some(schema) => sources.with_schema(&format!("{}.cedarschema", input.topic), schema),
        None => sources,
    };
    let sources = sources.with_policy(&format!("{}.cedar", input.topic), policies);
    let bundle = Bundle::load(sources).map_err(|errors| {
        errors.problems().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
    })?;
    if rows == 0 {
        return Ok(());
    }
    let mut suites = Suites::default();
    suites.add("import.test.yaml", tests);
    let report = run::run(&bundle, &suites, &run::Settings::default());
    for suite in report.suites {
        if let Some(problem) = suite.problem {
            return Err(problem.message);
        }
        for test in suite.tests {
            match test.result {
                TestResult::Passed => {}
                TestResult::Failed { failures } => {
                    let first = failures.into_iter().next();
                    let row = first.map(|one| format!("{}: {}", one.row, one.got.join(", ")));
                    return Err(format!("{}: {}", test.name, row.unwrap_or_default()));
                }
                TestResult::Broken { problem } => return Err(format!("{}: {}", test.name, problem.message)),
            }
        }
    }
    Ok(())
}
