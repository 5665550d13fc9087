//! `caxton policy mutate`: which mistakes no test would notice.

use std::path::{Path, PathBuf};

use super::coverage::{floored, not_green, percent, wanted};
use super::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, clean, counted, push};
use super::{Places, find_tests, load};
use crate::cli::output::{Exit, Output};
use crate::policy::mutate::{Mutant, Mutation, mutate};
use crate::policy::run::{Settings, examine};

/// What to change and how good the tests have to be.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Test files or folders of them [default: `policy-tests`, else the built-in tests]
    pub files: Vec<PathBuf>,
    /// Exit with 1 when less than this is noticed.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub min: Option<f64>,
    /// Threads to use [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<usize>,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub places: Places,
}

pub(super) fn run(base: &Path, options: &Options, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = load(base, &options.places, output)? else { return Ok(Exit::Usage) };
    let suites = find_tests(base, &options.files, &options.places, output)?;
    let (report, exam) = examine(&bundle, &suites, &Settings::default());
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
    let mutation = mutate(&bundle, &exam, options.threads.unwrap_or(cores), &step);
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

/// The survivors as changes, and the counts.
pub fn text(mutation: &Mutation) -> String {
    let mut text = String::new();
    for mutant in &mutation.survivors {
        survivor(&mut text, mutant);
    }
    let summary = &mutation.summary;
    let colour = if summary.survived == 0 { GREEN } else { YELLOW };
    push(
        &mut text,
        format_args!(
            "{colour}score {:.1} %{PLAIN}: {} of {} noticed ({} in parts that no test reaches; left out: {} that the schema refuses, {} that mean the same; policies {})",
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
    push(text, format_args!("  {DIM}would notice:{PLAIN} {}\n", mutant.hint));
}
