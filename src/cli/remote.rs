//! A gateway that runs, as commands talk to it: its address, a credential, and answers as JSON.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::installation::{ConfigFile, LogFile};
use super::output::{Exit, Output};
use super::stored_login::StoredLogin;
use crate::secret::Secret;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 20;
/// The largest key file, in bytes.
const KEY_BYTES: u64 = 4_096;

/// The address of the gateway and the credential for it.
#[derive(Debug, clap::Args)]
pub struct Remote {
    #[command(flatten)]
    config: ConfigFile,
    /// Address of the gateway [default: where the configuration says it listens]
    #[arg(long, alias = "server", global = true, env = "CAXTON_URL", value_name = "URL")]
    url: Option<Url>,
    /// A file with the API key; without it the key in `CAXTON_API_KEY` is used, and without that a login
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

/// How long a stream of the gateway may last; it ends before that by itself.
const LONGEST_STREAM: Duration = Duration::from_secs(24 * 60 * 60);

/// The decision log of a gateway that runs, in place of a file.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RemoteLog {
    /// Ask the gateway at this address, in place of reading a file
    #[arg(long, value_name = "URL", conflicts_with_all = ["log", "data_dir"])]
    url: Option<Url>,
    /// With `--url`: a file with the API key; without it the key in `CAXTON_API_KEY` is used, and without that a login
    #[arg(long, value_name = "FILE", requires = "url")]
    api_key_file: Option<PathBuf>,
}

impl RemoteLog {
    /// Whether a gateway is meant.
    pub(super) fn is_named(&self) -> bool {
        self.url.is_some()
    }

    /// Opens the way to the gateway.
    pub(super) fn open(&self, log: &LogFile) -> anyhow::Result<GatewayClient> {
        let config = log.config().clone();
        Remote { config, url: self.url.clone(), api_key_file: self.api_key_file.clone() }.open()
    }
}

/// The answer of the gateway.
pub enum GatewayAnswer {
    /// The request succeeded.
    Done(Json),
    /// The login is not complete yet; `true` when the gateway asks for a longer interval.
    Wait(bool),
    /// The request was refused, with the reason for the person.
    Refused(Exit, String),
}

/// The gateway was not reached.
#[derive(Debug, thiserror::Error)]
#[error("the gateway at `{url}` could not be reached: {cause}")]
pub struct Unreachable {
    url: String,
    cause: String,
}

impl Remote {
    /// Opens the way to the gateway.
    pub fn open(&self) -> anyhow::Result<GatewayClient> {
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
            return Ok(GatewayClient {
                credential: ClientCredential::Key(Secret::new(key.trim().to_owned())),
                ..open
            });
        }
        let Some(login) = StoredLogin::load(&open.url)? else {
            bail!(
                "name a file with an API key: `--api-key-file FILE`, or set `CAXTON_API_KEY`, or log in: `caxton auth login`"
            )
        };
        let login = if login.ends_soon() { open.renewed(&login)? } else { login };
        Ok(open.with_login(login))
    }

    /// Opens the way to the gateway for who has no credential yet.
    pub(super) fn anonymous(&self) -> anyhow::Result<GatewayClient> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => self.config.url()?,
        };
        if url.scheme() != "https" && !is_here(&url) {
            bail!("`{url}` would send credentials in the clear: name an `https` address");
        }
        let client = Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(GatewayClient { url, credential: ClientCredential::None, client, runtime })
    }
}

impl Remote {
    /// The configuration of the gateway.
    pub(super) fn config(&self) -> &ConfigFile {
        &self.config
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

/// Whether the address is loopback, so that the traffic does not leave this host.
fn is_here(url: &Url) -> bool {
    let Some(host) = url.host_str().filter(|_| url.scheme() == "http") else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The credential of the requests.
enum ClientCredential {
    None,
    Key(Secret<String>),
    Login(StoredLogin),
}

/// A client of one gateway.
pub struct GatewayClient {
    url: Url,
    credential: ClientCredential,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl GatewayClient {
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    pub(super) fn with_login(self, login: StoredLogin) -> Self {
        Self { credential: ClientCredential::Login(login), ..self }
    }

    /// Waits for something.
    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The next tokens of a login, kept.
    fn renewed(&self, login: &StoredLogin) -> anyhow::Result<StoredLogin> {
        let body = serde_json::json!({ "refresh_token": login.refresh_token });
        match self.ask(Method::POST, &["v1", "auth", "refresh"], &[], Some(&body))? {
            GatewayAnswer::Done(answer) => {
                let login = StoredLogin::of(&self.url, &answer)?;
                login.save(&self.url)?;
                Ok(login)
            }
            GatewayAnswer::Refused(Exit::Found, _) => {
                StoredLogin::remove(&self.url)?;
                bail!(
                    "the login at {} is over: log in again with `caxton auth login --url {}`",
                    self.url,
                    self.url
                )
            }
            GatewayAnswer::Refused(_, why) => bail!("the login at {} could not be renewed: {why}", self.url),
            GatewayAnswer::Wait(_) => bail!("the login at {} could not be renewed", self.url),
        }
    }

    /// An address of the gateway. `path` are its parts, not yet escaped.
    pub(super) fn place(&self, path: &[&str]) -> Result<Url, Unreachable> {
        let mut url = self.url.clone();
        let unreached = |()| Unreachable {
            url: self.url.to_string(),
            cause: "this is no address of a server".to_owned(),
        };
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
    ) -> Result<GatewayAnswer, Unreachable> {
        let unreached = |cause: String| Unreachable { url: self.url.to_string(), cause };
        let mut url = self.place(path)?;
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.with_credential(self.client.request(method, url));
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
            return Ok(GatewayAnswer::Done(json));
        }
        match text(&json, "/reason") {
            "authorization_pending" => return Ok(GatewayAnswer::Wait(false)),
            "slow_down" => return Ok(GatewayAnswer::Wait(true)),
            _ => {}
        }
        Ok(self.refusal(status, &json))
    }

    fn with_credential(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.credential {
            ClientCredential::None => request,
            ClientCredential::Key(key) => request.header("x-api-key", key.expose()),
            ClientCredential::Login(login) => request.bearer_auth(&login.access_token),
        }
    }

    /// Gives an answer without an end to `take`, piece by piece, until it ends or `take` says that it is enough. A refusal
    /// comes with its exit code and the reason for the person.
    pub(super) fn stream(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        take: &mut dyn FnMut(&[u8]) -> anyhow::Result<bool>,
    ) -> anyhow::Result<Result<(), (Exit, String)>> {
        let unreached =
            |error: &reqwest::Error| Unreachable { url: self.url.to_string(), cause: root(error) };
        let mut url = self.place(path)?;
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let request = self.with_credential(self.client.get(url)).timeout(LONGEST_STREAM);
        self.runtime.block_on(async {
            let mut response = request.send().await.map_err(|error| unreached(&error))?;
            let status = response.status();
            if !status.is_success() {
                let body = response.bytes().await.map_err(|error| unreached(&error))?;
                let json = crate::json::parse(&body).unwrap_or_default();
                return Ok(match self.refusal(status, &json) {
                    GatewayAnswer::Refused(exit, why) => Err((exit, why)),
                    GatewayAnswer::Done(_) | GatewayAnswer::Wait(_) => Ok(()),
                });
            }
            while let Some(piece) = response.chunk().await.map_err(|error| unreached(&error))? {
                if !take(&piece)? {
                    break;
                }
            }
            Ok(Ok(()))
        })
    }

    /// What a refused request means to a person, and the exit code.
    fn refusal(&self, status: StatusCode, json: &Json) -> GatewayAnswer {
        let detail = match text(json, "/detail") {
            "" => format!("status {status}"),
            detail => detail.to_owned(),
        };
        let decision = json.get("decision_id").map(|_| format!(" (decision {})", text(json, "/decision_id")));
        let exit = match status {
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::CONFLICT => Exit::Found,
            status if status.is_client_error() => Exit::Usage,
            _ => Exit::Unreachable,
        };
        let again = match &self.credential {
            ClientCredential::Login(_) if status == StatusCode::UNAUTHORIZED => {
                ": log in again with `caxton auth login`"
            }
            _ => "",
        };
        GatewayAnswer::Refused(exit, format!("{detail}{}{again}", decision.unwrap_or_default()))
    }

    /// Sends a request, and reports a refusal or a gateway that cannot be reached.
    pub fn done(
        &self,
        output: &Output,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Json>,
    ) -> Result<Json, Exit> {
        match self.ask(method, path, query, body) {
            Ok(GatewayAnswer::Done(json)) => Ok(json),
            Ok(GatewayAnswer::Wait(_)) => {
                output.say("error: the login is not complete yet");
                Err(Exit::Found)
            }
            Ok(GatewayAnswer::Refused(exit, why)) => {
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
