//! A gateway inside another program: starts it with its data in a temporary directory, asks one question, prints the
//! decision, and stops it.
//!
//! ```console
//! $ cargo run -q --example embed
//! the clerk may list tools: true (permitted)
//! ```

#![expect(clippy::print_stdout, reason = "the decision is what this program prints")]

use std::error::Error;

use caxton::{Clock as _, Gateway, KeyHolder, KeyStore, Settings, SystemClock};
use serde_json::{Value, json};

const CLERK: &str = "---
name: clerk
capabilities: [desk, message-receive, tool-access]
tools: [csv_parser]
handler: builtin:echo_agent
---

You are the clerk at the desk.
";

const HOUR_MILLIS: i64 = 3_600_000;

fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(embed())
}

async fn embed() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let agents = directory.path().join("agents");
    std::fs::create_dir(&agents)?;
    std::fs::write(agents.join("clerk.md"), CLERK)?;

    // A caller needs a credential: an API key whose permission is to ask for decisions.
    let settings = Settings::embedded(directory.path().join("data"));
    let keys = KeyStore::open(&settings.authn.api_keys)?;
    let now = SystemClock.now_millis();
    let permissions = ["policy:test".parse()?];
    let key = keys.create(&"embed".parse()?, &KeyHolder::Service, &permissions, now, now + HOUR_MILLIS)?;

    let gateway = Gateway::builder().settings(settings).agents(agents).start().await?;
    let question = json!({
        "subject": { "type": "Caxton::Agent", "id": "clerk" },
        "action": { "name": "tool:list" },
        "resource": { "type": "Caxton::Gateway", "id": "caxton" },
    });
    let answer: Value = reqwest::Client::new()
        .post(format!("http://{}/access/v1/evaluation", gateway.address()))
        .header("X-API-Key", key.secret.expose())
        .json(&question)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    let decision = answer.get("decision").and_then(Value::as_bool).unwrap_or(false);
    let reason = answer.pointer("/context/reason").and_then(Value::as_str).unwrap_or("no reason given");
    println!("the clerk may list tools: {decision} ({reason})");
    gateway.drain().await;
    Ok(())
}
