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
        LinkOpened::Proven | LinkOpened::Asked(_) => panic!("no browser has been proven"),
    }
}

#[test]
fn only_the_browser_of_who_began_is_sent_and_heard_again_and_once() {
    let (flows, crm, ann) = (Flows::default(), server("crm"), subject("ann"));
    let (id, _) = flows.begin(&ann, &crm, None, 0).unwrap();
    let link = (&crm, id.expose().as_str());
    assert_eq!(refused(flows.open((&server("other"), link.1), (None, None), 1)), "unknown_link");
    let earlier = cookie_of(flows.open(link, (None, None), 1).unwrap());
    let cookie = cookie_of(flows.open(link, (None, None), 1).unwrap());
    assert_eq!(refused(flows.prove(link, Some(&earlier), &ann, 1)), "wrong_browser");
    assert_eq!(refused(flows.take_proven(link, Some(&cookie), 1)), "not_proven");
    let page = flows.prove(link, Some(&cookie), &ann, 1).unwrap();
    assert_eq!(refused(flows.open(link, (None, None), 1)), "wrong_browser");
    assert_eq!(refused(flows.take_proven(link, Some(&earlier), 1)), "wrong_browser");
    // The attack: a page that sends this browser to the link again leads to the page that asks, and its own link changes.
    for go in [None, Some("x"), Some("")] {
        let opened = flows.open(link, (Some(&cookie), go), 1).unwrap();
        assert!(matches!(opened, LinkOpened::Asked(_)), "{go:?}");
    }
    let opened = flows.open(link, (Some(&cookie), Some(page.go.expose())), 1).unwrap();
    let LinkOpened::Asked(page) = opened else { panic!("the page is an older one") };
    let opened = flows.open(link, (Some(&cookie), Some(page.go.expose())), 1).unwrap();
    assert!(matches!(opened, LinkOpened::Proven));
    let ready = flows.take_proven(link, Some(&cookie), 1).unwrap();
    assert_eq!(refused(flows.open(link, (Some(&cookie), None), 1)), "unknown_link");
    let sent = || {
        let verifier = Secret::new("v".to_owned());
        let ongoing = Arc::clone(&ready.ongoing);
        let ready = Ready { ongoing, cookie: ready.cookie, link: None, ends: 100 };
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
        flows.keep_sent(state, sent()).unwrap();
        assert_eq!(refused(flows.take_sent(at, state, cookie, now)), expected, "{state}");
        assert_eq!(refused(flows.take_sent(at, state, cookie, now)), "wrong_state", "{state}: once");
    }
}

/// The attack: a link that another person opens, or another's program confirms.
#[test]
fn a_link_is_over_when_anyone_else_is_in_the_browser() {
    let (flows, crm, ann, bob) = (Flows::default(), server("crm"), subject("ann"), subject("bob"));
    let (id, _) = flows.begin(&ann, &crm, None, 0).unwrap();
    let cookie = cookie_of(flows.open((&crm, id.expose()), (None, None), 0).unwrap());
    assert_eq!(refused(flows.prove((&crm, id.expose()), Some(&cookie), &bob, 0)), "wrong_person");
    assert_eq!(refused(flows.prove((&crm, id.expose()), Some(&cookie), &ann, 0)), "unknown_link");

    let program = ConnectingProgram::new(4_000, "s".repeat(16)).unwrap();
    let code = |flows: &Flows, id: &Secret<String>| {
        let LinkOpened::Program { address, number, .. } =
            flows.open((&crm, id.expose()), (None, None), 0).unwrap()
        else {
            panic!("a program is waiting")
        };
        let rest = address.expose().split_once("code=").unwrap().1.to_owned();
        let code = rest.split_once('&').unwrap().0.to_owned();
        assert_eq!((number.len(), &number), (6, &check_number(&code)));
        code
    };
    let (id, _) = flows.begin(&ann, &crm, Some(program.clone()), 0).unwrap();
    let first = code(&flows, &id);
    assert_eq!(refused(flows.confirm((&crm, &first), &bob, 0)), "wrong_person");
    assert_eq!(refused(flows.confirm((&crm, &first), &ann, 0)), "unknown_code");
    let (id, _) = flows.begin(&ann, &crm, Some(program), 0).unwrap();
    let second = code(&flows, &id);
    assert_eq!(flows.confirm((&crm, &second), &ann, 0).unwrap().expose(), id.expose());
    assert_eq!(refused(flows.confirm((&crm, &second), &ann, 0)), "unknown_code", "once");
    // The attack: another browser has the link of a browser that was confirmed, before or after it was sent on.
    assert_eq!(refused(flows.open((&crm, id.expose()), (Some("x"), None), 0)), "wrong_browser");
    assert_eq!(refused(flows.open((&crm, id.expose()), (Some("x"), None), 0)), "unknown_link", "it is over");
}

#[test]
fn another_browser_with_a_programs_link_ends_what_was_sent() {
    let (flows, crm, ann) = (Flows::default(), server("crm"), subject("ann"));
    for (stranger, expected) in [(false, "accepted"), (true, "wrong_state")] {
        let program = ConnectingProgram::new(4_000, "s".repeat(16)).unwrap();
        let (id, _) = flows.begin(&ann, &crm, Some(program), 0).unwrap();
        let link = (&crm, id.expose().as_str());
        let opened = flows.open(link, (None, None), 0).unwrap();
        let LinkOpened::Program { cookie, address, .. } = opened else { panic!("a program is waiting") };
        let (_, rest) = address.expose().split_once("code=").unwrap();
        flows.confirm((&crm, rest.split_once('&').unwrap().0), &ann, 0).unwrap();
        let cookie = Some(cookie.expose().as_str());
        let ready = flows.take_proven(link, cookie, 0).unwrap();
        let sent = ready.sent(Secret::new("v".to_owned()), "https://a".to_owned(), true);
        flows.keep_sent("state", sent).unwrap();
        let cookie_of_it = if stranger { Some("x") } else { cookie };
        assert_eq!(refused(flows.open(link, (cookie_of_it, None), 0)), "unknown_link");
        assert_eq!(refused(flows.take_sent(&crm, "state", cookie, 0)), expected);
    }
}

/// The attack: a connection is ended, or a key revoked, and what was under way brings it back.
#[test]
fn what_is_forgotten_comes_to_nothing_wherever_it_is() {
    let (flows, crm, ann) = (Flows::default(), server("crm"), subject("ann"));
    let begin = || flows.begin(&ann, &crm, None, 0).unwrap().0.expose().clone();
    let proven = || {
        let id = begin();
        let cookie = cookie_of(flows.open((&crm, &id), (None, None), 0).unwrap());
        flows.prove((&crm, &id), Some(&cookie), &ann, 0).unwrap();
        let ready = flows.take_proven((&crm, &id), Some(&cookie), 0).unwrap();
        (ready.sent(Secret::new("v".to_owned()), "https://a".to_owned(), true), cookie)
    };
    let of_ann = |ongoing: &Ongoing| ongoing.subject().principal() == ann.principal();
    let id = begin();
    let (waiting, cookie) = proven();
    let (asked, _) = proven();
    flows.keep_sent("waiting", waiting).unwrap();
    let bob = flows.begin(&subject("bob"), &crm, None, 0).unwrap().0;
    flows.forget(of_ann);
    assert_eq!(refused(flows.open((&crm, &id), (None, None), 0)), "unknown_link");
    assert_eq!(refused(flows.take_sent(&crm, "waiting", Some(&cookie), 0)), "wrong_state");
    assert_eq!(refused(flows.keep_sent("asked", asked)), "was_ended");
    assert!(flows.open((&crm, bob.expose()), (None, None), 0).is_ok());
}

#[test]
fn a_secret_that_is_longer_than_any_is_not_looked_for() {
    let (flows, crm, ann) = (Flows::default(), server("crm"), subject("ann"));
    let long = "x".repeat(1 << 20);
    assert_eq!(refused(flows.confirm((&crm, &long), &ann, 0)), "unknown_code");
    assert_eq!(refused(flows.open((&crm, &long), (None, None), 0)), "unknown_link");
}

#[test]
fn who_begins_many_takes_no_places_of_others() {
    let (flows, ann) = (Flows::default(), subject("ann"));
    let names: Vec<ServerName> = (0..=MOST_OF_PRINCIPAL).map(|n| server(&format!("s{n}"))).collect();
    let begin = |name: &ServerName, now| flows.begin(&ann, name, None, now).unwrap().0.expose().clone();
    let bob = flows.begin(&subject("bob"), &names[0], None, 0).unwrap().0;
    let ids: Vec<String> = (0_i64..).zip(&names).map(|(now, name)| begin(name, now)).collect();
    assert_eq!(refused(flows.open((&names[0], &ids[0]), (None, None), 10)), "unknown_link", "the oldest");
    assert_eq!(begin(&names[1], 10), ids[1], "no browser has opened it");
    assert!(flows.open((&names[0], bob.expose()), (None, None), 10).is_ok());
    let over = i64::try_from(LIFE.as_millis()).unwrap() + 10;
    assert_eq!(refused(flows.open((&names[5], &ids[5]), (None, None), over)), "unknown_link");
}

#[test]
fn a_program_names_a_port_and_nothing_else() {
    for (port, state) in [(80, "s".repeat(16)), (4_000, "short".to_owned()), (4_000, "s&x=y".repeat(4))] {
        assert!(ConnectingProgram::new(port, state.clone()).is_err(), "{port} {state}");
    }
}
