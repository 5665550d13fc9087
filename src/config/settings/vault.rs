//! Secrets from a Vault.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{Choice, DurationRange, FilePath, Flag, FreeText, HttpsUrl, ParsedWord};
use crate::secrets::{SecretRequest, VaultLogin, VaultSettings};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoginMethod {
    Token,
    AppRole,
    Kubernetes,
}

const LOGIN_METHODS: &[(&str, LoginMethod)] = &[
    ("kubernetes", LoginMethod::Kubernetes),
    ("approle", LoginMethod::AppRole),
    ("token", LoginMethod::Token),
];
const ADDRESS: &str = "security.vault.address";
/// Where a pod finds the token of its service account.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// `security.vault.*`; `None` without an address.
pub(super) fn read(r: &mut Reader<'_>) -> Option<VaultSettings> {
    let address = r.optional(
        ADDRESS,
        HttpsUrl { may_weaken: false },
        "Address of the Vault that secrets are fetched from, at the start. A Vault that cannot be asked stops the start.",
    );
    let ca_file = r.optional(
        "security.vault.ca_file",
        FilePath { must_exist: true },
        "Further certificate authorities that the Vault's certificate may be issued by, in PEM.",
    );
    let namespace = r.optional(
        "security.vault.namespace",
        FreeText(256),
        "The namespace, where the Vault has namespaces.",
    );
    let login = login(r);
    let secret_mount = r.value(
        "security.vault.secret_mount",
        ParsedWord::<VaultPath>::new("path"),
        VaultPath("secret/caxton".to_owned()),
        "The mount of a KV engine, version 2, and after the first `/` where in it the paths of `secrets` begin.",
    );
    let auto_renew = r.value(
        "security.vault.auto_renew",
        Flag,
        true,
        "Keep the login alive while the gateway runs, and give it back at the end.",
    );
    let renew_threshold = r.value(
        "security.vault.renew_threshold",
        DurationRange::seconds(1, 30 * 86_400),
        Duration::from_secs(3_600),
        "How long before its end a login is renewed; after half its life if that is later.",
    );
    let timeout = r.value(
        "security.vault.timeout",
        DurationRange::seconds(1, 120),
        Duration::from_secs(10),
        "Time for one answer of the Vault.",
    );
    let secrets = secrets(r);
    let Some(address) = address else {
        let others = ["auth_method", "role", "role_id", "secret_id_file", "token_file", "secrets"];
        if let Some(other) =
            others.iter().map(|name| format!("security.vault.{name}")).find(|path| r.is_given(path))
            && !r.is_given(ADDRESS)
        {
            r.report_missing(ADDRESS, &other);
        }
        return None;
    };
    Some(VaultSettings {
        address,
        ca_file,
        namespace,
        login: login?,
        secret_mount: secret_mount.0,
        secrets,
        timeout,
        auto_renew,
        renew_threshold,
    })
}

fn login(r: &mut Reader<'_>) -> Option<VaultLogin> {
    const ROLE: &str = "security.vault.role";
    const ROLE_ID: &str = "security.vault.role_id";
    const SECRET_ID: &str = "security.vault.secret_id_file";
    const TOKEN: &str = "security.vault.token_file";
    let method = r.value(
        "security.vault.auth_method",
        Choice(LOGIN_METHODS),
        LoginMethod::Kubernetes,
        "How the gateway logs in: as a pod, with an AppRole, or with a token.",
    );
    let mount = r.optional(
        "security.vault.auth_mount",
        ParsedWord::<VaultPath>::new("path"),
        "Where the method is mounted, when not under its own name.",
    );
    let role = r.optional(ROLE, FreeText(256), "The role, for `kubernetes`.");
    let role_id = r.optional(ROLE_ID, FreeText(256), "The id of the role, for `approle`.");
    let secret_id_file = r.optional(
        SECRET_ID,
        FilePath { must_exist: true },
        "File with the secret id, for `approle`. Read at each login.",
    );
    let token_file = r.optional(
        TOKEN,
        FilePath { must_exist: false },
        "File with the token, for `token`; for `kubernetes`, that of the pod when it is not at its usual place.",
    );
    let mount = |usual: &str| mount.as_ref().map_or_else(|| usual.to_owned(), |mount| mount.0.clone());
    let mut need = |path: &str| {
        if r.is_given(ADDRESS) && !r.is_given(path) {
            r.report_missing(path, ADDRESS);
        }
    };
    Some(match method {
        LoginMethod::Token => {
            need(TOKEN);
            VaultLogin::Token { file: token_file? }
        }
        LoginMethod::AppRole => {
            need(ROLE_ID);
            need(SECRET_ID);
            VaultLogin::AppRole {
                mount: mount("approle"),
                role_id: role_id?,
                secret_id_file: secret_id_file?,
            }
        }
        LoginMethod::Kubernetes => {
            need(ROLE);
            let token_file = token_file.unwrap_or_else(|| PathBuf::from(POD_TOKEN));
            VaultLogin::Kubernetes { mount: mount("kubernetes"), role: role?, token_file }
        }
    })
}

fn secrets(r: &mut Reader<'_>) -> Vec<SecretRequest> {
    let mut names: Vec<String> = Vec::new();
    r.records("security.vault.secrets", "What is fetched.", |r, _| {
        let path = r.required("path", ParsedWord::<VaultPath>::new("path"), "Where it lies below `secret_mount`.");
        let name = r.required(
            "env",
            ParsedWord::<VariableName>::new("name"),
            "The name that stands for it in this file: `${NAME}`. It comes before a variable of the environment.",
        );
        let field =
            r.optional("field", FreeText(256), "Which field of it; may be left out when it has only one.");
        let name = name?.0;
        if names.contains(&name) {
            r.report(ConfigProblem::error(ProblemCode::Contradiction, "this name stands for another secret already"), "env");
            return None;
        }
        names.push(name.clone());
        Some(SecretRequest { path: path?.0, name, field })
    })
}

/// Names joined by `/`, none of them a way up.
#[derive(Debug)]
struct VaultPath(String);

impl std::str::FromStr for VaultPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(legal);
        if text.len() <= 512 && text.split('/').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "write names of letters, digits, `_`, `-` and `.`, with `/` between them and none at the ends",
            )
        }
    }
}

impl std::fmt::Display for VaultPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a variable.
#[derive(Debug)]
struct VariableName(String);

impl std::str::FromStr for VariableName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if (1..=128).contains(&text.len())
            && !text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(legal)
        {
            Ok(Self(text.to_owned()))
        } else {
            Err("write letters, digits and `_`, not a digit first")
        }
    }
}

impl std::fmt::Display for VariableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
