//! What is asked of tools: to see one, to call one, and to call one that is not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::sealed;
use super::{Action, Entity, EntityUid, EventType, Input, Operation, Value, visit_fields};
use crate::model::{JsonPointer, ServerName, ToolId};

/// A tool as the live bundle knows it.
#[derive(Debug)]
pub struct ToolDescriptor {
    /// `<server>___<tool>`.
    pub id: ToolId,
    /// The `Caxton::Tool` entity, with hints, pin and labels.
    pub entity: Arc<Entity>,
    /// What its output carries; put on the session when a call is allowed.
    pub labels: BTreeSet<Arc<str>>,
}

/// Call a tool (`<server>___<tool>`, a member of `tool:call`).
#[derive(Debug)]
pub struct InvokeTool {
    /// The tool.
    pub tool: Arc<ToolDescriptor>,
    /// The arguments, valid under the tool's JSON Schema; these are what is sent.
    pub arguments: Map<String, Json>,
    /// The same arguments as Cedar types them.
    pub input: Value,
    /// The other parameters of the request (`_meta` among them), which go to the tool's server as they came.
    pub rest: Map<String, Json>,
    /// What is masked in the result; said by the permits that allowed the call.
    pub redact: Vec<JsonPointer>,
}

impl sealed::Sealed for InvokeTool {}
impl Operation for InvokeTool {
    const EVENT: EventType = EventType::ToolCall;
    const REDACTS: bool = true;
    fn action(&self) -> Action {
        Action::Tool(self.tool.id.clone())
    }
    fn resource(&self) -> Arc<Entity> {
        self.tool.entity.clone()
    }
    fn input(&self) -> Input {
        Input::Known(self.input.clone())
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit_fields(&self.arguments, visit);
        visit_fields(&self.rest, visit);
    }
    fn arguments(&self) -> Option<&Map<String, Json>> {
        Some(&self.arguments)
    }
    fn redact(&mut self, pointers: Vec<JsonPointer>) {
        let mut arguments = Json::Object(std::mem::take(&mut self.arguments));
        for pointer in &pointers {
            pointer.redact(&mut arguments);
        }
        if let Json::Object(masked) = arguments {
            self.arguments = masked;
        }
        self.redact = pointers;
    }
    fn tool(&self) -> Option<&ToolDescriptor> {
        Some(&self.tool)
    }
}

/// A tool call that cannot be made: there is no such tool, or it does not take these arguments. Only ever refused.
#[derive(Debug)]
pub struct InvalidToolCall {
    /// The name that was called.
    pub id: ToolId,
    /// The tool, where there is one. It is judged as if any arguments could still come, since these cannot be typed.
    pub tool: Option<Arc<ToolDescriptor>>,
}

impl sealed::Sealed for InvalidToolCall {}
impl Operation for InvalidToolCall {
    const EVENT: EventType = EventType::ToolCall;
    fn action(&self) -> Action {
        Action::Tool(self.id.clone())
    }
    fn resource(&self) -> Arc<Entity> {
        match &self.tool {
            Some(tool) => Arc::clone(&tool.entity),
            None => Entity::bare(EntityUid::caxton("Tool", self.id.shared())).into(),
        }
    }
    fn input(&self) -> Input {
        if self.tool.is_some() { Input::Open } else { Input::Absent }
    }
}

/// See one tool in a list: could any call of it be permitted? Releases its definition, never a call.
#[derive(Debug)]
pub struct SeeTool {
    /// The tool.
    pub tool: Arc<ToolDescriptor>,
}

impl sealed::Sealed for SeeTool {}
impl Operation for SeeTool {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::Tool(self.tool.id.clone())
    }
    fn resource(&self) -> Arc<Entity> {
        self.tool.entity.clone()
    }
    fn input(&self) -> Input {
        Input::Open
    }
}

/// See the tools that one server offers to the requester, approved or not (`tool:list` on the server).
#[derive(Debug)]
pub struct ReadOffered {
    /// The server.
    pub server: ServerName,
}

impl sealed::Sealed for ReadOffered {}
impl Operation for ReadOffered {
    const EVENT: EventType = EventType::Authorization;
    fn action(&self) -> Action {
        Action::ToolList
    }
    fn resource(&self) -> Arc<Entity> {
        Entity::bare(EntityUid::caxton("McpServer", self.server.as_str())).into()
    }
}
