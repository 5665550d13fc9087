//! `caxton policy bench`: how fast decisions are on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::coverage::not_green;
use super::folders::PolicyFolders;
use super::render::{PLAIN, RED, counted};
use crate::cli::output::{Exit, Output, table};
use crate::workbench::measure::{Measurement, Settings, measure};
use crate::workbench::run::{Settings as TestSettings, examine};

/// What to measure.
#[derive(Debug, Default, clap::Args)]
pub struct BenchOptions {
    /// Test files or folders of them, whose questions are asked [default: `policy-tests`, else the built-in tests]
    pub files: Vec<PathBuf>,
    /// Sizes of the set; policies that apply to no request are added to yours up to each [default: 10,100,1000,10000]
    #[arg(long, value_name = "COUNT", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sizes: Vec<u32>,
    /// Seconds for each size.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=600))]
    pub time: u16,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

pub(super) fn run(base: &Path, options: &BenchOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let suites = options.folders.tests(base, &options.files, output)?;
    let (report, questions) = examine(&bundle, &suites, &TestSettings::default());
    if let Some(exit) = not_green(&report, output) {
        return Ok(exit);
    }
    let sizes = options.sizes.iter().map(|size| *size as usize).collect();
    let sizes = if options.sizes.is_empty() { Settings::default().sizes } else { sizes };
    let settings = Settings { sizes, time: Duration::from_secs(u64::from(options.time)) };
    if cfg!(debug_assertions) {
        output.say("note: this program was built for debugging; only the ratios mean something");
    }
    let bar = indicatif::ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let step = |size: usize| bar.set_message(format!("{size} policies"));
    let rows = measure(&bundle, &questions, &settings, step);
    bar.finish_and_clear();
    let rows = match rows {
        Ok(rows) => rows,
        Err(errors) => {
            super::show(errors.problems(), output);
            return Ok(Exit::Usage);
        }
    };
    output.data(&rows, |rows| text(rows))?;
    let differences: usize = rows.iter().map(|row| row.differences).sum();
    if differences > 0 {
        output.say(format_args!(
            "{RED}wrong{PLAIN}: {} answered otherwise than by Cedar",
            counted(differences, "question")
        ));
        return Ok(Exit::Found);
    }
    Ok(Exit::Fine)
}

fn text(rows: &[Measurement]) -> String {
    let mut lines = table([
        "policies",
        "decision µs",
        "Cedar µs",
        "times faster",
        "load ms",
        "parse and validate ms",
        "load ratio",
        "one file changed ms",
    ]);
    for row in rows {
        lines.add_row([
            row.policies.to_string(),
            format!("{:.2}", row.ours_us),
            format!("{:.2}", row.cedar_us),
            format!("{:.1}", row.ratio),
            format!("{:.1}", row.load_ms),
            format!("{:.1}", row.check_ms),
            format!("{:.2}", row.load_ms / row.check_ms),
            row.change_ms.map_or_else(|| "-".to_owned(), |change_ms| format!("{change_ms:.1}")),
        ]);
    }
    let questions = rows.first().map_or(0, |row| row.questions);
    format!(
        "{lines}\nmedians over {} of the tests, asked in turns; all answers alike",
        counted(questions, "question")
    )
}
