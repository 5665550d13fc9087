//! Everything a set has to pass before it goes live: validation, lint, tests, gates, proofs. What does not pass is shown,
//! and nothing is published.

use std::path::{Path, PathBuf};

use super::coverage::{floored, not_green};
use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::lint::{findings, summed_up};
use super::proofs::{self, Search};
use super::render::{GREEN, PLAIN, RED, counted};
use super::versions::Versions;
use super::{mutate, prove, render};
use crate::cli::output::{Exit, Output};
use crate::policy::version::{Checks, CoverageShare, ProofCounts, TestCounts};
use crate::policy::{Bundle, Sources};
use crate::text::clean;
use crate::workbench::coverage::measure_of;
use crate::workbench::lint::{LintInput, RULES, lint_with};
use crate::workbench::mutate::mutate_of;
use crate::workbench::prove::Claim;
use crate::workbench::reported::Reported;
use crate::workbench::run::{Settings, Suites, TestQuestions, examine};

/// The checks of a set before it is published.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PublishChecks {
    /// Test files or folders of them [default: `policy-tests`, else the built-in tests]
    #[arg(long = "tests", value_name = "FILE")]
    pub tests: Vec<PathBuf>,
    /// Leave a rule of `lint` out; may be given more than once.
    #[arg(long, value_name = "RULE")]
    pub without: Vec<String>,
    /// Prove besides that no policy can err; needs the solver cvc5, like every `prove` in the tests.
    #[arg(long)]
    pub prove: bool,
    /// Bounds of the search for proofs.
    #[command(flatten)]
    pub search: Search,
}

/// Checks a set; `Err` with the exit code when it may not become live; the reason has been reported.
pub(super) fn check(
    base: &Path,
    sources: Sources,
    folders: &PolicyFolders,
    demands: &PublishChecks,
    output: &Output,
) -> anyhow::Result<Result<(Bundle, Checks), Exit>> {
    if let Some(unknown) = demands.without.iter().find(|id| RULES.iter().all(|rule| rule.id != **id)) {
        anyhow::bail!("there is no rule `{unknown}`; docs/lint.md lists them");
    }
    let bundle = match Bundle::load(sources) {
        Ok(bundle) => {
            super::show(bundle.warnings(), output);
            bundle
        }
        Err(errors) => {
            super::show(errors.problems(), output);
            output.say(render::invalid(errors.problems().iter().filter(|problem| problem.fatal).count()));
            return Ok(Err(Exit::Found));
        }
    };
    let suites = folders.tests(base, &demands.tests, output)?;
    let known = known_world(folders, &WorldOptions::default(), output)?;
    let settings = Settings { known, ..Settings::default() };
    let (report, questions) = examine(&bundle, &suites, &settings);
    if not_green(&report, output).is_some() {
        return Ok(Err(Exit::Found));
    }
    let summary = report.summary();
    let mut checks = Checks {
        policies: bundle.policies().count() as u64,
        tests: Some(TestCounts { tests: summary.passed as u64, rows: summary.rows as u64 }),
        ..Checks::default()
    };
    passed(output, &format!("{} in {}", counted(summary.passed, "test"), counted(summary.rows, "row")));
    let reported = Reported::own(&bundle);
    let input = LintInput { questions: Some(&questions), known: settings.known.as_ref(), reported };
    let exit = linted(&bundle, &input, demands, &mut checks, output)
        .or_else(|| gated(&bundle, &questions, &suites, &mut checks, output));
    if let Some(exit) = exit {
        return Ok(Err(exit));
    }
    let versions = Versions::of(base, folders, output)?;
    Ok(match proved(&versions, &bundle, &suites, demands, output) {
        Ok(proofs) => {
            checks.proofs = proofs;
            Ok((bundle, checks))
        }
        Err(exit) => Err(exit),
    })
}

fn passed(output: &Output, what: &str) {
    output.say(format_args!("{GREEN}passed{PLAIN}: {what}"));
}

/// Findings refuse the set, except those of rules that were left out, which are counted.
fn linted(
    bundle: &Bundle,
    input: &LintInput<'_>,
    demands: &PublishChecks,
    checks: &mut Checks,
    output: &Output,
) -> Option<Exit> {
    let (let_pass, refused): (Vec<_>, Vec<_>) = lint_with(bundle, input)
        .into_iter()
        .partition(|found| demands.without.iter().any(|id| id == found.rule.id));
    if !refused.is_empty() {
        findings(&refused, output);
        output.say(format_args!("{RED}refused{PLAIN}: lint found {}", summed_up(&refused)));
        output.say("help: correct them, or leave a rule out with `--without RULE`; the history records it");
        return Some(Exit::Found);
    }
    checks.lint_findings = let_pass.len() as u64;
    passed(output, &format!("lint, {} let pass", counted(let_pass.len(), "finding")));
    None
}

/// The gates that the test files name.
fn gated(
    bundle: &Bundle,
    questions: &TestQuestions,
    suites: &Suites,
    checks: &mut Checks,
    output: &Output,
) -> Option<Exit> {
    let gate = suites.promises().gate;
    let reported = Reported::own(bundle);
    if let Some(wanted) = gate.clause_coverage {
        let reached = measure_of(bundle, questions, &reported).summary.percent;
        checks.coverage = Some(share(reached, wanted));
        if let Some(exit) = too_little("coverage of clauses", reached, wanted, output) {
            return Some(exit);
        }
    }
    if let Some(wanted) = gate.mutation_score {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let bar = indicatif::ProgressBar::new(0);
        let step = |count: usize, done: bool| match done {
            true => bar.inc(1),
            false => bar.set_length(u64::try_from(count).unwrap_or(0)),
        };
        let solver = mutate::solver(false, threads, output);
        let reached = mutate_of(bundle, questions, &reported, threads, solver.as_ref(), &step).summary.score;
        bar.finish_and_clear();
        checks.mutation = Some(share(reached, wanted));
        if let Some(exit) = too_little("mutation score", reached, wanted, output) {
            return Some(exit);
        }
    }
    None
}

fn too_little(what: &str, reached: f64, wanted: f64, output: &Output) -> Option<Exit> {
    if reached >= wanted {
        passed(output, &format!("{what} {:.1} %, {wanted} % wanted", floored(reached)));
        return None;
    }
    output.say(format_args!("{RED}refused{PLAIN}: {what} {:.1} %, {wanted} % wanted", floored(reached)));
    Some(Exit::Found)
}

/// Hundredths of a per cent, never rounded up to what was not reached.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100, and bounded before")]
fn share(reached: f64, wanted: f64) -> CoverageShare {
    let hundredths = |percent: f64| (percent.clamp(0.0, 100.0) * 100.0).floor() as u64;
    CoverageShare { reached: hundredths(reached), wanted: hundredths(wanted) }
}

fn proved(
    versions: &Versions,
    bundle: &Bundle,
    suites: &Suites,
    demands: &PublishChecks,
    output: &Output,
) -> Result<Option<ProofCounts>, Exit> {
    let statements = prove::statements(suites, output).ok_or(Exit::Usage)?;
    if statements.is_empty() && !demands.prove {
        return Ok(None);
    }
    let mut claims = prove::claims(versions, bundle, &statements, output).ok_or(Exit::Usage)?;
    if demands.prove {
        claims.extend(Claim::never_errors(bundle, &[]));
    }
    let report = proofs::sought(bundle, &claims, suites, &demands.search, output);
    match proofs::ended(&report) {
        Exit::Fine => {
            passed(output, &format!("{} proven", counted(claims.len(), "statement")));
            let solver = report.solver.unwrap_or_default();
            Ok(Some(ProofCounts { proven: claims.len() as u64, solver: clean(&solver) }))
        }
        exit => {
            output.say(proofs::text(&report).trim_end());
            output.say(format_args!("{RED}refused{PLAIN}: not everything that is stated is proven"));
            Err(exit)
        }
    }
}
