//! Logins that wait for the person to come back: each under the digest of a secret, usable once, for a limited time, and
//! bounded in number.
//!
//! Every caller may begin a login, so the number is bounded, in all and for one address: an address that begins many blocks
//! no other. Waiting logins are in memory only; a restart means to log in again.

use std::collections::HashMap;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

use crate::authn::AuthnError;
use crate::secret::Secret;

/// 256 random bits as text.
pub(super) fn random() -> Result<Secret<String>, AuthnError> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AuthnError::Random)?;
    let text = Secret::new(URL_SAFE_NO_PAD.encode(bytes));
    zeroize::Zeroize::zeroize(&mut bytes);
    Ok(text)
}

/// SHA-256; what a secret is looked up and compared by, so that how long that takes says nothing about it.
pub(super) fn hash(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

/// There are too many, in all or of this address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyWaiting;

struct WaitingEntry<T> {
    value: T,
    from: IpAddr,
    ends: i64,
}

/// Things that wait, by the digest of their secret.
pub(super) struct WaitingLogins<T> {
    entries: Mutex<HashMap<[u8; 32], WaitingEntry<T>>>,
    most: usize,
    most_of_address: usize,
}

impl<T> WaitingLogins<T> {
    pub(super) fn new(most: usize, most_of_address: usize) -> Self {
        Self { entries: Mutex::default(), most, most_of_address }
    }

    /// Keeps `value` until `ends`; instants are milliseconds since the Unix epoch.
    pub(super) fn put(
        &self,
        secret: &str,
        value: T,
        from: IpAddr,
        (now, ends): (i64, i64),
    ) -> Result<(), TooManyWaiting> {
        let from = network(from);
        let mut entries = self.entries.lock();
        entries.retain(|_, entry| entry.ends > now);
        let of_address = entries.values().filter(|entry| entry.from == from).count();
        if entries.len() >= self.most || of_address >= self.most_of_address {
            return Err(TooManyWaiting);
        }
        entries.insert(hash(secret), WaitingEntry { value, from, ends });
        Ok(())
    }

    /// Removes and returns the entry of the secret.
    pub(super) fn take(&self, secret: &str, now: i64) -> Option<T> {
        let entry = self.entries.lock().remove(&hash(secret))?;
        (entry.ends > now).then_some(entry.value)
    }

    /// Looks at what waits, and changes it.
    pub(super) fn with<R>(&self, secret: &str, now: i64, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&hash(secret)).filter(|entry| entry.ends > now)?;
        Some(act(&mut entry.value))
    }
}

/// One line of a customer is a /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << 64)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn each_waits_once_and_for_a_while() {
        let waiting = WaitingLogins::new(10, 10);
        waiting.put("a", 1, HERE, (0, 100)).unwrap();
        assert_eq!(waiting.with("a", 99, |value| *value), Some(1));
        assert_eq!(waiting.take("a", 99), Some(1));
        assert_eq!(waiting.take("a", 99), None, "once");
        waiting.put("b", 2, HERE, (0, 100)).unwrap();
        assert_eq!(waiting.with("b", 100, |value| *value), None, "over");
        assert_eq!(waiting.take("b", 100), None, "over");
    }

    #[test]
    fn one_address_does_not_take_the_places_of_others() {
        let waiting = WaitingLogins::new(3, 2);
        let v6 = |text: &str| text.parse().unwrap();
        waiting.put("a", (), v6("2001:db8::1"), (0, 100)).unwrap();
        waiting.put("b", (), v6("2001:db8::2"), (0, 100)).unwrap();
        assert_eq!(waiting.put("c", (), v6("2001:db8::3"), (0, 100)), Err(TooManyWaiting), "the same line");
        waiting.put("c", (), v6("2001:db8:0:1::1"), (0, 100)).unwrap();
        assert_eq!(waiting.put("d", (), HERE, (0, 100)), Err(TooManyWaiting), "too many in all");
        waiting.put("d", (), HERE, (100, 200)).unwrap();
    }
}
