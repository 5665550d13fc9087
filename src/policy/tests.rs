//! What a bundle refuses, what a decision denies, and what goes into a version.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::model::{Entity, EntityUid, Outcome, PolicyMode, ReasonCode, Value};

const SCHEMA: &str = r#"
entity User = { age: Long };
entity Doc in [Folder];
entity Folder;
action all;
action read in [all] appliesTo { principal: [User], resource: [Doc], context: { n: Long, note?: String } };
"#;

fn sources(policies: &str) -> Sources {
    Sources::new().with_schema("world.cedarschema", SCHEMA).with_policy("world.cedar", policies)
}

fn bundle(policies: &str) -> Bundle {
    Bundle::load(sources(policies)).unwrap()
}

fn refusals(sources: Sources) -> Vec<String> {
    Bundle::load(sources).unwrap_err().problems().iter().map(ToString::to_string).collect()
}

fn query() -> Query {
    Query {
        principal: EntityUid::new("User", "ann"),
        action: EntityUid::new("Action", "read"),
        resource: EntityUid::new("Doc", "plan"),
        context: Value::record([("n", Value::Long(1))]),
        entities: vec![
            Entity::bare(EntityUid::new("User", "ann")).with("age", Value::Long(40)).into(),
            Entity::bare(EntityUid::new("Doc", "plan")).in_parent(EntityUid::new("Folder", "top")).into(),
        ],
    }
}

const ALLOW: &str = "@id(\"allow\") permit(principal, action, resource);";
const OVERFLOW: &str = "context.n + 9223372036854775807 > 0";

fn ids(verdict: &Verdict) -> Vec<&str> {
    verdict.policies.iter().map(|policy| policy.id.as_ref()).collect()
}

// ---- loading ---------------------------------------------------------------------------------------------

#[test]
fn a_bundle_is_refused_with_the_place_and_the_reason() {
    let cases = [
        ("permit(principal, action, resource);", "policies/world.cedar:1:1: the policy has no `@id`"),
        (
            "@id(\" \") permit(principal, action, resource);",
            "policies/world.cedar:1:1: the policy's `@id` is empty",
        ),
        (
            "@id(\"a\\u{1b}b\") permit(principal, action, resource);",
            "policies/world.cedar:1:1: the policy's `@id` has a control character",
        ),
        (
            "@id(\"a\") @mode(\"log-only\") permit(principal, action, resource);",
            "policies/world.cedar:1:1: `@mode(\"log-only\")` is not known",
        ),
        (
            "@id(\"a\") permit(principal, action, resource);\n@id(\"a\") forbid(principal, action, resource);",
            "policies/world.cedar:2:1: the id `a` is already used in `policies/world.cedar:1`",
        ),
        (
            "@id(\"a\") permit(principal, action, resource) when { principal.agee > 1 };",
            "policies/world.cedar:1:53: for policy `a`, attribute `agee` on entity type `User` not found",
        ),
        (
            "@id(\"a\") permit(principal, action == Action::\"raed\", resource);",
            "policies/world.cedar:1:38: for policy `a`, unrecognized action `Action::\"raed\"`",
        ),
        (
            "@id(\"a\") permit(principal is Usr, action, resource);",
            "policies/world.cedar:1:30: for policy `a`, unrecognized entity type `Usr`",
        ),
        (
            "@id(\"a\") permit(principal, action, resource) when { context.note == \"x\" };",
            "policies/world.cedar:1:53: for policy `a`, unable to guarantee safety of access to optional attribute `note` in context for Action::\"read\"",
        ),
        (
            "@id(\"a\") permit(principal == ?principal, action, resource) when { principal.agee > 1 };",
            "policies/world.cedar:1:67: for policy `a`, attribute `agee` on entity type `User` not found",
        ),
        (
            "@id(\"a\") permit(principal, action resource);",
            "policies/world.cedar:1:35: unexpected token `resource`",
        ),
    ];
    for (policies, message) in cases {
        let found = refusals(sources(policies));
        assert!(found.len() == 1 && found[0] == message, "{policies}: {found:?}");
    }
    let long = format!("@id(\"{}\") {}", "x".repeat(129), "permit(principal, action, resource);");
    assert_eq!(
        refusals(sources(&long)),
        ["policies/world.cedar:1:1: the policy's `@id` is longer than 128 characters"]
    );
}

/// What does not fit many types at one place is one problem; so it stays readable who has to narrow what.
#[test]
fn what_is_wrong_for_every_type_is_said_once() {
    let types = "namespace Much { entity A, B, C, D; action \"do\" appliesTo { principal: [A, B, C, D], resource: [A] }; }";
    let policy =
        "@id(\"a\") permit(principal, action == Much::Action::\"do\", resource) when { principal.x == 1 };";
    let found = refusals(sources(policy).with_schema("much.cedarschema", types));
    let wanted = "policies/world.cedar:1:75: for policy `a`, attribute `x` on entity type `Much::A` not found, and 3 more like this at this place";
    assert_eq!(found, [wanted]);
}

#[test]
fn all_problems_of_all_files_are_reported_at_once() {
    let sources = sources("permit(principal, action, resource);")
        .with_policy("more.cedar", "@id(\"b\") permit(principal, action, resource) when { principal.x };\n@id(\"c\") permit(principal, action, resource) when { principal.y };")
        .with_policy("torn.cedar", "@id(\"d\") permit(");
    let found = refusals(sources);
    assert_eq!(found.len(), 4, "{found:#?}");
    for part in ["policies/world.cedar:1:1", "attribute `x`", "attribute `y`", "policies/torn.cedar:1:17"] {
        assert!(found.iter().any(|message| message.contains(part)), "{part} in {found:#?}");
    }
}

#[test]
fn a_schema_that_does_not_hold_together_refuses_the_bundle() {
    let cases = [
        ("entity User = {", "schemas/x.cedarschema:1:16: error parsing schema: unexpected end of input"),
        ("entity Thing = { a: Missing };", "schemas/x.cedarschema:1:21: nothing declares the type `Missing`"),
        (
            "entity User;",
            "x.cedarschema:1:1: the entity `User` is already declared in `schemas/world.cedarschema:2`",
        ),
        (
            "namespace Mine { entity User; }",
            "world.cedarschema:2:1: the entity `User` is already declared as `Mine::User` in `schemas/x.cedarschema:1`",
        ),
        (
            "namespace Mine { action read; }",
            "the action `Action::\"read\"` is already declared as `Mine::Action::\"read\"` in `schemas/x.cedarschema:1`",
        ),
        ("action \"a\" in [\"gone\"];", "undeclared action: Action::\"gone\""),
    ];
    for (schema, message) in cases {
        let found = refusals(sources(ALLOW).with_schema("x.cedarschema", schema));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(message), "{found:?}");
    }
    assert_eq!(
        refusals(sources(ALLOW).with_policy("world.cedar", "")),
        ["policies/world.cedar: the file is given twice"]
    );
}

#[test]
fn links_fill_templates_and_are_refused_when_they_do_not_fit() {
    let template = "@id(\"t\") permit(principal == ?principal, action, resource);";
    let link = |template: &str, principal: Option<EntityUid>| Link {
        template: template.into(),
        id: "l".into(),
        principal,
        resource: None,
    };
    let ann = EntityUid::new("User", "ann");
    let good = Bundle::load(sources(template).with_link(link("t", Some(ann.clone())))).unwrap();
    assert_eq!(ids(&good.decide(&query())), ["l"]);
    assert_eq!(
        bundle(template).decide(&query()).outcome,
        Outcome::DenyDefault,
        "a template alone decides nothing"
    );
    for (bad, message) in [
        (link("gone", Some(ann)), "the link `l` names the template `gone`, which is not there"),
        (link("t", None), "the link `l` does not fit"),
        (link("t", Some(EntityUid::new("U ser", "x"))), "`U ser` is not a type name"),
    ] {
        let found = refusals(sources(template).with_link(bad));
        assert!(found[0].contains(message), "{found:?}");
    }
}

#[test]
fn links_stand_in_files_in_three_forms() {
    let template = "@id(\"t\") permit(principal == ?principal, action, resource);";
    let yaml = "links:\n  - template: t\n    id: l\n    principal: User::\"ann\"\n";
    let cedar = "{\"templateLinks\": [{\"templateId\": \"t\", \"newId\": \"l\", \"values\": {\"?principal\": {\"type\": \"User\", \"id\": \"ann\"}}}]}";
    let explicit = cedar.replace(
        "{\"type\": \"User\", \"id\": \"ann\"}",
        "{\"__entity\": {\"type\": \"User\", \"id\": \"ann\"}}",
    );
    let command =
        "[{\"template_id\": \"t\", \"link_id\": \"l\", \"args\": {\"?principal\": \"User::\\\"ann\\\"\"}}]";
    for (name, text) in [
        ("a.links.yaml", yaml),
        ("a.links.yml", &format!("\u{feff}{}", yaml.replace('\n', "\r\n"))),
        ("sub/a.links.json", cedar),
        ("a.links.json", &explicit),
        ("a.links.json", command),
    ] {
        let bundle = Bundle::load(sources(template).with_links_file(name, text)).unwrap();
        assert_eq!(ids(&bundle.decide(&query())), ["l"], "{name}");
        let linked = bundle.policy("l").unwrap();
        assert_eq!(linked.linked_from.as_deref(), Some("t"));
        let place = format!("policies/{name}:");
        assert!(linked.linked_at.as_deref().unwrap().starts_with(&place), "{:?}", linked.linked_at);
        assert!(bundle.warnings().is_empty(), "{:?}", bundle.warnings());
    }
}

#[test]
fn a_file_of_links_that_does_not_fit_is_refused_with_its_place() {
    let template = "@id(\"t\") permit(principal == ?principal, action, resource);\n@id(\"s\") permit(principal, action, resource);";
    let row = |template: &str, id: &str, rest: &str| {
        format!(
            "links:\n  - {{ template: t, id: first, principal: 'User::\"ann\"' }}\n  - template: {template}\n    id: {id}\n{rest}"
        )
    };
    let ann = "    principal: User::\"ann\"\n";
    for (name, text, message) in [
        ("l.links.yaml", row("gone", "l", ann), "l.links.yaml:3:1: the link `l` names the template `gone`, which is not there"),
        ("l.links.yaml", row("s", "l", ann), "l.links.yaml:3:1: `s` in `policies/world.cedar:2` is no template: it has no slot"),
        ("l.links.yaml", row("t", "l", ""), "l.links.yaml:3:1: the link `l` does not fit"),
        ("l.links.yaml", row("t", "l", &format!("{ann}    resource: User::\"x\"\n")), "l.links.yaml:3:1: the link `l` does not fit"),
        ("l.links.yaml", row("t", "first", ann), "l.links.yaml:3:1: the id `first` is already used in"),
        ("l.links.yaml", row("t", "s", ann), "l.links.yaml:3:1: the id `s` is already used in"),
        ("l.links.yaml", row("t", "\"\"", ann), "l.links.yaml:3:1: the id `` is empty"),
        ("l.links.yaml", row("t", "l", "    principal: ann\n"), "l.links.yaml:3:1: `ann` is not the name of an entity"),
        ("l.links.yaml", row("t", "l", "    principal: Usr::\"ann\"\n"), "l.links.yaml:3:1: the schema has no entity type `Usr`"),
        ("l.links.yaml", row("t", "l", "    princpal: x\n"), "unknown field `princpal`"),
        ("l.links.yaml", "links: &x []".to_owned(), "l.links.yaml:1:1: "),
        ("l.links.json", "{\"templateLinks\": [{\"templateId\": \"t\", \"newId\": \"l\", \"values\": {\"?action\": {\"type\": \"User\", \"id\": \"ann\"}}}]}".to_owned(), "there is no slot `?action`"),
        ("l.links.json", "{\"templateLinks\": [{\"templateId\": \"t\", \"newId\": \"l\", \"values\": {\"?principal\": {\"type\": \"User\"}}}]}".to_owned(), "`?principal` is no entity"),
        ("l.links.json", "{\"staticPolicies\": {}, \"templateLinks\": []}".to_owned(), "unknown field `staticPolicies`"),
    ] {
        let found = refusals(sources(template).with_links_file(name, &text));
        assert!(found.len() == 1 && found[0].contains(message), "{text}\n{message}\n{found:?}");
    }
}

#[test]
fn too_many_policies_are_refused() {
    let settings = Settings { limits: Limits { policies: 1, ..Limits::default() }, ..Settings::default() };
    let two = format!("{ALLOW}\n@id(\"b\") permit(principal, action, resource);");
    let errors = Bundle::load_with(sources(&two), settings).unwrap_err();
    assert_eq!(errors.problems()[0].to_string(), "2 policies are more than the 1 allowed");
}

#[test]
fn what_is_only_suspicious_is_a_warning() {
    let never = bundle("@id(\"never\") permit(principal, action, resource) when { 1 == 2 };");
    assert_eq!(never.warnings().len(), 1);
    assert_eq!(never.warnings()[0].policy.as_deref(), Some("never"));
    assert!(!never.warnings()[0].fatal);
}

#[test]
fn a_forbid_that_can_never_hold_is_refused_with_its_fix() {
    let refused = |text: &str| {
        let errors = Bundle::load(sources(text)).unwrap_err();
        errors.problems().iter().map(|problem| (problem.fatal, problem.advice.clone())).collect::<Vec<_>>()
    };
    let never = "@id(\"never\") forbid(principal, action, resource) when { 1 == 2 };";
    assert_eq!(refused(never), [(true, Some(super::set::policy_file::STOPS_NOTHING.to_owned()))]);
    // No request is for a group.
    let group = "@id(\"never\") forbid(principal, action == Action::\"all\", resource);";
    let fix = "`all` is a group: write `action in Action::\"all\"`".to_owned();
    assert_eq!(refused(group), [(true, Some(fix))]);
    let linked = "@id(\"t\") forbid(principal == ?principal, action, resource) when { 1 == 2 };";
    assert!(refused(linked).iter().all(|(fatal, _)| *fatal));
    bundle(&group.replace("action ==", "action in"));
}

#[test]
fn an_annotation_that_is_not_carried_out_refuses_the_set() {
    let cases = [
        (
            "@require_approval(\"lead\")",
            "`@require_approval` is not carried out by this version: the policy would hold without it",
        ),
        ("@redact(\"ssn\")", "`ssn` is not a JSON pointer such as `/customer/ssn`"),
        ("@label(\"\")", "`` is not a label: use letters, digits and marks, at most 256 bytes"),
        (
            "@expires(\"2026-01-01T00:00:00Z\")",
            "`@expires` is not carried out by this version: the policy would hold without it",
        ),
        ("@descripton(\"x\")", "`@descripton` is not known"),
        ("@x_(\"x\")", "`@x_` is not known"),
    ];
    for (annotation, message) in cases {
        let text = format!("@id(\"a\") {annotation} permit(principal, action, resource);");
        let errors = Bundle::load(sources(&text)).unwrap_err();
        let [problem] = errors.problems() else { panic!("{errors}") };
        assert!(problem.to_string().ends_with(message), "{problem}");
        assert!(problem.fatal && problem.advice.is_some() && problem.policy.as_deref() == Some("a"));
    }
    let errors = Bundle::load(sources("@id(\"a\") @descripton(\"x\") permit(principal, action, resource);"));
    let advice = errors.unwrap_err().problems()[0].advice.clone().unwrap();
    assert!(advice.starts_with("did you mean `@description`? "), "{advice}");
    let errors = Bundle::load(sources("@id(\"a\") @label(\"pii\") forbid(principal, action, resource);"));
    let problem = errors.unwrap_err().problems()[0].to_string();
    assert!(problem.ends_with("`@label` and `@redact` have no effect on a `forbid`"), "{problem}");
    let own = bundle("@id(\"a\") @x_ticket(\"SEC-1\") permit(principal, action, resource);");
    assert_eq!(own.policy("a").unwrap().annotations.get("x_ticket").unwrap().as_ref(), "SEC-1");
}

#[test]
fn the_shipped_bundle_loads_and_knows_its_actions() {
    let shipped = Bundle::load(Sources::shipped()).unwrap();
    assert!(shipped.knows_action(&crate::model::Action::MemoryRead.uid()));
    assert!(!shipped.knows_action(&EntityUid::action("memory:raed")));
}

#[test]
fn policies_can_be_listed_with_what_is_written_on_them() {
    let bundle = bundle("// who\n@id(\"a\")\n@control(\"SOC2:CC6.1\")\nforbid(principal, action, resource);");
    let info = bundle.policy("a").unwrap();
    assert_eq!((info.effect, info.mode, info.offset), (Effect::Forbid, PolicyMode::Enforce, 7));
    assert_eq!(info.annotations.get("control").unwrap().as_ref(), "SOC2:CC6.1");
    assert!(info.text().starts_with("@id(\"a\")") && info.text().ends_with("resource);"));
    assert_eq!(bundle.policies().count(), 1);
}

// ---- versions and files ----------------------------------------------------------------------------------

#[test]
fn the_version_is_of_names_and_bytes_and_not_of_their_order() {
    let one = Sources::new().with_policy("a.cedar", "x").with_policy("b.cedar", "y");
    let other_order = Sources::new().with_policy("b.cedar", "y").with_policy("a.cedar", "x");
    assert_eq!(one.version(), other_order.version());
    assert_eq!(one.version().as_str().len(), 64);
    let different = [
        Sources::new().with_policy("a.cedar", "xy").with_policy("b.cedar", ""),
        Sources::new().with_policy("a.cedarx", "").with_policy("b.cedar", "y"),
        Sources::new().with_schema("a.cedar", "x").with_policy("b.cedar", "y"),
        Sources::new().with_policy("a.cedar", "x"),
    ];
    for sources in different {
        assert_ne!(one.version(), sources.version());
    }
}

fn directories() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let (policies, schemas) = (root.path().join("p"), root.path().join("s"));
    std::fs::create_dir_all(schemas.join("tools")).unwrap();
    std::fs::create_dir_all(policies.join(".git")).unwrap();
    std::fs::write(schemas.join("world.cedarschema"), SCHEMA).unwrap();
    std::fs::write(schemas.join("tools/x.cedarschema"), "entity X;").unwrap();
    std::fs::write(policies.join("world.cedar"), ALLOW).unwrap();
    std::fs::write(policies.join(".git/old.cedar"), "permit(").unwrap();
    std::fs::write(policies.join("notes.txt"), "no policy").unwrap();
    (root, policies, schemas)
}

#[test]
fn directories_are_read_with_tools_and_without_hidden_files() {
    let (_root, policies, schemas) = directories();
    let sources = Sources::from_dirs(&policies, &schemas).unwrap();
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_ref()).collect();
    assert_eq!(names, ["tools/x.cedarschema", "world.cedarschema", "world.cedar"]);
    let same = Sources::new()
        .with_schema("tools/x.cedarschema", "entity X;")
        .with_schema("world.cedarschema", SCHEMA)
        .with_policy("world.cedar", ALLOW);
    assert_eq!(sources.version(), same.version(), "where the directory lies is not part of the version");
    assert_eq!(Bundle::load(sources).unwrap().decide(&query()).outcome, Outcome::Allow);
}

#[test]
fn directories_over_a_bound_or_unreadable_are_refused() {
    let (_root, policies, schemas) = directories();
    let read = |limits: Limits| Sources::from_dirs_within(&policies, &schemas, &limits).unwrap_err();
    assert!(matches!(read(Limits { files: 1, ..Limits::default() }), PolicyError::TooMany { limit: 1, .. }));
    assert!(matches!(
        read(Limits { file_bytes: 8, ..Limits::default() }),
        PolicyError::TooLarge { limit: 8, .. }
    ));
    assert!(matches!(read(Limits { depth: 0, ..Limits::default() }), PolicyError::TooDeep { limit: 0, .. }));
    let gone = Sources::from_dirs(Path::new("/nowhere/at/all"), &schemas).unwrap_err();
    assert_eq!(gone.to_string(), "cannot read `/nowhere/at/all`");
    std::fs::write(policies.join("latin.cedar"), [0xe9]).unwrap();
    assert!(matches!(Sources::from_dirs(&policies, &schemas).unwrap_err(), PolicyError::NotText { .. }));
}

// ---- deciding --------------------------------------------------------------------------------------------

#[test]
fn nothing_is_allowed_that_no_policy_permits() {
    let verdict = bundle("").decide(&query());
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::DenyDefault, ReasonCode::NoPermit));
    assert!(verdict.policies.is_empty());
    assert_eq!(bundle(ALLOW).decide(&query()).outcome, Outcome::Allow);
}

#[test]
fn a_forbid_wins_and_says_what_the_caller_may_know() {
    let forbid =
        "@id(\"no\") @reason(\"plans are closed\") forbid(principal, action, resource in Folder::\"top\");";
    let verdict = bundle(&format!("{ALLOW}{forbid}")).decide(&query());
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::DenyExplicit, ReasonCode::Forbidden));
    assert_eq!(ids(&verdict), ["no"]);
    assert_eq!(verdict.caller_text.as_deref(), Some("plans are closed"));
}

#[test]
fn an_error_in_a_forbid_denies_and_in_a_permit_grants_nothing() {
    let erring =
        |effect: &str| format!("@id(\"bad\") {effect}(principal, action, resource) when {{ {OVERFLOW} }};");
    let verdict = bundle(&format!("{ALLOW}{}", erring("forbid"))).decide(&query());
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::DenyError, ReasonCode::PolicyError));
    assert_eq!(ids(&verdict), ["bad"]);
    assert_eq!(verdict.errors[0].policy.as_ref(), "bad");
    assert!(verdict.errors[0].message.contains("overflow"), "{:?}", verdict.errors);

    let alone = bundle(&erring("permit")).decide(&query());
    assert_eq!((alone.outcome, alone.errors.len()), (Outcome::DenyDefault, 1));
    let both = format!("{ALLOW}{}", erring("permit"));
    let beside = bundle(&both).decide(&query());
    assert_eq!((beside.outcome, beside.errors.len()), (Outcome::Allow, 1));

    let strict = Settings { on_policy_error: OnPolicyError::Deny, ..Settings::default() };
    let verdict = Bundle::load_with(sources(&both), strict).unwrap().decide(&query());
    assert_eq!((verdict.outcome, verdict.reason), (Outcome::DenyError, ReasonCode::PolicyError));
}

#[test]
fn log_only_policies_watch_and_do_not_decide() {
    let watching = "@id(\"trial\") @mode(\"log_only\") forbid(principal, action, resource);";
    let verdict = bundle(&format!("{ALLOW}{watching}")).decide(&query());
    assert_eq!((verdict.outcome, verdict.shadow), (Outcome::Allow, Some(Outcome::DenyExplicit)));
    assert_eq!(ids(&verdict), ["allow", "trial"]);
    assert_eq!(verdict.policies[1].mode, PolicyMode::LogOnly);

    let granting =
        bundle("@id(\"trial\") @mode(\"log_only\") permit(principal, action, resource);").decide(&query());
    assert_eq!((granting.outcome, granting.shadow), (Outcome::DenyDefault, Some(Outcome::Allow)));

    let erring = format!(
        "@id(\"trial\") @mode(\"log_only\") forbid(principal, action, resource) when {{ {OVERFLOW} }};"
    );
    let verdict = bundle(&format!("{ALLOW}{erring}")).decide(&query());
    assert_eq!((verdict.outcome, verdict.shadow), (Outcome::Allow, Some(Outcome::DenyError)));
    assert_eq!(verdict.errors.len(), 1);
    assert_eq!(bundle(ALLOW).decide(&query()).shadow, None);
}

#[test]
fn what_does_not_fit_the_schema_is_denied_with_the_reason() {
    let bundle = bundle(ALLOW);
    let spoil = |change: &dyn Fn(&mut Query)| {
        let mut query = query();
        change(&mut query);
        let verdict = bundle.decide(&query);
        assert_eq!((verdict.outcome, verdict.reason), (Outcome::DenyError, ReasonCode::SchemaMismatch));
        verdict.mismatch.unwrap().to_string()
    };
    let uid = EntityUid::new;
    type Case<'a> = (&'a dyn Fn(&mut Query), &'a str);
    let cases: [Case<'_>; 14] = [
        (&|q| q.action = uid("Action", "write"), "the schema has no action `Action::\"write\"`"),
        (&|q| q.principal = uid("Robot", "r"), "the schema has no entity type `Robot`"),
        (
            &|q| q.principal = uid("Doc", "d"),
            "`Action::\"read\"` does not apply to the principal `Doc::\"d\"`",
        ),
        (
            &|q| q.resource = uid("User", "u"),
            "`Action::\"read\"` does not apply to the resource `User::\"u\"`",
        ),
        (&|q| q.context = Value::record([("n", Value::text("1"))]), "`n`: expected a Long, got a String"),
        (&|q| q.context = Value::record([("note", Value::text("1"))]), "`n` is missing"),
        (
            &|q| q.context = Value::record([("n", Value::Long(1)), ("m", Value::Long(1))]),
            "`m` is not in the schema",
        ),
        (&|q| q.context = Value::Long(1), "expected a record, got a Long"),
        (&|q| Arc::make_mut(&mut q.entities[0]).attributes.clear(), "`User::\"ann\"`: `age` is missing"),
        (
            &|q| Arc::make_mut(&mut q.entities[0]).tags.extend([("t".into(), Value::Long(1))]),
            "`User::\"ann\"`: entities of this type have no tags",
        ),
        (
            &|q| Arc::make_mut(&mut q.entities[0]).parents.push(uid("Folder", "top")),
            "`User::\"ann\"`: a `User` cannot be in a `Folder`",
        ),
        (
            &|q| q.entities.push(Entity::bare(uid("Robot", "r")).into()),
            "the schema has no entity type `Robot`",
        ),
        (
            &|q| q.entities.push(Entity::clone(&q.entities[1]).in_parent(uid("Folder", "other")).into()),
            "duplicate entity entry `Doc::\"plan\"`",
        ),
        // No policy sees the age, and yet there are two that differ.
        (
            &|q| {
                let other = Entity::bare(uid("User", "ann")).with("age", Value::Long(41));
                q.entities.push(other.into());
            },
            "duplicate entity entry `User::\"ann\"`",
        ),
    ];
    for (change, message) in cases {
        assert_eq!(spoil(change), message);
    }
}

#[test]
fn a_circle_of_parents_is_refused() {
    let schema = "entity G in [G]; entity U in [G]; action a appliesTo { principal: [U], resource: [U] };";
    let sources = Sources::new().with_schema("s.cedarschema", schema).with_policy("p.cedar", ALLOW);
    let group =
        |id: &str, parent: &str| Entity::bare(EntityUid::new("G", id)).in_parent(EntityUid::new("G", parent));
    let query = Query {
        principal: EntityUid::new("U", "u"),
        action: EntityUid::new("Action", "a"),
        resource: EntityUid::new("U", "u"),
        context: Value::record::<&str>([]),
        entities: vec![group("1", "2").into(), group("2", "1").into()],
    };
    let verdict = Bundle::load(sources).unwrap().decide(&query);
    assert_eq!(verdict.mismatch.as_deref(), Some("`G::\"1\"` is its own ancestor"));
}
