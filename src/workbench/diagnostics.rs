//! Problems of a bundle as a compiler would print them, and as data for machines.

use miette::{GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;

use crate::policy::PolicyProblem;

/// A problem as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The file, when it is about one.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
    /// The policy, when it is about one.
    pub policy: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl From<&PolicyProblem> for Finding {
    fn from(problem: &PolicyProblem) -> Self {
        let position = problem.position();
        Self {
            severity: if problem.fatal { "error" } else { "warning" },
            file: problem.file.as_deref().map(str::to_owned),
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
            policy: problem.policy.as_deref().map(str::to_owned),
            message: problem.message.clone(),
            help: problem.advice.clone(),
        }
    }
}

impl Finding {
    /// Something that is wrong with an agent's file, which does not stop the policies.
    pub fn about_agents(message: &str) -> Self {
        Self {
            severity: "warning",
            file: None,
            line: None,
            column: None,
            policy: None,
            message: message.to_owned(),
            help: None,
        }
    }
}

/// Problems by file and place, so that the same files always give the same text.
pub fn in_order(problems: &[PolicyProblem]) -> Vec<&PolicyProblem> {
    let mut ordered: Vec<&PolicyProblem> = problems.iter().collect();
    ordered.sort_by_key(|problem| {
        let place = problem.position().map(|position| (position.line, position.column));
        (problem.file.clone(), place, problem.message.clone())
    });
    ordered
}

/// A problem with the lines it is about, marked; in colour, for a stream that takes colour away where it must.
pub fn render(problem: &PolicyProblem, width: usize) -> String {
    let handler =
        GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(width).with_links(false);
    let mut text = String::new();
    match handler.render_report(&mut text, &Named(problem)) {
        Ok(()) => text,
        // A span that lies outside its file must not cost the message.
        Err(_) => format!("{problem}\n"),
    }
}

/// The problem without its place in the message, which the picture shows already.
#[derive(Debug)]
struct Named<'p>(&'p PolicyProblem);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.0.file, self.0.position()) {
            (Some(file), None) => write!(f, "{file}: {}", self.0.message),
            _ => f.write_str(&self.0.message),
        }
    }
}

impl std::error::Error for Named<'_> {}

impl miette::Diagnostic for Named<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        self.0.severity()
    }
    fn help(&self) -> Option<Box<dyn std::fmt::Display + '_>> {
        self.0.help()
    }
    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.0.position().and_then(|_| self.0.source_code())
    }
    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        self.0.labels()
    }
}
