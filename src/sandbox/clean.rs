//! A guest's own words, made fit for one line of a log or an answer.

use unicode_normalization::char::is_combining_mark;

/// `text` on one line of at most `limit` bytes: control characters and line ends become single spaces, and
/// characters that are invisible or turn the direction of writing are dropped, so that a message can neither
/// forge log lines nor drive a terminal.
pub(super) fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit));
    let mut marks = 0;
    for character in text.chars() {
        let character = if character.is_control() || character.is_whitespace() { ' ' } else { character };
        marks = if is_combining_mark(character) { marks + 1 } else { 0 };
        if is_invisible(character) || marks > 4 || (character == ' ' && line.ends_with([' '])) {
            continue;
        }
        if line.len() + character.len_utf8() > limit {
            break;
        }
        line.push(character);
    }
    line.trim().to_owned()
}

fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_message_stays_on_its_line() {
        let cases = [
            ("plain", "plain"),
            ("two\r\nlines\n", "two lines"),
            ("\u{1b}[31mred\u{1b}[0m", "[31mred [0m"),
            ("a\u{202e}b\u{200b}c\u{2028}d", "abc d"),
            ("tag\u{e0041}", "tag"),
            ("  many   spaces ", "many spaces"),
        ];
        for (text, expected) in cases {
            assert_eq!(one_line(text, 100), expected, "{text:?}");
        }
    }

    #[test]
    fn a_limit_never_cuts_a_character() {
        assert_eq!(one_line("ééé", 5), "éé");
    }
}
