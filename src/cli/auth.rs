//! `caxton auth`: makes, lists, replaces and revokes API keys in the data directory; no gateway needs to run. What is
//! changed is left for the gateway to write to its decision log.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use serde::Serialize;

use super::auth_tokens;
use super::installation::DataDirectory;
use super::output::{Exit, Format, Output, table};
use crate::authn::api_key::Settings;
use crate::authn::{KeyHolder, KeyRecord, KeyStore};
use crate::changes::{ChangeLock, EmergencyLock as _};
use crate::clock::{Clock, SystemClock, rfc3339};
use crate::model::{AgentId, KeyId, RoleName, ServiceName};
use crate::policy::{Bundle, Sources};
use crate::suggest::nearest_within;

/// A key that is to live longer is a mistake.
const MAX_LIFETIME: Duration = Duration::from_secs(3_660 * 24 * 3600);

/// Manages API keys and tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a key and print it once
    ///
    /// Example: `caxton auth create-key --name ci --permissions tool:call,memory:read --expires-in 90d`
    CreateKey {
        /// The service that will call with the key; several keys may share a name
        #[arg(long)]
        name: ServiceName,
        /// Permission words, each of them a role of the service
        #[arg(long, value_delimiter = ',')]
        permissions: Vec<RoleName>,
        /// The deployed agent that the key authenticates, instead of a service
        #[arg(long, conflicts_with = "permissions")]
        agent: Option<AgentId>,
        /// Validity of the key, as in `90d`, `12h` or `30m`
        #[arg(long, default_value = "90d", value_parser = lifetime)]
        expires_in: Duration,
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
    /// Give a person or an agent a role, from the next request on
    ///
    /// Example: `caxton auth assign-role --user ann --role viewer`
    AssignRole(super::roles::Membership),
    /// Revoke a role from the next request on, however it was assigned
    ///
    /// Example: `caxton auth revoke-role --user ann --role viewer`
    RevokeRole(super::roles::Membership),
    /// Show what a permission allows a principal
    ///
    /// Example: `caxton auth check --user ann --permission agent:deploy --offline --config caxton.yaml`
    Check(super::roles::CheckOptions),
    /// List all keys, without their secrets
    ///
    /// Example: `caxton auth list-keys --format json`
    ListKeys {
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
    /// Create a key's successor and print it once; the old key stays valid for a while
    ///
    /// Example: `caxton auth rotate-key 0Zk3TQm1xYv9 --grace 7d`
    RotateKey {
        /// The key's id, which is the part between `cax_live_` and the next `_`
        id: KeyId,
        /// How long the old key stays valid
        #[arg(long, default_value = "7d", value_parser = lifetime)]
        grace: Duration,
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
    /// Own tokens.
    #[command(flatten)]
    Tokens(auth_tokens::Command),
    /// Revoke a key from the next request on
    ///
    /// Example: `caxton auth revoke-key 0Zk3TQm1xYv9`
    RevokeKey {
        /// The key's id, which is the part between `cax_live_` and the next `_`
        id: KeyId,
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
}

/// Runs the command.
pub fn run(command: Command, output: &Output) -> anyhow::Result<Exit> {
    let now = SystemClock.now_millis();
    match command {
        Command::CreateKey { name, permissions, agent, expires_in, data_dir } => {
            let holder = agent.map_or(KeyHolder::Service, KeyHolder::Agent);
            let expires = now.saturating_add(i64::try_from(expires_in.as_millis())?);
            let directory = data_dir.path(output)?;
            if let Some(engaged) = ChangeLock::in_directory(&directory).engaged()? {
                bail!("changes are locked ({}): `caxton config unlock` first", engaged.reason);
            }
            create(&open(&directory)?, &name, &holder, &permissions, (now, expires), output)
        }
        Command::RotateKey { id, grace, data_dir } => {
            let grace = i64::try_from(grace.as_millis())?;
            rotate(&existing(&data_dir.path(output)?)?, &id, (now, grace), output)
        }
        Command::Tokens(command) => auth_tokens::run(command, output),
        Command::AssignRole(membership) => super::roles::assign(&membership, output),
        Command::RevokeRole(membership) => super::roles::revoke(&membership, output),
        Command::Check(check) => super::roles::check(&check, output),
        Command::ListKeys { data_dir } => list(&existing(&data_dir.path(output)?)?, now, output),
        Command::RevokeKey { id, data_dir } => revoke(&existing(&data_dir.path(output)?)?, &id, now, output),
    }
}

fn open(path: &Path) -> anyhow::Result<KeyStore> {
    KeyStore::open(&Settings::in_directory(path))
        .with_context(|| format!("the key store in `{}` cannot be used", path.display()))
}

/// Opens an existing store; a wrong directory must not get a new one.
pub(super) fn existing(path: &Path) -> anyhow::Result<KeyStore> {
    if !Settings::in_directory(path).store.exists() {
        bail!(
            "there is no key store in `{}`: name the gateway's data directory with `--data-dir`",
            path.display()
        );
    }
    open(path)
}

#[derive(Serialize)]
struct CreatedKey<'a> {
    id: &'a KeyId,
    key: &'a str,
    name: &'a ServiceName,
    holder: &'a KeyHolder,
    permissions: &'a [RoleName],
    expires: String,
}

fn create(
    store: &KeyStore,
    name: &ServiceName,
    holder: &KeyHolder,
    permissions: &[RoleName],
    (now, expires): (i64, i64),
    output: &Output,
) -> anyhow::Result<Exit> {
    let others = store.list()?.iter().filter(|key| key.name == *name && is_active(key, now)).count();
    let words: Vec<&str> = permissions.iter().map(RoleName::as_str).collect();
    store.note("create_key", &format!("name `{name}`, permissions `{}`", words.join(",")), now)?;
    let new = store.create(name, holder, permissions, now, expires)?;
    let created = CreatedKey {
        id: &new.id,
        key: new.secret.expose(),
        name,
        holder,
        permissions,
        expires: rfc3339(expires),
    };
    output.data(&created, |created| created.key.to_owned())?;
    output.say(format_args!(
        "API key `{}` expires {}. Store it now: it is not shown again",
        new.id, created.expires
    ));
    if permissions.is_empty() && *holder == KeyHolder::Service {
        output.say("it has no permissions: only policies that name the service itself let it do anything");
    }
    for hint in unknown_words(permissions) {
        output.say(hint);
    }
    if others > 0 {
        output.say(format_args!("{others} more active key(s) of `{name}` are the same principal"));
    }
    Ok(Exit::Fine)
}

#[derive(Serialize)]
struct ListedKey<'a> {
    #[serde(flatten)]
    key: &'a KeyRecord,
    status: &'static str,
}

fn is_active(key: &KeyRecord, now: i64) -> bool {
    status(key, now) == "active"
}

fn status(key: &KeyRecord, now: i64) -> &'static str {
    match key.revoked {
        Some(_) => "revoked",
        None if now >= key.expires => "expired",
        None if key.replaced_by.is_some() => "replaced",
        None => "active",
    }
}

#[derive(Serialize)]
struct SuccessorKey<'a> {
    id: &'a KeyId,
    key: &'a str,
    replaces: &'a KeyId,
    expires: String,
}

fn rotate(store: &KeyStore, id: &KeyId, (now, grace): (i64, i64), output: &Output) -> anyhow::Result<Exit> {
    store.note("rotate_key", &format!("key `{id}`"), now)?;
    let Some(new) = store.rotate(id, now, grace)? else {
        output.say(format_args!("there is no valid key `{id}` without a successor"));
        return Ok(Exit::Found);
    };
    let successor =
        SuccessorKey { id: &new.id, key: new.secret.expose(), replaces: id, expires: rfc3339(new.expires) };
    output.data(&successor, |successor| successor.key.to_owned())?;
    output.say(format_args!(
        "API key `{}` expires {}. Store it now: it is not shown again",
        new.id, successor.expires
    ));
    output.say(format_args!("key `{id}` stays valid until {} at most", rfc3339(now.saturating_add(grace))));
    Ok(Exit::Fine)
}

fn list(store: &KeyStore, now: i64, output: &Output) -> anyhow::Result<Exit> {
    let keys = store.list()?;
    let listed: Vec<ListedKey<'_>> =
        keys.iter().map(|key| ListedKey { key, status: status(key, now) }).collect();
    output.data(&listed, |listed| {
        let mut table = table(["id", "name", "speaks for", "permissions", "created", "expires", "status"]);
        for ListedKey { key, status } in listed {
            let holder = match &key.holder {
                KeyHolder::Service => "service".to_owned(),
                KeyHolder::Agent(agent) => format!("agent {agent}"),
            };
            let permissions: Vec<&str> = key.permissions.iter().map(RoleName::as_str).collect();
            let created = rfc3339(key.created);
            let expires = rfc3339(key.expires);
            let cells = [
                key.id.as_str(),
                key.name.as_str(),
                &holder,
                &permissions.join(", "),
                &created,
                &expires,
                status,
            ];
            table.add_row(cells);
        }
        table.to_string()
    })?;
    if output.format() == Format::Table && keys.is_empty() {
        output.say("there are no keys");
    }
    Ok(Exit::Fine)
}

#[derive(Serialize)]
struct RevokedKey<'a> {
    id: &'a KeyId,
    revoked: bool,
}

fn revoke(store: &KeyStore, id: &KeyId, now: i64, output: &Output) -> anyhow::Result<Exit> {
    store.note("revoke_key", &format!("key `{id}`"), now)?;
    let revoked = store.revoke(id, now)?;
    if output.format() == Format::Json {
        output.data(&RevokedKey { id, revoked }, |_| String::new())?;
    }
    if !revoked {
        output.say(format_args!("there is no key `{id}`"));
        return Ok(Exit::Found);
    }
    output.say(format_args!("key `{id}` is revoked from the next request on"));
    Ok(Exit::Fine)
}

/// `90d`, `12h`, `30m` or `45s`.
pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    let unit = text.chars().next_back().and_then(|unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(24 * 3600),
        _ => None,
    });
    let count =
        text.get(..text.len().saturating_sub(1)).filter(|count| count.bytes().all(|b| b.is_ascii_digit()));
    let seconds = unit
        .zip(count.and_then(|count| count.parse::<u64>().ok()))
        .and_then(|(unit, count)| count.checked_mul(unit));
    match seconds.map(Duration::from_secs) {
        Some(Duration::ZERO) => Err("the validity must be longer than 0".to_owned()),
        Some(lifetime) if lifetime <= MAX_LIFETIME => Ok(lifetime),
        Some(_) => Err("the validity is ten years at most".to_owned()),
        None => Err(format!("`{text}` is not a time such as `90d`, `12h` or `30m`")),
    }
}

/// Hints for permission words that no shipped policy mentions: misspelt ones, or roles of the operator's own policies.
fn unknown_words(words: &[RoleName]) -> Vec<String> {
    let Ok(shipped) = Bundle::load(Sources::shipped()) else { return Vec::new() };
    let known: BTreeSet<&str> = shipped
        .policies()
        .filter_map(|policy| match policy.id.split_once('.')? {
            ("permissions", word) => Some(word),
            ("roles", role) => role.split('-').next(),
            _ => None,
        })
        .collect();
    let advice = |word: &str| match nearest_within(2, word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "only policies of your own can".to_owned(),
    };
    let unknown = words.iter().map(RoleName::as_str).filter(|word| !known.contains(word));
    unknown.map(|word| format!("no shipped policy gives `{word}` anything: {}", advice(word))).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct JsonLine {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(words: &[&str]) -> Result<Command, clap::Error> {
        JsonLine::try_parse_from([&["auth"], words].concat()).map(|line| line.command)
    }

    #[test]
    fn a_lifetime_is_read_or_refused() {
        assert_eq!(lifetime("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(lifetime("45s"), Ok(Duration::from_secs(45)));
        for text in ["", "d", "90", "-1d", "1.5h", "90 d", "0d", "99999d", "18446744073709551615d", "1é"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_made_listed_and_revoked() {
        let path = tempfile::tempdir().unwrap();
        let data_dir = ["--data-dir", path.path().to_str().unwrap()];
        let output = Output::new(Format::Json);
        let go = |words: &[&str]| run(parse(&[words, &data_dir].concat()).unwrap(), &output);
        assert!(go(&["list-keys"]).is_err(), "there is no store yet, and none is made");
        let create =
            ["create-key", "--name", "ci", "--permissions", "tool:call,memory:read", "--expires-in", "1d"];
        assert_eq!(go(&create).unwrap(), Exit::Fine);
        assert_eq!(go(&["create-key", "--name", "bot", "--agent", "researcher"]).unwrap(), Exit::Fine);
        let keys = open(path.path()).unwrap().list().unwrap();
        let [ci, bot] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!(
            ci.permissions.iter().map(RoleName::as_str).collect::<Vec<_>>(),
            ["tool:call", "memory:read"]
        );
        assert_eq!(ci.expires - ci.created, 86_400_000);
        assert_eq!(bot.holder, KeyHolder::Agent(AgentId::parse("researcher").unwrap()));
        assert_eq!(go(&["revoke-key", ci.id.as_str()]).unwrap(), Exit::Fine);
        assert_eq!(go(&["revoke-key", "nobody"]).unwrap(), Exit::Found);
        assert_eq!(go(&["list-keys"]).unwrap(), Exit::Fine);
        let keys = open(path.path()).unwrap().list().unwrap();
        assert_eq!([status(&keys[0], ci.created), status(&keys[1], ci.created)], ["revoked", "active"]);
        assert_eq!(status(&keys[1], keys[1].expires), "expired");
    }

    #[test]
    fn a_permission_that_nothing_knows_is_told() {
        let said = |words: &[&str]| {
            unknown_words(&words.iter().map(|word| RoleName::parse(word).unwrap()).collect::<Vec<_>>())
        };
        assert_eq!(said(&["tool:call", "agent:*", "*", "admin", "developer"]), Vec::<String>::new());
        let slip = "no shipped policy gives `tool:cal` anything: did you mean `tool:call`?";
        let own = "no shipped policy gives `accountant` anything: only policies of your own can";
        assert_eq!(said(&["tool:cal", "tool:list", "accountant"]), [slip, own]);
    }

    #[test]
    fn bad_words_are_refused_by_the_parser() {
        for words in [
            &["create-key"][..],
            &["create-key", "--name", "a/b"],
            &["create-key", "--name", "a", "--permissions", "x/y"],
            &["create-key", "--name", "a", "--agent", "b", "--permissions", "tool:call"],
            &["create-key", "--name", "a", "--expires-in", "soon"],
            &["revoke-key"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
