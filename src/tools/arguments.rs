//! Arguments of a call: checked against the tool's whole JSON Schema, then shown to policies in its types.
//!
//! A value that the types cannot show exactly is refused, because a policy would judge something else than
//! what is sent: numbers with more than four decimal digits, whole numbers beyond 64 bits, and whole numbers
//! beyond 2^53 inside opaque text (RFC 8785 would round them).

use std::collections::BTreeMap;

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Number, Value as Json};

use crate::model::{Fields, Value};

use super::definition::DefinitionError;
use super::typing::{InputType, RecordType};
use crate::text::one_line;

/// Steps that one `pattern` may backtrack on one text.
const BACKTRACK_LIMIT: usize = 10_000;
/// Compiled size of one `pattern`, in bytes.
const PATTERN_BYTES: usize = 1 << 20;
/// The largest whole number that every JSON reader keeps exact (RFC 8785 section 3.2.2.3).
const MAX_EXACT: u64 = 1 << 53;

/// Why an argument is refused: where it is, which rule it breaks, and that rule in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the argument `{path}` breaks the rule `{rule}`: {message}")]
pub struct ArgumentError {
    /// JSON Pointer into the arguments (RFC 6901); `/` for the arguments as a whole.
    pub path: String,
    /// The JSON Schema keyword, or `caxton` for a rule of the gateway.
    pub rule: String,
    /// The expected value, without the one that was given.
    pub message: String,
}

/// A tool's input schema, compiled once.
#[derive(Debug)]
pub struct ArgumentSchema {
    validator: Validator,
    input: RecordType,
}

impl ArgumentSchema {
    /// Compiles `schema`. References to other documents are not followed.
    pub fn compile(schema: &Map<String, Json>) -> Result<Self, DefinitionError> {
        let patterns = PatternOptions::fancy_regex()
            .backtrack_limit(BACKTRACK_LIMIT)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(&Json::Object(schema.clone()))
            .map_err(|error| DefinitionError::Schema(one_line(&error.masked().to_string(), 200)))?;
        Ok(Self { validator, input: RecordType::of_arguments(schema) })
    }

    /// The types that policies see.
    pub fn input(&self) -> &RecordType {
        &self.input
    }

    /// Checks the arguments and shows them as `context.input`. They come back unchanged.
    pub fn check(&self, arguments: Map<String, Json>) -> Result<(Map<String, Json>, Value), ArgumentError> {
        let arguments = Json::Object(arguments);
        if let Err(error) = self.validator.validate(&arguments) {
            return Err(ArgumentError {
                path: pointer(error.instance_path().as_str()),
                rule: error.kind().keyword().to_owned(),
                message: one_line(&error.masked_with("the value").to_string(), 200),
            });
        }
        let Json::Object(arguments) = arguments else {
            return Err(refusal("", "type", "the arguments are not an object"));
        };
        let input = to_cedar(&self.input, &arguments)?;
        Ok((arguments, input))
    }
}

/// Shows arguments in the types of `record`.
pub fn to_cedar(record: &RecordType, arguments: &Map<String, Json>) -> Result<Value, ArgumentError> {
    show_record(record, arguments, "")
}

fn show_record(record: &RecordType, fields: &Map<String, Json>, path: &str) -> Result<Value, ArgumentError> {
    let mut shown = Fields::new();
    let mut undeclared: BTreeMap<&str, &Json> = BTreeMap::new();
    for (name, json) in fields {
        let Some((name, field)) = record.fields.get_key_value(name.as_str()) else {
            undeclared.insert(name, json);
            continue;
        };
        // Where the schema lets null stand for "not given", the attribute is optional and absent.
        if json.is_null() && !field.required && field.kind != InputType::Json {
            continue;
        }
        shown.insert(name.as_ref().into(), show(&field.kind, json, &step(path, name))?);
    }
    if let Some((name, field)) =
        record.fields.iter().find(|(name, field)| field.required && !shown.contains_key(name.as_ref()))
    {
        let message = format!("it is missing, and {}", wanted(&field.kind));
        return Err(refusal(&step(path, name), "required", &message));
    }
    match (&record.extra, undeclared.first_key_value()) {
        (_, None) => {}
        (Some(extra), Some(_)) => {
            for (name, json) in &undeclared {
                exact(json, &step(path, name))?;
            }
            shown.insert(extra.as_ref().into(), canonical(&undeclared, path)?);
        }
        (None, Some((name, _))) => {
            let message = "the tool does not declare it";
            return Err(refusal(&step(path, name), "additionalProperties", message));
        }
    }
    Ok(Value::Record(shown))
}

fn show(kind: &InputType, json: &Json, path: &str) -> Result<Value, ArgumentError> {
    match (kind, json) {
        (InputType::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
        (InputType::String, Json::String(text)) => Ok(Value::text(text)),
        (InputType::Long, Json::Number(number)) => whole(number)
            .map(Value::Long)
            .ok_or_else(|| refusal(path, "caxton", "it is not a whole number of 64 bits")),
        (InputType::Decimal, Json::Number(number)) => {
            decimal(number).map(|text| Value::Decimal(text.into())).ok_or_else(|| {
                let message =
                    "policies see numbers with at most four decimal digits, up to 922337203685477.5807";
                refusal(path, "caxton", message)
            })
        }
        (InputType::Set(item), Json::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(index, json)| show(item, json, &step(path, &index.to_string())))
            .collect::<Result<_, _>>()
            .map(Value::Set),
        (InputType::Record(record), Json::Object(fields)) => show_record(record, fields, path),
        (InputType::Json, json) => {
            exact(json, path)?;
            canonical(json, path)
        }
        (kind, _) => Err(refusal(path, "type", wanted(kind))),
    }
}

fn canonical(json: &impl serde::Serialize, path: &str) -> Result<Value, ArgumentError> {
    serde_json_canonicalizer::to_string(json)
        .map(Value::text)
        .map_err(|_| refusal(path, "caxton", "it has no canonical JSON text"))
}

/// Refuses whole numbers that canonical JSON would round.
fn exact(json: &Json, path: &str) -> Result<(), ArgumentError> {
    match json {
        Json::Number(number) => {
            let magnitude = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
            if magnitude.is_some_and(|magnitude| magnitude > MAX_EXACT) {
                return Err(refusal(path, "caxton", "whole numbers here go up to 9007199254740992"));
            }
            Ok(())
        }
        Json::Array(items) => items.iter().try_for_each(|item| exact(item, path)),
        Json::Object(fields) => fields.values().try_for_each(|value| exact(value, path)),
        Json::Null | Json::Bool(_) | Json::String(_) => Ok(()),
    }
}

/// The number as 64 bits, when it is whole. JSON Schema counts `1.0` as an integer.
fn whole(number: &Number) -> Option<i64> {
    if number.is_f64() {
        let text = plain_text(number)?;
        return text.parse().ok();
    }
    number.as_i64()
}

/// The number as Cedar's decimal text, when it fits exactly.
fn decimal(number: &Number) -> Option<String> {
    let text = plain_text(number)?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.as_str()),
    };
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if fraction.len() > 4 {
        return None;
    }
    let scaled: i64 = format!("{integer}{fraction:0<4}").parse().ok()?;
    let sign = if negative && scaled != 0 { "-" } else { "" };
    Some(format!("{sign}{integer}.{fraction}"))
}

/// The shortest decimal notation that reads back as the same number, without an exponent.
fn plain_text(number: &Number) -> Option<String> {
    match number.as_f64() {
        Some(value) if number.is_f64() => value.is_finite().then(|| format!("{value}")),
        _ => Some(number.to_string()),
    }
}

fn wanted(kind: &InputType) -> &'static str {
    match kind {
        InputType::Bool => "a boolean is wanted",
        InputType::Long => "a whole number is wanted",
        InputType::Decimal => "a number is wanted",
        InputType::String => "a string is wanted",
        InputType::Set(_) => "an array is wanted",
        InputType::Record(_) => "an object is wanted",
        InputType::Json => "a value is wanted",
    }
}

fn step(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn pointer(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { one_line(path, 200) }
}

fn refusal(path: &str, rule: &str, message: &str) -> ArgumentError {
    ArgumentError { path: pointer(path), rule: rule.to_owned(), message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: Json, arguments: Json) -> Result<String, ArgumentError> {
        let schema = ArgumentSchema::compile(schema.as_object().unwrap()).unwrap();
        let given = arguments.as_object().unwrap().clone();
        let (sent, input) = schema.check(given.clone())?;
        assert_eq!(sent, given, "what was judged is what is sent");
        Ok(serde_json::to_string(&input).unwrap())
    }

    fn one(property: Json, value: Json) -> Result<String, ArgumentError> {
        check(json!({ "type": "object", "properties": { "x": property } }), json!({ "x": value }))
    }

    #[test]
    fn valid_arguments_are_shown_in_their_types() {
        for (property, value, shown) in [
            (json!({ "type": "integer" }), json!(i64::MAX), r#"{"x":9223372036854775807}"#),
            (json!({ "type": "integer" }), json!(5.0), r#"{"x":5}"#),
            (json!({ "type": "number" }), json!(5), r#"{"x":"5.0"}"#),
            (json!({ "type": "number" }), json!(-0.5), r#"{"x":"-0.5"}"#),
            (json!({ "type": "number" }), json!(-0.0), r#"{"x":"0.0"}"#),
            (json!({ "type": "number" }), json!(1e2), r#"{"x":"100.0"}"#),
            (json!({ "type": "number" }), json!(922337203685477.5), r#"{"x":"922337203685477.5"}"#),
            (json!({ "type": ["string", "null"] }), json!(null), "{}"),
            (json!({}), json!({ "b": 1.50, "a": [null] }), r#"{"x":"{\"a\":[null],\"b\":1.5}"}"#),
            (json!({}), json!(null), r#"{"x":"null"}"#),
            (
                json!({ "type": "array", "items": { "type": "string" } }),
                json!(["a", "b"]),
                r#"{"x":["a","b"]}"#,
            ),
            (
                json!({ "type": "object", "properties": { "a": { "type": "boolean" } } }),
                json!({ "a": true }),
                r#"{"x":{"a":true}}"#,
            ),
        ] {
            assert_eq!(one(property.clone(), value.clone()).unwrap(), shown, "{property} {value}");
        }
    }

    #[test]
    fn a_refusal_names_the_place_and_the_rule() {
        for (property, value, path, rule) in [
            (json!({ "type": "integer", "minimum": 1 }), json!(0), "/x", "minimum"),
            (json!({ "type": "integer" }), json!("1"), "/x", "type"),
            (json!({ "type": "integer" }), json!(9223372036854775808_u64), "/x", "caxton"),
            (json!({ "type": "integer" }), json!(1e19), "/x", "caxton"),
            (json!({ "type": "number" }), json!(0.00001), "/x", "caxton"),
            (json!({ "type": "number" }), json!(1e15), "/x", "caxton"),
            (json!({ "type": "string", "enum": ["a"] }), json!("b"), "/x", "enum"),
            (json!({ "type": "string", "pattern": "^a+$" }), json!("b"), "/x", "pattern"),
            (json!({}), json!([{ "id": 9007199254740993_u64 }]), "/x", "caxton"),
            (
                json!({ "type": "array", "items": { "type": "number" } }),
                json!([1, 0.12345]),
                "/x/1",
                "caxton",
            ),
        ] {
            let error = one(property.clone(), value.clone()).unwrap_err();
            assert_eq!(
                (error.path.as_str(), error.rule.as_str()),
                (path, rule),
                "{property} {value}: {error}"
            );
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_the_value() {
        let error = one(json!({ "type": "string", "maxLength": 3 }), json!("hunter2")).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn undeclared_arguments_never_go_past_a_policy() {
        let closed = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        let error = check(closed, json!({ "a": "x", "b/c": 1 })).unwrap_err();
        assert_eq!((error.path.as_str(), error.rule.as_str()), ("/b~1c", "additionalProperties"));

        let open = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": true });
        assert_eq!(check(open.clone(), json!({ "a": "x" })).unwrap(), r#"{"a":"x"}"#);
        assert_eq!(
            check(open, json!({ "a": "x", "z": [1], "b": { "c": 2 } })).unwrap(),
            r#"{"_extra":"{\"b\":{\"c\":2},\"z\":[1]}","a":"x"}"#
        );
    }

    #[test]
    fn missing_arguments_are_refused() {
        let schema =
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "required": ["a"] });
        assert_eq!(check(schema, json!({})).unwrap_err().rule, "required");
    }

    #[test]
    fn a_schema_that_cannot_be_checked_is_refused() {
        for schema in [
            json!({ "type": "object", "properties": { "x": { "$ref": "https://example.com/x.json" } } }),
            json!({ "type": "object", "properties": { "x": { "$ref": "file:///etc/passwd" } } }),
            json!({ "type": "object", "properties": { "x": { "$ref": "#/$defs/none" } } }),
            json!({ "type": "nonsense" }),
            json!({ "properties": { "x": { "pattern": "(" } } }),
            json!({ "properties": { "x": { "pattern": "(a{1000}){1000}" } } }),
        ] {
            let error = ArgumentSchema::compile(schema.as_object().unwrap()).unwrap_err();
            assert!(matches!(error, DefinitionError::Schema(_)), "{schema}");
        }
    }

    #[test]
    fn a_pattern_that_backtracks_without_end_is_a_refusal() {
        let property = json!({ "type": "string", "pattern": "^(?=(a+)+$)(a+)+b$" });
        let error = one(property, json!("a".repeat(60))).unwrap_err();
        assert_eq!(error.rule, "pattern");
    }
}
