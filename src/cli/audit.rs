//! `caxton audit`: verify, search and follow the decision log.
//!
//! Everything in the log that came from outside is shown with hidden characters made visible, so that a name
//! cannot move the cursor of the terminal it is shown on.

mod prove;
mod verify;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::{Cell, CellAlignment, Color};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Timestamp, Unit};
use serde_json::Value as Json;

use self::prove::{CheckProofOptions, LogProofOptions};
use self::verify::VerifyOptions;
pub(super) use self::verify::sound;
use super::installation::LogFile;
use super::output::{Exit, Format, Output, table};
use crate::audit::query::{Filter, search};
use crate::audit::{Tail, escape_json, visible};
use crate::clock::{Clock as _, SystemClock};

/// How often `tail --follow` looks for new records.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// What to do with the decision log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check that no record was changed, deleted, moved or spliced. Exit code 1 when one was.
    #[command(
        after_help = "Example:\n  caxton audit verify .caxton/audit.log --checkpoint kept/audit.log.checkpoint"
    )]
    Verify(VerifyOptions),
    /// Prove that a record is in the log, or that the log continues an older checkpoint.
    #[command(after_help = "Example:\n  caxton audit prove 4711 > 4711.proof")]
    Prove(LogProofOptions),
    /// Check a proof without the log. Exit code 1 when it does not hold.
    #[command(
        name = "check-proof",
        after_help = "Example:\n  caxton audit check-proof 4711.proof --record 4711.json --key audit.log.pub"
    )]
    CheckProof(CheckProofOptions),
    /// Show the newest records that match.
    #[command(after_help = "Example:\n  caxton audit query --decision deny --agent researcher --last 24h")]
    Query(Box<QueryOptions>),
    /// Show the last records, and with `--follow` those that come.
    #[command(after_help = "Example:\n  caxton audit tail --follow")]
    Tail {
        /// Keep showing new records.
        #[arg(long, short)]
        follow: bool,
        /// How many of the last records.
        #[arg(short = 'n', long, default_value_t = 10)]
        lines: usize,
        /// The log.
        #[command(flatten)]
        log: LogFile,
    },
}

/// Which records.
#[derive(Debug, Args)]
pub struct QueryOptions {
    /// Only this kind of event (`authorization`, `tool_call`, …), or one event by name (`login_failure`, …).
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Only what this user or service asked for.
    #[arg(long)]
    user: Option<String>,
    /// Only what this agent asked for.
    #[arg(long)]
    agent: Option<String>,
    /// Only `allow`, or only `deny` (everything that is not `allow`).
    #[arg(long, value_name = "allow|deny")]
    decision: Option<String>,
    /// Only this decision or request: its `decision_id`, `request_id` or `call_id`, or its number.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only what this principal asked for: `Agent::"clerk"`, or the id alone.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only what is about this resource: `Tool::"files___read"`, or the id alone.
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Only what this policy determined.
    #[arg(long, value_name = "ID")]
    policy: Option<String>,
    /// Only the last hours, days, … (`24h`, `7d`, `90m`).
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    last: Option<String>,
    /// Not before this day or instant (UTC; `2026-01-31`, `2026-01-31T12:00:00Z`).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this instant, or before the end of this day (UTC).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// At most this many records, the newest.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    #[command(flatten)]
    log: LogFile,
}

/// Runs the command.
pub fn run(command: Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Verify(options) => verify::verify(options, output),
        Command::Prove(options) => prove::prove(options, output),
        Command::CheckProof(options) => prove::check_proof(&options, output),
        Command::Query(asked) => query(&asked, output),
        Command::Tail { follow, lines, log } => tail(&log.path(output)?, lines, follow, output),
    }
}

fn query(asked: &QueryOptions, output: &Output) -> anyhow::Result<Exit> {
    let mut filter = Filter::parse(
        asked.event_type.as_deref(),
        asked.user.as_deref(),
        asked.agent.as_deref(),
        asked.decision.as_deref(),
        asked.policy.as_deref(),
        Some(asked.limit),
    )?;
    filter.id.clone_from(&asked.id);
    filter.principal.clone_from(&asked.principal);
    filter.resource.clone_from(&asked.resource);
    filter.from_millis = match &asked.last {
        Some(last) => Some(SystemClock.now_millis() - span_millis(last)?),
        None => asked.from.as_deref().map(|from| instant(from, false)).transpose()?,
    };
    filter.to_millis = asked.to.as_deref().map(|to| instant(to, true)).transpose()?;
    let log = asked.log.path(output)?;
    let found = search(&log, &filter)?;
    match output.format() {
        Format::Table => output.line(&rows(&found.records).to_string())?,
        _ => output.line(&plain_json(&serde_json::to_string_pretty(&found.records)?))?,
    }
    if found.matched > found.records.len() as u64 {
        output.say(format_args!(
            "{} records match, the newest {} are shown",
            found.matched,
            found.records.len()
        ));
    }
    if found.unreadable > 0 {
        output.say(format_args!(
            "warning: {} lines are not records\nhelp: run `caxton audit verify {}`",
            found.unreadable,
            log.display()
        ));
    }
    Ok(Exit::Fine)
}

fn tail(path: &Path, count: usize, follow: bool, output: &Output) -> anyhow::Result<Exit> {
    let mut tail = Tail::open(path, count)?;
    let mut records = Vec::new();
    while let Some(record) = tail.next_record()? {
        records.push(record);
    }
    match output.format() {
        Format::Table if !follow => output.line(&rows(&records).to_string())?,
        _ if !follow => output.line(&plain_json(&serde_json::to_string_pretty(&records)?))?,
        _ => {
            records.iter().try_for_each(|record| output.line(&record_line(record, output.format())))?;
        }
    }
    if follow {
        follow_on(&mut tail, output.format())?;
    }
    Ok(Exit::Fine)
}

/// Shows new records until the reader of the output is gone (`caxton audit tail --follow | head`).
fn follow_on(tail: &mut Tail, format: Format) -> anyhow::Result<()> {
    loop {
        let Some(record) = tail.next_record()? else {
            std::thread::sleep(FOLLOW_INTERVAL);
            continue;
        };
        match writeln!(anstream::stdout(), "{}", record_line(&record, format)) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
    }
}

/// One record as one line.
fn record_line(record: &Json, format: Format) -> String {
    match format {
        Format::Table => columns(record).join("  "),
        _ => plain_json(&record.to_string()),
    }
}

fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    escape_json(json, &mut plain);
    plain
}

fn rows(records: &[Json]) -> comfy_table::Table {
    let mut table = table(["seq", "time", "who", "did", "to", "decision", "policy", "µs"]);
    for record in records {
        let [seq, time, who, did, to, decision, policy, micros] = columns(record);
        let colour = if decision == "allow" { Color::Green } else { Color::Red };
        table.add_row([
            Cell::new(seq).set_alignment(CellAlignment::Right),
            Cell::new(time),
            Cell::new(who),
            Cell::new(did),
            Cell::new(to),
            Cell::new(decision).fg(colour),
            Cell::new(policy),
            Cell::new(micros).set_alignment(CellAlignment::Right),
        ]);
    }
    table
}

/// What a person wants to see of a record: number, time, who, did what, to what, decision, policies, microseconds.
fn columns(record: &Json) -> [String; 8] {
    let text = |pointer: &str| record.pointer(pointer).and_then(Json::as_str);
    let number = |name: &str| record.get(name).map(Json::to_string).unwrap_or_default();
    let who = match (text("/subject/principal"), text("/actor")) {
        (Some(subject), Some(actor)) => format!("{} for {}", short_name(subject), short_name(actor)),
        (Some(subject), None) => short_name(subject),
        (None, _) => "-".to_owned(),
    };
    let did = text("/action").or(text("/event")).or(text("/event_type")).unwrap_or("-");
    // One record may stand for many refusals.
    let did = match record.get("count").and_then(Json::as_u64) {
        Some(count) => format!("{did} ×{count}"),
        None => did.to_owned(),
    };
    let to = text("/resource").map_or_else(|| text("/detail").unwrap_or("-").to_owned(), short_name);
    let cells = [
        number("seq"),
        text("/time").unwrap_or("-").to_owned(),
        who,
        did,
        to,
        text("/outcome").unwrap_or("-").to_owned(),
        policies(record),
        number("latency_us"),
    ];
    cells.map(|cell| visible(&cell).into_owned())
}

/// `Caxton::Agent::"researcher"` as `Agent researcher`.
fn short_name(name: &str) -> String {
    match name.split_once("::\"") {
        Some((type_name, id)) => {
            let base = type_name.rsplit("::").next().unwrap_or(type_name);
            format!("{base} {}", id.strip_suffix('"').unwrap_or(id))
        }
        None => name.to_owned(),
    }
}

fn policies(record: &Json) -> String {
    let policies = record.get("policies").and_then(Json::as_array);
    let ids: Vec<&str> =
        policies.into_iter().flatten().filter_map(|policy| policy.get("id").and_then(Json::as_str)).collect();
    match ids.as_slice() {
        [] => record.get("reason_code").and_then(Json::as_str).unwrap_or("-").to_owned(),
        ids => ids.join(", "),
    }
}

pub(super) fn span_millis(text: &str) -> anyhow::Result<i64> {
    let wrong = || format!("`{text}` is not a time span, use for example `24h`, `7d` or `90m`");
    let span: Span = text.parse().with_context(wrong)?;
    let millis = span.total((Unit::Millisecond, SpanRelativeTo::days_are_24_hours())).with_context(wrong)?;
    anyhow::ensure!((0.0..9e15).contains(&millis), wrong());
    Ok(millis as i64)
}

/// An instant, or a day: its beginning, or its end when the instant is where the records stop.
fn instant(text: &str, end: bool) -> anyhow::Result<i64> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.as_millisecond());
    }
    let wrong = || format!("`{text}` is not a time, use for example `2026-01-31` or `2026-01-31T12:00:00Z`");
    // A date would be read from the beginning of a time without a zone, and the rest passed over.
    if text.contains(':') {
        let time: DateTime = text.parse().with_context(wrong)?;
        return Ok(time.to_zoned(TimeZone::UTC).with_context(wrong)?.timestamp().as_millisecond());
    }
    let day: Date = text.parse().with_context(wrong)?;
    let day = if end { day.tomorrow().with_context(wrong)? } else { day };
    Ok(day.to_zoned(TimeZone::UTC).with_context(wrong)?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests;
