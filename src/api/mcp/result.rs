//! Results and errors as the client of each generation has them.

use serde_json::{Map, Value as Json, json};

use super::era::Era;
use crate::api::problem::Problem;
use crate::mcp::{RpcError, code, meta, object};
use crate::model::ServerName;
use crate::runtime::EffectError;
use crate::tools::{ToolError, ToolResult};

/// A server's error as the client has it. Codes with a meaning between the client and the gateway are the gateway's alone; so is
/// one that asks the client for something, which is decided as a question, and an error is none.
pub(super) fn of_server(error: RpcError) -> RpcError {
    match error.code {
        code::REFUSED | code::URL_ELICITATION | code::HEADER_MISMATCH | code::UNSUPPORTED_VERSION => {
            RpcError::new(code::SERVER_ERROR, error.message)
        }
        _ => error,
    }
}

/// A server's result without what the gateway alone says of one.
pub(super) fn without_forged(mut fields: Map<String, Json>) -> Map<String, Json> {
    if let Some(Json::Object(own)) = fields.get_mut("_meta") {
        own.retain(|key, _| !key.starts_with("caxton/"));
    }
    fields
}

/// The result of a call.
pub(super) fn of_call(result: ToolResult) -> Map<String, Json> {
    let ToolResult { content, structured, is_error, says_no_error, rest } = result;
    let mut fields = without_forged(rest);
    fields.insert("content".to_owned(), Json::Array(content));
    fields.extend(structured.map(|value| ("structuredContent".to_owned(), value)));
    if is_error || says_no_error {
        fields.insert("isError".to_owned(), is_error.into());
    }
    fields
}

/// A refused or failed call, as the model sees it.
pub(super) fn refusal(error: EffectError) -> Map<String, Json> {
    refusal_of(&Problem::from(error))
}

/// The same for a call that needs an account, which the caller's person can connect at this page of the gateway.
pub(super) fn refusal_with(error: EffectError, link: &str) -> Map<String, Json> {
    refusal_of(&problem_with(error, link))
}

/// Asks the client to show its person a page of the gateway (2025-11-25). The page leads nobody anywhere but who made the call.
pub(super) fn needs_account(server: &ServerName, link: &str) -> RpcError {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, link.as_bytes());
    let id: String = hex::encode(digest).chars().take(32).collect();
    let message = format!("The server `{server}` needs an account of yours. Open the page to connect one.");
    let elicitation = json!({ "mode": "url", "elicitationId": id, "url": link, "message": message });
    RpcError::new(code::URL_ELICITATION, format!("no account at the server `{server}` is connected"))
        .with_data(json!({ "elicitations": [elicitation] }))
}

fn refusal_of(problem: &Problem) -> Map<String, Json> {
    object(json!({
        "content": [{ "type": "text", "text": problem.line() }],
        "isError": true,
        "_meta": { "caxton/refusal": problem.data() },
    }))
}

/// A refused or failed request that is no call. What its server refused is the server's own word.
pub(super) fn refused(error: EffectError) -> RpcError {
    if let EffectError::Tool { error: ToolError::Refused { error, .. }, .. } = error {
        return of_server(*error);
    }
    let problem = Problem::from(error);
    RpcError::new(code::REFUSED, problem.line()).with_data(problem.data())
}

/// The same where an account is needed, which the caller's person can connect at this page of the gateway.
pub(super) fn refused_with(error: EffectError, link: &str) -> RpcError {
    let problem = problem_with(error, link);
    RpcError::new(code::REFUSED, problem.line()).with_data(problem.data())
}

fn problem_with(error: EffectError, link: &str) -> Problem {
    let mut problem = Problem::from(error);
    problem.add_detail(&format!(", or open {link} in a browser, as the one who made this call"));
    problem
}

/// A refusal of a resource: that there is none has another code in each generation.
pub(super) fn of_resource(mut error: RpcError, uri: &str, era: &Era) -> RpcError {
    if error.code == code::RESOURCE_NOT_FOUND && era.is_stateless() {
        error.code = code::INVALID_PARAMS;
        error.data.get_or_insert_with(|| json!({ "uri": uri }));
    }
    error
}

/// The same for an effect that failed.
pub(super) fn resource_refused(error: EffectError, uri: &str, era: &Era) -> RpcError {
    of_resource(refused(error), uri, era)
}

/// Adds a field to `_meta` of a result.
pub(super) fn add_meta(fields: &mut Map<String, Json>, key: &str, value: Json) {
    let own = fields.entry("_meta").or_insert_with(|| json!({}));
    if let Some(own) = own.as_object_mut() {
        own.insert(key.to_owned(), value);
    }
}

/// Gives a result the fields of its generation: 2026-07-28 has a type in every result and an age for what can be kept; earlier
/// versions have neither.
pub(super) fn dressed(mut result: Map<String, Json>, method: &str, era: &Era) -> Map<String, Json> {
    forget_server(&mut result);
    let can_be_kept = matches!(
        method,
        "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "resources/read"
    );
    if matches!(method, "skills/list" | "skills/get" | "resources/directory/read") {
        // Their results have an age in every version.
        result.insert("ttlMs".to_owned(), 0.into());
        result.insert("cacheScope".to_owned(), "private".into());
    }
    if era.is_stateless() {
        add_meta(&mut result, meta::SERVER_INFO, server_info());
        let is_complete = result.entry("resultType").or_insert_with(|| "complete".into()) == "complete";
        if can_be_kept && is_complete {
            // What one caller may see is nobody else's, and may change with the next policy.
            result.insert("ttlMs".to_owned(), 0.into());
            result.insert("cacheScope".to_owned(), "private".into());
        }
    } else {
        result.remove("resultType");
        if can_be_kept {
            result.remove("ttlMs");
            result.remove("cacheScope");
        }
    }
    result
}

/// Name and version, as a client is told them.
pub(super) fn server_info() -> Json {
    json!({ "name": "caxton", "version": env!("CARGO_PKG_VERSION") })
}

/// Which server it was is between the gateway and the server.
fn forget_server(result: &mut Map<String, Json>) {
    let Some(Json::Object(own)) = result.get_mut("_meta") else { return };
    let was_there = own.remove(meta::SERVER_INFO).is_some();
    if was_there && own.is_empty() {
        result.remove("_meta");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::Version;

    #[test]
    fn each_generation_has_its_own_fields() {
        let sent =
            object(json!({ "tools": [], "resultType": "complete", "ttlMs": 60_000, "cacheScope": "public" }));
        let old = dressed(sent.clone(), "tools/list", &Era::Handshake(Version::V2025_11_25));
        assert_eq!(Json::Object(old), json!({ "tools": [] }));
        let new = dressed(sent, "tools/list", &Era::Stateless(Map::new()));
        let own = json!({ (meta::SERVER_INFO): server_info() });
        let expected = json!({ "tools": [], "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": own });
        assert_eq!(Json::Object(new), expected);
        let round = object(json!({ "resultType": "input_required", "inputRequests": {} }));
        let round = dressed(round, "resources/read", &Era::Stateless(Map::new()));
        assert!(!round.contains_key("ttlMs") && round["resultType"] == "input_required");
    }
}
