//! Values of the log, typed by the schema they are evaluated under.
//!
//! The log writes instants, addresses and names as texts; the schema says which text is which. What is masked, or
//! there as a digest only, becomes a value of the right type that stands for it, and is told by its path.

use serde_json::{Map, Value as Json};
use smol_str::SmolStr;

use super::reads::{Hidden, Root};
use crate::model::cedar_json::instant;
use crate::model::{EntityUid, Fields, Value};
use crate::policy::engine::types::{Mismatch, RecordShape, Shape};

/// What the log shows of a credential.
const MASK: &str = "[masked]";
/// How the log shows a caller's text of which it keeps the digest only.
const DIGEST: &str = "sha256:";

/// Reads values, and notes which of them the log does not hold.
pub(super) struct Reader<'h> {
    pub(super) hidden: &'h mut Vec<Hidden>,
    root: Root,
    path: Vec<SmolStr>,
}

impl<'h> Reader<'h> {
    pub(super) fn new(root: Root, hidden: &'h mut Vec<Hidden>) -> Self {
        Self { hidden, root, path: Vec::new() }
    }

    /// A value of the log as one of this type.
    pub(super) fn value(&mut self, shape: &Shape, given: &Json) -> Result<Value, Mismatch> {
        if is_hidden(given) {
            self.hidden.push(Hidden { root: self.root, names: self.path.clone() });
            return stand_in(shape).ok_or_else(|| unlike(shape, given));
        }
        match (shape, given) {
            (Shape::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
            (Shape::Long, Json::Number(number)) => {
                number.as_i64().map(Value::Long).ok_or_else(|| unlike(shape, given))
            }
            // Numbers that JSON would round are written as text.
            (Shape::Long, Json::String(text)) => {
                text.parse().map(Value::Long).map_err(|_| unlike(shape, given))
            }
            (Shape::String, Json::String(text)) => Ok(Value::text(text)),
            (Shape::Set(element), Json::Array(items)) => {
                let items = items.iter().map(|item| self.value(element, item));
                Ok(Value::Set(items.collect::<Result<_, _>>()?))
            }
            (Shape::Record(shape), Json::Object(fields)) => Ok(Value::Record(self.record(shape, fields)?)),
            (Shape::Entity(_), Json::String(text)) => {
                EntityUid::parse(text).map(Value::Entity).ok_or_else(|| unlike(shape, given))
            }
            (Shape::Decimal, Json::String(text)) => Ok(Value::Decimal(text.as_str().into())),
            (Shape::Datetime, Json::String(text)) => {
                instant(text).map(Value::Datetime).ok_or_else(|| unlike(shape, given))
            }
            (Shape::Duration, Json::String(text)) => Ok(Value::Duration(text.as_str().into())),
            (Shape::Ip, Json::String(text)) => Ok(Value::Ip(text.as_str().into())),
            (expected, got) => Err(unlike(expected, got)),
        }
    }

    /// The fields of a record; whether all that are required are there is asked when the request is built.
    pub(super) fn record(
        &mut self,
        shape: &RecordShape,
        given: &Map<String, Json>,
    ) -> Result<Fields, Mismatch> {
        let field = |(name, value): (&String, &Json)| {
            let Some(shape) = shape.field(name) else {
                return Err(Mismatch::new(format!("`{name}` is not in the schema")));
            };
            let name = SmolStr::from(name);
            self.path.push(name.clone());
            let value = self.value(shape, value)?;
            self.path.pop();
            Ok((name, value))
        };
        given.iter().map(field).collect()
    }

    /// Named values of one type.
    pub(super) fn tags(&mut self, shape: &Shape, given: &Map<String, Json>) -> Result<Fields, Mismatch> {
        let tag = |(name, value): (&String, &Json)| {
            self.path.push(SmolStr::from(name));
            let value = self.value(shape, value)?;
            self.path.pop();
            Ok((SmolStr::from(name), value))
        };
        given.iter().map(tag).collect()
    }
}

/// `{"bytes": 2000, "sha256": "…"}`: too large for the log.
fn is_summary(given: &Json) -> bool {
    let Json::Object(fields) = given else { return false };
    let digest = fields.get("sha256").and_then(Json::as_str);
    fields.len() == 2 && fields.get("bytes").is_some_and(Json::is_u64) && digest.is_some_and(is_digest)
}

fn is_hidden(given: &Json) -> bool {
    match given {
        Json::String(text) => text == MASK || text.strip_prefix(DIGEST).is_some_and(is_digest),
        Json::Object(_) => is_summary(given),
        _ => false,
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Some value of the type; nothing that looks at it is evaluated.
fn stand_in(shape: &Shape) -> Option<Value> {
    Some(match shape {
        Shape::Bool => Value::Bool(false),
        Shape::Long => Value::Long(0),
        Shape::String => Value::text(""),
        Shape::Set(_) => Value::Set(Vec::new()),
        Shape::Record(shape) => {
            let fields = shape.required().map(|(name, shape)| Some((name.clone(), stand_in(shape)?)));
            Value::Record(fields.collect::<Option<_>>()?)
        }
        Shape::Decimal => Value::Decimal("0.0".into()),
        Shape::Datetime => Value::Datetime(0),
        Shape::Duration => Value::Duration("0ms".into()),
        Shape::Ip => Value::Ip("127.0.0.1".into()),
        Shape::Entity(_) | Shape::Unreachable(_) => return None,
    })
}

fn unlike(shape: &Shape, given: &Json) -> Mismatch {
    let found = match given {
        Json::Null => "null",
        Json::Bool(_) => "a Bool",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a record",
    };
    Mismatch::new(format!("expected {}, got {found}", shape.name()))
}
