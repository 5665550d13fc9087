//! The index and the scope matching against Cedar's own authoriser over the whole set, on random worlds: the
//! same decision, the same determining policies, the same errors; and a search looks at everybody who is allowed. A case is a decision; each set of policies is
//! asked four times by each of two tests, so 2,000 cases are 250 sets each. `CAXTON_PROPTEST_CASES` sets how
//! many cases.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a world that cannot be built has failed the test"
)]

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use caxton::model::{Entity, EntityUid, Fields, Outcome, ReasonCode, Value};
use caxton::policy::{Bundle, EntityCheck, JsonNames, Link, Query, Reachable, Side, Sources, Verdict, close};
use cedar_policy as cedar;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Value as Json, json};

const SCHEMA: &str = r#"
entity Group in [Group];
entity Team in [Group];
entity User in [Group, Team] = { age: Long, name: String, boss?: User, flags: Set<String> } tags Long;
entity Folder in [Folder];
entity Doc in [Folder] = { owner: User, size: Long, open: Bool };
entity Kind enum ["a", "b"];
type Call = { n: Long, who?: User, at?: datetime, took?: duration, from?: ipaddr, cost?: decimal, kind?: Kind, bag: Bag };
type Bag = { deep: Set<Long>, flat?: Long, more?: { a: Long, b?: String } };
action all;
action write in [all];
action read in [all];
action view, list in [read] appliesTo { principal: [User, Team], resource: [Doc, Folder], context: Call };
action edit in [write, read] appliesTo { principal: [User], resource: [Doc], context: Call };
"#;

/// Conditions that strict validation lets through, erring ones among them: overflow, and an entity that is
/// named but not there.
const VALID: [&str; 30] = [
    "true",
    "context.n > 3",
    "context.n + 9223372036854775800 > 0",
    "context.n * context.n == 4",
    "context has who && context.who.age > 10",
    "context has from && context.from.isLoopback()",
    "context has cost && context.cost.lessThan(decimal(\"1.5\"))",
    "context has at && context.at > datetime(\"2020-01-01\")",
    "context has took && context.took > duration(\"1h\")",
    "context.bag.deep.contains(2)",
    "context.bag has flat && context.bag.flat > 1",
    "context has bag.more.b && context.bag.more.b == \"x\"",
    "context.bag has more.a && context.bag.more == context.bag.more",
    "{ inner: context.bag }.inner has more && context.bag.deep.isEmpty()",
    "context.bag has more && !(context.bag.more has b) && context.bag.more.a * context.bag.more.a > 0",
    "(if context.n > 1 then context.bag.deep else [3]).containsAny([1, 3])",
    "{ whole: context }.whole.n > 3",
    "(if context.n > 1 then context else context) has who",
    "context == context && !(context has cost)",
    "context has kind && context.kind == Kind::\"a\"",
    "action in Action::\"read\"",
    "Action::\"edit\" in Action::\"write\"",
    "User::\"1\" in Group::\"2\"",
    "User::\"9\".age > 3",
    "User::\"2\".age > 3",
    "User::\"3\" has boss && User::\"3\".boss.age > 5",
    "User::\"0\".hasTag(\"t\") && User::\"0\".getTag(\"t\") > 1",
    "Doc::\"1\" in Folder::\"3\" || Doc::\"2\".open",
    "Doc::\"0\".owner in [Group::\"2\", Group::\"3\"]",
    "(if context.n > 1 then User::\"1\" else User::\"2\").flags.contains(\"x\")",
];

/// Conditions that only an unvalidated set can hold.
const WILD: [&str; 9] = [
    "principal.age > 3",
    "principal.missing",
    "resource.owner == principal",
    "resource.owner.boss.name like \"*1\"",
    "principal has boss && principal.boss in Group::\"1\"",
    "principal.hasTag(\"t\") && principal.getTag(\"t\") > 1",
    "principal.getTag(\"none\") == 1",
    "1",
    "context.n && true",
];

const CASES: u32 = 2_000;
const QUERIES: usize = 4;

#[expect(clippy::disallowed_methods, reason = "the nightly run asks for more cases")]
fn cases() -> u32 {
    std::env::var("CAXTON_PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES)
}

fn config() -> ProptestConfig {
    let sets = cases().div_ceil(2 * QUERIES as u32);
    ProptestConfig { cases: sets, failure_persistence: None, ..ProptestConfig::default() }
}

fn name_in(kinds: &'static [&'static str]) -> impl Strategy<Value = String> {
    (select(kinds), 0..4_u8).prop_map(|(kind, id)| format!("{kind}::\"{id}\""))
}

const PRINCIPALS: &[&str] = &["User", "Team"];
const ABOVE_PRINCIPALS: &[&str] = &["User", "Group", "Team"];
const RESOURCES: &[&str] = &["Doc", "Folder"];

/// A scope element; `?slot` makes a template.
fn reach(
    word: &'static str,
    own: &'static [&'static str],
    above: &'static [&'static str],
) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(word.to_owned()),
        3 => name_in(own).prop_map(move |uid| format!("{word} == {uid}")),
        3 => name_in(above).prop_map(move |uid| format!("{word} in {uid}")),
        2 => select(own).prop_map(move |kind| format!("{word} is {kind}")),
        2 => (select(own), name_in(above)).prop_map(move |(kind, uid)| format!("{word} is {kind} in {uid}")),
        1 => Just(format!("{word} == ?{word}")),
        1 => Just(format!("{word} in ?{word}")),
        1 => select(own).prop_map(move |kind| format!("{word} is {kind} in ?{word}")),
    ]
}

const ACTIONS: [&str; 6] = ["all", "read", "write", "view", "list", "edit"];

fn action_reach() -> impl Strategy<Value = String> {
    let name = |id: &str| format!("Action::\"{id}\"");
    prop_oneof![
        2 => Just("action".to_owned()),
        2 => select(&ACTIONS[3..]).prop_map(move |id| format!("action == {}", name(id))),
        2 => select(&ACTIONS[..]).prop_map(move |id| format!("action in {}", name(id))),
        2 => subsequence(ACTIONS.to_vec(), 1..4).prop_map(move |ids| {
            format!("action in [{}]", ids.into_iter().map(name).collect::<Vec<_>>().join(", "))
        }),
    ]
}

fn condition(atoms: Vec<&'static str>) -> impl Strategy<Value = String> {
    select(atoms).prop_map(str::to_owned).prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("if ({a}) then ({b}) else ({c})")),
        ]
    })
}

/// A policy without its id; the second is what templates are linked to.
#[derive(Debug, Clone)]
struct Text {
    body: String,
    links: Vec<(Index, Index)>,
}

fn policy(atoms: Vec<&'static str>) -> impl Strategy<Value = Text> {
    let clause = (select(&["when", "unless"][..]), condition(atoms))
        .prop_map(|(word, condition)| format!(" {word} {{ {condition} }}"));
    (
        prop_oneof![3 => Just("permit"), 1 => Just("forbid")],
        reach("principal", PRINCIPALS, ABOVE_PRINCIPALS),
        action_reach(),
        reach("resource", RESOURCES, RESOURCES),
        prop_oneof![1 => Just(String::new()), 2 => clause],
        prop::collection::vec(any::<(Index, Index)>(), 0..3),
    )
        .prop_map(|(effect, principal, action, resource, clause, links)| Text {
            body: format!("{effect}({principal}, {action}, {resource}){clause};"),
            links,
        })
}

/// Who is in what; edges lead to a greater number, so there is no circle.
fn entities() -> impl Strategy<Value = Vec<Entity>> {
    let bits = prop::collection::vec(any::<u8>(), 40);
    (bits, prop::collection::vec(-5_i64..20, 40), prop::collection::vec(any::<bool>(), 40)).prop_map(
        |(bits, numbers, there)| {
            let mut world = Vec::new();
            let mut number = 0;
            for (kind, above) in [
                ("Group", &["Group"][..]),
                ("Team", &["Group"]),
                ("User", &["Group", "Team"]),
                ("Folder", &["Folder"]),
                ("Doc", &["Folder"]),
            ] {
                for id in 0..4_u8 {
                    number += 1;
                    let uid = EntityUid::new(kind, id.to_string());
                    let mut entity = match kind {
                        "User" => user(uid, numbers[number], bits[number]),
                        "Doc" => Entity::bare(uid)
                            .with(
                                "owner",
                                Value::Entity(EntityUid::new("User", (bits[number] % 5).to_string())),
                            )
                            .with("size", Value::Long(numbers[number]))
                            .with("open", Value::Bool(there[number])),
                        _ => Entity::bare(uid),
                    };
                    for (place, kind_above) in above.iter().enumerate() {
                        let lowest = if *kind_above == kind { id + 1 } else { 0 };
                        for parent in lowest..4 {
                            if bits[number].rotate_right(u32::from(parent)) & (place as u8 + 1)
                                == place as u8 + 1
                            {
                                entity.parents.push(EntityUid::new(*kind_above, parent.to_string()));
                            }
                        }
                    }
                    if there[number] || bits[number] > 60 {
                        world.push(entity);
                    }
                }
            }
            world
        },
    )
}

fn user(uid: EntityUid, number: i64, bits: u8) -> Entity {
    let boss = Value::Entity(EntityUid::new("User", (bits % 5).to_string()));
    let user = Entity::bare(uid)
        .with("age", Value::Long(number))
        .with("name", Value::text(format!("u{number}")))
        .with("flags", Value::texts(["x", "y"]))
        .with_some("boss", bits.is_multiple_of(2).then_some(boss));
    if bits.is_multiple_of(3) { user.tagged("t", Value::Long(number)) } else { user }
}

fn context() -> impl Strategy<Value = Value> {
    let number = prop_oneof![4 => -3_i64..8, 1 => Just(i64::MAX)];
    let extras = (0..5_u8, any::<u32>(), any::<u8>(), prop::collection::vec(0..4_i64, 0..3));
    (number, extras).prop_map(|(n, (who, at, mask, deep))| {
        let mut fields = Fields::new();
        fields.insert("n".into(), Value::Long(n));
        let deep = Value::Set(deep.into_iter().map(Value::Long).collect());
        let more = [
            (mask >> 7 == 1).then_some(("a", Value::Long(if mask & 4 == 0 { 1 } else { i64::MAX }))),
            (mask >> 6 == 3).then_some(("b", Value::text(if mask & 8 == 0 { "x" } else { "y" }))),
        ];
        let bag = [
            Some(("deep", deep)),
            (mask & 16 == 0).then_some(("flat", Value::Long(n))),
            (mask >> 7 == 1).then_some(("more", Value::record(more.into_iter().flatten()))),
        ];
        fields.insert("bag".into(), Value::record(bag.into_iter().flatten()));
        let optional = [
            ("who", Value::Entity(EntityUid::new("User", who.to_string()))),
            ("at", Value::Datetime(i64::from(at) * 1_000)),
            ("from", Value::Ip(if mask & 1 == 0 { "127.0.0.1" } else { "10.0.0.0/8" }.into())),
            ("cost", Value::Decimal(format!("{}.25", mask % 3).into())),
            ("took", Value::Duration(format!("{}h30m", mask % 3).into())),
            ("kind", Value::Entity(EntityUid::new("Kind", if mask & 2 == 0 { "a" } else { "b" }))),
        ];
        for (bit, (name, value)) in optional.into_iter().enumerate() {
            if mask >> bit & 1 == 1 {
                fields.insert(name.into(), value);
            }
        }
        Value::Record(fields)
    })
}

fn query() -> impl Strategy<Value = Query> {
    let name = |kinds: &'static [&'static str]| {
        (select(kinds), 0..5_u8).prop_map(|(kind, id)| EntityUid::new(kind, id.to_string()))
    };
    (name(&["User", "User", "Team"]), select(&ACTIONS[3..]), name(RESOURCES), context(), entities()).prop_map(
        |(principal, action, resource, context, entities)| Query {
            principal,
            action: EntityUid::new("Action", action),
            resource,
            context,
            entities: entities.into_iter().map(Arc::new).collect(),
        },
    )
}

/// The same query with one thing made wrong (or not: some changes are legal).
fn spoilt() -> impl Strategy<Value = Query> {
    (query(), 0..12_u8, any::<Index>()).prop_map(|(mut query, change, which)| {
        let Value::Record(fields) = &mut query.context else { unreachable!() };
        let some_entity = |entities: &mut Vec<Arc<Entity>>| match entities.is_empty() {
            true => None,
            false => Some(which.index(entities.len())),
        };
        match change {
            0 => drop(fields.remove("n")),
            1 => drop(fields.insert("n".into(), Value::text("3"))),
            2 => drop(fields.insert("other".into(), Value::Bool(true))),
            3 => drop(fields.insert("who".into(), Value::Entity(EntityUid::new("Team", "1")))),
            4 => drop(fields.insert("kind".into(), Value::Entity(EntityUid::new("Kind", "c")))),
            5 => drop(fields.insert("from".into(), Value::Ip("300.1.1.1".into()))),
            6 => drop(fields.insert("bag".into(), Value::record([("deep", Value::texts(["2"]))]))),
            11 => drop(fields.insert("took".into(), Value::Duration("an hour".into()))),
            7 => query.action = EntityUid::new("Action", "all"),
            8 => query.resource = EntityUid::new("Nothing", "1"),
            9 => {
                if let Some(index) = some_entity(&mut query.entities) {
                    Arc::make_mut(&mut query.entities[index])
                        .attributes
                        .insert("age".into(), Value::text("old"));
                }
            }
            _ => {
                if let Some(index) = some_entity(&mut query.entities) {
                    Arc::make_mut(&mut query.entities[index]).parents.push(EntityUid::new("Doc", "1"));
                }
            }
        }
        query
    })
}

// ---- the oracle: the same world for Cedar itself ------------------------------------------------------------

fn cedar_uid(uid: &EntityUid) -> Json {
    json!({ "type": uid.type_name(), "id": uid.id() })
}

fn cedar_json(value: &Value) -> Json {
    let call = |name: &str, argument: &str| json!({ "__extn": { "fn": name, "arg": argument } });
    match value {
        Value::Bool(value) => json!(value),
        Value::Long(value) => json!(value),
        Value::String(text) => json!(text.as_ref()),
        Value::Set(items) => items.iter().map(cedar_json).collect(),
        Value::Record(fields) => {
            fields.iter().map(|(name, value)| (name.to_string(), cedar_json(value))).collect()
        }
        Value::Entity(uid) => json!({ "__entity": cedar_uid(uid) }),
        Value::Decimal(text) => call("decimal", text),
        Value::Ip(text) => call("ip", text),
        Value::Duration(text) => call("duration", text),
        Value::Datetime(millis) => call("datetime", &caxton::clock::rfc3339(*millis)),
    }
}

fn cedar_entity(entity: &Entity) -> Json {
    let map = |values: &Fields| -> Json {
        values.iter().map(|(name, value)| (name.to_string(), cedar_json(value))).collect()
    };
    json!({
        "uid": cedar_uid(&entity.uid),
        "attrs": map(&entity.attributes),
        "parents": entity.parents.iter().map(cedar_uid).collect::<Vec<_>>(),
        "tags": map(&entity.tags),
    })
}

/// The request and entities as Cedar takes them; `None` when they do not fit the schema (the request only if
/// it is `checked`).
fn oracle_request(
    query: &Query,
    schema: &cedar::Schema,
    checked: Option<&cedar::Schema>,
) -> Option<(cedar::Request, cedar::Entities)> {
    let entities: Json = query.entities.iter().map(|entity| cedar_entity(entity)).collect();
    let entities = cedar::Entities::from_json_value(entities, None).ok()?;
    let entities = cedar::Entities::from_entities(entities, Some(schema)).ok()?;
    let uid = |uid: &EntityUid| cedar::EntityUid::from_json(cedar_uid(uid)).ok();
    let context = cedar::Context::from_json_value(cedar_json(&query.context), None).ok()?;
    let (principal, action, resource) = (uid(&query.principal)?, uid(&query.action)?, uid(&query.resource)?);
    Some((cedar::Request::new(principal, action, resource, context, checked).ok()?, entities))
}

type Said = (bool, BTreeSet<String>, BTreeSet<String>);

fn oracle(request: &cedar::Request, set: &cedar::PolicySet, entities: &cedar::Entities) -> Said {
    let response = cedar::Authorizer::new().is_authorized(request, set, entities);
    let erred = |error: &cedar::AuthorizationError| match error {
        cedar::AuthorizationError::PolicyEvaluationError(error) => error.policy_id().to_string(),
    };
    (
        response.decision() == cedar::Decision::Allow,
        response.diagnostics().reason().map(ToString::to_string).collect(),
        response.diagnostics().errors().map(erred).collect(),
    )
}

/// The texts as one file, with ids, and the links that their templates get.
fn world_of(texts: &[Text]) -> (String, Vec<Link>, cedar::PolicySet) {
    let file: String =
        texts.iter().enumerate().map(|(n, text)| format!("@id(\"policy{n}\")\n{}\n", text.body)).collect();
    let mut set: cedar::PolicySet = file.parse().unwrap();
    let mut links = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let (principal, resource) = (text.body.contains("?principal"), text.body.contains("?resource"));
        if !principal && !resource {
            continue;
        }
        for (nth, (a, b)) in text.links.iter().enumerate() {
            // `==` wants what can be a principal, or strict validation calls the link impossible.
            let above = [
                EntityUid::new("User", a.index(4).to_string()),
                EntityUid::new("Team", a.index(4).to_string()),
            ];
            let link = Link {
                template: format!("policy{number}"),
                id: format!("link{number}-{nth}"),
                principal: principal.then(|| above[b.index(2)].clone()),
                resource: resource.then(|| EntityUid::new(RESOURCES[a.index(2)], b.index(4).to_string())),
            };
            let slots =
                [(cedar::SlotId::principal(), &link.principal), (cedar::SlotId::resource(), &link.resource)];
            let slots = slots.into_iter().filter_map(|(slot, uid)| {
                Some((slot, cedar::EntityUid::from_json(cedar_uid(uid.as_ref()?)).unwrap()))
            });
            set.link(cedar::PolicyId::new(&link.template), cedar::PolicyId::new(&link.id), slots.collect())
                .unwrap();
            links.push(link);
        }
    }
    (file, links, set)
}

/// The texts without those that forbid and can never hold, which a bundle refuses.
fn possible(mut texts: Vec<Text>, schema: &cedar::Schema) -> Vec<Text> {
    let (_, _, set) = world_of(&texts);
    let result = cedar::Validator::new(schema.clone()).validate(&set, cedar::ValidationMode::Strict);
    let impossible: HashSet<usize> = result
        .validation_warnings()
        .filter(|warning| matches!(warning, cedar::ValidationWarning::ImpossiblePolicy(_)))
        .filter_map(|warning| {
            let id = warning.policy_id().to_string();
            let number = id.strip_prefix("policy").or_else(|| id.strip_prefix("link")?.split('-').next());
            number?.parse().ok()
        })
        .collect();
    let mut number = 0;
    texts.retain(|text| {
        number += 1;
        !(text.body.starts_with("forbid") && impossible.contains(&(number - 1)))
    });
    texts
}

fn sources(file: &str, links: Vec<Link>) -> Sources {
    let sources = Sources::new().with_schema("world.cedarschema", SCHEMA).with_policy("world.cedar", file);
    links.into_iter().fold(sources, Sources::with_link)
}

/// Whether a search on one side of an allowed question looks at who stands there.
fn is_looked_for(bundle: &Bundle, side: Side, query: &Query) -> bool {
    let (wanted, other) = match side {
        Side::Principal => (&query.principal, &query.resource),
        Side::Resource => (&query.resource, &query.principal),
    };
    match bundle.reachable(side, wanted.type_name(), &query.action, other, &query.entities) {
        Reachable::All => true,
        Reachable::Only { named, members_of } => {
            named.contains(wanted) || members_of.iter().any(|group| is_in(wanted, group, &query.entities))
        }
    }
}

fn is_in(uid: &EntityUid, group: &EntityUid, entities: &[Arc<Entity>]) -> bool {
    let known = entities.iter().find(|entity| entity.uid == *uid);
    uid == group || known.is_some_and(|known| known.parents.iter().any(|above| is_in(above, group, entities)))
}

/// A gateway hands over what the request and the policies can reach, and not the whole world: that must not be seen in
/// any answer.
fn answers_from_what_is_reached(bundle: &Bundle, query: &Query, verdict: &Verdict) -> bool {
    let known = |uid: &EntityUid| query.entities.iter().find(|entity| entity.uid == *uid).cloned();
    let mut reached = Query { entities: Vec::new(), ..query.clone() };
    close(&mut reached, |query| bundle.named_for(query), usize::MAX, &known)
        && reached.entities.len() <= query.entities.len()
        && bundle.decide(&reached) == *verdict
}

/// Entities that somebody keeps are not built anew for each question: that must not be seen in any answer. Not when
/// others stand beside them either, for what they are in hangs on that.
fn answers_again(bundle: &Bundle, query: &Query, verdict: &Verdict) -> bool {
    let kept = query.clone();
    let mut fewer = query.clone();
    let mut number = 0;
    fewer.entities.retain(|_| {
        number += 1;
        number % 3 != 0
    });
    let new = fewer.entities.iter().map(|entity| Arc::new(Entity::clone(entity))).collect();
    let of_fewer = bundle.decide(&Query { entities: new, ..fewer.clone() });
    (0..3).all(|_| bundle.decide(&kept) == *verdict && bundle.decide(&fewer) == of_fewer)
}

fn texts(atoms: Vec<&'static str>) -> impl Strategy<Value = Vec<Text>> {
    prop_oneof![
        prop::collection::vec(policy(atoms.clone()), 0..12),
        prop::collection::vec(policy(atoms), 17..60)
    ]
}

proptest! {
    #![proptest_config(config())]

    /// Any policies at all, as Cedar itself takes them.
    #[test]
    fn the_index_answers_as_the_whole_set_does(
        texts in texts([&VALID[..], &WILD[..]].concat()),
        queries in prop::collection::vec(query(), QUERIES),
    ) {
        let schema: cedar::Schema = SCHEMA.parse().unwrap();
        let (file, links, set) = world_of(&texts);
        let bundle = Bundle::insecure_load_as_cedar(sources(&file, links)).unwrap();
        for query in queries {
            let (request, entities) = oracle_request(&query, &schema, None).unwrap();
            let list: Json = query.entities.iter().map(|entity| cedar_entity(entity)).collect();
            let given = bundle.entities_from_json(&list.to_string(), EntityCheck::Schema).unwrap();
            let (principal, action, resource) =
                (cedar_uid(&query.principal), cedar_uid(&query.action), cedar_uid(&query.resource));
            let names = JsonNames { principal: &principal, action: &action, resource: &resource };
            let asked = bundle.query_from_json(&names, cedar_json(&query.context), &given, EntityCheck::Nothing).unwrap();
            let said = bundle.decide_as_cedar(&asked);
            prop_assert_eq!((said.allow, said.reasons, said.errors), oracle(&request, &set, &entities));
        }
    }

    /// Validated policies and typed queries, fitting and not, through the gateway's own way in.
    #[test]
    fn decide_answers_as_cedar_does_and_never_more(
        texts in texts(VALID.to_vec()),
        queries in prop::collection::vec(prop_oneof![2 => query(), 1 => spoilt()], QUERIES),
    ) {
        let schema: cedar::Schema = SCHEMA.parse().unwrap();
        let texts = possible(texts, &schema);
        let (file, links, set) = world_of(&texts);
        let bundle = match Bundle::load(sources(&file, links)) {
            Ok(bundle) => bundle,
            Err(errors) => {
                let valid = cedar::Validator::new(schema).validate(&set, cedar::ValidationMode::Strict);
                prop_assert!(!valid.validation_passed(), "{}", errors);
                return Ok(());
            }
        };
        for query in queries {
            let verdict = bundle.decide(&query);
            prop_assert!(answers_again(&bundle, &query, &verdict), "{:?}\n{}", query, file);
            let Some((request, entities)) = oracle_request(&query, &schema, Some(&schema)) else {
                prop_assert_eq!(verdict.reason, ReasonCode::SchemaMismatch);
                prop_assert_eq!(verdict.outcome, Outcome::DenyError);                continue;
            };
            let (allow, reasons, errors) = oracle(&request, &set, &entities);
            prop_assert!(answers_from_what_is_reached(&bundle, &query, &verdict), "{:?}\n{}", query, file);
            prop_assert_eq!(&verdict.mismatch, &None);
            let erred: BTreeSet<String> = verdict.errors.iter().map(|fault| fault.policy.to_string()).collect();
            prop_assert_eq!(&erred, &errors);
            let forbids: HashSet<String> =
                set.policies().filter(|policy| policy.effect() == cedar::Effect::Forbid).map(|policy| policy.id().to_string()).collect();
            let forbid_erred = errors.iter().any(|id| forbids.contains(id));
            let determining: BTreeSet<String> = verdict.policies.iter().map(|policy| policy.id.to_string()).collect();
            match (allow, reasons.is_empty()) {
                (false, false) => prop_assert_eq!(verdict.outcome, Outcome::DenyExplicit),
                _ if forbid_erred => {
                    prop_assert_eq!(verdict.outcome, Outcome::DenyError);
                    prop_assert_eq!(determining, errors);
                    continue;
                }
                (true, _) => {
                    prop_assert_eq!(verdict.outcome, Outcome::Allow);
                    for side in [Side::Principal, Side::Resource] {
                        prop_assert!(is_looked_for(&bundle, side, &query), "{:?} of {:?}\n{}", side, query, file);
                    }
                }
                (false, true) => prop_assert_eq!(verdict.outcome, Outcome::DenyDefault),
            }
            prop_assert_eq!(determining, reasons);
        }
    }
}
