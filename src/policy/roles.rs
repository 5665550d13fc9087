//! `roles.yaml` beside the policies: compiled to Cedar when the set is loaded, and evaluated as every other policy.
//!
//! A role is said in one place. What the file says of a built-in role takes the place of what is shipped; a role that the
//! operator's own policies speak of as well is a conflict, and both places are named.

use std::path::Path;
use std::sync::Arc;

use super::Bundle;
use super::error::{PolicyError, position_in};
use super::import::{From, ImportError, Input, import};
use super::program::{Compiled, Effect, Reach};
use super::settings::Limits;
use super::shipped;
use super::source::{Source, SourceKind, Sources, read_text};

/// The name of the compiled file in the set.
pub(super) const NAME: &str = "roles-file.cedar";
/// The first part of the ids of its policies.
const TOPIC: &str = "roles-file";

/// Why a file of roles cannot be part of the set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    /// It is not what it should be.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The policies beside it are not valid, so nothing can be compiled for them.
    #[error("the policies beside it are not valid: {0}")]
    Policies(String),
    /// A role that is said twice.
    #[error("the role `{role}` is also in `{place}`")]
    Twice {
        /// The role.
        role: String,
        /// File and line of the policy that speaks of it.
        place: String,
    },
    /// A word that the schema does not have.
    #[error("line {line}: {what}")]
    Word {
        /// The line.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

impl Sources {
    /// Adds the roles of a file, compiled.
    pub fn with_roles_file(self, path: &Path, limits: &Limits) -> Result<Self, PolicyError> {
        let text = read_text(path, limits)?;
        let shown = path.display().to_string();
        let wrong = |source| PolicyError::Roles { path: path.to_owned(), source: Box::new(source) };
        self.with_roles(&shown, &text).map_err(wrong)
    }

    /// The same with the text at hand; `file` is what it is called.
    pub fn with_roles(self, file: &str, text: &str) -> Result<Self, RolesError> {
        let bundle = Bundle::load(self.clone()).map_err(|errors| RolesError::Policies(errors.to_string()))?;
        let name = file.rsplit('/').next().unwrap_or(file);
        let input = Input { topic: TOPIC, file: name, text, lines_before: 0, server: None, schema: &bundle };
        let imported = import(From::Roles, &input)?;
        // A word without actions (`cluster:*`) gives nothing; a word that is none is a mistake.
        if let Some(gap) = imported.gaps.iter().find(|gap| gap.what.contains("there is no action")) {
            return Err(RolesError::Word { line: gap.line, what: gap.what.clone() });
        }
        let schemas = self.iter().filter(|source| source.kind == SourceKind::Schema);
        let alone = schemas.fold(Self::new(), |all, schema| all.with_schema(&schema.name, &schema.text));
        let compiled = Bundle::load(alone.with_policy(NAME, &imported.policies));
        compiled.map_err(|errors| RolesError::Policies(errors.to_string()))?;
        // By the file and not by its policies: a role that gets nothing there loses what it had.
        let roles = &imported.roles;
        let mut cut = Vec::new();
        for (info, policy) in bundle.program() {
            let Some(role) = role_of(policy).filter(|role| roles.contains(role)) else { continue };
            let Some(source) = self.iter().find(|source| source.path == info.file) else { continue };
            if !shipped::is_shipped(source) {
                let line = position_in(&source.text, info.offset).line;
                return Err(RolesError::Twice { role, place: format!("{}:{line}", info.file) });
            }
            cut.push((Arc::clone(&info.file), info.offset..info.offset + info.text().len()));
        }
        Ok(self.without(&cut).with_policy(NAME, &imported.policies))
    }

    /// The same texts with some parts blanked, so that everything else stays where it was.
    fn without(self, cut: &[(Arc<str>, std::ops::Range<usize>)]) -> Self {
        self.map(|mut source: Source| {
            for (_, range) in cut.iter().filter(|(file, _)| *file == source.path) {
                let (before, rest) = source.text.split_at_checked(range.start).unwrap_or((&source.text, ""));
                let (gone, after) = rest.split_at_checked(range.len()).unwrap_or((rest, ""));
                let blank: String = gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
                source.text = format!("{before}{blank}{after}").into();
            }
            source
        })
    }
}

/// The role that a permit is for.
fn role_of(policy: &Compiled) -> Option<String> {
    match &policy.scope.principal {
        Reach::In(uid) | Reach::IsIn(_, uid)
            if policy.effect == Effect::Permit && uid.entity_type().to_string() == "Caxton::Role" =>
        {
            Some(AsRef::<str>::as_ref(uid.eid()).to_owned())
        }
        _ => None,
    }
}
