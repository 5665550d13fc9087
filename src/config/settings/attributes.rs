//! `security.attributes.*`: the store of entity attributes.

use std::path::Path;

use crate::attributes::Settings;
use crate::config::reader::Reader;
use crate::config::value_type::{DurationRange, Integer};

pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path) -> Settings {
    let usual = Settings::in_directory(data_dir);
    Settings {
        max_entities: r.value(
            "security.attributes.max_entities",
            Integer::new(1..=1_000_000, "entities"),
            usual.max_entities,
            "The most entities in the store of attributes.",
        ),
        max_per_decision: r.value(
            "security.attributes.max_per_decision",
            Integer::new(16..=100_000, "entities"),
            usual.max_per_decision,
            "The most entities that one decision looks at; one that needs more is denied.",
        ),
        max_age: r.optional(
            "security.attributes.max_age",
            DurationRange::seconds(1, 366 * 86_400),
            "How old the last import of attributes may be. When it is older, or there was none, everything but an import is denied. Without the key: any age.",
        ),
        ..usual
    }
}
