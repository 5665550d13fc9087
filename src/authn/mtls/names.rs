//! The forms of names in certificates. What an authority let through may still be made to break a log line, a header or
//! a policy's pattern: a name that is not exactly of its kind is no name.

use std::fmt::Write as _;

use x509_parser::x509::X509Name;

/// Text that is printable ASCII.
fn printable(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))).then_some(text)
}

/// A URI (RFC 3986) of printable ASCII; a `spiffe:` one must be a SPIFFE id.
pub(super) fn uri(text: &str) -> Option<&str> {
    let text = printable(text)?;
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.bytes();
    let good = letters.next()?.is_ascii_alphabetic()
        && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        && !rest.is_empty()
        && !rest
            .bytes()
            .any(|byte| matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'));
    if !good {
        return None;
    }
    // A scheme in other letters would be the same scheme to a client and another one to a policy.
    if scheme.eq_ignore_ascii_case("spiffe") { spiffe(text) } else { Some(text) }
}

/// A SPIFFE id: `spiffe://trust-domain/path`, as the standard writes it, without room for a second reading.
fn spiffe(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("spiffe://")?;
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    let in_domain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    let good_domain = !domain.is_empty() && domain.len() <= 255 && domain.bytes().all(in_domain);
    let good_path = path.is_none_or(|path| path.split('/').all(is_spiffe_segment));
    (good_domain && good_path).then_some(text)
}

/// One segment of a SPIFFE id's path (SPIFFE-ID, section 2.2).
fn is_spiffe_segment(part: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !part.is_empty() && part != "." && part != ".." && part.bytes().all(inside)
}

/// A host name, in lower case; `*` may stand for its first label.
pub(super) fn dns(text: &str) -> Option<String> {
    let labels = text.strip_prefix("*.").unwrap_or(text);
    let good = text.len() <= 253 && labels.split('.').all(is_label) && !is_number(labels);
    good.then(|| text.to_ascii_lowercase())
}

/// One label of a host name (RFC 1123, section 2.1), with `_` as it is used in practice.
fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether a reader of addresses takes the name for an IPv4 address (`10.0.0.1`, `127.1`, `0x7f000001`): its last label is a
/// number. No domain ends in one (RFC 3696, section 2), and name constraints on addresses do not hold it.
fn is_number(labels: &str) -> bool {
    let last = labels.rsplit('.').next().unwrap_or_default();
    let hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    last.bytes().all(|byte| byte.is_ascii_digit())
        || last.strip_prefix("0x").or(last.strip_prefix("0X")).is_some_and(hexadecimal)
}

/// A mail address of printable ASCII.
pub(super) fn mail(text: &str) -> Option<&str> {
    let text = printable(text)?;
    let (local, host) = text.rsplit_once('@')?;
    (!local.is_empty() && dns(host).is_some()).then_some(text)
}

/// Free text without anything that moves a terminal or hides: letters, digits, spaces inside, common signs.
pub(super) fn plain(text: &str) -> Option<&str> {
    let good =
        text.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.' | '@' | ':' | '/'));
    (!text.is_empty() && text.trim() == text && good).then_some(text)
}

/// A distinguished name, most specific part first, escaped as RFC 4514 has it: no value can pass for two parts. `None`
/// when a value is no text or has control characters.
pub(super) fn distinguished(name: &X509Name<'_>) -> Option<String> {
    let mut text = String::new();
    let parts: Vec<_> = name.iter_rdn().collect();
    for (number, part) in parts.into_iter().rev().enumerate() {
        for (inner, attribute) in part.iter().enumerate() {
            text.push_str(match (number, inner) {
                (0, 0) => "",
                (_, 0) => ",",
                _ => "+",
            });
            let kind = match attribute.attr_type().to_id_string().as_str() {
                "2.5.4.3" => "CN".to_owned(),
                "2.5.4.6" => "C".to_owned(),
                "2.5.4.7" => "L".to_owned(),
                "2.5.4.8" => "ST".to_owned(),
                "2.5.4.10" => "O".to_owned(),
                "2.5.4.11" => "OU".to_owned(),
                other => other.to_owned(),
            };
            let value = attribute.as_str().ok()?;
            if value.chars().any(char::is_control) {
                return None;
            }
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{kind}={}", escaped(value));
        }
    }
    Some(text)
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (place, letter) in value.chars().enumerate() {
        let edge = letter == ' ' && (place == 0 || place == last) || letter == '#' && place == 0;
        if edge || matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_one_spelling() {
        for good in
            ["spiffe://prod.example", "spiffe://prod.example/ns/pay/sa/api", "spiffe://a_b-c.d/x.y_z-1"]
        {
            assert_eq!(uri(good), Some(good));
        }
        for bad in [
            "spiffe://",
            "spiffe:///x",
            "spiffe://Prod.example/x",
            "SPIFFE://prod.example/x",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/.",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://u@a/b",
            "spiffe://a:1/b",
            "spiffe://a/b%2fc",
            "spiffe:a",
            "spiffe://a/b\r\nX: y",
            "spiffe://a/b c",
            "spiffe://ä/b",
        ] {
            assert_eq!(uri(bad), None, "{bad}");
        }
    }

    #[test]
    fn other_uris_and_hosts_are_of_their_kind() {
        for good in ["https://api.example/x?y=1", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"] {
            assert_eq!(uri(good), Some(good));
        }
        for bad in ["", "api", ":x", "1a:x", "a b:c", "https://x/\u{1}", "https://x/\"", "a:", "https://é/"]
        {
            assert_eq!(uri(bad), None, "{bad}");
        }
        assert_eq!(dns("API.Example"), Some("api.example".to_owned()));
        assert_eq!(dns("*.example"), Some("*.example".to_owned()));
        for address in ["10.0.0.1", "127.1", "1", "0x7f.1", "a.0x7f000001", "*.0.0.1", "host.256"] {
            assert_eq!(dns(address), None, "{address}");
        }
        assert_eq!(dns("10.example"), Some("10.example".to_owned()));
        let long = format!("{}.example", "a".repeat(64));
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "a\r\nb", "a/b", "a.*.b", "spiffe://x", long.as_str()]
        {
            assert_eq!(dns(bad), None, "{bad}");
        }
        assert_eq!(
            (mail("a@b.example"), mail("a@b\n"), mail("@b"), mail("a")),
            (Some("a@b.example"), None, None, None)
        );
        assert_eq!(
            (plain("api gateway 1"), plain(" x"), plain("x\n"), plain("a\u{202e}b"), plain("")),
            (Some("api gateway 1"), None, None, None, None)
        );
    }

    #[test]
    fn parts_of_a_distinguished_name_cannot_be_forged() {
        assert_eq!(escaped("Evil, CN=Root"), "Evil\\, CN\\=Root");
        assert_eq!(escaped(" #x "), "\\ #x\\ ");
        assert_eq!(escaped("#x"), "\\#x");
    }
}
