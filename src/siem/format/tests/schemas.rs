//! OCSF events against the schemas of OCSF, ECS and ASIM against the lists of fields that their readers know.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::*;

const CLASSES: [(u64, &str); 6] = [
    (2004, "detection_finding"),
    (3002, "authentication"),
    (3003, "authorize_session"),
    (3004, "entity_management"),
    (3008, "role_management"),
    (6003, "api_activity"),
];

fn read(path: &str) -> Value {
    json::parse(&std::fs::read(std::path::Path::new("tests/siem").join(path)).unwrap()).unwrap()
}

/// The schema of a class of 1.8.0.
fn schema_1_8(class: &str) -> Value {
    read(&format!("ocsf-1.8.0/{class}.schema.json"))
}

fn add(target: &mut Value, more: &Value) {
    let target = target.as_object_mut().unwrap();
    target.extend(more.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())));
}

/// That schema with what 1.9.0 adds to it.
fn schema_1_9(class: &str) -> Value {
    let additions = read("ocsf-1.9.0-additions.json");
    let of_a_role = class == "role_management";
    let mut schema = schema_1_8(if of_a_role { "entity_management" } else { class });
    for (name, object) in additions["$defs"].as_object().unwrap() {
        match name.as_str() {
            "fingerprint" => add(&mut schema["$defs"]["fingerprint"]["properties"], object),
            _ => schema["$defs"][name] = object.clone(),
        }
    }
    add(&mut schema["properties"], &additions["record_integrity"]);
    if class != "detection_finding" {
        add(&mut schema["properties"], &additions["ai_operation"]);
    }
    if of_a_role {
        for name in ["entity", "entity_result", "comment"] {
            schema["properties"].as_object_mut().unwrap().remove(name);
        }
        add(&mut schema["properties"], &additions["role_management"]);
        schema["required"] = json!([
            "activity_id",
            "category_uid",
            "class_uid",
            "iam_role",
            "metadata",
            "severity_id",
            "time",
            "type_uid"
        ]);
    }
    schema
}

pub(super) struct Schemas(BTreeMap<u64, Validator>);

impl Schemas {
    pub(super) fn new(version: OcsfVersion) -> Self {
        let classes = CLASSES.iter().filter(|(uid, _)| version == OcsfVersion::V1_9 || *uid != 3008);
        let validators = classes.map(|(uid, class)| {
            let schema = match version {
                OcsfVersion::V1_8 => schema_1_8(class),
                OcsfVersion::V1_9 => schema_1_9(class),
            };
            (*uid, jsonschema::draft202012::new(&schema).unwrap())
        });
        Self(validators.collect())
    }

    pub(super) fn check(&self, event: &Value) {
        let class = event["class_uid"].as_u64().unwrap();
        let errors: Vec<String> = self.0[&class]
            .iter_errors(event)
            .map(|error| format!("{}: {error}", error.instance_path()).chars().take(400).collect())
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{event:#}");
        let activity = event["activity_id"].as_u64().unwrap();
        assert_eq!(event["type_uid"], class * 100 + activity);
    }
}

#[tokio::test]
async fn every_record_is_a_valid_event_of_both_versions() {
    let lines = lines(records()).await;
    for version in [OcsfVersion::V1_8, OcsfVersion::V1_9] {
        let schemas = Schemas::new(version);
        let mut seen = BTreeMap::new();
        for line in rendered(&lines, RecordFormat::Ocsf, version) {
            let event = parsed(&line);
            schemas.check(&event);
            *seen.entry(event["class_uid"].as_u64().unwrap()).or_insert(0) += 1;
        }
        let all: Vec<u64> = schemas.0.keys().copied().collect();
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), all, "the records have every class");
    }
}

/// The check finds what is wrong: otherwise the test above says nothing.
#[tokio::test]
async fn a_wrong_event_is_found() {
    let lines = lines(records()).await;
    let schemas = Schemas::new(OcsfVersion::V1_9);
    let good = parsed(&rendered(&lines, RecordFormat::Ocsf, OcsfVersion::V1_9)[0]);
    let class = good["class_uid"].as_u64().unwrap();
    let breaks: [fn(&mut Value); 6] = [
        |event| drop(event.as_object_mut().unwrap().remove("actor")),
        |event| event["severity_id"] = 77.into(),
        |event| event["surplus"] = 1.into(),
        |event| event["ai_agent"]["surplus"] = 1.into(),
        |event| event["attestation_list"][0]["fingerprint"]["serialization_id"] = "JCS".into(),
        |event| event["src_endpoint"]["ip"] = "not an address".into(),
    ];
    for (number, broken) in breaks.iter().enumerate() {
        let mut event = good.clone();
        broken(&mut event);
        assert!(!schemas.0[&class].is_valid(&event), "{number}");
    }
}

/// Allowed values of ECS 9.0 (`event.kind`, `event.category`, `event.type`), and for each category its types.
#[tokio::test]
async fn ecs_documents_have_the_fields_of_detection_rules() {
    let types: &[(&str, &[&str])] = &[
        (
            "api",
            &[
                "access", "admin", "allowed", "change", "creation", "deletion", "denied", "end", "info",
                "start", "user",
            ],
        ),
        ("authentication", &["start", "end", "info"]),
        ("configuration", &["access", "change", "creation", "deletion", "info"]),
        ("iam", &["admin", "change", "creation", "deletion", "group", "info", "user"]),
        ("intrusion_detection", &["allowed", "denied", "info"]),
        ("session", &["start", "end", "info"]),
    ];
    for line in rendered(&lines(records()).await, RecordFormat::Ecs, OcsfVersion::V1_9) {
        let document = parsed(&line);
        let event = &document["event"];
        assert!(["event", "alert"].contains(&event["kind"].as_str().unwrap()));
        assert!(["success", "failure"].contains(&event["outcome"].as_str().unwrap()));
        assert_eq!(document["ecs"]["version"], "9.0.0");
        assert!(document["@timestamp"].as_str().unwrap().ends_with('Z'));
        let categories: Vec<&str> =
            event["category"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        for found in event["type"].as_array().unwrap() {
            let found = found.as_str().unwrap();
            let fits = |category: &&str| {
                types.iter().any(|(name, types)| name == category && types.contains(&found))
            };
            assert!(categories.iter().any(fits), "{found} of {categories:?}");
        }
        for open in ["context", "entities", "items"] {
            assert!(document["caxton"].get(open).is_none_or(Value::is_string), "{open}");
        }
    }
}

/// The columns of `ASimAgentEventLogs` with their types, from its reference.
const COLUMNS: &[(&str, &str)] = &[
    ("TimeGenerated", "text"),
    ("EventStartTime", "text"),
    ("EventEndTime", "text"),
    ("EventCount", "int"),
    ("EventType", "text"),
    ("EventOriginalType", "text"),
    ("EventOriginalUid", "text"),
    ("EventUid", "text"),
    ("EventProduct", "text"),
    ("EventVendor", "text"),
    ("EventSchema", "text"),
    ("EventSchemaVersion", "text"),
    ("EventErrorDetails", "text"),
    ("EventOriginalErrorType", "text"),
    ("EventFinishReasons", "dynamic"),
    ("EventOriginalResultDetails", "text"),
    ("EventRequestId", "text"),
    ("EventSessionId", "text"),
    ("ActorUserId", "text"),
    ("ActorUserIdType", "text"),
    ("ActorUsername", "text"),
    ("ActorUsernameType", "text"),
    ("ActingAppId", "text"),
    ("ActingAppName", "text"),
    ("ActingAppType", "text"),
    ("SrcAgentId", "text"),
    ("SrcAgentName", "text"),
    ("SrcAgentBlueprintId", "text"),
    ("SrcIpAddr", "text"),
    ("TargetAgentId", "text"),
    ("TargetAgentName", "text"),
    ("ToolId", "text"),
    ("ToolName", "text"),
    ("ToolOriginalType", "text"),
    ("AdditionalFields", "dynamic"),
];

#[tokio::test]
async fn asim_rows_have_columns_of_the_table_and_no_others() {
    for line in rendered(&lines(records()).await, RecordFormat::Asim, OcsfVersion::V1_9) {
        for (name, value) in parsed(&line).as_object().unwrap() {
            let kind =
                COLUMNS.iter().find(|(column, _)| column == name).unwrap_or_else(|| panic!("{name}")).1;
            let fits = match kind {
                "text" => value.is_string(),
                "int" => value.is_u64(),
                _ => value.is_object() || value.is_array(),
            };
            assert!(fits, "{name}: {value}");
        }
    }
}
