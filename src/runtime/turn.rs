//! One answer of an agent: think, carry out what is wanted through the gate, think again, within bounds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::functions::{Function, Functions, arguments};
use super::gate::{Gate, GateError, NewEntity};
use super::mind::{LanguageModel, Mind, WantedCall};
use crate::agents::Agent;
use crate::messages::{Delivery, Line};
use crate::model::{Actor, CallModel, Meter, Performative, Proof, RequestContext, Subject};
use crate::sandbox::Sandbox;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::StatusLabels;

/// Bounds of one answer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often the mind is asked for one answer. Default 8.
    pub max_turns: usize,
    /// The most calls carried out for one answer. Default 20.
    pub max_calls: usize,
    /// How long one answer may take. Default 2 minutes.
    pub deadline: Duration,
    /// The longest result of a call that is shown to the mind, in bytes. Default 64 KiB.
    pub max_result_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_turns: 8, max_calls: 20, deadline: Duration::from_secs(120), max_result_bytes: 64 * 1024 }
    }
}

/// What the agent answered.
#[derive(Debug)]
pub struct Reply {
    /// `inform`, `refuse` (it may or can not) or `failure`.
    pub performative: Performative,
    /// The text.
    pub content: String,
}

impl Reply {
    fn refuse(content: impl Into<String>) -> Self {
        Self { performative: Performative::Refuse, content: content.into() }
    }

    fn failure(content: impl Into<String>) -> Self {
        Self { performative: Performative::Failure, content: content.into() }
    }
}

/// Wakes agents.
pub struct Runtime {
    gate: Arc<Gate>,
    sandbox: Sandbox,
    model: Option<LanguageModel>,
    settings: Settings,
    metrics: Arc<Metrics>,
}

/// Who acts in one answer, and in what circumstances.
struct Acting<'a> {
    agent: &'a Agent,
    subject: Arc<Subject>,
    context: Arc<RequestContext>,
}

impl Runtime {
    /// A runtime; with no model, only agents with a module answer.
    pub fn new(
        gate: Arc<Gate>,
        sandbox: Sandbox,
        model: Option<LanguageModel>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { gate, sandbox, model, settings, metrics }
    }

    /// Delivers a message and brings the agent's answer, which stands in the conversation when this returns.
    pub async fn converse(
        &self,
        delivery: Delivery,
        agent: &Agent,
        sender: &Arc<Subject>,
        context: &Arc<RequestContext>,
    ) -> Result<Arc<Line>, GateError> {
        let acting = Acting {
            agent,
            subject: Arc::new(Subject::agent(agent.id(), Proof::Internal)),
            context: Arc::new(RequestContext {
                session: Some(delivery.session()),
                actor: Some(actor(sender, context)),
                // The agent has a quota of its own, which says nothing about the caller's.
                meter: Meter::default(),
                ..RequestContext::clone(context)
            }),
        };
        let asker = (&acting.subject, &acting.context);
        self.gate.show(asker, &delivery).await?;
        let answering = self.answer(&acting, &delivery.history);
        let reply = match tokio::time::timeout(self.settings.deadline, answering).await {
            Ok(reply) => reply,
            Err(_) => Reply::failure("the agent took too long to answer"),
        };
        let status = match reply.performative {
            Performative::Inform => "answered",
            Performative::Refuse => "refused",
            _ => "failed",
        };
        self.metrics.agent_executions.get_or_create(&StatusLabels { status }).inc();
        self.gate.reply(delivery, (reply.performative, reply.content), asker, (sender, context)).await
    }

    async fn answer(&self, acting: &Acting<'_>, history: &[Arc<Line>]) -> Reply {
        let agent = acting.agent;
        let (mind, name) = match (&agent.handler, &self.model) {
            (Some(module), _) => (Mind::Handler(&self.sandbox, module), format!("handler:{}", module.name())),
            (None, Some(model)) => {
                let name = agent.definition.model.clone().unwrap_or_else(|| model.name().to_owned());
                (Mind::Model(model), name)
            }
            (None, None) => {
                return Reply::refuse(format!(
                    "agent `{}` cannot answer: no language model is configured (`model.base_url`) and the agent names no handler",
                    agent.id()
                ));
            }
        };
        let functions = match self.functions(acting).await {
            Ok(functions) => functions,
            Err(error) => return self.refused(&error),
        };
        let mut messages = opening(agent, history);
        let mut calls_left = self.settings.max_calls;
        for _ in 0..self.settings.max_turns {
            let operation =
                CallModel { model: name.as_str().into(), request: request(&name, &messages, &functions) };
            let permit = match self.gate.guard().admit(&acting.subject, operation, &acting.context).await {
                Ok(permit) => permit,
                Err(denied) => return self.refused(&denied.into()),
            };
            let thought = match mind.think(permit).await {
                Ok(thought) => thought,
                Err(error) => {
                    tracing::warn!(agent = %agent.id(), error = &error as &dyn std::error::Error, "an agent's turn failed");
                    return Reply::failure(error.to_string());
                }
            };
            if thought.calls.is_empty() {
                return Reply { performative: Performative::Inform, content: thought.content };
            }
            messages.push(thought.message);
            for call in thought.calls {
                if calls_left == 0 {
                    return Reply::failure(format!(
                        "the agent wanted more than {} calls",
                        self.settings.max_calls
                    ));
                }
                calls_left -= 1;
                let result = self.carry_out(acting, &functions, &call).await;
                messages
                    .push(json!({ "role": "tool", "tool_call_id": call.id, "content": self.shown(&result) }));
            }
        }
        Reply::failure(format!("the agent did not come to an end in {} turns", self.settings.max_turns))
    }

    async fn functions(&self, acting: &Acting<'_>) -> Result<Functions, GateError> {
        let plan = &acting.agent.definition;
        if plan.tools.is_empty() {
            return Ok(Functions::new(&[], plan.memory.enabled));
        }
        let mut tools = self.gate.list_tools((&acting.subject, &acting.context)).await?;
        tools.retain(|tool| plan.tools.contains(tool.id()));
        Ok(Functions::new(&tools, plan.memory.enabled))
    }

    /// One call, as the agent. What goes wrong is told to the mind, which may try something else.
    async fn carry_out(&self, acting: &Acting<'_>, functions: &Functions, call: &WantedCall) -> Json {
        let outcome = match (functions.find(&call.function), arguments(&call.arguments)) {
            (None, _) => return json!({ "error": "there is no such function" }),
            (_, Err(message)) => return json!({ "error": message }),
            (Some(function), Ok(arguments)) => self.call(acting, function, arguments).await,
        };
        outcome.unwrap_or_else(|error| match error {
            GateError::Denied(denied) => json!({
                "denied": denied.caller_text.as_deref().unwrap_or("this is not allowed"),
                "decision_id": denied.decision,
            }),
            other => json!({ "error": other.to_string() }),
        })
    }

    async fn call(
        &self,
        acting: &Acting<'_>,
        function: &Function,
        arguments: serde_json::Map<String, Json>,
    ) -> Result<Json, GateError> {
        let asker = (&acting.subject, &acting.context);
        let scope = acting.agent.definition.memory.scope.clone();
        let text = |name: &str| arguments.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        match function {
            Function::Tool(id) => {
                let (result, _) = self.gate.call_tool(asker, id, arguments).await?;
                let content = result.structured.unwrap_or(Json::Array(result.content));
                Ok(if result.is_error { json!({ "error": content }) } else { content })
            }
            Function::MemoryWrite => {
                let observations = arguments.get("observations").and_then(Json::as_array);
                let texts = observations.into_iter().flatten().filter_map(Json::as_str).map(str::to_owned);
                let new = NewEntity {
                    name: text("name"),
                    kind: text("kind"),
                    labels: BTreeSet::new(),
                    observations: texts.collect(),
                };
                let (entity, _) = self.gate.write_entity(asker, scope, new).await?;
                Ok(json!({ "remembered": entity.name }))
            }
            Function::MemorySearch => {
                let found = self.gate.search(asker, scope, text("words"), 10).await?;
                Ok(json!({ "found": found }))
            }
            Function::MemoryRead => {
                let found = self.gate.read_entity(asker, scope, &text("name")).await?;
                Ok(json!({ "entity": found }))
            }
        }
    }

    /// The result as text, cut at the bound where it is longer.
    fn shown(&self, result: &Json) -> String {
        let mut text = result.to_string();
        let mut end = self.settings.max_result_bytes;
        if text.len() > end {
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str(" … (cut)");
        }
        text
    }

    fn refused(&self, error: &GateError) -> Reply {
        match error {
            GateError::Denied(denied) => {
                let why = denied.caller_text.as_deref().unwrap_or("the agent is not allowed to do this");
                Reply::refuse(match denied.decision {
                    Some(decision) => format!("{why} (decision {decision})"),
                    None => "the gateway cannot record decisions at the moment".to_owned(),
                })
            }
            other => Reply::failure(other.to_string()),
        }
    }
}

/// Who an agent's turn is for: the first that asked, else the sender, which is then the first.
fn actor(sender: &Subject, context: &RequestContext) -> Actor {
    let first = || Actor { principal: sender.entity().clone(), scopes: BTreeSet::new() };
    context.actor.clone().unwrap_or_else(first)
}

fn opening(agent: &Agent, history: &[Arc<Line>]) -> Vec<Json> {
    let own = agent.entity().uid.to_string();
    let mut messages = vec![json!({ "role": "system", "content": agent.definition.instructions })];
    messages.extend(history.iter().map(|line| {
        let role = if *line.sender == *own { "assistant" } else { "user" };
        json!({ "role": role, "content": line.content })
    }));
    messages
}

fn request(model: &str, messages: &[Json], functions: &Functions) -> Json {
    let mut request = json!({ "model": model, "messages": messages });
    if let (false, Some(fields)) = (functions.offered().is_empty(), request.as_object_mut()) {
        fields.insert("tools".to_owned(), Json::Array(functions.offered().to_vec()));
    }
    request
}
