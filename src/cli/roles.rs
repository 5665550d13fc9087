//! `caxton auth assign-role`, `revoke-role`, `check`: roles in a running gateway's store, and what they come to.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::output::{Exit, Output, table};
use super::policy::gateway::OfflineGateway;
use super::remote::{Remote, list, number, text};
use crate::attributes::Attributes;
use crate::authz::resolve_entities;
use crate::changes::PolicyLoader;
use crate::clock::{Clock as _, SystemClock};
use crate::model::{EntityUid, Outcome};
use crate::policy::Bundle;

/// Whose role.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RoleHolder {
    /// A person: the subject of its tokens, or `<issuer>|<subject>`
    #[arg(long)]
    user: Option<String>,
    /// A deployed agent
    #[arg(long)]
    agent: Option<String>,
    /// A workload, by the id that its client certificate gives it: `spiffe://prod.example/pay`, a URI or a DNS name
    #[arg(long)]
    workload: Option<String>,
    /// A service, by the name of its keys; its roles can only be revoked
    #[arg(long)]
    service: Option<String>,
}

impl RoleHolder {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("user", &self.user),
            ("agent", &self.agent),
            ("workload", &self.workload),
            ("service", &self.service),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }

    fn uid(&self, issuers: &[Arc<str>]) -> anyhow::Result<EntityUid> {
        let named = |kind, name: &Option<String>| Some(EntityUid::caxton(kind, name.as_deref()?));
        let person = self.user.as_deref().and_then(|user| EntityUid::person(issuers, user));
        let program = named("Agent", &self.agent)
            .or_else(|| named("Workload", &self.workload))
            .or_else(|| named("Service", &self.service));
        person.or(program).context("the gateway has no single issuer of people: write `<issuer>|<subject>`")
    }

    fn body(&self, name: &'static str, value: &str) -> Json {
        let own = [(name, value.to_owned())];
        self.fields()
            .into_iter()
            .chain(own)
            .map(|(name, value)| (name.to_owned(), Json::from(value)))
            .collect()
    }
}

/// Who, and which role.
#[derive(Debug, Args)]
pub struct Membership {
    #[command(flatten)]
    who: RoleHolder,
    /// The role
    #[arg(long)]
    role: String,
    #[command(flatten)]
    remote: Remote,
}

/// Who, and which permission.
#[derive(Debug, Args)]
pub struct CheckOptions {
    #[command(flatten)]
    who: RoleHolder,
    /// A permission word: an action or a group of actions (`agent:deploy`, `memory:*`)
    #[arg(long)]
    permission: String,
    /// Without a gateway: read policies, roles file, agents and attributes from where the configuration says
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Gives a role.
pub fn assign(membership: &Membership, output: &Output) -> anyhow::Result<Exit> {
    let body = membership.who.body("role", &membership.role);
    change(membership, Method::POST, &[], Some(&body), "has", output)
}

/// Takes a role away.
pub fn revoke(membership: &Membership, output: &Output) -> anyhow::Result<Exit> {
    let mut query = membership.who.fields();
    query.push(("role", membership.role.clone()));
    change(membership, Method::DELETE, &query, None, "no longer has", output)
}

fn change(
    membership: &Membership,
    method: Method,
    query: &[(&str, String)],
    body: Option<&Json>,
    what: &str,
    output: &Output,
) -> anyhow::Result<Exit> {
    let gateway = membership.remote.open()?;
    let done = match gateway.done(output, method, &["v1", "auth", "roles"], query, body) {
        Ok(done) => done,
        Err(exit) => return Ok(exit),
    };
    output.data(&done, |done| {
        let who = text(done, "/entity/uid/id").escape_debug().to_string();
        format!(
            "`{who}` {what} the role `{}` (version {})",
            membership.role.escape_debug(),
            number(done, "/version")
        )
    })?;
    Ok(Exit::Fine)
}

/// Shows what a permission allows: exit code 0 when all of it is allowed, else 1.
pub fn check(check: &CheckOptions, output: &Output) -> anyhow::Result<Exit> {
    let answered = match check.offline {
        true => offline(check, output)?,
        false => {
            let body = check.who.body("permission", &check.permission);
            let gateway = check.remote.open()?;
            gateway.done(output, Method::POST, &["v1", "auth", "check"], &[], Some(&body))
        }
    };
    let done = match answered {
        Ok(done) => done,
        Err(exit) => return Ok(exit),
    };
    output.data(&done, |done| {
        let mut rows = table(["action", "resource", "allowed", "policies"]);
        for answer in list(done, "/answers") {
            let policies = list(answer, "/policies").filter_map(Json::as_str);
            let word = |place: &str| text(answer, place).to_owned();
            let allowed = if is(answer, "/allowed") { "yes".to_owned() } else { word("/reason") };
            rows.add_row([
                word("/action"),
                word("/resource"),
                allowed,
                policies.collect::<Vec<_>>().join(", "),
            ]);
        }
        format!(
            "{rows}\n{}",
            if is(done, "/allowed") { "allowed" } else { "not allowed, or not on everything" }
        )
    })?;
    Ok(if is(&done, "/allowed") { Exit::Fine } else { Exit::Found })
}

/// What a gateway with this configuration would answer, by the files on disk now and with a neutral context.
fn offline(check: &CheckOptions, output: &Output) -> anyhow::Result<Result<Json, Exit>> {
    let settings = match check.remote.config().offline(output)? {
        Ok(loaded) => loaded.settings,
        Err(exit) => return Ok(Err(exit)),
    };
    let principal = check.who.uid(&settings.authn.issuers())?;
    let loader =
        PolicyLoader { source: settings.policy_source(), fragments: Arc::new(Vec::new), candidate_dir: None };
    let sources = loader.current_sources(SystemClock.now_millis())?;
    let bundle = Bundle::load_with(sources, settings.policy).context("the policies are not valid")?;
    let mut questions = bundle.neutral_permission_questions(&principal, &check.permission);
    anyhow::ensure!(
        !questions.is_empty(),
        "`{}` is no permission that a `{}` can have",
        check.permission.escape_debug(),
        principal.base_type()
    );
    let gateway = OfflineGateway::read(&settings)?;
    if let Some(agent) = check.who.agent.as_deref().filter(|agent| !gateway.has_agent(agent)) {
        output.say(format_args!("warning: no agent `{}` is deployed", agent.escape_debug()));
    }
    let snapshot =
        Attributes::look(&settings.attributes).context("the store of attributes cannot be read")?;
    let attributes = gateway.attributes(&settings, Arc::new(snapshot));
    let answers: Vec<Json> = questions
        .iter_mut()
        .map(|question| {
            let action = question.action.id().to_owned();
            let resource = question.resource.to_string();
            let verdict = resolve_entities(question, &bundle, &*attributes).then(|| bundle.decide(question));
            let allowed = verdict.as_ref().is_some_and(|verdict| verdict.outcome == Outcome::Allow);
            let policies = verdict.iter().flat_map(|verdict| verdict.deciding());
            json!({
                "action": action,
                "resource": resource,
                "allowed": allowed,
                "reason": verdict.as_ref().map_or("attributes_unavailable", |verdict| verdict.reason.as_str()),
                "policies": policies.map(|policy| policy.id.to_string()).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(Ok(json!({
        "principal": principal.to_string(),
        "permission": check.permission,
        "allowed": answers.iter().all(|answer| is(answer, "/allowed")),
        "answers": answers,
    })))
}

fn is(answer: &Json, place: &str) -> bool {
    answer.pointer(place) == Some(&Json::Bool(true))
}
