//! Accounts that are being connected: each begun by a principal, for one server, for ten minutes and for once.
//!
//! The attack: one begins a connection, and talks another person into finishing it, who then gives the first one access to an
//! account of hers (MCP 2025-11-25, "Phishing" of URL mode elicitation). So no browser is sent to the authorization server before
//! it has been proven to be the one of the principal that began, and none that comes back is heard that has not been sent: a
//! cookie binds both. A browser is proven by a login, or by a program at its side that the principal runs.
//!
//! In memory only: after a restart one begins again. Instants are milliseconds since the Unix epoch.

use std::collections::HashMap;
use std::sync::Arc;
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
    text.is_some_and(|text| bool::from(hash(text).ct_eq(wanted)))
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

/// The browser of a connection that has begun.
enum Browser {
    /// None has come.
    None,
    /// One has come, and brings this cookie; with the code for the program, where there is one.
    Came { cookie: Digest, code: Option<Digest> },
    /// It is that of the principal.
    Proven { cookie: Digest },
}

struct Begun {
    id: Secret<String>,
    subject: Arc<Subject>,
    server: ServerName,
    program: Option<ConnectingProgram>,
    browser: Browser,
    ends: i64,
}

/// A browser that was sent to the authorization server.
pub(super) struct Sent {
    pub(super) subject: Arc<Subject>,
    pub(super) server: ServerName,
    cookie: Digest,
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
    pub(super) subject: Arc<Subject>,
    pub(super) server: ServerName,
    cookie: Digest,
    ends: i64,
}

impl Ready {
    pub(super) fn sent(self, verifier: Secret<String>, issuer: String, says_issuer: bool) -> Sent {
        let Self { subject, server, cookie, ends } = self;
        Sent { subject, server, cookie, verifier, issuer, says_issuer, ends }
    }
}

/// What a browser that opens the link needs next.
pub enum LinkOpened {
    /// It has been proven, and can be sent to the authorization server.
    Proven,
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
    },
}

#[derive(Default)]
struct UnderWay {
    begun: HashMap<Digest, Begun>,
    sent: HashMap<Digest, Sent>,
}

impl UnderWay {
    fn forget_old(&mut self, now: i64) {
        self.begun.retain(|_, begun| begun.ends > now);
        self.sent.retain(|_, sent| sent.ends > now);
    }

    /// Makes room for one more of this principal.
    fn make_room(&mut self, principal: &EntityUid) -> Result<(), ConnectionError> {
        let begun = self.begun.iter().map(|(key, begun)| (begun.ends, *key, &begun.subject));
        let sent = self.sent.iter().map(|(key, sent)| (sent.ends, *key, &sent.subject));
        let mut own: Vec<(i64, Digest)> = begun
            .chain(sent)
            .filter(|(_, _, subject)| subject.principal() == principal)
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
            begun.subject.principal() == subject.principal()
                && begun.server == *server
                && begun.program == program
                && matches!(begun.browser, Browser::None)
        });
        if let Some(begun) = unopened {
            return Ok((Secret::new(begun.id.expose().clone()), begun.ends));
        }
        under_way.make_room(subject.principal())?;
        let id = random()?;
        let ends = now.saturating_add(i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX));
        let begun = Begun {
            id: Secret::new(id.expose().clone()),
            subject: Arc::clone(subject),
            server: server.clone(),
            program,
            browser: Browser::None,
            ends,
        };
        under_way.begun.insert(hash(id.expose()), begun);
        Ok((id, ends))
    }

    /// A browser opens the link. Until one is proven, each that comes takes the place of the one before: a program that looks at
    /// links must not keep the person out.
    pub(super) fn open(
        &self,
        (server, id): (&ServerName, &str),
        cookie: Option<&str>,
        now: i64,
    ) -> Result<LinkOpened, ConnectionError> {
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let begun = under_way.begun.get_mut(&hash(id)).filter(|begun| begun.server == *server);
        let begun = begun.ok_or(ConnectionError::Refused("unknown_link"))?;
        if let Browser::Proven { cookie: wanted } = &begun.browser {
            let fits = is(cookie, wanted);
            return if fits {
                Ok(LinkOpened::Proven)
            } else {
                Err(ConnectionError::Refused("wrong_browser"))
            };
        }
        let cookie = random()?;
        let principal = begun.subject.principal().clone();
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
        let code = Some(hash(code.expose()));
        begun.browser = Browser::Came { cookie: hash(cookie.expose()), code };
        Ok(LinkOpened::Program { cookie, principal, address })
    }

    /// The person in this browser has logged in as `subject`. With anyone but the principal that began, it is over.
    pub(super) fn prove(
        &self,
        (server, id): (&ServerName, &str),
        cookie: Option<&str>,
        subject: &Subject,
        now: i64,
    ) -> Result<(), ConnectionError> {
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let key = hash(id);
        let begun = under_way.begun.get_mut(&key).filter(|begun| begun.server == *server);
        let begun = begun.ok_or(ConnectionError::Refused("unknown_link"))?;
        let wanted = match &begun.browser {
            Browser::Came { cookie, .. } | Browser::Proven { cookie } => *cookie,
            Browser::None => return Err(ConnectionError::Refused("wrong_browser")),
        };
        if !is(cookie, &wanted) {
            return Err(ConnectionError::Refused("wrong_browser"));
        }
        if !is_same(&begun.subject, subject) {
            under_way.begun.remove(&key);
            return Err(ConnectionError::Refused("wrong_person"));
        }
        begun.browser = Browser::Proven { cookie: wanted };
        Ok(())
    }

    /// The program of `subject` brings the code that its browser was given. Gives the secret part of the link, to which that
    /// browser goes next.
    pub(super) fn confirm(
        &self,
        (server, code): (&ServerName, &str),
        subject: &Subject,
        now: i64,
    ) -> Result<Secret<String>, ConnectionError> {
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let has_code = |begun: &Begun| matches!(&begun.browser, Browser::Came { code: Some(wanted), .. } if is(Some(code), wanted));
        let found = under_way.begun.iter_mut().find(|(_, begun)| begun.server == *server && has_code(begun));
        let (key, begun) = found.ok_or(ConnectionError::Refused("unknown_code"))?;
        if !is_same(&begun.subject, subject) {
            let key = *key;
            under_way.begun.remove(&key);
            return Err(ConnectionError::Refused("wrong_person"));
        }
        if let Browser::Came { cookie, .. } = &begun.browser {
            begun.browser = Browser::Proven { cookie: *cookie };
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
        let mut under_way = self.0.lock();
        under_way.forget_old(now);
        let key = hash(id);
        let begun = under_way.begun.get(&key).filter(|begun| begun.server == *server);
        let begun = begun.ok_or(ConnectionError::Refused("unknown_link"))?;
        let Browser::Proven { cookie: wanted } = begun.browser else {
            return Err(ConnectionError::Refused("not_proven"));
        };
        if !is(cookie, &wanted) {
            return Err(ConnectionError::Refused("wrong_browser"));
        }
        let begun = under_way.begun.remove(&key).ok_or(ConnectionError::Refused("unknown_link"))?;
        Ok(Ready { subject: begun.subject, server: begun.server, cookie: wanted, ends: begun.ends })
    }

    /// Keeps what a browser was sent with, until it comes back with `state`.
    pub(super) fn keep_sent(&self, state: &str, sent: Sent) {
        self.0.lock().sent.insert(hash(state), sent);
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
        let sent = taken.filter(|sent| sent.ends > now && sent.server == *server);
        let sent = sent.ok_or(ConnectionError::Refused("wrong_state"))?;
        if is(cookie, &sent.cookie) { Ok(sent) } else { Err(ConnectionError::Refused("wrong_browser")) }
    }
}

fn is_same(one: &Subject, other: &Subject) -> bool {
    one.principal() == other.principal() && one.delegation() == other.delegation()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, Proof};

    fn subject(name: &str) -> Arc<Subject> {
        Arc::new(Subject::agent(&AgentId::parse(name).unwrap(), Proof::Internal))
    }

    fn server(name: &str) -> ServerName {
        ServerName::parse(name).unwrap()
    }

    fn refused<T>(outcome: Result<T, ConnectionError>) -> &'static str {
        match outcome {
            Err(ConnectionError::Refused(why)) => why,
            Err(error) => panic!("{error}"),
            Ok(_) => "accepted",
        }
    }

    fn cookie_of(opened: LinkOpened) -> String {
        match opened {
            LinkOpened::Login { cookie, .. } | LinkOpened::Program { cookie, .. } => cookie.expose().clone(),
            LinkOpened::Proven => panic!("no browser has been proven"),
        }
    }

    #[test]
    fn only_the_browser_of_who_began_is_sent_and_heard_again_and_once() {
        let (flows, crm, ann) = (Flows::default(), server("crm"), subject("ann"));
        let (id, _) = flows.begin(&ann, &crm, None, 0).unwrap();
        let link = (&crm, id.expose().as_str());
        assert_eq!(refused(flows.open((&server("other"), link.1), None, 1)), "unknown_link");
        let earlier = cookie_of(flows.open(link, None, 1).unwrap());
        let cookie = cookie_of(flows.open(link, None, 1).unwrap());
        assert_eq!(refused(flows.prove(link, Some(&earlier), &ann, 1)), "wrong_browser");
        assert_eq!(refused(flows.take_proven(link, Some(&cookie), 1)), "not_proven");
        flows.prove(link, Some(&cookie), &ann, 1).unwrap();
        assert_eq!(refused(flows.open(link, None, 1)), "wrong_browser");
        assert_eq!(refused(flows.take_proven(link, Some(&earlier), 1)), "wrong_browser");
        let ready = flows.take_proven(link, Some(&cookie), 1).unwrap();
        assert_eq!(refused(flows.open(link, Some(&cookie), 1)), "unknown_link");
        let sent = || {
            let verifier = Secret::new("v".to_owned());
            let ready = Ready { subject: ann.clone(), server: crm.clone(), cookie: ready.cookie, ends: 100 };
            ready.sent(verifier, "https://a".to_owned(), true)
        };
        let states = [
            ("s1", &crm, Some(cookie.as_str()), 1, "accepted"),
            ("s2", &server("other"), Some(cookie.as_str()), 1, "wrong_state"),
            ("s3", &crm, Some(earlier.as_str()), 1, "wrong_browser"),
            ("s4", &crm, None, 1, "wrong_browser"),
            ("s5", &crm, Some(cookie.as_str()), 100, "wrong_state"),
        ];
        for (state, at, cookie, now, expected) in states {
            flows.keep_sent(state, sent());
            assert_eq!(refused(flows.take_sent(at, state, cookie, now)), expected, "{state}");
            assert_eq!(refused(flows.take_sent(at, state, cookie, now)), "wrong_state", "{state}: once");
        }
    }

    /// The attack: a link that another person opens, or another's program confirms.
    #[test]
    fn a_link_is_over_when_anyone_else_is_in_the_browser() {
        let (flows, crm, ann, bob) = (Flows::default(), server("crm"), subject("ann"), subject("bob"));
        let (id, _) = flows.begin(&ann, &crm, None, 0).unwrap();
        let cookie = cookie_of(flows.open((&crm, id.expose()), None, 0).unwrap());
        assert_eq!(refused(flows.prove((&crm, id.expose()), Some(&cookie), &bob, 0)), "wrong_person");
        assert_eq!(refused(flows.prove((&crm, id.expose()), Some(&cookie), &ann, 0)), "unknown_link");

        let program = ConnectingProgram::new(4_000, "s".repeat(16)).unwrap();
        let code = |flows: &Flows, id: &Secret<String>| {
            let LinkOpened::Program { address, .. } = flows.open((&crm, id.expose()), None, 0).unwrap()
            else {
                panic!("a program is waiting")
            };
            let rest = address.expose().split_once("code=").unwrap().1.to_owned();
            rest.split_once('&').unwrap().0.to_owned()
        };
        let (id, _) = flows.begin(&ann, &crm, Some(program.clone()), 0).unwrap();
        let first = code(&flows, &id);
        assert_eq!(refused(flows.confirm((&crm, &first), &bob, 0)), "wrong_person");
        assert_eq!(refused(flows.confirm((&crm, &first), &ann, 0)), "unknown_code");
        let (id, _) = flows.begin(&ann, &crm, Some(program), 0).unwrap();
        let second = code(&flows, &id);
        assert_eq!(flows.confirm((&crm, &second), &ann, 0).unwrap().expose(), id.expose());
        assert_eq!(refused(flows.confirm((&crm, &second), &ann, 0)), "unknown_code", "once");
    }

    #[test]
    fn who_begins_many_takes_no_places_of_others() {
        let (flows, ann) = (Flows::default(), subject("ann"));
        let names: Vec<ServerName> = (0..=MOST_OF_PRINCIPAL).map(|n| server(&format!("s{n}"))).collect();
        let begin = |name: &ServerName, now| flows.begin(&ann, name, None, now).unwrap().0.expose().clone();
        let bob = flows.begin(&subject("bob"), &names[0], None, 0).unwrap().0;
        let ids: Vec<String> = (0_i64..).zip(&names).map(|(now, name)| begin(name, now)).collect();
        assert_eq!(refused(flows.open((&names[0], &ids[0]), None, 10)), "unknown_link", "the oldest");
        assert_eq!(begin(&names[1], 10), ids[1], "no browser has opened it");
        assert!(flows.open((&names[0], bob.expose()), None, 10).is_ok());
        let over = i64::try_from(LIFE.as_millis()).unwrap() + 10;
        assert_eq!(refused(flows.open((&names[5], &ids[5]), None, over)), "unknown_link");
    }

    #[test]
    fn a_program_names_a_port_and_nothing_else() {
        for (port, state) in [(80, "s".repeat(16)), (4_000, "short".to_owned()), (4_000, "s&x=y".repeat(4))] {
            assert!(ConnectingProgram::new(port, state.clone()).is_err(), "{port} {state}");
        }
    }
}
