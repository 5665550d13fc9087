//! Who stands in a column of the table: a role, an agent, the gateway itself, and whoever one's own policies name.

use std::collections::BTreeSet;

use cedar_policy_core::ast::EntityType;

use super::{model_name, named, roles};
use crate::model::EntityUid;
use crate::policy::Bundle;
use crate::policy::set::shipped;
use crate::workbench::case::{shorthand, type_shorthand};

/// Who stands in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principal {
    pub(super) name: String,
    pub(super) uid: EntityUid,
    /// What it is in, beside what its name says.
    pub(super) parents: Vec<EntityUid>,
    /// Whether own policies name it: their conditions stand in footnotes.
    pub(super) is_named: bool,
}

impl Principal {
    /// A user without a role, a user of each role, an agent, the gateway itself; then those that own policies name.
    pub(super) fn of(bundles: &[&Bundle]) -> Vec<Self> {
        let all = bundles.iter().flat_map(|bundle| roles(bundle)).collect::<BTreeSet<_>>();
        let roles = all.iter().filter(|role| {
            let action = EntityUid::action(role.as_str());
            // Of two versions, roles and words are compared alike.
            bundles.len() > 1 || bundles.iter().all(|bundle| !bundle.knows_action(&action))
        });
        let mut columns = vec![Self::user(None)];
        columns.extend(roles.map(|role| Self::user(Some(role))));
        let workspace = EntityUid::caxton("Workspace", "w");
        for (kind, id, parents) in [("Agent", "a", vec![workspace]), ("System", "gateway", Vec::new())] {
            let uid = EntityUid::caxton(kind, id);
            columns.push(Self { name: shorthand(&uid), uid, parents, is_named: false });
        }
        for column in bundles.iter().flat_map(|bundle| Self::named(bundle)) {
            if !columns.iter().any(|known| known.name == column.name) {
                columns.push(column);
            }
        }
        columns
    }

    /// A user of a role, or of none.
    pub(super) fn user(role: Option<&String>) -> Self {
        Self {
            name: role.map_or_else(|| "nobody".to_owned(), Clone::clone),
            uid: EntityUid::caxton("User", "issuer|somebody"),
            parents: role.map(|role| EntityUid::caxton("Role", role.as_str())).into_iter().collect(),
            is_named: false,
        }
    }

    /// Principals that own policies name, and one of each kind in the groups that they name.
    fn named(bundle: &Bundle) -> Vec<Self> {
        let mut uids = BTreeSet::new();
        let own: BTreeSet<&str> = own_files(bundle).collect();
        for (_, policy) in bundle.program().filter(|(info, _)| own.contains(info.file.as_ref())) {
            named(policy, &mut |uid| {
                uids.insert(model_name(uid));
            });
        }
        uids.retain(|uid| uid.type_name() != "Caxton::Role");
        let schema = bundle.schema_index();
        let kinds: BTreeSet<&EntityType> = schema.environments().map(|(_, principal, _)| principal).collect();
        let mut columns = Vec::new();
        for uid in uids {
            let Ok(kind) = uid.type_name().parse::<EntityType>() else { continue };
            if kinds.contains(&kind) {
                let name = shorthand(&uid);
                columns.push(Self { name, uid: uid.clone(), parents: Vec::new(), is_named: true });
            }
            for member in kinds.iter().filter(|member| **member != &kind && schema.can_be_in(member, &kind)) {
                let id = if member.to_string() == "Caxton::User" { "issuer|somebody" } else { "a" };
                columns.push(Self {
                    name: format!("{} in {}", type_shorthand(member), shorthand(&uid)),
                    uid: EntityUid::new(member.to_string(), id),
                    parents: vec![uid.clone()],
                    is_named: true,
                });
            }
        }
        columns
    }
}

/// Files of policies that did not come with the program, not even as a copy.
pub(super) fn own_files(bundle: &Bundle) -> impl Iterator<Item = &str> {
    let own = |source: &&crate::policy::Source| !source.is_built_in() && !shipped::is_shipped(source);
    bundle.sources().iter().filter(own).map(|source| source.path.as_ref())
}
