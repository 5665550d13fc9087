//! The documents of a YAML or JSON file, each value with its line, and the Kubernetes objects among them.
//!
//! A file of Kubernetes has many documents between `---`, some of them lists of others, most of them about something else.
//! What is read from an object is asked for by name; [`Node::only`] refuses what nothing asks for, so that a field which
//! limits a rule is not passed over.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::ImportError;
use crate::policy::set::yaml::{self, MAX_DOCUMENTS};

/// A value of a document, and its line in the file, from 1: of a list and of fields that have a name, the line of the name.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Nothing: `null`, `~` or no text at all.
    Null,
    /// A number or a truth value, as it would be written.
    Plain(String),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// A Kubernetes object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'n> {
    pub(super) kind: &'n str,
    pub(super) name: &'n str,
    /// Empty where the object has none.
    pub(super) namespace: &'n str,
    pub(super) node: &'n Node,
}

/// The documents of a file. A list of objects (`kind: List`, `MCPServerList`) counts as its items.
pub(super) fn documents(text: &str) -> Result<Vec<Node>, ImportError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for document in yaml::parse_all::<Node>(text)? {
        let is_list = document.text("kind").is_some_and(|kind| kind.ends_with("List"));
        match document.get("items").map(|items| &items.value) {
            Some(Value::List(items)) if is_list => documents.extend(items.iter().cloned()),
            _ => documents.push(document),
        }
    }
    match documents.get(MAX_DOCUMENTS) {
        Some(document) => Err(document
            .wrong(format!("the file has {} objects, at most {MAX_DOCUMENTS} are read", documents.len()))),
        None => Ok(documents),
    }
}

/// The document of a text that is a value of another file, on or after this line of it.
pub(super) fn inner(text: &str, line: u64, file: &str) -> Result<Node, ImportError> {
    let before = lines_before(text, line, file);
    let moved = |error: ImportError| match error {
        ImportError::Source { line, what } => ImportError::Source { line: line + before, what },
        other => other,
    };
    let mut node: Node = yaml::parse(text).map_err(|error| moved(error.into()))?;
    node.move_down(before);
    Ok(node)
}

/// How many lines of the file stand before a text that begins on or after this line: as many as put the text's first line
/// where the file has it. A text in quotes has all of its lines on this one.
fn lines_before(text: &str, line: u64, file: &str) -> u64 {
    let first = text.lines().next().unwrap_or_default().trim();
    let from = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let found = file.lines().skip(from).take(3).position(|line| line.trim() == first);
    let further = found.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
    line.saturating_sub(1) + further
}

impl Node {
    /// The field with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.fields()?.get(name)
    }

    /// The field that this path leads to.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// The fields, when there are fields.
    pub(super) fn fields(&self) -> Option<&BTreeMap<String, Self>> {
        match &self.value {
            Value::Map(fields) => Some(fields),
            Value::Null | Value::Plain(_) | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null | Value::Plain(_) | Value::Text(_) | Value::Map(_) => &[],
        }
    }

    /// The items of the list with this name; none when there is no such field, an error when it is no list.
    pub(super) fn list(&self, name: &str) -> Result<&[Self], ImportError> {
        match self.get(name).map(|field| (field, &field.value)) {
            None | Some((_, Value::Null)) => Ok(&[]),
            Some((_, Value::List(items))) => Ok(items),
            Some((field, Value::Plain(_) | Value::Text(_) | Value::Map(_))) => {
                Err(field.wrong(format!("`{name}` is not a list")))
            }
        }
    }

    /// The text, when it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Plain(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The text of the field with this name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// The texts of a list, each with its line; an error when it is no list or something else is in it.
    pub(super) fn texts(&self, what: &str) -> Result<Vec<(&str, u64)>, ImportError> {
        if !matches!(self.value, Value::List(_)) {
            return Err(self.wrong(format!("`{what}` is not a list of texts")));
        }
        let text = |item: &'_ Self| {
            let wrong = || item.wrong(format!("an item of `{what}` is not a text"));
            item.as_text().map(|_| ()).ok_or_else(wrong)
        };
        self.items().iter().try_for_each(text)?;
        Ok(self.items().iter().filter_map(|item| Some((item.as_text()?, item.line))).collect())
    }

    /// Refuses fields that are not among these: what is not understood may limit what is.
    pub(super) fn only(&self, of: &str, known: &[&str]) -> Result<(), ImportError> {
        let Some(fields) = self.fields() else {
            return Err(self.wrong(format!("`{of}` has no fields")));
        };
        match fields.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, node)) => Err(node.wrong(format!("the field `{name}` of `{of}` is not known here"))),
            None => Ok(()),
        }
    }

    /// A mistake here.
    pub(super) fn wrong(&self, what: impl Into<String>) -> ImportError {
        ImportError::Source { line: self.line, what: what.into() }
    }

    /// The object that this is; `None` for a document that is none.
    pub(super) fn object(&self) -> Option<Object<'_>> {
        self.text("apiVersion")?;
        Some(Object {
            kind: self.text("kind")?,
            name: self.at(&["metadata", "name"]).and_then(Self::as_text).unwrap_or_default(),
            namespace: self.at(&["metadata", "namespace"]).and_then(Self::as_text).unwrap_or_default(),
            node: self,
        })
    }

    fn move_down(&mut self, lines: u64) {
        self.line += lines;
        match &mut self.value {
            Value::Null | Value::Plain(_) | Value::Text(_) => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.move_down(lines)),
            Value::Map(fields) => fields.values_mut().for_each(|field| field.move_down(lines)),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { line: spanned.referenced.line(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, mut field)) = entries.next_entry::<Spanned<String>, Node>()? {
            // What has parts of its own begins with its name.
            if matches!(field.value, Value::List(_) | Value::Map(_)) {
                field.line = name.referenced.line();
            }
            fields.insert(name.value, field);
        }
        Ok(Value::Map(fields))
    }
}
