//! Circumstances that a statement is about: a scope and conditions, as one permit. A request meets them when the permit
//! would permit it.

use std::str::FromStr as _;
use std::sync::Arc;

use super::claim::{Claim, Kind, Relation};
use crate::policy::set::depth;
use crate::policy::set::depth::Language;
use crate::policy::{Bundle, PolicyErrors, SourceKind, Sources};
use crate::workbench::case::{CaseError, Circumstances, SchemaNames, Several};

/// The policy that stands for the circumstances.
const ID: &str = "circumstances";

/// Why circumstances mean nothing.
#[derive(Debug, thiserror::Error)]
pub enum CircumstancesError {
    /// A name that is not there.
    #[error(transparent)]
    Name(#[from] CaseError),
    /// Not one expression.
    #[error("`{0}` is not an expression: {1}")]
    Expression(String, String),
    /// The schema has no such request.
    #[error("the schema has no request that meets these conditions: the statement is vacuous")]
    Nothing,
    /// It does not fit the schema.
    #[error("the condition does not fit the schema")]
    Schema(#[source] PolicyErrors),
}

impl Claim {
    /// Nothing is permitted in the circumstances.
    pub fn always_denies(bundle: &Bundle, about: &Circumstances) -> Result<Self, CircumstancesError> {
        let words = format!("nothing is permitted {}", about.words());
        Self::in_circumstances(bundle, about, Relation::Denies, words)
    }

    /// Everything is permitted in the circumstances.
    pub fn always_allows(bundle: &Bundle, about: &Circumstances) -> Result<Self, CircumstancesError> {
        let words = format!("everything is permitted {}", about.words());
        Self::in_circumstances(bundle, about, Relation::Allows, words)
    }

    fn in_circumstances(
        bundle: &Bundle,
        about: &Circumstances,
        relation: Relation,
        words: String,
    ) -> Result<Self, CircumstancesError> {
        let other = Arc::new(about.bundle(bundle)?);
        let kind =
            Kind::Decisions { relation, other, named: "the circumstances".to_owned(), except: Vec::new() };
        Ok(Self { words, place: None, kind })
    }
}

impl Circumstances {
    fn words(&self) -> String {
        let mut about = Vec::new();
        for (name, several) in
            [("principal", &self.principal), ("action", &self.action), ("resource", &self.resource)]
        {
            about.extend((!several.0.is_empty()).then(|| format!("{name} {}", several.0.join(" or "))));
        }
        let mut words = if about.is_empty() { Vec::new() } else { vec![format!("for {}", about.join(", "))] };
        words.extend(self.when.0.iter().map(|condition| format!("when {condition}")));
        words.extend(self.unless.0.iter().map(|condition| format!("unless {condition}")));
        if words.is_empty() { "at all".to_owned() } else { words.join(", ") }
    }

    /// The permit, under the schema of `bundle`.
    fn bundle(&self, bundle: &Bundle) -> Result<Bundle, CircumstancesError> {
        let schemas = bundle.sources().iter().filter(|source| source.kind == SourceKind::Schema);
        let schemas =
            schemas.fold(Sources::new(), |sources, source| sources.with_schema(&source.name, &source.text));
        let schema_names = SchemaNames::new(bundle.schema().as_ref());
        let text = self.permit(schema_names)?;
        let loaded = Bundle::load(schemas.with_policy("statement.cedar", &text));
        let loaded = loaded.map_err(|errors| match errors.problems() {
            [only] if only.message.contains("unable to find an applicable action") => {
                CircumstancesError::Nothing
            }
            _ => CircumstancesError::Schema(errors),
        })?;
        let environments = super::Environment::all(loaded.schema_index());
        let about = |env: &super::Environment| {
            loaded.program().any(|(_, compiled)| env.matches(&compiled.scope, loaded.schema_index()))
        };
        if !environments.iter().any(about) {
            return Err(CircumstancesError::Nothing);
        }
        Ok(loaded)
    }

    fn permit(&self, schema_names: SchemaNames<'_>) -> Result<String, CircumstancesError> {
        let mut conditions = String::new();
        let mut scope = |variable: &str, several: &Several| -> Result<String, CircumstancesError> {
            let tests = several.0.iter().map(|name| match schema_names.entity_type(name) {
                Ok(kind) => Ok(format!("{variable} is {kind}")),
                Err(unknown) if !name.contains("::\"") => Err(unknown),
                Err(_) => Ok(format!("{variable} in {}", schema_names.entity(name)?)),
            });
            let tests = tests.collect::<Result<Vec<_>, CaseError>>()?;
            Ok(match tests.as_slice() {
                [] => variable.to_owned(),
                [only] => only.clone(),
                // A scope names one thing; several are a condition.
                several => {
                    conditions.push_str(&format!("when {{ {} }}\n", several.join(" || ")));
                    variable.to_owned()
                }
            })
        };
        let (principal, resource) =
            (scope("principal", &self.principal)?, scope("resource", &self.resource)?);
        let actions = self.action.0.iter().map(|name| schema_names.action(name).map(|uid| uid.to_string()));
        let actions = actions.collect::<Result<Vec<_>, _>>()?;
        let action = match actions.as_slice() {
            [] => "action".to_owned(),
            several => format!("action in [{}]", several.join(", ")),
        };
        for (keyword, list) in [("when", &self.when), ("unless", &self.unless)] {
            for condition in &list.0 {
                let wrong = |error: &dyn std::fmt::Display| {
                    CircumstancesError::Expression(condition.clone(), error.to_string())
                };
                depth::check(condition, Language::Policy).map_err(|deep| wrong(&deep))?;
                // Alone it has to be one expression: it cannot close the braces and begin a policy of its own.
                cedar_policy::Expression::from_str(condition).map_err(|error| wrong(&error))?;
                conditions.push_str(&format!("{keyword} {{ {condition}\n}}\n"));
            }
        }
        Ok(format!("@id(\"{ID}\")\npermit ({principal}, {action}, {resource})\n{conditions};\n"))
    }
}
