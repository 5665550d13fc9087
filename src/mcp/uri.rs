//! Names and URIs of what servers offer: only those that mean the same to a policy and to a server.
//!
//! Threat: a policy judges the text of a URI, and the server reads it by its own rules. ` file:///etc/passwd` has no scheme
//! `file` for a policy, and `file:///public/../private/x` is `like "file:///public/*"`; a server that reads URLs as the WHATWG URL
//! standard says finds `file:///etc/passwd` and `file:///private/x`. Defence: a URI is taken in its normal form only.

use url::Url;

use crate::text::is_hidden;

/// The longest name or URI, in characters.
const LONGEST: usize = 2_048;

/// Why a name or URI is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPlain {
    /// It has no character.
    #[error("it is empty")]
    Empty,
    /// It is too long.
    #[error("it is longer than {LONGEST} characters")]
    TooLong,
    /// A character that cannot be seen or that is read in more than one way.
    #[error("it has a character that is hidden, a space or a backslash")]
    Character,
    /// The scheme is none of RFC 3986, section 3.1.
    #[error("its scheme is not made of letters, digits, `+`, `-` and `.`")]
    Scheme,
    /// It is not in the form that the WHATWG URL standard gives it.
    #[error("it is not in its normal form")]
    NotNormal,
    /// A segment of its path is `.` or `..`, also where it is percent-encoded.
    #[error("a segment of its path is `.` or `..`")]
    DotSegment,
}

/// Checks a name.
///
/// # Errors
/// It is not what it looks like.
pub fn check_name(name: &str) -> Result<(), NotPlain> {
    if name.is_empty() {
        return Err(NotPlain::Empty);
    }
    if name.chars().count() > LONGEST {
        return Err(NotPlain::TooLong);
    }
    if name.chars().any(is_hidden) { Err(NotPlain::Character) } else { Ok(()) }
}

/// Checks the URI of a resource.
///
/// # Errors
/// A server may read it as another one than a policy.
pub fn check_uri(uri: &str) -> Result<(), NotPlain> {
    check_template(uri)?;
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    let decoded = percent_encoding::percent_decode_str(path).collect::<Vec<u8>>();
    if decoded.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| matches!(part, b"." | b"..")) {
        return Err(NotPlain::DotSegment);
    }
    let Ok(url) = Url::parse(uri) else {
        // Without a scheme it is a name, which nobody reads in another way.
        let hides_scheme = uri.contains(':') || uri.to_ascii_lowercase().contains("%3a");
        return if hides_scheme { Err(NotPlain::NotNormal) } else { Ok(()) };
    };
    let wanted = ascii(uri);
    let normal = url.as_str();
    let is_normal = normal == wanted || normal.strip_suffix('/') == Some(wanted.as_str());
    if is_normal && !encodes_plain_letters(path) { Ok(()) } else { Err(NotPlain::NotNormal) }
}

/// Checks the template of URIs (RFC 6570), which is no URI itself.
///
/// # Errors
/// It is not what it looks like.
pub fn check_template(uri: &str) -> Result<(), NotPlain> {
    check_name(uri)?;
    if uri.chars().any(|c| c <= ' ' || c == '\u{7f}' || c == '\\') {
        return Err(NotPlain::Character);
    }
    let Some((scheme, _)) = uri.split_once(':') else { return Ok(()) };
    let mut letters = scheme.chars();
    let begins = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    // A colon behind a slash or a brace is not that of a scheme.
    let is_scheme = !scheme.contains(['/', '{']);
    if !is_scheme || (begins && letters.all(goes_on)) { Ok(()) } else { Err(NotPlain::Scheme) }
}

/// The text with characters beyond ASCII percent-encoded, as a normal form has them.
fn ascii(uri: &str) -> String {
    percent_encoding::utf8_percent_encode(uri, percent_encoding::CONTROLS).to_string()
}

/// Whether a character that needs no encoding is encoded (RFC 3986, section 6.2.2.2): `pr%69vate` is `private` to a server.
fn encodes_plain_letters(path: &str) -> bool {
    path.as_bytes().windows(3).any(|bytes| {
        let [b'%', digits @ ..] = bytes else { return false };
        let byte = std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_that_is_encoded_is_no_name() {
        for uri in ["ui%3A//board/page", "file%3a///etc/passwd"] {
            assert_eq!(check_uri(uri), Err(NotPlain::NotNormal), "{uri}");
        }
    }

    #[test]
    fn uris_of_real_servers_are_taken() {
        for uri in [
            "file:///tmp/a%20b.txt",
            "file:///tmp/ä.txt",
            "file:///x+y?z",
            "demo://resource/dynamic/text/1",
            "demo://resource/session/a.gz",
            "memo://note/1",
            "http://example.com",
            "https://example.com/a?b=c#d",
            "git+https://example.com/r.git",
            "urn:isbn:0451450523",
            "note-1",
            "notes/1",
            "ui://app/main.html",
            "postgres://db/table/schema",
            "test://template/123/data",
        ] {
            assert_eq!(check_uri(uri), Ok(()), "{uri}");
        }
        for template in ["file:///{path}", "test://template/{id}/data", "{+base}:x/{y}"] {
            assert_eq!(check_template(template), Ok(()), "{template}");
        }
    }

    #[test]
    fn what_a_server_may_read_otherwise_is_not() {
        for uri in [
            "",
            " file:///etc/passwd",
            "\tfile:///etc/passwd",
            "\nfile:///etc/passwd",
            "fi\tle:///etc/passwd",
            "file\r:///etc/passwd",
            "\u{0}file:///etc/passwd",
            "\u{1f}file:///etc/passwd",
            "\u{200b}file:///etc/passwd",
            "FILE:///etc/passwd",
            "file:/etc/passwd",
            "file:etc/passwd",
            "file://localhost/etc/passwd",
            "file:///public/../private/x",
            "file:///public/%2e%2e/private/x",
            "file:///public/.%2E/private/x",
            "file:///public/..\\private\\x",
            "file:///public/.\t./private/x",
            "file:///public%2F..%2Fprivate/x",
            "file:///pr%69vate/x",
            "http://EXAMPLE.com/",
            "http:example.com",
            "http://example.com:80/",
            "demo:a/../b",
            "../x",
            "a b",
            "f_le:///x",
        ] {
            assert!(check_uri(uri).is_err(), "{uri:?}");
        }
        assert_eq!(check_name(&"x".repeat(LONGEST + 1)), Err(NotPlain::TooLong));
        assert!(check_template("file:///{path}\\").is_err());
    }
}
