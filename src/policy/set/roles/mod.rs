//! `roles.yaml` beside the policies: compiled to Cedar when the set is loaded, and evaluated as every other policy.
//!
//! A role is said in one place. What the file says of a built-in role takes the place of what is shipped; a role that the
//! operator's own policies speak of as well is a conflict, and both places are named.

mod file;
mod words;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::error::{PolicyError, position_in};
use super::text;
use super::yaml::TextError;
use crate::policy::Bundle;
use crate::policy::engine::compiled::{CompiledPolicy, Effect, ScopeConstraint};
pub(crate) use file::{PermissionWord, RoleEntry, read};
pub(crate) use words::{PermissionWords, WordError};

use super::settings::Limits;
use super::shipped;
use super::source::{Source, SourceKind, Sources, read_text};

/// The name of the compiled file in the set.
pub(crate) const NAME: &str = "roles-file.cedar";
/// The first part of the ids of its policies.
const TOPIC: &str = "roles-file";

/// The most words that a message names.
const MAX_NAMED: usize = 5;

/// Why a file of roles cannot be part of the set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    /// It is not what it should be.
    #[error(transparent)]
    Text(#[from] TextError),
    /// No word in it gives anything.
    #[error("nothing in it becomes a policy{0}")]
    Nothing(String),
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
        let roles = file::read(text)?;
        let policies = policies_of(&roles, name, &PermissionWords::new(&bundle))?;
        let schemas = self.iter().filter(|source| source.kind == SourceKind::Schema);
        let alone = schemas.fold(Self::new(), |all, schema| all.with_schema(&schema.name, &schema.text));
        let compiled = Bundle::load(alone.with_policy(NAME, &policies));
        compiled.map_err(|errors| RolesError::Policies(errors.to_string()))?;
        // By the file and not by its policies: a role that gets nothing there loses what it had.
        let named: BTreeSet<&str> = roles.iter().map(|role| role.name.as_str()).collect();
        let mut cut = Vec::new();
        for (info, policy) in bundle.program() {
            let Some(role) = role_of(policy).filter(|role| named.contains(role.as_str())) else { continue };
            let Some(source) = self.iter().find(|source| source.path == info.file) else { continue };
            if !shipped::is_shipped(source) {
                let line = position_in(&source.text, info.offset).line;
                return Err(RolesError::Twice { role, place: format!("{}:{line}", info.file) });
            }
            cut.push((Arc::clone(&info.file), info.offset..info.offset + info.text().len()));
        }
        Ok(self.without(&cut).with_policy(NAME, &policies))
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

/// The policies of a file of roles, as Cedar text; `name` is what the file is called in descriptions. A group without
/// actions (`cluster:*`) gives nothing; a word that the schema does not have is a mistake.
fn policies_of(roles: &[RoleEntry], name: &str, known: &PermissionWords<'_>) -> Result<String, RolesError> {
    let mut policies = Vec::new();
    let mut without_actions = Vec::new();
    for role in roles {
        let mut words = Vec::new();
        for PermissionWord { word, line } in &role.permissions {
            match known.check(word) {
                Ok(()) => words.push(word.clone()),
                Err(WordError::Unknown(_)) => {
                    let what = format!("{}: there is no action or group `{word}`", role.name);
                    return Err(RolesError::Word { line: *line, what });
                }
                Err(error @ WordError::Empty(_)) => {
                    without_actions.push(format!("line {line}: {}: {error}", role.name));
                }
            }
        }
        if !words.is_empty() {
            let description = role.description_in(name);
            policies.push(known.policy(&role.name, &description, &words));
        }
    }
    if policies.is_empty() {
        without_actions.truncate(MAX_NAMED);
        let why = without_actions.join("; ");
        return Err(RolesError::Nothing(if why.is_empty() { why } else { format!(": {why}") }));
    }
    Ok(text::file(&format!("The roles of {name}."), TOPIC, &mut policies))
}

/// The role that a permit is for.
fn role_of(policy: &CompiledPolicy) -> Option<String> {
    match &policy.scope.principal {
        ScopeConstraint::In(uid) | ScopeConstraint::IsIn(_, uid)
            if policy.effect == Effect::Permit && uid.entity_type().to_string() == "Caxton::Role" =>
        {
            Some(AsRef::<str>::as_ref(uid.eid()).to_owned())
        }
        _ => None,
    }
}
