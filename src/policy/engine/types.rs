//! The schema's types, laid out for one pass that checks a value and turns it into Cedar's at once.
//!
//! Cedar's own check builds an expression tree of the whole context for each request; this one touches each
//! value once. What it accepts is exactly what Cedar accepts, which `tests` below hold against Cedar.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use cedar_policy_core::ast;
use cedar_policy_core::validator::types::{Attributes, EntityKind, OpenTag, Type};
use litemap::LiteMap;
use smol_str::SmolStr;

use super::projection::FieldAccesses;
use super::schema_index::SchemaIndex;
use crate::model::cedar_json::FOUR_DIGIT_YEARS;
use crate::model::{Fields, Value};

/// Why a request does not fit the schema: for the operator, never for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Mismatch {
    what: String,
}

impl Mismatch {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }

    /// Says where in a record the mismatch is.
    fn under(self, field: &str) -> Self {
        Self { what: format!("`{field}`: {}", self.what) }
    }
}

/// One type of the schema.
#[derive(Debug)]
pub(crate) enum Shape {
    Bool,
    Long,
    String,
    Set(Box<Shape>),
    Record(RecordShape),
    Entity(ast::EntityType),
    Decimal,
    Datetime,
    Duration,
    Ip,
    /// A type that no value of the model has: nothing fits it.
    Unreachable(String),
}

/// The fields of a record, an entity or a context.
#[derive(Debug, Default)]
pub(crate) struct RecordShape {
    fields: LiteMap<SmolStr, Field>,
    required: usize,
}

#[derive(Debug)]
struct Field {
    shape: Shape,
    required: bool,
}

impl Shape {
    pub(crate) fn of(schema_type: &Type) -> Self {
        match schema_type {
            Type::Bool(_) => Self::Bool,
            Type::Long => Self::Long,
            Type::String => Self::String,
            Type::Set { element_type: Some(element) } => Self::Set(Box::new(Self::of(element))),
            Type::Record { attrs, open_attributes: OpenTag::ClosedAttributes } => {
                Self::Record(RecordShape::of(attrs))
            }
            Type::Entity(EntityKind::Entity(kinds)) => match kinds.get_single_entity() {
                Some(only) => Self::Entity(only.clone()),
                None => Self::Unreachable("a choice of entity types".to_owned()),
            },
            Type::ExtensionType { name } => match name.to_string().as_str() {
                "decimal" => Self::Decimal,
                "datetime" => Self::Datetime,
                "duration" => Self::Duration,
                "ipaddr" => Self::Ip,
                other => Self::Unreachable(other.to_owned()),
            },
            Type::Never
            | Type::Set { element_type: None }
            | Type::Entity(EntityKind::AnyEntity)
            | Type::Record { open_attributes: OpenTag::OpenAttributes, .. } => {
                Self::Unreachable("a type outside strict schemas".to_owned())
            }
        }
    }

    /// The Cedar value, when `value` is of this type.
    pub(crate) fn convert(&self, value: &Value, schema: &SchemaIndex) -> Result<ast::Value, Mismatch> {
        let literal = |literal: ast::Literal| Ok(ast::Value::new(literal, None));
        match (self, value) {
            (Self::Bool, Value::Bool(value)) => literal((*value).into()),
            (Self::Long, Value::Long(value)) => literal((*value).into()),
            (Self::String, Value::String(text)) => literal(ast::Literal::String(text.as_ref().into())),
            (Self::Set(element), Value::Set(items)) => {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| element.convert(item, schema)).collect();
                Ok(ast::Value::set(items?, None))
            }
            (Self::Record(shape), Value::Record(fields)) => {
                let fields = shape.convert(fields, schema)?;
                Ok(ast::Value::record_arc(Arc::new(fields.into_iter().collect()), None))
            }
            (Self::Entity(kind), Value::Entity(uid)) => {
                let uid = schema.uid(uid)?;
                if uid.entity_type() != kind {
                    return Err(Mismatch::new(format!("expected a `{kind}`, got a `{}`", uid.entity_type())));
                }
                literal(ast::Literal::EntityUID(Arc::new(uid)))
            }
            (Self::Decimal, Value::Decimal(text)) => schema.extensions().decimal(text),
            (Self::Datetime, Value::Datetime(millis)) => schema.extensions().datetime(*millis),
            (Self::Duration, Value::Duration(text)) => schema.extensions().duration(text),
            (Self::Ip, Value::Ip(text)) => schema.extensions().ip(text),
            (expected, got) => {
                Err(Mismatch::new(format!("expected {}, got {}", expected.name(), name_of(got))))
            }
        }
    }

    /// The same, with what is seen of a record alone; all of it is checked.
    fn convert_seen(
        &self,
        value: &Value,
        schema: &SchemaIndex,
        views: &FieldAccesses<'_>,
    ) -> Result<ast::Value, Mismatch> {
        match (self, value) {
            (Self::Record(shape), Value::Record(fields)) => {
                Ok(ast::Value::record_arc(Arc::new(shape.convert_seen(fields, schema, views)?), None))
            }
            _ => self.convert(value, schema),
        }
    }

    /// Whether [`Shape::convert`] would make a value of it, without making one.
    pub(crate) fn check(&self, value: &Value, schema: &SchemaIndex) -> Result<(), Mismatch> {
        match (self, value) {
            (Self::Bool, Value::Bool(_))
            | (Self::Long, Value::Long(_))
            | (Self::String, Value::String(_)) => Ok(()),
            (Self::Set(element), Value::Set(items)) => {
                items.iter().try_for_each(|item| element.check(item, schema))
            }
            (Self::Record(shape), Value::Record(fields)) => shape.check(fields, schema),
            (Self::Datetime, Value::Datetime(millis)) if FOUR_DIGIT_YEARS.contains(millis) => Ok(()),
            // What this reads as an address, Cedar does.
            (Self::Ip, Value::Ip(text)) if text.parse::<Ipv4Addr>().is_ok() => Ok(()),
            _ => self.convert(value, schema).map(drop),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Bool => "a Bool".to_owned(),
            Self::Long => "a Long".to_owned(),
            Self::String => "a String".to_owned(),
            Self::Set(_) => "a Set".to_owned(),
            Self::Record(_) => "a record".to_owned(),
            Self::Entity(kind) => format!("a `{kind}`"),
            Self::Decimal => "a decimal".to_owned(),
            Self::Datetime => "a datetime".to_owned(),
            Self::Duration => "a duration".to_owned(),
            Self::Ip => "an ipaddr".to_owned(),
            Self::Unreachable(other) => format!("`{other}`, which no request can carry"),
        }
    }
}

pub(crate) fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "a Bool",
        Value::Long(_) => "a Long",
        Value::String(_) => "a String",
        Value::Set(_) => "a Set",
        Value::Record(_) => "a record",
        Value::Entity(_) => "an entity",
        Value::Decimal(_) => "a decimal",
        Value::Datetime(_) => "a datetime",
        Value::Duration(_) => "a duration",
        Value::Ip(_) => "an ipaddr",
    }
}

impl Shape {
    /// The same record, which may lack `name`.
    pub(crate) fn without_requiring(mut self, name: &str) -> Self {
        if let Self::Record(record) = &mut self
            && let Some(field) = record.fields.get_mut(name)
            && std::mem::take(&mut field.required)
        {
            record.required -= 1;
        }
        self
    }
}

impl RecordShape {
    pub(crate) fn of(attributes: &Attributes) -> Self {
        let fields: LiteMap<SmolStr, Field> = attributes
            .iter()
            .map(|(name, attribute)| {
                let shape = Shape::of(&attribute.attr_type);
                (name.clone(), Field { shape, required: attribute.is_required })
            })
            .collect();
        let required = fields.values().filter(|field| field.required).count();
        Self { fields, required }
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The shape of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&Shape> {
        self.fields.get(name).map(|field| &field.shape)
    }

    /// The fields that have to be there.
    pub(crate) fn required(&self) -> impl Iterator<Item = (&SmolStr, &Shape)> {
        let required = self.fields.iter().filter(|(_, field)| field.required);
        required.map(|(name, field)| (name, &field.shape))
    }

    /// Whether something that the schema requires is not in `given`, at any depth.
    pub(crate) fn lacks_any(&self, given: &Fields) -> bool {
        self.fields.iter().filter(|(_, field)| field.required).any(|(name, field)| {
            match (given.get(name), &field.shape) {
                (None, _) => true,
                (Some(Value::Record(inside)), Shape::Record(shape)) => shape.lacks_any(inside),
                (Some(_), _) => false,
            }
        })
    }

    /// Adds to `given` what the schema requires there and `known` has. What is given stays, also inside of records.
    pub(crate) fn complete(&self, given: &mut Fields, known: &Fields) {
        for (name, field) in self.fields.iter().filter(|(_, field)| field.required) {
            let Some(value) = known.get(name) else { continue };
            match (given.get_mut(name), value, &field.shape) {
                (None, value, _) => drop(given.insert(name.clone(), value.clone())),
                (Some(Value::Record(given)), Value::Record(known), Shape::Record(shape)) => {
                    shape.complete(given, known);
                }
                (Some(_), _, _) => {}
            }
        }
    }

    /// Cedar's fields in order of their names, when all that are required are there, each of its type, and no other.
    pub(crate) fn convert(
        &self,
        values: &Fields,
        schema: &SchemaIndex,
    ) -> Result<Vec<(SmolStr, ast::Value)>, Mismatch> {
        self.convert_some(values, schema, |_| true)
    }

    /// The same check, and only what is seen of the fields.
    pub(crate) fn convert_seen(
        &self,
        values: &Fields,
        schema: &SchemaIndex,
        views: &FieldAccesses<'_>,
    ) -> Result<BTreeMap<SmolStr, ast::Value>, Mismatch> {
        if views.are_whole() {
            return Ok(self.convert(values, schema)?.into_iter().collect());
        }
        let mut converted = BTreeMap::new();
        self.each(values, |name, shape, value| match views.of_field(name) {
            Some(views) => {
                converted.insert(name.clone(), shape.convert_seen(value, schema, &views)?);
                Ok(())
            }
            None => shape.check(value, schema),
        })?;
        Ok(converted)
    }

    /// Whether [`RecordShape::convert`] would make Cedar's fields of them.
    pub(crate) fn check(&self, values: &Fields, schema: &SchemaIndex) -> Result<(), Mismatch> {
        self.each(values, |_, shape, value| shape.check(value, schema))
    }

    /// The same check, and only those of the fields that are `wanted`.
    pub(crate) fn convert_some(
        &self,
        values: &Fields,
        schema: &SchemaIndex,
        wanted: impl Fn(&SmolStr) -> bool,
    ) -> Result<Vec<(SmolStr, ast::Value)>, Mismatch> {
        let mut converted = Vec::with_capacity(values.len());
        self.each(values, |name, shape, value| {
            if wanted(name) {
                converted.push((name.clone(), shape.convert(value, schema)?));
                return Ok(());
            }
            shape.check(value, schema)
        })?;
        Ok(converted)
    }

    /// Shows each field with its shape, when all that are required are there and no other.
    fn each(
        &self,
        values: &Fields,
        mut visit: impl FnMut(&SmolStr, &Shape, &Value) -> Result<(), Mismatch>,
    ) -> Result<(), Mismatch> {
        let mut required = 0_usize;
        // Both are in order, so one pass over each is enough.
        let mut fields = self.fields.iter();
        for (given, value) in values {
            let Some((name, field)) = fields.find(|(name, _)| *name == given) else {
                return Err(Mismatch::new(format!("`{given}` is not in the schema")));
            };
            required += usize::from(field.required);
            visit(name, &field.shape, value).map_err(|mismatch| mismatch.under(name))?;
        }
        if required < self.required {
            let missing =
                self.fields.iter().find(|(name, field)| field.required && !values.contains_key(*name));
            let name = missing.map(|(name, _)| name.as_str()).unwrap_or_default();
            return Err(Mismatch::new(format!("`{name}` is missing")));
        }
        Ok(())
    }
}
