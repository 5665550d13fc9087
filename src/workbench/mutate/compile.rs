//! What is changed, a policy or a template with all that was linked from it, and how it reads after a change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cedar_policy::{ValidationMode, ValidationWarning, Validator};
use cedar_policy_core::ast::{Policy, PolicyID, PolicySet, Template};
use cedar_policy_core::parser;

use super::operators::Edit;
use crate::policy::Bundle;
use crate::policy::engine::compiled::{CompiledPolicy, Effect, PolicyNotes};
use crate::workbench::clauses::Anatomy;
use crate::workbench::reported::Reported;

/// A text that is changed, and the policies that decide by it: one, or all that were linked from the template.
#[derive(Debug)]
pub(super) struct Target<'b> {
    pub(super) id: Arc<str>,
    pub(super) anatomy: Anatomy,
    pub(super) members: Vec<&'b CompiledPolicy>,
}

impl<'b> Target<'b> {
    /// Everything that decides, in the order of the files.
    pub(super) fn all(bundle: &'b Bundle, reported: &Reported) -> Vec<Self> {
        let mut targets: Vec<Self> = Vec::new();
        let mut templates: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        let all = Anatomy::all(bundle).into_iter().filter(|(_, info, _)| reported.is_about(info));
        for (anatomy, info, compiled) in all {
            let id = info.linked_from.as_ref().unwrap_or(&info.id);
            let known = templates.get(id).and_then(|index| targets.get_mut(*index));
            match (known, &info.linked_from) {
                (Some(target), Some(_)) => target.members.push(compiled),
                (_, linked) => {
                    if linked.is_some() {
                        templates.insert(Arc::clone(id), targets.len());
                    }
                    targets.push(Self { id: Arc::clone(id), anatomy, members: vec![compiled] });
                }
            }
        }
        targets
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.members.iter().any(|member| member.id.as_ref() == id)
    }

    /// The changed policies, one for each member; none at all when the text was removed. `None` when they do not fit
    /// the schema.
    pub(super) fn changed(&self, validator: &Validator, edit: &Edit) -> Option<Vec<CompiledPolicy>> {
        if edit.with.is_empty() && edit.span == self.anatomy.span {
            return Some(Vec::new());
        }
        let file = &self.anatomy.source.text;
        let before = file.get(self.anatomy.span.start..edit.span.start)?;
        let after = file.get(edit.span.end..self.anatomy.span.end)?;
        let text = format!("{before}{}{after}", edit.with);
        let template = parser::parse_policy_or_template(Some(PolicyID::from_string(&self.id)), &text).ok()?;
        self.members.iter().map(|member| made(validator, &template, member)).collect()
    }
}

/// The changed text as the policy that the member was.
fn made(validator: &Validator, template: &Template, member: &CompiledPolicy) -> Option<CompiledPolicy> {
    let mut set = PolicySet::new();
    let id = PolicyID::from_string(&member.id);
    if template.is_static() {
        // A change can take a template its slots: then all its links say the same.
        let policy = Template::try_as_policy(Arc::new(template.new_id(id.clone()))).ok()?;
        set.add(policy).ok()?;
    } else {
        // The template's own id may be that of the link it is made into.
        let own = PolicyID::from_string(format!("{}\u{0}template", member.id));
        set.add_template(template.new_id(own.clone())).ok()?;
        let slots: HashMap<_, _> = member
            .slots
            .iter()
            .filter(|(slot, _)| template.slots().any(|kept| kept.id == **slot))
            .map(|(slot, uid)| (*slot, uid.clone()))
            .collect();
        set.link(own, id.clone(), slots).ok()?;
    }
    let policy: Policy = set.get(&id)?.clone();
    let changed = CompiledPolicy::new(
        &policy,
        Arc::clone(&member.id),
        PolicyNotes {
            mode: member.mode,
            caller_text: member.caller_text.clone(),
            obligations: Arc::clone(&member.obligations),
        },
    )?;
    let result = validator.validate(&cedar_policy::PolicySet::from(set), ValidationMode::Strict);
    // What a bundle refuses needs no test.
    let is_impossible = |warning| matches!(warning, &ValidationWarning::ImpossiblePolicy(_));
    let stops_nothing = changed.effect == Effect::Forbid && result.validation_warnings().any(is_impossible);
    (result.validation_passed() && !stops_nothing).then_some(changed)
}
