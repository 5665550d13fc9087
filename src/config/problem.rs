//! A mistake in the configuration, with its position and advice.
//!
//! A mistake is shown with its line, and a line of a configuration may hold a secret. So everything is struck out
//! of the shown text but keys, punctuation, and the values of known keys that are not secret.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use serde::Serialize;

use crate::text::is_hidden;

/// Mistakes that are reported in one run at most.
const MAX_PROBLEMS: usize = 100;

/// The kind of a mistake, for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemCode {
    /// The file could not be read.
    Unreadable,
    /// The file is not YAML or TOML.
    Syntax,
    /// A key stands twice.
    Duplicate,
    /// No such key.
    UnknownKey,
    /// A key that must be given is not.
    Missing,
    /// The value is not of the key's type.
    WrongType,
    /// The value is of the right type but not allowed.
    OutOfRange,
    /// A file or directory that is named does not exist.
    MissingFile,
    /// A variable that is named is not set.
    MissingVariable,
    /// The key is known, this version does not have it.
    NotAvailable,
    /// The value would switch off a protection.
    Weakens,
    /// Two keys contradict each other.
    Contradiction,
}

/// A position in the file; both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The place of the first byte of `at`.
    pub(super) fn of(text: &str, at: &Range<usize>) -> Self {
        let before = text.get(..at.start.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count()) + 1;
        Self { line: before.matches('\n').count() + 1, column }
    }
}

/// One mistake, or one warning.
#[derive(Debug, Clone, Serialize)]
pub struct ConfigProblem {
    /// The kind of mistake.
    pub code: ProblemCode,
    /// Whether the configuration can still be used.
    pub warning: bool,
    /// The full path of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where in the file.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// The environment variable, when the value came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// What is wrong: one line, without any secret.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What does not exist, when that is the mistake.
    #[serde(skip)]
    pub(super) absent: Option<PathBuf>,
    #[serde(skip)]
    at: Option<Range<usize>>,
}

impl ConfigProblem {
    /// A mistake.
    pub(super) fn error(code: ProblemCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            warning: false,
            key: None,
            position: None,
            variable: None,
            message,
            help: None,
            absent: None,
            at: None,
        }
    }

    /// A warning for the operator, which does not stop the start.
    pub(super) fn warning(code: ProblemCode, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::error(code, message) }
    }

    /// The same with its position in `text`.
    pub(super) fn at(mut self, text: &str, at: &Range<usize>) -> Self {
        self.position = Some(Position::of(text, at));
        self.at = Some(at.clone());
        self
    }

    /// The place of a key that stands twice, which may be shown.
    pub(super) fn repeated(&self) -> Option<Range<usize>> {
        self.at.clone().filter(|_| self.code == ProblemCode::Duplicate)
    }

    /// The same with the full path of its key.
    pub(super) fn of_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with the environment variable that the value came from.
    pub(super) fn of_variable(mut self, name: &str) -> Self {
        self.variable = Some(name.to_owned());
        self
    }

    /// The same with advice.
    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All mistakes of one run, in the order of the file.
#[derive(Debug, Clone, Serialize)]
pub struct Problems {
    /// The file, as the operator named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The mistakes.
    pub problems: Vec<ConfigProblem>,
    /// Mistakes beyond the bound, which are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
    #[serde(skip)]
    shown: Option<Arc<str>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Problems {
    /// Gathers mistakes of `file`, whose text may be shown as `shown`.
    pub(super) fn new(file: Option<String>, shown: Option<String>, mut problems: Vec<ConfigProblem>) -> Self {
        problems.sort_by(|a, b| {
            let order =
                |problem: &ConfigProblem| (problem.position.is_none(), problem.position, problem.warning);
            order(a).cmp(&order(b))
        });
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        Self { file, problems, more, shown: shown.map(Into::into) }
    }

    /// True when there are no mistakes and no warnings.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Each mistake with its place, its line where that may be shown, and what to do; `colour` for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour {
            miette::GraphicalTheme::unicode()
        } else {
            miette::GraphicalTheme::unicode_nocolor()
        };
        let handler = miette::GraphicalReportHandler::new_themed(theme)
            .with_context_lines(1)
            .with_width(100)
            .with_links(false);
        let mut text = String::new();
        for problem in &self.problems {
            let report = ProblemReport { problem, source: self.source_of(problem) };
            // A `String` takes all that is written to it.
            let _ = handler.render_report(&mut text, &report);
            text.push('\n');
        }
        if self.more > 0 {
            text.push_str(&format!("and {} more\n", self.more));
        }
        text
    }

    /// The path of `key`, when the only mistake is that it does not exist.
    pub fn only_absent(&self, key: &str) -> Option<&Path> {
        match self.problems.as_slice() {
            [only] if only.key.as_deref() == Some(key) => only.absent.as_deref(),
            _ => None,
        }
    }

    /// Each mistake in one line, with its place and what to do, and nothing of the file.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.problems.iter().map(|problem| {
            let report = ProblemReport { problem, source: None };
            match &problem.help {
                Some(help) => format!("{report}; {help}"),
                None => report.to_string(),
            }
        })
    }

    fn source_of(&self, problem: &ConfigProblem) -> Option<NamedSource<Arc<str>>> {
        problem.at.as_ref()?;
        let shown = self.shown.clone()?;
        Some(NamedSource::new(self.file.as_deref().unwrap_or("configuration"), shown))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or("the environment");
        match self.problems.iter().filter(|problem| !problem.warning).count() + self.more {
            1 => write!(f, "the configuration of `{file}` has 1 mistake"),
            count => write!(f, "the configuration of `{file}` has {count} mistakes"),
        }
    }
}

impl std::error::Error for Problems {}

/// One mistake as miette wants to see it.
#[derive(Debug)]
struct ProblemReport<'a> {
    problem: &'a ConfigProblem,
    source: Option<NamedSource<Arc<str>>>,
}

impl fmt::Display for ProblemReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.problem.variable {
            write!(f, "environment variable `{name}`: ")?;
        }
        if let (Some(place), None) = (self.problem.position, &self.source) {
            write!(f, "line {}, column {}: ", place.line, place.column)?;
        }
        match &self.problem.key {
            Some(key) => write!(f, "`{key}`: {}", self.problem.message),
            None => f.write_str(&self.problem.message),
        }
    }
}

impl std::error::Error for ProblemReport<'_> {}

impl Diagnostic for ProblemReport<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(if self.problem.warning { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let at = self.problem.at.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, at))))
    }
}

/// `text` with every letter and digit struck out that is not inside one of `keep`. Bytes keep their places.
pub(super) fn redact(text: &str, keep: &[Range<usize>]) -> String {
    let mut keep = keep.to_vec();
    keep.sort_by_key(|range| range.start);
    let mut ranges = keep.into_iter().peekable();
    let mut shown = String::with_capacity(text.len());
    for (at, character) in text.char_indices() {
        while ranges.next_if(|range| range.end <= at).is_some() {}
        let kept = ranges.peek().is_some_and(|range| range.contains(&at));
        let after = text.get(at + character.len_utf8()..).unwrap_or_default();
        let dash = character == '-' && after.starts_with([' ', '\n']);
        if character == '\r' {
            shown.push(' ');
        } else if matches!(character, ' ' | '\n' | '\t')
            || dash
            || (kept && !is_hidden(character))
            || is_punctuation(character)
        {
            shown.push(character);
        } else {
            (0..character.len_utf8()).for_each(|_| shown.push('*'));
        }
    }
    shown
}

fn is_punctuation(character: char) -> bool {
    matches!(character, ':' | '[' | ']' | '{' | '}' | ',' | '=' | '"' | '\'' | '#' | '$')
}
