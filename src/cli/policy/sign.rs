//! `caxton policy keygen`, `sign` and `verify`: the signatures of a version.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::render::{GREEN, PLAIN, counted};
use super::store::{InstalledStore, find, report_error};
use crate::cli::output::{Exit, Output};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::Bundle;
use crate::policy::version::{PublicKey, Rules, SigningKey, TrustedKeys, VersionError, VersionSource as _};
use crate::text::clean;

/// The key to make.
#[derive(Debug, Default, clap::Args)]
pub struct Keygen {
    /// Its name, which stands in each signature, as in `ops-2026`.
    #[arg(value_name = "KEY-ID")]
    pub id: String,
    /// Write the private key to this file, which must not be there yet.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// How long it is to be trusted, as in `365d` [default: until it is taken out of the trusted keys]
    #[arg(long, value_name = "TIME", value_parser = crate::cli::auth::lifetime)]
    pub expires_in: Option<std::time::Duration>,
}

/// What to sign.
#[derive(Debug, Default, clap::Args)]
pub struct Sign {
    /// `current`, `previous`, a number like `@12`, or the first digits of a version.
    #[arg(default_value = "current", value_name = "VERSION")]
    pub version: String,
    /// The key, which `caxton policy keygen` made.
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The version store.
    #[command(flatten)]
    pub store: InstalledStore,
}

/// What to verify.
#[derive(Debug, Default, clap::Args)]
pub struct Verify {
    /// `current`, `previous`, a number like `@12`, or the first digits of a version.
    #[arg(default_value = "current", value_name = "VERSION")]
    pub version: String,
    /// Verify every publication.
    #[arg(long, conflicts_with = "version")]
    pub all: bool,
    /// The trusted keys; without them only the digests are verified.
    #[arg(long, value_name = "FILE")]
    pub trusted_keys: Option<PathBuf>,
    /// The version store.
    #[command(flatten)]
    pub store: InstalledStore,
}

pub(super) fn keygen(base: &Path, options: &Keygen, output: &Output) -> anyhow::Result<Exit> {
    let after = options.expires_in.map(|after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
    let not_after = after.map(|after| SystemClock.now_millis().saturating_add(after));
    let path = base.join(&options.out);
    let made = SigningKey::generate(&options.id).and_then(|key| key.write(&path).map(|()| key));
    match made {
        Ok(key) => {
            output.say(format_args!(
                "the private key is in `{}`; keep it where no gateway can read it",
                path.display()
            ));
            output.say("the set of trusted keys, for `security.authorization.trusted_keys_file`:");
            let set = TrustedKeys { keys: vec![key.public(not_after)] };
            output.line(&serde_json::to_string_pretty(&set)?)?;
            Ok(Exit::Fine)
        }
        Err(error) => {
            report_error(&error, output);
            Ok(Exit::Usage)
        }
    }
}

pub(super) fn sign(base: &Path, options: &Sign, output: &Output) -> anyhow::Result<Exit> {
    /// What was signed.
    #[derive(Serialize)]
    struct Signed<'s> {
        version: &'s str,
        sequence: u64,
        key_id: &'s str,
    }
    let store = options.store.existing(base, output)?;
    let mut published = find(&store, &options.version)?;
    // A signature covers the texts: they have to be complete and valid.
    let sources = store.sources(&published.manifest)?;
    if let Err(errors) = Bundle::load(sources) {
        super::show(errors.problems(), output);
        output.say("nothing was signed: this set is not valid");
        return Ok(Exit::Found);
    }
    let signed = SigningKey::read(&base.join(&options.key)).and_then(|key| {
        key.sign(&mut published)?;
        store.resign(&published).map(|()| key)
    });
    match signed {
        Ok(key) => {
            let manifest = &published.manifest;
            let version = manifest.version.as_str();
            let sequence = manifest.sequence;
            let signed = Signed { version, sequence, key_id: key.id() };
            output.data(&signed, |_| {
                format!(
                    "{GREEN}signed{PLAIN} {} (@{sequence}) with `{}`",
                    manifest.version.short(),
                    clean(key.id())
                )
            })?;
            Ok(Exit::Fine)
        }
        Err(error) => {
            report_error(&error, output);
            Ok(Exit::Usage)
        }
    }
}

/// What came of one publication.
#[derive(Serialize)]
struct Verified {
    sequence: u64,
    version: String,
    sound: bool,
    key_id: Option<String>,
    problem: Option<String>,
}

pub(super) fn verify(base: &Path, options: &Verify, output: &Output) -> anyhow::Result<Exit> {
    let store = options.store.existing(base, output)?;
    let trusted = options.trusted_keys.as_deref().map(|path| TrustedKeys::read(&base.join(path)));
    let trusted = trusted.transpose()?;
    let now = SystemClock.now_millis();
    if let Some(keys) = &trusted {
        let over: Vec<&PublicKey> = keys.keys.iter().filter(|key| key.is_over(now)).collect();
        over.iter()
            .for_each(|key| output.say(format_args!("note: the key `{}` has run out", clean(&key.key_id))));
    }
    let rules = Rules { trusted, ..Rules::default() };
    let numbers = match options.all {
        true => store.numbers()?,
        false => vec![find(&store, &options.version)?.manifest.sequence],
    };
    let mut results = Vec::new();
    for sequence in numbers {
        let checked = store.read(sequence).and_then(|published| {
            let version = published.manifest.version.as_str().to_owned();
            store.sources(&published.manifest)?;
            Ok((version, rules.accept(&published, now)?.key_id))
        });
        results.push(match checked {
            Ok((version, key_id)) => Verified { sequence, version, sound: true, key_id, problem: None },
            Err(error) => Verified {
                sequence,
                version: String::new(),
                sound: false,
                key_id: None,
                problem: Some(with_cause(&error)),
            },
        });
    }
    output.data(&results, |results| results.iter().map(text).collect::<Vec<_>>().join("\n"))?;
    let unsound = results.iter().filter(|one| !one.sound).count();
    if unsound > 0 {
        output.say(format_args!("{} refused", counted(unsound, "publication")));
    }
    Ok(if unsound == 0 { Exit::Fine } else { Exit::Found })
}

fn with_cause(error: &VersionError) -> String {
    match error.help() {
        Some(help) => format!("{error} ({help})"),
        None => error.to_string(),
    }
}

fn text(one: &Verified) -> String {
    let Verified { sequence, version, key_id, problem, .. } = one;
    match (problem, key_id) {
        (Some(problem), _) => format!("@{sequence}: refused: {}", clean(problem)),
        (None, Some(key)) => format!("@{sequence}: {version} is whole, signed by {}", clean(key)),
        (None, None) => format!("@{sequence}: {version} has valid digests; no signature was required"),
    }
}
