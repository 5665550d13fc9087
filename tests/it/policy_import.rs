//! Rules of other products as policies: what comes out, that it means the same, and what is told when it cannot.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use crate::support::golden::golden;
use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, import as command, run_in};
use caxton::policy::{Bundle, SourceKind, Sources};
use caxton::workbench::import::{From, ImportError, ImportInput, Imported, import};

const ROLES: &str = include_str!("../import/roles.yaml");
const AGENT: &str = include_str!("../import/agent.yaml");
const RBAC: &str = concat!(include_str!("../import/rbac.conf"), "\n", include_str!("../import/rbac.csv"));
const TOOLHIVE: &str = include_str!("../import/toolhive.json");
const AGENTGATEWAY: &str = include_str!("../import/agentgateway.yaml");

fn imported(from: From, text: &str) -> Result<Imported, ImportError> {
    let schema = Bundle::load(Sources::new().with_shipped(SourceKind::Schema)).unwrap();
    let input = ImportInput {
        topic: "team",
        file: "rules",
        text,
        lines_before: 0,
        file_before: "",
        server: None,
        schema: &schema,
    };
    import(from, &input)
}

fn gaps(imported: &Imported) -> Vec<(u64, &str)> {
    imported.gaps.iter().map(|gap| (gap.line, gap.what.as_str())).collect()
}

/// Every import runs its own tests before it is handed out, so what is held here is how it reads and what is told.
#[test]
fn roles() {
    let imported = imported(From::Roles, ROLES).unwrap();
    golden("tests/golden/import/roles.cedar", &imported.policies);
    assert_eq!(
        gaps(&imported),
        [(12, "operator: `cluster:*` has no actions yet that a user can be asked about")]
    );
    assert!(imported.rows > 100, "{}", imported.rows);
    assert!(imported.tests.contains("what the role viewer may not do"), "{}", imported.tests);
}

#[test]
fn agent_authz() {
    let imported = imported(From::AgentAuthz, AGENT).unwrap();
    golden("tests/golden/import/agent.cedar", &imported.policies);
    golden("tests/golden/import/agent.test.yaml", &imported.tests);
    let lines: Vec<u64> = imported.gaps.iter().map(|gap| gap.line).collect();
    assert_eq!(lines, [16, 17], "{:?}", imported.gaps);
    assert!(imported.notes.iter().any(|note| note.what.contains("capabilities: [order-processing")));
}

#[test]
fn rbac() {
    let imported = imported(From::Rbac, RBAC).unwrap();
    golden("tests/golden/import/rbac.cedar", &imported.policies);
    let told: Vec<&str> = imported.gaps.iter().map(|gap| gap.what.as_str()).collect();
    assert_eq!(
        told,
        [
            "developer: there is no action or group `billing:pay`",
            "`alice` is in `developer`: put the role into the token or the key of `alice`",
        ]
    );
}

#[test]
fn toolhive() {
    let imported = imported(From::Toolhive, TOOLHIVE).unwrap();
    golden("tests/golden/import/toolhive.cedar", &imported.policies);
    assert_eq!(
        gaps(&imported),
        [
            (4, "policy 3: `get_prompt`: prompts and resources have no actions here yet"),
            (6, "policy 5: `context.arg_operation == \"add\"` has no counterpart"),
        ]
    );
}

#[test]
fn agentgateway() {
    let imported = imported(From::Agentgateway, AGENTGATEWAY).unwrap();
    golden("tests/golden/import/agentgateway.cedar", &imported.policies);
    golden("tests/golden/import/agentgateway.test.yaml", &imported.tests);
    let what = "`mcp.tool.name == \"printEnv\" && jwt.nested.key == \"value\"`: the nested claim `jwt.nested.key` has no counterpart";
    assert_eq!(gaps(&imported), [(11, what)]);
}

/// A permit without the denial that limited it would give more than the source did.
#[test]
fn a_denial_that_cannot_be_said_becomes_a_stricter_one() {
    let rules = "mcpAuthorization:\n  rules:\n  - 'true'\n  - deny: 'mcp.tool.name == \"drop\" && request.headers[\"x\"] == \"y\"'\n";
    let one = imported(From::Agentgateway, rules).unwrap();
    assert!(gaps(&one)[0].1.ends_with("denies more than the rule did"), "{:?}", gaps(&one));
    assert!(
        one.policies.contains("forbid") && one.policies.contains("resource.name == \"drop\""),
        "{}",
        one.policies
    );
    let pinned = |imported: &Imported, tool: &str| {
        let denied = imported.tests.split("what a rule denies").nth(1).unwrap().to_owned();
        assert!(denied.contains(tool), "{denied}");
    };
    pinned(&one, "drop");
    for rules in [
        "mcpAuthorization:\n  rules:\n  - 'true'\n  - deny: 'request.headers[\"x\"] == \"y\"'\n",
        "mcpAuthorization:\n  rules:\n  - 'true'\n  - deny: 'mcp.tool.name == \"drop\" || request.headers[\"x\"] == \"y\"'\n",
        "mcpAuthorization:\n  rules:\n  - 'true'\n  - require: 'request.headers[\"x\"] == \"y\"'\n",
    ] {
        let whole = imported(From::Agentgateway, rules).unwrap();
        assert!(whole.policies.contains("forbid"), "{}", whole.policies);
        assert!(!whole.tests.contains("what the rules allow"), "nothing is left: {}", whole.tests);
    }
    // What is not understood may deny.
    for rule in ["denny: 'true'", "deny: ['true']"] {
        let rules = format!("mcpAuthorization:\n  rules:\n  - 'true'\n  - {rule}\n");
        assert!(imported(From::Agentgateway, &rules).is_err(), "{rule}");
    }
    let toolhive = |policy: &str| {
        let policies = ["permit(principal, action == Action::\"call_tool\", resource);", policy];
        let file = serde_json::json!({
            "version": "1.0", "type": "cedarv1", "cedar": { "policies": policies, "entities_json": "[]" },
        });
        imported(From::Toolhive, &file.to_string()).unwrap()
    };
    for (policy, left) in [
        (
            "forbid(principal, action == Action::\"call_tool\", resource == Tool::\"drop\") when { context.arg_x == 1 };",
            "drop",
        ),
        ("forbid(principal, action, resource == Tool::\"drop\");", "drop"),
        (
            "forbid(principal, action in [Action::\"call_tool\", Action::\"get_prompt\"], resource) when { context.arg_x == 1 };",
            "forbid",
        ),
    ] {
        let said = toolhive(policy);
        assert!(said.policies.contains("forbid") && said.policies.contains(left), "{}", said.policies);
        assert!(gaps(&said)[0].1.ends_with("denies more than the rule did"), "{:?}", gaps(&said));
    }
}

/// A denial that is about a claim must reach those who have no claims at all.
#[test]
fn an_agent_does_not_slip_past_a_denial_about_claims() {
    let rules = "mcpAuthorization:\n  rules:\n  - 'true'\n  - deny: '!(\"ops\" in jwt.groups) && mcp.tool.name == \"drop\"'\n";
    let imported = imported(From::Agentgateway, rules).unwrap();
    let denied = imported.tests.split("what a rule denies").nth(1).unwrap();
    let denied = denied.split("- name:").next().unwrap();
    assert!(
        denied.contains("requester") || denied.contains("caller: Agent::\"an-agent\", tool: drop"),
        "{denied}"
    );
}

#[test]
fn names_cannot_break_out_of_policies_or_tests() {
    let variable = imported(From::Roles, "roles: [{ name: '${x}', permissions: [\"agent:list\"] }]").unwrap();
    assert_eq!((variable.rows, variable.gaps[0].what.starts_with("tests: a name has `${`")), (0, true));
    let wild = "a\\\"); permit(principal,action,resource); // \\u202e *";
    let text = format!("roles:\n  - name: \"{wild}\"\n    permissions: [\"agent:list\"]\n");
    let imported = imported(From::Roles, &text).unwrap();
    assert_eq!(
        (imported.count, imported.policies.matches("\npermit (").count()),
        (1, 1),
        "{}",
        imported.policies
    );
    assert!(!imported.policies.contains('\u{202e}') && !imported.tests.contains('\u{202e}'));
    let patterns = "authorization:\n  agent_id: 'a\"b'\n  allowed_senders: [{ pattern: 'x\"y*' }, 'c\\d']\n";
    assert!(super_text(patterns).contains("like \"x\\\"y*\""));
}

fn super_text(text: &str) -> String {
    imported(From::AgentAuthz, text).unwrap().policies
}

#[test]
fn sources_that_are_not_what_they_should_be_are_refused_with_their_line() {
    let refused = |from: From, text: &str| imported(from, text).unwrap_err().to_string();
    let yaml = "roles:\n  - name: a\n    permissions: [agent:list]\n    color: red\n";
    assert!(refused(From::Roles, yaml).starts_with("line 4: "), "{}", refused(From::Roles, yaml));
    let twice =
        "roles:\n  - { name: a, permissions: [agent:list] }\n  - { name: a, permissions: [agent:list] }\n";
    assert_eq!(refused(From::Roles, twice), "line 3: the role `a` has no name, or is there twice");
    let nothing = "roles:\n  - { name: a, permissions: [no:such] }\n";
    assert_eq!(
        refused(From::Roles, nothing),
        "nothing in it becomes a policy: line 2: a: there is no action or group `no:such`"
    );
    assert!(refused(From::Roles, "a: &x 1\nroles: *x\n").starts_with("line "));
    assert!(
        refused(From::AgentAuthz, "authorization: { agent_id: a, allowed_senders: [{ pattern: 'a*b*c' }] }")
            .contains("more than one `*`")
    );
    assert_eq!(
        refused(From::Rbac, "[matchers]\nm = g(r.sub, p.sub) && keyMatch(r.obj, p.obj)\n"),
        "line 2: `m = g(r.sub, p.sub) && keyMatch(r.obj, p.obj)` in `[matchers]` is not a model that can be carried over"
    );
    assert_eq!(refused(From::Rbac, "p, a, b, c, deny\n"), "line 1: the effect `deny` is not known here");
    assert!(refused(From::Rbac, "[matchers]\n").starts_with("line 1: there is no `p` line"));
    assert!(
        refused(From::Toolhive, "{\"version\":\"1.0\",\"type\":\"other\",\"cedar\":{\"policies\":[]}}")
            .contains("only `cedarv1`")
    );
    assert!(
        refused(
            From::Toolhive,
            "{\"version\":\"1.0\",\"type\":\"cedarv1\",\"cedar\":{\"policies\":[\"permit(\"]}}"
        )
        .starts_with("line 1: policy 1: ")
    );
    assert!(
        refused(From::Agentgateway, "binds: []")
            .ends_with("there is no `mcpAuthorization` with `rules` in it")
    );
}

// ---- the command ----

fn run(base: &Path, accept: bool, dry: bool, name: Option<&str>) -> anyhow::Result<Exit> {
    let target = command::ImportTarget {
        name: name.map(str::to_owned),
        accept_gaps: accept,
        dry_run: dry,
        ..command::ImportTarget::default()
    };
    let file = base.join("roles.yaml");
    run_in(base, Command::ImportRoles(command::Roles { file, target }), &Output::new(Format::Table))
}

#[test]
fn nothing_is_written_over_and_nothing_is_left_out_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    fs::write(base.join("roles.yaml"), ROLES).unwrap();
    let there = |name: &str| base.join(name).exists();
    assert_eq!(run(base, false, false, None).unwrap(), Exit::Found);
    assert_eq!(run(base, true, true, None).unwrap(), Exit::Fine);
    assert!(!there("policies") && !there("policy-tests"));
    assert_eq!(run(base, true, false, None).unwrap(), Exit::Fine);
    assert!(there("policies/roles.cedar") && there("policy-tests/roles.test.yaml"));
    let refused = format!("{:#}", run(base, true, false, None).unwrap_err());
    assert!(refused.contains("roles.cedar` is there already, and is not overwritten"), "{refused}");
    assert_eq!(run(base, true, false, Some("team")).unwrap(), Exit::Fine);
    assert!(there("policies/team.cedar"));
    for wrong in ["../x", "Team", "", "a.b", "a/b"] {
        assert!(
            format!("{:#}", run(base, true, false, Some(wrong)).unwrap_err())
                .contains("is no name for files")
        );
    }
    fs::remove_file(base.join("policies/roles.cedar")).unwrap();
    assert!(run(base, true, false, None).is_err(), "the tests are still there");
    assert!(!there("policies/roles.cedar"));
}

#[test]
fn what_was_imported_passes_its_tests_and_the_other_checks() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let files = [
        (command::RuleFormat::AgentAuthz, "agent", AGENT),
        (command::RuleFormat::Rbac, "rbac", RBAC),
        (command::RuleFormat::Toolhive, "toolhive", TOOLHIVE),
    ];
    let output = Output::new(Format::Table);
    for (from, name, text) in files {
        let path = base.join(format!("{name}.txt"));
        fs::write(&path, text).unwrap();
        let target = command::ImportTarget { accept_gaps: true, ..command::ImportTarget::default() };
        let options = command::ImportOptions { from, server: None, files: vec![path], target };
        assert_eq!(run_in(base, Command::Import(options), &output).unwrap(), Exit::Fine, "{name}");
    }
    let folders = caxton::cli::policy::PolicyFolders::default;
    assert_eq!(run_in(base, Command::Validate { folders: folders() }, &output).unwrap(), Exit::Fine);
    let fmt = caxton::cli::policy::fmt::FmtOptions { check: true, ..Default::default() };
    assert_eq!(run_in(base, Command::Fmt(fmt), &output).unwrap(), Exit::Fine);
}

// ---- Casbin ----

/// A model of Casbin's own examples with its rules, and what an import says of it: nothing, or why it cannot be carried over.
const CASBIN: [(&str, &str, &str); 33] = [
    ("abac_model", "", ""),
    ("abac_not_using_policy_model", "", ""),
    ("abac_not_using_policy_model", "abac_rule_effect_policy", ""),
    ("abac_rule_model", "abac_rule_policy", ""),
    ("basic_keyget2_model", "basic_keyget2_policy", ""),
    ("basic_model", "basic_policy", ""),
    ("basic_model", "basic_inverse_policy", ""),
    ("basic_with_root_model", "basic_policy", ""),
    ("basic_without_resources_model", "basic_without_resources_policy", ""),
    ("basic_without_users_model", "basic_without_users_policy", ""),
    ("in_operator_model", "", ""),
    ("ipmatch_model", "ipmatch_policy", ""),
    ("keymatch2_model", "keymatch2_policy", ""),
    ("keymatch_model", "keymatch_policy", ""),
    ("priority_model", "priority_policy", ""),
    ("priority_model_explicit", "priority_policy_explicit", ""),
    ("rbac_g2_model", "rbac_g2_policy", ""),
    ("rbac_model", "rbac_policy", ""),
    ("rbac_model", "rbac_with_hierarchy_policy", ""),
    ("rbac_with_all_pattern_model", "rbac_with_all_pattern_policy", ""),
    ("rbac_with_deny_model", "rbac_with_deny_policy", ""),
    ("rbac_with_domain_pattern_model", "rbac_with_domain_pattern_policy", ""),
    ("rbac_with_domains_model", "rbac_with_domains_policy2", ""),
    ("rbac_with_hierarchical_domains_model", "rbac_with_hierarchical_domains_policy", ""),
    ("rbac_with_not_deny_model", "rbac_with_deny_policy", ""),
    ("rbac_with_pattern_model", "rbac_with_pattern_policy", ""),
    ("rbac_with_resource_roles_model", "rbac_with_resource_roles_policy", ""),
    ("subject_priority_model", "subject_priority_policy", ""),
    ("subject_priority_model_with_domain", "subject_priority_policy_with_domain", ""),
    (
        "multiple_policy_definitions_model",
        "multiple_policy_definitions_policy",
        "gap: `p2`: a second definition is asked for by name",
    ),
    (
        "rbac_with_multiple_policy_model",
        "rbac_with_multiple_policy_policy",
        "gap: `p2`: a second definition is asked for by name",
    ),
    (
        "glob_model",
        "glob_policy",
        "glob_policy.csv`: nothing in it becomes a policy: line 1: `globMatch` means something else in each of Casbin's languages",
    ),
    (
        "keymatch_custom_model",
        "keymatch2_policy",
        "keymatch2_policy.csv`: nothing in it becomes a policy: line 1: the function `keyMatchCustom` is not known here",
    ),
];

/// The requests of a test file, as the program that asks Casbin wants them, and what is expected.
fn asked(tests: &str) -> (Vec<serde_json::Value>, Vec<bool>) {
    let suite: serde_json::Value = serde_saphyr::from_str(tests).unwrap();
    let id = |name: &serde_json::Value| {
        let name = name.as_str().unwrap();
        let (_, quoted) = name.split_once("::\"").unwrap();
        quoted.strip_suffix('"').unwrap().to_owned()
    };
    let (mut requests, mut allowed) = (Vec::new(), Vec::new());
    for test in suite["tests"].as_array().unwrap() {
        let request = &test["request"];
        let attributes = |name: &serde_json::Value| {
            let mut found = test["entities"][name.as_str().unwrap()]["attrs"].clone();
            if let Some(fields) = found.as_object_mut() {
                fields.remove("id");
            }
            found
        };
        let domain = request["context"].as_object().and_then(|context| context.get("dom")).cloned();
        requests.push(serde_json::json!({
            "subject": id(&request["principal"]), "object": id(&request["resource"]),
            "action": id(&request["action"]), "domain": domain.unwrap_or_default(),
            "attributes": { "subject": attributes(&request["principal"]), "object": attributes(&request["resource"]) },
        }));
        allowed.push(test["expect"]["outcome"] == "allow");
    }
    (requests, allowed)
}

/// The examples that Casbin's package brings along: what is imported decides as Casbin itself does, the rest says why not.
#[test]
fn casbins_examples() {
    if std::env::var_os("CAXTON_TESTS").is_none() {
        return;
    }
    let examples = crate::support::node::clients().join("node_modules/casbin/examples");
    let place = tempfile::tempdir().unwrap();
    let (mut models, mut rows) = (std::collections::BTreeSet::new(), 0);
    for (model, policy, told) in CASBIN {
        let model_file = examples.join(format!("{model}.conf"));
        let policy_file = (!policy.is_empty()).then(|| examples.join(format!("{policy}.csv")));
        let files: Vec<&Path> =
            [Some(model_file.as_path()), policy_file.as_deref()].into_iter().flatten().collect();
        let mut arguments =
            vec!["policy", "import", "--from", "casbin", "--name", "rules", "--dry-run", "--format", "json"];
        arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
        let ended = crate::support::child::run(place.path(), &arguments);
        if !told.is_empty() && !told.starts_with("gap: ") {
            assert!(ended.code == Some(2) && ended.stderr.contains(told), "{model}: {ended:?}");
            continue;
        }
        let imported: serde_json::Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{model}: {error} {ended:?}"));
        let gaps = imported["gaps"].to_string();
        match told.strip_prefix("gap: ") {
            Some(told) => {
                assert!(ended.code == Some(1) && gaps.contains(told), "{model}: {ended:?}");
                continue;
            }
            None => assert!(ended.code == Some(0) && gaps == "[]", "{model}: {ended:?}"),
        }
        let (requests, allowed) = asked(imported["tests"].as_str().unwrap());
        assert!(allowed.contains(&false), "{model} {policy}: {}", imported["tests"]);
        let mut casbin = std::process::Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/casbin.mjs"))
            .args(&files)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let text = serde_json::to_vec(&requests).unwrap();
        std::io::Write::write_all(&mut casbin.stdin.take().unwrap(), &text).unwrap();
        let answers: Vec<bool> = serde_json::from_slice(&casbin.wait_with_output().unwrap().stdout)
            .unwrap_or_else(|error| panic!("{model} {policy}: {error}"));
        for ((request, expected), answer) in requests.iter().zip(&allowed).zip(&answers) {
            assert_eq!(expected, answer, "{model} {policy}: {request}");
        }
        assert_eq!(answers.len(), allowed.len(), "{model} {policy}");
        models.insert(model);
        rows += answers.len();
    }
    assert!(models.len() >= 26 && rows > 400, "{} models, {rows} rows", models.len());
}

#[test]
fn casbin_reads_like_cedar_that_a_person_wrote() {
    let model = "[request_definition]\nr = sub, dom, obj, act # a comment\n[policy_definition]\np = sub, dom, obj, act\n\
        [role_definition]\ng = _, _, _\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\n\
        m = g(r.sub, p.sub, r.dom) && r.dom == p.dom && \\\n    keyMatch2(r.obj, p.obj) && regexMatch(r.act, p.act) || r.sub == \"root\"\n";
    let rules = "p, admin, shop, /orders/:id/lines, (read|write)\np, clerk, shop, /orders/:id/lines, read\ng, ann, admin, shop\n";
    let imported = imported(From::Casbin, &format!("{model}{rules}")).unwrap();
    golden("tests/golden/import/casbin.cedar", &imported.policies);
    golden("tests/golden/import/casbin.cedarschema", imported.schema.as_deref().unwrap());
    assert_eq!(imported.notes.len(), 1, "{:?}", imported.notes);
    assert!(imported.rows > 10, "{}", imported.tests);
}

#[test]
fn a_model_that_cannot_be_carried_over_says_where_and_why() {
    let model = |matcher: &str, effect: &str| {
        format!(
            "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act, eft\n[policy_effect]\ne = {effect}\n[matchers]\nm = {matcher}\n"
        )
    };
    let some = "some(where (p.eft == allow))";
    let both = "some(where (p.eft == allow)) && !some(where (p.eft == deny))";
    let plain = "r.sub == p.sub && r.obj == p.obj && r.act == p.act";
    for (matcher, effect, rules, message) in [
        (plain, "max(p.eft)", "p, a, b, c, allow", "line 6: the effect `max(p.eft)` is not known here"),
        (
            "r.sub == p.sub &&",
            some,
            "p, a, b, c, allow",
            "line 8: the matcher: something is missing at the end",
        ),
        ("r.sub = p.sub", some, "p, a, b, c, allow", "line 8: the matcher: `=` is not understood"),
        ("r.sub + 1 == p.sub", some, "p, a, b, c, allow", "line 8: the matcher: `+` is not understood"),
        (plain, some, "p, a, b, c", "line 9: 3 values stand where the model defines 4"),
        (plain, some, "x, a, b, c", "line 9: `x` is neither `p` nor `g`"),
        (plain, some, "p, a, \"b, c, allow", "line 9: a quote has no end"),
        (plain, some, "# nothing", "line 8: there is no `p` line"),
        (
            "unknown(r.sub, p.sub)",
            some,
            "p, a, b, c, allow",
            "line 9: the function `unknown` is not known here",
        ),
        // A denial that is not understood imports nothing: without it more would be allowed.
        (
            "r.sub == p.sub || unknown(r.sub, p.sub)",
            both,
            "p, a, b, c, allow\np, a, b, d, deny",
            "line 10: the function `unknown`",
        ),
        ("ipMatch(r.sub, p.sub)", some, "p, house, b, c, allow", "`house` is no network"),
        ("r.sub.Age > 1 && r.sub.Age == \"x\"", some, "p, a, b, c, allow", "`Age` is compared with"),
    ] {
        let error = imported(From::Casbin, &format!("{}{rules}\n", model(matcher, effect))).unwrap_err();
        assert!(error.to_string().contains(message), "{matcher} {rules}: {error}");
    }
    let renamed = model(plain, some).replace("r = sub", "r = who");
    let error = imported(From::Casbin, &format!("{renamed}p, a, b, c, allow\n")).unwrap_err();
    assert!(error.to_string().contains("the field `who` of a request is not known here"), "{error}");
}

/// A chain of roles has as many ways up as there are sets of its links: the depth of each is worked out once.
#[test]
fn a_long_chain_of_roles_is_read_at_once() {
    let model = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act, eft\n[role_definition]\ng = _, _\n\
        [policy_effect]\ne = subjectPriority(p.eft) || deny\n[matchers]\nm = g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act\n";
    let chain: String = (0..40).map(|number| format!("g, r{number}, r{}\n", number + 1)).collect();
    let rules = format!("p, r40, thing, read, deny\np, r0, thing, read, allow\n{chain}");
    let imported = imported(From::Casbin, &format!("{model}{rules}")).unwrap();
    // The rule of the far end comes before that of the root.
    assert_eq!(imported.count, 1, "{}", imported.policies);
    assert!(!imported.policies.contains("unless"), "{}", imported.policies);
}
