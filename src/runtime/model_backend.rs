//! The backends that complete the turns of an agent: a language model behind an OpenAI-compatible endpoint, or a module in
//! the sandbox.
//!
//! Both are asked the same question in the same shape (chat completions), one turn at a time, so the loop that
//! carries out their calls is the same, and so are the checks on it.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::{Client, Url};
use serde_json::Value as Json;

use crate::authz::Permit;
use crate::model::{CallModel, EntityUid};
use crate::sandbox::{Module, Sandbox};
use crate::secret::{Address, Secret};

/// Settings of the language model.
pub struct ModelSettings {
    /// `https://host/v1`; plain `http` only to loopback, because the key would travel in the clear.
    pub base_url: Address,
    /// The bearer token.
    pub api_key: Option<Secret<String>>,
    /// The model's name, unless the agent names one.
    pub name: String,
    /// How long one turn may take. Default 60 s.
    pub timeout: Duration,
    /// The largest answer, in bytes. Default 1 MiB.
    pub max_response_bytes: usize,
}

/// Why the model's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Not an address.
    #[error("`model.base_url` is not a URL")]
    Url,
    /// The key would travel in the clear.
    #[error("`model.base_url` must be https, or http to this host")]
    Insecure,
    /// The client could not be made.
    #[error("the model's client could not be set up")]
    Client(#[source] reqwest::Error),
}

/// Why a turn brought no answer. The text is for the log, and for the caller as it stands.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackendError {
    #[error("the model could not be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the model answered with status {0}")]
    Status(u16),
    #[error("the model's answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the model's answer is not a chat completion")]
    Shape,
    #[error("the agent's module failed: {0}")]
    Module(#[from] crate::sandbox::SandboxError),
}

/// The address may have a key in it, so the error does not keep it.
fn unreachable(error: reqwest::Error) -> BackendError {
    BackendError::Unreachable(error.without_url())
}

/// A client of one language model.
pub struct LanguageModel {
    client: Client,
    url: Url,
    settings: ModelSettings,
}

impl LanguageModel {
    /// Checks the settings. No request is sent yet.
    pub fn new(settings: ModelSettings) -> Result<Self, SetupError> {
        let mut url = settings.base_url.expose().clone();
        // A query stays behind the path.
        url.path_segments_mut().map_err(|()| SetupError::Url)?.pop_if_empty().extend(["chat", "completions"]);
        let host = url.host_str().unwrap_or_default();
        let loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if url.scheme() != "https" && !(url.scheme() == "http" && loopback) {
            return Err(SetupError::Insecure);
        }
        let client = Client::builder()
            .timeout(settings.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(SetupError::Client)?;
        Ok(Self { client, url, settings })
    }

    /// The model's name, unless the agent names one.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    async fn complete(&self, request: &Json) -> Result<Json, BackendError> {
        let mut post = self.client.post(self.url.clone()).json(request);
        if let Some(key) = &self.settings.api_key {
            post = post.bearer_auth(key.expose());
        }
        let response = post.send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(BackendError::Status(response.status().as_u16()));
        }
        let limit = self.settings.max_response_bytes;
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(unreachable)?);
            if body.len() > limit {
                return Err(BackendError::TooLarge(limit));
            }
        }
        let answer = crate::json::parse(&body).map_err(|_| BackendError::Shape)?;
        answer.pointer("/choices/0/message").cloned().ok_or(BackendError::Shape)
    }
}

/// The backend of one agent.
pub(super) enum Backend<'a> {
    Model(&'a LanguageModel),
    Handler(&'a Sandbox, &'a Module),
}

/// One call that a completion asks for.
#[derive(Debug, Clone)]
pub(super) struct WantedCall {
    pub(super) id: String,
    pub(super) function: String,
    pub(super) arguments: String,
}

/// The answer of the backend to one turn.
#[derive(Debug)]
pub(super) struct Completion {
    /// The message as it goes back into the conversation.
    pub(super) message: Json,
    pub(super) content: String,
    pub(super) calls: Vec<WantedCall>,
}

impl Backend<'_> {
    /// Completes one turn. The request is that of the permit: what was judged is what is sent.
    pub(super) async fn complete(&self, permit: Permit<CallModel>) -> Result<Completion, BackendError> {
        let caller = guests_of(&permit);
        let request = permit.into_operation().request;
        let message = match self {
            Self::Model(model) => model.complete(&request).await?,
            Self::Handler(sandbox, module) => {
                let input = serde_json::to_vec(&request).map_err(|_| BackendError::Shape)?;
                sandbox.run(&caller, module, input).await?.output
            }
        };
        completion(&message).ok_or(BackendError::Shape)
    }
}

/// Whose guest the module of an agent is: of whoever asked the agent, so that one caller's messages wait for each other.
fn guests_of(permit: &Permit<CallModel>) -> EntityUid {
    let actor = permit.context().actor.as_ref().map(|actor| actor.principal.uid.clone());
    actor.unwrap_or_else(|| permit.subject().principal().clone())
}

fn completion(message: &Json) -> Option<Completion> {
    let fields = message.as_object()?;
    let content = fields.get("content").and_then(Json::as_str).unwrap_or_default().to_owned();
    let mut calls = Vec::new();
    for call in fields.get("tool_calls").and_then(Json::as_array).into_iter().flatten() {
        calls.push(WantedCall {
            id: call.get("id")?.as_str()?.to_owned(),
            function: call.pointer("/function/name")?.as_str()?.to_owned(),
            arguments: call.pointer("/function/arguments")?.as_str()?.to_owned(),
        });
    }
    // Only the fields read here go back: otherwise a message could bring a role of its own choosing into the conversation.
    let mut kept = serde_json::json!({ "role": "assistant", "content": content });
    if let (Some(list), Some(kept)) = (fields.get("tool_calls"), kept.as_object_mut())
        && !calls.is_empty()
    {
        kept.insert("tool_calls".to_owned(), list.clone());
    }
    Some(Completion { message: kept, content, calls })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(url: &str) -> Result<LanguageModel, SetupError> {
        LanguageModel::new(ModelSettings {
            base_url: url.parse().unwrap(),
            api_key: None,
            name: "m".to_owned(),
            timeout: Duration::from_secs(1),
            max_response_bytes: 1000,
        })
    }

    #[test]
    fn a_key_never_travels_in_the_clear() {
        assert!(matches!(setup("http://models.example/v1"), Err(SetupError::Insecure)));
        assert!(matches!(setup("ftp://127.0.0.1/v1"), Err(SetupError::Insecure)));
        assert_eq!(
            setup("https://m.example/v1/?key=a").unwrap().url.as_str(),
            "https://m.example/v1/chat/completions?key=a"
        );
        assert!(matches!(setup("mailto:models"), Err(SetupError::Url)));
    }

    #[test]
    fn a_message_cannot_choose_its_role() {
        let completion =
            completion(&serde_json::json!({ "role": "system", "content": "x", "name": "y" })).unwrap();
        assert_eq!(completion.message, serde_json::json!({ "role": "assistant", "content": "x" }));
    }
}
