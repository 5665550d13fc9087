//! `caxton audit tail`.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;

use super::filter::FilterOptions;
use super::plain_json;
use super::rows::{record_line, rows};
use crate::audit::follow::{FollowError, Follower, read_record};
use crate::audit::query::{Filter, FoundRecord, LogSearch, PreparedFilter, search};
use crate::audit::tail;
use crate::cli::installation::LogFile;
use crate::cli::output::{Exit, Format, Output};
use crate::cli::remote::RemoteLog;

/// How often `--follow` looks for new records.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// Which records, of which log.
#[derive(Debug, Args)]
pub struct TailOptions {
    /// Keep showing new records.
    #[arg(long, short)]
    follow: bool,
    /// How many of the last records that match.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    filter: FilterOptions,
    #[command(flatten)]
    remote: RemoteLog,
    #[command(flatten)]
    log: LogFile,
}

pub(super) fn run(asked: TailOptions, output: &Output) -> anyhow::Result<Exit> {
    let mut filter = asked.filter.filter()?;
    if asked.remote.is_named() {
        return of_gateway(&asked, output);
    }
    let log = asked.log.path(output)?;
    filter.limit = Some(asked.lines);
    // The follower stands where the search ends, so that no record is shown twice or left out.
    let mut follower = tail(&log, 0)?;
    let records = last_records(&log, &filter, follower.position())?;
    show(&records, asked.follow, output)?;
    if asked.follow {
        follow_on(&mut follower, &filter, output)?;
    }
    Ok(Exit::Fine)
}

/// The last records that match, up to this one, oldest first.
fn last_records(log: &Path, filter: &Filter, last: u64) -> anyhow::Result<Vec<Json>> {
    let after = Some(last.saturating_add(1));
    let found = search(log, &LogSearch { after, ..LogSearch::newest(filter) })?;
    let json = |record: FoundRecord| record.json;
    Ok(found.records.into_iter().rev().map(json).collect())
}

fn show(records: &[Json], follow: bool, output: &Output) -> anyhow::Result<()> {
    match output.format() {
        Format::Table if !follow => output.line(&rows(records).to_string()),
        _ if !follow => output.line(&plain_json(&serde_json::to_string_pretty(records)?)),
        format => records.iter().try_for_each(|record| output.line(&record_line(record, format))),
    }
}

/// Shows new records until the reader of the output is gone (`caxton audit tail --follow | head`).
fn follow_on(follower: &mut Follower, filter: &Filter, output: &Output) -> anyhow::Result<()> {
    let wanted = PreparedFilter::new(filter);
    loop {
        let record = match follower.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => {
                std::thread::sleep(FOLLOW_INTERVAL);
                continue;
            }
            Err(FollowError::Gone { first, last, .. }) => {
                output.warning(format_args!("records {first} to {last} were removed before they were shown"));
                follower.seek(last);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let json = read_record(record.text.as_bytes()).unwrap_or_default();
        if wanted.matches(&json) && !print(&json, output.format())? {
            return Ok(());
        }
    }
}

/// Whether somebody still reads.
fn print(record: &Json, format: Format) -> anyhow::Result<bool> {
    match writeln!(anstream::stdout(), "{}", record_line(record, format)) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// The same from a gateway that runs: the last records, then its stream of events.
fn of_gateway(asked: &TailOptions, output: &Output) -> anyhow::Result<Exit> {
    let gateway = asked.remote.open(&asked.log)?;
    let mut parameters = asked.filter.parameters();
    if asked.lines == 0 {
        return if asked.follow { gateway_stream(asked, None, output) } else { Ok(Exit::Fine) };
    }
    parameters.push(("order", "newest".to_owned()));
    parameters.push(("limit", asked.lines.to_string()));
    let path = ["v1", "audit", "events"];
    let answer = match gateway.done(output, reqwest::Method::GET, &path, &parameters, None) {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    let mut records: Vec<Json> = crate::cli::remote::list(&answer, "/events").cloned().collect();
    records.reverse();
    show(&records, asked.follow, output)?;
    if !asked.follow {
        return Ok(Exit::Fine);
    }
    let last = records.last().map(|record| crate::cli::remote::number(record, "/seq"));
    gateway_stream(asked, last, output)
}

/// Reads the stream, and opens it again where it ended.
fn gateway_stream(asked: &TailOptions, mut last: Option<u64>, output: &Output) -> anyhow::Result<Exit> {
    loop {
        // A login may have to be renewed.
        let gateway = asked.remote.open(&asked.log)?;
        let mut parameters = asked.filter.parameters();
        parameters.extend(last.map(|last| ("after", last.to_string())));
        let mut is_read = true;
        let mut lines = Lines::default();
        let ended = gateway.stream(&["v1", "audit", "stream"], &parameters, &mut |bytes| {
            for event in lines.take(bytes) {
                let Some(data) = event.strip_prefix("data:") else { continue };
                let record = read_record(data.trim().as_bytes()).unwrap_or_default();
                last = record.get("seq").and_then(Json::as_u64).or(last);
                is_read = print(&record, output.format())?;
            }
            Ok(is_read)
        })?;
        if let Err((exit, why)) = ended {
            output.error(why);
            return Ok(exit);
        }
        if !is_read {
            return Ok(Exit::Fine);
        }
        std::thread::sleep(FOLLOW_INTERVAL);
    }
}

/// Lines of a stream that comes in pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}
