//! Text inside of markup.

/// Text for an element or an attribute of XML or HTML; `plain` says what becomes of every character that is no markup.
pub(super) fn escaped(text: &str, plain: impl Fn(char) -> char) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(plain(c)),
        }
    }
    safe
}
