//! `caxton policy replay`: recorded decisions, decided again by another version of the policies.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::diff::{load as load_version, version};
use super::files::create;
use super::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, clean, counted, push};
use super::{Places, load};
use crate::audit::records::{Proof, Proven, Records, RecordsError};
use crate::cli::audit::span_millis;
use crate::cli::output::{Exit, Output};
use crate::clock::{Clock as _, SystemClock, rfc3339};
use crate::policy::diff::Side;
use crate::policy::replay::{
    BadRecord, Flip, Group, Place, Replay, Replayer, Settings, TestError, find, suite_of_flips,
    suite_of_record,
};
use crate::policy::{Bundle, OnPolicyError, SourceKind, Sources};

/// Where the gateway writes when nothing else is said.
const LOG: &str = ".caxton/audit.log";
/// Bytes of a log that are read so fast that a progress bar would only flicker.
const NO_BAR_BELOW: u64 = 4 << 20;
/// Lines that go to a thread at once.
const BATCH: usize = 256;
/// The most threads.
const WORKERS: usize = 16;
/// Principals of one action that are shown.
const PRINCIPALS: usize = 5;
/// Records named for a line.
const NAMED: usize = 3;

/// Which log, and what is compared.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// The decision log, or a folder of them [default: `.caxton/audit.log`]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Only the last hours, days, … (`24h`, `7d`).
    #[arg(long, value_name = "TIME")]
    pub last: Option<String>,
    /// The policies to compare with: a folder with `policies` (and `schemas`) or `*.cedar` files in it, or a git commit.
    #[arg(long, value_name = "DIR|REF")]
    pub candidate: String,
    /// Take decisions of other versions too: what `--policies` decides stands for what was recorded.
    #[arg(long)]
    pub other_versions: bool,
    /// The log is a selection or an export: do not hold its lines against the chain.
    #[arg(long)]
    pub no_verify: bool,
    /// What an error in a policy means to the gateway: its `security.authorization.on_policy_error`.
    #[arg(long, value_name = "RULE", default_value = "deny_on_forbid_error")]
    pub on_policy_error: Rule,
    /// Write a test for each flip to this file: it states what was recorded.
    #[arg(long, value_name = "FILE")]
    pub tests: Option<PathBuf>,
    /// Of the flips, write only this record's (its `decision_id`, or its number in the log).
    #[arg(long, value_name = "ID", requires = "tests")]
    pub flip: Option<String>,
    /// Flips of one action that are shown.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub show: usize,
    /// Where the policies that decided are, and their schema.
    #[command(flatten)]
    pub places: Places,
}

/// The words of the configuration.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Rule {
    /// An error in a `forbid` denies.
    #[default]
    DenyOnForbidError,
    /// Any error denies.
    Deny,
}

impl From<Rule> for OnPolicyError {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::DenyOnForbidError => Self::DenyOnForbidError,
            Rule::Deny => Self::Deny,
        }
    }
}

/// The report with what is known about the log.
#[derive(Serialize)]
struct Told<'r> {
    log: String,
    chain: Chain,
    #[serde(flatten)]
    replay: &'r Replay,
}

/// Whether the log is what the gateway wrote.
#[derive(Debug, Clone, Copy, Serialize)]
struct Chain {
    /// Whether each line was held against the one before.
    verified: bool,
    /// Logs that begin in the middle of a chain.
    without_beginning: u64,
    /// Bytes of a line that a crash cut.
    torn_tail: u64,
}

pub(super) fn run(base: &Path, options: &Options, output: &Output) -> anyhow::Result<Exit> {
    if let Some(file) = options.tests.as_deref().filter(|file| file.exists()) {
        anyhow::bail!("`{}` is there already; name a new file", file.display());
    }
    let log = options.log.clone().unwrap_or_else(|| base.join(LOG));
    let Some(baseline) = load(base, &options.places, output)? else { return Ok(Exit::Usage) };
    let candidate = candidate(base, options, &baseline)?;
    let Some(candidate) = load_version(candidate, &options.candidate, output) else { return Ok(Exit::Usage) };
    let rule = OnPolicyError::from(options.on_policy_error);
    let (baseline, candidate) = (baseline.with_errors_as(rule), candidate.with_errors_as(rule));
    let from = match &options.last {
        Some(last) => Some(rfc3339(SystemClock.now_millis() - span_millis(last)?)),
        None => None,
    };
    let settings = Settings { other_versions: options.other_versions, keep_records: options.tests.is_some() };
    let proof = if options.no_verify { Proof::Nothing } else { Proof::Chain };
    let (replay, proven) = match replay_log(&log, proof, [&baseline, &candidate], settings, from.as_deref()) {
        Ok(read) => read,
        Err(error) => {
            let help = advice(&error);
            output.say(format_args!("error: {error:#}"));
            help.iter().for_each(|help| output.say(format_args!("help: {help}")));
            return Ok(Exit::Usage);
        }
    };
    if let Some(file) = &options.tests {
        write_tests(file, options.flip.as_deref(), &baseline, &candidate, &replay, output)?;
    }
    let Proven { without_beginning, torn_tail, .. } = proven;
    let chain = Chain { verified: proof == Proof::Chain, without_beginning, torn_tail };
    let told = Told { log: log.display().to_string(), chain, replay: &replay };
    output.data(&told, |told| text(told.replay, &told.log, told.chain, options.show))?;
    Ok(if replay.has_findings() { Exit::Found } else { Exit::Fine })
}

/// A folder of `*.cedar` files is taken with the schema that the baseline has; everything else is as `diff` has it.
fn candidate(base: &Path, options: &Options, baseline: &Bundle) -> anyhow::Result<Sources> {
    let folder = base.join(&options.candidate);
    if !folder.is_dir() || folder.join(super::POLICIES).is_dir() {
        return version(base, &options.candidate);
    }
    let read = Sources::from_dirs(&folder, &folder)?;
    let has = |kind| read.iter().any(|source| source.kind == kind);
    anyhow::ensure!(
        has(SourceKind::Policy),
        "`{}` has neither a folder `policies` nor a `*.cedar` file",
        options.candidate
    );
    if has(SourceKind::Schema) {
        return Ok(read);
    }
    let schemas = baseline.sources().iter().filter(|source| source.kind == SourceKind::Schema);
    Ok(schemas.fold(read, |read, schema| read.with_schema(&schema.name, &schema.text)))
}

/// What stops a replay: the log, or a line of it.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Log(#[from] RecordsError),
    #[error("`{log}` line {line}: {what}")]
    Line { log: String, line: u64, what: BadRecord },
}

fn advice(stopped: &anyhow::Error) -> Option<&'static str> {
    match stopped.downcast_ref::<Stopped>()? {
        Stopped::Log(RecordsError::Line { .. }) => Some(
            "`caxton audit verify` tells more; for a selection or an export that is no chain, say `--no-verify`",
        ),
        Stopped::Log(RecordsError::Read { .. }) => Some("name the log with `--log`"),
        Stopped::Log(RecordsError::Folder { .. }) | Stopped::Line { .. } => None,
    }
}

/// Replays a log. Reads and proves in this thread, decides in others: a chain is one after the other, decisions are not.
pub fn replay_log(
    log: &Path,
    proof: Proof,
    [baseline, candidate]: [&Bundle; 2],
    settings: Settings,
    from: Option<&str>,
) -> anyhow::Result<(Replay, Proven)> {
    let mut records = Records::open(log, proof).map_err(Stopped::from)?;
    let bar = match records.bytes() {
        ..NO_BAR_BELOW => indicatif::ProgressBar::hidden(),
        bytes => indicatif::ProgressBar::new(bytes),
    };
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS));
    let parts = std::thread::scope(|scope| {
        let (mut lanes, mut running) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let (lane, batches) = std::sync::mpsc::sync_channel::<Batch>(2);
            lanes.push(lane);
            let replayer = move || Replayer::new(baseline, candidate, settings);
            running.push(scope.spawn(move || decide(replayer(), &batches, from)));
        }
        let told = deal(&mut records, &lanes, &bar);
        drop(lanes);
        // What a line says is wrong is told before what came of the file later on.
        let mut parts = Vec::new();
        let mut wrong: Vec<(String, u64, BadRecord)> = Vec::new();
        for worker in running {
            match worker.join() {
                Ok(Ok(part)) => parts.push(part),
                Ok(Err(found)) => wrong.push(found),
                Err(_) => anyhow::bail!("a thread ended before its work was done"),
            }
        }
        wrong.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        if let Some((log, line, what)) = wrong.into_iter().next() {
            return Err(Stopped::Line { log, line, what }.into());
        }
        told.map_err(Stopped::from)?;
        Ok(parts)
    })?;
    bar.finish_and_clear();
    let replay = Replay::merge(parts).context("nothing was read")?;
    Ok((replay, records.proven()))
}

/// Lines of one log.
struct Batch {
    log: std::sync::Arc<str>,
    lines: Vec<(u64, Vec<u8>)>,
}

/// Deals the lines out, batch by batch.
fn deal(
    records: &mut Records,
    lanes: &[std::sync::mpsc::SyncSender<Batch>],
    bar: &indicatif::ProgressBar,
) -> Result<(), RecordsError> {
    let mut next = lanes.iter().cycle();
    let mut batch = Batch { log: "".into(), lines: Vec::new() };
    // A lane that is closed has found something wrong, which is told when all have ended.
    let mut send =
        |batch: Batch| batch.lines.is_empty() || next.next().is_some_and(|lane| lane.send(batch).is_ok());
    loop {
        let Some(record) = records.next_record()? else {
            send(batch);
            return Ok(());
        };
        if record.line == 1 || batch.lines.len() == BATCH {
            let name = record.path.display().to_string();
            let log = if *batch.log == *name { std::sync::Arc::clone(&batch.log) } else { name.into() };
            let full = std::mem::replace(&mut batch, Batch { log, lines: Vec::with_capacity(BATCH) });
            batch.lines.push((record.line, record.text.to_vec()));
            if !send(full) {
                return Ok(());
            }
            bar.set_position(records.consumed());
        } else {
            batch.lines.push((record.line, record.text.to_vec()));
        }
    }
}

fn decide(
    mut replayer: Replayer<'_>,
    batches: &std::sync::mpsc::Receiver<Batch>,
    from: Option<&str>,
) -> Result<Replay, (String, u64, BadRecord)> {
    for batch in batches {
        for (line, text) in &batch.lines {
            let place = Place { log: &batch.log, line: *line };
            let taken = replayer.line(place, text, from);
            taken.map_err(|what| (batch.log.to_string(), *line, what))?;
        }
    }
    Ok(replayer.part())
}

fn write_tests(
    file: &Path,
    wanted: Option<&str>,
    baseline: &Bundle,
    candidate: &Bundle,
    replay: &Replay,
    output: &Output,
) -> anyhow::Result<()> {
    let is_wanted = |flip: &&Flip| {
        let seq = flip.seq.map(|seq| seq.to_string());
        wanted.is_none_or(|wanted| flip.record == wanted || seq.as_deref() == Some(wanted))
    };
    let flips: Vec<&Flip> = replay.flips.iter().filter(is_wanted).collect();
    if let Some(wanted) = wanted.filter(|_| flips.is_empty()) {
        anyhow::bail!("no decision of record `{wanted}` flips");
    }
    if flips.is_empty() {
        output.say("no test written: nothing flips");
        return Ok(());
    }
    let (suite, written, failed) = suite_of_flips(baseline, candidate, flips);
    refusals(&failed, output);
    if written > 0 {
        create(file, &suite)?;
        let written = counted(written, "test");
        output.say(format_args!("{written} written to `{}`", file.display()));
    }
    Ok(())
}

fn refusals(failed: &[TestError], output: &Output) {
    for error in failed.iter().take(NAMED) {
        output.say(format_args!("{YELLOW}note{PLAIN}: {}", clean(&error.to_string())));
    }
    if let more @ 1.. = failed.len().saturating_sub(NAMED) {
        output.say(format_args!("{YELLOW}note{PLAIN}: … and {more} more cannot be written as tests"));
    }
}

/// `policy test --from-log`: one record as a test, on stdout.
pub(super) fn from_log(
    base: &Path,
    id: &str,
    log: Option<&Path>,
    places: &Places,
    output: &Output,
) -> anyhow::Result<Exit> {
    let log = log.map_or_else(|| base.join(LOG), Path::to_owned);
    let Some(bundle) = load(base, places, output)? else { return Ok(Exit::Usage) };
    let mut records = Records::open(&log, Proof::Nothing)?;
    while let Some(record) = records.next_record()? {
        let Some(found) = find(record.text, id).ok().flatten() else { continue };
        let (suite, failed) = suite_of_record(&bundle, found)?;
        refusals(&failed, output);
        output.line(suite.trim_end())?;
        return Ok(Exit::Fine);
    }
    anyhow::bail!("`{}` has no record `{id}`", log.display())
}

/// What a replay found, for people.
fn text(replay: &Replay, log: &str, chain: Chain, most: usize) -> String {
    let mut text = String::new();
    about_log(&mut text, replay, log, chain);
    for unlike in replay.unlike.iter().take(most) {
        push(&mut text, format_args!("\n{RED}not reproduced{PLAIN}  {}", clean(&unlike.asked)));
        let (log, now) = (side(&unlike.recorded), side(&unlike.now));
        push(&mut text, format_args!("  the log says {log}, its own version decides {RED}{now}{PLAIN}"));
        let record = record(&unlike.record, unlike.item);
        push(&mut text, format_args!("  {DIM}{record}  {}:{}{PLAIN}", clean(&unlike.log), unlike.line));
    }
    if let more @ 1.. = replay.not_reproduced.saturating_sub(most as u64) {
        push(&mut text, format_args!("  … and {more} more"));
    }
    for action in &replay.by_action {
        let flips = counted_u64(action.flips, "flip");
        push(&mut text, format_args!("\n{BOLD}{}{PLAIN}  {flips}", clean(&action.name)));
        let of_action: Vec<&Flip> = replay.flips.iter().filter(|flip| flip.action == action.name).collect();
        of_action.iter().take(most).for_each(|flip| tell(&mut text, flip));
        if let more @ 1.. = action.flips.saturating_sub(most as u64) {
            push(&mut text, format_args!("  … and {more} more"));
        }
    }
    groups(&mut text, "by principal", &replay.by_principal);
    groups(&mut text, "by policy", &replay.by_policy);
    let colour = if replay.has_findings() { RED } else { GREEN };
    push(
        &mut text,
        format_args!(
            "\n{colour}{}{PLAIN} in {}: {} newly allowed, {} no longer allowed; {} decided alike by other policies (policies {} → {})",
            counted_u64(replay.flipped, "flip"),
            counted_u64(replay.compared, "decision"),
            replay.opened,
            replay.closed,
            replay.other_policies,
            replay.baseline.short(),
            replay.candidate.short()
        ),
    );
    text
}

fn about_log(text: &mut String, replay: &Replay, log: &str, chain: Chain) {
    let proven = match chain {
        Chain { verified: false, .. } => format!("{YELLOW}the chain was not verified{PLAIN}"),
        Chain { without_beginning: 0, .. } => "chain intact".to_owned(),
        Chain { without_beginning, .. } => {
            let logs = counted_u64(without_beginning, "log");
            format!("chain intact, but {logs} without the records before")
        }
    };
    let records = counted_u64(replay.records, "record");
    push(text, format_args!("{BOLD}{}{PLAIN}  {records}, {proven}", clean(log)));
    if let bytes @ 1.. = chain.torn_tail {
        push(text, format_args!("  {YELLOW}{bytes} bytes{PLAIN} of a cut line at the end"));
    }
    push(
        text,
        format_args!(
            "  {} reproduced by the version that made them, {} not",
            counted_u64(replay.reproduced, "decision"),
            replay.not_reproduced
        ),
    );
    if replay.events > 0 {
        push(text, format_args!("  {DIM}{} tell of events{PLAIN}", counted_u64(replay.events, "record")));
    }
    for left in &replay.left_out {
        let (count, first) = (counted_u64(left.count, "decision"), clean(&left.first));
        let cause = clean(&left.cause.to_string());
        push(text, format_args!("  {YELLOW}{count} not evaluated{PLAIN}: {cause}  {DIM}{first}{PLAIN}"));
    }
    for (version, count) in replay.other_versions.iter().take(5) {
        let short = clean(version.get(..12).unwrap_or(version));
        let short = if short.is_empty() { "without a version".to_owned() } else { format!("of {short}") };
        push(text, format_args!("    {DIM}{} {short}{PLAIN}", counted_u64(*count, "decision")));
    }
}

fn groups(text: &mut String, head: &str, groups: &[Group]) {
    if groups.is_empty() {
        return;
    }
    push(text, format_args!("\n{BOLD}{head}{PLAIN}"));
    for group in groups.iter().take(PRINCIPALS) {
        let named = group.records.iter().take(NAMED).map(|id| clean(id)).collect::<Vec<_>>().join(", ");
        let more = if group.records.len() > NAMED { ", …" } else { "" };
        let flips = counted_u64(group.flips, "flip");
        push(text, format_args!("  {}  {flips}  {DIM}{named}{more}{PLAIN}", clean(&group.name)));
    }
    if let more @ 1.. = groups.len().saturating_sub(PRINCIPALS) {
        push(text, format_args!("  … and {more} more"));
    }
}

fn tell(text: &mut String, flip: &Flip) {
    let colour = if flip.new.allows { RED } else { YELLOW };
    push(text, format_args!("  {} on {}", clean(&flip.principal), clean(&flip.resource)));
    push(text, format_args!("    {} → {colour}{}{PLAIN}", side(&flip.old), side(&flip.new)));
    if let Some(mismatch) = &flip.mismatch {
        push(text, format_args!("    it does not fit the candidate's schema: {}", clean(mismatch)));
    }
    let record = record(&flip.record, flip.item);
    push(
        text,
        format_args!("    {DIM}{record}  {}  {}:{}{PLAIN}", clean(&flip.time), clean(&flip.log), flip.line),
    );
}

fn record(id: &str, item: Option<usize>) -> String {
    match item {
        Some(item) => format!("{} item {item}", clean(id)),
        None => clean(id),
    }
}

fn side(side: &Side) -> String {
    match side.policies.as_slice() {
        [] => side.outcome.to_owned(),
        policies => format!("{} by {}", side.outcome, clean(&policies.join(", "))),
    }
}

fn counted_u64(count: u64, one: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), one)
}
