//! Accounts that are being connected: each begun by a principal, for one server, for ten minutes and for once.
//!
//! The attack: one begins a connection, and talks another person into finishing it, who then gives the first one access to an
//! account of hers (MCP 2025-11-25, "Phishing" of URL mode elicitation). So no browser is sent to the authorization server before
//! it has been proven to be the one of the principal that began, and none that comes back is heard that has not been sent: a
//! cookie binds both. A browser is proven by a login, or by a program at its side that the principal runs.
//!
//! INVARIANT: [`Flows::forget`] ends a connection under way wherever it is, also while the authorization server is being asked.
//!
//! In memory only: after a restart one begins again. Instants are milliseconds since the Unix epoch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

use super::error::{ConnectionError, StoreError};
use crate::model::{EntityUid, ServerName, Subject};
use crate::secret::Secret;

/// How long a principal has, from beginning to end.
pub(super) const LIFE: Duration = Duration::from_secs(600);
/// The most that are under way.
const MOST: usize = 1_000;
/// The most of one principal; the oldest makes room.
const MOST_OF_PRINCIPAL: usize = 5;
/// Bytes of what [`random`] makes, and a few more. Anything longer is not hashed.
const LONGEST_SECRET: usize = 64;

type Digest = [u8; 32];

/// 256 random bits as text.
pub(super) fn random() -> Result<Secret<String>, StoreError> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StoreError::Random)?;
    let text = Secret::new(URL_SAFE_NO_PAD.encode(bytes));
    zeroize::Zeroize::zeroize(&mut bytes);
    Ok(text)
}

/// SHA-256; what a secret is looked up and compared by.
pub(super) fn hash(text: &str) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

fn is(text: Option<&str>, wanted: &Digest) -> bool {
    let text = text.filter(|text| text.len() <= LONGEST_SECRET);
    text.is_some_and(|text| bool::from(hash(text).ct_eq(wanted)))
}

/// What the secret part of a link is looked up by.
fn key_of(id: &str) -> Result<Digest, ConnectionError> {
    if id.len() > LONGEST_SECRET {
        return Err(ConnectionError::Refused("unknown_link"));
    }
    Ok(hash(id))
}

/// Six digits that the page of a browser shows, and that its person types into the program that got this code. With another
/// browser's code come other digits.
pub fn check_number(code: &str) -> String {
    let [first, second, third, ..] = hash(code);
    format!("{:06}", u32::from_be_bytes([0, first, second, third]) % 1_000_000)
}

/// A program on the browser's computer that listens on a port of it (RFC 8252, section 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectingProgram {
    port: u16,
    state: String,
}

impl ConnectingProgram {
    /// A program's wishes, checked. There is no address in them, so that no browser can be sent anywhere else. By `state` the
    /// program recognises what it began itself.
    pub fn new(port: u16, state: String) -> Result<Self, ConnectionError> {
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if port < 1024 {
            return Err(ConnectionError::Parameter("port"));
        }
        if !(16..=128).contains(&state.len()) || !word(&state) {
            return Err(ConnectionError::Parameter("state"));
        }
        Ok(Self { port, state })
    }
}

/// A connection from its beginning to its end, wherever it is meanwhile.
pub(super) struct Ongoing {
    subject: Arc<Subject>,
    server: ServerName,
    is_over: AtomicBool,
}

impl Ongoing {
    pub(super) fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    pub(super) fn server(&self) -> &ServerName {
        &self.server
    }

    /// Whether it was ended meanwhile: it is not to come to anything.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

/// The browser of a connection that has begun.
enum Browser {
    /// None has come.
    None,
    /// One has come, and brings this cookie; with the code for the program, where there is one.
    Came { cookie: Digest, code: Option<Digest> },
    /// It is that of the principal. After a login its person has to go on by the link of a page that says what is being
    /// connected for whom; only that page has `go`.
    Proven { cookie: Digest, go: Option<Digest> },
}

struct Begun {
    id: Secret<String>,
    ongoing: Arc<Ongoing>,
    program: Option<ConnectingProgram>,
    browser: Browser,
    ends: i64,
}

/// A browser that was sent to the authorization server.
pub(super) struct Sent {
    pub(super) ongoing: Arc<Ongoing>,
    cookie: Digest,
    /// The link of a program's connection: another browser that opens it ends the connection.
    link: Option<Digest>,
    /// The proof of possession of the code (RFC 7636).
    pub(super) verifier: Secret<String>,
    /// The authorization server as it names itself.
    pub(super) issuer: String,
    /// Whether its answer must say whose it is (RFC 9207).
    pub(super) says_issuer: bool,
    ends: i64,
}

/// A browser that has been proven and may be sent.
pub(super) struct Ready {
    ongoing: Arc<Ongoing>,
    cookie: Digest,
    link: Option<Digest>,
    ends: i64,
}

impl Ready {
    pub(super) fn sent(self, verifier: Secret<String>, issuer: String, says_issuer: bool) -> Sent {
        let Self { ongoing, cookie, link, ends } = self;
        Sent { ongoing, cookie, link, verifier, issuer, says_issuer, ends }
    }
}

/// What a browser that opens the link needs next.
pub enum LinkOpened {
    /// It has been proven, and can be sent to the authorization server.
    Proven,
    /// Its person has logged in, and has not said yet that an account is to be connected.
    Asked(LoggedInBrowser),
    /// It has to be proven that it is the browser of this principal: by a login.
    Login {
        /// What the browser brings back.
        cookie: Secret<String>,
        /// Who has to log in.
        principal: EntityUid,
    },
    /// The same, by a program on the browser's computer.
    Program {
        /// What the browser brings back.
        cookie: Secret<String>,
        /// Who began.
        principal: EntityUid,
        /// The loopback address of the program, with a code for once.
        address: Secret<String>,
        /// The digits that the person types into the program.
        number: String,
    },
}

/// A browser in which the principal has logged in.
pub struct LoggedInBrowser {
    /// Who has logged in, and for whom the account will be used.
    pub principal: EntityUid,
    /// What the link of the page has beside the link that was opened, so that no other page leads on.
    pub go: Secret<String>,
}

#[derive(Default)]
struct UnderWay {
    begun: HashMap<Digest, Begun>,
    sent: HashMap<Digest, Sent>,
    /// All of them, those for which the authorization server is being asked among them.
    ongoing: Vec<Weak<Ongoing>>,
}

impl UnderWay {
    fn forget_old(&mut self, now: i64) {
        self.begun.retain(|_, begun| begun.ends > now);
        self.sent.retain(|_, sent| sent.ends > now);
        self.ongoing.retain(|ongoing| ongoing.strong_count() > 0);
    }

    fn forget_over(&mut self) {
        self.begun.retain(|_, begun| !begun.ongoing.is_over());
        self.sent.retain(|_, sent| !sent.ongoing.is_over());
    }

    /// Makes room for one more of this principal.
    fn make_room(&mut self, principal: &EntityUid) -> Result<(), ConnectionError> {
        let begun = self.begun.iter().map(|(key, begun)| (begun.ends, *key, &begun.ongoing));
        let sent = self.sent.iter().map(|(key, sent)| (sent.ends, *key, &sent.ongoing));
        let mut own: Vec<(i64, Digest)> = begun
            .chain(sent)
            .filter(|(_, _, ongoing)| ongoing.subject.principal() == principal)
            .map(|(ends, key, _)| (ends, key))
            .collect();
        own.sort_unstable();
        let too_many = (own.len() + 1).saturating_sub(MOST_OF_PRINCIPAL);
        for (_, key) in own.into_iter().take(too_many) {
            self.begun.remove(&key);
            self.sent.remove(&key);
        }
        if self.begun.len() + self.sent.len() >= MOST { Err(ConnectionError::Busy) } else { Ok(()) }
    }

    /// The connection of this link, if it has begun and its browser was not sent away yet.
    fn begun_by(&mut self, server: &ServerName, key: &Digest) -> Result<&mut Begun, ConnectionError> {
        let begun = self.begun.get_mut(key).filter(|begun| begun.ongoing.server == *server);
        begun.ok_or(ConnectionError::Refused("unknown_link"))
    }

    /// Ends the connection of a program whose link another browser has than the one that was sent to the authorization server.
    fn end_sent_with(&mut self, link: &Digest, cookie: Option<&str>) {
        self.sent.retain(|_, sent| sent.link.as_ref() != Some(link) || is(cookie, &sent.cookie));
    }
}

/// What is under way.
#[derive(Default)]
pub(super) struct Flows(Mutex<UnderWay>);

impl Flows {
    /// Begins, or gives again what the principal has begun for this server and no browser has opened. Gives the secret part of
    /// the link, and its end.
    pub(super) fn begin(
        &self,
        subject: &Arc<Subject>,
        server: &ServerName,
        program: Option<ConnectingProgram>,
        now: i64,
    ) -> Result<(Secret<String>, i64), ConnectionError> {
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let unopened = under_way.begun.values().find(|begun| {
            begun.ongoing.subject.principal() == subject.principal()
                && begun.ongoing.server == *server
                && begun.program == program
                && matches!(begun.browser, Browser::None)
        });
        if let Some(begun) = unopened {
            return Ok((Secret::new(begun.id.expose().clone()), begun.ends));
        }
        under_way.make_room(subject.principal())?;
        let id = random()?;
        let ends = now.saturating_add(i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX));
        let ongoing = Arc::new(Ongoing {
            subject: Arc::clone(subject),
            server: server.clone(),
            is_over: AtomicBool::new(false),
        });
        under_way.ongoing.push(Arc::downgrade(&ongoing));
        let own = Secret::new(id.expose().clone());
        let begun = Begun { id: own, ongoing, program, browser: Browser::None, ends };
        under_way.begun.insert(hash(id.expose()), begun);
        Ok((id, ends))
    }

    /// Ends what is under way and fits, wherever it is.
    pub(super) fn forget(&self, fits: impl Fn(&Ongoing) -> bool) {
        let mut under_way = self.0.lock();
        let ongoing = under_way.ongoing.iter().filter_map(Weak::upgrade).filter(|ongoing| fits(ongoing));
        ongoing.for_each(|ongoing| ongoing.is_over.store(true, Ordering::SeqCst));
        under_way.forget_over();
    }

    /// A browser opens the link; `go` is what it brings from the page that says what is being connected. Until one is proven,
    /// each that comes takes the place of the one before: a program that looks at links must not keep the person out.
    pub(super) fn open(
        &self,
        (server, id): (&ServerName, &str),
        (cookie, go): (Option<&str>, Option<&str>),
        now: i64,
    ) -> Result<LinkOpened, ConnectionError> {
        let key = key_of(id)?;
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        under_way.end_sent_with(&key, cookie);
        let begun = under_way.begun_by(server, &key)?;
        let principal = begun.ongoing.subject.principal().clone();
        if let Browser::Proven { cookie: wanted, go: page } = &mut begun.browser {
            if !is(cookie, wanted) {
                // Nobody but the program and its browser is to have this link. One that was logged in with may have been sent in
                // a chat, where programs look at links.
                if begun.program.is_some() {
                    under_way.begun.remove(&key);
                }
                return Err(ConnectionError::Refused("wrong_browser"));
            }
            let Some(page) = page.as_mut().filter(|page| !is(go, page)) else {
                return Ok(LinkOpened::Proven);
            };
            let go = random()?;
            *page = hash(go.expose());
            return Ok(LinkOpened::Asked(LoggedInBrowser { principal, go }));
        }
        let cookie = random()?;
        let Some(program) = &begun.program else {
            begun.browser = Browser::Came { cookie: hash(cookie.expose()), code: None };
            return Ok(LinkOpened::Login { cookie, principal });
        };
        let code = random()?;
        let address = Secret::new(format!(
            "http://127.0.0.1:{}/?code={}&state={}",
            program.port,
            code.expose(),
            program.state
        ));
        let number = check_number(code.expose());
        let code = Some(hash(code.expose()));
        begun.browser = Browser::Came { cookie: hash(cookie.expose()), code };
        Ok(LinkOpened::Program { cookie, principal, address, number })
    }

    /// The person in this browser has logged in as `subject`. With anyone but the principal that began, it is over.
    pub(super) fn prove(
        &self,
        (server, id): (&ServerName, &str),
        cookie: Option<&str>,
        subject: &Subject,
        now: i64,
    ) -> Result<LoggedInBrowser, ConnectionError> {
        let key = key_of(id)?;
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let begun = under_way.begun_by(server, &key)?;
        let wanted = match &begun.browser {
            Browser::Came { cookie, .. } | Browser::Proven { cookie, .. } => *cookie,
            Browser::None => return Err(ConnectionError::Refused("wrong_browser")),
        };
        if !is(cookie, &wanted) {
            return Err(ConnectionError::Refused("wrong_browser"));
        }
        if !is_same(&begun.ongoing.subject, subject) {
            under_way.begun.remove(&key);
            return Err(ConnectionError::Refused("wrong_person"));
        }
        let go = random()?;
        begun.browser = Browser::Proven { cookie: wanted, go: Some(hash(go.expose())) };
        Ok(LoggedInBrowser { principal: subject.principal().clone(), go })
    }

    /// The program of `subject` brings the code that its browser was given. Gives the secret part of the link, to which that
    /// browser goes next.
    pub(super) fn confirm(
        &self,
        (server, code): (&ServerName, &str),
        subject: &Subject,
        now: i64,
    ) -> Result<Secret<String>, ConnectionError> {
        if code.len() > LONGEST_SECRET {
            return Err(ConnectionError::Refused("unknown_code"));
        }
        // Once, and before the lock is held: there may be a thousand to compare it with.
        let shown = hash(code);
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let has_code = |begun: &Begun| matches!(&begun.browser, Browser::Came { code: Some(wanted), .. } if bool::from(wanted.ct_eq(&shown)));
        let mut begun = under_way.begun.iter_mut();
        let found = begun.find(|(_, begun)| begun.ongoing.server == *server && has_code(begun));
        let (key, begun) = found.ok_or(ConnectionError::Refused("unknown_code"))?;
        if !is_same(&begun.ongoing.subject, subject) {
            let key = *key;
            under_way.begun.remove(&key);
            return Err(ConnectionError::Refused("wrong_person"));
        }
        if let Browser::Came { cookie, .. } = &begun.browser {
            begun.browser = Browser::Proven { cookie: *cookie, go: None };
        }
        Ok(Secret::new(begun.id.expose().clone()))
    }

    /// Takes what has been proven for this browser: the link counts no more.
    pub(super) fn take_proven(
        &self,
        (server, id): (&ServerName, &str),
        cookie: Option<&str>,
        now: i64,
    ) -> Result<Ready, ConnectionError> {
        let key = key_of(id)?;
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let begun = under_way.begun_by(server, &key)?;
        let Browser::Proven { cookie: wanted, .. } = begun.browser else {
            return Err(ConnectionError::Refused("not_proven"));
        };
        if !is(cookie, &wanted) {
            return Err(ConnectionError::Refused("wrong_browser"));
        }
        let begun = under_way.begun.remove(&key).ok_or(ConnectionError::Refused("unknown_link"))?;
        let link = begun.program.is_some().then_some(key);
        Ok(Ready { ongoing: begun.ongoing, cookie: wanted, link, ends: begun.ends })
    }

    /// Keeps what a browser was sent with, until it comes back with `state`.
    pub(super) fn keep_sent(&self, state: &str, sent: Sent) -> Result<(), ConnectionError> {
        let mut under_way = self.0.lock();
        if sent.ongoing.is_over() {
            return Err(ConnectionError::Refused("was_ended"));
        }
        under_way.sent.insert(hash(state), sent);
        Ok(())
    }

    /// The browser is back. This `state` counts no more, with any outcome.
    pub(super) fn take_sent(
        &self,
        server: &ServerName,
        state: &str,
        cookie: Option<&str>,
        now: i64,
    ) -> Result<Sent, ConnectionError> {
        let taken = self.0.lock().sent.remove(&hash(state));
        // The address of the way back is another for each server, so that the answer of one authorization server is not taken to
        // another, also where it does not say whose it is (RFC 9700, section 4.4.2.2).
        let sent = taken.filter(|sent| sent.ends > now && sent.ongoing.server == *server);
        let sent = sent.ok_or(ConnectionError::Refused("wrong_state"))?;
        if is(cookie, &sent.cookie) { Ok(sent) } else { Err(ConnectionError::Refused("wrong_browser")) }
    }
}

fn is_same(one: &Subject, other: &Subject) -> bool {
    one.principal() == other.principal() && one.delegation() == other.delegation()
}

#[cfg(test)]
mod tests;
