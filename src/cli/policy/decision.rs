//! `caxton explain ID`: from a recorded decision to its reason. With a replayable record, by what the record holds; else by what
//! is known today, and marked as such.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::explain::{ExplainOptions, broken, text};
use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::render::{BOLD, DIM, PLAIN, YELLOW};
use crate::audit::record_reader::{ChainCheck, RecordReader};
use crate::cli::output::{Exit, Output};
use crate::policy::Bundle;
use crate::text::clean;
use crate::workbench::case::KnownWorld;
use crate::workbench::explain::{Explanation, explain};
use crate::workbench::replay::{RecordedDecision, find, suite_of_record};
use crate::workbench::run::{Report, Settings, SingleRequest, Suites, TestQuestions, examine};

/// Which decision to explain.
#[derive(Debug, clap::Args)]
pub struct DecisionOptions {
    /// The `decision_id` that the caller got, or the number in the log
    pub id: String,
    /// The decision log [default: the configuration's, else `.caxton/audit.log`]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
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

/// `caxton explain`.
pub fn run_alone(options: DecisionOptions, output: &Output) -> anyhow::Result<Exit> {
    let DecisionOptions { id, log, near, world, folders } = options;
    let options = ExplainOptions { log, near, world, folders, ..ExplainOptions::default() };
    run(Path::new(""), &id, &options, output)
}

/// A decision with its explanations.
#[derive(Serialize)]
struct ExplainedDecision<'e> {
    #[serde(flatten)]
    recorded: &'e RecordedDecision,
    /// `record`, or `today` when the record does not hold enough.
    entities: &'static str,
    /// What the record lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<String>,
    explanations: &'e [Explanation],
}

pub(super) fn run(base: &Path, id: &str, options: &ExplainOptions, output: &Output) -> anyhow::Result<Exit> {
    let log = options.folders.log(base, options.log.as_deref(), output)?;
    let mut records = RecordReader::open(&log, ChainCheck::Skip)?;
    let record = loop {
        match records.next_record()? {
            Some(line) => match find(line.text, id).ok().flatten() {
                Some(found) => break found,
                None => continue,
            },
            None => anyhow::bail!("`{}` has no record `{id}`", log.display()),
        }
    };
    let recorded = RecordedDecision::read(&record)?;
    let Some(bundle) = options.folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let known = known_world(&options.folders, &options.world, output)?;
    let (lacks, (report, questions)) = match suite_of_record(&bundle, record) {
        Ok((suite, _)) => (None, asked(&bundle, suite)),
        Err(why) => (Some(why.to_string()), today(&bundle, &recorded, known)?),
    };
    if let Some(message) = broken(&report) {
        anyhow::bail!(message);
    }
    let explanations = explain(&bundle, &questions);
    let entities = if lacks.is_some() { "today" } else { "record" };
    let explained = ExplainedDecision { recorded: &recorded, entities, lacks, explanations: &explanations };
    output.data(&explained, |explained| shown(explained, &bundle, options.near))?;
    Ok(Exit::Fine)
}

fn asked(bundle: &Bundle, suite: String) -> (Report, TestQuestions) {
    let mut suites = Suites::default();
    suites.add("the record", suite);
    examine(bundle, &suites, &Settings::default())
}

/// The same request, of what is known now.
fn today(
    bundle: &Bundle,
    recorded: &RecordedDecision,
    known: Option<KnownWorld>,
) -> anyhow::Result<(Report, TestQuestions)> {
    let (Some(principal), Some(action), Some(resource)) =
        (recorded.principal.clone(), recorded.action.clone(), recorded.resource.clone())
    else {
        anyhow::bail!("record `{}` is an event, not a decision", recorded.decision_id);
    };
    if !recorded.is_of_policies() {
        anyhow::bail!(
            "no policy was asked: record `{}` says `{}`",
            recorded.decision_id,
            recorded.reason_code
        );
    }
    let now = Some(recorded.time.clone());
    let request = SingleRequest { principal, action, resource, now, ..SingleRequest::default() };
    let suites = request.into_suites(None).map_err(|located| anyhow::anyhow!(located.error))?;
    Ok(examine(bundle, &suites, &Settings { known, ..Settings::default() }))
}

fn shown(explained: &ExplainedDecision<'_>, bundle: &Bundle, near: usize) -> String {
    let ExplainedDecision { recorded, lacks, explanations, .. } = explained;
    let by = match recorded.policies.as_slice() {
        [] => clean(&recorded.reason_code),
        ids => clean(&ids.join(", ")),
    };
    let mut lines = vec![format!(
        "{BOLD}{}{PLAIN}  {}  {} by {by}",
        clean(&recorded.decision_id),
        clean(&recorded.time),
        clean(&recorded.outcome)
    )];
    if let Some(lacks) = lacks {
        lines.push(format!(
            "{YELLOW}evaluated with today's data{PLAIN}, not with that of the decision: {}",
            clean(lacks)
        ));
        lines.push(format!(
            "{DIM}help: `security.audit.replayable: true` records the data that this needs{PLAIN}"
        ));
    }
    if let Some(version) = recorded.policy_version.as_deref().filter(|one| *one != bundle.version().as_str())
    {
        let (then, now) = (version.get(..12).unwrap_or(version), bundle.version().short());
        lines.push(format!("{YELLOW}policies have changed{PLAIN}: {} then, {now} here", clean(then)));
    }
    lines.push(String::new());
    lines.push(explanations.iter().map(|one| text(one, near)).collect::<Vec<_>>().join("\n"));
    lines.join("\n")
}
