//! Reads a decision log and has its decisions made again, on all cores.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use crate::audit::record_reader::{ChainCheck, ChainSummary, RecordReadError, RecordReader};
use crate::cli::audit::span_millis;
use crate::cli::output::{Exit, Output};
use crate::clock::{Clock as _, SystemClock, rfc3339};
use crate::policy::{Bundle, OnPolicyError};
use crate::stack;
use crate::workbench::replay::{BadRecord, Place, Replay, Replayer, Settings};

/// Bytes of a log that are read so fast that a progress bar would only flicker.
const NO_BAR_BELOW: u64 = 4 << 20;
/// Lines that go to a thread at once.
const BATCH: usize = 256;
/// The most threads.
const WORKERS: usize = 16;

/// Which records to evaluate, and how the gateway that wrote them was configured.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RecordSelection {
    /// The decision log, or a folder of them.
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Only the last hours, days, … (`24h`, `7d`).
    #[arg(long, value_name = "TIME")]
    pub last: Option<String>,
    /// The log is a selection or an export: do not verify its hash chain.
    #[arg(long)]
    pub no_verify: bool,
    /// What an error in a policy means to the gateway: its `security.authorization.on_policy_error`.
    #[arg(long, value_name = "RULE", default_value = OnPolicyError::WORDS[0].0, value_parser = rule())]
    pub on_policy_error: OnPolicyError,
}

/// The words of the configuration.
fn rule() -> impl clap::builder::TypedValueParser<Value = OnPolicyError> {
    use clap::builder::TypedValueParser as _;
    let words = OnPolicyError::WORDS.map(|(word, _)| word);
    // INVARIANT: only these words come through.
    clap::builder::PossibleValuesParser::new(words).map(|word| {
        OnPolicyError::WORDS
            .into_iter()
            .find(|known| known.0 == word)
            .map_or_else(Default::default, |known| known.1)
    })
}

/// The evaluated records of a log, and facts about the log.
#[derive(Serialize)]
pub struct ReplayedLog {
    pub(super) log: String,
    pub(super) chain: ReplayedChain,
    /// What was found.
    #[serde(flatten)]
    pub replay: Replay,
}

impl ReplayedLog {
    /// What the command's exit code says of it. A log of which nothing could be compared shows nothing, and passes no gate.
    pub(in crate::cli::policy) fn exit(&self, output: &Output) -> Exit {
        if self.replay.has_findings() {
            return Exit::Found;
        }
        if self.replay.compared > 0 {
            return Exit::Fine;
        }
        output.say(format_args!("error: no decision of `{}` could be compared", self.log));
        output.say(
            "help: the lines above say why; another log, or other policies with `--policies`, may have them",
        );
        Exit::Usage
    }
}

/// The check of the log's hash chain.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct ReplayedChain {
    /// Whether each line was held against the one before.
    pub(super) verified: bool,
    /// Logs that begin in the middle of a chain.
    pub(super) without_beginning: u64,
    /// Bytes of a line that a crash cut.
    pub(super) torn_tail: u64,
}

impl RecordSelection {
    /// Has the decisions of `log` made by two versions. None when that cannot be done, and why has been said.
    pub(in crate::cli::policy) fn replay(
        &self,
        log: &Path,
        versions: [&Bundle; 2],
        settings: Settings,
        output: &Output,
    ) -> anyhow::Result<Option<ReplayedLog>> {
        let from = match &self.last {
            Some(last) => Some(rfc3339(SystemClock.now_millis() - span_millis(last)?)),
            None => None,
        };
        let proof = if self.no_verify { ChainCheck::Skip } else { ChainCheck::Verify };
        match replay_log(log, proof, versions, settings, from.as_deref()) {
            Ok((replay, ChainSummary { without_beginning, torn_tail, .. })) => {
                let chain =
                    ReplayedChain { verified: proof == ChainCheck::Verify, without_beginning, torn_tail };
                Ok(Some(ReplayedLog { log: log.display().to_string(), chain, replay }))
            }
            Err(error) => {
                let help = advice(&error);
                output.say(format_args!("error: {error:#}"));
                help.iter().for_each(|help| output.say(format_args!("help: {help}")));
                Ok(None)
            }
        }
    }
}

/// Why a replay stopped: the log, or a line of it.
#[derive(Debug, thiserror::Error)]
enum ReplayStopped {
    #[error(transparent)]
    Log(#[from] RecordReadError),
    #[error("`{log}` line {line}: {what}")]
    Line { log: String, line: u64, what: BadRecord },
}

fn advice(stopped: &anyhow::Error) -> Option<&'static str> {
    match stopped.downcast_ref::<ReplayStopped>()? {
        ReplayStopped::Log(RecordReadError::Line { .. }) => Some(
            "run `caxton audit verify` for details; for a selection or an export, which is no chain, use `--no-verify`",
        ),
        ReplayStopped::Log(RecordReadError::Read { .. }) => Some("name the log with `--log`"),
        ReplayStopped::Log(RecordReadError::Folder { .. }) | ReplayStopped::Line { .. } => None,
    }
}

/// Replays a log. Reads and proves in this thread, decides in others: a chain is one after the other, decisions are not.
pub fn replay_log(
    log: &Path,
    proof: ChainCheck,
    [baseline, candidate]: [&Bundle; 2],
    settings: Settings,
    from: Option<&str>,
) -> anyhow::Result<(Replay, ChainSummary)> {
    let mut records = RecordReader::open(log, proof).map_err(ReplayStopped::from)?;
    let bar = match records.bytes() {
        ..NO_BAR_BELOW => indicatif::ProgressBar::hidden(),
        bytes => indicatif::ProgressBar::new(bytes),
    };
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS));
    let parts = std::thread::scope(|scope| {
        let mut lanes = Vec::new();
        let mut running = Vec::new();
        for _ in 0..workers {
            let (lane, batches) = std::sync::mpsc::sync_channel::<LineBatch>(2);
            lanes.push(lane);
            let replayer = move || Replayer::new(baseline, candidate, settings);
            running.push(stack::spawn_scoped(scope, move || decide(replayer(), &batches, from))?);
        }
        let with_cause = deal(&mut records, &lanes, &bar);
        drop(lanes);
        // An error in a line is reported before a later error of the file.
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
            return Err(ReplayStopped::Line { log, line, what }.into());
        }
        with_cause.map_err(ReplayStopped::from)?;
        Ok(parts)
    })?;
    bar.finish_and_clear();
    let replay = Replay::merge(parts).context("nothing was read")?;
    Ok((replay, records.proven()))
}

/// Lines of one log.
struct LineBatch {
    log: std::sync::Arc<str>,
    lines: Vec<(u64, Vec<u8>)>,
}

/// Deals the lines out, batch by batch.
fn deal(
    records: &mut RecordReader,
    lanes: &[std::sync::mpsc::SyncSender<LineBatch>],
    bar: &indicatif::ProgressBar,
) -> Result<(), RecordReadError> {
    let mut next = lanes.iter().cycle();
    let mut batch = LineBatch { log: "".into(), lines: Vec::new() };
    // A lane that is closed has found something wrong, which is reported when all have ended.
    let mut send =
        |batch: LineBatch| batch.lines.is_empty() || next.next().is_some_and(|lane| lane.send(batch).is_ok());
    loop {
        let Some(record) = records.next_record()? else {
            send(batch);
            return Ok(());
        };
        if record.line == 1 || batch.lines.len() == BATCH {
            let name = record.path.display().to_string();
            let log = if *batch.log == *name { std::sync::Arc::clone(&batch.log) } else { name.into() };
            let full = std::mem::replace(&mut batch, LineBatch { log, lines: Vec::with_capacity(BATCH) });
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
    batches: &std::sync::mpsc::Receiver<LineBatch>,
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
