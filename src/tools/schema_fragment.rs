//! The Cedar schema fragment of a server: one typed action for each of its tools.
//!
//! The fragment reopens the namespace `Caxton` and uses its types; it is written so that no name a server
//! chooses can end a string or a line of the fragment.

use std::fmt::Write as _;

use crate::model::{ServerName, ToolId};

use super::typing::{InputType, RecordType};
use crate::text::quote_ascii;

/// Words that Cedar keeps for itself; as attribute names they are quoted.
const RESERVED: [&str; 11] =
    ["true", "false", "if", "then", "else", "in", "is", "like", "has", "__cedar", "namespace"];

/// The fragment for `tools`, in the order of their ids.
pub fn cedar_fragment<'a>(
    server: &ServerName,
    tools: impl IntoIterator<Item = (&'a ToolId, &'a RecordType)>,
) -> String {
    let mut tools: Vec<_> = tools.into_iter().collect();
    tools.sort_by_key(|(id, _)| *id);
    let mut text = format!(
        "// The tools of the server `{server}`, generated from their JSON Schemas. Do not edit: \
         `caxton tools import` and\n// `caxton tools approve` write this file.\n\nnamespace Caxton {{\n"
    );
    for (index, (id, input)) in tools.into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "  action {} in [Action::\"tool:call\"] appliesTo {{\n    principal: [User, Service, Workload, Agent],\n    \
             resource: [Tool],\n    context: {{\n      source: SourceContext,\n      system: SystemContext,\n      \
             session: SessionContext,\n      actor?: ActorContext,\n      delegation?: Set<DelegateContext>,\n      screening: ScreeningContext,\n      \
             input: {},\n    }},\n  }};\n",
            quote_ascii(id.as_str()),
            input_text(input),
        );
    }
    text.push_str("}\n");
    text
}

/// The type in Cedar's schema notation.
pub(super) fn record_text(record: &RecordType) -> String {
    let fields = field_texts(record);
    if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
}

/// The arguments of a tool, one a line.
fn input_text(record: &RecordType) -> String {
    let fields = field_texts(record);
    if fields.is_empty() {
        return "{}".to_owned();
    }
    let lines: String = fields.iter().map(|field| format!("        {field},\n")).collect();
    format!("{{\n{lines}      }}")
}

fn field_texts(record: &RecordType) -> Vec<String> {
    let declared = record.fields.iter().map(|(name, field)| {
        let mark = if field.required { "" } else { "?" };
        format!("{}{mark}: {}", attribute(name), type_text(&field.kind))
    });
    let extra = record.extra.iter().map(|name| format!("{}?: String", attribute(name)));
    declared.chain(extra).collect()
}

fn type_text(kind: &InputType) -> String {
    match kind {
        InputType::Bool => "Bool".to_owned(),
        InputType::Long => "Long".to_owned(),
        InputType::Decimal => "__cedar::decimal".to_owned(),
        InputType::String | InputType::Json => "String".to_owned(),
        InputType::Set(item) => format!("Set<{}>", type_text(item)),
        InputType::Record(record) => record_text(record),
    }
}

fn attribute(name: &str) -> String {
    let mut characters = name.chars();
    let starts = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let plain = starts && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if plain && !RESERVED.contains(&name) { name.to_owned() } else { quote_ascii(name) }
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Schema, SchemaFragment};
    use serde_json::json;

    use super::*;

    const BASE: &str = include_str!("../../schemas/caxton.cedarschema");

    fn merged(server: &str, tools: &[(&str, serde_json::Value)]) -> Schema {
        let server = ServerName::parse(server).unwrap();
        let tools: Vec<(ToolId, RecordType)> = tools
            .iter()
            .map(|(name, schema)| {
                (ToolId::new(&server, name).unwrap(), RecordType::of_arguments(schema.as_object().unwrap()))
            })
            .collect();
        let text = cedar_fragment(&server, tools.iter().map(|(id, input)| (id, input)));
        let fragments = [BASE, &text].map(|text| SchemaFragment::from_cedarschema_str(text).unwrap().0);
        Schema::from_schema_fragments(fragments).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn has_action(schema: &Schema, id: &str) -> bool {
        schema.actions().any(|action| action.id().unescaped() == id)
    }

    #[test]
    fn a_fragment_merges_with_the_shipped_schema() {
        let schema = merged(
            "every-thing",
            &[
                ("get-sum", json!({ "type": "object", "properties": { "a": { "type": "number" } } })),
                ("fs/read.file", json!({ "type": "object" })),
            ],
        );
        assert!(has_action(&schema, "every-thing___get-sum"));
        assert!(has_action(&schema, "every-thing___fs/read.file"));
        let sum: cedar_policy::EntityUid = "Caxton::Action::\"every-thing___get-sum\"".parse().unwrap();
        let actions = schema.action_entities().unwrap();
        let groups: Vec<&str> =
            actions.ancestors(&sum).unwrap().map(|group| group.id().unescaped()).collect();
        assert!(groups.contains(&"tool:call") && groups.contains(&"*"), "{groups:?}");
    }

    #[test]
    fn a_policy_on_an_argument_is_type_checked() {
        let schema = merged(
            "s",
            &[(
                "pay",
                json!({ "type": "object", "properties": { "amount": { "type": "integer" } }, "required": ["amount"] }),
            )],
        );
        let check = |condition: &str| {
            let text = format!(
                "permit(principal, action == Caxton::Action::\"s___pay\", resource) when {{ {condition} }};"
            );
            let set = text.parse().unwrap();
            cedar_policy::Validator::new(schema.clone())
                .validate(&set, cedar_policy::ValidationMode::Strict)
                .validation_passed()
        };
        assert!(check("context.input.amount > 100 && resource.read_only && context.system.hour < 8"));
        assert!(!check("context.input.amount == \"100\""));
        assert!(!check("context.input.amuont > 100"));
    }

    #[test]
    fn hostile_names_stay_inside_their_quotes() {
        let names = ["a\"b\n}", "x\\", "\u{1F600}", "é", "};//", "in", "__cedar", "", " ", "a-b", "\u{0}"];
        let properties: serde_json::Map<String, serde_json::Value> =
            names.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
        let schema = merged(
            "s",
            &[
                (
                    "a\" in [\"*\"] appliesTo {}; action \"b",
                    json!({ "type": "object", "properties": properties }),
                ),
                ("c\\", json!({ "type": "object" })),
            ],
        );
        assert!(has_action(&schema, "s___a\" in [\"*\"] appliesTo {}; action \"b"));
        assert!(has_action(&schema, "s___c\\"));
        assert!(!has_action(&schema, "b"));
    }

    #[test]
    fn a_server_without_tools_has_an_empty_fragment() {
        assert!(!merged("s", &[]).actions().any(|action| action.id().unescaped().starts_with("s___")));
    }
}
