//! What `caxton policy analyze` and `prove` share: the solver, the bar, the report and what it ends with.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, counted, push};
use crate::cli::output::{Exit, Output};
use crate::model::PolicyVersion;
use crate::policy::Bundle;
use crate::text::clean;
use crate::workbench::prove::{
    Claim, Counterexample, ProofResult, ProofVerdict, Settings, Solver, names_in_tests, prove,
};
use crate::workbench::run::Suites;

/// Open places of one statement that are shown.
const OPEN_SHOWN: usize = 5;

/// Bounds of the search for proofs.
#[derive(Debug, Clone, clap::Args)]
pub struct Search {
    /// Time limit of the solver for one query, in seconds.
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,
    /// Solvers that run at once [default: one for each core]
    #[arg(long, global = true, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Counterexamples of one statement that are shown.
    #[arg(long, global = true, value_name = "COUNT", default_value_t = 3)]
    pub show: usize,
}

impl Default for Search {
    fn default() -> Self {
        let Settings { timeout, kept, .. } = Settings::default();
        Self { timeout, threads: None, show: kept }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    match (0.001..=3600.0).contains(&number) {
        true => Ok(Duration::from_secs_f64(number)),
        false => Err("it has to be from 0.001 to 3600".to_owned()),
    }
}

/// The sound settings, with the solver that `CVC5` names.
pub(super) fn settings() -> Settings {
    let sound = Settings::default();
    match std::env::var_os("CVC5").filter(|named| !named.is_empty()) {
        Some(named) => Settings { solver: PathBuf::from(named), ..sound },
        None => sound,
    }
}

impl Search {
    fn settings(&self) -> Settings {
        let sound = settings();
        let threads = self.threads.map_or(sound.threads, usize::from);
        Settings { timeout: self.timeout, threads, kept: self.show, ..sound }
    }
}

/// What came of all statements.
#[derive(Debug, Serialize)]
pub struct ProofReport {
    /// The solver with its version; none when there was none.
    pub solver: Option<String>,
    /// The policies.
    pub policy_version: PolicyVersion,
    /// The limit of one question, in seconds.
    pub timeout_seconds: f64,
    /// One for each statement.
    pub proofs: Vec<ProofResult>,
}

/// Seeks proofs of all claims, prints the report and says how it ended.
pub(super) fn seek(
    bundle: &Bundle,
    claims: &[Claim],
    suites: &Suites,
    search: &Search,
    output: &Output,
) -> anyhow::Result<Exit> {
    let report = sought(bundle, claims, suites, search, output);
    output.data(&report, text)?;
    Ok(ended(&report))
}

/// How it ended: 1 with something refuted, 3 with something not proven.
pub(super) fn ended(report: &ProofReport) -> Exit {
    let any = |verdict| report.proofs.iter().any(|proof| proof.verdict == verdict);
    match () {
        () if any(ProofVerdict::Refuted) => Exit::Found,
        () if any(ProofVerdict::NotProven) => Exit::Unreachable,
        () => Exit::Fine,
    }
}

/// Seeks proofs of all claims. Counterexamples are about what the tests name, where they can be.
pub(super) fn sought(
    bundle: &Bundle,
    claims: &[Claim],
    suites: &Suites,
    search: &Search,
    output: &Output,
) -> ProofReport {
    let settings = Settings { names: names_in_tests(bundle, suites), ..search.settings() };
    let (solver, proofs) = match Solver::find(&settings) {
        Ok(solver) => {
            let proofs = claims.iter().map(|claim| one(bundle, claim, &solver)).collect();
            (Some(solver.version().to_owned()), proofs)
        }
        Err(error) => {
            let why = format!("{:#}", anyhow::Error::from(error));
            output.say(format_args!("{RED}no solver{PLAIN}: {}", clean(&why)));
            output.say(
                "help: install cvc5 (on Debian, the package `cvc5`), or name it with the variable `CVC5`",
            );
            (None, claims.iter().map(|claim| ProofResult::not_begun(claim, "there is no solver")).collect())
        }
    };
    ProofReport {
        solver,
        policy_version: bundle.version().clone(),
        timeout_seconds: settings.timeout.as_secs_f64(),
        proofs,
    }
}

fn one(bundle: &Bundle, claim: &Claim, solver: &Solver) -> ProofResult {
    // Drawn on stderr, and only on a terminal.
    let style = indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
    let bar = indicatif::ProgressBar::new(0).with_message(clean(&claim.words));
    let bar = match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    let step = |count: usize, done: bool| match done {
        true => bar.inc(1),
        false => bar.set_length(u64::try_from(count).unwrap_or(0)),
    };
    let proof = prove(bundle, claim, solver, &step);
    bar.finish_and_clear();
    proof
}

/// The report for people.
pub fn text(report: &ProofReport) -> String {
    let mut text = String::new();
    for proof in &report.proofs {
        statement(&mut text, proof);
    }
    let count = |verdict| report.proofs.iter().filter(|proof| proof.verdict == verdict).count();
    let proven = count(ProofVerdict::Proven);
    let refuted = count(ProofVerdict::Refuted);
    let open = count(ProofVerdict::NotProven);
    let colour = match (refuted, open) {
        (0, 0) => GREEN,
        (0, _) => YELLOW,
        (_, _) => RED,
    };
    let mut counts = vec![format!("{proven} proven")];
    counts.extend((refuted > 0).then(|| format!("{refuted} refuted")));
    counts.extend((open > 0).then(|| format!("{open} not proven")));
    let solver = report.solver.as_deref().unwrap_or("no solver");
    let version = report.policy_version.short();
    push(
        &mut text,
        format_args!("{colour}{}{PLAIN} ({}, policies {version})", counts.join(", "), clean(solver)),
    );
    text
}

fn statement(text: &mut String, proof: &ProofResult) {
    let place =
        proof.place.as_ref().map(|place| format!("  {DIM}{}{PLAIN}", clean(place))).unwrap_or_default();
    let words = format!("{}{place}", clean(&proof.statement));
    let environments = counted(proof.environments, "environment");
    match proof.verdict {
        ProofVerdict::Proven => {
            push(text, format_args!("{GREEN}✓ proven{PLAIN}  {words}  {DIM}{environments}{PLAIN}"));
        }
        ProofVerdict::Refuted if proof.refuted_in > 0 => {
            let share = format!("not so in {} of {environments}", proof.refuted_in);
            push(text, format_args!("{RED}✗ refuted{PLAIN}  {words}  {DIM}{share}{PLAIN}"));
        }
        ProofVerdict::Refuted => push(text, format_args!("{RED}✗ refuted{PLAIN}  {words}")),
        ProofVerdict::NotProven => push(text, format_args!("{YELLOW}? not proven{PLAIN}  {words}")),
    }
    proof.notes.iter().for_each(|note| push(text, format_args!("    {DIM}note: {}{PLAIN}", clean(note))));
    for needless in &proof.needless {
        let place = format!("{}:{}", clean(&needless.file), needless.line);
        let id = clean(&needless.policy);
        let why = clean(&needless.why);
        push(text, format_args!("    {BOLD}{id}{PLAIN}  {DIM}{place}{PLAIN}\n      {why}"));
    }
    proof.counterexamples.iter().for_each(|one| counterexample(text, one));
    if let more @ 1.. = proof.refuted_in.saturating_sub(proof.counterexamples.len()) {
        push(text, format_args!("    … and {more} more"));
    }
    for open in proof.open.iter().take(OPEN_SHOWN) {
        let place = clean(&open.place);
        let why = clean(&open.why);
        push(text, format_args!("    {YELLOW}{place}{PLAIN}: {why}"));
    }
    if let more @ 1.. = proof.open.len().saturating_sub(OPEN_SHOWN) {
        push(text, format_args!("    … and {more} more that are not settled"));
    }
    if proof.verdict != ProofVerdict::Proven {
        text.push('\n');
    }
}

fn counterexample(text: &mut String, one: &Counterexample) {
    let request = &one.request;
    let principal = clean(&request.principal);
    let resource = clean(&request.resource);
    push(
        text,
        format_args!("    {BOLD}{principal} asks for {} on {resource}{PLAIN}", clean(&request.action)),
    );
    for decided in &one.decided {
        push(text, format_args!("      {}: {RED}{}{PLAIN}", clean(&decided.by), clean(&decided.words())));
        for error in &decided.errors {
            push(text, format_args!("      error in {}", clean(error)));
        }
    }
    push(text, format_args!("      {DIM}as a test:{PLAIN}"));
    for line in one.test.lines() {
        push(text, format_args!("      {}", clean(line)));
    }
}
