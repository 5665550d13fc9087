//! Commands that ask a running gateway: where it is, how the command proves itself, and what an answer means.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value as Json;

use super::output::{Exit, Output};
use super::prepare;
use crate::secret::Secret;

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(30);
/// A key file holds one line.
const MAX_KEY_FILE: u64 = 4096;

/// Which gateway, and with which key.
#[derive(Debug, Args)]
pub struct Remote {
    /// The gateway's address
    #[arg(long, env = "CAXTON_URL", default_value = "http://127.0.0.1:8080")]
    url: Url,
    /// A file with an API key; without it the key in `CAXTON_API_KEY`, which other users of the host cannot see as they
    /// could see an option
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

impl Remote {
    /// Asks; the answer, or the exit after what went wrong has been said.
    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        environment_key: Option<String>,
        output: &Output,
    ) -> anyhow::Result<Result<Json, Exit>> {
        let key = self.key(environment_key)?;
        let url = self.address(path)?;
        prepare::runtime()?.block_on(async {
            let client =
                Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
            let mut request = client.build()?.request(method, url).header("x-api-key", key.expose());
            request = request.header("accept", "application/json");
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => {
                    output.say(prepare::describe(&error.without_url()));
                    output.say(format_args!("help: is there a gateway at `{}`?", self.url));
                    return Ok(Err(Exit::Unreachable));
                }
            };
            let status = response.status();
            let answer = read(response).await?;
            if status.is_success() {
                return Ok(Ok(answer));
            }
            let detail = answer.get("detail").and_then(Json::as_str).unwrap_or("no reason is given");
            output.say(format_args!("error: the gateway answered {}: {detail}", status.as_u16()));
            if let Some(decision) = answer.get("decision_id").and_then(Json::as_str) {
                output.say(format_args!("help: `caxton audit query` shows decision {decision}"));
            }
            Ok(Err(if status == StatusCode::UNPROCESSABLE_ENTITY { Exit::Usage } else { Exit::Found }))
        })
    }

    fn address(&self, path: &str) -> anyhow::Result<Url> {
        let own = match self.url.host_str() {
            Some("localhost") => true,
            Some(host) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            None => false,
        };
        if self.url.scheme() != "https" && !(self.url.scheme() == "http" && own) {
            bail!("`{}` would send the key in the clear: name an `https` address", self.url);
        }
        Ok(self.url.join(path)?)
    }

    fn key(&self, environment_key: Option<String>) -> anyhow::Result<Secret<String>> {
        let text = match &self.api_key_file {
            Some(path) => {
                let failed = || format!("the key file `{}` cannot be read", path.display());
                if std::fs::metadata(path).with_context(failed)?.len() > MAX_KEY_FILE {
                    bail!("the key file `{}` is too large for a key", path.display());
                }
                std::fs::read_to_string(path).with_context(failed)?
            }
            None => environment_key
                .context("an API key is needed: give `--api-key-file`, or set `CAXTON_API_KEY`")?,
        };
        Ok(Secret::new(text.trim().to_owned()))
    }
}

async fn read(mut response: reqwest::Response) -> anyhow::Result<Json> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > MAX_ANSWER {
            bail!("the answer is larger than {MAX_ANSWER} bytes");
        }
        body.extend_from_slice(&part);
    }
    if body.is_empty() {
        return Ok(Json::Null);
    }
    serde_json::from_slice(&body).context("the answer is not JSON: is this a Caxton gateway?")
}
