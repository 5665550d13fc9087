//! Attacks on the accounts of callers: a neighbour on the person's computer, a weaker proof, and connections that outlive what they
//! were made with.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, StatusCode, Url};
use serde_json::json;

use crate::connect::{
    LoginProvider, approved_world, bearer, begin, call, call_when_known, code_of, confirm, connect,
    connections, disconnect, refusals, server, service, to_consent, upstream, url_of, world,
};
use crate::mcp::{Reply, Upstream, done, stateless};
use crate::support::accounts::{AccountServer, Browser, Page};
use crate::support::child::{self, Caxton};
use crate::support::oauth::holder_of;
use crate::support::{Credential, World, send, tool, until, write};

/// The id of an API key.
fn id_of(credential: &Credential) -> String {
    let Credential::Key(key) = credential else { panic!("a key") };
    key.strip_prefix("cax_live_").unwrap().split('_').next().unwrap().to_owned()
}

fn needs_account(refused: &serde_json::Value) -> bool {
    refused["_meta"]["caxton/refusal"]["reason"] == "needs_account"
}

/// The loopback address on the page, and the number.
fn handed_over(page: &Page) -> (Url, String) {
    assert_eq!(page.status, 200, "{page:?}");
    let (_, rest) = page.text.split_once("href=\"").unwrap();
    let address = rest.split_once('"').unwrap().0.replace("&amp;", "&");
    let numbers = page.text.split("<code>").filter_map(|part| part.split_once("</code>"));
    let mut numbers = numbers.map(|(text, _)| text).filter(|text| text.len() == 6);
    let number = numbers.find(|text| text.bytes().all(|byte| byte.is_ascii_digit())).unwrap();
    (address.parse().unwrap(), number.to_owned())
}

/// A request to the program as any other program sends it; where it sends on.
async fn knock(address: Url, header: Option<(&'static str, &'static str)>) -> Option<String> {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut request = client.get(address);
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let response = request.send().await.ok()?;
    response.headers().get("location").map(|place| place.to_str().unwrap().to_owned())
}

/// `caxton tools connect up`, by the principal with this key.
fn start(directory: &Path, world: &World, who: &Credential, more: &[&str]) -> Caxton {
    let Credential::Key(key) = who else { panic!("a key") };
    write(&directory.join("own.key"), key);
    let url = world.url("");
    let line = ["tools", "connect", "up", "--url", &url, "--api-key-file", "own.key"];
    Caxton::spawn_talking(directory, &[&line[..], more].concat(), &directory.join("bin"))
}

/// The attack: a neighbour on the computer reads the link, opens it first or last, and goes to the program with the code.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_confirms_no_browser_but_the_one_that_its_person_looks_at() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let directory = tempfile::tempdir().unwrap();
    let mut program = start(directory.path(), &world, &ann, &["--no-browser"]);
    let link = program.hear("/v1/connect/up?flow=").trim().to_owned();
    let (neighbour, own) = (Browser::default(), Browser::default());
    let (theirs, their_number) = handed_over(&neighbour.open(&world, &link).await);
    let (_, number) = handed_over(&own.open(&world, &link).await);
    assert_ne!(number, their_number);
    // What a page of another site asks for in the background is not heard at all.
    for header in [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")] {
        assert_eq!(knock(theirs.clone(), Some(header)).await, None);
    }
    let knocking = tokio::spawn(knock(theirs, None));
    program.hear("type the number");
    program.type_line(&number);
    assert_eq!(knocking.await.unwrap(), None, "the neighbour's browser is not sent on");
    let ended = program.end();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("Another user of this computer may have opened the link"), "{ended:?}");
    assert!(connections(&world, &ann, "").await.is_empty());
    assert_eq!(accounts.oauth.of("authorization_code").len(), 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_link_is_in_no_argument_and_the_number_leads_on() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    std::fs::create_dir(at.join("bin")).unwrap();
    let opener = at.join("bin/xdg-open");
    // Written under another name first: the test waits for the last file.
    let script = "#!/bin/sh\nprintf '%s\\n' \"$@\" > arguments\ncp \"$1\" draft\nmv draft page\n";
    std::fs::write(&opener, script).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut program = start(at, &world, &ann, &["--format", "json"]);
    program.hear("connect the account in the browser");
    until("the browser was started", async || at.join("page").exists()).await;
    let arguments = std::fs::read_to_string(at.join("arguments")).unwrap();
    assert!(!arguments.contains("flow=") && !program.heard().contains("flow="), "{arguments}");
    let text = std::fs::read_to_string(at.join("page")).unwrap();
    let link = text.split_once("0;url=").unwrap().1.split_once('"').unwrap().0.to_owned();

    let own = Browser::default();
    let page = own.open(&world, &link).await;
    assert!(page.text.contains("<code>Caxton::Service::&quot;ann&quot;</code>"), "with its type: {page:?}");
    let (address, number) = handed_over(&page);
    let knocking = tokio::spawn(knock(address, Some(("sec-fetch-mode", "navigate"))));
    program.hear("type the number");
    program.type_line(&format!("{} {}", &number[..3], &number[3..]));
    let next = knocking.await.unwrap().unwrap();
    let consent = own.open(&world, &next).await.location.unwrap();
    let done = own.go_back(&world, "up", &accounts.agree(&consent, "ann@crm")).await;
    assert_eq!(done.status, 200, "{done:?}");
    let ended = program.end();
    assert_eq!((ended.code, &ended.json()["principal"]), (Some(0), &json!(service("ann"))), "{ended:?}");
    assert!(!Path::new(arguments.trim()).exists(), "the file is removed: {arguments}");
    world.stop().await;
}

/// It waits for the connection too: where a person logs in, no browser comes to the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_ends_when_the_account_is_connected_without_it() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let directory = tempfile::tempdir().unwrap();
    let mut program = start(directory.path(), &world, &ann, &["--no-browser"]);
    program.hear("/v1/connect/up?flow=");
    connect(&world, &ann, &accounts, "ann@crm").await;
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    world.stop().await;
}

/// The attack: who begins names a program, so that a person has to press a button only, where she could log in.
#[tokio::test]
async fn who_begins_does_not_choose_the_weaker_proof() {
    let provider = LoginProvider::start().await;
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let servers = vec![server("up", &up, &accounts.oauth.issuer)];
    let world = world(servers, Some(provider.settings())).await;
    let (vera, ann) = (world.person("vera", &["admin"]), world.service("ann", &["tool:*"]));
    until("people can log in", async || {
        let status = world.get(&vera, "/v1/auth/status").await.json();
        let methods = status["methods"].as_array().unwrap().clone();
        methods.iter().any(|method| method["method"] == "oauth2" && method["healthy"] == true)
    })
    .await;
    let link = url_of(&begin(&world, &vera, "up").await);
    let page = Browser::default().open(&world, &link).await;
    assert_eq!(page.status, 303, "{page:?}");
    assert!(page.location.unwrap().path().ends_with("/login"), "{}", page.text);
    // A service cannot log in: with a program it is proven by that, and without one there is nobody who could.
    let link = url_of(&begin(&world, &ann, "up").await);
    code_of(&Browser::default().open(&world, &link).await);
    let link = url_of(&send(world.request(&ann, Method::POST, "/v1/connections/up")).await);
    let page = Browser::default().open(&world, &link).await;
    assert_eq!((page.status, &page.location), (409, &None), "{page:?}");
    assert!(page.text.contains("caxton tools connect up"), "{page:?}");
    world.stop().await;
}

/// The attack, or an accident: an account is disconnected and another one connected while a token of the first is being fetched.
#[tokio::test]
async fn a_late_refresh_does_not_take_the_place_of_another_account() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    connect(&world, &ann, &accounts, "first@crm").await;
    call_when_known(&world, &ann).await;
    accounts.end_access();
    let let_go = accounts.hold("refresh_token");
    let meanwhile = async {
        until("a token is being fetched", async || accounts.oauth.of("refresh_token").len() == 1).await;
        assert_eq!(disconnect(&world, &ann, "").await.status, StatusCode::OK);
        connect(&world, &ann, &accounts, "second@crm").await;
        accounts.hold_nothing();
        let_go.notify_one();
    };
    let (late, ()) = tokio::join!(call(&world, &ann), meanwhile);
    assert!(late.is_err_and(|refused| needs_account(&refused)), "its account is not connected any more");
    for _ in 0..2 {
        assert_eq!(call(&world, &ann).await.unwrap(), "second@crm");
    }
    assert_eq!(connections(&world, &ann, "").await.len(), 1);
    world.stop().await;
}

/// The attack: the name of a server is given another address, and the tokens of all accounts go there.
#[tokio::test]
async fn tokens_do_not_follow_the_name_of_a_server_to_another_address() {
    let accounts = AccountServer::start().await;
    let shared = tempfile::tempdir().unwrap();
    let keeps = |settings: &mut caxton::server::Settings| {
        settings.tools.connections.database = shared.path().join("connections.db");
    };
    let up = upstream(&accounts, stateless).await;
    let first = approved_world(server("up", &up, &accounts.oauth.issuer), keeps).await;
    let ann = first.service("ann", &["tool:*"]);
    connect(&first, &ann, &accounts, "ann@crm").await;
    assert_eq!(call(&first, &ann).await.unwrap(), "ann@crm");
    first.stop().await;

    let thief = upstream(&accounts, stateless).await;
    let moved = approved_world(server("up", &thief, &accounts.oauth.issuer), keeps).await;
    let ann = moved.service("ann", &["tool:*"]);
    assert!(needs_account(&call(&moved, &ann).await.unwrap_err()));
    assert!(thief.seen.lock().iter().all(|(_, headers)| !headers.contains_key("authorization")));
    // It can be ended, and is revoked where it was made.
    let ended = disconnect(&moved, &ann, "").await;
    assert_eq!((&ended.json()["revoked"], accounts.grants()), (&json!(true), 0), "{ended:?}");
    moved.stop().await;

    let back = approved_world(server("up", &up, &accounts.oauth.issuer), keeps).await;
    let ann = back.service("ann", &["tool:*"]);
    assert!(needs_account(&call(&back, &ann).await.unwrap_err()), "it has ended");
    back.stop().await;
}

/// The attack: who holds a leaked key connects an account of its own, and it serves the key that takes its place.
#[tokio::test]
async fn connections_end_with_the_last_key_of_their_principal() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let root = world.person("root", &["admin"]);
    let revoke = async |who: &Credential| {
        let answer =
            send(world.request(&root, Method::DELETE, &format!("/v1/auth/keys/{}", id_of(who)))).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    };
    let (leaked, spare) = (world.service("ann", &["tool:*"]), world.service("ann", &["tool:*"]));
    connect(&world, &leaked, &accounts, "mallory@crm").await;
    call_when_known(&world, &leaked).await;
    let flow = url_of(&begin(&world, &leaked, "up").await);
    revoke(&leaked).await;
    assert_eq!(call(&world, &spare).await.unwrap(), "mallory@crm", "the principal has another key");
    revoke(&spare).await;
    assert_eq!(accounts.grants(), 0, "it was revoked at the authorization server");
    let next = world.service("ann", &["tool:*"]);
    assert!(needs_account(&call(&world, &next).await.unwrap_err()));
    let page = Browser::default().open(&world, &flow).await;
    assert_eq!(page.status, 401, "what had begun is over: {page:?}");

    // A key that another program revokes, with the files of the gateway.
    connect(&world, &next, &accounts, "mallory@crm").await;
    let (at, id) = (world.directory.path().to_owned(), id_of(&next));
    let work = move || child::run(&at, &["auth", "revoke-key", &id, "--data-dir", "data"]);
    let revoked = tokio::task::spawn_blocking(work).await.unwrap();
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    until("the connection has ended", async || accounts.grants() == 0).await;
    assert!(connections(&world, &root, "?all=true").await.is_empty());
    world.stop().await;
}

/// The attack: tokens of an account that everybody has forgotten.
#[tokio::test]
async fn a_connection_that_is_not_used_ends() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let own = server("up", &up, &accounts.oauth.issuer);
    let idle = |settings: &mut caxton::server::Settings| {
        settings.tools.connections.max_idle = Duration::from_millis(100);
    };
    let world = approved_world(own, idle).await;
    let ann = world.service("ann", &["tool:*"]);
    connect(&world, &ann, &accounts, "ann@crm").await;
    until("the connection has ended", async || connections(&world, &ann, "").await.is_empty()).await;
    until("and was revoked", async || accounts.grants() == 0).await;
    world.stop().await;
}

#[tokio::test]
async fn what_had_begun_is_over_when_all_sessions_end() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let (ann, root) = (world.service("ann", &["tool:*"]), world.service("root", &["admin"]));
    let browser = Browser::default();
    let consent = to_consent(&world, &ann, &browser, "up").await;
    let ended = world.post(&root, "/v1/admin/sessions/revoke-all", &json!({})).await;
    assert_eq!(ended.status, StatusCode::OK, "{ended:?}");
    let page = browser.go_back(&world, "up", &accounts.agree(&consent, "ann@crm")).await;
    assert_eq!((page.status, connections(&world, &ann, "").await.len()), (401, 0), "{page:?}");
    world.stop().await;
}

/// The attack, or an accident: a connection is ended while it is being made.
#[tokio::test]
async fn what_is_ended_while_it_is_made_is_not_kept() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let browser = Browser::default();
    let consent = to_consent(&world, &ann, &browser, "up").await;
    let let_go = accounts.hold("authorization_code");
    let agreed = accounts.agree(&consent, "ann@crm");
    let meanwhile = async {
        until("the code is exchanged", async || accounts.oauth.of("authorization_code").len() == 1).await;
        assert_eq!(disconnect(&world, &ann, "").await.status, StatusCode::NOT_FOUND);
        let_go.notify_one();
    };
    let (page, ()) = tokio::join!(browser.go_back(&world, "up", &agreed), meanwhile);
    assert_eq!((page.status, refusals(&world, "was_ended").await), (401, 1), "{page:?}");
    assert!(connections(&world, &ann, "").await.is_empty());
    assert_eq!(accounts.grants(), 0, "what was given is revoked");
    world.stop().await;
}

/// The attack: the connection of a principal is replaced, and the tokens of the one before count on.
#[tokio::test]
async fn the_tokens_of_a_connection_that_is_replaced_are_revoked() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    connect(&world, &ann, &accounts, "first@crm").await;
    call_when_known(&world, &ann).await;
    connect(&world, &ann, &accounts, "second@crm").await;
    assert_eq!(accounts.grants(), 1, "the second one's");
    assert_eq!(call(&world, &ann).await.unwrap(), "second@crm");
    let requests = accounts.oauth.requests();
    let place = |path: &str, grant: Option<&str>| {
        requests.iter().rposition(|request| request.path == path && request.get("grant_type") == grant)
    };
    assert!(
        place("/revoke", None) < place("/token", Some("authorization_code")),
        "before there are new ones"
    );
    world.stop().await;
}

/// The attack: a caller whose tokens cannot be refreshed has the authorization server asked with each call.
#[tokio::test]
async fn a_caller_without_a_token_does_not_flood_the_authorization_server() {
    let accounts = AccountServer::start().await;
    let refuses = Arc::new(AtomicBool::new(false));
    let (taken, refusing) = (accounts.clone(), Arc::clone(&refuses));
    let up = Upstream::start(Arc::new(move |_, message, headers| match bearer(headers) {
        Some(token) if taken.takes(&token) && !refusing.load(Ordering::SeqCst) => {
            stateless(message, &json!([tool("who", "says who")])).unwrap_or_else(|| done(&holder_of(&token)))
        }
        _ => Reply::Status(401),
    }))
    .await;
    let world = approved_world(server("up", &up, &accounts.oauth.issuer), |_| {}).await;
    let (ann, bob) = (world.service("ann", &["tool:*"]), world.service("bob", &["tool:*"]));
    // Neither ever has an open connection: what went wrong is known without one.
    let flood = async |who: &Credential, pause: u64| {
        let (before, began) = (accounts.oauth.of("refresh_token").len(), Instant::now());
        connect(&world, who, &accounts, "someone@crm").await;
        for _ in 0..10 {
            call(&world, who).await.unwrap_err();
        }
        let asked = accounts.oauth.of("refresh_token").len() - before;
        let most = 1 + usize::try_from(began.elapsed().as_secs() / pause).unwrap();
        assert!((1..=most).contains(&asked), "{asked}, at most {most}");
    };

    // An authorization server in trouble is asked again after a second. A token that ends soon is refreshed before it is used.
    *accounts.life.lock() = 5;
    *accounts.refresh_fails.lock() = Some(503);
    flood(&ann, 1).await;

    // A server that refuses every token has another one requested after five seconds.
    *accounts.life.lock() = 3_600;
    *accounts.refresh_fails.lock() = None;
    refuses.store(true, Ordering::SeqCst);
    flood(&bob, 5).await;
    world.stop().await;
}

/// The attack, or a hiccup of a proxy: one refusal of the upstream server ends for good what cannot be refreshed.
#[tokio::test]
async fn one_refusal_ends_no_connection_without_a_refresh_token() {
    let accounts = AccountServer::start().await;
    accounts.give_no_refresh();
    let refuses = Arc::new(AtomicBool::new(false));
    let (taken, refusing) = (accounts.clone(), Arc::clone(&refuses));
    let up = Upstream::start(Arc::new(move |_, message, headers| match bearer(headers) {
        Some(token) if taken.takes(&token) && !refusing.load(Ordering::SeqCst) => {
            stateless(message, &json!([tool("who", "says who")])).unwrap_or_else(|| done(&holder_of(&token)))
        }
        _ => Reply::Status(401),
    }))
    .await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    connect(&world, &ann, &accounts, "ann@crm").await;
    assert_eq!(call_when_known(&world, &ann).await, "ann@crm");
    refuses.store(true, Ordering::SeqCst);
    let refused = call(&world, &ann).await.unwrap_err();
    assert_eq!(refused["_meta"]["caxton/refusal"]["reason"], "upstream_credentials", "{refused}");
    refuses.store(false, Ordering::SeqCst);
    assert_eq!(call(&world, &ann).await.unwrap(), "ann@crm");
    assert_eq!(connections(&world, &ann, "").await.len(), 1);
    world.stop().await;
}

/// The attack: a page sends the person's browser to the way back while she consents.
#[tokio::test]
async fn a_page_does_not_end_the_connection_that_is_being_made() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let browser = Browser::default();
    let consent = to_consent(&world, &ann, &browser, "up").await;
    let wrong = [("state".to_owned(), "x".to_owned()), ("code".to_owned(), "y".to_owned())];
    assert_eq!(browser.go_back(&world, "up", &wrong).await.status, 401);
    let picture = world.request(&Credential::Nothing, Method::GET, "/v1/connect/up/callback?state=x&code=y");
    let refused = send(picture.header("sec-fetch-dest", "image")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{refused:?}");
    let page = browser.go_back(&world, "up", &accounts.agree(&consent, "ann@crm")).await;
    assert_eq!(page.status, 200, "{page:?}");
    world.stop().await;
}

/// The attack: a code that is long, compared with each connection under way.
#[tokio::test]
async fn a_long_code_is_none() {
    let accounts = AccountServer::start().await;
    let up = upstream(&accounts, stateless).await;
    let world = world(vec![server("up", &up, &accounts.oauth.issuer)], None).await;
    let ann = world.service("ann", &["tool:*"]);
    let refused = confirm(&world, &ann, "up", &"x".repeat(500_000)).await;
    assert_eq!((refused.status, refusals(&world, "unknown_code").await), (StatusCode::FORBIDDEN, 1));
    world.stop().await;
}
