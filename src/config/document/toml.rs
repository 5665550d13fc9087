//! TOML to the same tree as YAML.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{KeyName, Node, Scalar, Value};
use crate::config::problem::{ConfigProblem, ProblemCode};

/// Reads TOML; the parser recovers, so all its mistakes are reported.
pub(super) fn parse(text: &str) -> (Node, Vec<ConfigProblem>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let problems = errors
        .iter()
        .map(|error| {
            let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            let code =
                if message.contains("duplicate key") { ProblemCode::Duplicate } else { ProblemCode::Syntax };
            let problem = ConfigProblem::error(code, format!("this is not TOML: {message}"));
            match error.span() {
                Some(at) => problem.at(text, &at),
                None => problem,
            }
        })
        .collect();
    let at = table.span();
    (Node { at, value: section(table.get_ref()) }, problems)
}

fn section(table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(name, value)| {
        let name = KeyName { at: name.span(), text: name.get_ref().to_string() };
        (name, node(value))
    });
    Value::Section(entries.collect())
}

fn node(value: &Spanned<DeValue<'_>>) -> Node {
    let plain = |text: String| Value::Scalar(Scalar { text, quoted: false });
    let inner = match value.get_ref() {
        DeValue::String(text) => Value::Scalar(Scalar { text: text.to_string(), quoted: true }),
        DeValue::Integer(number) => plain(
            i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.to_string(), |number| number.to_string()),
        ),
        DeValue::Float(number) => plain(number.to_string()),
        DeValue::Boolean(flag) => plain(flag.to_string()),
        DeValue::Datetime(time) => plain(time.to_string()),
        DeValue::Array(items) => Value::List(items.iter().map(node).collect()),
        DeValue::Table(table) => section(table),
    };
    Node { at: value.span(), value: inner }
}
