//! Tasks: work of a tool that goes on after its call was answered (extension `io.modelcontextprotocol/tasks`, SEP-2663).
//!
//! Nothing of a task is kept here: its name is handed to the client sealed, and comes back with each step.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::authz::Permit;
use crate::mcp::{RpcError, check_name, extension};
use crate::model::{FollowTask, JsonPointer, ServerName, TaskStep};
use crate::text::clean_prose;

use super::error::ToolError;
use super::registry::{CallOptions, Registry};
use super::result::ToolResult;
use super::tool::Backend;
use super::upstream::Outgoing;

/// The longest name of a task that is taken, in bytes. It comes back in a header field.
const LONGEST_NAME: usize = 512;

/// The most characters of what a server says about the state of a task, which people read.
const LONGEST_MESSAGE: usize = 500;

/// What belongs to a result or to a round, and is nothing that a task has.
const NOT_OF_A_TASK: [&str; 7] =
    ["content", "structuredContent", "isError", "task", "requestState", "inputResponses", "resultType"];
/// The fields of a task in which nothing of a result can stand.
const PLAIN_FIELDS: [&str; 5] = ["status", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs"];

/// The states of a task.
const STATES: [&str; 5] = ["working", "input_required", "completed", "failed", "cancelled"];

/// A task that a call began.
#[derive(Debug)]
pub struct BegunTask {
    /// The server's own name for it.
    pub task: String,
    /// Its state as the server sent it, without that name.
    pub fields: Map<String, Json>,
    /// What the permits that allowed the call mask in its result.
    pub redact: Vec<JsonPointer>,
    /// The labels of the session after the call.
    pub labels: Vec<String>,
}

impl BegunTask {
    /// Takes the answer to a call apart. The error says what is wrong with it.
    pub(super) fn read(mut fields: Map<String, Json>, redact: &[JsonPointer]) -> Result<Self, &'static str> {
        let task = take_name(&mut fields)?;
        check_state(&fields)?;
        // A new task has neither: what is in them was not judged as a result or as a question.
        for key in ["result", "error", "inputRequests"] {
            fields.remove(key);
        }
        Ok(Self { task, fields: shown(fields, redact), redact: redact.to_vec(), labels: Vec::new() })
    }
}

/// A server's answer to a step.
#[derive(Debug, Default)]
pub struct TaskAnswer {
    /// What the server sent, without its name for the task and without the parts below.
    pub fields: Map<String, Json>,
    /// The result of the call, once there is one.
    pub result: Option<ToolResult>,
    /// The error that the call ended with.
    pub error: Option<RpcError>,
    /// Questions to the client, as the server sent them; each has to be judged before the client sees it.
    pub questions: Option<Json>,
}

impl TaskAnswer {
    /// Reads the state of the task `task`, and masks these parts of it.
    fn read(mut fields: Map<String, Json>, task: &str, redact: &[JsonPointer]) -> Result<Self, &'static str> {
        if take_name(&mut fields)? != task {
            return Err("it is about another task");
        }
        check_state(&fields)?;
        let result = match fields.remove("result") {
            Some(Json::Object(result)) => Some(read_result(result, redact)?),
            None => None,
            Some(_) => return Err("`result` is not an object"),
        };
        let error = match fields.remove("error") {
            None => None,
            Some(error) => {
                let read = serde_json::from_value(error);
                let error: RpcError = read.map_err(|_| "`error` is not an error of JSON-RPC")?;
                Some(withheld(error, redact))
            }
        };
        let questions = fields.remove("inputRequests");
        Ok(Self { fields: shown(fields, redact), result, error, questions })
    }
}

/// The result of a call, as a task carries it.
fn read_result(mut result: Map<String, Json>, redact: &[JsonPointer]) -> Result<ToolResult, &'static str> {
    if result.remove("resultType").is_some_and(|kind| kind != "complete") {
        return Err("`result` is not the result of a call");
    }
    for key in ["inputRequests", "requestState", "inputResponses", "task", "taskId"] {
        result.remove(key);
    }
    let mut result = ToolResult::from_mcp(result)?.redacted(redact);
    // Clients of the extension tell by it that the result is one.
    result.rest.insert("resultType".to_owned(), "complete".into());
    Ok(result)
}

/// What else is shown of a task. Where parts of its result are masked, no text of the server is: the parts may be in it.
fn shown(mut fields: Map<String, Json>, redact: &[JsonPointer]) -> Map<String, Json> {
    fields.retain(|key, _| !NOT_OF_A_TASK.contains(&key.as_str()));
    if !redact.is_empty() {
        fields.retain(|key, _| PLAIN_FIELDS.contains(&key.as_str()));
    }
    if let Some(Json::String(message)) = fields.get_mut("statusMessage") {
        *message = clean_prose(message).chars().take(LONGEST_MESSAGE).collect();
    }
    fields
}

/// An error of a server; without its text, where parts of the result are masked.
pub(super) fn withheld(error: RpcError, redact: &[JsonPointer]) -> RpcError {
    if redact.is_empty() { error } else { RpcError::new(error.code, "the text of the error is withheld") }
}

fn take_name(fields: &mut Map<String, Json>) -> Result<String, &'static str> {
    match fields.remove("taskId") {
        Some(Json::String(name)) if name.len() <= LONGEST_NAME && check_name(&name).is_ok() => Ok(name),
        _ => Err("`taskId` is not a plain name"),
    }
}

fn check_state(fields: &Map<String, Json>) -> Result<(), &'static str> {
    let state = fields.get("status").and_then(Json::as_str);
    if state.is_some_and(|state| STATES.contains(&state)) {
        Ok(())
    } else {
        Err("`status` is no state of a task")
    }
}

impl Registry {
    /// Carries out a step with a task. Its tool has to be there as it was approved.
    pub async fn follow_task(
        &self,
        permit: Permit<FollowTask>,
        options: CallOptions,
    ) -> Result<TaskAnswer, ToolError> {
        let caller = Arc::clone(permit.subject());
        let FollowTask { task, step, rest, redact } = permit.into_operation();
        let live = || self.get(&task.tool).filter(|tool| !tool.drifted());
        let tool = live().ok_or_else(|| ToolError::Changed(task.tool.clone()))?;
        let Backend::Upstream(upstream) = tool.backend() else {
            return Err(ToolError::Changed(task.tool.clone()));
        };
        if upstream.extension(extension::TASKS).is_none() {
            return Err(unusable(tool.server(), "it does not declare the extension"));
        }
        let mut params = rest;
        params.insert("taskId".to_owned(), task.task.as_str().into());
        let mut outgoing = Outgoing::new(step.method(), params);
        outgoing.tool = Some(&*tool);
        outgoing.events = options.events;
        let asked = upstream.request(outgoing, (&caller, options.client.as_ref()), || live().is_some());
        let mut fields = asked.await?;
        fields.remove("resultType");
        if step != TaskStep::Get {
            // An acknowledgement.
            return Ok(TaskAnswer::default());
        }
        let unusable = |why: &str| unusable(tool.server(), why);
        let answer = TaskAnswer::read(fields, &task.task, &redact).map_err(unusable)?;
        let limit = self.most_response_bytes();
        if answer.result.as_ref().is_some_and(|result| !result.fits(limit)) {
            return Err(ToolError::TooLarge { limit });
        }
        Ok(answer)
    }
}

/// An answer about a task that cannot be passed on.
pub(super) fn unusable(server: &ServerName, why: &str) -> ToolError {
    ToolError::Unusable { server: server.clone(), message: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mcp::object;

    #[test]
    fn a_state_is_read_apart_and_what_is_none_is_refused() {
        let read = |value: Json| TaskAnswer::read(object(value), "7", &[]);
        let done = read(json!({
            "taskId": "7", "status": "completed", "ttlMs": null, "later": 1, "requestState": "x",
            "result": { "content": [] },
        }))
        .unwrap();
        assert_eq!(Json::Object(done.fields), json!({ "status": "completed", "ttlMs": null, "later": 1 }));
        assert!(done.result.is_some() && done.error.is_none() && done.questions.is_none());
        let failed =
            read(json!({ "taskId": "7", "status": "failed", "error": { "code": -1, "message": "m" } }));
        assert_eq!(failed.unwrap().error.unwrap().code, -1);
        for (bad, why) in [
            (json!({ "status": "working" }), "`taskId` is not a plain name"),
            (json!({ "taskId": 7, "status": "working" }), "`taskId` is not a plain name"),
            (json!({ "taskId": "8", "status": "working" }), "it is about another task"),
            (json!({ "taskId": "7" }), "`status` is no state of a task"),
            (json!({ "taskId": "7", "status": "idle" }), "`status` is no state of a task"),
            (json!({ "taskId": "7", "status": "completed", "result": [] }), "`result` is not an object"),
            (json!({ "taskId": "7", "status": "completed", "result": {} }), "it has no `content`"),
            (
                json!({ "taskId": "7", "status": "completed", "result": { "content": [], "resultType": "input_required" } }),
                "`result` is not the result of a call",
            ),
            (
                json!({ "taskId": "7", "status": "failed", "error": "x" }),
                "`error` is not an error of JSON-RPC",
            ),
        ] {
            assert_eq!(read(bad.clone()).unwrap_err(), why, "{bad}");
        }
        for bad in [json!(""), json!("a\u{200b}b"), json!("x".repeat(513)), json!(null)] {
            let begun = BegunTask::read(object(json!({ "taskId": bad, "status": "working" })), &[]);
            assert!(begun.is_err(), "{bad}");
        }
        let begun =
            json!({ "taskId": "7", "status": "working", "result": {}, "inputRequests": {}, "ttlMs": 5 });
        let begun = BegunTask::read(object(begun), &[]).unwrap();
        assert_eq!(Json::Object(begun.fields), json!({ "status": "working", "ttlMs": 5 }));
    }

    /// The attack: a server, or an honest one with its progress, says beside the result what `@redact` masks in it.
    #[test]
    fn what_is_masked_in_a_result_stands_nowhere_else() {
        let masked = [JsonPointer::parse("/ssn").unwrap()];
        let secret = json!({ "ssn": "123-45" });
        let state = json!({
            "taskId": "7", "status": "completed", "ttlMs": 5, "statusMessage": "row 123-45", "later": secret,
            "_meta": secret, "structuredContent": secret, "content": [{ "type": "text", "text": "123-45" }],
            "result": { "content": [], "structuredContent": secret, "_meta": secret },
            "error": { "code": -1, "message": "123-45", "data": secret },
        });
        let begun = BegunTask::read(object(state.clone()), &masked).unwrap();
        assert_eq!(Json::Object(begun.fields), json!({ "status": "completed", "ttlMs": 5 }));
        let answer = TaskAnswer::read(object(state.clone()), "7", &masked).unwrap();
        let shown = format!("{answer:?}");
        assert!(!shown.contains("123-45"), "{shown}");
        assert_eq!(answer.result.unwrap().rest["resultType"], "complete");
        let open = TaskAnswer::read(object(state), "7", &[]).unwrap();
        assert!(open.fields.contains_key("later") && !open.fields.contains_key("structuredContent"));
        let long = json!({ "taskId": "7", "status": "working", "statusMessage": "x".repeat(1_000) });
        let long = BegunTask::read(object(long), &[]).unwrap();
        assert_eq!(long.fields["statusMessage"].as_str().unwrap().len(), LONGEST_MESSAGE);
    }
}
