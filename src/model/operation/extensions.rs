//! What is asked about extensions of MCP: tasks (`io.modelcontextprotocol/tasks`, SEP-2663) and skills
//! (`io.modelcontextprotocol/skills`, SEP-2640).

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::mcp::{SEPARATOR, server_entity};
use super::{Operation, sealed, visit_fields};
use crate::model::{Action, Entity, EntityUid, EventType, JsonPointer, ServerName, ToolId, Value};

/// Work that goes on after the call of a tool was answered, as policies see it: `Caxton::Task`, with the id `<server>___<task>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRef {
    /// The tool whose call began it.
    pub tool: ToolId,
    /// The server's own name for the task.
    pub task: String,
    /// The principal whose call began it.
    pub owner: EntityUid,
    /// The labels of its session after the call.
    pub labels: Vec<String>,
}

impl TaskRef {
    fn entity(&self) -> Arc<Entity> {
        let server = self.tool.server();
        let id = format!("{server}{SEPARATOR}{}", self.task);
        Entity::bare(EntityUid::caxton("Task", &*id))
            .with("tool", Value::text(self.tool.as_str()))
            .with("server", Value::text(server))
            .in_parent(EntityUid::caxton("Tool", self.tool.as_str()))
            .in_parent(EntityUid::caxton("McpServer", server))
            .owned_by(&self.owner)
            .with("labels", Value::texts(self.labels.iter().map(String::as_str)))
            .into()
    }
}

/// What is done to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStep {
    /// Its state is read, and its result with it.
    Get,
    /// Its questions are answered.
    Update,
    /// It is to end.
    Cancel,
}

impl TaskStep {
    /// By its method.
    pub fn of_method(method: &str) -> Option<Self> {
        Some(match method {
            "tasks/get" => Self::Get,
            "tasks/update" => Self::Update,
            "tasks/cancel" => Self::Cancel,
            _ => return None,
        })
    }

    fn action(self) -> Action {
        match self {
            Self::Get => Action::TaskGet,
            Self::Update => Action::TaskUpdate,
            Self::Cancel => Action::TaskCancel,
        }
    }

    /// Its method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Get => "tasks/get",
            Self::Update => "tasks/update",
            Self::Cancel => "tasks/cancel",
        }
    }
}

/// Follow a task (`task:get`, `task:update`, `task:cancel`).
#[derive(Debug)]
pub struct FollowTask {
    /// The task.
    pub task: TaskRef,
    /// What is done.
    pub step: TaskStep,
    /// The other parameters, which go to the server as they came.
    pub rest: Map<String, Json>,
    /// The parts of the result that are masked: what was demanded of the call, and of this step.
    pub redact: Vec<JsonPointer>,
}

impl sealed::Sealed for FollowTask {}
impl Operation for FollowTask {
    const EVENT: EventType = EventType::Authorization;
    /// What the call brought comes with its task: the labels go on the session that receives it.
    const READS: bool = true;
    const REDACTS: bool = true;
    fn action(&self) -> Action {
        self.step.action()
    }
    fn resource(&self) -> Arc<Entity> {
        self.task.entity()
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit_fields(&self.rest, visit);
    }
    fn arguments(&self) -> Option<&Map<String, Json>> {
        Some(&self.rest)
    }
    fn redact(&mut self, pointers: Vec<JsonPointer>) {
        let answers = self.rest.get_mut("inputResponses").and_then(Json::as_object_mut);
        for answer in answers.into_iter().flat_map(|answers| answers.values_mut()) {
            let content = answer.get_mut("content");
            content.into_iter().for_each(|content| {
                for pointer in &pointers {
                    pointer.redact(content);
                }
            });
        }
        self.redact.extend(pointers);
    }
}

/// A step with a task that is none of the requester's, or is none any more. Only ever refused.
#[derive(Debug)]
pub struct FollowUnknownTask {
    /// What was to be done.
    pub step: TaskStep,
    /// The requester.
    pub owner: EntityUid,
}

impl sealed::Sealed for FollowUnknownTask {}
impl Operation for FollowUnknownTask {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        self.step.action()
    }
    fn resource(&self) -> Arc<Entity> {
        Entity::bare(EntityUid::caxton("Task", "unknown"))
            .with("tool", Value::text(""))
            .with("server", Value::text(""))
            .owned_by(&self.owner)
            .into()
    }
}

/// A skill of a server as policies see it: `Caxton::Skill`, with the id `<server>___<uri>`.
#[derive(Debug, Clone)]
pub struct SkillRef {
    /// The server.
    pub server: ServerName,
    /// The URI of its `SKILL.md`, as the server writes it.
    pub uri: String,
}

impl SkillRef {
    fn entity(&self) -> Arc<Entity> {
        let id = format!("{}{SEPARATOR}{}", self.server, self.uri);
        Entity::bare(EntityUid::caxton("Skill", &*id))
            .with("uri", Value::text(self.uri.as_str()))
            .with("server", Value::text(self.server.as_str()))
            .in_parent(server_entity(&self.server))
            .into()
    }
}

/// See one skill in a list (`skill:get`).
#[derive(Debug)]
pub struct SeeSkill {
    /// The skill.
    pub skill: SkillRef,
    /// Its place in the list.
    pub place: usize,
}

/// Get one skill (`skill:get`).
#[derive(Debug)]
pub struct GetSkill {
    /// The skill.
    pub skill: SkillRef,
    /// The other parameters, which go to the server as they came.
    pub rest: Map<String, Json>,
}

impl sealed::Sealed for SeeSkill {}
impl Operation for SeeSkill {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::SkillGet
    }
    fn resource(&self) -> Arc<Entity> {
        self.skill.entity()
    }
}

impl sealed::Sealed for GetSkill {}
impl Operation for GetSkill {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::SkillGet
    }
    fn resource(&self) -> Arc<Entity> {
        self.skill.entity()
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.skill.uri);
        visit_fields(&self.rest, visit);
    }
}
