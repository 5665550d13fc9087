//! Several values: in order, or by name.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::{ReadContext, ValueType, printable};
use crate::config::document::{Node, Value};
use crate::config::problem::ProblemCode;
use crate::text::is_hidden;

/// Values that a list holds at most.
const MAX_ITEMS: usize = 1_000;

/// Values in order, none of them twice.
pub(in crate::config) struct List<K>(pub(in crate::config) K);

impl<K: ValueType> ValueType for List<K> {
    type Value = Vec<K::Value>;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Vec<K::Value>> {
        let Value::List(items) = &node.value else {
            return scope.reject(node, ProblemCode::WrongType, "is not a list", "write `[one, two]`");
        };
        if items.len() > MAX_ITEMS {
            return scope.reject(
                node,
                ProblemCode::OutOfRange,
                format!("has more than {MAX_ITEMS} values"),
                "",
            );
        }
        let mut seen = BTreeSet::new();
        let mut values = Vec::with_capacity(items.len());
        let mut good = true;
        for item in items {
            match self.0.read(item, scope) {
                Some(value) if self.0.secret() || seen.insert(self.0.show(&value)) => values.push(value),
                Some(value) => {
                    let message =
                        format!("`{}` is in the list a second time", printable(&self.0.show(&value)));
                    scope.reject::<()>(item, ProblemCode::Duplicate, message, "remove one of the two");
                    good = false;
                }
                None => good = false,
            }
        }
        good.then_some(values)
    }

    fn show(&self, value: &Vec<K::Value>) -> String {
        let items: Vec<_> = value.iter().map(|item| self.0.show(item)).collect();
        format!("[{}]", items.join(", "))
    }

    fn type_name(&self) -> String {
        format!("list; each: {}", self.0.type_name())
    }

    fn schema(&self) -> Json {
        json!({ "type": "array", "items": self.0.schema(), "maxItems": MAX_ITEMS, "uniqueItems": true })
    }

    fn secret(&self) -> bool {
        self.0.secret()
    }
}

/// Values by a name that the operator chooses.
pub(in crate::config) struct NamedValues<K> {
    each: K,
    legal: fn(char) -> bool,
}

impl<K> NamedValues<K> {
    /// Named by words: variables, header fields.
    pub(in crate::config) fn of_words(each: K) -> Self {
        Self { each, legal: |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') }
    }

    /// Named by tools, whose names other systems choose.
    pub(in crate::config) fn of_tools(each: K) -> Self {
        Self { each, legal: |c| !is_hidden(c) }
    }
}

impl<K: ValueType> ValueType for NamedValues<K> {
    type Value = Vec<(String, K::Value)>;

    fn read(&self, node: &Node, scope: &mut ReadContext<'_>) -> Option<Self::Value> {
        let Value::Section(entries) = &node.value else {
            return scope.reject(
                node,
                ProblemCode::WrongType,
                "is not a section",
                "write `NAME: value` lines",
            );
        };
        if entries.len() > MAX_ITEMS {
            return scope.reject(
                node,
                ProblemCode::OutOfRange,
                format!("has more than {MAX_ITEMS} values"),
                "",
            );
        }
        let mut values = Vec::with_capacity(entries.len());
        let mut good = true;
        for (name, item) in entries {
            if name.text.is_empty() || !name.text.chars().all(self.legal) {
                let message = format!("`{}` is not a name", printable(&name.text));
                scope.reject::<()>(
                    item,
                    ProblemCode::WrongType,
                    message,
                    "letters, digits, `-` and `_` are allowed",
                );
                good = false;
            }
            match self.each.read(item, scope) {
                Some(value) => values.push((name.text.clone(), value)),
                None => good = false,
            }
        }
        good.then_some(values)
    }

    fn show(&self, value: &Self::Value) -> String {
        let items: Vec<_> =
            value.iter().map(|(name, item)| format!("{name}: {}", self.each.show(item))).collect();
        format!("{{{}}}", items.join(", "))
    }

    fn type_name(&self) -> String {
        format!("section of names; each: {}", self.each.type_name())
    }

    fn schema(&self) -> Json {
        json!({ "type": "object", "additionalProperties": self.each.schema(), "maxProperties": MAX_ITEMS })
    }

    fn secret(&self) -> bool {
        self.each.secret()
    }
}
