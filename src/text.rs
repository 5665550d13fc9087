//! Text that others wrote, made safe to store, to show and to quote.
//!
//! Names, error messages and descriptions come from callers, tool servers, identity providers and files. A control
//! character drives the terminal that shows them, a bidirectional one turns the rest of the line around, and one
//! without a shape makes two names look like one (Unicode TR 36, "Unicode Security Considerations", section 2; TR 39,
//! "Unicode Security Mechanisms", section 3.1, which keeps all of them out of identifiers). This module has the one
//! table of such characters and the few ways to write text without them; no other module has a table of its own.

use std::fmt::Write as _;

use unicode_normalization::char::is_combining_mark;

#[cfg(test)]
mod tests;

/// Why a character cannot be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// A control character (general category Cc): moves a cursor, ends a line or starts a terminal sequence.
    Control,
    /// The line and the paragraph separator (Zl, Zp), at which some readers of lines break a line and others do not.
    Separator,
    /// A mark of direction without further effect: U+061C, U+200E, U+200F (UAX 9, section 2.6).
    DirectionMark,
    /// An explicit embedding, override or isolate (UAX 9, sections 2.1 to 2.4): shows text in another order than it has.
    DirectionOverride,
    /// A tag character: repeats ASCII in a form that no font shows and a language model reads.
    Tag,
    /// A variation selector: chooses a glyph for the character before it and has none itself.
    VariationSelector,
    /// Any other character without a shape: zero-width, soft hyphen, filler, invisible operator, interlinear annotation.
    Invisible,
}

/// Whether `c` cannot be seen, and why; `None` for a character with a shape of its own and for the space.
///
/// The table is the property `Default_Ignorable_Code_Point` of Unicode 16 (`DerivedCoreProperties.txt`) together with
/// the control characters, the two separators and the interlinear annotation characters U+FFF9 to U+FFFB.
pub const fn hidden(c: char) -> Option<Hidden> {
    Some(match c {
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Hidden::Control,
        '\u{2028}' | '\u{2029}' => Hidden::Separator,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => Hidden::DirectionMark,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Hidden::DirectionOverride,
        '\u{e0000}'..='\u{e007f}' => Hidden::Tag,
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => {
            Hidden::VariationSelector
        }
        '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0080}'..='\u{e00ff}'
        | '\u{e01f0}'..='\u{e0fff}' => Hidden::Invisible,
        _ => return None,
    })
}

/// Whether `c` cannot be seen. Names do not contain such a character, and logs and terminals do not receive one.
pub const fn is_hidden(c: char) -> bool {
    hidden(c).is_some()
}

/// Whether `c` makes a person see another text than a program reads: overrides of direction and tags.
///
/// For prose such as descriptions, in which marks of direction, joiners and variation selectors are legitimate.
pub const fn is_deceptive(c: char) -> bool {
    matches!(hidden(c), Some(Hidden::DirectionOverride | Hidden::Tag))
}

/// Combining marks in a row that a line keeps. More of them pile up over the lines around it.
const MAX_MARKS: usize = 4;

/// `text` on one line of at most `max` bytes, for log lines, error messages and tables.
///
/// Each run of white space and control characters becomes one space, none stays at the ends, and other hidden
/// characters are left out. A text that is cut ends with `…`, which counts into `max`; no character is cut in two.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(max));
    let mut space = false;
    let mut marks = 0;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            space = !line.is_empty();
            marks = 0;
            continue;
        }
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        if is_hidden(c) || marks > MAX_MARKS {
            continue;
        }
        if space {
            line.push(' ');
            space = false;
        }
        line.push(c);
        if line.len() > max {
            return cut(line, max);
        }
    }
    line
}

fn cut(mut line: String, max: usize) -> String {
    let end = line.floor_char_boundary(max.saturating_sub('…'.len_utf8()));
    line.truncate(end);
    line.truncate(line.trim_end().len());
    if line.len() + '…'.len_utf8() <= max {
        line.push('…');
    }
    line
}

/// The first `max` characters of `text`, with `…` behind them where there are more.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `text` with U+FFFD in the place of each hidden character, so that a reader sees that there was one. Line ends are
/// replaced as well.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// [`clean`] for a text of several lines: line feeds and tabs stay.
pub fn clean_lines(text: &str) -> String {
    let replace = |c: char| !matches!(c, '\n' | '\t') && is_hidden(c);
    text.chars().map(|c| if replace(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Whether `c` can stand in a quoted text as itself: printable ASCII, letters and digits.
fn is_plain(c: char) -> bool {
    matches!(c, ' '..='~') || c.is_alphanumeric() && !is_hidden(c)
}

/// [`clean_lines`] that leaves what belongs to writing: joiners, variation selectors and marks of direction.
pub fn clean_prose(text: &str) -> String {
    let belongs_to_writing =
        |c: char| matches!(c, '\n' | '\t' | '\u{200c}'..='\u{200f}' | '\u{61c}' | '\u{fe00}'..='\u{fe0f}');
    let is_replaced = |c: char| is_hidden(c) && !belongs_to_writing(c);
    text.chars().map(|c| if is_replaced(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// `text` as a string literal of Cedar. What is not a letter, a digit or printable ASCII is written as `\u{..}`.
pub fn quote(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    text.chars().for_each(|c| push_quoted(c, &mut literal));
    literal.push('"');
    literal
}

/// [`quote`] with only printable ASCII as itself, for a text that a person approves: two letters that look alike are two
/// different escapes.
pub fn quote_ascii(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            ' '..='~' => literal.push(c),
            // Writing to a `String` cannot fail.
            c => drop(write!(literal, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    literal.push('"');
    literal
}

/// Appends one character of a Cedar literal, escaped where [`quote`] escapes it.
pub(crate) fn push_quoted(c: char, literal: &mut String) {
    match c {
        '"' | '\\' => literal.extend(['\\', c]),
        c if is_plain(c) => literal.push(c),
        // Writing to a `String` cannot fail.
        c => drop(write!(literal, "\\u{{{:x}}}", u32::from(c))),
    }
}

/// `text` as a double-quoted scalar of YAML (YAML 1.2, section 5.7). What is not a letter, a digit or printable ASCII
/// is written as `\uXXXX` or `\UXXXXXXXX`.
pub fn quote_yaml(text: &str) -> String {
    let mut scalar = String::with_capacity(text.len() + 2);
    scalar.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => scalar.extend(['\\', c]),
            c if is_plain(c) => scalar.push(c),
            // Writing to a `String` cannot fail.
            c if u32::from(c) <= 0xffff => drop(write!(scalar, "\\u{:04x}", u32::from(c))),
            c => drop(write!(scalar, "\\U{:08x}", u32::from(c))),
        }
    }
    scalar.push('"');
    scalar
}

/// `text` for the content of an element or for a quoted attribute, in HTML and in XML. Hidden characters stay; see
/// [`clean_lines`].
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
