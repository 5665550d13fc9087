//! What a person sees of the demo.

use comfy_table::{Cell, Color};
use serde_json::json;

use super::Outcome;
use super::stage::{DemoCredential, DemoGateway};
use crate::audit::verify::VerifyReport;
use crate::cli::output;

/// The calls as a table, then where the log is and whether it is whole.
pub(super) fn table(calls: &[Outcome], log: &str, verified: &VerifyReport) -> String {
    let mut table = output::table(["", "who", "did", "what", "decision", "policy", "µs", "answer"]);
    for call in calls {
        let allowed = call.decision == "allow";
        let colour = if allowed { Color::Green } else { Color::Red };
        table.add_row([
            Cell::new(if call.as_expected { "" } else { "!" }),
            Cell::new(call.who),
            Cell::new(call.did),
            Cell::new(&call.what),
            Cell::new(&call.decision).fg(colour),
            Cell::new(&call.policy),
            Cell::new(call.micros).set_alignment(comfy_table::CellAlignment::Right),
            Cell::new(shorten(&call.answer)),
        ]);
    }
    format!(
        "{table}\n\ndecision log: {log}\n$ caxton audit verify {log}\n{}\n",
        crate::cli::audit::sound(verified),
    )
}

const LONGEST: usize = 60;

fn shorten(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" (decision ").next().unwrap_or(line);
    if line.chars().count() > LONGEST {
        line.chars().take(LONGEST).chain(['…']).collect()
    } else {
        line.to_owned()
    }
}

/// A client configuration and commands to paste.
pub(super) fn how_to_talk(stage: &DemoGateway) -> String {
    let base = format!("http://{}", stage.address());
    let secret = |credential: &DemoCredential| match credential {
        DemoCredential::Token(secret) | DemoCredential::Key(secret) => secret.expose().clone(),
    };
    let ada = secret(&stage.cast.ada);
    let researcher = secret(&stage.cast.researcher);
    let client = json!({
        "mcpServers": {
            "caxton": { "type": "http", "url": format!("{base}/mcp"), "headers": { "X-API-Key": researcher } },
        },
    });
    format!(
        "\nMCP client configuration (as the researcher):\n{client:#}\n\n\
         As ada:\n  curl -s {base}/v1/agents -H 'Authorization: Bearer {ada}'\n\n\
         As the researcher:\n  curl -s {base}/v1/tools -H 'X-API-Key: {researcher}'\n\n\
         Probes and metrics:\n  curl -s http://{}/metrics\n",
        stage.operations(),
    )
}
