//! Two texts side by side, as a diff with a few lines around each change.

use similar::{ChangeTag, TextDiff};

use super::render::{DIM, GREEN, PLAIN, RED, push};
use crate::text::clean;

/// Lines shown around a change.
const AROUND: usize = 2;

/// The changes from `old` to `new`, for people.
pub(super) fn changes(name: &str, old: &str, new: &str) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    push(&mut text, format_args!("{RED}--- {}{PLAIN}\n{GREEN}+++ {}{PLAIN}", clean(name), clean(name)));
    for group in diff.grouped_ops(AROUND) {
        let first = group.first();
        let last = group.last();
        if let (Some(first), Some(last)) = (first, last) {
            let (old, new) = (
                first.old_range().start..last.old_range().end,
                first.new_range().start..last.new_range().end,
            );
            let at = format!("@@ -{},{} +{},{} @@", old.start + 1, old.len(), new.start + 1, new.len());
            push(&mut text, format_args!("{DIM}{at}{PLAIN}"));
        }
        for change in group.iter().flat_map(|part| diff.iter_changes(part)) {
            let line = clean(change.value().trim_end_matches(['\n', '\r']));
            match change.tag() {
                ChangeTag::Delete => push(&mut text, format_args!("{RED}-{line}{PLAIN}")),
                ChangeTag::Insert => push(&mut text, format_args!("{GREEN}+{line}{PLAIN}")),
                ChangeTag::Equal => push(&mut text, format_args!(" {line}")),
            }
        }
    }
    text
}
