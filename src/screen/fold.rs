//! One spelling for many: what a reader takes for the same text becomes the same text.

use unicode_normalization::UnicodeNormalization as _;

use crate::text;

/// Hidden characters that were found in the text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct HiddenMarks {
    /// Zero-width and other invisible characters.
    pub(super) invisible: bool,
    /// Unicode tag characters: ASCII that no font shows.
    pub(super) tags: bool,
}

/// How many times as long a folded text may be. Hangul grows threefold; U+FDFA alone would grow elevenfold, and be as many
/// words to search.
const MOST_GROWTH: usize = 4;
/// So many bytes more are nothing: a short text may have such a character.
const FREE_GROWTH: usize = 1_024;

/// The text grew so much that it is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overgrown;

/// Folds `text`: compatibility decomposition, lower case, no diacritics, no apostrophes, one space for any white space.
/// Each invisible character becomes `instead`, or nothing.
pub(super) fn fold(text: &str, instead: Option<char>) -> Result<(String, HiddenMarks), Overgrown> {
    if text.is_ascii() {
        return Ok((fold_ascii(text), HiddenMarks::default()));
    }
    let most = text.len().saturating_mul(MOST_GROWTH).saturating_add(FREE_GROWTH);
    let mut folded = Folded { out: String::with_capacity(text.len()), hidden: HiddenMarks::default() };
    let mut latin = false;
    let mut lookalikes = false;
    for character in text.nfkd() {
        latin |= character.is_ascii_alphabetic();
        lookalikes |= latin_twin(character).is_some();
        folded.push(character, instead);
        if folded.out.len() > most {
            return Err(Overgrown);
        }
    }
    let out = if latin && lookalikes { map_mixed_words(&folded.out) } else { folded.out };
    Ok((out, folded.hidden))
}

fn fold_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = true;
    for byte in text.bytes() {
        match byte {
            b'\'' | b'`' => {}
            b' ' | 0..=31 | 127 => {
                if !gap {
                    out.push(' ');
                }
                gap = true;
            }
            byte => {
                out.push(char::from(byte.to_ascii_lowercase()));
                gap = false;
            }
        }
    }
    out
}

struct Folded {
    out: String,
    hidden: HiddenMarks,
}

impl Folded {
    fn push(&mut self, character: char, instead: Option<char>) {
        if is_invisible(character) {
            self.hidden.invisible = true;
            self.hidden.tags |= tag_ascii(character).is_some();
            if let Some(instead) = instead {
                self.push_plain(instead);
            }
        } else {
            self.push_plain(character);
        }
    }

    fn push_plain(&mut self, character: char) {
        match character {
            // Diacritics, and the marks that stack up to unreadable text.
            '\u{300}'..='\u{36f}' | '\u{489}' | '\u{20d0}'..='\u{20f0}' => {}
            '\'' | '`' | '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bc}' | '\u{b4}' => {}
            _ if character.is_whitespace() || character.is_control() => {
                if !self.out.is_empty() && !self.out.ends_with(' ') {
                    self.out.push(' ');
                }
            }
            _ => self.out.extend(character.to_lowercase()),
        }
    }
}

/// Control characters and separators stand for a space; every other hidden character stands for nothing.
fn is_invisible(character: char) -> bool {
    !matches!(text::hidden(character), None | Some(text::Hidden::Control | text::Hidden::Separator))
}

/// The ASCII character that a tag character stands for.
pub(super) fn tag_ascii(character: char) -> Option<char> {
    let code = u32::from(character);
    (0xe0020..=0xe007e).contains(&code).then(|| char::from_u32(code - 0xe0000)).flatten()
}

/// Cyrillic and Greek letters, in lower case, that look like Latin ones.
fn latin_twin(character: char) -> Option<char> {
    Some(match character {
        'а' | 'А' | 'α' | 'Α' => 'a',
        'в' | 'В' | 'β' | 'Β' => 'b',
        'с' | 'С' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'Е' | 'ε' | 'Ε' => 'e',
        'һ' | 'Н' | 'н' | 'Η' => 'h',
        'і' | 'І' | 'ι' | 'Ι' => 'i',
        'ј' | 'Ј' => 'j',
        'к' | 'К' | 'κ' | 'Κ' => 'k',
        'ӏ' | 'Ӏ' => 'l',
        'м' | 'М' | 'Μ' => 'm',
        'ո' | 'η' | 'Ν' => 'n',
        'о' | 'О' | 'ο' | 'Ο' => 'o',
        'р' | 'Р' | 'ρ' | 'Ρ' => 'p',
        'ѕ' | 'Ѕ' => 's',
        'т' | 'Т' | 'τ' | 'Τ' => 't',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ѡ' | 'ω' => 'w',
        'х' | 'Х' | 'χ' | 'Χ' => 'x',
        'у' | 'У' | 'Υ' => 'y',
        'Ζ' => 'z',
        _ => return None,
    })
}

/// A word in two scripts is a disguise: its lookalikes become Latin. Words in one script stay as they are.
fn map_mixed_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(' ') {
        if word.chars().any(|c| c.is_ascii_alphabetic()) {
            out.extend(word.chars().map(|c| latin_twin(c).unwrap_or(c)));
        } else {
            out.push_str(word);
        }
    }
    out
}
