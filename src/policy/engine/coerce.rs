//! Values that came without types, typed by the schema: a text where the schema has an address is an address.
//!
//! A decision does not need to be told what is wrong with a value, it denies. Code that stores one does: a [`TypeFault`]
//! names the path, what the schema expects there and what was found.

use super::request::Query;
use super::schema_index::SchemaIndex;
use super::types::{RecordShape, Shape, name_of};
use crate::model::{self, EntityUid, Fields, Value, cedar_json};
use crate::policy::set::bundle::Bundle;

/// What does not fit the schema, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: expected {expected}, got {found}")]
pub struct TypeFault {
    /// The path: `uid`, `attrs.manager.id`, `parents`.
    pub path: String,
    /// What the schema has there.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl TypeFault {
    fn new(path: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { path: path.into(), expected: expected.into(), found: found.into() }
    }
}

/// Whether all attributes have to be there that the schema requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// They have to.
    Whole,
    /// Others state the rest.
    Part,
}

impl Bundle {
    /// Types an entity, and says what in it does not fit.
    pub fn type_entity(
        &self,
        entity: &mut model::Entity,
        completeness: Completeness,
    ) -> Result<(), TypeFault> {
        let schema = self.schema_index();
        let no_type = |_| TypeFault::new("uid", "an entity type of the schema", uid_text(&entity.uid));
        let known = schema.entity_type(&entity.uid).map_err(no_type)?;
        known
            .uid(&entity.uid)
            .map_err(|_| TypeFault::new("uid", "one of the names in the schema", uid_text(&entity.uid)))?;
        for (name, value) in &mut entity.attributes {
            let path = format!("attrs.{name}");
            let Some(shape) = known.attributes.field(name) else {
                return Err(TypeFault::new(path, "no attribute of this name", name_of(value)));
            };
            shape.settle(value);
            shape.fit(&path, value, schema)?;
        }
        let mut required = known.attributes.required();
        if completeness == Completeness::Whole
            && let Some((name, shape)) = required.find(|(name, _)| !entity.attributes.contains_key(*name))
        {
            return Err(TypeFault::new(format!("attrs.{name}"), shape.name(), "nothing"));
        }
        for (name, value) in &mut entity.tags {
            let path = format!("tags.{name}");
            let Some(shape) = &known.tags else {
                return Err(TypeFault::new(path, "no tags", name_of(value)));
            };
            shape.settle(value);
            shape.fit(&path, value, schema)?;
        }
        entity.parents.iter().try_for_each(|parent| self.check_parent("parents", &entity.uid, parent))
    }

    /// Whether the schema lets one entity be in another.
    pub fn check_parent(&self, path: &str, child: &EntityUid, parent: &EntityUid) -> Result<(), TypeFault> {
        let schema = self.schema_index();
        let allowed = schema.entity_type(child).is_ok_and(|known| {
            schema.uid(parent).is_ok_and(|parent| known.ancestors.contains(parent.entity_type()))
        });
        let expected = format!("something that a `{}` can be in", child.type_name());
        allowed.then_some(()).ok_or_else(|| TypeFault::new(path, expected, uid_text(parent)))
    }

    /// Types what a question from outside gives, as far as it fits; what does not is denied later.
    pub(crate) fn type_query(&self, query: &mut Query) {
        if let (Ok(action), Value::Record(context)) =
            (self.schema_index().action(&query.action), &mut query.context)
            && let Shape::Record(shape) = &action.context
        {
            settle_fields(shape, context);
        }
        for entity in &mut query.entities {
            let Ok(known) = self.schema_index().entity_type(&entity.uid) else { continue };
            if !entity.attributes.is_empty() || !entity.tags.is_empty() {
                let entity = std::sync::Arc::make_mut(entity);
                settle_fields(&known.attributes, &mut entity.attributes);
                if let Some(shape) = &known.tags {
                    entity.tags.iter_mut().for_each(|(_, value)| shape.settle(value));
                }
            }
        }
    }
}

fn uid_text(uid: &EntityUid) -> String {
    format!("`{uid}`")
}

fn settle_fields(shape: &RecordShape, fields: &mut Fields) {
    for (name, value) in fields {
        if let Some(shape) = shape.field(name) {
            shape.settle(value);
        }
    }
}

impl Shape {
    /// Makes of a text or a record what this type is, where it can be one.
    fn settle(&self, value: &mut Value) {
        match (self, &mut *value) {
            (Self::Decimal, Value::String(text)) => *value = Value::Decimal(std::sync::Arc::clone(text)),
            (Self::Duration, Value::String(text)) => *value = Value::Duration(std::sync::Arc::clone(text)),
            (Self::Ip, Value::String(text)) => *value = Value::Ip(std::sync::Arc::clone(text)),
            (Self::Datetime, Value::String(text)) => {
                if let Some(millis) = cedar_json::instant(text) {
                    *value = Value::Datetime(millis);
                }
            }
            (Self::Entity(_), Value::Record(fields)) => {
                if let (Some(Value::String(kind)), Some(Value::String(id)), 2) =
                    (fields.get("type"), fields.get("id"), fields.len())
                {
                    *value = Value::Entity(EntityUid::new(kind.as_ref(), std::sync::Arc::clone(id)));
                }
            }
            (Self::Set(element), Value::Set(items)) => items.iter_mut().for_each(|item| element.settle(item)),
            (Self::Record(shape), Value::Record(fields)) => settle_fields(shape, fields),
            _ => {}
        }
    }

    /// Whether the value is of this type, to the last field.
    fn fit(&self, path: &str, value: &Value, schema: &SchemaIndex) -> Result<(), TypeFault> {
        match (self, value) {
            (Self::Set(element), Value::Set(items)) => {
                items.iter().try_for_each(|item| element.fit(path, item, schema))
            }
            (Self::Record(shape), Value::Record(fields)) => {
                for (name, value) in fields {
                    let path = format!("{path}.{name}");
                    let Some(shape) = shape.field(name) else {
                        return Err(TypeFault::new(path, "no field of this name", name_of(value)));
                    };
                    shape.fit(&path, value, schema)?;
                }
                let missing = shape.required().find(|(name, _)| !fields.contains_key(*name));
                missing.map_or(Ok(()), |(name, shape)| {
                    Err(TypeFault::new(format!("{path}.{name}"), shape.name(), "nothing"))
                })
            }
            (Self::Entity(_), Value::Entity(uid)) => {
                self.check(value, schema).map_err(|_| TypeFault::new(path, self.name(), uid_text(uid)))
            }
            (Self::Decimal, Value::Decimal(text))
            | (Self::Duration, Value::Duration(text))
            | (Self::Ip, Value::Ip(text)) => self
                .check(value, schema)
                .map_err(|_| TypeFault::new(path, self.name(), format!("`{}`", text.escape_debug()))),
            _ => self.check(value, schema).map_err(|_| TypeFault::new(path, self.name(), name_of(value))),
        }
    }
}
