//! The configuration from outside: every kind of mistake has its message, every sample loads, the reference is fresh.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::golden::golden;
use caxton::api::Undeclared;
use caxton::authn::oauth2::ProviderKind;
use caxton::config::{
    DocumentFormat, Environment, KeyStatus, ProblemCode, Problems, UNSUPPORTED, json_schema, keys, load,
    locate, read, reference, security_check,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn environment() -> Environment {
    Environment::from_iter([
        ("PORT", "hunter2"),
        ("METRICS_PORT", "9090"),
        ("MAX_BODY", "hunter2MB"),
        ("MODEL_API_KEY", "hunter2"),
        ("TICKETS_TOKEN", "hunter2"),
        ("PATH", "/usr/bin"),
    ])
}

/// Reads `name` of the golden directory as if it stood in a directory of its own.
fn refused(name: &str, text: &str) -> Problems {
    read(text, DocumentFormat::of(Path::new(name)), Some(Path::new(name)), &environment())
        .err()
        .unwrap_or_else(|| panic!("{name} was accepted"))
}

fn bad_files() -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(root().join("tests/golden/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "only {} bad files", files.len());
    files
}

#[test]
fn every_mistake_has_its_message() {
    for path in bad_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let problems = refused(name, &fs::read_to_string(&path).unwrap());
        let text = format!("{}{problems}\n", problems.render(false));
        golden(path.with_file_name(format!("{name}.txt")), &text);
    }
}

#[test]
fn no_message_shows_a_secret() {
    for path in bad_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let problems = refused(name, &fs::read_to_string(&path).unwrap());
        let json = serde_json::to_string(&problems).unwrap();
        for text in [
            problems.render(false),
            problems.render(true),
            problems.to_string(),
            format!("{problems:?}"),
            json,
        ] {
            assert!(!text.contains("hunter2"), "{name} shows a secret:\n{text}");
            assert!(!text.contains("\u{1b}[31mkey"), "{name} lets a terminal sequence through");
        }
    }
}

#[test]
fn every_mistake_says_where_and_with_which_key() {
    for path in bad_files() {
        let name = path.file_name().unwrap().to_str().unwrap();
        for problem in refused(name, &fs::read_to_string(&path).unwrap()).problems {
            let placed = problem.position.is_some() || problem.code == ProblemCode::Missing;
            let keyed = problem.key.is_some()
                || matches!(
                    problem.code,
                    ProblemCode::Syntax | ProblemCode::Duplicate | ProblemCode::WrongType
                );
            assert!(placed && keyed, "{name}: {problem:?}");
            assert!(
                !problem.message.contains('\n') && !problem.message.ends_with('.'),
                "{name}: {problem:?}"
            );
        }
    }
}

/// Every code a mistake can have is seen in some bad file, or in the tests below.
#[test]
fn every_code_is_covered() {
    let mut seen: Vec<_> = bad_files()
        .iter()
        .flat_map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            refused(name, &fs::read_to_string(path).unwrap()).problems
        })
        .map(|problem| format!("{:?}", problem.code))
        .collect();
    seen.sort();
    seen.dedup();
    let want = [
        "Contradiction",
        "Duplicate",
        "Missing",
        "MissingFile",
        "MissingVariable",
        "NotAvailable",
        "OutOfRange",
        "Syntax",
        "UnknownKey",
        "Weakens",
        "WrongType",
    ];
    assert_eq!(seen, want);
}

#[test]
fn every_sample_loads() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("jwt-public.pem"), "-----BEGIN PUBLIC KEY-----\n").unwrap();
    let mut count = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|end| end == "yaml" || end == "toml") {
            continue;
        }
        let copy = directory.path().join(path.file_name().unwrap());
        fs::copy(&path, &copy).unwrap();
        let loaded = load(Some(&copy), &environment());
        let loaded =
            loaded.unwrap_or_else(|problems| panic!("{}:\n{}", path.display(), problems.render(false)));
        assert!(!format!("{loaded:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&loaded.values).unwrap().contains("hunter2"));
        count += 1;
    }
    assert!(count >= 4, "only {count} samples");
}

#[test]
fn the_reference_is_fresh() {
    golden("docs/configuration.md", &reference());
}

#[test]
fn the_schema_is_fresh() {
    golden(
        root().join("tests/golden/config/schema.json"),
        &serde_json::to_string_pretty(&json_schema()).unwrap(),
    );
}

/// The names of the guides for a provider without OpenID.
#[test]
fn a_provider_with_oauth_alone_is_named_by_the_token_endpoint() {
    let text = "server: { public_url: https://caxton.example }
security:
  oauth2:
    provider: custom
    authorization_endpoint: https://auth.example.com/oauth2/authorize
    token_endpoint: https://auth.example.com/oauth2/token
    userinfo_endpoint: https://auth.example.com/oauth2/userinfo
    userinfo_subject: id
    client_id: caxton
    client_secret: hunter2
    scopes: [profile, caxton:access]
  authzen: { undeclared: carry }
";
    let loaded = read(text, DocumentFormat::Yaml, None, &Environment::default()).unwrap();
    let login = loaded.settings.authn.oauth2.unwrap();
    assert_eq!(login.kind, ProviderKind::Custom { subject: "id".to_owned() });
    assert_eq!(login.issuer, "https://auth.example.com");
    assert_eq!(login.redirect_uri.as_str(), "https://caxton.example/v1/auth/oauth2/callback");
    assert_eq!(login.scopes, ["profile", "caxton:access"]);
    assert_eq!(loaded.settings.api.undeclared, Undeclared::Carry);
    let named = text.replace("    provider", "    issuer: https://login.example\n    provider");
    let loaded = read(&named, DocumentFormat::Yaml, None, &Environment::default()).unwrap();
    assert_eq!(loaded.settings.authn.oauth2.unwrap().issuer, "https://login.example");
}

#[test]
fn the_embedded_defaults_are_those_of_a_laptop() {
    let loaded = load(None, &Environment::default()).unwrap();
    let (api, metrics) = (loaded.settings.listen, loaded.settings.operations);
    assert!(api.ip().is_loopback() && metrics.ip().is_loopback());
    assert_eq!((api.port(), metrics.port()), (8080, 9090));
    assert_eq!(loaded.settings.reload.data_dir, Path::new(".caxton"));
    assert_eq!(loaded.settings.audit.path, Path::new(".caxton/audit.log"));
    assert!(loaded.settings.authn.jwt.is_none());
    assert!(loaded.settings.model.is_none());
    assert!(loaded.warnings.is_empty());
    assert!(!loaded.settings.tools.auto_import && !loaded.process.allow_weakened);
    let keys: Vec<_> = security_check(&loaded).into_iter().map(|weakness| weakness.key).collect();
    assert_eq!(
        keys,
        [
            "server.tls.enabled",
            "security.authentication.jwt_public_key_file",
            "security.agents.require_signed_deployment",
            "security.audit.durability",
        ]
    );
}

#[test]
fn a_key_is_available_or_not_and_has_words() {
    let keys = keys();
    for key in &keys {
        assert!(!key.doc.is_empty() && !key.type_name.is_empty(), "{}", key.path);
        assert!(key.status != KeyStatus::Fixed || key.default.is_some(), "{}", key.path);
        assert!(
            !UNSUPPORTED
                .iter()
                .any(|later| key.path == later.path || key.path.starts_with(&format!("{}.", later.path))),
            "{} is in both tables",
            key.path
        );
    }
    let mut paths: Vec<_> = keys.iter().map(|key| key.path.as_str()).collect();
    paths.sort_unstable();
    let count = paths.len();
    paths.dedup();
    assert_eq!(count, paths.len(), "a key is declared twice");
}

/// Each later key, written alone, gets the answer that it is not available, and advice.
#[test]
fn every_later_key_is_refused() {
    for later in UNSUPPORTED {
        let depth = later.path.split('.').count();
        let mut text = String::new();
        for (level, name) in later.path.split('.').enumerate() {
            text.push_str(&"  ".repeat(level));
            text.push_str(name);
            text.push_str(if level + 1 == depth { ": 1\n" } else { ":\n" });
        }
        let problems = refused("later.yaml", &text).problems;
        assert_eq!(problems.len(), 1, "{}: {problems:?}", later.path);
        assert_eq!(problems[0].code, ProblemCode::NotAvailable, "{}", later.path);
        assert_eq!(problems[0].key.as_deref(), Some(later.path));
        assert!(problems[0].help.is_some());
    }
}

/// `a.b = c` as YAML.
fn nested(key: &str, value: &str) -> String {
    let names: Vec<&str> = key.split('.').collect();
    let lines = names.iter().enumerate().map(|(level, name)| {
        let value = if level + 1 == names.len() { format!(" {value}") } else { String::new() };
        format!("{}{name}:{value}\n", "  ".repeat(level))
    });
    lines.collect()
}

/// Each line of the guides' configurations works, or is refused with the advice that leads on.
#[test]
fn every_line_of_the_guides_has_its_answer() {
    let lines = fs::read_to_string(root().join("tests/guides/config-lines.txt")).unwrap();
    let environment = Environment::from_iter([
        ("JWT_SECRET", "hunter2"),
        ("API_KEY_SALT", "hunter2"),
        ("SECURITY_WEBHOOK_URL", "https://hooks.example.com/x"),
    ]);
    let mut answers = String::from("# The guides' lines, one by one\n");
    let mut count = 0;
    for line in lines.lines().skip(1).filter(|line| !line.is_empty()) {
        if let Some(guide) = line.strip_prefix("# ") {
            answers.push_str(&format!("\n## {guide}\n"));
            continue;
        }
        count += 1;
        let (key, value) = line.split_once(" = ").unwrap();
        answers.push_str(&format!("\n`{key}: {value}`\n"));
        let text = nested(key, value);
        match read(&text, DocumentFormat::Yaml, Some(Path::new("caxton.yaml")), &environment) {
            Ok(loaded) => {
                let warnings: Vec<String> = loaded.warnings.lines().collect();
                let known = loaded.values.iter().any(|value| value.key.starts_with(key));
                assert!(
                    known || keys().iter().any(|known| known.path == key),
                    "`{key}` is taken and does nothing"
                );
                answers.push_str(&format!(
                    ": works{}\n",
                    warnings.iter().map(|one| format!("; {one}")).collect::<String>()
                ));
            }
            Err(problems) => {
                for problem in problems.lines() {
                    assert!(!problem.contains("hunter2"), "{problem}");
                    answers.push_str(&format!(": refused: {problem}\n"));
                }
                // A refusal without advice leads nowhere.
                let leads_on = |problem: &caxton::config::ConfigProblem| {
                    problem.help.is_some() || problem.code == ProblemCode::Missing
                };
                assert!(problems.problems.iter().all(leads_on), "{key}: {problems:?}");
            }
        }
    }
    assert!(count >= 95, "{count} lines");
    golden("tests/golden/config/guide-lines.md", &answers);
}

#[test]
fn switches_win_over_the_file_and_never_weaken() {
    let good = Environment::from_iter([
        ("CAXTON_LOG_LEVEL", "debug"),
        ("CAXTON_MEMORY_BACKEND", "embedded"),
        ("CAXTON_CONFIG_AGENT_VALIDATION", "strict"),
        ("CAXTON_WASM_ISOLATION", "strict"),
        ("CAXTON_SECURITY_AUDIT", "enabled"),
        ("CAXTON_MEMORY_SCOPE_ISOLATION", "enabled"),
        ("CAXTON_TOOL_ACCESS_CONTROL", "enabled"),
        ("CAXTON_HOT_RELOAD_VALIDATION", "strict"),
        ("CAXTON_SERVICE_HOST", "10.0.0.1"),
    ]);
    let loaded = read("server: { log_level: warn }", DocumentFormat::Yaml, None, &good).unwrap();
    assert_eq!(loaded.process.log_level.as_str(), "debug");
    let level = loaded.values.iter().find(|value| value.key == "server.log_level").unwrap();
    assert_eq!(serde_json::to_value(&level.source).unwrap()["environment"]["variable"], "CAXTON_LOG_LEVEL");

    for (name, value, code) in [
        ("CAXTON_LOG_LEVEL", "loud", ProblemCode::OutOfRange),
        ("CAXTON_MEMORY_BACKEND", "postgres", ProblemCode::NotAvailable),
        ("CAXTON_CONFIG_AGENT_VALIDATION", "lenient", ProblemCode::Weakens),
        ("CAXTON_WASM_ISOLATION", "off", ProblemCode::Weakens),
        ("CAXTON_SECURITY_AUDIT", "disabled", ProblemCode::Weakens),
        ("CAXTON_MEMORY_SCOPE_ISOLATION", "", ProblemCode::Weakens),
        ("CAXTON_TOOL_ACCESS_CONTROL", "disabled", ProblemCode::Weakens),
        ("CAXTON_HOT_RELOAD_VALIDATION", "Strict", ProblemCode::Weakens),
        ("CAXTON_SECURTY_AUDIT", "enabled", ProblemCode::UnknownKey),
    ] {
        let problems = load(None, &Environment::from_iter([(name, value)])).err().unwrap().problems;
        assert_eq!(problems.len(), 1, "{name}: {problems:?}");
        assert_eq!((problems[0].code, problems[0].variable.as_deref()), (code, Some(name)));
        assert!(problems[0].help.is_some(), "{name}");
    }
}

#[test]
fn weakening_needs_the_operators_word() {
    let text = |allow| {
        format!(
            "security: {{ allow_weakened: {allow} }}\nmcp: {{ servers: [{{ name: far, url: 'http://far.example.com/mcp' }}] }}"
        )
    };
    let refused = read(&text(false), DocumentFormat::Yaml, None, &Environment::default()).err().unwrap();
    assert_eq!(refused.problems[0].code, ProblemCode::Weakens);
    let loaded = read(&text(true), DocumentFormat::Yaml, None, &Environment::default()).unwrap();
    let keys: Vec<_> = security_check(&loaded).into_iter().map(|weakness| weakness.key).collect();
    assert!(
        keys.contains(&"security.allow_weakened".to_owned())
            && keys.contains(&"mcp.servers[0].url".to_owned())
    );
}

#[test]
fn http_beyond_the_host_is_a_choice() {
    let text = |require_tls: bool| {
        format!(
            "server: {{ host: 0.0.0.0, insecure_http: true }}\nsecurity: {{ authentication: {{ require_tls: {require_tls} }} }}\n"
        )
    };
    let read = |text: &str| read(text, DocumentFormat::Yaml, None, &Environment::default());
    let refused = read(&text(true)).unwrap_err().problems;
    assert_eq!(refused[0].code, ProblemCode::Contradiction, "it would serve nobody");
    let found = security_check(&read(&text(false)).unwrap());
    for key in ["server.insecure_http", "security.authentication.require_tls"] {
        assert!(found.iter().any(|weakness| weakness.key == key), "{key}");
    }
}

#[test]
fn a_certificate_makes_it_https() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["server.crt", "server.key"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let file = directory.path().join("caxton.yaml");
    let with = |tls: &str| {
        let text = format!(
            "server: {{ host: 0.0.0.0, tls: {{ cert_path: server.crt, key_path: server.key, {tls} }} }}"
        );
        fs::write(&file, text).unwrap();
        load(Some(&file), &Environment::default())
    };
    let loaded = with("enabled: true").unwrap();
    assert_eq!(loaded.settings.listen.port(), 8_443);
    let suites =
        |loaded: &caxton::config::LoadedConfig| loaded.settings.tls.as_ref().unwrap().cipher_suites.len();
    assert_eq!(suites(&loaded), 3);
    let keys = |loaded| security_check(&loaded).into_iter().map(|weakness| weakness.key).collect::<Vec<_>>();
    assert!(keys(loaded).iter().all(|key| !key.starts_with("server.tls")));
    let old = with("min_version: 1.2").unwrap();
    assert_eq!(suites(&old), 9);
    assert!(keys(old).contains(&String::from("server.tls.min_version")), "the weaker value is flagged");
    let off = with("enabled: false").unwrap_err();
    assert_eq!(off.problems[0].key.as_deref(), Some("server.host"), "never plain HTTP by accident");
}

#[test]
fn relative_paths_begin_at_the_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("agents")).unwrap();
    fs::create_dir(directory.path().join("policies")).unwrap();
    let file = directory.path().join("caxton.yaml");
    fs::write(&file, "server: { data_dir: data }").unwrap();
    let settings = load(Some(&file), &Environment::default()).unwrap().settings;
    assert_eq!(settings.reload.data_dir, directory.path().join("data"));
    assert_eq!(settings.audit.path, directory.path().join("data/audit.log"));
    assert_eq!(settings.agents.directory, Some(directory.path().join("agents")));
    assert_eq!(settings.policy_dir, Some(directory.path().join("policies")));
    assert_eq!(settings.schema_dir, None);
}

#[test]
fn a_file_that_cannot_be_read_is_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&str, Option<&[u8]>); 3] =
        [("absent.yaml", None), ("binary.yaml", Some(b"server: \xff")), ("", None)];
    for (name, bytes) in cases {
        let path = directory.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let problems = load(Some(&path), &Environment::default()).err().unwrap().problems;
        assert_eq!(problems[0].code, ProblemCode::Unreadable, "{name}");
    }
    let path = directory.path().join("large.yaml");
    fs::write(&path, "#".repeat(2 << 20)).unwrap();
    let problems = load(Some(&path), &Environment::default()).err().unwrap().problems;
    assert_eq!((problems.len(), problems[0].code), (1, ProblemCode::Syntax));
}

#[test]
fn a_named_file_is_used_even_when_it_is_absent() {
    assert_eq!(locate(Some(Path::new("absent.yaml"))), Some(PathBuf::from("absent.yaml")));
}

#[test]
fn an_open_file_with_a_secret_is_weak() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("caxton.yaml");
    let cases = [
        ("model: { base_url: 'https://m.example.com', name: x, api_key: abc }", 0o644, vec!["model.api_key"]),
        ("model: { base_url: 'https://m.example.com', name: x, api_key: abc }", 0o600, vec![]),
        ("model: { base_url: 'https://m.example.com', name: x, api_key: '${MODEL_API_KEY}' }", 0o644, vec![]),
        ("mcp: { servers: [{ name: a, command: a, env: { K: v } }] }", 0o644, vec!["mcp.servers"]),
        ("{}", 0o666, vec!["(file mode)"]),
    ];
    for (text, mode, want) in cases {
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let found = security_check(&load(Some(&file), &environment()).unwrap());
        let of_file = ["model.api_key", "mcp.servers", "(file mode)"];
        let keys: Vec<_> =
            found.iter().map(|weakness| weakness.key.as_str()).filter(|key| of_file.contains(key)).collect();
        assert_eq!(keys, want, "{text} {mode:o}");
    }
}

/// What a value may look like, and what it becomes.
#[test]
fn values_are_read_as_documented() {
    let cases = [
        ("server: { request_timeout: 30s }", "server.request_timeout", "30s"),
        ("server: { request_timeout: 90s }", "server.request_timeout", "90s"),
        ("server: { request_timeout: 2m }", "server.request_timeout", "2m"),
        ("server: { request_timeout: 1h }", "server.request_timeout", "1h"),
        ("server: { max_body: 10MB }", "server.max_body", "10MB"),
        ("server: { max_body: 2048KiB }", "server.max_body", "2MB"),
        ("server: { max_body: 1500B }", "server.max_body", "1500B"),
        ("server: { host: '::1' }", "server.host", "::1"),
        (
            "security: { rate_limit: { per_principal: 1000/hour } }",
            "security.rate_limit.per_principal",
            "1000/hour",
        ),
        ("server: { metrics_port: \"${METRICS_PORT}\" }", "server.metrics_port", "9090"),
        ("tool_security: { forbidden_tools: [no, '1'] }", "tool_security.forbidden_tools", "[no, 1]"),
        (
            "mcp: { allowed_origins: ['https://App.example.com/'] }",
            "mcp.allowed_origins",
            "[https://app.example.com]",
        ),
    ];
    for (text, key, want) in cases {
        let loaded = read(text, DocumentFormat::Yaml, None, &environment())
            .unwrap_or_else(|e| panic!("{}", e.render(false)));
        let value = loaded.values.iter().find(|value| value.key == key).unwrap();
        assert_eq!(value.value, want, "{text}");
    }
}

/// The samples are valid under the schema's shape: every key of theirs is a property of it.
#[test]
fn the_schema_knows_every_key() {
    let schema = json_schema();
    for key in keys() {
        let mut place = &schema;
        for part in key.path.split('.') {
            let (name, record) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
            place = &place["properties"][name];
            if record {
                place = &place["items"];
            }
        }
        assert!(place["description"].is_string(), "{}", key.path);
    }
}

mod hostile {
    use super::{DocumentFormat, Environment, Path, read};
    use proptest::prelude::*;

    fn survives(text: &str, format: DocumentFormat) {
        let environment = Environment::from_iter([("A", "${A}"), ("B", "\u{1b}[31m")]);
        if let Err(problems) = read(text, format, Some(Path::new("x.yaml")), &environment) {
            assert!(!problems.is_empty());
            let _ = problems.render(false);
        }
    }

    /// Pieces from which nearly right files are made.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("server:\n"),
            Just("  port: "),
            Just("  - name: "),
            Just("mcp:\n  servers:\n"),
            Just("[server]\n"),
            Just("port = "),
            Just("\"${A}\""),
            Just("${B:-"),
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(": "),
            Just("\n"),
            Just("&a "),
            Just("*a"),
            Just("!t "),
            Just("? "),
            Just("- "),
            Just("# "),
            Just("'"),
            Just("\""),
            Just("|\n"),
            Just("8080"),
            Just("ä\u{2028}\u{202e}"),
            Just("---\n"),
            Just("\t"),
            Just("<<: "),
            Just("\0"),
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            survives(&text, DocumentFormat::Yaml);
            survives(&text, DocumentFormat::Toml);
        }

        #[test]
        fn any_nearly_right_text_is_answered(text in pieces()) {
            survives(&text, DocumentFormat::Yaml);
            survives(&text, DocumentFormat::Toml);
        }
    }
}

mod command {
    use super::{Environment, environment, fs, root};
    use caxton::cli::config::{Command, run};
    use caxton::cli::output::{Exit, Format, Output};

    fn validate(text: &str, security_check: bool) -> Exit {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("caxton.yaml");
        fs::write(&file, text).unwrap();
        let command = Command::Validate { config: Some(file), security_check, embedded: false };
        run(&command, &environment(), &Output::new(Format::Json)).unwrap()
    }

    #[test]
    fn exit_codes_tell_fine_from_found_from_unusable() {
        assert_eq!(validate("server: { port: 8080 }", false), Exit::Fine);
        assert_eq!(validate("server: { port: 8080 }", true), Exit::Found);
        assert_eq!(validate("server: { prot: 8080 }", false), Exit::Found);
        assert_eq!(validate("memory: { sqlite_security: { trusted_schema: true } }", false), Exit::Fine);

        let absent = root().join("absent.yaml");
        let output = Output::new(Format::Table);
        let command =
            Command::Validate { config: Some(absent.clone()), security_check: false, embedded: false };
        assert_eq!(run(&command, &environment(), &output).unwrap(), Exit::Usage);
        let command = Command::Show { config: Some(absent) };
        assert_eq!(run(&command, &environment(), &output).unwrap(), Exit::Usage);
        assert_eq!(run(&Command::Schema, &environment(), &output).unwrap(), Exit::Fine);

        let command = Command::Validate { config: None, security_check: true, embedded: true };
        assert_eq!(run(&command, &Environment::default(), &output).unwrap(), Exit::Found);
        let command = Command::Show { config: Some(root().join("examples/laptop.yaml")) };
        assert_eq!(run(&command, &Environment::default(), &output).unwrap(), Exit::Fine);
    }
}
