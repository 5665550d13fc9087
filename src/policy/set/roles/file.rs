//! What a `roles.yaml` says: roles with permission words, each with its line.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::policy::set::yaml::{self, TextError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    roles: Vec<Role>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    name: Spanned<String>,
    #[serde(default)]
    description: Option<String>,
    permissions: Vec<Spanned<String>>,
}

/// One role of the file.
#[derive(Debug, Clone)]
pub(crate) struct RoleEntry {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) permissions: Vec<PermissionWord>,
}

impl RoleEntry {
    /// Its description; without one, where it comes from. `file` is what the file is called.
    pub(crate) fn description_in(&self, file: &str) -> String {
        let without = || format!("The role `{}`, from {file}.", self.name);
        self.description.clone().unwrap_or_else(without)
    }
}

/// A permission word and its line, from 1.
#[derive(Debug, Clone)]
pub(crate) struct PermissionWord {
    pub(crate) word: String,
    pub(crate) line: u64,
}

/// Reads a file. A role without a name, or one that is there twice, is an error.
pub(crate) fn read(text: &str) -> Result<Vec<RoleEntry>, TextError> {
    let file: File = yaml::parse(text)?;
    let mut names = BTreeSet::new();
    let mut roles = Vec::new();
    for role in file.roles {
        let line = role.name.referenced.line();
        let name = role.name.value;
        if name.is_empty() || !names.insert(name.clone()) {
            let what = format!("the role `{name}` has no name, or is there twice");
            return Err(TextError { line, what });
        }
        let permissions = role.permissions.into_iter();
        let permissions = permissions
            .map(|word| PermissionWord { line: word.referenced.line(), word: word.value })
            .collect();
        roles.push(RoleEntry { name, description: role.description, permissions });
    }
    Ok(roles)
}
