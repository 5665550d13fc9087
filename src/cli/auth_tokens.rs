//! `caxton auth token` and its kin: own tokens, their signing key, and what ends them.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Subcommand;
use reqwest::Method;
use serde::Serialize;
use serde_json::Value as Json;

use super::auth::existing;
use super::installation::DataDirectory;
use super::output::{Exit, Format, Output, table};
use super::remote::Remote;
use crate::authn::tokens::LocalLogins;
use crate::authn::{KeyStore, Tokens};
use crate::clock::{Clock as _, SystemClock};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in to a running gateway as a person; other commands use that login
    ///
    /// Example: `caxton auth login --url https://caxton.example`
    Login(super::login::Login),
    /// End the login, here and at the gateway
    ///
    /// Example: `caxton auth logout --url https://caxton.example`
    Logout {
        /// Which gateway
        #[command(flatten)]
        remote: Remote,
    },
    /// Exchange an API key for a short access token of a running gateway
    ///
    /// Example: `caxton auth token --api-key-file ci.key`
    Token {
        /// Which gateway
        #[command(flatten)]
        remote: Remote,
    },
    /// Sign tokens with a new key; tokens of the old key stay valid until they expire
    ///
    /// Example: `caxton auth rotate-signing-key --compromised`
    RotateSigningKey {
        /// The old key is compromised: tokens of older keys are refused from the next request on
        #[arg(long)]
        compromised: bool,
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
    /// Revoke one token, by its `jti` or that in the decision log
    ///
    /// Example: `caxton auth revoke-token 3c9d0f31`
    RevokeToken {
        /// The token's `jti`
        #[arg(value_parser = name)]
        jti: String,
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
    /// Revoke every token of a principal that was issued until now; API keys stay valid
    ///
    /// Example: `caxton auth revoke-subject 'Caxton::User::"https://login.example|alice"'`
    RevokeSubject {
        /// The principal, as the decision log writes it
        #[arg(value_parser = principal)]
        principal: String,
        /// Where the keys are
        #[command(flatten)]
        data_dir: DataDirectory,
    },
}

/// Runs the command.
pub(super) fn run(command: Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Login(wanted) => super::login::login(&wanted, output),
        Command::Logout { remote } => super::login::logout(&remote, output),
        Command::Token { remote } => token(&remote, output),
        Command::RotateSigningKey { compromised, data_dir } => rotate(compromised, &data_dir, output),
        Command::RevokeToken { jti, data_dir } => {
            let (keys, tokens) = stores(&data_dir, output)?;
            keys.note("revoke_token", &format!("token `{jti}`"), SystemClock.now_millis())?;
            tokens.revoke_token(&jti)?;
            changed(&RevokedToken { revoked: &jti }, output)?;
            output.say(format_args!("token `{jti}` is refused from the next request on"));
            Ok(Exit::Fine)
        }
        Command::RevokeSubject { principal, data_dir } => {
            let (keys, tokens) = stores(&data_dir, output)?;
            keys.note("revoke_subject", &principal, SystemClock.now_millis())?;
            tokens.revoke_subject(&principal)?;
            changed(&RevokedToken { revoked: &principal }, output)?;
            output.say(format_args!(
                "tokens of {principal} issued until now are refused from the next request on; its API keys stay valid"
            ));
            Ok(Exit::Fine)
        }
    }
}

fn rotate(compromised: bool, data_dir: &DataDirectory, output: &Output) -> anyhow::Result<Exit> {
    let (keys, tokens) = stores(data_dir, output)?;
    let detail = if compromised { "the old one is compromised" } else { "from the command line" };
    keys.note("rotate_signing_key", detail, SystemClock.now_millis())?;
    let kid = match compromised {
        true => tokens.replace_compromised_key()?,
        false => tokens.rotate_signing_key()?,
    };
    changed(&RotatedKey { kid: &kid, compromised }, output)?;
    output.say(format_args!("tokens are signed with `{kid}` from now on"));
    if compromised {
        output.say(format_args!("tokens of older keys are refused from the next request on"));
    }
    Ok(Exit::Fine)
}

/// Ends every session and every token that was issued until now.
pub(super) fn revoke_all(data_dir: &DataDirectory, output: &Output) -> anyhow::Result<Exit> {
    let (keys, tokens) = stores(data_dir, output)?;
    keys.note("revoke_all_sessions", "from the command line", SystemClock.now_millis())?;
    let sessions = tokens.revoke_all()?;
    changed(&AllRevoked { sessions }, output)?;
    output.say(format_args!(
        "{sessions} session(s) ended, and every token issued until now is refused from the next request on; API keys stay valid"
    ));
    Ok(Exit::Fine)
}

/// The authentication methods of a running gateway.
pub(super) fn status(remote: &Remote, output: &Output) -> anyhow::Result<Exit> {
    let answer = match remote.call(Method::GET, &["v1", "auth", "status"], output)? {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    let methods = answer.get("methods").and_then(Json::as_array).context("the answer has no `methods`")?;
    output.data(&answer, |_| {
        let mut table = table(["method", "open", "works", "detail"]);
        let yes = |row: &Json, name: &str| match row.get(name).and_then(Json::as_bool) {
            Some(true) => "yes",
            _ => "no",
        };
        let text =
            |row: &Json, name: &str| row.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        for row in methods {
            table.add_row([
                text(row, "method"),
                yes(row, "enabled").to_owned(),
                yes(row, "healthy").to_owned(),
                text(row, "detail"),
            ]);
        }
        table.to_string()
    })?;
    let sick = methods.iter().any(|row| row.get("healthy") != Some(&Json::Bool(true)));
    Ok(if sick { Exit::Found } else { Exit::Fine })
}

#[derive(Serialize)]
struct RotatedKey<'a> {
    kid: &'a str,
    compromised: bool,
}

#[derive(Serialize)]
struct RevokedToken<'a> {
    revoked: &'a str,
}

#[derive(Serialize)]
struct AllRevoked {
    sessions: usize,
}

fn changed<T: Serialize>(value: &T, output: &Output) -> anyhow::Result<()> {
    match output.format() {
        Format::Json => output.data(value, |_| String::new()),
        _ => Ok(()),
    }
}

fn stores(data_dir: &DataDirectory, output: &Output) -> anyhow::Result<(KeyStore, Tokens)> {
    let path = &data_dir.path(output)?;
    let keys = existing(path)?;
    let settings = crate::authn::tokens::Settings::in_directory(path);
    // In an incident the private signing key may be gone: nothing here needs it.
    let unusable = || format!("the sessions in `{}` cannot be used", path.display());
    let logins = LocalLogins::open(&settings.store, settings.cache_entries).with_context(unusable)?;
    let tokens = Tokens::open_to_end(settings, Arc::new(logins), None, Arc::new(SystemClock))
        .with_context(unusable)?;
    Ok((keys, tokens))
}

fn token(remote: &Remote, output: &Output) -> anyhow::Result<Exit> {
    let answer = match remote.call(Method::POST, &["v1", "auth", "token"], output)? {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    let access =
        answer.get("access_token").and_then(Json::as_str).context("the answer has no `access_token`")?;
    output.data(&answer, |_| access.to_owned())?;
    if let Some(seconds) = answer.get("expires_in").and_then(Json::as_u64) {
        output.say(format_args!(
            "the token is valid for {seconds} s; `--format json` shows the refresh token as well"
        ));
    }
    Ok(Exit::Fine)
}

/// Text that can stand in a log.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 256 || text.contains(char::is_control) {
        return Err("it is empty, longer than 256 bytes, or has control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A principal in Cedar's notation, of one of the types that tokens can name.
fn principal(text: &str) -> Result<String, String> {
    const TYPES: [&str; 3] = ["User", "Service", "Agent"];
    let full = if text.starts_with("Caxton::") { text.to_owned() } else { format!("Caxton::{text}") };
    let fits = TYPES.iter().any(|kind| {
        full.strip_prefix(&format!("Caxton::{kind}::\""))
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('"'))
    });
    if full.starts_with("Caxton::Workload::") {
        return Err("a certificate is taken back by a revocation list: `server.tls.crl_files`".to_owned());
    }
    if !fits || full.len() > 1024 || full.contains(char::is_control) {
        return Err("write it as the decision log does: `Caxton::User::\"<issuer>|<sub>\"`".to_owned());
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_written_as_in_the_log() {
        for good in ["Caxton::User::\"https://login.example|alice\"", "Service::\"ci\"", "Agent::\"a b\""] {
            assert!(principal(good).unwrap().starts_with("Caxton::"), "{good}");
        }
        // A certificate is taken back elsewhere: here it would be accepted and change nothing.
        assert!(principal("Workload::\"spiffe://a/b\"").unwrap_err().contains("crl_files"));
        for bad in ["", "alice", "User::alice", "User::\"\"", "Role::\"admin\"", "User::\"a\nb\"", "*"] {
            assert!(principal(bad).is_err(), "{bad}");
        }
    }
}
