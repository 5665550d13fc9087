//! Reads JSON from outside once, strictly: no duplicate keys, bounded depth.
//!
//! Two readers that pick different values for a key that stands twice can be played against each other: one is
//! asked for permission, the other acts. So such a document is refused, and what goes on is what was read.

mod strict;

use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed as _, Error as _};
use serde_json::{Map, Value};

use strict::{Strict, Watch};

/// The deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not what it should be; line and column count from 1.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// It is not acceptable JSON.
    #[error("{0}")]
    Document(serde_json::Error),
    /// It is JSON, of another shape.
    #[error("{0}")]
    Shape(serde_json::Error),
}

impl JsonError {
    /// The line at which reading stopped, from 1; 0 when there is none.
    pub fn line(&self) -> usize {
        match self {
            Self::Document(error) | Self::Shape(error) => error.line(),
        }
    }
}

/// Reads one JSON document.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    read(bytes).map_err(JsonError::Document)
}

/// Reads one JSON object.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    match parse(bytes)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(JsonError::Shape(serde_json::Error::custom("expected an object"))),
    }
}

/// Reads one JSON document into `T`, with the same strictness. What is wrong with the document is told before what is wrong
/// with its shape.
pub fn parse_as<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, JsonError> {
    match read_watched(bytes, &Watch::default()) {
        Ok(read) => Ok(read),
        Err((error, true)) => Err(JsonError::Document(error)),
        Err((error, false)) => parse(bytes).and(Err(JsonError::Shape(error))),
    }
}

fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    read_watched(bytes, &Watch::default()).map_err(|(error, _)| error)
}

/// What was read, or the error and whether it is one of the document.
fn read_watched<T: for<'de> Deserialize<'de>>(
    bytes: &[u8],
    watch: &Watch,
) -> Result<T, (serde_json::Error, bool)> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = PhantomData.deserialize(Strict::new(&mut deserializer, watch));
    read.and_then(|read| deserializer.end().map(|()| read)).map_err(|error| {
        let of_the_document = watch.refused.get() || !error.is_data();
        (error, of_the_document)
    })
}

/// SHA-256 of the one form of a JSON value (RFC 8785), in hexadecimal; `None` for a number that the form cannot hold.
pub fn sha256(value: &impl serde::Serialize) -> Option<String> {
    let canonical = serde_json_canonicalizer::to_vec(value).ok()?;
    Some(hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &canonical)))
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

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
        With { size: u64 },
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Typed {
        name: Option<String>,
        kind: Option<Kind>,
        #[serde(default)]
        list: Vec<u64>,
    }

    #[test]
    fn a_type_is_read_as_strictly_as_a_tree() {
        let read = |text: &str| parse_as::<Typed>(text.as_bytes());
        let whole = r#"{"name":"n\u0061","kind":{"with":{"size":3}},"list":[1,2],"more":{"x":[null,{}]}}"#;
        let with = Kind::With { size: 3 };
        assert_eq!(
            read(whole).unwrap(),
            Typed { name: Some("na".into()), kind: Some(with), list: vec![1, 2] }
        );
        assert_eq!(
            read(r#"{"name":null,"kind":"plain"}"#).unwrap(),
            Typed { name: None, kind: Some(Kind::Plain), list: vec![] }
        );
        let many: String = (0..40).map(|number| format!("\"k{number}\":0,")).collect();
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(64), "]".repeat(64));
        let of_the_document = [
            // Twice in what is read, in what nobody asks for, inside of a variant, spelled in two ways, among many.
            (r#"{"list":[],"list":[]}"#.to_owned(), "the key `list` stands twice"),
            (r#"{"x":1,"x":2}"#.to_owned(), "the key `x` stands twice"),
            (r#"{"x":[{"y":{"a":1,"a":2}}]}"#.to_owned(), "the key `a` stands twice"),
            (r#"{"kind":{"with":{"size":3,"size":3}}}"#.to_owned(), "the key `size` stands twice"),
            (r#"{"x":1,"\u0078":2}"#.to_owned(), "the key `x` stands twice"),
            (format!("{{{many}\"k0\":1}}"), "the key `k0` stands twice"),
            (format!("{{{many}\"k39\":1}}"), "the key `k39` stands twice"),
            (deep, "nested deeper than 64 levels"),
            (r#"{"list":[1,]}"#.to_owned(), "trailing comma"),
            // Told before what is wrong with the shape.
            (r#"{"list":{},"x":1,"x":2}"#.to_owned(), "the key `x` stands twice"),
            (r#"[1e999]"#.to_owned(), "number out of range"),
            (r#"{"list":[]} x"#.to_owned(), "trailing characters"),
        ];
        for (text, message) in of_the_document {
            match read(&text) {
                Err(JsonError::Document(error)) => assert!(error.to_string().contains(message), "{error}"),
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in [r#"{"list":{}}"#, r#"{"list":[-1]}"#, r#"{"kind":"odd"}"#, "7", r#"{"name":[]}"#] {
            assert!(matches!(read(text), Err(JsonError::Shape(_))), "{text}");
        }
    }

    #[test]
    fn a_key_of_the_librarys_own_is_a_key_like_others_in_a_tree() {
        let text = r#"{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}"#;
        assert_eq!(serde_json::to_string(&parse(text.as_bytes()).unwrap()).unwrap(), text);
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
