//! Seals the tokens of an account before they are written to disk.
//!
//! The attack: who can write the database puts one person's row in the place of another's, or who can write the configuration
//! gives the server's name another address, to which the tokens would go. So a sealed row opens only under the principal, the
//! server, the authorization server and the target that it was sealed for (AES-256-GCM, NIST SP 800-38D, with a random nonce;
//! these names are the associated data), and with a key that is not in the data directory.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::settings::ConnectionSettings;
use crate::secret::Secret;
use crate::tools::auth::secret_lines;

/// Bytes of a key of AES-256.
const KEY_BYTES: usize = 32;
/// The form of what is sealed, as the first word of the associated data.
const FORM: &str = "caxton connection 2";
/// The form of rows from before the target was bound. They are opened to be revoked, and for nothing else.
const FORM_WITHOUT_TARGET: &str = "caxton connection 1";

/// The tokens of one account.
pub(in crate::tools) struct AccountTokens {
    /// The access token.
    pub(in crate::tools) access: Secret<String>,
    /// Its end, in milliseconds since the Unix epoch.
    pub(in crate::tools) access_ends: i64,
    /// The refresh token, of an authorization server that gives one.
    pub(in crate::tools) refresh: Option<Secret<String>>,
}

/// Whose tokens they are, and from whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::tools) struct AccountName {
    /// The principal in Cedar's notation.
    pub(in crate::tools) holder: String,
    /// The MCP server.
    pub(in crate::tools) server: String,
    /// The authorization server.
    pub(in crate::tools) issuer: String,
    /// Where the tokens may be shown: the origin of the server's address, and the resource that they were requested for, with a
    /// space between. Empty in a row from before it was bound, which no account has as its name.
    pub(in crate::tools) target: String,
}

impl AccountName {
    /// The associated data. Each part has its length in front, so that no two names have the same.
    fn bound(&self) -> String {
        let Self { holder, server, issuer, target } = self;
        let with_length = |part: &String| format!("\n{}:{part}", part.len());
        let names = [holder, server, issuer].map(with_length).concat();
        if target.is_empty() {
            return format!("{FORM_WITHOUT_TARGET}{names}");
        }
        format!("{FORM}{names}{}", with_length(target))
    }
}

/// What is sealed, as JSON.
#[derive(Serialize)]
struct Written<'a> {
    access: &'a str,
    ends: i64,
    refresh: Option<&'a str>,
}

/// The same as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    access: String,
    ends: i64,
    refresh: Option<String>,
}

/// The keys of all connections.
pub(super) struct ConnectionKey {
    /// Seals, and opens.
    current: RandomizedNonceKey,
    /// Those from before; they open.
    earlier: Vec<RandomizedNonceKey>,
}

/// A row that was opened.
pub(super) struct OpenedRow {
    pub(super) tokens: AccountTokens,
    /// Whether it is sealed with the current key.
    pub(super) is_current: bool,
}

impl ConnectionKey {
    /// Reads the keys, one a line, the current one first. Blocking.
    pub(super) fn read(settings: &ConnectionSettings) -> Result<Self, StoreError> {
        let source = settings.key.as_ref().ok_or(StoreError::NoKey)?;
        let lines = secret_lines(source).map_err(StoreError::KeyFile)?;
        let mut keys = lines.iter().map(key_of);
        let current = keys.next().ok_or(StoreError::KeyForm)??;
        Ok(Self { current, earlier: keys.collect::<Result<_, _>>()? })
    }

    pub(super) fn close(&self, name: &AccountName, tokens: &AccountTokens) -> Result<Vec<u8>, StoreError> {
        let written = Written {
            access: tokens.access.expose(),
            ends: tokens.access_ends,
            refresh: tokens.refresh.as_ref().map(|refresh| refresh.expose().as_str()),
        };
        let plain = Secret::new(serde_json::to_vec(&written).map_err(|_| StoreError::Sealing)?);
        // Room for the tag: a vector that grows would leave the plain text behind in memory.
        let mut bytes = Vec::with_capacity(plain.expose().len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(plain.expose());
        let bound = name.bound();
        let nonce = self.current.seal_in_place_append_tag(Aad::from(bound.as_bytes()), &mut bytes);
        let mut sealed = nonce.map_err(|_| StoreError::Sealing)?.as_ref().to_vec();
        sealed.extend_from_slice(&bytes);
        Ok(sealed)
    }

    /// `None` for what was not sealed with one of these keys under this name.
    pub(super) fn open(&self, name: &AccountName, sealed: &[u8]) -> Option<OpenedRow> {
        let bound = name.bound();
        if let Some(tokens) = open_with(&self.current, &bound, sealed) {
            return Some(OpenedRow { tokens, is_current: true });
        }
        let tokens = self.earlier.iter().find_map(|key| open_with(key, &bound, sealed))?;
        Some(OpenedRow { tokens, is_current: false })
    }
}

fn key_of(line: &Secret<String>) -> Result<RandomizedNonceKey, StoreError> {
    let bytes = hex::decode(line.expose()).map(Secret::new).map_err(|_| StoreError::KeyForm)?;
    if bytes.expose().len() != KEY_BYTES {
        return Err(StoreError::KeyForm);
    }
    RandomizedNonceKey::new(&AES_256_GCM, bytes.expose()).map_err(|_| StoreError::KeyForm)
}

fn open_with(key: &RandomizedNonceKey, bound: &str, sealed: &[u8]) -> Option<AccountTokens> {
    let mut bytes = zeroize::Zeroizing::new(sealed.to_vec());
    let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key.open_in_place(nonce, Aad::from(bound.as_bytes()), sealed).ok()?;
    let Read { access, ends, refresh } = crate::json::parse_as(plain).ok()?;
    Some(AccountTokens { access: Secret::new(access), access_ends: ends, refresh: refresh.map(Secret::new) })
}

#[cfg(test)]
mod tests {
    use super::super::settings::ConnectionSettings;
    use super::*;
    use crate::tools::SharedSecret;

    fn key(text: &str) -> Result<ConnectionKey, StoreError> {
        let mut settings = ConnectionSettings::in_directory(std::path::Path::new("/nowhere"));
        settings.key = Some(SharedSecret::Given(Secret::new(text.to_owned())));
        ConnectionKey::read(&settings)
    }

    fn name(holder: &str, server: &str, issuer: &str, target: &str) -> AccountName {
        let [holder, server, issuer, target] = [holder, server, issuer, target].map(str::to_owned);
        AccountName { holder, server, issuer, target }
    }

    fn tokens() -> AccountTokens {
        let secret = |text: &str| Secret::new(text.to_owned());
        AccountTokens { access: secret("hunter2"), access_ends: 7, refresh: Some(secret("swordfish")) }
    }

    #[test]
    fn a_row_opens_under_its_own_names_and_key_only() {
        let own = key(&"0a".repeat(32)).unwrap();
        let ann = name("ann", "crm", "https://a", "https://crm");
        let sealed = own.close(&ann, &tokens()).unwrap();
        for secret in ["hunter2", "swordfish"] {
            assert!(!sealed.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
        let opened = own.open(&ann, &sealed).unwrap().tokens;
        assert_eq!((opened.access.expose().as_str(), opened.access_ends), ("hunter2", 7));
        assert_eq!(opened.refresh.unwrap().expose(), "swordfish");
        for other in [
            name("bob", "crm", "https://a", "https://crm"),
            name("ann", "crm2", "https://a", "https://crm"),
            name("ann", "crm", "https://b", "https://crm"),
            name("ann", "crm", "https://a", "https://other"),
            name("ann", "crm", "https://a", ""),
            // The same letters, divided otherwise.
            name("an", "ncrm", "https://a", "https://crm"),
        ] {
            assert!(own.open(&other, &sealed).is_none(), "{other:?}");
        }
        assert!(key(&"0b".repeat(32)).unwrap().open(&ann, &sealed).is_none());
        for place in [0, NONCE_LEN, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(own.open(&ann, &changed).is_none(), "{place}");
        }
        assert!(own.open(&ann, &sealed[..NONCE_LEN - 1]).is_none());
        assert_ne!(own.close(&ann, &tokens()).unwrap(), sealed);
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let ann = name("ann", "crm", "https://a", "https://crm");
        let (old, new) = ("0a".repeat(32), "0b".repeat(32));
        let sealed = key(&old).unwrap().close(&ann, &tokens()).unwrap();
        assert!(key(&new).unwrap().open(&ann, &sealed).is_none());
        let both = key(&format!("{new}\n\n{old}\n")).unwrap();
        assert!(!both.open(&ann, &sealed).unwrap().is_current);
        let sealed = both.close(&ann, &tokens()).unwrap();
        assert!(both.open(&ann, &sealed).unwrap().is_current);
        assert!(key(&new).unwrap().open(&ann, &sealed).is_some());
    }

    #[test]
    fn a_key_is_thirty_two_bytes_in_hexadecimal() {
        let second_is_none = format!("{}\nsecret", "0a".repeat(32));
        let bad = ["0a".repeat(31), "0a".repeat(33), "x".repeat(64), "secret".to_owned(), second_is_none];
        for bad in bad {
            assert!(matches!(key(&bad), Err(StoreError::KeyForm)), "{bad}");
        }
        let none = ConnectionSettings::in_directory(std::path::Path::new("/nowhere"));
        let message = ConnectionKey::read(&none).map(drop).unwrap_err().to_string();
        assert!(message.contains("connection_key_file"), "{message}");
    }
}
