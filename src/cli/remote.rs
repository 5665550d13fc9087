//! A gateway that runs, as commands talk to it: its address, a credential, and answers as JSON.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::output::{Exit, Output};
use super::stored_login::StoredLogin;
use crate::secret::Secret;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// The largest key file, in bytes.
const KEY_BYTES: u64 = 4_096;

/// Which gateway, and as whom.
#[derive(Debug, clap::Args)]
pub struct Remote {
    /// Address of the gateway
    #[arg(
        long,
        alias = "server",
        global = true,
        env = "CAXTON_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    url: Url,
    /// A file with the API key; without it the key is taken from `CAXTON_API_KEY`, and without that a login counts
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

/// What the gateway said.
pub enum Answer {
    /// It did what was asked.
    Done(Json),
    /// Not yet: somebody has to log in first. Whether it wants to be asked less often.
    Wait(bool),
    /// It refused; for the person.
    Refused(Exit, String),
}

/// The gateway was not reached.
#[derive(Debug, thiserror::Error)]
#[error("the gateway at `{url}` could not be reached: {cause}")]
pub struct Unreached {
    url: String,
    cause: String,
}

impl Remote {
    /// Opens the way to the gateway.
    pub fn open(&self) -> anyhow::Result<Open> {
        let key = match &self.api_key_file {
            Some(path) => {
                let about = std::fs::metadata(path);
                let about = about.with_context(|| format!("`{}` cannot be read", path.display()))?;
                if about.len() > KEY_BYTES {
                    bail!("`{}` is no API key: it is longer than {KEY_BYTES} bytes", path.display());
                }
                Some(
                    std::fs::read_to_string(path)
                        .with_context(|| format!("`{}` cannot be read", path.display()))?,
                )
            }
            None => crate::config::Environment::of_process().read("CAXTON_API_KEY").map(str::to_owned),
        };
        let open = self.anonymous()?;
        if let Some(key) = key {
            let key = Zeroizing::new(key);
            return Ok(Open { credential: Credential::Key(Secret::new(key.trim().to_owned())), ..open });
        }
        let Some(login) = StoredLogin::load(&self.url)? else {
            bail!(
                "name a file with an API key: `--api-key-file FILE`, or set `CAXTON_API_KEY`, or log in: `caxton auth login`"
            )
        };
        let login = if login.ends_soon() { open.renewed(&login)? } else { login };
        Ok(open.with_login(login))
    }

    /// Opens the way to the gateway for who has no credential yet.
    pub(super) fn anonymous(&self) -> anyhow::Result<Open> {
        if self.url.scheme() != "https" && !self.is_here() {
            bail!("`{}` would send credentials in the clear: name an `https` address", self.url);
        }
        let client = Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Open { url: self.url.clone(), credential: Credential::None, client, runtime })
    }
}

impl Remote {
    /// Whether the address is that of this host, so that nobody else hears what is sent.
    fn is_here(&self) -> bool {
        let Some(host) = self.url.host_str().filter(|_| self.url.scheme() == "http") else { return false };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Asks for one thing and sends nothing; what went wrong has been said.
    pub(super) fn call(
        &self,
        method: Method,
        path: &[&str],
        output: &Output,
    ) -> anyhow::Result<Result<Json, Exit>> {
        Ok(self.open()?.done(output, method, path, &[], None))
    }
}

/// As whom.
enum Credential {
    None,
    Key(Secret<String>),
    Login(StoredLogin),
}

/// A gateway that can be asked.
pub struct Open {
    url: Url,
    credential: Credential,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Open {
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn with_login(self, login: StoredLogin) -> Self {
        Self { credential: Credential::Login(login), ..self }
    }

    /// Waits for something.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The next tokens of a login, kept.
    fn renewed(&self, login: &StoredLogin) -> anyhow::Result<StoredLogin> {
        let body = serde_json::json!({ "refresh_token": login.refresh_token });
        match self.ask(Method::POST, &["v1", "auth", "refresh"], &[], Some(&body))? {
            Answer::Done(answer) => {
                let login = StoredLogin::of(&self.url, &answer)?;
                login.save(&self.url)?;
                Ok(login)
            }
            Answer::Refused(Exit::Found, _) => {
                StoredLogin::remove(&self.url)?;
                bail!(
                    "the login at {} is over: log in again with `caxton auth login --url {}`",
                    self.url,
                    self.url
                )
            }
            Answer::Refused(_, why) => bail!("the login at {} could not be renewed: {why}", self.url),
            Answer::Wait(_) => bail!("the login at {} could not be renewed", self.url),
        }
    }

    /// An address of the gateway. `path` are its parts, not yet escaped.
    pub(super) fn place(&self, path: &[&str]) -> Result<Url, Unreached> {
        let mut url = self.url.clone();
        let unreached =
            |()| Unreached { url: self.url.to_string(), cause: "this is no address of a server".to_owned() };
        url.path_segments_mut().map_err(unreached)?.pop_if_empty().extend(path);
        Ok(url)
    }

    /// Asks. `path` are the parts of the path, not yet escaped.
    pub fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        sent: Option<&Json>,
    ) -> Result<Answer, Unreached> {
        let unreached = |cause: String| Unreached { url: self.url.to_string(), cause };
        let mut url = self.place(path)?;
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.client.request(method, url);
        request = match &self.credential {
            Credential::None => request,
            Credential::Key(key) => request.header("x-api-key", key.expose()),
            Credential::Login(login) => request.bearer_auth(&login.access_token),
        };
        if let Some(sent) = sent {
            request = request.json(sent);
        }
        let answered = self.runtime.block_on(async {
            let mut response = request.send().await?;
            let mut body = Vec::new();
            while let Some(part) = response.chunk().await? {
                body.extend_from_slice(&part);
                if body.len() > MAX_ANSWER {
                    return Ok(None);
                }
            }
            Ok::<_, reqwest::Error>(Some((response.status(), body)))
        });
        let Some((status, body)) = answered.map_err(|error| unreached(root(&error)))? else {
            return Err(unreached(format!("its answer is larger than {MAX_ANSWER} bytes")));
        };
        let json = crate::json::parse(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(Answer::Done(json));
        }
        match text(&json, "/reason") {
            "authorization_pending" => return Ok(Answer::Wait(false)),
            "slow_down" => return Ok(Answer::Wait(true)),
            _ => {}
        }
        let detail = match text(&json, "/detail") {
            "" => format!("status {status}"),
            detail => detail.to_owned(),
        };
        let decision =
            json.get("decision_id").map(|_| format!(" (decision {})", text(&json, "/decision_id")));
        let exit = match status {
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT => Exit::Found,
            status if status.is_client_error() => Exit::Usage,
            _ => Exit::Unreachable,
        };
        let again = match &self.credential {
            Credential::Login(_) if status == StatusCode::UNAUTHORIZED => {
                ": log in again with `caxton auth login`"
            }
            _ => "",
        };
        Ok(Answer::Refused(exit, format!("{detail}{}{again}", decision.unwrap_or_default())))
    }

    /// Asks, and tells the person when it was refused or there was nobody.
    pub fn done(
        &self,
        output: &Output,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Json>,
    ) -> Result<Json, Exit> {
        match self.ask(method, path, query, body) {
            Ok(Answer::Done(json)) => Ok(json),
            Ok(Answer::Wait(_)) => {
                output.say("error: nobody has logged in yet");
                Err(Exit::Found)
            }
            Ok(Answer::Refused(exit, why)) => {
                output.say(format_args!("error: {why}"));
                Err(exit)
            }
            Err(unreached) => {
                output.say(format_args!("error: {unreached}"));
                Err(Exit::Unreachable)
            }
        }
    }
}

/// The text at a place in an answer (`/entity/uid/id`); empty when there is none.
pub fn text<'j>(json: &'j Json, place: &str) -> &'j str {
    json.pointer(place).and_then(Json::as_str).unwrap_or_default()
}

/// The list at a place in an answer.
pub fn list<'j>(json: &'j Json, place: &str) -> impl Iterator<Item = &'j Json> {
    json.pointer(place).and_then(Json::as_array).into_iter().flatten()
}

/// The number at a place in an answer, for people.
pub fn number(json: &Json, place: &str) -> u64 {
    json.pointer(place).and_then(Json::as_u64).unwrap_or_default()
}

/// The last cause says what is the matter: "connection refused".
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
