//! `caxton policy mutate`: which mistakes no test would notice.

use std::path::{Path, PathBuf};

use super::coverage::{floored, not_green, percent, wanted};
use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::proofs::settings;
use super::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, counted, push};
use super::scope::ReportScope;
use crate::cli::output::{Exit, Output};
use crate::text::clean;
use crate::workbench::mutate::{Mutant, Mutation, mutate_of};
use crate::workbench::prove::{Settings, Solver};
use crate::workbench::run;
use crate::workbench::run::examine;

/// What to change and how good the tests have to be.
#[derive(Debug, Default, clap::Args)]
pub struct MutateOptions {
    /// Test files or folders of them [default: `policy-tests`, else the built-in tests]
    pub files: Vec<PathBuf>,
    /// Exit with 1 when the mutation score is lower than this.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub min: Option<f64>,
    /// Threads to use [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<usize>,
    /// Use no solver: equivalent changes stay among those that no test detects.
    #[arg(long)]
    pub no_solver: bool,
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

pub(super) fn run(base: &Path, options: &MutateOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load(base, output)? else { return Ok(Exit::Usage) };
    let suites = options.folders.tests(base, &options.files, output)?;
    let known = known_world(&options.folders, &options.world, output)?;
    let settings = run::Settings { known, ..run::Settings::default() };
    let (report, mut questions) = examine(&bundle, &suites, &settings);
    if let Some(exit) = not_green(&report, output) {
        return Ok(exit);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // Drawn on stderr, and only on a terminal.
    let bar = indicatif::ProgressBar::new(0);
    let step = |count: usize, done: bool| match done {
        true => bar.inc(1),
        false => bar.set_length(u64::try_from(count).unwrap_or(0)),
    };
    let threads = options.threads.unwrap_or(cores);
    let solver = solver(options.no_solver, threads, output);
    options.scope.add_tests(&bundle, &mut questions);
    let reported = options.scope.reported(&bundle);
    let mutation = mutate_of(&bundle, &questions, &reported, threads, solver.as_ref(), &step);
    bar.finish_and_clear();
    output.data(&mutation, text)?;
    let min = wanted(options.min, suites.promises().gate.mutation_score);
    let enough = min.is_none_or(|min| mutation.summary.score >= min);
    if let (false, Some(min)) = (enough, min) {
        let score = floored(mutation.summary.score);
        output.say(format_args!("{RED}too little{PLAIN}: the score is {score:.1} %, {min} % is wanted"));
    }
    Ok(if enough { Exit::Fine } else { Exit::Found })
}

/// The solver, if it is wanted and there.
pub(super) fn solver(unwanted: bool, threads: usize, output: &Output) -> Option<Solver> {
    if unwanted {
        return None;
    }
    match Solver::find(&Settings { threads, ..settings() }) {
        Ok(solver) => Some(solver),
        Err(error) => {
            let why = clean(&error.to_string());
            output.say(format_args!("note: {why}: changes that mean the same stay among the survivors"));
            None
        }
    }
}

/// The survivors as changes, and the counts.
pub fn text(mutation: &Mutation) -> String {
    let mut text = String::new();
    for mutant in &mutation.survivors {
        survivor(&mut text, mutant);
    }
    let summary = &mutation.summary;
    let colour = if summary.survived == 0 { GREEN } else { YELLOW };
    let proven = match &mutation.solver {
        Some(solver) => format!(", {} by proof with {}", summary.proven_equivalent, clean(solver)),
        None => String::new(),
    };
    let left_out = match summary.left_out {
        0 => String::new(),
        count => format!(", {}, which `--all` has", counted(count, "shipped policy")),
    };
    if summary.unlinked_templates > 0 {
        let templates = counted(summary.unlinked_templates, "template");
        push(&mut text, format_args!("{DIM}{templates} that nothing links: not changed{PLAIN}"));
    }
    push(
        &mut text,
        format_args!(
            "{colour}score {:.1} %{PLAIN}: {} of {} noticed ({} in parts that no test reaches; left out: {} that the schema refuses, {} that mean the same by the schema{proven}{left_out}; policies {})",
            floored(summary.score),
            summary.killed,
            counted(summary.mutants, "change"),
            summary.not_reached,
            summary.invalid,
            summary.equivalent,
            mutation.policy_version.short()
        ),
    );
    text
}

fn survivor(text: &mut String, mutant: &Mutant) {
    let place = format!("{}:{}", clean(&mutant.file), mutant.line);
    push(
        text,
        format_args!("{BOLD}{}{PLAIN}  {}  {DIM}{place}{PLAIN}", clean(&mutant.policy), mutant.operator),
    );
    mutant.before.iter().for_each(|line| push(text, format_args!("  {RED}- {}{PLAIN}", clean(line))));
    mutant.after.iter().for_each(|line| push(text, format_args!("  {GREEN}+ {}{PLAIN}", clean(line))));
    match (&mutant.unnoticed_in, mutant.reached) {
        (_, false) => push(text, format_args!("  no test reaches it")),
        (Some(name), true) => push(
            text,
            format_args!("  the policy answers otherwise in `{}`, and the test does not see it", clean(name)),
        ),
        (None, true) => push(text, format_args!("  the policy answers as before in every test")),
    }
    push(text, format_args!("  {DIM}would notice:{PLAIN} {}", mutant.hint));
    if let Some(sketch) = &mutant.sketch {
        let words = if sketch.notices { "this test does:" } else { "a test to start from:" };
        push(text, format_args!("  {DIM}{words}{PLAIN}"));
        sketch.test.lines().for_each(|line| push(text, format_args!("  {}", clean(line))));
    }
    text.push('\n');
}
