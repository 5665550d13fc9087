//! For which host a request is: decided once, before anything else of the request is looked at.
//!
//! A request can say it three times over: in its target, in `:authority`, in `Host`. A reader of one of them judges
//! another request than the reader of the next one, so those that contradict each other are refused, and what is left
//! stands in one place for all readers: the `Host` field.

use axum::extract::Request;
use axum::http::uri::{Authority, PathAndQuery};
use axum::http::{HeaderMap, HeaderValue, Uri, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::connection::Connection;
use super::problem::Problem;

/// The host that a request is for; none only where HTTP/1.0 says nothing. In the extensions of every request of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called(pub(super) Option<Authority>);

/// Why it is not clear for which host a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unclear {
    #[error("the `Host` field is missing: send it once")]
    Missing,
    #[error("there is more than one `Host` field: send it once")]
    Several,
    #[error("the `Host` field is no host name with an optional port")]
    NoHost,
    #[error(
        "the address of the request and its `Host` field name different hosts: send the same one in both"
    )]
    Different,
}

/// Notes in the request for which host it is, and in nothing else. What the client wrote elsewhere is gone afterwards.
pub(super) fn settle(request: &mut Request) -> Result<(), Problem> {
    let tls = request.extensions().get::<Connection>().is_some_and(|connection| connection.tls);
    let host = called(request.version(), request.uri(), request.headers(), tls)
        .map_err(|unclear| Problem::malformed(unclear.to_string()))?;
    if let Some(host) = &host {
        let value = HeaderValue::from_str(host.as_str()).map_err(|_| Problem::internal())?;
        request.headers_mut().insert(header::HOST, value);
    }
    if request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    }
    request.extensions_mut().insert(Called(host));
    Ok(())
}

/// Middleware of a router whose requests are not finished elsewhere.
pub(super) async fn settled(mut request: Request, next: Next) -> Response {
    match settle(&mut request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// RFC 9112, section 3.2: a request of HTTP/1.1 without `Host`, or with two, is refused. Section 3.2.2 has a server
/// believe the target against `Host`, and RFC 9113, section 8.3.1, lets it refuse what differs; both are refused here,
/// because a proxy in front may have believed the other one.
fn called(version: Version, uri: &Uri, headers: &HeaderMap, tls: bool) -> Result<Option<Authority>, Unclear> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let field = hosts.next().map(read).transpose()?;
    if hosts.next().is_some() {
        return Err(Unclear::Several);
    }
    let target = uri.authority().cloned();
    if target.as_ref().is_some_and(|target| !is_plain(target)) {
        return Err(Unclear::NoHost);
    }
    match (target, field) {
        (Some(target), Some(field)) if same(&target, &field, tls) => Ok(Some(target)),
        (Some(_), Some(_)) => Err(Unclear::Different),
        // Only HTTP/1.1 demands the field beside the target.
        (Some(_), None) if version == Version::HTTP_11 => Err(Unclear::Missing),
        (Some(one), None) | (None, Some(one)) => Ok(Some(one)),
        (None, None) if version <= Version::HTTP_10 => Ok(None),
        (None, None) => Err(Unclear::Missing),
    }
}

fn read(value: &HeaderValue) -> Result<Authority, Unclear> {
    let authority: Authority =
        value.to_str().ok().and_then(|text| text.parse().ok()).ok_or(Unclear::NoHost)?;
    if is_plain(&authority) { Ok(authority) } else { Err(Unclear::NoHost) }
}

/// A host, a port at most: what stands before an `@` is for other readers another host.
fn is_plain(authority: &Authority) -> bool {
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host);
    let good_port = match port {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        // Something stands before the host.
        None => false,
    };
    // RFC 3986 lets commas and the like into a name; a list of hosts is none.
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let in_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let good_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.bytes().all(in_address),
        None => !host.is_empty() && host.bytes().all(in_name),
    };
    good_host && good_port
}

/// Host names have no case (RFC 3986, section 3.2.2), and the port of the scheme goes without saying.
fn same(one: &Authority, other: &Authority, tls: bool) -> bool {
    let usual = if tls { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(usual);
    one.host().eq_ignore_ascii_case(other.host()) && port(one) == port(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(version: Version, target: &str, hosts: &[&str]) -> Result<Option<String>, Unclear> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let found = called(version, &target.parse().unwrap(), &headers, false);
        found.map(|host| host.map(|host| host.to_string()))
    }

    #[test]
    fn what_is_said_once_or_twice_alike_is_the_host() {
        let is = |host: &str| Ok(Some(host.to_owned()));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(decided(version, "/x", &["localhost:8080"]), is("localhost:8080"));
            assert_eq!(decided(version, "http://a.example/x", &["A.example"]), is("a.example"));
            assert_eq!(decided(version, "http://a.example:80/x", &["a.example"]), is("a.example:80"));
            assert_eq!(decided(version, "http://[::1]:8/x", &["[::1]:8"]), is("[::1]:8"));
        }
        assert_eq!(decided(Version::HTTP_2, "https://a.example/x", &[]), is("a.example"));
        assert_eq!(decided(Version::HTTP_10, "/x", &[]), Ok(None), "it knows no `Host`");
    }

    #[test]
    fn what_contradicts_itself_or_is_no_host_is_refused() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(decided(version, "/x", &[]), Err(Unclear::Missing));
        }
        assert_eq!(decided(Version::HTTP_11, "http://a.example/x", &[]), Err(Unclear::Missing));
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(decided(version, "/x", &["a", "a"]), Err(Unclear::Several));
            for (target, host) in [
                ("http://evil.example/x", "localhost"),
                ("http://localhost:1/x", "localhost"),
                ("http://localhost/x", "localhost.evil.example"),
                ("http://localhost/x", "localhost."),
            ] {
                assert_eq!(decided(version, target, &[host]), Err(Unclear::Different), "{target} {host}");
            }
            for host in [
                "",
                " ",
                "a b",
                "a/b",
                "evil@localhost",
                "localhost:",
                "localhost:99999",
                "a,b",
                ":80",
                "a\\b",
            ] {
                assert_eq!(decided(version, "/x", &[host]), Err(Unclear::NoHost), "{host}");
            }
            assert_eq!(decided(version, "http://evil@localhost/x", &["localhost"]), Err(Unclear::NoHost));
        }
    }
}
