//! One request, as a suite of one test: what is not given is neutral, and a typo is an error.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::Suites;
use crate::workbench::case::{CaseError, FixtureFile, Located};

/// The name under which the file of entities is known.
const FIXTURES: &str = "request.fixtures.yaml";

/// A request in the words of a test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SingleRequest {
    /// Who, as `Agent::"researcher"`.
    pub principal: String,
    /// What, as `tool:list`.
    pub action: String,
    /// On what, as `Gateway::"caxton"`.
    pub resource: String,
    /// What matters of the circumstances.
    #[serde(default)]
    pub context: Map<String, Json>,
    /// What exists, as in a test file. Principal and resource are added when they are not here.
    #[serde(default)]
    pub entities: Map<String, Json>,
    /// The instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
}

impl SingleRequest {
    /// The suite that asks it, with the text of a file of entities.
    pub fn into_suites(mut self, fixtures: Option<&str>) -> Result<Suites, Located> {
        let shared = fixtures.map(FixtureFile::parse).transpose()?;
        for name in [&self.principal, &self.resource] {
            let listed = shared.as_ref().is_some_and(|shared| shared.entities.contains_key(name));
            if !listed && !self.entities.contains_key(name) {
                self.entities.insert(name.clone(), json!({}));
            }
        }
        let mut suite = json!({
            "suite": "request",
            "fixtures": fixtures.map_or_else(Vec::new, |_| vec![FIXTURES]),
            "entities": self.entities,
            "tests": [{
                "name": "as asked",
                "request": {
                    "principal": self.principal, "action": self.action, "resource": self.resource,
                    "context": self.context,
                },
                // Nothing is compared: the answer itself is wanted.
                "expect": { "outcome": "allow" },
            }],
        });
        if let (Some(now), Some(suite)) = (self.now, suite.as_object_mut()) {
            suite.insert("now".to_owned(), now.into());
        }
        let text = serde_json::to_string_pretty(&suite)
            .map_err(|error| Located::at(0, CaseError::Shape(error.to_string())))?;
        let mut suites = Suites::default();
        suites.add("request", text);
        if let Some(fixtures) = fixtures {
            suites.add(FIXTURES, fixtures);
        }
        Ok(suites)
    }
}
