use super::*;

#[test]
fn each_kind_of_hidden_character_is_found() {
    let cases = [
        ("\u{0}\t\n\r\u{1b}\u{1f}\u{7f}\u{85}\u{9f}", Hidden::Control),
        ("\u{2028}\u{2029}", Hidden::Separator),
        ("\u{61c}\u{200e}\u{200f}", Hidden::DirectionMark),
        ("\u{202a}\u{202d}\u{202e}\u{2066}\u{2069}", Hidden::DirectionOverride),
        ("\u{e0001}\u{e0041}\u{e007f}", Hidden::Tag),
        ("\u{180b}\u{180f}\u{fe00}\u{fe0f}\u{e0100}\u{e01ef}", Hidden::VariationSelector),
        (
            "\u{ad}\u{34f}\u{115f}\u{180e}\u{200b}\u{200d}\u{2060}\u{206f}\u{3164}\u{feff}\u{ffa0}",
            Hidden::Invisible,
        ),
        ("\u{17b4}\u{fff9}\u{fffb}\u{1bca0}\u{1d173}\u{e0080}\u{e01f0}\u{e0fff}", Hidden::Invisible),
    ];
    for (text, kind) in cases {
        for c in text.chars() {
            assert_eq!(hidden(c), Some(kind), "{}", c.escape_unicode());
        }
    }
    for c in " ~aé\u{300}ßあ\u{a0}\u{1f600}\u{fffd}\u{2010}\u{206}\u{e1000}".chars() {
        assert_eq!(hidden(c), None, "{}", c.escape_unicode());
    }
}

#[test]
fn prose_may_have_joiners_and_selectors_but_no_overrides() {
    for c in ['\u{202e}', '\u{2066}', '\u{e0041}'] {
        assert!(is_deceptive(c), "{}", c.escape_unicode());
    }
    for c in ['\n', '\u{200d}', '\u{200f}', '\u{fe0f}', 'a'] {
        assert!(!is_deceptive(c), "{}", c.escape_unicode());
    }
}

#[test]
fn a_message_stays_on_its_line() {
    let cases = [
        ("plain", "plain"),
        ("two\r\nlines\n", "two lines"),
        ("\u{1b}[31mred\u{1b}[0m", "[31mred [0m"),
        ("a\u{202e}b\u{200b}c\u{2028}d", "abc d"),
        ("tag\u{e0041}", "tag"),
        ("  many   spaces ", "many spaces"),
        ("e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}", "e\u{301}\u{301}\u{301}\u{301}"),
        ("\u{200b} \n", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(one_line(text, 100), expected, "{text:?}");
    }
}

#[test]
fn a_limit_never_cuts_a_character() {
    let cases = [
        ("ééé", 6, "ééé"),
        ("ééé", 5, "é…"),
        ("abcdef", 5, "ab…"),
        ("abcde", 5, "abcde"),
        ("ab cdef", 6, "ab…"),
        ("abcdef", 3, "…"),
        ("abcdef", 2, ""),
        ("abcde   ", 5, "abcde"),
    ];
    for (text, max, expected) in cases {
        assert_eq!(one_line(text, max), expected, "{text:?} in {max}");
    }
    let cases = [("ééé", 3, "ééé"), ("ééé", 2, "éé…"), ("", 0, ""), ("a", 0, "…")];
    for (text, max, expected) in cases {
        assert_eq!(shorten(text, max), expected, "{text:?} in {max}");
    }
}

#[test]
fn what_was_hidden_shows_that_it_was_there() {
    let text = "a\u{1b}[2J\n\tb\u{202e}\u{200b}é";
    assert_eq!(clean(text), "a\u{fffd}[2J\u{fffd}\u{fffd}b\u{fffd}\u{fffd}é");
    assert_eq!(clean_lines(text), "a\u{fffd}[2J\n\tb\u{fffd}\u{fffd}é");
}

#[test]
fn a_quoted_text_is_one_value() {
    let cases = [
        ("plain é", "\"plain é\"", "\"plain é\""),
        ("a\"b\\c", "\"a\\\"b\\\\c\"", "\"a\\\"b\\\\c\""),
        ("\n", "\"\\u{a}\"", "\"\\u000a\""),
        ("a\u{202e}\u{3164}", "\"a\\u{202e}\\u{3164}\"", "\"a\\u202e\\u3164\""),
        ("\u{1f600}", "\"\\u{1f600}\"", "\"\\U0001f600\""),
    ];
    for (text, cedar, yaml) in cases {
        assert_eq!(quote(text), cedar);
        assert_eq!(quote_yaml(text), yaml);
        assert_eq!(serde_saphyr::from_str::<String>(yaml).unwrap(), text);
    }
}

#[test]
fn letters_that_look_alike_are_quoted_apart() {
    assert_eq!(quote_ascii("p\u{430}y \"caf\u{e9}\""), "\"p\\u{430}y \\\"caf\\u{e9}\\\"\"");
}

#[test]
fn markup_is_no_markup_any_more() {
    assert_eq!(
        escape_html("<a href=\"x\" title='y'>&"),
        "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;"
    );
}
