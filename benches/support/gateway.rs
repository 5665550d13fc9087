//! A gateway under load for the benches: AuthZEN evaluation with a JWT, about users and documents of their own schema.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "each bench uses its own part, and one that cannot be set up has failed"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use caxton::authn::issue::TokenIssuer;
use caxton::authn::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use caxton::clock::SystemClock;
use caxton::server::{Gateway, Settings};
use serde_json::{Value, json};

/// Connections that `wrk` holds.
pub const CONNECTIONS: u32 = 64;

/// The question.
pub fn body() -> Value {
    json!({
        "subject": { "type": "Bench::User", "id": "u0" },
        "action": { "name": "read" },
        "resource": { "type": "Bench::Doc", "id": "d0", "properties": { "public": true } },
        "context": { "hour": 11 },
    })
}

const SCHEMA: &str = "namespace Bench { entity User; entity Doc = { public: Bool }; action read appliesTo { principal: User, resource: Doc, context: { hour: Long } }; }";

/// One policy that lets the caller ask, and `count - 1` about users and documents.
pub fn policies(count: usize) -> String {
    let mut text = "@id(\"bench.ask\") permit (principal in Caxton::Role::\"asker\", action == Caxton::Action::\"policy:test\", resource);\n".to_owned();
    for number in 0..count.saturating_sub(1) {
        text.push_str(&format!(
            "@id(\"bench.p{number}\") permit (principal == Bench::User::\"u{number}\", action == Bench::Action::\"read\", resource == Bench::Doc::\"d{number}\") when {{ resource.public && context.hour < 18 }};\n"
        ));
    }
    text
}

/// Who issues the tokens.
pub fn issuer() -> TokenIssuer {
    TokenIssuer::generate("bench", "bench", Arc::new(SystemClock)).expect("an issuer")
}

/// Writes what `wrk` sends to the gateway.
pub fn script(directory: &Path, issuer: &TokenIssuer) -> std::path::PathBuf {
    let claims = json!({ "roles": ["asker"] });
    let claims = claims.as_object().expect("claims").clone();
    let token = issuer.issue("bench", Duration::from_secs(3600), claims);
    let authorization = format!("wrk.headers['Authorization'] = 'Bearer {}'\n", token.expose());
    post(&directory.join("caxton.lua"), &body(), &authorization)
}

/// Writes a script for `wrk` that posts a body.
pub fn post(path: &Path, body: &Value, more: &str) -> std::path::PathBuf {
    let text = format!(
        "wrk.method = 'POST'\nwrk.body = '{body}'\nwrk.headers['Content-Type'] = 'application/json'\n{more}"
    );
    fs::write(path, text).expect("the script");
    path.to_owned()
}

/// A gateway with so many policies, and perhaps a candidate set beside them that is the same but for a remark.
pub async fn gateway(directory: &Path, count: usize, issuer: &TokenIssuer, candidate: bool) -> Gateway {
    let place = directory.join(format!("{count}-{candidate}"));
    let (policy_dir, schema_dir) = (place.join("policies"), place.join("schemas"));
    fs::create_dir_all(&policy_dir).expect("a directory");
    fs::create_dir_all(&schema_dir).expect("a directory");
    fs::write(policy_dir.join("bench.cedar"), policies(count)).expect("the policies");
    fs::copy("schemas/caxton.cedarschema", schema_dir.join("caxton.cedarschema")).expect("the schema");
    fs::write(schema_dir.join("bench.cedarschema"), SCHEMA).expect("the schema");
    let mut settings = Settings::embedded(place.join("data"));
    settings.policy_dir = Some(policy_dir);
    if candidate {
        let candidate_dir = place.join("candidate");
        fs::create_dir_all(&candidate_dir).expect("a directory");
        let text = format!("// The next version.\n{}", policies(count));
        fs::write(candidate_dir.join("bench.cedar"), text).expect("the policies");
        settings.candidate_dir = Some(candidate_dir);
    }
    settings.schema_dir = Some(schema_dir);
    settings.limit.per_principal = "1000000000/second".parse().expect("a rate");
    settings.authn.jwt = Some(caxton::authn::jwt::Settings {
        keys: vec![JwtKey {
            name: "bench".into(),
            algorithm: JwtAlgorithm::EdDsa,
            material: KeyMaterial::Pem(issuer.public_pem().expect("a key")),
            kid: None,
        }],
        issuer: "bench".into(),
        audience: "bench".into(),
        ..Default::default()
    });
    Gateway::start(settings).await.expect("a gateway")
}

/// Requests a second and the median latency in microseconds, as `wrk` counts them; every answer must be a 200.
pub fn load(address: SocketAddr, path: &str, script: &Path, seconds: u64) -> (f64, f64) {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency", "-s"])
        .arg(script)
        .arg(format!("http://{address}{path}"))
        .output()
        .expect("`wrk` is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let after = |label: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(label))
            .unwrap_or_else(|| panic!("{text}"));
        line.trim_start().trim_start_matches(label).trim().to_owned()
    };
    let median = after("50%");
    let micros = match median.strip_suffix("us") {
        Some(micros) => micros.parse().expect("a number"),
        None => median.trim_end_matches("ms").parse::<f64>().expect("a number") * 1000.0,
    };
    (after("Requests/sec:").parse().expect("a number"), micros)
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
