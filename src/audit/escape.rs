//! Keeps characters that cannot be seen out of the log file.
//!
//! A terminal obeys control characters, a text viewer obeys bidirectional ones, and some line readers split at
//! U+2028: a caller that can put them into a name could rewrite what an auditor sees. JSON lets every character be
//! written as `\uXXXX`, so the line stays the same value and shows what is in it. C0 controls are escaped by
//! JSON itself.

use std::fmt::Write as _;

use crate::text::is_hidden;

/// Appends JSON text to `out` with hidden characters escaped.
///
/// Outside strings JSON has none of them but line ends, which are kept, so the value stays the same.
pub fn escape_json(json: &str, out: &mut String) {
    // A block at a time without a way out in the middle, which the compiler turns into a few instructions.
    let plain = |block: &[u8]| block.iter().fold(true, |plain, byte| plain & (b' '..0x7f).contains(byte));
    if json.as_bytes().chunks(64).all(plain) {
        return out.push_str(json);
    }
    let mut units = [0; 2];
    for c in json.chars() {
        if c > '\u{1f}' && is_hidden(c) {
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
}

/// Undoes [`escape_json`]: escapes of hidden characters become the characters, all others stay.
pub(super) fn unescape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let (c, taken) = hidden_escape(escape).unwrap_or(('\\', 0));
        let verbatim = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
        rest = if taken > 0 {
            out.push(c);
            escape.get(taken..).unwrap_or_default()
        } else {
            out.push_str(escape.get(..verbatim).unwrap_or_default());
            escape.get(verbatim..).unwrap_or_default()
        };
    }
    out.push_str(rest);
    out
}

/// The hidden character that `\uXXXX` (or a pair of them) at the start of `text` stands for, and its length.
/// C0 controls are left alone: JSON cannot have them as themselves.
fn hidden_escape(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u16> {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    let (c, taken) = match char::from_u32(first.into()) {
        Some(c) => (c, 6),
        None => (char::decode_utf16([first, unit(6)?]).next()?.ok()?, 12),
    };
    (c > '\u{1f}' && is_hidden(c)).then_some((c, taken))
}

/// Text from the log for a person's terminal: hidden characters become visible escapes.
pub fn visible(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out.into()
}
