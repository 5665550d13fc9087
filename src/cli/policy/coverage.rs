//! `caxton policy coverage`: what no test has seen, as a list for people, as data, and as pages of coloured text.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::html;
use super::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, counted, push};
use super::scope::ReportScope;
use crate::cli::output::{Exit, Output};
use crate::text::clean;
use crate::workbench::coverage::{Coverage, measure_of};
use crate::workbench::run::{Report, Settings, examine};

/// What to measure and where to write it.
#[derive(Debug, Default, clap::Args)]
pub struct CoverageOptions {
    /// Test files or folders of them [default: `policy-tests`, else the built-in tests]
    pub files: Vec<PathBuf>,
    /// Count only tests whose `suite: name` contains this text.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Exit with 1 when less than this is covered.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub min: Option<f64>,
    /// Write the policies with their coverage as a self-contained HTML page.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Which policies.
    #[command(flatten)]
    pub scope: ReportScope,
    /// What the gateway knows.
    #[command(flatten)]
    pub world: WorldOptions,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// The higher of what was asked for and what the test files promise.
pub(super) fn wanted(asked: Option<f64>, gate: Option<f64>) -> Option<f64> {
    match (asked, gate) {
        (Some(asked), Some(gate)) => Some(asked.max(gate)),
        (asked, gate) => asked.or(gate),
    }
}

/// A number from 0 to 100.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (0.0..=100.0).contains(&number) {
        true => Ok(number),
        false => Err("it has to be from 0 to 100".to_owned()),
    }
}

pub(super) fn run(base: &Path, options: &CoverageOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load(base, output)? else { return Ok(Exit::Usage) };
    let suites = options.folders.tests(base, &options.files, output)?;
    let known = known_world(&options.folders, &options.world, output)?;
    let settings = Settings { filter: options.filter.clone(), known, ..Settings::default() };
    let (report, mut questions) = examine(&bundle, &suites, &settings);
    if let Some(exit) = not_green(&report, output) {
        return Ok(exit);
    }
    options.scope.add_tests(&bundle, &mut questions);
    let coverage = measure_of(&bundle, &questions, &options.scope.reported(&bundle));
    output.data(&coverage, summary)?;
    if let Some(path) = &options.html {
        let page = html::page(&coverage, bundle.sources());
        std::fs::write(path, page).with_context(|| format!("writing `{}`", path.display()))?;
    }
    // What a filter leaves cannot be held to a gate of all tests.
    let gate = options.filter.is_none().then(|| suites.promises().gate.clause_coverage).flatten();
    let min = wanted(options.min, gate);
    let enough = min.is_none_or(|min| coverage.summary.percent >= min);
    if let (false, Some(min)) = (enough, min) {
        output.say(format_args!(
            "{RED}too little{PLAIN}: {:.1} % is covered, {min} % is wanted",
            floored(coverage.summary.percent)
        ));
    }
    Ok(if enough { Exit::Fine } else { Exit::Found })
}

/// Tests that do not pass say nothing about what they see.
pub(super) fn not_green(report: &Report, output: &Output) -> Option<Exit> {
    let summary = report.summary();
    let exit = match summary {
        _ if summary.broken > 0 || summary.rows == 0 => Exit::Usage,
        _ if summary.failed > 0 => Exit::Found,
        _ => return None,
    };
    let what = match summary.rows + summary.broken {
        0 => "there is no test to run".to_owned(),
        _ => format!("{} failed, {} broken", counted(summary.failed, "test"), summary.broken),
    };
    output.say(format_args!("{RED}nothing was measured{PLAIN}: {what}"));
    output.say("help: `caxton policy test` shows them; they have to pass first");
    Some(exit)
}

/// One decimal, never rounded up to what was not reached.
pub(super) fn floored(percent: f64) -> f64 {
    (percent * 10.0).floor() / 10.0
}

/// The list of what was not seen, and the counts.
pub fn summary(coverage: &Coverage) -> String {
    let mut text = String::new();
    for policy in &coverage.policies {
        let gaps: Vec<_> = policy.parts.iter().filter(|part| !part.gaps().is_empty()).collect();
        if gaps.is_empty() {
            continue;
        }
        push(
            &mut text,
            format_args!("{BOLD}{}{PLAIN}  {DIM}{}{PLAIN}", clean(&policy.id), share(policy.summary)),
        );
        for part in gaps {
            let colour = if part.seen_true + part.seen_false == 0 { RED } else { YELLOW };
            let place = format!("{}:{}:{}", clean(&policy.file), part.line, part.column);
            push(
                &mut text,
                format_args!(
                    "  {place}  {}  {colour}{}{PLAIN}",
                    shortened(&part.text),
                    part.gaps().join(", ")
                ),
            );
        }
        text.push('\n');
    }
    let Coverage { summary, rows, policies, policy_version, left_out } = coverage;
    let left_out = match left_out {
        0 => String::new(),
        count => format!("; {} left out, `--all` has them", counted(*count, "shipped policy")),
    };
    let colour = if summary.covered == summary.points { GREEN } else { YELLOW };
    push(
        &mut text,
        format_args!(
            "{colour}{:.1} % covered{PLAIN}: {} ({}, {}, policies {}{left_out})",
            floored(summary.percent),
            share(*summary),
            counted(policies.len(), "policy"),
            counted(*rows, "row"),
            policy_version.short()
        ),
    );
    text
}

fn share(count: crate::workbench::coverage::Count) -> String {
    format!("{} of {}", count.covered, counted(count.points, "point"))
}

/// A part's text as far as it fits in a line.
fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 80;
    let text = clean(text);
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}
