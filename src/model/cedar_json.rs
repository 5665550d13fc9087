//! Entities and values in Cedar's own JSON, so that files of other Cedar tools are read as they are.
//!
//! What is written says of itself what it is (`__entity`, `__extn`), so it is read back without a schema. What people
//! write may leave that out: then the schema types it later.

use serde_json::{Map, Value as Json, json};
use smol_str::SmolStr;

use super::{Entity, EntityUid, Fields, Value};

/// 0000-01-01T00:00:00.000Z to 9998-12-31T23:59:59.999Z, in milliseconds since the Unix epoch. The clock's own
/// range ends within the year after, and it would write the last instant it can for one it cannot.
pub(crate) const FOUR_DIGIT_YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_370_764_799_999;

const EPOCH: &str = "1970-01-01";

/// Why JSON is no value, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {what}")]
pub struct JsonFault {
    /// The path, `attrs.manager`.
    pub path: String,
    /// What is wrong there.
    pub what: String,
}

impl JsonFault {
    fn new(path: &str, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), what: what.into() }
    }
}

/// A value as Cedar writes it.
pub fn write(value: &Value) -> Json {
    let call = |name: &str, argument: &str| json!({ "__extn": { "fn": name, "arg": argument } });
    match value {
        Value::Bool(value) => Json::Bool(*value),
        Value::Long(number) => Json::from(*number),
        Value::String(text) => Json::from(text.as_ref()),
        Value::Set(items) => items.iter().map(write).collect(),
        Value::Record(fields) => Json::Object(write_fields(fields)),
        Value::Entity(uid) => json!({ "__entity": write_uid(uid) }),
        Value::Decimal(text) => call("decimal", text),
        Value::Ip(text) => call("ip", text),
        Value::Duration(text) => call("duration", text),
        Value::Datetime(millis) if FOUR_DIGIT_YEARS.contains(millis) => {
            call("datetime", &crate::clock::rfc3339(*millis))
        }
        // As Cedar writes an instant that has no calendar text.
        Value::Datetime(millis) => {
            let from_epoch = [call("datetime", EPOCH), call("duration", &format!("{millis}ms"))];
            json!({ "__extn": { "fn": "offset", "args": from_epoch } })
        }
    }
}

/// Named values.
pub fn write_fields(fields: &Fields) -> Map<String, Json> {
    fields.iter().map(|(name, value)| (name.to_string(), write(value))).collect()
}

/// A name: `{"type": …, "id": …}`.
pub fn write_uid(uid: &EntityUid) -> Json {
    json!({ "type": uid.type_name(), "id": uid.id() })
}

/// A whole entity: `uid`, `attrs`, `parents`, and `tags` when it has any.
pub fn write_entity(entity: &Entity) -> Map<String, Json> {
    let mut whole = Map::new();
    whole.insert("uid".to_owned(), write_uid(&entity.uid));
    whole.insert("attrs".to_owned(), Json::Object(write_fields(&entity.attributes)));
    whole.insert("parents".to_owned(), entity.parents.iter().map(write_uid).collect());
    if !entity.tags.is_empty() {
        whole.insert("tags".to_owned(), Json::Object(write_fields(&entity.tags)));
    }
    whole
}

/// A value; a text that the schema will take for an address, an instant or a decimal is a text here.
pub fn read(path: &str, given: &Json) -> Result<Value, JsonFault> {
    match given {
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::String(text) => Ok(Value::text(text)),
        Json::Number(number) => number
            .as_i64()
            .map(Value::Long)
            .ok_or_else(|| JsonFault::new(path, "is not a whole number of 64 bits")),
        Json::Array(items) => {
            items.iter().map(|item| read(path, item)).collect::<Result<_, _>>().map(Value::Set)
        }
        Json::Object(fields) => match (fields.get("__entity"), fields.get("__extn"), fields.len()) {
            (Some(name), None, 1) => read_uid(path, name).map(Value::Entity),
            (None, Some(call), 1) => extension(path, call),
            _ => read_fields(path, fields).map(Value::Record),
        },
        Json::Null => Err(JsonFault::new(path, "is null: leave it out")),
    }
}

/// Named values.
pub fn read_fields(path: &str, given: &Map<String, Json>) -> Result<Fields, JsonFault> {
    let inside = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    given.iter().map(|(name, value)| Ok((SmolStr::from(name), read(&inside(name), value)?))).collect()
}

/// A name: `{"type": …, "id": …}`, alone or as `{"__entity": …}`.
pub fn read_uid(path: &str, given: &Json) -> Result<EntityUid, JsonFault> {
    let given = given.get("__entity").unwrap_or(given);
    let text = |name: &str| given.get(name).and_then(Json::as_str);
    match (text("type"), text("id"), given.as_object().map(Map::len)) {
        (Some(kind), Some(id), Some(2)) => Ok(EntityUid::new(kind, id)),
        _ => Err(JsonFault::new(path, "is not a name: write `{\"type\": …, \"id\": …}`")),
    }
}

/// A list of names.
pub fn read_uids(path: &str, given: &Json) -> Result<Vec<EntityUid>, JsonFault> {
    let names = given.as_array().ok_or_else(|| JsonFault::new(path, "is not a list of names"))?;
    names.iter().map(|name| read_uid(path, name)).collect()
}

fn extension(path: &str, call: &Json) -> Result<Value, JsonFault> {
    if let Some(millis) = from_epoch(call) {
        return Ok(Value::Datetime(millis));
    }
    let text = |name: &str| call.get(name).and_then(Json::as_str);
    let (Some(function), Some(argument)) = (text("fn"), text("arg")) else {
        return Err(JsonFault::new(path, "is not a call: write `{\"fn\": …, \"arg\": …}`"));
    };
    match function {
        "ip" => Ok(Value::Ip(argument.into())),
        "decimal" => Ok(Value::Decimal(argument.into())),
        "duration" => Ok(Value::Duration(argument.into())),
        "datetime" => instant(argument)
            .map(Value::Datetime)
            .ok_or_else(|| JsonFault::new(path, format!("`{}` is no instant", argument.escape_debug()))),
        _ => Err(JsonFault::new(path, "calls a function that no value here has")),
    }
}

/// Milliseconds of an instant that is counted from the epoch.
fn from_epoch(call: &Json) -> Option<i64> {
    let part = |number: usize, function: &str| {
        let call = call.get("args")?.get(number)?.get("__extn")?;
        call.get("arg").and_then(Json::as_str).filter(|_| call.get("fn") == Some(&Json::from(function)))
    };
    let counted = part(1, "duration").filter(|_| call.get("fn") == Some(&Json::from("offset")))?;
    millis(counted).filter(|_| part(0, "datetime") == Some(EPOCH))
}

/// Milliseconds as a duration of nothing else: `-5ms`.
fn millis(text: &str) -> Option<i64> {
    text.strip_suffix("ms").filter(|digits| !digits.starts_with('+'))?.parse().ok()
}

/// An instant as text: RFC 3339, or where that has no year for it the milliseconds since the Unix epoch (`-5ms`).
pub fn instant_text(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(_) => crate::clock::rfc3339(millis),
        Err(_) => format!("{millis}ms"),
    }
}

/// Milliseconds since the Unix epoch of an RFC 3339 instant, or of a day (`2026-01-31`), which begins at 0 h UTC, or
/// counted (`-5ms`).
pub fn instant(text: &str) -> Option<i64> {
    if let Some(millis) = millis(text) {
        return Some(millis);
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Some(instant.as_millisecond());
    }
    let day: jiff::civil::Date = text.parse().ok().filter(|_| text.len() == 10)?;
    Some(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let record = Value::record([
            ("on", Value::Bool(true)),
            ("n", Value::Long(i64::MIN)),
            ("set", Value::texts(["a", "b\n\u{202e}"])),
            ("who", Value::Entity(EntityUid::caxton("User", "https://idp|a\"b"))),
            ("score", Value::Decimal("0.85".into())),
            ("at", Value::Datetime(1_768_039_200_123)),
            ("from", Value::Ip("10.0.0.0/8".into())),
            ("long", Value::Duration("-1d2h3m4s5ms".into())),
            ("never", Value::Datetime(i64::MAX)),
            ("before", Value::Datetime(-62_167_219_200_001)),
            ("empty", Value::Record(Fields::new())),
        ]);
        assert_eq!(read("", &write(&record)), Ok(record));
        assert_eq!(instant("1970-01-02"), Some(86_400_000));
        for millis in [i64::MIN, -62_167_219_200_001, -1, 253_370_764_800_000, i64::MAX] {
            assert_eq!(instant(&instant_text(millis)), Some(millis));
        }
        // Cedar's own form of an offset.
        assert_eq!(instant("5535-04-08T15:37:15.290+0048"), instant("5535-04-08T14:49:15.290Z"));
    }

    #[test]
    fn what_is_no_value_says_where() {
        let offset = |from: &str, by: &str| {
            let args = json!([{ "__extn": { "fn": "datetime", "arg": from } }, { "__extn": { "fn": "duration", "arg": by } }]);
            json!({ "at": { "__extn": { "fn": "offset", "args": args } } })
        };
        for (given, path) in [
            (json!({ "a": { "b": null } }), "a.b"),
            (json!({ "a": [1.5] }), "a"),
            (json!({ "who": { "__entity": { "type": "User" } } }), "who"),
            (json!({ "who": { "__entity": { "type": "User", "id": "a", "x": 1 } } }), "who"),
            (json!({ "at": { "__extn": { "fn": "datetime", "arg": "soon" } } }), "at"),
            (json!({ "at": { "__extn": { "fn": "toDate", "arg": "1970-01-01" } } }), "at"),
            (offset("2020-01-01", "1ms"), "at"),
            (offset("1970-01-01", "1d"), "at"),
            (offset("1970-01-01", "+1ms"), "at"),
            (offset("1970-01-01", "9223372036854775808ms"), "at"),
            (json!({ "at": { "__extn": "x" } }), "at"),
        ] {
            assert_eq!(read("", &given).unwrap_err().path, path, "{given}");
        }
    }
}
