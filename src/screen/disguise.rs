//! Spellings that a model reads and a filter does not: each is unfolded into a further view of the text.
//!
//! Only one layer is taken off, and no view is longer than a few times the text, so the work is bounded.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::fold::{Overgrown, fold, tag_ascii};

/// Shorter runs of base64 or hexadecimal digits carry no instruction.
const MIN_ENCODED: usize = 24;
/// So many single letters in a row are no prose.
const MIN_SPELLED: usize = 8;
/// So many words with digits for letters are no product names.
const MIN_LEET_WORDS: usize = 2;
/// So many escapes in one text are no accident.
const MIN_ESCAPES: usize = 4;

/// A text to be searched.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchText<'a> {
    pub(super) text: &'a str,
    /// Words have lost their borders, so matches need none.
    pub(super) borderless: bool,
    /// How it was hidden, when it was.
    pub(super) disguise: Option<&'static str>,
}

/// Hands the folded text and every unfolded view of it to `search`. What grows too much when it is folded is not read.
pub(super) fn search_texts(text: &str, search: &mut dyn FnMut(SearchText<'_>)) -> Result<(), Overgrown> {
    let (folded, hidden) = fold(text, None)?;
    search(SearchText { text: &folded, borderless: false, disguise: None });
    let mut found = |text: String, disguise| {
        let (text, _) = fold(&text, None)?;
        search(SearchText { text: &text, borderless: false, disguise: Some(disguise) });
        Ok(())
    };
    if hidden.invisible {
        // The invisible characters may have been the spaces.
        found(fold(text, Some(' '))?.0, "hidden.invisible")?;
    }
    if hidden.tags {
        found(text.chars().filter_map(tag_ascii).collect(), "hidden.tags")?;
    }
    for (run, is_hex) in encoded_runs(text) {
        if let Some(decoded) = decode(run, is_hex) {
            found(decoded, if is_hex { "hidden.hex" } else { "hidden.base64" })?;
        }
    }
    if let Some(plain) = unescape(text) {
        found(plain, "hidden.escapes")?;
    }
    if let Some(plain) = plain_digits(&folded) {
        found(plain, "hidden.leetspeak")?;
    }
    if folded.contains("rot13") || folded.contains("rot-13") || folded.contains("caesar") {
        found(folded.chars().map(rot13).collect(), "hidden.rot13")?;
    }
    if folded.contains("revers") || folded.contains("backward") {
        found(folded.chars().rev().collect(), "hidden.reversed")?;
    }
    let spelled = spelled_out(&folded);
    if !spelled.is_empty() {
        search(SearchText { text: &spelled, borderless: true, disguise: Some("hidden.spelled") });
    }
    Ok(())
}

/// Long runs of base64 or hexadecimal digits, and whether it is the latter.
fn encoded_runs(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_' | '=');
    text.split(move |c| !is_digit(c)).filter(|run| run.len() >= MIN_ENCODED).map(|run| {
        let is_hex = run.len().is_multiple_of(2) && run.bytes().all(|b| b.is_ascii_hexdigit());
        (run, is_hex)
    })
}

/// The text in a run, when it is text.
fn decode(run: &str, is_hex: bool) -> Option<String> {
    let bytes = if is_hex {
        hex::decode(run).ok()?
    } else {
        let lenient = GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true);
        let url_safe = run.contains(['-', '_']);
        let alphabet = if url_safe { alphabet::URL_SAFE } else { alphabet::STANDARD };
        GeneralPurpose::new(&alphabet, lenient).decode(run).ok()?
    };
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()))
}

/// `%69%67`, `&#105;`, `\u0069` and `\x69`, when there are several of them.
fn unescape(text: &str) -> Option<String> {
    if !text.contains(['%', '\\']) && !text.contains("&#") {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut escapes = 0;
    while let Some(first) = rest.chars().next() {
        if let Some((character, length)) = escape(rest) {
            bytes.extend(character);
            escapes += 1;
            rest = rest.get(length..).unwrap_or_default();
        } else {
            bytes.extend(first.encode_utf8(&mut [0; 4]).as_bytes());
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    (escapes >= MIN_ESCAPES).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// The bytes of the escape at the start of `text`, and its length there.
fn escape(text: &str) -> Option<(Vec<u8>, usize)> {
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let utf8 = |character: char| character.to_string().into_bytes();
    if let Some(rest) = text.strip_prefix('%') {
        return Some((vec![u8::from_str_radix(rest.get(..2)?, 16).ok()?], 3));
    }
    if let Some(rest) = text.strip_prefix("\\u") {
        return Some((utf8(number(rest.get(..4)?, 16)?), 6));
    }
    if let Some(rest) = text.strip_prefix("\\x") {
        return Some((utf8(number(rest.get(..2)?, 16)?), 4));
    }
    let rest = text.strip_prefix("&#")?;
    let end = rest.bytes().take(9).position(|byte| byte == b';')?;
    let digits = rest.get(..end)?;
    let character = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => number(hex, 16)?,
        None => number(digits, 10)?,
    };
    Some((utf8(character), end + 3))
}

/// Words with digits or signs in the place of letters (`1gn0r3`), in letters.
fn plain_digits(folded: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || letter(c).is_some();
    let suspects = folded.split(|c| !is_part(c)).filter(|word| is_leetspeak(word)).nth(MIN_LEET_WORDS - 1);
    suspects.is_some().then(|| folded.chars().map(|c| letter(c).unwrap_or(c)).collect())
}

/// A digit before a letter inside a word of some length: not `sha256`, not `route66`.
fn is_leetspeak(word: &str) -> bool {
    let bytes = word.as_bytes();
    let letters = bytes.iter().filter(|byte| byte.is_ascii_lowercase()).count();
    let replaced = bytes.windows(2).any(|pair| matches!(pair, [b'0'..=b'9' | b'@' | b'$', b'a'..=b'z']));
    bytes.len() >= 5 && letters >= 2 && replaced
}

fn letter(character: char) -> Option<char> {
    Some(match character {
        '0' => 'o',
        '1' | '!' | '|' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        '8' => 'b',
        _ => return None,
    })
}

fn rot13(character: char) -> char {
    match character {
        'a'..='m' => char::from(character as u8 + 13),
        'n'..='z' => char::from(character as u8 - 13),
        other => other,
    }
}

/// Letters that stand alone, many in a row (`i g n o r e`, `i-g-n-o-r-e`), put together.
fn spelled_out(folded: &str) -> String {
    let mut out = String::new();
    if !has_single_letters(folded) {
        return out;
    }
    let mut run = String::new();
    let mut length = 0;
    let mut flush = |run: &mut String, length: &mut usize| {
        if *length >= MIN_SPELLED {
            out.push_str(run);
            out.push(' ');
        }
        run.clear();
        *length = 0;
    };
    for word in folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut characters = word.chars();
        match (characters.next(), characters.next()) {
            (Some(single), None) => {
                run.push(single);
                length += 1;
            }
            _ => flush(&mut run, &mut length),
        }
    }
    flush(&mut run, &mut length);
    out
}

/// Whether so many ASCII letters stand alone that words may be spelled out in them; other scripts are always worth a look.
fn has_single_letters(folded: &str) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric();
    let alone = |triple: &&[u8]| matches!(triple, [a, b, c] if !is_part(a) && is_part(b) && !is_part(c));
    !folded.is_ascii() || folded.as_bytes().windows(3).filter(alone).nth(MIN_SPELLED - 3).is_some()
}
