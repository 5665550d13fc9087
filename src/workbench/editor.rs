//! What editors need: JSON Schemas of test files, and the whole Cedar schema as one document.

use cedar_policy::SchemaFragment;
use serde_json::{Map, Value as Json, json};

use crate::policy::{Bundle, SourceKind};

/// JSON Schema of a `*.test.yaml` file, with the actions, types and policies of a bundle as suggestions.
pub fn test_schema(bundle: &Bundle) -> Json {
    let entity = suggest(entity_names(bundle), "`Type::\"id\"`; `${name}` stands for a value of the matrix");
    let action = suggest(actions(bundle), "the action's id; a tool's is `<server>___<tool>`");
    let policies =
        suggest(bundle.policies().map(|policy| policy.id.to_string()).collect(), "a policy's `@id`");
    let context =
        json!({ "type": "object", "description": "what matters of the circumstances; the rest is neutral" });
    let question = |resource: Json| {
        record(
            &["principal", "action", "resource"],
            [
                ("principal", entity.clone()),
                ("action", action.clone()),
                ("resource", resource),
                ("context", context.clone()),
            ],
        )
    };
    let types = suggest(type_names(bundle), "the type of which all listed resources are asked about");
    let expect = record(
        &[],
        [
            ("outcome", suggest(outcomes(), "what is decided")),
            (
                "policies",
                json!({ "type": "array", "items": policies, "description": "exactly those that determined it" }),
            ),
            (
                "errors",
                json!({ "type": "integer", "minimum": 0, "description": "policies that could not be evaluated; 0 unless said" }),
            ),
            (
                "exactly",
                json!({ "type": "array", "items": entity, "description": "of a search: what may be used" }),
            ),
        ],
    );
    let test = record(
        &["name", "expect"],
        [
            ("name", text("unique in the file")),
            (
                "matrix",
                json!({ "description": "lists by name (every combination is a row), or a list of rows", "type": ["object", "array"] }),
            ),
            ("entities", entities()),
            ("request", question(entity.clone())),
            ("search", question(types)),
            ("expect", expect),
        ],
    );
    let mut suite = record(
        &["suite", "tests"],
        [
            ("suite", text("a name; `--filter` looks at `suite: name`")),
            ("now", text("the instant at which everything happens, RFC 3339")),
            (
                "fixtures",
                json!({ "type": "array", "items": { "type": "string", "pattern": "\\.fixtures\\.yaml$" } }),
            ),
            ("entities", entities()),
            ("tests", json!({ "type": "array", "items": test })),
            (
                "prove",
                json!({ "type": "array", "items": statement(bundle), "description": "what has to hold for every request" }),
            ),
            ("gate", gate()),
        ],
    );
    head(&mut suite, "Caxton policy tests");
    suite
}

/// A statement under `prove`: a name if wanted, and one of the others.
fn statement(bundle: &Bundle) -> Json {
    let several = |item: Json| json!({ "anyOf": [item, { "type": "array", "items": item }] });
    let action = several(suggest(actions(bundle), "an action or a group of actions"));
    let policies = bundle.policies().map(|policy| policy.id.to_string());
    let policies: Vec<String> = std::iter::once("all".to_owned()).chain(policies).collect();
    let kind = several(suggest(type_names(bundle), "a type, or an entity that it is or is in"));
    let condition = several(text("a Cedar expression, with full names"));
    let version = record(
        &[],
        [
            ("ref", text("a git commit")),
            ("dir", text("a folder below this one, with `policies` and `schemas` in it")),
            ("except", action.clone()),
        ],
    );
    let about = record(
        &[],
        [
            ("principal", kind.clone()),
            ("action", action),
            ("resource", kind),
            ("when", condition.clone()),
            ("unless", condition),
        ],
    );
    let mut statement = record(
        &[],
        [
            ("name", text("the statement in words")),
            ("never_errors", several(suggest(policies, "`all`, or policies that can always be evaluated"))),
            ("none_needless", json!({ "const": "all", "description": "every policy decides something" })),
            ("no_more_permissive_than", version.clone()),
            ("equivalent_to", version.clone()),
            ("disjoint_from", version),
            ("always_denies", about.clone()),
            ("always_allows", about),
        ],
    );
    if let Json::Object(fields) = &mut statement {
        let stated = [
            "never_errors",
            "none_needless",
            "no_more_permissive_than",
            "equivalent_to",
            "disjoint_from",
            "always_denies",
            "always_allows",
        ];
        let one: Vec<Json> = stated.iter().map(|name| json!({ "required": [name] })).collect();
        fields.insert("oneOf".to_owned(), one.into());
    }
    statement
}

fn gate() -> Json {
    let percent = |what: &str| json!({ "type": "number", "minimum": 0, "maximum": 100, "description": what });
    record(
        &[],
        [
            ("clause_coverage", percent("checked by `caxton policy coverage`")),
            ("mutation_score", percent("checked by `caxton policy mutate`")),
        ],
    )
}

/// JSON Schema of a `*.fixtures.yaml` file.
pub fn fixtures_schema() -> Json {
    let mut file = record(&["entities"], [("entities", entities())]);
    head(&mut file, "Caxton policy fixtures");
    file
}

/// All schema files as one, in Cedar's JSON form, for editors that take one file.
pub fn cedar_schema(bundle: &Bundle) -> Result<Json, String> {
    let mut all = Map::new();
    for source in bundle.sources().iter().filter(|source| source.kind == SourceKind::Schema) {
        let fragment = match source.name.ends_with(".json") {
            true => SchemaFragment::from_json_str(&source.text).map_err(|error| error.to_string())?,
            false => SchemaFragment::from_cedarschema_str(&source.text).map_err(|error| error.to_string())?.0,
        };
        let json = fragment.to_json_value().map_err(|error| error.to_string())?;
        let Json::Object(namespaces) = json else { continue };
        for (namespace, parts) in namespaces {
            let known = all.entry(namespace).or_insert_with(|| json!({}));
            join(known, parts);
        }
    }
    Ok(Json::Object(all))
}

/// Puts the definitions of one file beside those of another; the bundle is valid, so nothing is there twice.
fn join(known: &mut Json, parts: Json) {
    let (Json::Object(known), Json::Object(parts)) = (known, parts) else { return };
    for (kind, definitions) in parts {
        match (known.get_mut(&kind), definitions) {
            (Some(Json::Object(all)), Json::Object(own)) => all.extend(own),
            (_, definitions) => drop(known.insert(kind, definitions)),
        }
    }
}

fn entities() -> Json {
    let values = |what: &str| json!({ "type": "object", "description": what });
    let entry = record(
        &[],
        [
            ("attrs", values("attributes; those left out are neutral")),
            (
                "in",
                json!({ "type": "array", "items": { "type": "string" }, "description": "direct parents, each of them listed" }),
            ),
            ("tags", values("named values of one type")),
            (
                "absent",
                json!({ "type": "boolean", "description": "the entity is referenced and does not exist; no other field is allowed" }),
            ),
        ],
    );
    json!({ "type": "object", "additionalProperties": entry, "description": "what exists, by name: `Type::\"id\"`" })
}

fn record<const N: usize>(required: &[&str], properties: [(&str, Json); N]) -> Json {
    let properties: Map<String, Json> =
        properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

fn head(schema: &mut Json, title: &str) {
    if let Json::Object(fields) = schema {
        fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        fields.insert("title".to_owned(), json!(title));
    }
}

fn text(what: &str) -> Json {
    json!({ "type": "string", "description": what })
}

/// Any text, with some that editors offer: what a variable stands for cannot be known here.
fn suggest(words: Vec<String>, what: &str) -> Json {
    json!({ "anyOf": [{ "enum": words }, { "type": "string" }], "description": what })
}

fn actions(bundle: &Bundle) -> Vec<String> {
    let mut actions: Vec<String> = bundle
        .schema_index()
        .action_entities()
        .map(|action| AsRef::<str>::as_ref(action.uid().eid()).to_owned())
        .collect();
    actions.sort();
    actions
}

fn type_names(bundle: &Bundle) -> Vec<String> {
    let short = |name: &str| name.strip_prefix("Caxton::").unwrap_or(name).to_owned();
    let mut names: Vec<String> = bundle.schema_index().type_names().map(short).collect();
    names.sort();
    names
}

fn entity_names(bundle: &Bundle) -> Vec<String> {
    type_names(bundle).iter().map(|name| format!("{name}::\"…\"")).collect()
}

fn outcomes() -> Vec<String> {
    ["allow", "deny_explicit", "deny_default", "deny_error"].map(str::to_owned).to_vec()
}
