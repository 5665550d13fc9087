//! `caxton tools connect`, `connections` and `disconnect`: accounts at MCP servers, whose tokens a running gateway keeps.
//!
//! A person who can log in at the gateway does so in the browser, and this program only waits. For any other principal the page
//! of the gateway sends the browser to a port here with a code. That this program brings the code to the gateway with its own
//! credential proves that the browser is its person's: the person types the number that the page shows, so that it is not the
//! browser of another user of this computer who has found the link.

use std::io::{BufRead as _, Read as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::login::{NOT_IT, PATIENCE, REQUEST, code, random, request};
use super::super::output::{Exit, Output, table};
use super::super::remote::{GatewayAnswer, GatewayClient, Remote, list as items, text};
use super::redirect_file::RedirectFile;
use crate::model::ServerName;
use crate::text::one_line;
use crate::tools::{DefinitionError, Listing, Settings, check_number};

/// The longest line that is read from the person, in bytes.
const MAX_LINE: u64 = 256;
/// The pause between two looks at whether the connection is there.
const PAUSE: Duration = Duration::from_secs(1);

/// How to connect an account.
#[derive(Debug, clap::Args)]
pub struct ConnectOptions {
    /// The server's name in the configuration of the gateway.
    server: String,
    /// Do not open a browser, print the address for one on this computer.
    #[arg(long)]
    no_browser: bool,
    /// Which gateway.
    #[command(flatten)]
    remote: Remote,
}

/// Whose connections to show.
#[derive(Debug, clap::Args)]
pub struct ConnectionsOptions {
    /// Those of all principals.
    #[arg(long)]
    all: bool,
    /// Which gateway.
    #[command(flatten)]
    remote: Remote,
}

/// Which connection to end.
#[derive(Debug, clap::Args)]
pub struct DisconnectOptions {
    /// The server's name in the configuration of the gateway.
    server: String,
    /// The principal whose connection is ended, as written in the decision log [default: the caller].
    #[arg(long)]
    principal: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    remote: Remote,
}

/// Which account a server is asked with.
#[derive(Debug, clap::Args)]
pub struct AsConnected {
    /// Ask a running gateway for what the server offers to one's own connected account.
    #[arg(long)]
    as_connected: bool,
    /// Which gateway, with `--as-connected`.
    #[command(flatten)]
    remote: Remote,
}

impl AsConnected {
    /// The gateway to ask; none where the server itself is asked.
    pub(super) fn wanted(&self) -> Option<&Remote> {
        self.as_connected.then_some(&self.remote)
    }
}

/// The tools that a server offers to the caller's account, by a running gateway.
pub(super) fn offered_by(
    remote: &Remote,
    server: &ServerName,
    settings: &Settings,
) -> anyhow::Result<Listing> {
    let client = remote.open()?;
    let path = ["v1", "tools", "servers", server.as_str(), "offered"];
    let answer = match client.ask(Method::GET, &path, &[], None)? {
        GatewayAnswer::Done(answer) => answer,
        GatewayAnswer::Refused(_, why) => bail!("the gateway says: {why}"),
        GatewayAnswer::Wait(_) => bail!("the gateway gave no answer"),
    };
    let mut listing = Listing::read(items(&answer, "/tools").cloned(), settings);
    for row in items(&answer, "/left_out") {
        let why = DefinitionError::Shape(one_line(text(row, "/reason"), 300));
        listing.refused.push((one_line(text(row, "/tool"), 128), why));
    }
    Ok(listing)
}

#[derive(Serialize)]
struct Connected<'a> {
    server: &'a str,
    principal: &'a str,
}

/// Connects an account of the caller's own.
pub(super) fn connect(wanted: &ConnectOptions, output: &Output) -> anyhow::Result<Exit> {
    let client = wanted.remote.open()?;
    let server = wanted.server.as_str();
    let state = random()?;
    let listener =
        client.wait(TcpListener::bind("127.0.0.1:0")).context("no port of this computer is free")?;
    let port = listener.local_addr()?.port();
    let before = match connection(&client, server, output) {
        Ok(before) => before,
        Err(exit) => return Ok(exit),
    };
    let path = ["v1", "connections", server];
    let body = json!({ "port": port, "state": state });
    let begun = match client.done(output, Method::POST, &path, &[], Some(&body)) {
        Ok(begun) => begun,
        Err(exit) => return Ok(exit),
    };
    let url = one_line(text(&begun, "/url"), 2_048);
    // It is there for as long as the browser may look at it.
    let _file = show_link(&url, wanted.no_browser, output);
    let coming = coming(&listener, &state);
    let (code, stream) = match wait_for_either(&client, (server, before.as_ref()), coming, output)? {
        Waited::Came(code, stream) => (code, stream),
        Waited::Over(exit) => return Ok(exit),
    };
    if !is_number_of(&code, output)? {
        client.wait(send_on(stream, None));
        output.say(
            "error: no account was connected: the number is not that of the browser that sent the code. Another user of this computer may have opened the link; run the command again",
        );
        return Ok(Exit::Found);
    }
    let path = ["v1", "connections", server, "confirm"];
    let confirmed = client.done(output, Method::POST, &path, &[], Some(&json!({ "code": code })));
    let (next, exit) = match &confirmed {
        Ok(confirmed) => (Some(text(confirmed, "/url")), None),
        Err(exit) => (None, Some(*exit)),
    };
    client.wait(send_on(stream, next));
    if let Some(exit) = exit {
        return Ok(exit);
    }
    until_connected(&client, server, before.as_ref(), output)
}

/// Opens the page in a browser, or says where it is. The link is in no argument of a program, which everybody on this computer can
/// read, and is printed only where the person has to open it.
fn show_link(url: &str, no_browser: bool, output: &Output) -> Option<RedirectFile> {
    let file = if no_browser { None } else { RedirectFile::make(url).ok() };
    let file = file.filter(|file| open::that_detached(file.path()).is_ok());
    match &file {
        Some(_) => output.say("connect the account in the browser; if none opens, use `--no-browser`"),
        None => output.say(format_args!("open in a browser on this computer:\n{url}")),
    }
    file
}

/// What was waited for.
enum Waited {
    /// A browser has come, with this code.
    Came(String, TcpStream),
    /// The account is connected, or it cannot be any more.
    Over(Exit),
}

/// Waits for a browser with a code, or for the connection of a person who has logged in.
fn wait_for_either(
    client: &GatewayClient,
    (server, before): (&str, Option<&Json>),
    coming: impl Future<Output = anyhow::Result<(String, TcpStream)>>,
    output: &Output,
) -> anyhow::Result<Waited> {
    // It goes on where it was after each look at the connection.
    let mut coming = std::pin::pin!(coming);
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(came) = client.wait(async { timeout(PAUSE, coming.as_mut()).await }) {
            let (code, stream) = came?;
            return Ok(Waited::Came(code, stream));
        }
        if let Some(exit) = look(client, (server, before), output)? {
            return Ok(Waited::Over(exit));
        }
    }
    Ok(Waited::Over(too_late(output)))
}

/// Asks the person for the number on the page of the browser. Whether it is that of this code.
fn is_number_of(code: &str, output: &Output) -> anyhow::Result<bool> {
    output.say("type the number that the page in your browser shows:");
    let mut line = String::new();
    std::io::stdin().lock().take(MAX_LINE).read_line(&mut line).context("the number cannot be read")?;
    let typed: String = line.chars().filter(|letter| !letter.is_whitespace()).collect();
    Ok(typed == check_number(code))
}

fn too_late(output: &Output) -> Exit {
    output.say("error: the account was not connected in time");
    Exit::Found
}

/// The caller's connection at the server, as it is now.
fn connection(client: &GatewayClient, server: &str, output: &Output) -> Result<Option<Json>, Exit> {
    let listed = client.done(output, Method::GET, &["v1", "connections"], &[], None)?;
    Ok(items(&listed, "/connections").find(|row| text(row, "/server") == server).cloned())
}

/// Waits for another connection than the one before.
fn until_connected(
    client: &GatewayClient,
    server: &str,
    before: Option<&Json>,
    output: &Output,
) -> anyhow::Result<Exit> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(exit) = look(client, (server, before), output)? {
            return Ok(exit);
        }
        client.wait(async { tokio::time::sleep(PAUSE).await });
    }
    Ok(too_late(output))
}

/// Looks whether there is another connection than the one before; how the command ends, where it does.
fn look(
    client: &GatewayClient,
    (server, before): (&str, Option<&Json>),
    output: &Output,
) -> anyhow::Result<Option<Exit>> {
    let found = match connection(client, server, output) {
        Ok(found) => found,
        Err(exit) => return Ok(Some(exit)),
    };
    let is_new =
        |found: &Json| before.is_none_or(|before| text(before, "/created") != text(found, "/created"));
    let Some(found) = found.filter(is_new) else { return Ok(None) };
    let connected = Connected { server, principal: text(&found, "/principal") };
    output.data(&connected, |connected| {
        format!("an account at `{}` is connected for {}", connected.server, connected.principal)
    })?;
    Ok(Some(Exit::Fine))
}

/// The code that a browser brings with our `state`, and the browser. Any other request is refused, and the wait goes on.
async fn coming(listener: &TcpListener, state: &str) -> anyhow::Result<(String, TcpStream)> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let Ok(Some(path)) = timeout(REQUEST, request(&mut stream)).await else { continue };
        if let Some(code) = code(&path, state) {
            return Ok((code, stream));
        }
        send_on(stream, None).await;
    }
}

/// Sends a browser to the gateway's next page, or away.
async fn send_on(mut stream: TcpStream, next: Option<&str>) {
    // An address has no line ends; it came from the gateway, and is not looked at by anything else.
    let next = next.filter(|next| !next.contains(char::is_control));
    let head = match next {
        Some(next) => format!("303 See Other\r\nlocation: {next}"),
        None => "400 Bad Request\r\ncontent-type: text/html; charset=utf-8".to_owned(),
    };
    let body = if next.is_some() { "" } else { NOT_IT };
    let answer = format!(
        "HTTP/1.1 {head}\r\ncontent-length: {}\r\ncache-control: no-store\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // The person may close the page before it is there.
    let _ = timeout(REQUEST, stream.write_all(answer.as_bytes())).await;
}

/// Shows connections, never their tokens.
pub(super) fn connections(wanted: &ConnectionsOptions, output: &Output) -> anyhow::Result<Exit> {
    let client = wanted.remote.open()?;
    let query: &[(&str, String)] = if wanted.all { &[("all", "true".to_owned())] } else { &[] };
    let listed = match client.done(output, Method::GET, &["v1", "connections"], query, None) {
        Ok(listed) => listed,
        Err(exit) => return Ok(exit),
    };
    output.data(&listed, |listed| {
        let mut shown = table(["server", "principal", "authorization server", "connected", "renewed"]);
        for row in items(listed, "/connections") {
            let cells = ["/server", "/principal", "/issuer", "/created", "/renewed"];
            shown.add_row(cells.map(|cell| text(row, cell)));
        }
        shown.to_string()
    })?;
    Ok(Exit::Fine)
}

/// Ends a connection.
pub(super) fn disconnect(wanted: &DisconnectOptions, output: &Output) -> anyhow::Result<Exit> {
    let client = wanted.remote.open()?;
    let query: Vec<(&str, String)> =
        wanted.principal.iter().map(|principal| ("principal", principal.clone())).collect();
    let path = ["v1", "connections", wanted.server.as_str()];
    let ended = match client.done(output, Method::DELETE, &path, &query, None) {
        Ok(ended) => ended,
        Err(exit) => return Ok(exit),
    };
    output.data(&ended, |_| format!("the connection at `{}` has ended", wanted.server))?;
    if ended.get("revoked") != Some(&Json::Bool(true)) {
        output.say(
            "the tokens were deleted here but not revoked at the authorization server: end the access in the account's settings there",
        );
    }
    Ok(Exit::Fine)
}
