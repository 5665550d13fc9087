//! Tasks: work of a tool that goes on after its call was answered (extension `io.modelcontextprotocol/tasks`, SEP-2663).
//!
//! Nothing of a task is kept here: its name is handed to the client sealed, and comes back with each step.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::authz::Permit;
use crate::mcp::{RpcError, check_name};
use crate::model::{FollowTask, JsonPointer, ServerName, TaskStep};

use super::error::ToolError;
use super::registry::{CallOptions, Registry};
use super::result::ToolResult;
use super::tool::Backend;
use super::upstream::Outgoing;

/// The longest name of a task that is taken, in bytes. It comes back in a header field.
const LONGEST_NAME: usize = 512;

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
}

impl BegunTask {
    /// Takes the answer to a call apart. The error says what is wrong with it.
    pub(super) fn read(mut fields: Map<String, Json>, redact: &[JsonPointer]) -> Result<Self, &'static str> {
        let task = take_name(&mut fields)?;
        check_state(&fields)?;
        // A new task has neither: what is in them was not judged as a result or as a question.
        for key in ["result", "error", "inputRequests", "requestState"] {
            fields.remove(key);
        }
        Ok(Self { task, fields, redact: redact.to_vec() })
    }
}

/// A server's answer to a step.
#[derive(Debug)]
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
    /// Reads the state of the task `task`.
    fn read(mut fields: Map<String, Json>, task: &str) -> Result<Self, &'static str> {
        if take_name(&mut fields)? != task {
            return Err("it is about another task");
        }
        check_state(&fields)?;
        fields.remove("requestState");
        let result = match fields.remove("result") {
            Some(Json::Object(result)) => Some(ToolResult::from_mcp(result)?),
            None => None,
            Some(_) => return Err("`result` is not an object"),
        };
        let error = match fields.remove("error") {
            None => None,
            Some(error) => {
                Some(serde_json::from_value(error).map_err(|_| "`error` is not an error of JSON-RPC")?)
            }
        };
        let questions = fields.remove("inputRequests");
        Ok(Self { fields, result, error, questions })
    }
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
            return Ok(TaskAnswer { fields: Map::new(), result: None, error: None, questions: None });
        }
        let unusable = |why: &str| unusable(tool.server(), why);
        let mut answer = TaskAnswer::read(fields, &task.task).map_err(unusable)?;
        let limit = self.most_response_bytes();
        if answer.result.as_ref().is_some_and(|result| !result.fits(limit)) {
            return Err(ToolError::TooLarge { limit });
        }
        answer.result = answer.result.map(|result| result.redacted(&redact));
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
        let read = |value: Json| TaskAnswer::read(object(value), "7");
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
}
