//! A set that is loaded after another takes over what is the same. That must not be seen: after any edits, the set is
//! the one that a load of everything gives, and so are its warnings, or everything that is wrong. Two sets that have
//! something in common, asked at once, decide as each does alone.

#![expect(clippy::indexing_slicing, reason = "a world that cannot be built has failed the test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use caxton::model::{Entity, EntityUid, Value};
use caxton::policy::{Bundle, Link, PolicyErrors, Query, Settings, SourceKind, Sources};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const SCHEMAS: [&str; 3] = [
    "entity Group; entity User in [Group] = { age: Long }; entity Doc = { open: Bool }; action view, edit appliesTo { principal: User, resource: Doc, context: { n: Long } };",
    // The same types, other actions.
    "entity Group; entity User in [Group] = { age: Long }; entity Doc = { open: Bool }; action view appliesTo { principal: User, resource: Doc, context: { n: Long } };",
    "entity Group; entity User",
];

/// Policies that are right, that warn, that do not fit one of the schemas, and that are no policies; `#` is a number.
const POLICIES: [&str; 14] = [
    "@id(\"p#\") permit (principal == User::\"#\", action, resource);",
    "@id(\"p#\") permit (principal in Group::\"#\", action == Action::\"view\", resource) when { context.n > # };",
    "@id(\"p#\") forbid (principal, action == Action::\"edit\", resource == Doc::\"#\") unless { resource.open };",
    "@id(\"p#\") @reason(\"because #\") forbid (principal is User in Group::\"#\", action, resource);",
    "@id(\"p#\") @mode(\"log_only\") forbid (principal, action, resource) when { principal.age + # > 9223372036854775807 };",
    "@id(\"p#\") permit (principal, action, resource) when { Action::\"edit\" == action && principal.age < # };",
    "@id(\"t#\") permit (principal == ?principal, action, resource == ?resource);",
    "@id(\"t#\") forbid (principal in ?principal, action, resource) when { context.n > # };",
    // Warnings: it can never hold; two scripts in one word.
    "@id(\"p#\") permit (principal, action, resource) when { resource.open && !resource.open && false };",
    "@id(\"p#\") permit (principal == User::\"say_һello#\", action, resource);",
    // Mistakes.
    "@id(\"p#\") permit (principal, action, resource) when { principal.height > # };",
    "permit (principal == User::\"#\", action, resource);",
    "@id(\"p#\") @mode(\"loud\") permit (principal, action, resource);",
    "@id(\"p#\") permit (principal, action",
];
/// How many of them are right under the first schema.
const RIGHT: usize = 10;

#[derive(Debug, Clone)]
enum Edit {
    Write(u8, Vec<(usize, u8)>),
    Append(Index, (usize, u8)),
    Comment(Index),
    Remove(Index),
    Rename(Index, u8),
    Schema(usize),
    Link(Index, u8),
    Unlink,
}

fn line() -> impl Strategy<Value = (usize, u8)> {
    // Mistakes are rare, so that most sets can be loaded.
    (prop_oneof![40 => 0..RIGHT, 1 => RIGHT..POLICIES.len()], 0..60_u8)
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..6_u8, prop::collection::vec(line(), 0..6)).prop_map(|(file, lines)| Edit::Write(file, lines)),
        4 => (any::<Index>(), line()).prop_map(|(file, line)| Edit::Append(file, line)),
        2 => any::<Index>().prop_map(Edit::Comment),
        2 => any::<Index>().prop_map(Edit::Remove),
        2 => (any::<Index>(), 0..6_u8).prop_map(|(file, name)| Edit::Rename(file, name)),
        1 => select(vec![0, 0, 0, 1, 2]).prop_map(Edit::Schema),
        2 => (any::<Index>(), 0..4_u8).prop_map(|(template, user)| Edit::Link(template, user)),
        1 => Just(Edit::Unlink),
    ]
}

#[derive(Debug, Clone, Default)]
struct World {
    schema: usize,
    files: BTreeMap<u8, String>,
    links: Vec<Link>,
}

impl World {
    fn apply(&mut self, edit: &Edit) {
        let text =
            |(policy, number): &(usize, u8)| POLICIES[*policy].replace('#', &number.to_string()) + "\n";
        let names: Vec<u8> = self.files.keys().copied().collect();
        let pick = |index: &Index| (!names.is_empty()).then(|| names[index.index(names.len())]);
        match edit {
            Edit::Write(file, lines) => {
                self.files.insert(*file, lines.iter().map(text).collect());
            }
            Edit::Append(file, line) => {
                let file = pick(file).unwrap_or_default();
                self.files.entry(file).or_default().push_str(&text(line));
            }
            // Everything below moves by a line, and nothing else changes.
            Edit::Comment(file) => {
                let file = self.files.entry(pick(file).unwrap_or_default()).or_default();
                file.insert_str(0, "// A remark.\n");
            }
            Edit::Remove(file) => drop(pick(file).map(|file| self.files.remove(&file))),
            Edit::Rename(file, name) => {
                if let Some(text) = pick(file).and_then(|file| self.files.remove(&file)) {
                    self.files.insert(*name, text);
                }
            }
            Edit::Schema(number) => self.schema = *number,
            Edit::Link(template, user) => {
                let ids = self.files.values().flat_map(|text| text.split("@id(\"").skip(1));
                let templates: Vec<&str> =
                    ids.filter(|id| id.starts_with('t')).filter_map(|id| id.split('"').next()).collect();
                // Now and then one that is not there, or that has another slot.
                let template = match templates.is_empty() {
                    true => "t0",
                    false => templates[template.index(templates.len())],
                };
                let resource = (user % 2 == 0).then(|| EntityUid::new("Doc", "1"));
                self.links.push(Link {
                    template: template.to_owned(),
                    id: format!("l{}", self.links.len()),
                    principal: Some(EntityUid::new("User", user.to_string())),
                    resource,
                });
            }
            Edit::Unlink => drop(self.links.pop()),
        }
    }

    fn sources(&self) -> Sources {
        let policies = self
            .files
            .iter()
            .map(|(name, text)| (SourceKind::Policy, format!("{name}.cedar").into(), text.as_str().into()));
        let schema = (SourceKind::Schema, "s.cedarschema".into(), SCHEMAS[self.schema].into());
        let sources = Sources::from_texts(policies.chain([schema]));
        self.links.iter().cloned().fold(sources, Sources::with_link)
    }
}

fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for (user, action, number) in [(1, "view", 3), (2, "edit", 100), (7, "view", 50), (3, "gone", 1)] {
        let user = Entity::bare(EntityUid::new("User", user.to_string()))
            .with("age", Value::Long(i64::MAX - 40))
            .in_parent(EntityUid::new("Group", "4"));
        let doc = Entity::bare(EntityUid::new("Doc", "1")).with("open", Value::Bool(user.parents.is_empty()));
        queries.push(Query {
            principal: user.uid.clone(),
            action: EntityUid::new("Action", action),
            resource: doc.uid.clone(),
            context: Value::record([("n", Value::Long(number))]),
            entities: vec![Arc::new(user), Arc::new(doc)],
        });
    }
    queries
}

/// All that can be seen of a set.
fn seen(loaded: &Result<Bundle, PolicyErrors>) -> String {
    match loaded {
        Ok(bundle) => {
            let policies: Vec<_> = bundle.policies().collect();
            let verdicts: Vec<_> = queries().iter().map(|query| bundle.decide(query)).collect();
            format!("{} {policies:?} {:?} {verdicts:?}", bundle.version().as_str(), bundle.warnings())
        }
        Err(errors) => format!("{:?}", errors.problems()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_taken_over_is_what_would_be_read(edits in prop::collection::vec(edit(), 1..16)) {
        let mut world = World::default();
        let mut live = Bundle::load(world.sources()).map_err(|errors| TestCaseError::fail(errors.to_string()))?;
        for edit in &edits {
            let before = world.clone();
            world.apply(edit);
            let whole = Bundle::load(world.sources());
            let next = live.load_next(world.sources(), Settings::default());
            prop_assert_eq!(seen(&next), seen(&whole), "after {:?}", edit);
            match next {
                Ok(next) => {
                    for (query, open) in queries().iter().flat_map(|query| [(query, false), (query, true)]) {
                        let alone = |bundle: &Bundle| if open { bundle.decide_open(query) } else { bundle.decide(query) };
                        let (verdict, beside) = live.decide_beside(Some(&next), query, open);
                        prop_assert_eq!(verdict, alone(&live));
                        prop_assert_eq!(beside, Some(alone(&next).outcome));
                    }
                    live = next;
                }
                // What is refused changes nothing.
                Err(_) => world = before,
            }
        }
    }
}

/// The seed of the above must not be of sets that are all refused, or all alike.
#[test]
fn most_of_the_policies_are_right_and_the_others_are_refused() {
    let of = |policy: &str| {
        Bundle::load(
            Sources::new()
                .with_schema("s.cedarschema", SCHEMAS[0])
                .with_policy("1.cedar", &policy.replace('#', "1")),
        )
    };
    let warned = POLICIES.iter().filter(|text| of(text).is_ok_and(|bundle| !bundle.warnings().is_empty()));
    assert!(warned.count() >= 2);
    for (number, text) in POLICIES.iter().enumerate() {
        assert_eq!(of(text).is_ok(), number < RIGHT, "{text}");
    }
}
