//! Where a request comes from: over the connection itself, or through a proxy that is believed.
//!
//! A proxy is believed only if its address is configured. Of the addresses that a chain of proxies has written down, the
//! right-most that is not a configured proxy is the client's: what stands left of it the client may have made up. Headers
//! from other peers say nothing; a certificate that another peer passes on is a forged credential and is refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;

use super::connection::Connection;
use crate::authn::Refused;
use crate::authn::mtls::ClientCertificate;

/// Addresses in one chain of proxies that are looked at.
const MAX_HOPS: usize = 32;
/// Bytes of a certificate in a header, and how many may come above it.
const MAX_CERTIFICATE: usize = 16 * 1024;
const MAX_ABOVE: usize = 4;

/// The header in which proxies write down addresses. Just one is read: a proxy that writes the one passes the other on as
/// the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Which proxies are believed, and what.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their addresses; none by default.
    pub networks: Vec<IpNet>,
    /// Where they write the client's address.
    pub forwarded_by: ForwardedBy,
    /// The header in which they pass on the client's certificate (RFC 9440); `None`: they do not.
    pub certificate_header: Option<HeaderName>,
}

impl Proxies {
    /// Whether the address is one of a proxy that is believed.
    pub fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// What is known of the client.
pub(super) struct Arrival {
    pub(super) ip: IpAddr,
    pub(super) tls: bool,
    pub(super) certificate: Result<Option<Arc<ClientCertificate>>, Refused>,
}

/// A configured proxy wrote something that cannot be read: the client is not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Where a request that came over `connection` comes from.
pub(super) fn arrival(
    connection: &Connection,
    headers: &HeaderMap,
    proxies: &Proxies,
) -> Result<Arrival, Unreadable> {
    let peer = connection.peer.ip().to_canonical();
    let passed_on = proxies.certificate_header.as_ref().and_then(|name| headers.get(name));
    if !proxies.include(peer) {
        let certificate = match passed_on {
            None => Ok(connection.certificate.clone()),
            Some(_) => Err(Refused::certificate_from_stranger()),
        };
        return Ok(Arrival { ip: peer, tls: connection.tls, certificate });
    }
    let hops = match proxies.forwarded_by {
        ForwardedBy::XForwardedFor => x_forwarded(headers)?,
        ForwardedBy::Forwarded => forwarded(headers)?,
    };
    if hops.is_empty() && passed_on.is_none() {
        // A request of the proxy's own host: a probe, or a person on its machine. Or the proxy has left its header out:
        // its own certificate must not become the name of the client behind it.
        return Ok(Arrival { ip: peer, tls: connection.tls, certificate: Ok(None) });
    }
    let client = hops.iter().rev().find(|hop| !proxies.include(hop.ip)).or(hops.first());
    let certificate = match (&proxies.certificate_header, passed_on) {
        // The certificate of this connection is the proxy's: it must not become the client's name.
        (None, _) | (_, None) => Ok(None),
        (Some(name), Some(_)) => certificate(headers, name).map(|found| Some(Arc::new(found))),
    };
    Ok(Arrival { ip: client.map_or(peer, |hop| hop.ip), tls: client.is_some_and(|hop| hop.tls), certificate })
}

struct Hop {
    ip: IpAddr,
    /// Whether the hop from there was encrypted, as the proxy says.
    tls: bool,
}

/// All values of a header, in order; `None` when one is no text.
fn values<'h>(headers: &'h HeaderMap, name: &str) -> Result<Vec<&'h str>, Unreadable> {
    headers.get_all(name).iter().map(|value| value.to_str().map_err(|_| Unreadable)).collect()
}

fn x_forwarded(headers: &HeaderMap) -> Result<Vec<Hop>, Unreadable> {
    let schemes = values(headers, "x-forwarded-proto")?;
    // One word for the whole chain: where several are given, all must say so.
    let mut schemes = schemes.iter().flat_map(|value| value.split(',')).map(str::trim).peekable();
    let tls = schemes.peek().is_some() && schemes.all(|scheme| scheme.eq_ignore_ascii_case("https"));
    let addresses = values(headers, "x-forwarded-for")?;
    let addresses: Vec<_> = addresses.iter().flat_map(|value| value.split(',')).collect();
    readable(addresses.iter().rev().map(|text| address(text).map(|ip| Hop { ip, tls })))
}

fn forwarded(headers: &HeaderMap) -> Result<Vec<Hop>, Unreadable> {
    let all = values(headers, "forwarded")?;
    let mut elements = Vec::new();
    for line in all {
        // A quote that a client leaves open would swallow what the proxy writes behind it.
        elements.extend(split(line, ',').ok_or(Unreadable)?);
    }
    readable(elements.iter().rev().map(|element| hop(element)))
}

/// One element of `Forwarded` (RFC 7239, section 4); none when it says a thing twice, or not clearly.
fn hop(element: &str) -> Option<Hop> {
    let (mut ip, mut tls) = (None, None);
    for pair in split(element, ';')? {
        let (name, value) = pair.trim().split_once('=')?;
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        let again = match name.to_ascii_lowercase().as_str() {
            "for" => ip.replace(address(value)?).is_some(),
            "proto" => tls.replace(value.eq_ignore_ascii_case("https")).is_some(),
            _ => false,
        };
        if again {
            return None;
        }
    }
    Some(Hop { ip: ip?, tls: tls.unwrap_or(false) })
}

/// From the right, as far as they can be read; in their order. The right-most was written by a configured proxy, so it has
/// to be readable; what a client put left of it need not be.
fn readable(hops: impl Iterator<Item = Option<Hop>>) -> Result<Vec<Hop>, Unreadable> {
    let mut hops = hops.take(MAX_HOPS).peekable();
    if matches!(hops.peek(), Some(None)) {
        return Err(Unreadable);
    }
    let mut good: Vec<Hop> = hops.map_while(|hop| hop).collect();
    good.reverse();
    Ok(good)
}

/// Splits at `separator` outside quotes (RFC 9110, section 5.6.4); none when a quote is not closed.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (place, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            letter if letter == separator && !quoted => {
                parts.extend(text.get(start..place));
                start = place + letter.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    (!quoted).then_some(parts)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    bare.parse().ok().or_else(with_port).map(|ip: IpAddr| ip.to_canonical())
}

/// The certificate that a proxy passes on, with those above it: `:base64:` (RFC 9440), or PEM with percent signs as
/// several proxies write it.
fn certificate(headers: &HeaderMap, name: &HeaderName) -> Result<ClientCertificate, Refused> {
    let mut given = headers.get_all(name).iter();
    // Two of them: one may be the client's own.
    let (Some(value), None) = (given.next(), given.next()) else { return Err(Refused::certificate_header()) };
    let text = value.to_str().map_err(|_| Refused::certificate_header())?;
    let mut chain = vec![der(text).ok_or_else(Refused::certificate_header)?];
    for value in headers.get_all("client-cert-chain") {
        let text = value.to_str().map_err(|_| Refused::certificate_header())?;
        for part in text.split(',') {
            chain.push(der(part).ok_or_else(Refused::certificate_header)?);
        }
    }
    if chain.len() > MAX_ABOVE + 1 {
        return Err(Refused::certificate_header());
    }
    let chain = chain.into_iter().map(Into::into).collect();
    ClientCertificate::new(chain).ok_or_else(Refused::certificate_header)
}

fn der(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.len() > MAX_CERTIFICATE {
        return None;
    }
    if let Some(inner) = text.strip_prefix(':').and_then(|text| text.strip_suffix(':')) {
        return STANDARD.decode(inner).ok();
    }
    let pem = percent_decoded(text)?;
    let body =
        pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?.strip_suffix("-----END CERTIFICATE-----")?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let pair = [bytes.next()?, bytes.next()?];
                hex::decode(pair).ok()?.first().copied()?
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(forwarded_by: ForwardedBy) -> Proxies {
        let networks = ["10.0.0.0/8", "2001:db8:f::/48"].map(|network| network.parse().unwrap()).into();
        Proxies { networks, forwarded_by, certificate_header: Some(HeaderName::from_static("client-cert")) }
    }

    fn connection(peer: &str, tls: bool) -> Connection {
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 1);
        Connection { peer: at(peer), local: at("10.0.0.2"), tls, certificate: None, place: None }
    }

    fn from(
        peer: &str,
        headers: &[(&'static str, &str)],
        by: ForwardedBy,
    ) -> Result<(String, bool), Unreadable> {
        let connection = connection(peer, false);
        let map = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        arrival(&connection, &map, &proxies(by)).map(|found| (found.ip.to_string(), found.tls))
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_is_the_client() {
        let by = |peer: &str, value: &str| {
            from(peer, &[("x-forwarded-for", value)], ForwardedBy::XForwardedFor).map(|found| found.0)
        };
        let is = |ip: &str| Ok(ip.to_owned());
        assert_eq!(by("10.0.0.1", "198.51.100.7"), is("198.51.100.7"));
        assert_eq!(
            by("10.0.0.1", "127.0.0.1, 198.51.100.7"),
            is("198.51.100.7"),
            "the client wrote the first"
        );
        assert_eq!(by("10.0.0.1", "127.0.0.1, 198.51.100.7, 10.1.1.1"), is("198.51.100.7"));
        assert_eq!(by("10.0.0.1", "junk, 198.51.100.7"), is("198.51.100.7"));
        assert_eq!(by("10.0.0.1", "junk, 10.1.1.1"), is("10.1.1.1"), "no further than can be read");
        assert_eq!(by("10.0.0.1", "10.1.1.1, 10.1.1.2"), is("10.1.1.1"));
        assert_eq!(by("10.0.0.1", "198.51.100.7:4711"), is("198.51.100.7"));
        assert_eq!(by("::ffff:10.0.0.1", "[2001:db8::1]:4711"), is("2001:db8::1"));
        assert_eq!(by("2001:db8:f::1", "::ffff:198.51.100.7"), is("198.51.100.7"));
        // Written by the proxy itself, and no address: the client is not known.
        for bad in ["unknown", "", "198.51.100.7,", "198.51.100.7, _hidden", "1.2.3"] {
            assert_eq!(by("10.0.0.1", bad), Err(Unreadable), "{bad}");
        }
        // A peer that is no proxy is believed nothing.
        assert_eq!(by("198.51.100.9", "127.0.0.1"), is("198.51.100.9"));
        assert_eq!(from("10.0.0.1", &[], ForwardedBy::XForwardedFor), Ok(("10.0.0.1".to_owned(), false)));
        let long = vec!["10.1.1.1"; 100].join(", ");
        assert_eq!(by("10.0.0.1", &format!("198.51.100.7, {long}")), is("10.1.1.1"), "bounded");
    }

    #[test]
    fn the_scheme_counts_when_a_proxy_says_it_and_only_it() {
        let with = |peer: &str, schemes: &[&str]| {
            let mut headers = vec![("x-forwarded-for", "198.51.100.7")];
            headers.extend(schemes.iter().map(|scheme| ("x-forwarded-proto", *scheme)));
            from(peer, &headers, ForwardedBy::XForwardedFor).unwrap().1
        };
        assert!(with("10.0.0.1", &["https"]) && with("10.0.0.1", &["HTTPS, https"]));
        for schemes in
            [&[][..], &["http"], &["https, http"], &["http, https"], &["https", "http"], &[""], &["wss"]]
        {
            assert!(!with("10.0.0.1", schemes), "{schemes:?}");
        }
        assert!(!with("198.51.100.9", &["https"]));
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let both = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=203.0.113.5;proto=https")];
        assert_eq!(
            from("10.0.0.1", &both, ForwardedBy::XForwardedFor),
            Ok(("198.51.100.7".to_owned(), false))
        );
        assert_eq!(from("10.0.0.1", &both, ForwardedBy::Forwarded), Ok(("203.0.113.5".to_owned(), true)));
        let by = |value: &str| from("10.0.0.1", &[("forwarded", value)], ForwardedBy::Forwarded);
        let is = |ip: &str, tls| Ok((ip.to_owned(), tls));
        assert_eq!(by("For=\"[2001:db8::1]:80\";Proto=https;by=10.0.0.1"), is("2001:db8::1", true));
        assert_eq!(
            by("for=127.0.0.1;proto=https, for=198.51.100.7;proto=http, for=10.1.1.1;proto=https"),
            is("198.51.100.7", false)
        );
        assert_eq!(by("for=\"a,for=127.0.0.1\", for=198.51.100.7"), is("198.51.100.7", false));
        for bad in ["for=unknown", "proto=https", "for", "for=_x", "=", "for=\"198.51.100.7"] {
            assert_eq!(by(bad), Err(Unreadable), "{bad}");
        }
        // A quote that the client leaves open must not swallow what the proxy writes behind it; one that is escaped is none.
        let open = "for=127.0.0.1;proto=https;x=\", for=198.51.100.7;proto=http";
        assert_eq!(by(open), Err(Unreadable));
        let escaped = "for=127.0.0.1;proto=https;x=\"\\\"\", for=198.51.100.7;proto=http";
        assert_eq!(by(escaped), is("198.51.100.7", false));
        assert_eq!(by("for=198.51.100.7;for=127.0.0.1"), Err(Unreadable), "twice");
        assert_eq!(by("for=198.51.100.7;proto=http;proto=https"), Err(Unreadable), "twice");
        // In a line of its own as well.
        let lines =
            [("forwarded", "for=127.0.0.1;proto=https;x=\""), ("forwarded", "for=198.51.100.7;proto=http")];
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(name, value.parse().unwrap());
        }
        let connection = connection("10.0.0.1", false);
        assert!(arrival(&connection, &map, &proxies(ForwardedBy::Forwarded)).is_err());
    }

    #[test]
    fn a_certificate_in_a_header_is_believed_from_a_proxy_only() {
        let given = |peer: &str, values: &[&str]| {
            let connection = connection(peer, true);
            let name = HeaderName::from_static("client-cert");
            let mut map: HeaderMap =
                values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect();
            map.insert("x-forwarded-for", "198.51.100.7".parse().unwrap());
            arrival(&connection, &map, &proxies(ForwardedBy::XForwardedFor)).unwrap().certificate
        };
        let reason = |peer: &str, values: &[&str]| {
            given(peer, values).map(|found| found.is_some()).map_err(|refused| refused.reason)
        };
        assert_eq!(reason("10.0.0.1", &[":aGVsbG8=:"]), Ok(true));
        assert_eq!(
            reason(
                "10.0.0.1",
                &["-----BEGIN%20CERTIFICATE-----%0AaGVs%0AbG8=%0A-----END%20CERTIFICATE-----%0A"]
            ),
            Ok(true)
        );
        assert_eq!(reason("10.0.0.1", &[]), Ok(false));
        assert_eq!(reason("198.51.100.9", &[":aGVsbG8=:"]), Err("untrusted_proxy"));
        let long = format!(":{}:", "A".repeat(MAX_CERTIFICATE));
        for bad in [
            &["aGVsbG8="][..],
            &[":!:"],
            &[":aGVsbG8="],
            &["%zz"],
            &["%"],
            &[""],
            &[":aGVsbG8=:", ":aGVsbG8=:"],
            &[&long],
        ] {
            assert_eq!(reason("10.0.0.1", bad), Err("malformed"), "{bad:?}");
        }
    }
}
