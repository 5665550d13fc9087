//! `caxton audit query`.

use clap::Args;
use reqwest::Method;
use serde_json::Value as Json;

use super::filter::FilterOptions;
use super::plain_json;
use super::rows::rows;
use crate::audit::query::{LogSearch, SearchResult, search};
use crate::cli::installation::LogFile;
use crate::cli::output::{Exit, Format, Output};
use crate::cli::remote::{RemoteLog, list, text};

/// The most records of one answer of a gateway.
const PAGE: usize = 1_000;

/// Which records, of which log.
#[derive(Debug, Args)]
pub struct QueryOptions {
    #[command(flatten)]
    filter: FilterOptions,
    /// At most this many records, the newest.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// Read every record, and do not use the index.
    #[arg(long)]
    no_index: bool,
    #[command(flatten)]
    remote: RemoteLog,
    #[command(flatten)]
    log: LogFile,
}

pub(super) fn run(asked: QueryOptions, output: &Output) -> anyhow::Result<Exit> {
    let mut filter = asked.filter.filter()?;
    filter.limit = Some(asked.limit);
    if asked.remote.is_named() {
        return of_gateway(&asked, output);
    }
    let log = asked.log.path(output)?;
    let found = search(&log, &LogSearch { use_index: !asked.no_index, ..LogSearch::newest(&filter) })?;
    let SearchResult { records, next, unreadable, passed_over } = found;
    let records: Vec<Json> = records.into_iter().rev().map(|record| record.json).collect();
    show(&records, next.is_some(), output)?;
    if let Some(error) = passed_over {
        output.warning(format_args!("{:#}, so every record was read\nhelp: {}", chain(&error), error.help()));
    }
    if unreadable > 0 {
        output.say(format_args!(
            "warning: {unreadable} lines are not records\nhelp: run `caxton audit verify {}`",
            log.display()
        ));
    }
    Ok(Exit::Fine)
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn show(records: &[Json], has_more: bool, output: &Output) -> anyhow::Result<()> {
    match output.format() {
        Format::Table => output.line(&rows(records).to_string())?,
        _ => output.line(&plain_json(&serde_json::to_string_pretty(records)?))?,
    }
    if has_more {
        output.say(format_args!("more records match: the newest {} are shown", records.len()));
    }
    Ok(())
}

/// The same from a gateway that runs, page by page.
fn of_gateway(asked: &QueryOptions, output: &Output) -> anyhow::Result<Exit> {
    let gateway = asked.remote.open(&asked.log)?;
    let mut records: Vec<Json> = Vec::new();
    let mut cursor = None;
    let has_more = loop {
        let missing = asked.limit.saturating_sub(records.len());
        if missing == 0 {
            break cursor.is_some();
        }
        let mut parameters = asked.filter.parameters();
        parameters.push(("order", "newest".to_owned()));
        parameters.push(("limit", missing.min(PAGE).to_string()));
        parameters.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let answer = match gateway.done(output, Method::GET, &["v1", "audit", "events"], &parameters, None) {
            Ok(answer) => answer,
            Err(exit) => return Ok(exit),
        };
        records.extend(list(&answer, "/events").cloned());
        cursor = Some(text(&answer, "/next_cursor").to_owned()).filter(|cursor| !cursor.is_empty());
        if cursor.is_none() {
            break false;
        }
    };
    records.reverse();
    show(&records, has_more, output)?;
    Ok(Exit::Fine)
}
