//! Roles as policy: `roles.yaml` compiled, roles given and taken over the wire and by the commands, own policies beside
//! the shipped ones.

use crate::support;
use crate::support::child::{Ended, run};
use crate::support::{Credential, ISSUER, World, send, write};
use caxton::policy::{Bundle, Sources};
use caxton::server::Gateway;
use reqwest::{Method, StatusCode};
use serde_json::json;

/// The guides' own file.
const ROLES: &str = include_str!("../import/roles.yaml");

#[tokio::test]
async fn the_guides_roles_take_the_place_of_the_built_in_ones() {
    let world = World::with(|settings, directory| {
        let file = directory.join("roles.yaml");
        write(&file, ROLES);
        settings.roles_file = Some(file);
    })
    .await;
    let root = world.person("root", &["admin"]);
    let policies = world.get(&root, "/v1/policies").await.json();
    let ids: Vec<&str> =
        policies["policies"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"roles-file.viewer") && ids.contains(&"roles.admin"), "{ids:?}");
    assert!(
        !ids.iter().any(|id| id.starts_with("roles.viewer") || id.starts_with("roles.operator")),
        "{ids:?}"
    );
    // The file's operator does not read the decision log; the built-in one does.
    let operator = world.person("op", &["operator"]);
    assert_eq!(world.get(&operator, "/v1/audit/events").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.get(&operator, "/v1/agents").await.status, StatusCode::OK);

    // A file that becomes wrong is refused, and the roles stay as they were.
    write(&world.directory.path().join("roles.yaml"), "roles: [{ name: x, permissions: [agent:fly] }]");
    let outcome = world.gateway.reload().await;
    let caxton::server::ReloadOutcome::Refused(why) = outcome else { panic!("{outcome:?}") };
    assert!(
        why.contains("roles.yaml`: ") && why.contains("line 1: x: there is no action or group `agent:fly`"),
        "{why}"
    );
    assert_eq!(world.get(&operator, "/v1/agents").await.status, StatusCode::OK);
    world.stop().await;
}

#[test]
fn a_role_is_said_in_one_place() {
    let own = "@id(\"own.viewer\")\npermit(principal in Caxton::Role::\"viewer\", action, resource);";
    let error = Sources::shipped().with_policy("own.cedar", own).with_roles("roles.yaml", ROLES).unwrap_err();
    assert_eq!(error.to_string(), "the role `viewer` is also in `policies/own.cedar:1`");
    let error = Sources::shipped().with_roles("roles.yaml", "roles: 7").unwrap_err();
    assert!(error.to_string().starts_with("line 1: "), "{error}");
    // A word that has no actions yet gives nothing, and is no mistake.
    // A role that the file names and gives nothing keeps nothing of what was shipped.
    let emptied =
        "roles: [{ name: developer, permissions: [] }, { name: viewer, permissions: [agent:list] }]";
    let bundle = Bundle::load(Sources::shipped().with_roles("roles.yaml", emptied).unwrap()).unwrap();
    let developer =
        |bundle: &Bundle| bundle.policies().filter(|one| one.id.starts_with("roles.developer")).count();
    assert!(developer(&Bundle::load(Sources::shipped()).unwrap()) > 2);
    assert_eq!(developer(&bundle), 0);
    let sources = Sources::shipped().with_roles("roles.yaml", ROLES).unwrap();
    let bundle = Bundle::load(sources).unwrap();
    assert!(bundle.policy("roles-file.operator").unwrap().text().contains("config:*"));
}

#[test]
fn own_files_extend_the_shipped_ones_and_conflicts_name_both_places() {
    let own = Sources::new()
        .with_schema("acme.cedarschema", "namespace Acme {\n  entity Team;\n}")
        .with_policy("roles.cedar", "@id(\"acme.teams\") permit(principal, action, resource is Acme::Team);");
    assert!(Bundle::load(own.clone().extending_shipped()).is_ok(), "files of the same name keep apart");
    let twice = own.clone().with_schema("more.cedarschema", "\nnamespace Caxton {\n  entity User;\n}");
    let errors = Bundle::load(twice.extending_shipped()).unwrap_err();
    let text = errors.problems()[0].to_string();
    // Either place may be told as the first.
    assert!(text.contains("the entity `Caxton::User` is already declared in"), "{text}");
    assert!(text.contains("caxton.cedarschema:") && text.contains("schemas/more.cedarschema:3"), "{text}");
    let same_id =
        own.with_policy("more.cedar", "\n@id(\"roles.admin\") permit(principal, action, resource);");
    let text = Bundle::load(same_id.extending_shipped()).unwrap_err().problems()[0].to_string();
    assert!(text.contains("the id `roles.admin` is already used in"), "{text}");
    assert!(
        text.contains("policies/more.cedar:2") && text.contains("(shipped) policies/roles.cedar:"),
        "{text}"
    );
}

#[tokio::test]
async fn the_shipped_set_is_extended_by_the_configuration() {
    let world = World::with(|settings, directory| {
        let policies = directory.join("own");
        std::fs::create_dir(&policies).unwrap();
        write(&policies.join("quiet.cedar"), "@id(\"own.quiet\")\n@reason(\"not today\")\nforbid(principal, action == Caxton::Action::\"tool:list\", resource);");
        (settings.policy_dir, settings.extend_shipped) = (Some(policies), true);
    })
    .await;
    let viewer = world.person("v", &["viewer"]);
    assert_eq!(world.get(&viewer, "/v1/agents").await.status, StatusCode::OK, "the shipped role");
    assert_eq!(world.get(&viewer, "/v1/tools").await.json()["detail"], "not today");
    world.stop().await;
}

#[tokio::test]
async fn a_bad_file_of_roles_stops_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("roles.yaml");
    write(&file, "roles: [{ name: a, permissions: [agent:list] }, { name: a, permissions: [] }]");
    let mut settings = support::settings(directory.path().join("data"));
    settings.roles_file = Some(file);
    let error = Gateway::start(settings).await.err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("line 1: the role `a` has no name, or is there twice"), "{source}");
}

#[tokio::test]
async fn roles_are_given_and_taken_over_the_wire() {
    let world = World::new().await;
    let (root, ann) = (world.person("root", &["admin"]), world.person("ann", &[]));
    let body = json!({ "user": "ann", "role": "viewer" });
    assert_eq!(world.post(&ann, "/v1/auth/roles", &body).await.status, StatusCode::FORBIDDEN);
    let done = world.post(&root, "/v1/auth/roles", &body).await;
    assert_eq!(done.status, StatusCode::OK, "{done:?}");
    assert_eq!(done.json()["entity"]["uid"]["id"], format!("{ISSUER}|ann"));
    assert_eq!(world.get(&ann, "/v1/agents").await.status, StatusCode::OK);
    let listed = world.get(&root, "/v1/auth/roles").await.json();
    let viewer = listed["roles"].as_array().unwrap().iter().find(|role| role["role"] == "viewer").unwrap();
    assert_eq!(viewer["members"], json!([format!("Caxton::User::\"{ISSUER}|ann\"")]));
    let taken = send(world.request(&root, Method::DELETE, "/v1/auth/roles?user=ann&role=viewer")).await;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    assert_eq!(world.get(&ann, "/v1/agents").await.status, StatusCode::FORBIDDEN);
    // A role that only a token states is taken away as well.
    let bob = world.person("bob", &["viewer"]);
    assert_eq!(world.get(&bob, "/v1/agents").await.status, StatusCode::OK);
    send(world.request(&root, Method::DELETE, "/v1/auth/roles?user=bob&role=viewer")).await;
    assert_eq!(world.get(&bob, "/v1/agents").await.status, StatusCode::FORBIDDEN);

    for (bad, detail) in [
        (json!({ "user": "ann", "role": "wiever" }), "no policy names the role `wiever`"),
        (json!({ "role": "viewer" }), "name one of `user`, `agent`, `workload` and `service`"),
        (json!({ "user": "a", "agent": "clerk", "role": "viewer" }), "name one of"),
        (json!({ "service": "ci", "role": "viewer" }), "come from its key"),
        (json!({ "user": "ann", "role": "" }), "empty"),
    ] {
        let answer = world.post(&root, "/v1/auth/roles", &bad).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}: {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{bad}: {answer:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_permission_is_checked_for_somebody() {
    let world =
        World::with(|settings, _| settings.limit.per_principal = "10000/second".parse().unwrap()).await;
    let (root, pep) = (world.person("root", &["admin"]), world.service("pep", &["policy:test"]));
    world.post(&root, "/v1/auth/roles", &json!({ "user": "ann", "role": "viewer" })).await;
    let check = async |body: serde_json::Value| {
        let answer = world.post(&pep, "/v1/auth/check", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    };
    assert_eq!(check(json!({ "user": "ann", "permission": "agent:read" })).await["allowed"], true);
    let part = check(json!({ "user": "ann", "permission": "agent:*" })).await;
    assert_eq!(part["allowed"], false);
    let yes = part["answers"].as_array().unwrap().iter().filter(|one| one["allowed"] == true).count();
    assert_eq!(yes, 3, "{part}");
    assert_eq!(check(json!({ "user": "stranger", "permission": "agent:read" })).await["allowed"], false);
    assert_eq!(check(json!({ "agent": "clerk", "permission": "tool:list" })).await["allowed"], true);
    assert_eq!(check(json!({ "agent": "ghost", "permission": "tool:list" })).await["allowed"], false);
    let bad = world.post(&pep, "/v1/auth/check", &json!({ "user": "ann", "permission": "agent:fly" })).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");

    // The same from the files alone, beside the gateway and without it.
    let directory = world.directory.path().to_owned();
    write(&directory.join("caxton.yaml"), "server: { data_dir: data, agents_dir: agents, port: 0 }\n");
    let ann = format!("{ISSUER}|ann");
    let offline = |who: &str, name: &str, permission: &str| {
        let arguments = ["auth", "check", who, name, "--permission", permission, "--offline", "--json"];
        run(&directory, &[&arguments[..], &["--config", "caxton.yaml"]].concat())
    };
    let pairs = |answer: &serde_json::Value| -> Vec<_> {
        let answers = answer["answers"].as_array().unwrap().iter();
        answers.map(|one| (one["action"].clone(), one["resource"].clone(), one["allowed"].clone())).collect()
    };
    for (who, name, permission) in [
        ("user", ann.as_str(), "agent:read"),
        ("user", ann.as_str(), "agent:*"),
        ("user", ann.as_str(), "*"),
        ("user", "stranger|x", "agent:read"),
        ("agent", "clerk", "*"),
        ("agent", "ghost", "tool:list"),
        ("workload", "spiffe://prod.example/pay", "agent:*"),
        ("service", "ci", "agent:list"),
    ] {
        let online = check(json!({ who: name, "permission": permission })).await;
        let found = offline(&format!("--{who}"), name, permission);
        assert_eq!(pairs(&found.json()), pairs(&online), "{who} {name} {permission}");
        assert_eq!(found.code, Some(i32::from(online["allowed"] == false)), "{found:?}");
    }
    let _kept = world.stop().await;
    assert_eq!(offline("--user", &ann, "agent:read").code, Some(0), "without the gateway");
    let nameless = offline("--user", "ann", "agent:read");
    assert!(nameless.code == Some(2) && nameless.stderr.contains("<issuer>|<subject>"), "{nameless:?}");
    let bad = offline("--user", &ann, "agent:fly");
    assert!(bad.code == Some(2) && bad.stderr.contains("is no permission"), "{bad:?}");
    assert_eq!(offline("--role", &ann, "agent:read").code, Some(2));
}

#[tokio::test]
async fn the_commands_do_it_all_and_say_how_it_went() {
    let world = World::new().await;
    let directory = world.directory.path().to_owned();
    let url = world.url("");
    let Credential::Key(key) = world.service("root", &["admin"]) else { panic!() };
    let Credential::Key(weak) = world.service("weak", &["policy:test"]) else { panic!() };
    write(&directory.join("root.key"), &key);
    write(&directory.join("weak.key"), &format!("{weak}\n"));
    let command = async |key: &str, arguments: &[&str]| -> Ended {
        let (directory, url) = (directory.clone(), url.clone());
        let key = key.to_owned();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
            all.extend(["--url", &url, "--api-key-file", &key]);
            run(&directory, &all)
        })
        .await
        .unwrap()
    };
    let done = command("root.key", &["auth", "assign-role", "--user", "ann", "--role", "viewer"]).await;
    assert_eq!((done.code, done.stdout.contains("has the role `viewer`")), (Some(0), true), "{done:?}");
    let yes = command("weak.key", &["auth", "check", "--user", "ann", "--permission", "agent:read"]).await;
    assert_eq!((yes.code, yes.stdout.contains("roles.viewer")), (Some(0), true), "{yes:?}");
    let no =
        command("weak.key", &["auth", "check", "--user", "ann", "--permission", "agent:delete", "--json"])
            .await;
    assert_eq!((no.code, &no.json()["allowed"]), (Some(1), &json!(false)), "{no:?}");
    let refused = command("weak.key", &["auth", "revoke-role", "--user", "ann", "--role", "viewer"]).await;
    assert_eq!((refused.code, refused.stderr.contains("(decision ")), (Some(1), true), "{refused:?}");
    assert_eq!(
        command("root.key", &["auth", "revoke-role", "--user", "ann", "--role", "viewer"]).await.code,
        Some(0)
    );
    let pay = "spiffe://prod.example/pay";
    let done = command("root.key", &["auth", "assign-role", "--workload", pay, "--role", "viewer"]).await;
    let said = format!("`{pay}` has the role `viewer`");
    assert_eq!((done.code, done.stdout.contains(&said)), (Some(0), true), "{done:?}");
    let yes = command("weak.key", &["auth", "check", "--workload", pay, "--permission", "agent:read"]).await;
    assert_eq!((yes.code, yes.stdout.contains("roles.viewer")), (Some(0), true), "{yes:?}");
    let done = command("root.key", &["auth", "revoke-role", "--workload", pay, "--role", "viewer"]).await;
    assert_eq!((done.code, done.stdout.contains("no longer has")), (Some(0), true), "{done:?}");
    // What an entity is left to say stands in its certificate.
    assert_eq!(command("root.key", &["entities", "delete", "Workload", pay]).await.code, Some(0));
    let two = ["auth", "assign-role", "--workload", pay, "--user", "ann", "--role", "viewer"];
    assert_eq!(command("root.key", &two).await.code, Some(2));
    let usage = command("root.key", &["auth", "assign-role", "--role", "viewer"]).await;
    assert_eq!(usage.code, Some(2), "{usage:?}");

    write(&directory.join("group.json"), r#"{ "uid": { "type": "Caxton::Group", "id": "staff" } }"#);
    write(
        &directory.join("bad.json"),
        r#"[{ "uid": { "type": "Caxton::Group", "id": "x" }, "attrs": { "a": 1 } }]"#,
    );
    assert_eq!(command("root.key", &["entities", "put", "group.json"]).await.code, Some(0));
    let bad = command("root.key", &["entities", "import", "bad.json"]).await;
    assert_eq!(bad.code, Some(2), "{bad:?}");
    assert!(bad.stderr.contains("`attrs.a`: expected no attribute of this name"), "{bad:?}");
    let got = command("root.key", &["entities", "get", "User", &format!("{ISSUER}|ann")]).await;
    assert_eq!(got.json()["revoked"][0]["id"], "viewer", "{got:?}");
    let exported = command("root.key", &["entities", "export"]).await;
    assert_eq!(exported.json().as_array().unwrap().len(), 2, "{exported:?}");
    write(&directory.join("all.json"), &exported.stdout);
    let taken = command("root.key", &["entities", "import", "all.json", "--replace"]).await;
    assert!(taken.stdout.starts_with("2 entities, 0 changed, 0 removed"), "{taken:?}");
    let listed = command("root.key", &["entities", "list", "--type", "Group"]).await;
    assert!(listed.stdout.contains("staff") && !listed.stdout.contains("ann"), "{listed:?}");
    let patched =
        command("root.key", &["entities", "patch", "User", &format!("{ISSUER}|ann"), r#"{"revoked": []}"#])
            .await;
    assert_eq!(patched.code, Some(0), "{patched:?}");
    let news = command("root.key", &["entities", "watch", "--since", "1", "--once"]).await;
    assert_eq!(news.code, Some(0), "{news:?}");
    assert_eq!(command("root.key", &["entities", "delete", "Group", "staff"]).await.code, Some(0));
    assert_eq!(
        command("root.key", &["entities", "delete", "Group", "staff"]).await.code,
        Some(1),
        "it is gone"
    );
    let _directory = world.stop().await;
    let nobody = command("root.key", &["entities", "list"]).await;
    assert_eq!((nobody.code, nobody.stderr.contains("could not be reached")), (Some(3), true), "{nobody:?}");
}

/// The developer of the guides' roles file may list agents and read none.
#[tokio::test]
async fn a_list_that_leaves_agents_out_says_which_permission_they_take() {
    let world = World::new().await;
    for (who, words, agents, needs) in [
        ("lister", &["agent:list"][..], 0, json!("agent:read")),
        ("reader", &["agent:list", "agent:read"], 2, json!(null)),
        ("root", &["admin"], 2, json!(null)),
    ] {
        let key = world.service(who, words);
        for path in ["/v1/agents", "/agents"] {
            let answer = world.get(&key, path).await.json();
            assert_eq!(answer["agents"].as_array().unwrap().len(), agents, "{who}: {answer}");
            assert_eq!(answer["needs"], needs, "{who}: {answer}");
        }
    }
    world.stop().await;
}

/// The workbench looks at what a gateway would read: with the roles of the file, beside the built-in set.
#[test]
fn the_workbench_takes_the_set_that_a_configuration_names() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    std::fs::create_dir(place("own")).unwrap();
    write(
        &place("own/desk.cedar"),
        "@id(\"own.desk\")\npermit (principal in Caxton::Role::\"desk\", action == Caxton::Action::\"audit:read\", resource);\n",
    );
    write(&place("roles.yaml"), ROLES);
    write(
        &place("caxton.yaml"),
        "security: { authorization: { policy_dir: own, extend_shipped: true, roles_file: roles.yaml } }\n",
    );
    let suite = "suite: roles
entities:
  AuditLog::\"l\": {}
  Role::\"desk\": {}
  Role::\"operator\": {}
  User::\"i|ann\": { attrs: { id: ann, issuer: i }, in: ['Role::\"desk\"'] }
  User::\"i|olga\": { attrs: { id: olga, issuer: i }, in: ['Role::\"operator\"'] }
tests:
  - name: the house's own rule holds
    request: { principal: User::\"i|ann\", action: audit:read, resource: AuditLog::\"l\" }
    expect: { outcome: allow, policies: [own.desk] }
  - name: the operator is the one of the file
    request: { principal: User::\"i|olga\", action: audit:read, resource: AuditLog::\"l\" }
    expect: { outcome: deny_default }
";
    write(&place("roles.test.yaml"), suite);
    let command = |line: &str| run(folder.path(), &line.split(' ').collect::<Vec<_>>());
    let tested = command("policy test roles.test.yaml --config caxton.yaml");
    assert_eq!(tested.code, Some(0), "{tested:?}");
    let valid = command("policy validate --config caxton.yaml --json").json();
    let alone = command("policy validate --policies own --json").json();
    assert!(valid["policies"].as_u64() > alone["policies"].as_u64(), "{valid} {alone}");
    assert_eq!(command("policy validate --config caxton.yaml --policies own").code, Some(2));
    write(&place("roles.yaml"), "roles: [{ name: x, permissions: [agent:fly] }]");
    let refused = command("policy validate --config caxton.yaml");
    assert!(refused.code == Some(2) && refused.stderr.contains("agent:fly"), "{refused:?}");
    write(&place("caxton.yaml"), "security: { athorization: {} }\n");
    let refused = command("policy validate --config caxton.yaml");
    assert!(refused.code == Some(2) && refused.stderr.contains("athorization"), "{refused:?}");
}
