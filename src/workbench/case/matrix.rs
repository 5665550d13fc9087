//! One test, many rows: every combination of the matrix, or the rows as listed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::CaseError;

/// The most rows of one test.
const MAX_ROWS: usize = 10_000;

/// One row: the values that stand for `${name}`.
#[derive(Debug, Default)]
pub(in crate::workbench) struct Row {
    values: BTreeMap<String, Json>,
    used: RefCell<BTreeSet<String>>,
}

/// The rows of a matrix: one without values when there is none.
pub(in crate::workbench) fn rows(matrix: Option<&Json>) -> Result<Vec<Row>, CaseError> {
    let rows = match matrix {
        None => vec![BTreeMap::new()],
        Some(Json::Object(lists)) => product(lists)?,
        Some(Json::Array(rows)) => rows.iter().map(listed).collect::<Result<_, _>>()?,
        Some(_) => return Err(CaseError::MatrixShape),
    };
    if rows.is_empty() {
        return Err(CaseError::MatrixShape);
    }
    if rows.len() > MAX_ROWS {
        return Err(CaseError::TooManyRows { limit: MAX_ROWS });
    }
    Ok(rows.into_iter().map(|values| Row { values, used: RefCell::default() }).collect())
}

fn listed(row: &Json) -> Result<BTreeMap<String, Json>, CaseError> {
    let Json::Object(row) = row else { return Err(CaseError::MatrixShape) };
    Ok(row.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
}

fn product(lists: &Map<String, Json>) -> Result<Vec<BTreeMap<String, Json>>, CaseError> {
    let mut rows = vec![BTreeMap::new()];
    for (name, list) in lists {
        let Json::Array(values) = list else { return Err(CaseError::MatrixShape) };
        if values.len().saturating_mul(rows.len()) > MAX_ROWS {
            return Err(CaseError::TooManyRows { limit: MAX_ROWS });
        }
        rows = rows
            .iter()
            .flat_map(|row| {
                values.iter().map(move |value| {
                    let mut row = row.clone();
                    row.insert(name.clone(), value.clone());
                    row
                })
            })
            .collect();
    }
    Ok(rows)
}

impl Row {
    /// `hour = 23, host = "a"`; empty without a matrix.
    pub(in crate::workbench) fn label(&self) -> String {
        let pairs: Vec<String> =
            self.values.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        pairs.join(", ")
    }

    /// Names that nothing asked for so far.
    pub(in crate::workbench) fn unused(&self) -> Option<String> {
        let used = self.used.borrow();
        self.values.keys().find(|name| !used.contains(*name)).cloned()
    }

    /// `text` with every `${name}` replaced. A text that really has `${` in it comes from the matrix, whose own
    /// values stay as they are.
    pub(in crate::workbench) fn text(&self, text: &str) -> Result<String, CaseError> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, after)) = after.split_once('}') else {
                return Err(CaseError::NoSuchVariable(after.to_owned()));
            };
            filled.push_str(before);
            match self.value(name)? {
                Json::String(text) => filled.push_str(text),
                other => filled.push_str(&other.to_string()),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// `value` with every `${name}` in it replaced; a text that is only `${name}` takes the value's own type.
    pub(in crate::workbench) fn json(&self, value: &Json) -> Result<Json, CaseError> {
        Ok(match value {
            Json::String(text) => match text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
                Some(name) if !name.contains('}') => self.value(name)?.clone(),
                _ => Json::String(self.text(text)?),
            },
            Json::Array(items) => {
                Json::Array(items.iter().map(|item| self.json(item)).collect::<Result<_, _>>()?)
            }
            Json::Object(fields) => Json::Object(self.map(fields)?),
            Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        })
    }

    /// Every value of a map, replaced likewise.
    pub(in crate::workbench) fn map(
        &self,
        fields: &Map<String, Json>,
    ) -> Result<Map<String, Json>, CaseError> {
        fields.iter().map(|(name, value)| Ok((name.clone(), self.json(value)?))).collect()
    }

    fn value(&self, name: &str) -> Result<&Json, CaseError> {
        let value = self.values.get(name).ok_or_else(|| CaseError::NoSuchVariable(name.to_owned()))?;
        self.used.borrow_mut().insert(name.to_owned());
        Ok(value)
    }
}
