//! `caxton auth assign-role`, `revoke-role`, `check`: roles in a running gateway's store, and what they come to.

use clap::Args;
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::output::{Exit, Output, table};
use super::remote::Remote;

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

    fn body(&self, name: &str, value: &str) -> Json {
        let mut body = json!({ name: value });
        for (name, value) in self.fields() {
            body[name] = Json::from(value);
        }
        body
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
        let who = done["entity"]["uid"]["id"].as_str().unwrap_or_default().escape_debug().to_string();
        format!("`{who}` {what} the role `{}` (version {})", membership.role.escape_debug(), done["version"])
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
        for answer in done["answers"].as_array().into_iter().flatten() {
            let policies = answer["policies"].as_array().into_iter().flatten().filter_map(Json::as_str);
            let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
            let allowed = if answer["allowed"] == true { "yes".to_owned() } else { text("reason") };
            rows.add_row([
                text("action"),
                text("resource"),
                allowed,
                policies.collect::<Vec<_>>().join(", "),
            ]);
        }
        format!(
            "{rows}\n{}",
            if done["allowed"] == true { "allowed" } else { "not allowed, or not on everything" }
        )
    })?;
    Ok(if done["allowed"] == true { Exit::Fine } else { Exit::Found })
}
