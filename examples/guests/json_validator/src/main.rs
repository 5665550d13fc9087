//! Validates a JSON document against a JSON Schema (draft 2020-12, the part named in `schema.rs`).

mod schema;

use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use schema::{Finding, Validator};

/// Findings in one answer; the rest of a hopeless document helps nobody.
const MAX_FINDINGS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    document: String,
    schema: String,
}

#[derive(Serialize)]
struct Output {
    valid: bool,
    errors: Vec<Finding>,
}

fn main() -> ExitCode {
    guest::run(validate)
}

fn validate(input: Input) -> Result<Output, String> {
    let schema: Value =
        serde_json::from_str(&input.schema).map_err(|error| format!("`schema` is not JSON: {error}"))?;
    let document: Value = match serde_json::from_str(&input.document) {
        Ok(document) => document,
        Err(error) => {
            // A document that is not JSON is an answer, not a failure: telling so is what the tool is for.
            let finding = Finding { path: String::new(), message: format!("not JSON: {error}") };
            return Ok(Output { valid: false, errors: vec![finding] });
        }
    };
    let mut errors = Validator::new(&schema)?.validate(&document)?;
    errors.truncate(MAX_FINDINGS);
    Ok(Output { valid: errors.is_empty(), errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_is_not_json_is_invalid() {
        let output = validate(Input { document: "{".into(), schema: "{}".into() }).unwrap();
        assert!(!output.valid);
        assert!(validate(Input { document: "{}".into(), schema: "{".into() }).is_err());
    }
}
