//! What differs, for people.

use std::collections::BTreeMap;

use super::ComparedVersions;
use crate::cli::policy::render::{BOLD, DIM, GREEN, PLAIN, RED, YELLOW, counted, push, side};
use crate::cli::policy::replay;
use crate::text::clean;
use crate::workbench::diff::{ComparedSide, Difference, Flip, Named};
use crate::workbench::matrix::{Shift, Shifted};

/// The whole report, with at most `most` flips of one action.
pub fn text(compared: &ComparedVersions, most: usize) -> String {
    let ComparedVersions { difference, matrix, traffic } = compared;
    let mut text = String::new();
    policies(&mut text, difference);
    if difference.is_none() {
        push(&mut text, format_args!("{GREEN}nothing differs{PLAIN}"));
    }
    if !difference.flips.is_empty() {
        push(&mut text, format_args!("\n{BOLD}The tests' requests{PLAIN}"));
        by_action(&mut text, &difference.flips, most, |flip| &flip.action, report_error);
    }
    if !matrix.flips.is_empty() {
        push(&mut text, format_args!("\n{BOLD}Who may do what{PLAIN}"));
        by_action(&mut text, &matrix.flips, most, |cell| &cell.action, moved);
    }
    if let Some(traffic) = traffic {
        push(
            &mut text,
            format_args!("\n{BOLD}Recorded traffic{PLAIN}\n{}", replay::text(traffic, most).trim_end()),
        );
    }
    push(&mut text, format_args!(""));
    totals(&mut text, difference, matrix);
    text
}

fn totals(text: &mut String, difference: &Difference, matrix: &Shift) {
    let opened = difference.flips.iter().filter(|flip| flip.new.allows).count();
    let closed = difference.flips.iter().filter(|flip| flip.old.allows).count();
    push(
        text,
        format_args!(
            "{}{}{PLAIN} in {} of the tests: {opened} newly allowed, {closed} no longer allowed; {} decided alike by other policies (policies {} → {})",
            colour(difference.flips.len()),
            counted(difference.flips.len(), "flip"),
            counted(difference.asked, "request"),
            difference.other_policies,
            difference.old_version.short(),
            difference.new_version.short()
        ),
    );
    let allows = |side: &Option<ComparedSide>| side.as_ref().is_some_and(|side| side.allows);
    let opened = matrix.flips.iter().filter(|cell| allows(&cell.new)).count();
    let closed = matrix.flips.iter().filter(|cell| allows(&cell.old)).count();
    push(
        text,
        format_args!(
            "{}{}{PLAIN} in {} of the matrix: {opened} newly allowed, {closed} no longer allowed",
            colour(matrix.flips.len()),
            counted(matrix.flips.len(), "flip"),
            counted(matrix.cells, "cell"),
        ),
    );
}

fn colour(flips: usize) -> &'static str {
    if flips == 0 { GREEN } else { RED }
}

fn by_action<T>(
    text: &mut String,
    flips: &[T],
    most: usize,
    action: impl Fn(&T) -> &str,
    report_error: impl Fn(&mut String, &T),
) {
    let mut by_action: BTreeMap<&str, Vec<&T>> = BTreeMap::new();
    for flip in flips {
        by_action.entry(action(flip)).or_default().push(flip);
    }
    for (action, flips) in by_action {
        push(text, format_args!("\n{BOLD}{}{PLAIN}  {}", clean(action), counted(flips.len(), "flip")));
        flips.iter().take(most).for_each(|flip| report_error(text, flip));
        if let more @ 1.. = flips.len().saturating_sub(most) {
            push(text, format_args!("  … and {more} more"));
        }
    }
}

fn policies(text: &mut String, difference: &Difference) {
    for (word, colour, list) in [("added", GREEN, &difference.added), ("removed", RED, &difference.removed)] {
        list.iter().for_each(|named| line(text, word, colour, named, ""));
    }
    for changed in &difference.changed {
        let note = if changed.meaning { "" } else { "  annotations only" };
        line(text, "changed", YELLOW, &changed.policy, note);
        for part in &changed.parts {
            let kind = clean(&part.kind);
            if let Some(old) = &part.old {
                push(text, format_args!("  {RED}- {kind}: {}{PLAIN}", clean(old)));
            }
            if let Some(new) = &part.new {
                push(text, format_args!("  {GREEN}+ {kind}: {}{PLAIN}", clean(new)));
            }
        }
    }
    if difference.schema_changed {
        push(text, format_args!("{YELLOW}changed{PLAIN}  the schema"));
    }
}

fn line(text: &mut String, word: &str, colour: &str, named: &Named, note: &str) {
    let place = format!("{}:{}", clean(&named.file), named.line);
    let id = clean(&named.id);
    push(
        text,
        format_args!(
            "{colour}{word:<7}{PLAIN}  {} {BOLD}{id}{PLAIN}{note}  {DIM}{place}{PLAIN}",
            named.effect
        ),
    );
}

fn report_error(text: &mut String, flip: &Flip) {
    push(text, format_args!("  {} on {}", clean(&flip.principal), clean(&flip.resource)));
    turned(text, Some(&flip.old), Some(&flip.new));
    let place = format!("{}:{}", clean(&flip.file), flip.line);
    push(text, format_args!("    {DIM}{}  {place}{PLAIN}", clean(&flip.test)));
}

fn moved(text: &mut String, cell: &Shifted) {
    push(text, format_args!("  {} on {}", clean(&cell.principal), clean(&cell.resource)));
    turned(text, cell.old.as_ref(), cell.new.as_ref());
}

fn turned(text: &mut String, old: Option<&ComparedSide>, new: Option<&ComparedSide>) {
    let shown = |one: Option<&ComparedSide>| one.map_or_else(|| "not there".to_owned(), side);
    let colour = if new.is_some_and(|new| new.allows) { RED } else { YELLOW };
    push(text, format_args!("    {} → {colour}{}{PLAIN}", shown(old), shown(new)));
}
