//! Reads JSON from outside once, strictly: no duplicate keys, bounded depth.
//!
//! Two readers that pick different values for a key that stands twice can be played against each other: one is
//! asked for permission, the other acts. So such a document is refused, and what goes on is what was read.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry};

/// The deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not acceptable JSON; line and column count from 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(#[from] serde_json::Error);

/// Reads one JSON document.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads one JSON object.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match parse(bytes)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(JsonError(serde_json::Error::custom("expected an object"))),
    }
}

/// Reads one JSON document into `T`, with the same strictness.
pub fn parse_as<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, JsonError> {
    Ok(serde_json::from_value(parse(bytes)?)?)
}

/// SHA-256 of the one form of a JSON value (RFC 8785), in hexadecimal; `None` for a number that the form cannot hold.
pub fn sha256(value: &impl serde::Serialize) -> Option<String> {
    let canonical = serde_json_canonicalizer::to_vec(value).ok()?;
    Some(hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &canonical)))
}

struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number that is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.deeper()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            match map.entry(name) {
                Entry::Vacant(place) => drop(place.insert(fields.next_value_seed(self.deeper()?)?)),
                Entry::Occupied(there) => {
                    let name = there.key().escape_debug();
                    return Err(A::Error::custom(format_args!("the key `{name}` stands twice")));
                }
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_and_where() {
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let cases = [
            ("{\"a\":1,\"a\":2}", "the key `a` stands twice at line 1 column 10"),
            ("{\"a\":{\"b\":1,\"\\u0062\":2}}", "the key `b` stands twice at line 1 column 20"),
            (deep.as_str(), "nested deeper than 64 levels at line 1 column 66"),
            ("{} x", "trailing characters at line 1 column 4"),
            ("{", "EOF while parsing an object at line 1 column 1"),
        ];
        for (text, message) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), message, "{text}");
        }
    }

    /// `y_` files must be read, `n_` files refused (nst/JSONTestSuite). Six `y_` files have a key twice or a depth we refuse.
    #[test]
    fn the_json_test_suite_agrees() {
        let Ok(archive) = std::fs::File::open("../shared/testdata/json/JSONTestSuite-test_parsing.tar.gz")
        else {
            eprintln!("skipped: the shared test data is not here");
            return;
        };
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
        let (mut read, mut refused) = (0, 0);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            let result = parse(&bytes);
            if name.starts_with("y_") {
                let twice = name.contains("duplicated_key");
                assert_eq!(result.is_ok(), !twice, "{name}");
                read += 1;
            } else if name.starts_with("n_") {
                assert!(result.is_err(), "{name}");
                refused += 1;
            }
        }
        assert!(read > 90 && refused > 180, "{read} {refused}");
    }
}
