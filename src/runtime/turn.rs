//! One answer of an agent: complete a turn, carry out its calls through the guard, complete the next, within bounds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::effects::{EffectError, Effects, NewEntity};
use super::functions::{Function, Functions, arguments};
use super::model_backend::{Backend, LanguageModel, WantedCall};
use crate::agents::Agent;
use crate::messages::{Delivery, Message};
use crate::model::{Actor, CallModel, Meter, Performative, Proof, RequestContext, Subject};
use crate::sandbox::Sandbox;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::StatusLabels;

/// Bounds of one answer.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most completions for one answer. Default 8.
    pub max_turns: usize,
    /// The most calls carried out for one answer. Default 20.
    pub max_calls: usize,
    /// How long one answer may take. Default 2 minutes.
    pub deadline: Duration,
    /// The longest result of a call that the backend receives, in bytes. Default 64 KiB.
    pub max_result_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_turns: 8, max_calls: 20, deadline: Duration::from_secs(120), max_result_bytes: 64 * 1024 }
    }
}

/// The answer of an agent.
#[derive(Debug)]
pub struct Reply {
    /// `inform`, `refuse` (not allowed or not able) or `failure`.
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

/// Wakes agents and returns their answers.
pub struct Runtime {
    effects: Arc<Effects>,
    sandbox: Sandbox,
    model: Option<LanguageModel>,
    settings: Settings,
    metrics: Arc<Metrics>,
}

/// The agent of one answer, its subject and its request context.
struct ActingAgent<'a> {
    agent: &'a Agent,
    subject: Arc<Subject>,
    context: Arc<RequestContext>,
}

impl Runtime {
    /// A runtime; with no model, only agents with a module answer.
    pub fn new(
        effects: Arc<Effects>,
        sandbox: Sandbox,
        model: Option<LanguageModel>,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { effects, sandbox, model, settings, metrics }
    }

    /// Delivers a message and brings the agent's answer, which stands in the conversation when this returns.
    pub async fn converse(
        &self,
        delivery: Delivery,
        agent: &Agent,
        sender: &Arc<Subject>,
        context: &Arc<RequestContext>,
    ) -> Result<Arc<Message>, EffectError> {
        let acting = ActingAgent {
            agent,
            subject: Arc::new(Subject::agent(agent.id(), Proof::Internal)),
            context: Arc::new(RequestContext {
                session: Some(delivery.session()),
                actor: Some(actor(sender, context)),
                // The quota of the agent is its own and does not show in the answer to the caller.
                meter: Meter::default(),
                ..RequestContext::clone(context)
            }),
        };
        let caller = (&acting.subject, &acting.context);
        self.effects.show(caller, &delivery).await?;
        let answering = self.answer(&acting, &delivery.history);
        let reply = match tokio::time::timeout(self.settings.deadline, answering).await {
            Ok(reply) => reply,
            Err(_) => Reply::failure("the agent took too long to answer"),
        };
        let status = match reply.performative {
            Performative::Inform => "answered",
            Performative::Refuse => "refused",
            _ => "error",
        };
        self.metrics.agent_executions.get_or_create(&StatusLabels { status }).inc();
        self.effects.reply(delivery, (reply.performative, reply.content), caller, (sender, context)).await
    }

    async fn answer(&self, acting: &ActingAgent<'_>, history: &[Arc<Message>]) -> Reply {
        let agent = acting.agent;
        let (backend, name) = match (&agent.handler, &self.model) {
            (Some(module), _) => {
                (Backend::Handler(&self.sandbox, module), format!("handler:{}", module.name()))
            }
            (None, Some(model)) => {
                let name = agent.definition.model.clone().unwrap_or_else(|| model.name().to_owned());
                (Backend::Model(model), name)
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
            let permit = match self.effects.guard().admit(&acting.subject, operation, &acting.context).await {
                Ok(permit) => permit,
                Err(denied) => return self.refused(&denied.into()),
            };
            let completion = match backend.complete(permit).await {
                Ok(completion) => completion,
                Err(error) => {
                    tracing::warn!(agent = %agent.id(), error = &error as &dyn std::error::Error, "an agent's turn failed");
                    return Reply::failure(error.to_string());
                }
            };
            if completion.calls.is_empty() {
                return Reply { performative: Performative::Inform, content: completion.content };
            }
            messages.push(completion.message);
            for call in completion.calls {
                if calls_left == 0 {
                    return Reply::failure(format!(
                        "the agent wanted more than {} calls",
                        self.settings.max_calls
                    ));
                }
                calls_left -= 1;
                let result = self.carry_out(acting, &functions, &call).await;
                messages.push(
                    json!({ "role": "tool", "tool_call_id": call.id, "content": self.result_text(&result) }),
                );
            }
        }
        Reply::failure(format!("the agent did not come to an end in {} turns", self.settings.max_turns))
    }

    async fn functions(&self, acting: &ActingAgent<'_>) -> Result<Functions, EffectError> {
        let plan = &acting.agent.definition;
        if plan.tools.is_empty() {
            return Ok(Functions::new(&[], plan.memory.enabled));
        }
        let mut tools = self.effects.list_tools((&acting.subject, &acting.context)).await?;
        tools.retain(|tool| plan.tools.contains(tool.id()));
        Ok(Functions::new(&tools, plan.memory.enabled))
    }

    /// Carries out one call with the agent as principal. A failure becomes the result of the call, so that the backend may
    /// try another.
    async fn carry_out(&self, acting: &ActingAgent<'_>, functions: &Functions, call: &WantedCall) -> Json {
        let outcome = match (functions.find(&call.function), arguments(&call.arguments)) {
            (None, _) => return json!({ "error": "there is no such function" }),
            (_, Err(message)) => return json!({ "error": message }),
            (Some(function), Ok(arguments)) => self.call(acting, function, arguments).await,
        };
        outcome.unwrap_or_else(|error| match error {
            EffectError::Denied(denied) => json!({
                "denied": denied.caller_text.as_deref().unwrap_or("this is not allowed"),
                "decision_id": denied.decision,
            }),
            other => json!({ "error": other.to_string() }),
        })
    }

    async fn call(
        &self,
        acting: &ActingAgent<'_>,
        function: &Function,
        arguments: serde_json::Map<String, Json>,
    ) -> Result<Json, EffectError> {
        let caller = (&acting.subject, &acting.context);
        let scope = acting.agent.definition.memory.scope.clone();
        let text = |name: &str| arguments.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        match function {
            Function::Tool(id) => {
                let (result, _) = self.effects.call_tool(caller, id, arguments).await?;
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
                let (entity, _) = self.effects.write_entity(caller, scope, new).await?;
                Ok(json!({ "remembered": entity.name }))
            }
            Function::MemorySearch => {
                let found = self.effects.search(caller, scope, text("words"), 10).await?;
                Ok(json!({ "found": found }))
            }
            Function::MemoryRead => {
                let found = self.effects.read_entity(caller, scope, &text("name")).await?;
                Ok(json!({ "entity": found }))
            }
        }
    }

    /// The result as text, cut at the bound where it is longer.
    fn result_text(&self, result: &Json) -> String {
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

    fn refused(&self, error: &EffectError) -> Reply {
        match error {
            EffectError::Denied(denied) => {
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

/// The actor of an agent's turn: the first requester of the chain; the sender when it is the first.
fn actor(sender: &Subject, context: &RequestContext) -> Actor {
    let first = || Actor {
        principal: sender.entity().clone(),
        scopes: BTreeSet::new(),
        delegation: Arc::clone(sender.delegation()),
    };
    context.actor.clone().unwrap_or_else(first)
}

fn opening(agent: &Agent, history: &[Arc<Message>]) -> Vec<Json> {
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
