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
    imported_for(from, text, None)
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
    assert_eq!(gaps(&imported), [(6, "policy 5: `context.arg_operation == \"add\"` has no counterpart"),]);
}

#[test]
fn agentgateway() {
    let imported = imported(From::Agentgateway, AGENTGATEWAY).unwrap();
    golden("tests/golden/import/agentgateway.cedar", &imported.policies);
    golden("tests/golden/import/agentgateway.test.yaml", &imported.tests);
    assert_eq!(gaps(&imported), []);
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
        ("forbid(principal, action, resource == Tool::\"drop\") when { context.arg_x == 1 };", "drop"),
        (
            "forbid(principal, action == Action::\"read_resource\", resource == Resource::\"drop\");",
            "McpResource",
        ),
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
            .ends_with("there is no `mcpAuthorization` with `rules` and no `mcp.authorization` in it")
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
        (command::RuleFormat::AgentRouter, "agent-router", AGENT_ROUTER),
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

// ---- Kubernetes objects, Agent Router ----

const AGENTGATEWAY_KUBERNETES: &str = include_str!("../import/agentgateway-kubernetes.yaml");
const AGENT_ROUTER: &str = include_str!("../import/agent-router.yaml");

/// Files of the shapes that the projects document, imported by the program, with the lines that are told.
#[test]
fn files_of_other_gateways_become_policies_that_pass_their_tests() {
    let place = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    for (from, name, lines) in [
        ("agentgateway", "agentgateway-kubernetes", &[][..]),
        ("agentgateway", "agentgateway-denials", &[10]),
        ("toolhive", "toolhive-kubernetes", &[45]),
        ("toolhive", "toolhive-groups", &[14]),
        ("agent-router", "agent-router", &[17, 30, 45]),
    ] {
        let file = folder.join(format!("{name}.yaml"));
        let file = file.to_str().unwrap();
        let arguments = ["policy", "import", "--from", from, file, "--accept-gaps", "--format", "json"];
        let ended = crate::support::child::run(place.path(), &arguments);
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        let report = ended.json();
        let found: Vec<u64> =
            report["gaps"].as_array().unwrap().iter().map(|gap| gap["line"].as_u64().unwrap()).collect();
        assert_eq!(found, lines, "{name}: {}", report["gaps"]);
        assert!(report["rows"].as_u64().unwrap() > 10, "{name}: {report}");
        golden(format!("tests/golden/import/{name}.cedar"), report["policies"].as_str().unwrap());
        let single = tempfile::tempdir().unwrap();
        let policies = place.path().join(format!("policies/{name}.cedar"));
        let tests = place.path().join(format!("policy-tests/{name}.test.yaml"));
        for (from, to) in [(policies, "policies"), (tests, "policy-tests")] {
            fs::create_dir(single.path().join(to)).unwrap();
            fs::copy(&from, single.path().join(to).join(from.file_name().unwrap())).unwrap();
        }
        for command in ["validate", "test"] {
            let ended = crate::support::child::run(single.path(), &["policy", command]);
            assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        }
    }
}

fn imported_for(from: From, text: &str, server: Option<&str>) -> Result<Imported, ImportError> {
    let schema = Bundle::load(Sources::new().with_shipped(SourceKind::Schema)).unwrap();
    let input = ImportInput {
        topic: "team",
        file: "rules",
        text,
        lines_before: 0,
        file_before: "",
        server,
        schema: &schema,
    };
    import(from, &input)
}

/// A policy of agentgateway for one target, in braces.
fn agentgateway_policy(name: &str, target: &str, action: &str, expression: &str) -> String {
    format!(
        "apiVersion: agentgateway.dev/v1alpha1\nkind: AgentgatewayPolicy\nmetadata: {{ name: {name} }}\nspec:\n  \
         targetRefs: [{target}]\n  backend:\n    mcp:\n      authorization:\n        action: {action}\n        \
         policy: {{ matchExpressions: ['{expression}'] }}\n"
    )
}

const MAIL: &str = "{ kind: AgentgatewayBackend, name: office, sectionName: mail }";

#[test]
fn documents_are_bounded_and_lines_are_those_of_the_file() {
    let one = agentgateway_policy("one", MAIL, "Allow", "mcp.tool.name == \"a\"");
    let two = agentgateway_policy("two", MAIL, "Deny", "mcp.tool.name == \"b\" && source.address == \"c\"");
    let both = format!(
        "---\n{one}---\n---\n# nothing\n---\napiVersion: v1\nkind: Secret\nmetadata: {{ name: s }}\n---\n{two}"
    );
    for text in [both.clone(), both.replace('\n', "\r\n"), format!("\u{feff}{both}")] {
        let imported = imported(From::Agentgateway, &text).unwrap();
        let line = text.lines().position(|line| line.contains("source.address")).unwrap() + 1;
        let line = u64::try_from(line).unwrap();
        assert_eq!(imported.gaps.iter().map(|gap| gap.line).collect::<Vec<_>>(), [line], "{text:?}");
        assert!(
            imported.notes.iter().any(|note| note.what.ends_with("left out: Secret")),
            "{:?}",
            imported.notes
        );
    }
    let items = both.split("---\n").filter(|item| item.contains("kind")).map(|item| {
        let lines: Vec<&str> = item.lines().collect();
        format!("- {}\n", lines.join("\n  "))
    });
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}", items.collect::<String>());
    let listed = imported(From::Agentgateway, &list).unwrap();
    assert_eq!(listed.policies, imported(From::Agentgateway, &list).unwrap().policies);
    assert_eq!((listed.count, listed.gaps.len()), (3, 1), "{}", listed.policies);
    let object = "- { apiVersion: v1, kind: Secret, metadata: { name: s } }\n";
    for (text, message) in [
        (
            "---\na: 1\n".repeat(257),
            "line 513: the file has more documents than are read, at most 256".to_owned(),
        ),
        (
            format!("apiVersion: v1\nkind: List\nitems:\n{}", object.repeat(257)),
            "line 260: the file has 257 objects, at most 256 are read".to_owned(),
        ),
        ("a: &a [x]\nb: [*a, *a]\n".to_owned(), "line 1: anchors and aliases are not read".to_owned()),
        (format!("{one}---\nkind: x\nkind: y\n"), "line 13: duplicate mapping key: kind".to_owned()),
        (format!("{one}---\n  x: [\n"), "line 12: unclosed bracket '['".to_owned()),
    ] {
        for from in [From::Agentgateway, From::Toolhive, From::AgentRouter] {
            assert_eq!(imported_for(from, &text, None).unwrap_err().to_string(), message);
        }
    }
    for text in ["", "---\n---\n", "# nothing\n"] {
        for from in [From::Agentgateway, From::Toolhive, From::AgentRouter] {
            assert!(imported_for(from, text, None).is_err(), "{text:?}");
        }
    }
}

#[test]
fn a_set_that_only_denies_allows_the_rest_of_its_own_server() {
    let denies = agentgateway_policy("one", MAIL, "Deny", "mcp.tool.name == \"send\"");
    let imported = imported(From::Agentgateway, &denies).unwrap();
    assert_eq!((imported.count, gaps(&imported)), (3, vec![]), "{}", imported.policies);
    assert!(imported.policies.contains("when { resource.server == \"mail\" };"), "{}", imported.policies);
    // With a set that allows something there, it is a list of what is allowed.
    let allows = agentgateway_policy("two", MAIL, "Allow", "mcp.tool.name == \"read\"");
    let both = imported_for(From::Agentgateway, &format!("{denies}---\n{allows}"), None).unwrap();
    assert_eq!(both.policies.matches("\npermit (").count(), 2, "{}", both.policies);
    assert!(both.policies.contains("resource.name == \"read\""), "{}", both.policies);
    // Of which server is not known, so nothing is allowed until it is said.
    let anywhere = "mcpAuthorization:\n  rules:\n  - deny: 'mcp.tool.name == \"send\"'\n";
    let nowhere = imported_for(From::Agentgateway, anywhere, None).unwrap();
    assert!(nowhere.gaps[0].what.ends_with("pass `--server NAME`"), "{:?}", nowhere.gaps);
    assert_eq!(nowhere.policies.matches("\npermit (").count(), 1, "only lists: {}", nowhere.policies);
    let mail = imported_for(From::Agentgateway, anywhere, Some("mail")).unwrap();
    assert!(
        mail.gaps.is_empty() && mail.policies.contains("when { resource.server == \"mail\" };"),
        "{mail:?}"
    );
}

#[test]
fn what_is_read_says_for_which_servers_it_is() {
    let of = |text: &str, server: Option<&str>| imported_for(From::Agentgateway, text, server);
    let picked = of(AGENTGATEWAY_KUBERNETES, Some("mail")).unwrap();
    assert!(!picked.policies.contains("calendar"), "{}", picked.policies);
    let error = of(AGENTGATEWAY_KUBERNETES, Some("lamps")).unwrap_err().to_string();
    assert_eq!(
        error,
        "line 1: the rules are for the servers `calendar`, `mail`, and `lamps` is none of them"
    );
    let one = agentgateway_policy("one", MAIL, "Allow", "mcp.tool.name == \"a\"");
    let renamed = of(&one, Some("post")).unwrap();
    assert!(
        renamed.policies.contains("\"post\"") && !renamed.policies.contains("\"mail\""),
        "{}",
        renamed.policies
    );
    // A rule that names the server by its own name is for it under the new one too.
    let route = "apiVersion: aigateway.envoyproxy.io/v1beta1\nkind: MCPRoute\nmetadata: { name: r }\nspec:\n  backendRefs: [{ name: s }]\n  \
                 securityPolicy: { authorization: { defaultAction: Allow, rules: [\
                 { target: { tools: [{ backend: s, tool: t }] }, action: Deny }] } }\n";
    let renamed = imported_for(From::AgentRouter, route, Some("post")).unwrap();
    let forbid = renamed.policies.split("forbid (").nth(1).unwrap();
    assert!(forbid.contains("resource.server == \"post\" && resource.name == \"t\""), "{}", renamed.policies);
    let target = one.replace("mcp.tool.name == \"a\"", "mcp.tool.target == \"mail\"");
    let renamed = of(&target, Some("post")).unwrap();
    assert!(
        renamed.policies.contains("\"post\"") && !renamed.policies.contains("\"mail\""),
        "{}",
        renamed.policies
    );
    let lost = |name: &str| {
        let target = format!("{{ kind: HTTPRoute, name: {name} }}");
        agentgateway_policy(name, &target, "Allow", "mcp.tool.name == \"a\"")
    };
    let alone = of(&lost("one"), None).unwrap();
    assert!(alone.gaps.is_empty() && alone.notes.iter().any(|note| note.line == 5), "{alone:?}");
    let beside = of(&format!("{}---\n{}", lost("one"), lost("two")), None).unwrap();
    let what = "several routes have rules of their own, and here a policy is for all of them";
    assert_eq!(gaps(&beside), [(19, what)]);
}

#[test]
fn an_allowing_rule_does_not_reach_who_lacks_what_it_asks_about() {
    let rules = |rule: &str| format!("mcpAuthorization:\n  rules:\n  - '{rule}'\n");
    let said = imported(From::Agentgateway, &rules("jwt.team != \"a\" && mcp.tool.name == \"x\"")).unwrap();
    assert!(said.policies.contains("principal.hasTag(\"team\") &&"), "{}", said.policies);
    let unsaid = imported(From::Agentgateway, &rules("!(\"a\" in jwt.groups)")).unwrap_err().to_string();
    assert!(unsaid.contains("whether there is a claim `groups` at all"), "{unsaid}");
    // The name of a tool says nothing about prompts.
    let other = imported(From::Agentgateway, &rules("mcp.tool.name != \"x\"")).unwrap();
    assert!(!other.policies.contains("Prompt"), "{}", other.policies);
    // ToolHive does not judge a tool by a hint that the tool does not state; here it has MCP's default.
    let policy = "permit(principal, action == Action::\"call_tool\", resource) when { resource.readOnlyHint == false };";
    let file = serde_json::json!({ "version": "1.0", "type": "cedarv1", "cedar": { "policies": [policy] } });
    let said = imported(From::Toolhive, &file.to_string()).unwrap();
    assert!(
        said.policies.contains("resource.declared_read_only && !(resource.read_only)"),
        "{}",
        said.policies
    );
    let policy = "permit(principal, action == Action::\"call_tool\", resource) when { principal.claim_a == \"x\" || resource == Tool::\"t\" };";
    let file = serde_json::json!({ "version": "1.0", "type": "cedarv1", "cedar": { "policies": [policy] } });
    let said = imported(From::Toolhive, &file.to_string()).unwrap();
    assert!(
        said.policies.contains("principal is Caxton::User"),
        "in Cedar a missing claim ends it: {}",
        said.policies
    );
}

#[test]
fn a_denial_comes_after_what_is_allowed_before_it() {
    let route = |rules: &str, default: &str| {
        format!(
            "apiVersion: aigateway.envoyproxy.io/v1beta1\nkind: MCPRoute\nmetadata: {{ name: r }}\nspec:\n  \
             backendRefs: [{{ name: s }}]\n  securityPolicy:\n    oauth: {{}}\n    authorization:\n      \
             defaultAction: {default}\n      rules: [{rules}]\n"
        )
    };
    let allow = "{ source: { jwt: { scopes: [a] } }, target: { tools: [{ backend: s, tool: t }] } }";
    let deny = "{ target: { tools: [{ backend: s, tool: t }] }, action: Deny }";
    let first = imported(From::AgentRouter, &route(&format!("{allow}, {deny}"), "Allow")).unwrap();
    let forbid = first.policies.split("forbid (").nth(1).unwrap();
    assert!(forbid.split("permit (").next().unwrap().contains("unless"), "{}", first.policies);
    let last = imported(From::AgentRouter, &route(&format!("{deny}, {allow}"), "Deny")).unwrap();
    assert!(!last.policies.contains("unless"), "{}", last.policies);
    // What cannot be said of a denial is left out, and what cannot be said of a permit leaves it out.
    let argument = "cel: 'request.mcp.params.arguments.x == \"y\"'";
    let denied =
        imported(From::AgentRouter, &route(&format!("{{ {argument}, action: Deny }}"), "Allow")).unwrap();
    assert!(denied.gaps[0].what.ends_with("denies more than the rule did"), "{:?}", denied.gaps);
    assert!(!denied.tests.contains("what the rules allow"), "{}", denied.tests);
    let allowed = imported(From::AgentRouter, &route(&format!("{{ {argument} }}, {allow}"), "Deny")).unwrap();
    assert_eq!((allowed.gaps.len(), allowed.policies.matches("\npermit (").count()), (1, 2));
    let tokens = route(allow, "Deny").replace("    oauth: {}\n", "");
    let told = imported(From::AgentRouter, &tokens).unwrap();
    assert!(told.gaps[0].what.contains("without `oauth`"), "{:?}", told.gaps);
    let two = format!("{}---\n{}", route(allow, "Deny"), route(allow, "Deny").replace("name: r", "name: q"));
    let told = imported(From::AgentRouter, &two).unwrap();
    assert!(told.gaps[0].what.starts_with("two routes have a backend in common"), "{:?}", told.gaps);
}

#[test]
fn rules_on_http_requests_stand_before_those_on_mcp() {
    let traffic = |kind: &str, expression: &str| {
        format!(
            "---\napiVersion: gateway.kgateway.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: t }}\nspec:\n  \
             targetRefs: [{{ kind: {kind}, name: b, sectionName: mail }}]\n  \
             rbac: {{ policy: {{ matchExpressions: ['{expression}'] }} }}\n"
        )
    };
    let one = agentgateway_policy("one", MAIL, "Allow", "mcp.tool.name == \"a\"");
    let of_mcp = imported(From::Agentgateway, &traffic("Backend", "mcp.tool.name == \"b\"")).unwrap();
    assert!(of_mcp.policies.contains("resource.name == \"b\""), "{}", of_mcp.policies);
    let http = imported(From::Agentgateway, &format!("{one}{}", traffic("HTTPRoute", "jwt.sub == \"ann\"")))
        .unwrap();
    let forbid = http.policies.split("forbid (").nth(1).unwrap();
    assert!(forbid.contains("unless") && forbid.contains("principal.id == \"ann\""), "{}", http.policies);
    // By themselves they are no rules on MCP.
    let alone = imported(From::Agentgateway, &traffic("HTTPRoute", "jwt.sub == \"ann\"")).unwrap_err();
    assert!(alone.to_string().starts_with("line 1: there is no `mcpAuthorization`"), "{alone}");
    let config = "binds:\n- listeners:\n  - routes:\n    - policies:\n        authorization: { rules: ['jwt.sub == \"a\"'] }\n        \
                  mcpAuthorization: { rules: ['true'] }\n        extAuthz: { host: h }\n";
    let lost = imported(From::Agentgateway, config).unwrap();
    let lines: Vec<u64> = lost.gaps.iter().map(|gap| gap.line).collect();
    assert_eq!(lines, [5, 7], "{:?}", lost.gaps);
    let wrong = imported(From::Agentgateway, "mcpAuthorization: { rules: 'true' }").unwrap_err().to_string();
    assert_eq!(wrong, "line 1: `rules` is not a list");
}

#[test]
fn objects_that_are_not_understood_are_refused_with_their_line() {
    let replaced = |text: &str, old: &str, new: &str| {
        assert!(text.contains(old), "{old}");
        text.replacen(old, new, 1)
    };
    let router = |old: &str, new: &str| replaced(AGENT_ROUTER, old, new);
    let kubernetes = |old: &str, new: &str| replaced(AGENTGATEWAY_KUBERNETES, old, new);
    let toolhive = include_str!("../import/toolhive-kubernetes.yaml");
    let toolhive = |old: &str, new: &str| replaced(toolhive, old, new);
    for (from, text, message) in [
        (From::AgentRouter, router("MCPRoute", "HTTPRoute"), "line 1: there is no `MCPRoute` in it"),
        (
            From::AgentRouter,
            router("  path: /mcp", "  backendSelector: {}"),
            "line 7: `backendSelector` limits which servers a caller reaches, which is not known here",
        ),
        (
            From::AgentRouter,
            router("defaultAction: Deny", "defaultAction: No"),
            "line 24: `defaultAction` is neither `Allow` nor `Deny`",
        ),
        (
            From::AgentRouter,
            router("action: Deny\n        cel", "actoin: Deny\n        cel"),
            "line 28: the field `actoin` of `rules` is not known here",
        ),
        (
            From::AgentRouter,
            router("backend: rollout, tool", "server: rollout, tool"),
            "line 32: the field `server` of `tools` is not known here",
        ),
        (
            From::AgentRouter,
            router("tools: [{ backend: tracker, tool: get_ticket }]", "tools: get_ticket"),
            "line 27: `tools` is not a list",
        ),
        (
            From::AgentRouter,
            router("scopes: [\"tickets", "scope: [\"tickets"),
            "line 26: the field `scope` of `jwt` is not known here",
        ),
        (
            From::Agentgateway,
            kubernetes("action: Deny", "action: Denny"),
            "line 55: the `action` is none of `Allow`, `Deny` and `Require`",
        ),
        (
            From::Agentgateway,
            kubernetes("matchExpressions", "matchExpression"),
            "line 41: the field `matchExpression` of `policy` is not known here",
        ),
        (
            From::Agentgateway,
            kubernetes("- '\"staff\" in jwt.groups'", "- [x]"),
            "line 42: an item of `matchExpressions` is not a text",
        ),
        (
            From::Toolhive,
            toolhive("type: inline", "type: other"),
            "line 9: there is no configuration of the type `other`",
        ),
        (
            From::Toolhive,
            toolhive("groupClaimName", "groupClaim"),
            "line 11: the field `groupClaim` of `authzConfig` is not known here",
        ),
        (
            From::Toolhive,
            toolhive("name: forge,", "name: wiki,"),
            "line 25: the server `wiki` is there twice",
        ),
        (
            From::Toolhive,
            toolhive("\"type\": \"cedarv1\"", "\"type\": \"cedarv2\""),
            "line 38: the type is `cedarv2`, and only `cedarv1` of version 1.0 is known",
        ),
        (From::Toolhive, toolhive("(principal == Client", "(principal = Client"), "line 69: policy 1: "),
    ] {
        let error = imported(from, &text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{message}: {error}");
    }
    // A configuration that no server names is for none of them; in a file without servers it is as from a file.
    let unnamed = include_str!("../import/toolhive-kubernetes.yaml");
    let unnamed = replaced(unnamed, "    authzConfigRef: { name: shared }\n", "");
    let left_out = imported(From::Toolhive, &unnamed).unwrap();
    assert!(!left_out.policies.contains("ann"), "{}", left_out.policies);
    assert!(
        left_out.notes.iter().any(|note| note.what.ends_with("`shared`: it is left out")),
        "{left_out:?}"
    );
    let alone = unnamed.split("---\n").find(|document| document.contains("kind: MCPAuthzConfig")).unwrap();
    let alone = imported(From::Toolhive, alone).unwrap();
    assert!(
        alone.policies.contains("principal.id == \"ann\"") && !alone.policies.contains("resource.server")
    );
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: m }\ndata:\n  other: x\n  authz.yaml: |\n    version: 1.0\n    type: cedarv1\n    cedar:\n      policies:\n      - permit (principal, action == Action::\"call_tool\", resource == Tool::\"t\");\n";
    assert!(imported(From::Toolhive, map).unwrap().policies.contains("line 11."));
    // What is named and is not there gives nothing, and says so.
    for (old, new, what) in [
        (
            "name: forge-authz, key",
            "name: forge-rules, key",
            "the ConfigMap `forge-rules` is not in this file",
        ),
        ("key: rules.json", "key: authz.json", "the ConfigMap `forge-authz` has no text `authz.json`"),
        (
            "authzConfigRef: { name: shared }",
            "authzConfigRef: { name: other }",
            "the MCPAuthzConfig `other` is not in this file",
        ),
        (
            "type: cedarv1\n  config",
            "type: httpv1\n  config",
            "`shared` is of the type `httpv1`: another service decides",
        ),
        ("  tools: [search", "  toolConfigRef: { name: t }\n  tools: [search", "`toolConfigRef`"),
        (
            "group_entity_type: Team",
            "primary_upstream_provider: corp",
            "claims come from a token of `corp` there",
        ),
        ("group_entity_type: Team", "entities_json: '[{}]'", "`entities_json`"),
    ] {
        let told = imported(From::Toolhive, &toolhive(old, new)).unwrap();
        assert!(
            told.gaps.iter().any(|gap| gap.line > 0 && gap.what.starts_with(what)),
            "{what}: {:?}",
            told.gaps
        );
    }
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
