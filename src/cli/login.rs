//! `caxton auth login` and `logout`: a session for the person at the terminal. The gateway leads to its provider and
//! back; here is only a port on this computer that takes the gateway's code (RFC 8252), or a wait (RFC 8628).

use std::time::Duration;

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::output::{Exit, Output};
use super::remote::{GatewayAnswer, GatewayClient, Remote, text};
use super::stored_login::StoredLogin;
use crate::text::one_line;

/// The longest wait for the person.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// The longest wait for one request of a browser.
pub(super) const REQUEST: Duration = Duration::from_secs(5);
/// The largest head of such a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const TOKEN: [&str; 3] = ["v1", "auth", "token"];
const DONE: &str = "<!doctype html><meta charset=utf-8><title>Caxton</title><p>Done. Go back to the terminal; this page can be closed.</p>";
pub(super) const NOT_IT: &str =
    "<!doctype html><meta charset=utf-8><title>Caxton</title><p>Unexpected request.</p>";

/// How to log in.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// Log in with a browser on another device
    #[arg(long)]
    device: bool,
    /// Do not open a browser, print the address for one on this computer
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
    /// Which gateway
    #[command(flatten)]
    remote: Remote,
}

#[derive(Serialize)]
struct LoggedIn<'a> {
    gateway: &'a str,
    subject: &'a str,
    expires_in: u64,
}

/// Logs in, and keeps the session for the commands to come.
pub(super) fn login(wanted: &Login, output: &Output) -> anyhow::Result<Exit> {
    let open = wanted.remote.anonymous()?;
    let given = if wanted.device {
        on_another_device(&open, output)?
    } else {
        in_a_browser(&open, !wanted.no_browser, output)?
    };
    let answer = match given {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    StoredLogin::of(open.url(), &answer)?.save(open.url())?;
    let subject = subject(text(&answer, "/access_token"));
    let expires_in = answer.get("expires_in").and_then(Json::as_u64).unwrap_or_default();
    let logged_in = LoggedIn { gateway: open.url().as_str(), subject: &subject, expires_in };
    output.data(&logged_in, |logged_in| {
        format!("logged in at {} as {}", logged_in.gateway, logged_in.subject)
    })?;
    Ok(Exit::Fine)
}

/// Ends the session, here and at the gateway.
pub(super) fn logout(remote: &Remote, output: &Output) -> anyhow::Result<Exit> {
    let open = remote.anonymous()?;
    let Some(login) = StoredLogin::load(open.url())? else {
        output.say(format_args!("there is no login at {}", open.url()));
        return Ok(Exit::Found);
    };
    let session = open.with_login(login);
    let answer = session.ask(Method::POST, &["v1", "auth", "logout"], &[], None);
    StoredLogin::remove(session.url())?;
    match answer {
        // What is refused is over already.
        Ok(GatewayAnswer::Done(_) | GatewayAnswer::Wait(_) | GatewayAnswer::Refused(Exit::Found, _)) => {
            output.say(format_args!("logged out at {}", session.url()));
            Ok(Exit::Fine)
        }
        Ok(GatewayAnswer::Refused(exit, why)) => {
            output.say(format_args!("the login was removed here; the gateway answered: {why}"));
            Ok(exit)
        }
        Err(unreached) => {
            output.say(format_args!(
                "the login was removed here; at the gateway the session ends after its idle time: {unreached}"
            ));
            Ok(Exit::Unreachable)
        }
    }
}

pub(super) fn random() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).context("the system gave no random bytes")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

// ---- on this computer ----

fn in_a_browser(open: &GatewayClient, browser: bool, output: &Output) -> anyhow::Result<Result<Json, Exit>> {
    let state = random()?;
    let verifier = random()?;
    let listener = open.wait(TcpListener::bind("127.0.0.1:0")).context("no port of this computer is free")?;
    let port = listener.local_addr()?.port();
    let mut url = open.place(&["v1", "auth", "oauth2", "authorize"])?;
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    url.query_pairs_mut()
        .append_pair("port", &port.to_string())
        .append_pair("code_challenge", &challenge)
        .append_pair("state", &state);
    let opened = browser && open::that_detached(url.as_str()).is_ok();
    let what =
        if opened { "log in in the browser; if none opens:" } else { "open in a browser on this computer:" };
    output.say(format_args!("{what}\n{url}"));
    let waited = open.wait(async { timeout(PATIENCE, coming_back(&listener, &state)).await });
    let Ok(code) = waited else {
        output.say("error: the login was not completed in time");
        return Ok(Err(Exit::Found));
    };
    let body = json!({ "code": code?, "code_verifier": verifier });
    Ok(open.done(output, Method::POST, &TOKEN, &[], Some(&body)))
}

/// The code that a browser brings with our `state`. Any other request is refused, and the wait goes on.
async fn coming_back(listener: &TcpListener, state: &str) -> anyhow::Result<String> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let Ok(Some(path)) = timeout(REQUEST, request(&mut stream)).await else { continue };
        let code = code(&path, state);
        let (status, page) = if code.is_some() { ("200 OK", DONE) } else { ("400 Bad Request", NOT_IT) };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{page}",
            page.len()
        );
        // The person may close the page before it is there.
        let _ = timeout(REQUEST, stream.write_all(answer.as_bytes())).await;
        if let Some(code) = code {
            return Ok(code);
        }
    }
}

/// The target of a `GET` that a person's browser goes to. What a page asks for in the background, as a picture or a script,
/// has header fields that say so (Fetch Metadata Request Headers, W3C), and is refused.
pub(super) async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await.ok().filter(|read| *read > 0)?;
        head.extend_from_slice(part.get(..read)?);
        if head.len() > MAX_HEAD {
            return None;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.split("\r\n");
    let target = lines.next()?.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?;
    lines.all(is_of_a_navigation).then(|| target.to_owned())
}

/// Whether a line of the head of a request leaves open that a person's browser goes there.
fn is_of_a_navigation(line: &str) -> bool {
    let Some((name, value)) = line.split_once(':') else { return true };
    let wanted = match name.to_ascii_lowercase().as_str() {
        "sec-fetch-mode" => "navigate",
        "sec-fetch-dest" => "document",
        _ => return true,
    };
    value.trim() == wanted
}

pub(super) fn code(path: &str, state: &str) -> Option<String> {
    let url = Url::parse("http://127.0.0.1").ok()?.join(path).ok()?;
    if single_parameter(&url, "state")? != state {
        return None;
    }
    single_parameter(&url, "code")
}

/// The value of a query parameter that stands there once.
fn single_parameter(url: &Url, wanted: &str) -> Option<String> {
    let mut values = url.query_pairs().filter(|(name, _)| name == wanted).map(|(_, value)| value);
    let first = values.next()?.into_owned();
    values.next().is_none().then_some(first)
}

// ---- on another device ----

fn on_another_device(open: &GatewayClient, output: &Output) -> anyhow::Result<Result<Json, Exit>> {
    let begun = match open.done(output, Method::POST, &["v1", "auth", "oauth2", "device"], &[], None) {
        Ok(begun) => begun,
        Err(exit) => return Ok(Err(exit)),
    };
    let place = one_line(text(&begun, "/verification_uri"), 512);
    let user_code = one_line(text(&begun, "/user_code"), 512);
    let device_code = text(&begun, "/device_code");
    if place.is_empty() || user_code.is_empty() || device_code.is_empty() {
        bail!("the answer of the gateway is no login");
    }
    output.say(format_args!("open on any device: {place}\nand enter the code: {user_code}"));
    let whole = text(&begun, "/verification_uri_complete");
    if !whole.is_empty() {
        output.say(format_args!("or open: {}", one_line(whole, 512)));
    }
    let seconds = |name: &str, usual: u64| begun.get(name).and_then(Json::as_u64).unwrap_or(usual);
    let mut interval = seconds("interval", 5).clamp(1, 60);
    let mut left = seconds("expires_in", 600).min(PATIENCE.as_secs());
    while left > 0 {
        open.wait(async { tokio::time::sleep(Duration::from_secs(interval)).await });
        left = left.saturating_sub(interval);
        let body = json!({ "device_code": device_code });
        match open.ask(Method::POST, &TOKEN, &[], Some(&body)) {
            Ok(GatewayAnswer::Done(answer)) => return Ok(Ok(answer)),
            Ok(GatewayAnswer::Wait(slower)) => interval += if slower { 5 } else { 0 },
            Ok(GatewayAnswer::Refused(exit, why)) => {
                output.say(format_args!("error: {why}"));
                return Ok(Err(exit));
            }
            Err(unreached) => {
                output.say(format_args!("error: {unreached}"));
                return Ok(Err(Exit::Unreachable));
            }
        }
    }
    output.say("error: the login was not completed in time");
    Ok(Err(Exit::Found))
}

/// `sub` of an access token that the gateway has just given; for the person, nothing hangs on it.
fn subject(token: &str) -> String {
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|bytes| crate::json::parse(&bytes).ok());
    one_line(claims.as_ref().map_or("?", |claims| text(claims, "/sub")), 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attack: a page in the person's browser asks for the address by itself.
    #[test]
    fn what_a_page_asks_for_by_itself_is_no_navigation() {
        for (line, expected) in [
            ("Sec-Fetch-Mode: navigate", true),
            ("sec-fetch-dest:document", true),
            ("Host: 127.0.0.1", true),
            ("", true),
            ("Sec-Fetch-Mode: no-cors", false),
            ("SEC-FETCH-DEST: image", false),
            ("sec-fetch-dest: iframe", false),
        ] {
            assert_eq!(is_of_a_navigation(line), expected, "{line}");
        }
    }

    #[test]
    fn only_an_answer_to_this_login_is_taken() {
        let good = code("/?code=abc&state=s1", "s1");
        assert_eq!(good.as_deref(), Some("abc"));
        for bad in [
            "/?code=abc",
            "/?code=abc&state=s2",
            "/?state=s1",
            "/?code=abc&state=s2&state=s1",
            "/?code=abc&code=def&state=s1",
            "/favicon.ico",
            "//evil.example/?code=abc",
            "",
        ] {
            assert_eq!(code(bad, "s1"), None, "{bad}");
        }
    }
}
