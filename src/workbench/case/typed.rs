//! From what a test says to typed values: the schema says what each text means.

use cedar_policy_core::validator::types::{Attributes, Type};
use serde_json::{Map, Value as Json};

use super::{CaseError, SchemaNames};
use crate::model::cedar_json::instant;
use crate::model::{EntityUid, Fields, Value};

/// What stands for an attribute that was left out, by its path (`system.hour`).
pub(super) type Neutral<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// Makes typed values, and notes every entity they name.
pub(super) struct Typing<'s> {
    pub(super) schema_names: SchemaNames<'s>,
    pub(super) mentioned: Vec<EntityUid>,
    /// The id of the entities that stand for those that were left out; without one they have to be given.
    pub(super) stand_in: Option<&'s str>,
}

impl<'s> Typing<'s> {
    /// Values of `schema_names`'s types.
    pub(super) fn new(schema_names: SchemaNames<'s>) -> Self {
        Self { schema_names, mentioned: Vec::new(), stand_in: None }
    }

    /// A record: what was given, and the neutral value of everything else that is required.
    pub(super) fn record(
        &mut self,
        types: &Attributes,
        given: &Map<String, Json>,
        path: &str,
        neutral: Neutral<'_>,
    ) -> Result<Fields, CaseError> {
        for name in given.keys() {
            if types.get_attr(name).is_none() {
                let known = types.keys().map(|known| known.as_str());
                let kind = if path.is_empty() { "attribute" } else { "key" };
                return Err(CaseError::unknown(kind, name, known));
            }
        }
        let mut fields = Fields::new();
        for (name, attribute) in types.iter() {
            let path = join(path, name);
            let value = match (given.get(name.as_str()), neutral(&path)) {
                (Some(given), _) => Some(self.value(&attribute.attr_type, given, &path, neutral)?),
                (None, Some(value)) => Some(value),
                (None, None) if attribute.is_required => {
                    Some(self.left_out(&attribute.attr_type, &path, neutral)?)
                }
                (None, None) => None,
            };
            fields.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(fields)
    }

    /// One value of the wanted type.
    pub(super) fn value(
        &mut self,
        wanted: &Type,
        given: &Json,
        path: &str,
        neutral: Neutral<'_>,
    ) -> Result<Value, CaseError> {
        let value = match (wanted, given) {
            (Type::Bool(_), Json::Bool(value)) => Some(Value::Bool(*value)),
            (Type::Long, Json::Number(number)) => number.as_i64().map(Value::Long),
            (Type::String, Json::String(text)) => Some(Value::text(text)),
            (Type::Entity(_), Json::String(text)) => {
                let uid = self.schema_names.entity(text)?;
                self.mentioned.push(uid.clone());
                Some(Value::Entity(uid))
            }
            (Type::Set { element_type: Some(element) }, Json::Array(items)) => {
                let items = items.iter().map(|item| self.value(element, item, path, neutral));
                Some(Value::Set(items.collect::<Result<_, _>>()?))
            }
            (Type::Record { attrs, .. }, Json::Object(fields)) => {
                Some(Value::Record(self.record(attrs, fields, path, neutral)?))
            }
            (Type::ExtensionType { name }, given) => extension(&name.to_string(), given),
            _ => None,
        };
        value.ok_or_else(|| CaseError::Type {
            path: path.to_owned(),
            found: given.to_string(),
            wanted: wanted.to_string(),
        })
    }

    /// The neutral value of a type: `false`, 0, empty; for an entity there is a stand-in at most.
    fn left_out(&mut self, wanted: &Type, path: &str, neutral: Neutral<'_>) -> Result<Value, CaseError> {
        match wanted {
            Type::Bool(_) => Ok(Value::Bool(false)),
            Type::Long => Ok(Value::Long(0)),
            Type::String => Ok(Value::text("")),
            Type::Set { .. } => Ok(Value::Set(Vec::new())),
            Type::Record { attrs, .. } => {
                Ok(Value::Record(self.record(attrs, &Map::new(), path, neutral)?))
            }
            Type::ExtensionType { name } => match name.to_string().as_str() {
                "decimal" => Ok(Value::Decimal("0.0".into())),
                "ipaddr" => Ok(Value::Ip("127.0.0.1".into())),
                "datetime" => Ok(Value::Datetime(0)),
                "duration" => Ok(Value::Duration("0ms".into())),
                _ => Err(CaseError::Missing(path.to_owned())),
            },
            Type::Entity(_) | Type::Never => {
                let id = self.stand_in.ok_or_else(|| CaseError::Missing(path.to_owned()))?;
                let uid = EntityUid::new(self.schema_names.entity_type(&wanted.to_string())?, id);
                self.mentioned.push(uid.clone());
                Ok(Value::Entity(uid))
            }
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn extension(name: &str, given: &Json) -> Option<Value> {
    match (name, given) {
        ("ipaddr", Json::String(text)) => Some(Value::Ip(text.as_str().into())),
        ("decimal", Json::String(text)) => Some(Value::Decimal(text.as_str().into())),
        ("decimal", Json::Number(number)) => Some(Value::Decimal(decimal(number)?.into())),
        ("duration", Json::String(text)) => Some(Value::Duration(text.as_str().into())),
        ("datetime", Json::String(text)) => instant(text).map(Value::Datetime),
        _ => None,
    }
}

/// Cedar's decimals have one to four digits after the point.
fn decimal(number: &serde_json::Number) -> Option<String> {
    let text = number.to_string();
    match text.split_once('.') {
        None => Some(format!("{text}.0")),
        Some((_, digits)) if digits.len() <= 4 => Some(text),
        Some(_) => None,
    }
}
