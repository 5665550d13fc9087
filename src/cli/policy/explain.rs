//! `caxton policy explain`: why one request is decided as it is, clause by clause.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::decision;
use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, counted, push};
use crate::cli::output::{Exit, Output};
use crate::policy::Bundle;
use crate::text::clean;
use crate::workbench::case::{KnownWorld, Located};
use crate::workbench::explain::{Account, Explanation, PartAccount, PartOutcome, explain};
use crate::workbench::run::{Report, Settings, SingleRequest, TestQuestions, TestResult, examine};

/// Which request, and against what.
#[derive(Debug, Default, clap::Args)]
pub struct ExplainOptions {
    /// Explain a recorded decision: its `decision_id`, or its number in the log.
    #[arg(long, value_name = "ID", conflicts_with_all = ["test", "request", "principal", "action", "resource"])]
    pub decision: Option<String>,
    /// The decision log, with `--decision` [default: the configuration's, else `.caxton/audit.log`]
    #[arg(long, value_name = "FILE", requires = "decision")]
    pub log: Option<PathBuf>,
    /// Explain the tests whose `suite: name` contains this text.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["request", "principal", "action", "resource"])]
    pub test: Option<String>,
    /// A JSON file with `principal`, `action`, `resource` and if wanted `context`, `entities`, `now`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["principal", "action", "resource", "context"])]
    pub request: Option<PathBuf>,
    /// Who asks, as `Agent::"researcher"`.
    #[arg(long, value_name = "ENTITY", requires_all = ["action", "resource"])]
    pub principal: Option<String>,
    /// The action, as `tool:list`.
    #[arg(long, value_name = "ACTION", requires = "principal")]
    pub action: Option<String>,
    /// On what, as `Gateway::"caxton"`.
    #[arg(long, value_name = "ENTITY", requires = "principal")]
    pub resource: Option<String>,
    /// What matters of the circumstances, as JSON [default: neutral]
    #[arg(long, value_name = "JSON", requires = "principal")]
    pub context: Option<String>,
    /// A `*.fixtures.yaml` file with the entities that the request is about.
    #[arg(long, value_name = "FILE")]
    pub entities: Option<PathBuf>,
    /// The most policies that are shown among those that nearly matched.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub near: usize,
    /// What the gateway knows.
    #[command(flatten)]
    pub world: WorldOptions,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// The most requests that are explained in one run.
const MOST: usize = 20;

pub(super) fn run(base: &Path, options: &ExplainOptions, output: &Output) -> anyhow::Result<Exit> {
    if let Some(id) = &options.decision {
        return decision::run(base, id, options, output);
    }
    let single = single(options)?;
    if single.is_none() && options.test.is_none() {
        anyhow::bail!(
            "name a request: `--decision ID`, `--test TEXT`, `--request FILE`, or `--principal`, `--action` and `--resource`"
        );
    }
    let Some(bundle) = options.folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let known = known_world(&options.folders, &options.world, output)?;
    let (report, questions) = match single {
        Some(request) => ask(&bundle, request, options, known)?,
        None => {
            let suites = options.folders.tests(base, &[], output)?;
            let settings = Settings { filter: options.test.clone(), known, ..Settings::default() };
            examine(&bundle, &suites, &settings)
        }
    };
    if let Some(message) = broken(&report) {
        anyhow::bail!(message);
    }
    let explanations = explain(&bundle, &questions);
    if explanations.is_empty() {
        anyhow::bail!("there is no request to explain");
    }
    if explanations.len() > MOST {
        let found = explanations.len();
        anyhow::bail!(
            "{found} requests have this in their `suite: name`, at most {MOST} are explained in one run"
        );
    }
    output.data(&explanations, |all| {
        all.iter().map(|one| text(one, options.near)).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Fine)
}

fn single(options: &ExplainOptions) -> anyhow::Result<Option<SingleRequest>> {
    if let Some(file) = &options.request {
        let text = std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?;
        let request =
            crate::json::parse_as(text.as_bytes()).with_context(|| format!("in `{}`", file.display()))?;
        return Ok(Some(request));
    }
    let (Some(principal), Some(action), Some(resource)) =
        (options.principal.clone(), options.action.clone(), options.resource.clone())
    else {
        return Ok(None);
    };
    let context = options.context.as_deref().unwrap_or("{}");
    let context = crate::json::parse_as(context.as_bytes()).context("in `--context`")?;
    Ok(Some(SingleRequest { principal, action, resource, context, ..SingleRequest::default() }))
}

fn ask(
    bundle: &Bundle,
    request: SingleRequest,
    options: &ExplainOptions,
    known: Option<KnownWorld>,
) -> anyhow::Result<(Report, TestQuestions)> {
    let fixtures = match &options.entities {
        Some(file) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?)
        }
        None => None,
    };
    let located = |located: Located| {
        let file =
            options.entities.as_ref().map_or_else(String::new, |file| format!("`{}` ", file.display()));
        let help = "name a file of fixtures: `entities` and nothing else";
        anyhow::anyhow!("{file}line {}: {}; {help}", located.line, located.error)
    };
    let suites = request.into_suites(fixtures.as_deref()).map_err(located)?;
    Ok(examine(bundle, &suites, &Settings { known, ..Settings::default() }))
}

/// What is wrong with the request, in one line.
pub(super) fn broken(report: &Report) -> Option<String> {
    let problems = report.suites.iter().flat_map(|suite| {
        let tests = suite.tests.iter().filter_map(|test| match &test.result {
            TestResult::Broken { problem } => Some(problem),
            TestResult::Passed | TestResult::Failed { .. } => None,
        });
        suite.problem.iter().chain(tests)
    });
    problems.into_iter().next().map(|problem| {
        // The advice for tests about a request that does not fit is none for a request.
        let help = problem.help.as_deref().filter(|help| !help.starts_with("write `outcome"));
        help.map_or_else(|| problem.message.clone(), |help| format!("{}; {help}", problem.message))
    })
}

/// One explanation for people.
pub fn text(explanation: &Explanation, near: usize) -> String {
    let mut text = String::new();
    let Explanation { test, principal, action, resource, .. } = explanation;
    push(&mut text, format_args!("{BOLD}{}{PLAIN}", clean(test)));
    push(&mut text, format_args!("  {} {} {}", clean(principal), clean(action), clean(resource)));
    let colour = if explanation.outcome == "allow" { GREEN } else { RED };
    push(&mut text, format_args!("  {colour}{}{PLAIN} ({})", explanation.outcome, explanation.reason));
    if explanation.decided.is_empty() {
        push(&mut text, format_args!("\n  no policy decided: what nothing permits is denied"));
    } else {
        push(&mut text, format_args!("\n{BOLD}decided by{PLAIN}"));
        explanation.decided.iter().for_each(|account| report_error(&mut text, account));
    }
    if !explanation.near.is_empty() && near > 0 {
        push(&mut text, format_args!("\n{BOLD}came near{PLAIN}"));
        explanation.near.iter().take(near).for_each(|account| report_error(&mut text, account));
        if let more @ 1.. = explanation.near.len().saturating_sub(near) {
            push(&mut text, format_args!("  … and {more} more (`--near {}`)", explanation.near.len()));
        }
    }
    let others = counted(explanation.others, "policy");
    push(&mut text, format_args!("\n{DIM}{others} said nothing about this request{PLAIN}"));
    text
}

/// The policies that decided, with what each of their clauses came to; nearest to a permit where none decided.
pub(super) fn decided(explanation: &Explanation) -> String {
    let mut text = String::new();
    let near = explanation.near.iter().take(usize::from(explanation.decided.is_empty()));
    explanation.decided.iter().chain(near).for_each(|account| report_error(&mut text, account));
    text
}

fn report_error(text: &mut String, account: &Account) {
    let mode = if account.log_only { ", log only" } else { "" };
    let result = match account.result {
        PartOutcome::True => "held",
        PartOutcome::False | PartOutcome::NotAsked => "did not hold",
        PartOutcome::Error => "could not be evaluated",
    };
    let place = format!("{}:{}", clean(&account.file), account.line);
    push(
        text,
        format_args!(
            "  {} {BOLD}{}{PLAIN} {result}{mode}  {DIM}{place}{PLAIN}",
            account.effect,
            clean(&account.id)
        ),
    );
    for part in &account.parts {
        tell_part(text, part);
    }
}

fn tell_part(text: &mut String, part: &PartAccount) {
    let (mark, colour, word) = match (part.value, part.blocks) {
        (PartOutcome::True, false) => ("✓", GREEN, "true"),
        (PartOutcome::True, true) => ("✗", RED, "true"),
        (PartOutcome::False, true) => ("✗", RED, "false"),
        (PartOutcome::False, false) => ("✓", GREEN, "false"),
        (PartOutcome::Error, _) => ("!", YELLOW, "error"),
        (PartOutcome::NotAsked, _) => ("·", DIM, "not asked"),
    };
    let scope = matches!(part.kind, "principal" | "action" | "resource");
    let (kind, word) = match (scope, part.value) {
        (true, PartOutcome::True) => ("scope", "matches"),
        (true, _) => ("scope", "does not match"),
        (false, _) => (part.kind, word),
    };
    let shown = clean(&part.text);
    push(
        text,
        format_args!(
            "    {colour}{mark} {kind:<6} {word:<9}{PLAIN}  {shown}  {DIM}line {}{PLAIN}",
            part.line
        ),
    );
    for looked in &part.looked_at {
        let value = looked.value.as_deref().map_or_else(|| "not there".to_owned(), clean);
        push(text, format_args!("                        {DIM}{} = {PLAIN}{value}", clean(&looked.path)));
    }
    if let Some(error) = &part.error {
        push(text, format_args!("                        {YELLOW}{}{PLAIN}", clean(error)));
    }
}
