//! What is wrong with a policy bundle: every problem at once, each with its file, place and fix.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode, SourceSpan};

use crate::text::one_line;

/// Why the files of a bundle could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The operating system refused.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was being read.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name or a text that is not UTF-8.
    #[error("`{}` is not UTF-8 text", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
    },
    /// A file over the bound.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound in bytes.
        limit: usize,
    },
    /// More files than the bound.
    #[error("`{}` holds more than {limit} files", path.display())]
    TooMany {
        /// Which directory.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
    /// A file of roles that cannot be part of the set.
    #[error("`{}`: {source}", path.display())]
    Roles {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<super::roles::RolesError>,
    },
    /// Directories nested deeper than the bound.
    #[error("`{}` is nested more than {limit} directories deep", path.display())]
    TooDeep {
        /// Which directory.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
}

/// One thing that is wrong with a bundle (or, as a warning, suspicious in it).
#[derive(Debug, Clone)]
pub struct PolicyProblem {
    /// What is wrong: one line.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// The file, when it is known which.
    pub file: Option<Arc<str>>,
    /// The policy's id, when it is known which.
    pub policy: Option<Arc<str>>,
    /// Where in the file: byte offset and length, and a label.
    pub spans: Vec<(usize, usize, Option<String>)>,
    /// Whether this alone makes the bundle unusable.
    pub fatal: bool,
    source: Option<NamedSource<Arc<str>>>,
}

/// A place in a file as editors count: both from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePosition {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl PolicyProblem {
    /// A problem of the whole bundle, without a place.
    pub(crate) fn general(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            advice: None,
            file: None,
            policy: None,
            spans: Vec::new(),
            fatal: true,
            source: None,
        }
    }

    /// A problem in a file.
    pub(crate) fn in_file(file: &Arc<str>, text: &Arc<str>, message: impl Into<String>) -> Self {
        Self {
            file: Some(Arc::clone(file)),
            source: Some(NamedSource::new(file.as_ref(), Arc::clone(text))),
            ..Self::general(message)
        }
    }

    /// Takes over what Cedar reports about a text; a report may hold several problems.
    pub(crate) fn from_cedar(file: Option<(&Arc<str>, &Arc<str>)>, report: &dyn Diagnostic) -> Vec<Self> {
        let mut problem = match file {
            Some((file, text)) => Self::in_file(file, text, report_text(report)),
            None => Self::general(report_text(report)),
        };
        problem.advice = report.help().map(|help| help.to_string());
        problem.spans = report
            .labels()
            .into_iter()
            .flatten()
            .map(|label| (label.offset(), label.len(), label.label().map(str::to_owned)))
            .collect();
        let mut problems = vec![problem];
        for related in report.related().into_iter().flatten() {
            problems.extend(Self::from_cedar(file, related));
        }
        problems
    }

    pub(crate) fn with_advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(crate) fn about(mut self, policy: &str) -> Self {
        self.policy = Some(policy.into());
        self
    }

    pub(crate) fn at(mut self, span: Option<SourceSpan>, label: &str) -> Self {
        self.spans.extend(span.map(|span| (span.offset(), span.len(), Some(label.to_owned()))));
        self
    }

    pub(crate) fn into_warning(mut self) -> Self {
        self.fatal = false;
        self
    }

    /// The byte at which the problem begins; 0 for one without a place.
    pub(crate) fn offset(&self) -> usize {
        self.spans.first().map_or(0, |(offset, ..)| *offset)
    }

    /// Where the problem begins.
    pub fn position(&self) -> Option<SourcePosition> {
        let (offset, ..) = self.spans.first()?;
        Some(position_in(self.source.as_ref()?.inner(), *offset))
    }
}

/// The place of a byte in a text; the end of the text for one behind it.
pub(crate) fn position_in(text: &str, offset: usize) -> SourcePosition {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    SourcePosition { line: before.matches('\n').count() + 1, column }
}

/// Cedar's messages stay as they are, except that a report is one line.
fn report_text(report: &dyn Diagnostic) -> String {
    let mut text = report.to_string();
    let mut cause = report.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    one_line(&text, usize::MAX)
}

impl fmt::Display for PolicyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.position()) {
            (Some(file), Some(SourcePosition { line, column })) => write!(f, "{file}:{line}:{column}: ")?,
            (Some(file), None) => write!(f, "{file}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PolicyProblem {}

impl Diagnostic for PolicyProblem {
    fn severity(&self) -> Option<Severity> {
        Some(if self.fatal { Severity::Error } else { Severity::Warning })
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        self.advice.as_ref().map(|advice| Box::new(advice) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let spans = self.spans.iter();
        Some(Box::new(spans.map(|(offset, length, label)| LabeledSpan::new(label.clone(), *offset, *length))))
    }
}

/// Everything that is wrong with a bundle. Never empty.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the policy bundle is refused: {}", summary(.0))]
pub struct PolicyErrors(Vec<PolicyProblem>);

fn summary(problems: &[PolicyProblem]) -> String {
    match problems {
        [] => "no reason was given".to_owned(),
        [only] => only.to_string(),
        [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
    }
}

impl PolicyErrors {
    /// `Ok` when there are no problems: the only way to a bundle.
    pub(crate) fn check(problems: Vec<PolicyProblem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// The problems, in the order of the files.
    pub fn problems(&self) -> &[PolicyProblem] {
        &self.0
    }
}

impl From<PolicyProblem> for PolicyErrors {
    fn from(problem: PolicyProblem) -> Self {
        Self(vec![problem])
    }
}

impl Diagnostic for PolicyErrors {
    fn related(&self) -> Option<Box<dyn Iterator<Item = &dyn Diagnostic> + '_>> {
        Some(Box::new(self.0.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}
