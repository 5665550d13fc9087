//! What a question from outside gives and the schema does not declare: taken apart from the rest, and laid out so that a
//! policy can look at it.
//!
//! Cedar's types are closed, so there is no attribute for a name that no schema has. Such values become pairs of a path and a
//! text, `{ key: "resource.owner", value: "bob" }`, in the one field [`EXTRA`] of the context, where the schema of the action
//! has that field. A policy that does not name the field does not see them: for it nothing has changed.

use serde_json::{Map, Value as Json};

use super::request::INPUT;
use super::types::{RecordShape, Shape};
use crate::model::{EntityUid, Fields, Value};
use crate::policy::set::bundle::Bundle;

/// The field of the context that has what is not declared: `Set<{ key: String, value: String }>`.
const EXTRA: &str = "extra";
const KEY: &str = "key";
const VALUE: &str = "value";

/// The most pairs of one question.
const MOST: usize = 256;
/// Bytes of one path.
const LONGEST_PATH: usize = 256;

/// A question gives too much that is not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UndeclaredError {
    /// Too many values.
    #[error("more than {MOST} values are not declared in the schema")]
    TooMany,
    /// A name, with those that it stands in, is too long.
    #[error("the name of a value that is not declared in the schema has more than {LONGEST_PATH} bytes")]
    TooLong,
}

/// Values without a place in the schema, as pairs of path and text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct UndeclaredValues(Vec<(String, String)>);

impl UndeclaredValues {
    /// Adds a value: a list gives a pair for each item, an object one for each field below its name. Numbers and truth values
    /// are written as in JSON; null and what is empty say nothing.
    fn add(&mut self, path: &str, value: &Json) -> Result<(), UndeclaredError> {
        if path.len() > LONGEST_PATH {
            return Err(UndeclaredError::TooLong);
        }
        match value {
            Json::Null => Ok(()),
            Json::Bool(truth) => self.push(path, truth.to_string()),
            Json::Number(number) => self.push(path, number.to_string()),
            Json::String(text) => self.push(path, text.clone()),
            Json::Array(items) => items.iter().try_for_each(|item| self.add(path, item)),
            Json::Object(fields) => {
                fields.iter().try_for_each(|(name, value)| self.add(&below(path, name), value))
            }
        }
    }

    fn push(&mut self, path: &str, text: String) -> Result<(), UndeclaredError> {
        if self.0.len() >= MOST {
            return Err(UndeclaredError::TooMany);
        }
        self.0.push((path.to_owned(), text));
        Ok(())
    }

    /// Takes out of `given` what `shape` does not declare, also inside of records that it does.
    fn take(
        &mut self,
        shape: &RecordShape,
        given: Map<String, Json>,
        path: &str,
    ) -> Result<Map<String, Json>, UndeclaredError> {
        let mut declared = Map::new();
        for (name, value) in given {
            match (shape.field(&name), value) {
                (None, value) => self.add(&below(path, &name), &value)?,
                (Some(Shape::Record(inner)), Json::Object(fields)) => {
                    let fields = self.take(inner, fields, &below(path, &name))?;
                    declared.insert(name, Json::Object(fields));
                }
                (Some(_), value) => drop(declared.insert(name, value)),
            }
        }
        Ok(declared)
    }

    fn values(self) -> impl Iterator<Item = Value> {
        let pair = |(path, text): (String, String)| {
            Value::record([(KEY, Value::text(path)), (VALUE, Value::text(text))])
        };
        self.0.into_iter().map(pair)
    }
}

fn below(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

impl Bundle {
    /// Whether the action has an input of its own, in `context.input`.
    pub fn has_input(&self, action: &EntityUid) -> bool {
        self.context_shape(action).is_some_and(|shape| shape.field(INPUT).is_some())
    }

    fn context_shape(&self, action: &EntityUid) -> Option<&RecordShape> {
        match &self.schema_index().action(action).ok()?.context {
            Shape::Record(shape) => Some(shape),
            _ => None,
        }
    }

    /// The properties that entities of this type have; the others go into `undeclared`, under `party`. Of a type that the
    /// schema does not have all stay: the question is denied.
    ///
    /// # Errors
    /// There is too much that is not declared.
    pub fn declared_properties(
        &self,
        party: &str,
        uid: &EntityUid,
        given: Map<String, Json>,
        undeclared: &mut UndeclaredValues,
    ) -> Result<Map<String, Json>, UndeclaredError> {
        match self.schema_index().entity_type(uid) {
            Ok(known) => undeclared.take(&known.attributes, given, party),
            Err(_) => Ok(given),
        }
    }

    /// The same for the context of an action.
    ///
    /// # Errors
    /// There is too much that is not declared.
    pub fn declared_context(
        &self,
        action: &EntityUid,
        given: Map<String, Json>,
        undeclared: &mut UndeclaredValues,
    ) -> Result<Map<String, Json>, UndeclaredError> {
        match self.context_shape(action) {
            Some(shape) => undeclared.take(shape, given, "context"),
            None => Ok(given),
        }
    }

    /// The same for the properties of an action, which are its input.
    ///
    /// # Errors
    /// There is too much that is not declared.
    pub fn declared_input(
        &self,
        action: &EntityUid,
        given: Map<String, Json>,
        undeclared: &mut UndeclaredValues,
    ) -> Result<Map<String, Json>, UndeclaredError> {
        match self.context_shape(action).map(|shape| shape.field(INPUT)) {
            Some(Some(Shape::Record(shape))) => undeclared.take(shape, given, "action"),
            Some(_) => undeclared.take(&RecordShape::default(), given, "action"),
            None => Ok(given),
        }
    }

    /// Puts what is not declared into the context, where the action's schema has a field for it. Elsewhere no policy could
    /// look at it.
    pub fn carry(&self, action: &EntityUid, undeclared: UndeclaredValues, context: &mut Fields) {
        let place = self.context_shape(action).and_then(|shape| shape.field(EXTRA));
        if undeclared.0.is_empty() || !place.is_some_and(is_set_of_pairs) {
            return;
        }
        match context.get_mut(EXTRA) {
            Some(Value::Set(given)) => given.extend(undeclared.values()),
            // What the caller gives there is not of the type: the question is denied as it is.
            Some(_) => {}
            None => drop(context.insert(EXTRA.into(), Value::Set(undeclared.values().collect()))),
        }
    }
}

/// `Set<{ key: String, value: String }>`.
fn is_set_of_pairs(shape: &Shape) -> bool {
    let Shape::Set(element) = shape else { return false };
    let Shape::Record(pair) = element.as_ref() else { return false };
    let names: Vec<_> = pair.required().map(|(name, shape)| (name.as_str(), shape)).collect();
    pair.len() == 2 && matches!(names.as_slice(), [(KEY, Shape::String), (VALUE, Shape::String)])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::Sources;

    const SCHEMA: &str = r#"
entity user = { name?: String, home?: { city?: String } };
entity doc;
type Extra = Set<{ key: String, value: String }>;
action read appliesTo { principal: [user], resource: [doc], context: { time?: String, extra?: Extra, input?: { soft?: Bool } } };
action plain appliesTo { principal: [user], resource: [doc], context: { time?: String } };
action odd appliesTo { principal: [user], resource: [doc], context: { extra?: Set<String> } };
"#;

    fn bundle() -> Bundle {
        let sources = Sources::new().with_schema("s.cedarschema", SCHEMA);
        Bundle::load(sources.with_policy("p.cedar", "@id(\"p\") permit(principal, action, resource);"))
            .unwrap()
    }

    fn object(json: Json) -> Map<String, Json> {
        json.as_object().unwrap().clone()
    }

    fn action(name: &str) -> EntityUid {
        EntityUid::new("Action", name)
    }

    #[test]
    fn what_is_not_declared_is_taken_out_at_every_depth_and_written_as_text() {
        let bundle = bundle();
        let mut undeclared = UndeclaredValues::default();
        let given = object(json!({
            "name": "ann", "home": { "city": "Ulm", "floor": 3 }, "tags": ["a", "b", ["c"]], "on": true, "rate": 1.5,
            "boss": { "name": "bo" }, "none": null, "empty": [],
        }));
        let user = EntityUid::new("user", "ann");
        let declared = bundle.declared_properties("subject", &user, given, &mut undeclared).unwrap();
        assert_eq!(Json::Object(declared), json!({ "name": "ann", "home": { "city": "Ulm" } }));
        let mut pairs = undeclared.0;
        pairs.sort();
        let expected = [
            ("subject.boss.name", "bo"),
            ("subject.home.floor", "3"),
            ("subject.on", "true"),
            ("subject.rate", "1.5"),
            ("subject.tags", "a"),
            ("subject.tags", "b"),
            ("subject.tags", "c"),
        ];
        assert_eq!(pairs, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }

    #[test]
    fn the_properties_of_an_action_are_its_input() {
        let bundle = bundle();
        let mut undeclared = UndeclaredValues::default();
        let given = object(json!({ "soft": true, "method": "GET" }));
        let declared = bundle.declared_input(&action("read"), given.clone(), &mut undeclared).unwrap();
        assert_eq!(Json::Object(declared), json!({ "soft": true }));
        assert_eq!(undeclared.0, [("action.method".to_owned(), "GET".to_owned())]);
        assert!(bundle.has_input(&action("read")) && !bundle.has_input(&action("plain")));
        let declared = bundle.declared_input(&action("plain"), given, &mut undeclared).unwrap();
        assert!(declared.is_empty());
    }

    #[test]
    fn only_a_field_of_the_right_type_takes_it() {
        let bundle = bundle();
        for (name, carries) in [("read", true), ("plain", false), ("odd", false)] {
            let mut undeclared = UndeclaredValues::default();
            let given = object(json!({ "colour": "red" }));
            bundle.declared_context(&action(name), given, &mut undeclared).unwrap();
            let mut context = Fields::new();
            bundle.carry(&action(name), undeclared, &mut context);
            let pair = Value::record([(KEY, Value::text("context.colour")), (VALUE, Value::text("red"))]);
            assert_eq!(context.get(EXTRA), carries.then(|| Value::Set(vec![pair])).as_ref(), "{name}");
        }
    }

    #[test]
    fn there_is_an_end_to_it() {
        let bundle = bundle();
        let many: Vec<u64> = (0..257).collect();
        let long = "x".repeat(LONGEST_PATH);
        for (given, error) in [
            (json!({ "many": many }), UndeclaredError::TooMany),
            (json!({ long: 1 }), UndeclaredError::TooLong),
        ] {
            let answer =
                bundle.declared_context(&action("read"), object(given), &mut UndeclaredValues::default());
            assert_eq!(answer.unwrap_err(), error);
        }
    }
}
