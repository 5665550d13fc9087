//! What a replay found, for people.

use super::NAMED;
use super::log::{ReplayedChain, ReplayedLog};
use crate::cli::policy::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, counted, push, side};
use crate::text::clean;
use crate::workbench::replay::{Group, Replay, ReplayFlip};

/// Principals of one action that are shown.
const PRINCIPALS: usize = 5;

/// The whole report, with at most `most` flips of one action.
pub(in crate::cli::policy) fn text(traffic: &ReplayedLog, most: usize) -> String {
    let replay = &traffic.replay;
    let mut text = String::new();
    about_log(&mut text, replay, &traffic.log, traffic.chain);
    for unlike in replay.unlike.iter().take(most) {
        push(&mut text, format_args!("\n{RED}not reproduced{PLAIN}  {}", clean(&unlike.asked)));
        let log = side(&unlike.recorded);
        let now = side(&unlike.now);
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
        let of_action: Vec<&ReplayFlip> =
            replay.flips.iter().filter(|flip| flip.action == action.name).collect();
        of_action.iter().take(most).for_each(|flip| report_error(&mut text, flip));
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

fn about_log(text: &mut String, replay: &Replay, log: &str, chain: ReplayedChain) {
    let proven = match chain {
        ReplayedChain { verified: false, .. } => format!("{YELLOW}the chain was not verified{PLAIN}"),
        ReplayedChain { without_beginning: 0, .. } => "chain intact".to_owned(),
        ReplayedChain { without_beginning, .. } => {
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
        push(text, format_args!("  {DIM}{} about events{PLAIN}", counted_u64(replay.events, "record")));
    }
    for left in &replay.left_out {
        let count = counted_u64(left.count, "decision");
        let first = clean(&left.first);
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

fn report_error(text: &mut String, flip: &ReplayFlip) {
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

fn counted_u64(count: u64, one: &str) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), one)
}
