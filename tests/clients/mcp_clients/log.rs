//! The decision log of a gateway that has ended: unbroken, and every record in reach by its decision.

use std::path::Path;

use caxton::audit::verify::verify;
use serde_json::Value as Json;

pub(crate) struct Log(Vec<Json>);

impl Log {
    pub(crate) fn read(path: &Path) -> Self {
        assert_eq!(
            verify(path).unwrap().torn_tail,
            0,
            "a gateway that drained has written its last line whole"
        );
        let text = std::fs::read_to_string(path).unwrap();
        Self(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    /// All records about an action of somebody.
    pub(crate) fn decisions(&self) -> impl Iterator<Item = &Json> {
        self.0.iter().filter(|record| record.get("action").is_some_and(|action| !action.is_null()))
    }

    pub(crate) fn decision(&self, id: &Json, label: &str) -> &Json {
        assert!(id.is_string(), "{label}: no decision id: {id}");
        let found = self.0.iter().find(|record| &record["decision_id"] == id);
        found.unwrap_or_else(|| panic!("{label}: decision {id} is not on record"))
    }
}
