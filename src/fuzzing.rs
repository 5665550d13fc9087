//! The readers of bytes from outside, for fuzzing: `fuzz/` runs each for hours, `tests/it/bad_input.rs` for seconds.
//!
//! Each target takes any bytes and must return. A panic, an abort or work without end is a fault; so is a property that does
//! not hold, which a target asserts.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a property that does not hold is reported by a panic"
)]

use crate::agents::AgentDefinition;
use crate::authn::jwt;
use crate::policy::version::{BundleFile, Published};
use crate::policy::{Bundle, Sources};

/// One reader.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder of samples in `fuzz/corpus/`.
    pub name: &'static str,
    /// Reads the bytes.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target { name: "json_reader", run: json_reader },
    Target { name: "policy_text", run: policy_text },
    Target { name: "mcp_message", run: mcp_message },
    Target { name: "agent_file", run: agent_file },
    Target { name: "jwt_jwk", run: jwt_jwk },
    Target { name: "bundle_manifest", run: bundle_manifest },
];

/// The target of this name.
///
/// # Panics
/// There is none.
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.run)(bytes),
        None => panic!("there is no target `{name}`"),
    }
}

/// What is read is what any other reader reads, and what is written of it is read back as the same.
fn json_reader(bytes: &[u8]) {
    let typed = crate::json::parse_as::<serde_json::Value>(bytes);
    match crate::json::parse(bytes) {
        Ok(value) => {
            assert_eq!(typed.unwrap(), value);
            assert_eq!(serde_json::from_slice::<serde_json::Value>(bytes).unwrap(), value);
            let written = serde_json::to_vec(&value).unwrap();
            assert_eq!(crate::json::parse(&written).unwrap(), value);
        }
        Err(_) => assert!(typed.is_err()),
    }
}

const SCHEMA: &str = "entity User in [Group] = { name: String, age?: Long } tags Set<String>; entity Group; entity Doc = { owner: User };\n\
    action read, write appliesTo { principal: [User], resource: [Doc], context: { hour: Long, ip: __cedar::ipaddr } };";

/// A policy, and the same text as a schema.
fn policy_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let text = text.to_owned();
    let work = crate::stack::spawn("policy-text", move || {
        // Neither outcome is a fault.
        let _ = Bundle::load(
            Sources::new().with_schema("fuzz.cedarschema", SCHEMA).with_policy("fuzz.cedar", &text),
        );
        let _ = Bundle::load(Sources::new().with_schema("fuzz.cedarschema", &text));
        let _ = Bundle::load(Sources::new().with_schema("fuzz.cedarschema.json", &text));
    });
    work.unwrap().join().unwrap();
}

/// A message of an upstream server, and a tool that it describes.
fn mcp_message(bytes: &[u8]) {
    crate::tools::read_untrusted(bytes);
}

fn agent_file(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = AgentDefinition::parse(text, &Default::default());
    }
}

fn jwt_jwk(bytes: &[u8]) {
    jwt::read_untrusted(bytes);
}

/// What is taken in is written as what was read.
fn bundle_manifest(bytes: &[u8]) {
    let _ = Published::parse(bytes);
    if let Ok(bundle) = BundleFile::parse(bytes, 1 << 20) {
        let written = bundle.to_bytes().unwrap();
        assert_eq!(BundleFile::parse(&written, 1 << 20).unwrap().to_bytes().unwrap(), written);
    }
}
