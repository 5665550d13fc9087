//! Whether two addresses are the same (RFC 9449, section 4.3: after the normalisation of RFC 3986, sections 6.2.2 and
//! 6.2.3, and without query and fragment).

use reqwest::Url;

/// Bytes of an address that is looked at.
const MAX_ADDRESS: usize = 8 * 1024;

/// The normal form of an `http` or `https` address; none for anything else.
pub(super) fn normal(address: &str) -> Option<String> {
    if address.len() > MAX_ADDRESS {
        return None;
    }
    // Brings scheme and host into small letters and takes away dot segments and the port that goes without saying.
    let url = Url::parse(address).ok()?;
    let plain =
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    let host = url.host_str().filter(|_| plain)?;
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("{}://{host}{port}{}", url.scheme(), unescaped(url.path())?))
}

/// Escapes that need not be are taken away, the others written in capitals (RFC 3986, section 6.2.2). None when a percent
/// sign begins no escape.
fn unescaped(path: &str) -> Option<String> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        let digits = after.get(..2)?;
        let byte = *hex::decode(digits).ok()?.first()?;
        out.push_str(before);
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&digits.to_ascii_uppercase());
        }
        rest = after.get(2..)?;
    }
    out.push_str(rest);
    Some(out)
}
