//! Parameters of requests, and the rounds in which a server of version 2026-07-28 asks the client before it answers.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use tokio::sync::oneshot;

use super::Arrived;
use super::result;
use crate::mcp::{RpcError, code, extension};
use crate::model::{AskClient, PromptRef, ResourceRef, ServerName, ServerRequest, ToolId};
use crate::text::clean_prose;
use crate::tools::{Answered, FromServer, ServerEvents};

/// The most rounds of one request. More are a server that asks without end.
pub(super) const MOST_ROUNDS: usize = 10;
/// The most questions of one round.
const MOST_QUESTIONS: usize = 16;

/// The most of what a client says that it can do, in bytes of JSON. It is kept with a session, and goes to servers.
const MOST_CAPABILITIES: usize = 16 * 1024;

/// What a client can do: objects by name, with these extensions of those that it declares.
pub(super) fn capabilities(
    fields: &Map<String, Json>,
    extensions: &[&str],
) -> Result<Map<String, Json>, RpcError> {
    if !fields.values().all(Json::is_object) {
        return Err(RpcError::invalid_params("each capability must be an object"));
    }
    if serde_json::to_vec(fields).map_or(usize::MAX, |bytes| bytes.len()) > MOST_CAPABILITIES {
        return Err(RpcError::invalid_params(format!("capabilities have {MOST_CAPABILITIES} bytes at most")));
    }
    let mut passed_on = fields.clone();
    extension::keep(&mut passed_on, extensions);
    Ok(passed_on)
}

/// What a request asks a server for.
pub(super) struct Target {
    pub(super) server: ServerName,
    pub(super) what: What,
    pub(super) arguments: Map<String, Json>,
}

/// The thing that is asked for.
pub(super) enum What {
    Tool(ToolId),
    Prompt(PromptRef),
    Resource(ResourceRef),
}

impl What {
    /// The method, and the server's own name for the thing.
    fn method_and_name(&self) -> (&'static str, &str) {
        match self {
            Self::Tool(id) => ("tools/call", id.tool()),
            Self::Prompt(prompt) => ("prompts/get", &prompt.name),
            Self::Resource(resource) => ("resources/read", &resource.uri),
        }
    }
}

/// What became of a server's answer.
pub(super) enum Settled {
    /// It is the result.
    Complete(Map<String, Json>),
    /// The client is asked by the result of this request, and comes again.
    AskTheClient(Map<String, Json>),
    /// The client has been asked and has answered: the request goes to the server again with these parameters.
    Again(Map<String, Json>),
}

/// A text among the parameters.
pub(super) fn take_text(params: &mut Map<String, Json>, key: &str) -> Result<String, RpcError> {
    match params.remove(key) {
        Some(Json::String(text)) => Ok(text),
        _ => Err(RpcError::invalid_params(format!("`{key}` must be a string"))),
    }
}

/// An object among the parameters, which may be left out.
pub(super) fn take_object(
    params: &mut Map<String, Json>,
    key: &str,
) -> Result<Option<Map<String, Json>>, RpcError> {
    match params.remove(key) {
        Some(Json::Object(fields)) => Ok(Some(fields)),
        None => Ok(None),
        Some(_) => Err(RpcError::invalid_params(format!("`{key}` must be an object"))),
    }
}

pub(super) fn too_many_rounds() -> RpcError {
    RpcError::new(code::REFUSED, format!("the server asked in more than {MOST_ROUNDS} rounds"))
}

impl Arrived {
    /// Whose request a state belongs to: the principal, the address, the method, and what it asks for. None for arguments that have
    /// no canonical form: such a request has no rounds.
    fn bind(&self, target: &Target) -> Option<String> {
        let principal = self.caller.subject.principal().to_string();
        let scope = self.scope.only().map_or("", ServerName::as_str);
        let (method, name) = target.what.method_and_name();
        let asked = json!([principal, target.server.as_str(), method, name, target.arguments]);
        let digest = crate::json::sha256(&asked)?;
        Some(format!("{scope} {digest}"))
    }

    /// The parameters that go on, with the server's own state in the place of ours.
    pub(super) fn rest(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
        target: &Target,
    ) -> Result<Map<String, Json>, RpcError> {
        // A task would outlive the decision about it.
        params.remove("task");
        let answers = take_object(&mut params, "inputResponses")?;
        params.extend(answers.map(|answers| ("inputResponses".to_owned(), Json::Object(answers))));
        match params.remove("requestState") {
            None => {}
            Some(Json::String(sealed)) => {
                let binding = self.bind(target).unwrap_or_default();
                let state = self.api.mcp.seal.open(&sealed, &binding).map_err(|error| {
                    let data = json!({ "reason": "invalid_request_state" });
                    RpcError::invalid_params(error.to_string()).with_data(data)
                })?;
                params.extend(state.map(|state| ("requestState".to_owned(), state.into())));
            }
            Some(_) => return Err(RpcError::invalid_params("`requestState` must be a string")),
        }
        Ok(self.with_meta(params, own))
    }

    /// Takes a server's answer: a result, or questions that the policies let it ask.
    pub(super) async fn settle(
        &self,
        answer: Answered<Map<String, Json>>,
        target: &Target,
        events: Option<&ServerEvents>,
    ) -> Result<Settled, RpcError> {
        let round = match answer {
            Answered::Complete(result) => return Ok(Settled::Complete(result)),
            Answered::InputRequired(round) => round,
            Answered::Task(task) => return self.hand_out(task, target).map(Settled::Complete),
        };
        if self.era.is_stateless() {
            self.ask_in_result(round, target).await.map(Settled::AskTheClient)
        } else {
            self.ask_in_stream(round, &target.server, events).await.map(Settled::Again)
        }
    }

    /// The questions as the result for a client of 2026-07-28, with the state sealed.
    async fn ask_in_result(
        &self,
        mut round: Map<String, Json>,
        target: &Target,
    ) -> Result<Map<String, Json>, RpcError> {
        let questions = take_questions(&mut round)?;
        let questions = self.judged_questions(questions, &target.server).await?;
        let state = match round.remove("requestState") {
            Some(Json::String(state)) => Some(state),
            None => None,
            Some(_) => return Err(unusable()),
        };
        let binding = self.bind(target).ok_or_else(unusable)?;
        let sealed = self.api.mcp.seal.close(state, &binding).ok_or_else(unusable)?;
        round.insert("inputRequests".to_owned(), Json::Object(questions));
        round.insert("requestState".to_owned(), sealed.into());
        round.insert("resultType".to_owned(), "input_required".into());
        Ok(round)
    }

    /// The questions that a server of 2026-07-28 asks in an answer, as the client has them: each is decided, and names the server.
    pub(super) async fn judged_questions(
        &self,
        mut questions: Questions,
        server: &ServerName,
    ) -> Result<Map<String, Json>, RpcError> {
        for question in questions.values_mut() {
            let (request, params) = read_question(question)?;
            let operation = AskClient { server: server.clone(), request, params };
            let permit = self.api.effects.ask_client(self.caller.asker(), operation).await;
            let AskClient { params, .. } = permit.map_err(result::refused)?.into_operation();
            let params = named(request, server, params);
            if !params.is_empty() {
                question.insert("params".to_owned(), Json::Object(params));
            }
        }
        Ok(questions.into_iter().map(|(key, question)| (key, Json::Object(question))).collect())
    }

    /// The questions as requests on the stream of an earlier version, and the answers as parameters of the next round.
    async fn ask_in_stream(
        &self,
        mut round: Map<String, Json>,
        server: &ServerName,
        events: Option<&ServerEvents>,
    ) -> Result<Map<String, Json>, RpcError> {
        let Some(events) = events else {
            return Err(RpcError::new(
                code::REFUSED,
                "the server sent a request to the client, which does not accept an event stream",
            ));
        };
        let mut answers = Map::new();
        for (key, mut question) in take_questions(&mut round)? {
            let (_, params) = read_question(&mut question)?;
            let Some(Json::String(method)) = question.remove("method") else { return Err(unusable()) };
            let (reply, answer) = oneshot::channel();
            let request = FromServer::Request { server: server.clone(), method, params, reply };
            let unanswered =
                || RpcError::new(code::REFUSED, "the client did not answer the server's question");
            events.send(request).await.map_err(|_| unanswered())?;
            let answer = answer.await.map_err(|_| unanswered())??;
            answers.insert(key, Json::Object(answer));
        }
        let mut again = Map::new();
        again.insert("inputResponses".to_owned(), Json::Object(answers));
        again.extend(round.remove("requestState").map(|state| ("requestState".to_owned(), state)));
        Ok(again)
    }
}

/// The questions of a round, by the server's key for each.
pub(super) type Questions = BTreeMap<String, Map<String, Json>>;

fn take_questions(round: &mut Map<String, Json>) -> Result<Questions, RpcError> {
    read_questions(round.remove("inputRequests"))
}

/// `inputRequests` as a server sent them.
pub(super) fn read_questions(found: Option<Json>) -> Result<Questions, RpcError> {
    let found = match found {
        None => return Ok(Questions::new()),
        Some(Json::Object(found)) if found.len() <= MOST_QUESTIONS => found,
        Some(_) => return Err(unusable()),
    };
    let mut questions = Questions::new();
    for (key, question) in found {
        let Json::Object(question) = question else { return Err(unusable()) };
        questions.insert(key, question);
    }
    Ok(questions)
}

fn read_question(question: &mut Map<String, Json>) -> Result<(ServerRequest, Map<String, Json>), RpcError> {
    let request = question.get("method").and_then(Json::as_str).and_then(ServerRequest::of_method);
    let request = request.ok_or_else(unusable)?;
    Ok((request, take_object(question, "params").map_err(|_| unusable())?.unwrap_or_default()))
}

/// The question as the client shows it: a person sees which server asks, and nothing that looks like another question.
pub(super) fn named(
    request: ServerRequest,
    server: &ServerName,
    mut params: Map<String, Json>,
) -> Map<String, Json> {
    if request == ServerRequest::Elicitation {
        for (key, value) in &mut params {
            if !DATA.contains(&key.as_str()) {
                clean(value);
            }
        }
        if let Some(Json::String(message)) = params.get_mut("message") {
            *message = format!("{server}: {}", message.trim_start());
        }
    }
    params
}

/// Keys of a question whose values come back as they are.
const DATA: [&str; 6] = ["enum", "const", "default", "pattern", "url", "elicitationId"];

/// Puts a mark in the place of what a person would not see.
fn clean(value: &mut Json) {
    match value {
        Json::String(text) => *text = clean_prose(text),
        Json::Array(items) => items.iter_mut().for_each(clean),
        Json::Object(fields) => {
            for (key, value) in fields {
                if !DATA.contains(&key.as_str()) {
                    clean(value);
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn unusable() -> RpcError {
    RpcError::new(code::REFUSED, "the server sent the client a request that this gateway cannot forward")
}
