//! Extensions of the protocol: tasks (SEP-2663), skills (SEP-2640) and, in what `_meta` of tools says, apps (SEP-1865).
//!
//! A task belongs to the principal whose call began it. Nothing of it is kept here: the client gets the server's name for it
//! sealed, bound to the principal and to the address, and with it what the permits of the call mask in the result.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::Arrived;
use super::params::{self, Target, What};
use super::result;
use crate::mcp::{RpcError, code, extension, one_field};
use crate::model::{
    Delegate, FollowTask, GetSkill, JsonPointer, ReadResource, ReasonCode, ServerName, TaskRef, TaskStep,
    ToolId,
};
use crate::tools::{BegunTask, TaskAnswer};

/// How long a task can be followed, where its server names no time or a longer one.
const LONGEST_TASK: Duration = Duration::from_secs(24 * 60 * 60);

/// What is sealed into the name of a task.
#[derive(Serialize, Deserialize)]
struct SealedTask {
    tool: ToolId,
    task: String,
    redact: Vec<String>,
    labels: Vec<String>,
}

impl Arrived {
    /// The extensions that are passed on, as the servers behind the address declare them. Apps are declared by clients.
    pub(super) fn extensions(&self) -> Map<String, Json> {
        let mut found = Map::new();
        if self.has_tasks() {
            found.insert(extension::TASKS.to_owned(), json!({}));
        }
        if self.has_skills() {
            let directories = self.has_directories();
            let declared = if directories { json!({ "directoryRead": true }) } else { json!({}) };
            found.insert(extension::SKILLS.to_owned(), declared);
        }
        found
    }

    pub(super) fn has_tasks(&self) -> bool {
        let tools = self.api.effects.tools();
        self.era.is_stateless() && tools.has_extension(self.scope.only(), extension::TASKS)
    }

    pub(super) fn has_skills(&self) -> bool {
        self.api.effects.tools().has_extension(self.scope.only(), extension::SKILLS)
    }

    pub(super) fn has_directories(&self) -> bool {
        self.api.effects.tools().has_directories(self.scope.only())
    }

    // ---- tasks ----

    /// Whose task it is: the principal's, and of who acts for it, at this address.
    fn task_binding(&self) -> String {
        let scope = self.scope.only().map_or("", ServerName::as_str);
        let subject = &self.caller.subject;
        let acting: Vec<String> = subject.delegation().iter().map(Delegate::id).collect();
        json!(["task", scope, subject.principal().to_string(), acting]).to_string()
    }

    /// A task that a call began, as the client has it.
    pub(super) fn hand_out(&self, begun: BegunTask, target: &Target) -> Result<Map<String, Json>, RpcError> {
        let unusable =
            || RpcError::new(code::REFUSED, "the server started a task that this gateway cannot forward");
        let What::Tool(tool) = &target.what else { return Err(unusable()) };
        let BegunTask { task, mut fields, redact, labels } = begun;
        let redact = redact.iter().map(|pointer| pointer.as_str().to_owned()).collect();
        let sealed = SealedTask { tool: tool.clone(), task, redact, labels };
        let text = serde_json::to_string(&sealed).map_err(|_| unusable())?;
        let life = fields.get("ttlMs").and_then(Json::as_u64).map_or(LONGEST_TASK, Duration::from_millis);
        let name = self.api.mcp.seal.close_for(life.min(LONGEST_TASK), Some(text), &self.task_binding());
        fields.insert("taskId".to_owned(), name.ok_or_else(unusable)?.into());
        fields.insert("resultType".to_owned(), "task".into());
        Ok(result::without_forged(fields))
    }

    /// The task that a client means by its name.
    fn named_task(&self, name: &str) -> Result<(TaskRef, Vec<JsonPointer>), RpcError> {
        let unknown =
            || RpcError::invalid_params("there is no such task").with_data(json!({ "taskId": name }));
        let state = self.api.mcp.seal.open(name, &self.task_binding()).ok().flatten().ok_or_else(unknown)?;
        let sealed: SealedTask = crate::json::parse_as(state.as_bytes()).map_err(|_| unknown())?;
        let redact = sealed.redact.iter().map(|text| JsonPointer::parse(text)).collect::<Result<_, _>>();
        let owner = self.caller.subject.principal().clone();
        let SealedTask { tool, task, labels, .. } = sealed;
        Ok((TaskRef { tool, task, owner, labels }, redact.map_err(|_| unknown())?))
    }

    /// `tasks/get`, `tasks/update` and `tasks/cancel`.
    pub(super) async fn follow_task(
        &self,
        method: &str,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
    ) -> Result<Map<String, Json>, RpcError> {
        let options = self.options(None);
        if !options.follows_tasks() {
            let needed = json!({ "requiredCapabilities": { "extensions": { (extension::TASKS): {} } } });
            let message = "the request needs a client that declares the extension of tasks";
            return Err(RpcError::new(code::MISSING_CAPABILITY, message).with_data(needed));
        }
        let step = TaskStep::of_method(method).ok_or_else(|| RpcError::method_not_found(method))?;
        let name = params::take_text(&mut params, "taskId")?;
        let (task, redact) = match self.named_task(&name) {
            Ok(found) => found,
            Err(unknown) => {
                let denied = self.api.effects.refuse_task(self.caller.asker(), step).await;
                let is_unknown = denied.reason == ReasonCode::TaskUnknown;
                return Err(if is_unknown { unknown } else { result::refused(denied.into()) });
            }
        };
        let answers = params::take_object(&mut params, "inputResponses")?;
        params.extend(answers.map(|answers| ("inputResponses".to_owned(), Json::Object(answers))));
        // It is between the server and the client of a round, and a task has none.
        params.remove("requestState");
        let server = task.tool.server().to_owned();
        let operation = FollowTask { task, step, rest: self.with_meta(params, own), redact };
        let asked = self.api.effects.follow_task(self.caller.asker(), operation, options).await;
        let (answer, decision) = asked.map_err(result::refused)?;
        if step != TaskStep::Get {
            return Ok(Map::new());
        }
        let server =
            ServerName::parse(&server).map_err(|_| RpcError::invalid_params("there is no such task"))?;
        let mut state = self.task_state(answer, &server, name).await?;
        result::add_meta(&mut state, "caxton/decision_id", decision.to_string().into());
        Ok(state)
    }

    async fn task_state(
        &self,
        answer: TaskAnswer,
        server: &ServerName,
        name: String,
    ) -> Result<Map<String, Json>, RpcError> {
        let TaskAnswer { fields, result, error, questions } = answer;
        let mut state = result::without_forged(fields);
        if let Some(found) = result {
            let mut shown = result::of_call(found);
            self.scope.show_uris(server, &mut shown);
            state.insert("result".to_owned(), Json::Object(shown));
        }
        if let Some(error) = error {
            let shown = serde_json::to_value(result::of_server(error));
            state.extend(shown.ok().map(|error| ("error".to_owned(), error)));
        }
        if questions.is_some() {
            let questions = params::read_questions(questions)?;
            let questions = self.judged_questions(questions, server).await?;
            state.insert("inputRequests".to_owned(), Json::Object(questions));
        }
        state.insert("taskId".to_owned(), name.into());
        Ok(state)
    }

    // ---- skills ----

    pub(super) async fn list_skills(&self) -> Result<Map<String, Json>, RpcError> {
        let listed = self.api.effects.list_skills(self.caller.asker(), self.scope.only()).await;
        let mut skills = Vec::new();
        for (server, mut skill) in listed.map_err(result::refused)? {
            self.show_skill(&server, &mut skill);
            skills.push(skill);
        }
        Ok(one_field("skills", skills))
    }

    pub(super) async fn get_skill(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
    ) -> Result<Map<String, Json>, RpcError> {
        let uri = params::take_text(&mut params, "uri")?;
        let skill = self.scope.skill(&uri)?;
        let server = skill.server.clone();
        let operation = GetSkill { skill, rest: self.with_meta(params, own) };
        let asked = self.api.effects.get_skill(self.caller.asker(), operation, self.options(None)).await;
        let mut found =
            result::without_forged(asked.map_err(|error| result::resource_refused(error, &uri, &self.era))?);
        if let Some(skill) = found.get_mut("skill") {
            self.show_skill(&server, skill);
        }
        Ok(found)
    }

    /// Writes the URIs of a skill and of its files as this address has them.
    fn show_skill(&self, server: &ServerName, skill: &mut Json) {
        self.scope.show_uri(server, skill);
        let files = skill.get_mut("resources").and_then(Json::as_array_mut);
        files.into_iter().flatten().for_each(|file| self.scope.show_uri(server, file));
    }

    /// `resources/directory/read`.
    pub(super) async fn read_directory(
        &self,
        mut params: Map<String, Json>,
        own: Map<String, Json>,
    ) -> Result<Map<String, Json>, RpcError> {
        let uri = params::take_text(&mut params, "uri")?;
        let resource = self.scope.resource(&uri, false)?;
        let server = resource.server.clone();
        let operation = ReadResource { resource, rest: self.with_meta(params, own) };
        let asked = self.api.effects.read_directory(self.caller.asker(), operation, self.options(None)).await;
        let (mut entries, rest) = asked.map_err(|error| result::resource_refused(error, &uri, &self.era))?;
        entries.iter_mut().for_each(|entry| self.scope.show_uri(&server, entry));
        let mut found = result::without_forged(rest);
        found.insert("resources".to_owned(), Json::Array(entries));
        Ok(found)
    }
}
