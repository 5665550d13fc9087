//! `caxton auth assign-role`, `revoke-role`, `check`: roles in a running gateway's store, and what they come to.

use clap::Args;
use reqwest::Method;
use serde_json::Value as Json;

use super::output::{Exit, Output, table};
use super::remote::{Remote, list, number, text};

/// Whose role.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Who {
    /// A person: the subject of its tokens, or `<issuer>|<subject>`
    #[arg(long)]
    user: Option<String>,
    /// A deployed agent
    #[arg(long)]
    agent: Option<String>,
    /// A program, by the name of its keys; its roles can only be revoked
    #[arg(long)]
    service: Option<String>,
}

impl Who {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let all = [("user", &self.user), ("agent", &self.agent), ("service", &self.service)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
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
    who: Who,
    /// The role
    #[arg(long)]
    role: String,
    #[command(flatten)]
    remote: Remote,
}

/// Who, and which permission.
#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    who: Who,
    /// A permission word: an action or a group of actions (`agent:deploy`, `memory:*`)
    #[arg(long)]
    permission: String,
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

/// Says what a permission comes to: exit code 0 when all of it is allowed, else 1.
pub fn check(check: &Check, output: &Output) -> anyhow::Result<Exit> {
    let gateway = check.remote.open()?;
    let body = check.who.body("permission", &check.permission);
    let done = match gateway.done(output, Method::POST, &["v1", "auth", "check"], &[], Some(&body)) {
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

fn is(answer: &Json, place: &str) -> bool {
    answer.pointer(place) == Some(&Json::Bool(true))
}
