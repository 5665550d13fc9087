//! What a person sees of the demo.

use comfy_table::{Cell, Color};
use serde_json::json;

use super::Outcome;
use super::stage::{DemoCredential, DemoGateway};
use crate::audit::verify::VerifyReport;
use crate::cli::output;

/// The callers, under the table: in it there is no room within 80 columns.
const WHO: &str = "ada is a person with a token, build-job a program with an API key, the others are
agents; tools are called over MCP. `--format json` has the answers and the times.";

/// The calls as a table, then where the log is and whether it is whole.
pub(super) fn table(calls: &[Outcome], log: &str, verified: &VerifyReport) -> String {
    let mut table = output::table(["who", "what", "access", "policy"]);
    for call in calls {
        let allowed = call.decision == "allow";
        let colour = if allowed { Color::Green } else { Color::Red };
        let (who, _) = call.who.split_once(" (").unwrap_or((call.who, ""));
        let mark = if call.as_expected { "" } else { "! " };
        // A call of a tool is the tool with its arguments.
        let did = call.did.trim_end_matches(" (MCP)");
        let what = if did == "calls" { call.what.clone() } else { format!("{did} {}", call.what) };
        table.add_row([
            Cell::new(format!("{mark}{who}")),
            Cell::new(what),
            Cell::new(if allowed { "allow" } else { "deny" }).fg(colour),
            Cell::new(&call.policy),
        ]);
    }
    format!(
        "{table}\n\n{WHO}\n\ndecision log: {log}\n$ caxton audit verify {log}\n{}\n",
        crate::cli::audit::sound(verified),
    )
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
