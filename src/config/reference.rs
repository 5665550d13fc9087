//! The reference page: written from the table of keys, so that it cannot fall behind.

use std::fmt::Write as _;

use super::env_overrides::{VARIABLES, VariableEffect};
use super::reader::{KeyInfo, KeyStatus};
use super::unsupported::UNSUPPORTED;

const HEAD: &str = "# Configuration

<!-- Written by `UPDATE_GOLDEN=1 cargo test --test it config`; do not edit. -->

`caxton start --config FILE` reads one file, YAML or TOML (by the ending `.toml`). Without `--config`, `/etc/caxton/caxton.yaml`
is read if it exists; else the embedded defaults hold: loopback only, data under `./.caxton`. Other commands find the
configuration the same way. On stderr the gateway writes text on a terminal and JSON lines elsewhere (`--log-format`).

- The file is checked completely before a port is bound. `caxton config validate` does the same and changes nothing.
- An unknown key is a mistake. So is a key of a later version, and a value that would switch off a protection.
- `${NAME}` and `${NAME:-default}` in a value are taken from the environment; `${file:PATH}`,
  `${credential:NAME}` and Vault bring in secrets ([secrets](secrets.md)); `$${` stands for `${`.
- Durations are written `500ms`, `5s`, `30m`, `24h`, `90d`; sizes `10MB` (a KB is 1,024 bytes); rates `50/minute`.
- A relative path is taken from the directory of the file, or without a file from the working directory.
- A file has at most 1 MiB and 16 levels, no aliases, anchors or tags, and no key twice.

`caxton config show` prints every value in force and where it came from, `caxton config schema` the JSON Schema for editors,
`caxton config validate --security-check` what makes an installation weaker than it could be.
";

/// The page, in Markdown.
pub fn reference() -> String {
    let keys = super::keys();
    let mut page = String::from(HEAD);
    let mut sections: Vec<&str> = Vec::new();
    for key in &keys {
        let name = section(&key.path);
        if !sections.contains(&name) {
            sections.push(name);
        }
    }
    sections.sort_unstable();
    for name in sections {
        let own = |status: &dyn Fn(KeyStatus) -> bool| -> Vec<&KeyInfo> {
            keys.iter().filter(|key| section(&key.path) == name && status(key.status)).collect()
        };
        // Writing to a `String` cannot fail.
        let _ = write!(page, "\n## `{name}`\n");
        settable(&mut page, &own(&|status| status != KeyStatus::Fixed));
        fixed(&mut page, &own(&|status| status == KeyStatus::Fixed));
    }
    switches(&mut page);
    unsupported(&mut page);
    page
}

fn section(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

fn settable(page: &mut String, keys: &[&KeyInfo]) {
    if keys.is_empty() {
        return;
    }
    page.push_str("\n| key | type | default | what it does |\n|---|---|---|---|\n");
    for key in keys {
        let default = match (&key.default, key.status) {
            (_, KeyStatus::Required) => String::from("must be given"),
            (Some(default), _) => format!("`{default}`"),
            (None, _) => String::from("none"),
        };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            key.path,
            cell(&key.type_name),
            cell(&default),
            cell(key.doc)
        );
    }
}

fn fixed(page: &mut String, keys: &[&KeyInfo]) {
    if keys.is_empty() {
        return;
    }
    page.push_str("\nAccepted as they are, and only so:\n\n| key | value | what holds |\n|---|---|---|\n");
    for key in keys {
        let _ = writeln!(page, "| `{}` | {} | {} |", key.path, cell(&key.type_name), cell(key.doc));
    }
}

fn switches(page: &mut String) {
    page.push_str("\n## Environment\n\nThese variables win over the file.\n\n| variable | value | what it says |\n|---|---|---|\n");
    for switch in VARIABLES {
        let value = match switch.effect {
            VariableEffect::KeyInfo(path) => format!("as `{path}`"),
            VariableEffect::AlwaysOn { value } => format!("`{value}` only"),
        };
        let _ = writeln!(page, "| `{}` | {value} | {} |", switch.name, switch.doc);
    }
}

fn unsupported(page: &mut String) {
    page.push_str(
        "\n## Not available in this version\n\nThese keys are refused, each with this advice.\n\n| key | what it will do | until then |\n|---|---|---|\n",
    );
    for later in UNSUPPORTED {
        let _ = writeln!(page, "| `{}` | {} | {} |", later.path, cell(later.doc), cell(later.instead));
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
