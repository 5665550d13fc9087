//! Clients that are slow, many, or say nothing: each bound holds, and nobody else waits for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Credential, PATIENCE, World, until};
use caxton::server::Settings;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The bound of these tests. Whoever keeps it may need longer on a busy machine, and then tries again.
const SHORT: Duration = Duration::from_secs(1);

async fn world(change: impl FnOnce(&mut Settings)) -> World {
    World::with(|settings, _| change(settings)).await
}

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.gateway.address()).await.unwrap()
}

/// Everything until the gateway hangs up; a reset counts as that.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    assert!(ended.is_ok(), "it is still open; heard {:?}", String::from_utf8_lossy(&heard));
    heard
}

fn text(heard: &[u8]) -> String {
    String::from_utf8_lossy(heard).into_owned()
}

async fn serves(world: &World) {
    let request = || world.request(&Credential::Nothing, Method::GET, "/v1/agents").send();
    let served = async || request().await.is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED);
    until("it serves others all the while", served).await;
}

#[tokio::test]
async fn whoever_says_nothing_is_left() {
    let world = world(|settings| settings.http.idle_timeout = SHORT).await;
    let mut silent = connect(&world).await;
    // The beginning of HTTP/2's preface, which is a header of no request yet.
    let mut half = connect(&world).await;
    let _ = half.write_all(b"PRI * HTT").await;
    serves(&world).await;
    until_closed(&mut silent).await;
    until_closed(&mut half).await;
    world.stop().await;
}

#[tokio::test]
async fn a_head_that_comes_little_by_little_is_cut_off() {
    let world = world(|settings| settings.http.header_timeout = SHORT).await;
    let mut slow = connect(&world).await;
    // It may be over before, here and below.
    let _ = slow.write_all(b"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\nX-A: ").await;
    serves(&world).await;
    let heard = text(&until_closed(&mut slow).await);
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 408"), "{heard}");
    world.stop().await;
}

#[tokio::test]
async fn a_head_of_http_2_that_comes_little_by_little_is_cut_off() {
    let world = world(|settings| settings.http.idle_timeout = SHORT).await;
    let mut slow = connect(&world).await;
    // Preface, empty SETTINGS, HEADERS of stream 1 without END_HEADERS: what follows never comes.
    let _ = slow.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let _ = slow.write_all(b"\0\0\x01\x01\0\0\0\0\x01\x82").await;
    serves(&world).await;
    until_closed(&mut slow).await;
    world.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_little_by_little_is_cut_off() {
    let world = world(|settings| settings.api.body_timeout = SHORT).await;
    let Credential::Key(key) = world.service("writer", &["message:send"]) else { panic!("a key") };
    for path in ["/v1/messages", "/mcp"] {
        let mut slow = connect(&world).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{{"
        );
        slow.write_all(head.as_bytes()).await.unwrap();
        serves(&world).await;
        let heard = text(&until_closed(&mut slow).await);
        assert!(heard.starts_with("HTTP/1.1 408"), "{path}: {heard}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_connection_that_has_been_served_does_not_stay_for_ever() {
    let world = world(|settings| settings.http.idle_timeout = SHORT).await;
    until("it is served, and then closed", async || {
        let mut kept = connect(&world).await;
        let sent = kept.write_all(b"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        sent.is_ok() && text(&until_closed(&mut kept).await).starts_with("HTTP/1.1 401")
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn a_flood_of_header_fields_is_refused() {
    let world = world(|settings| settings.http.max_headers = 20).await;
    for head in [
        (0..30).map(|number| format!("X-{number}: y\r\n")).collect::<String>(),
        format!("X-Long: {}\r\n", "y".repeat(64 * 1024)),
    ] {
        let mut flood = connect(&world).await;
        let request = format!("GET /v1/agents HTTP/1.1\r\nHost: localhost\r\n{head}\r\n");
        // The gateway may hang up before all of it is written.
        let _ = flood.write_all(request.as_bytes()).await;
        let heard = text(&until_closed(&mut flood).await);
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 431"), "{heard}");
    }
    serves(&world).await;
    world.stop().await;
}

/// A request that is under way until its body ends, which it does not.
async fn busy(world: &World, key: &str) -> TcpStream {
    let mut stream = connect(world).await;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The gateway wants the body: the request is under way.
    let mut said = [0; 25];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let world = world(|settings| settings.http.max_connections_per_address = 3).await;
    let Credential::Key(key) = world.service("writer", &["message:send"]) else { panic!("a key") };
    let (first, second, third) =
        (busy(&world, &key).await, busy(&world, &key).await, busy(&world, &key).await);
    let mut fourth = connect(&world).await;
    assert!(until_closed(&mut fourth).await.is_empty(), "closed at once");
    // Another address of this host.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let mut other = socket.connect(world.gateway.address()).await.unwrap();
    other
        .write_all(b"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(text(&until_closed(&mut other).await).starts_with("HTTP/1.1 401"));
    // A place that becomes free is given again.
    drop((first, second));
    serves(&world).await;
    drop(third);
    world.stop().await;
}

#[tokio::test]
async fn who_says_nothing_keeps_no_neighbour_out() {
    for (each, all) in [(3, 100), (100, 3)] {
        let world = world(|settings| {
            settings.http.max_connections_per_address = each;
            settings.http.max_connections = all;
        })
        .await;
        let Credential::Key(key) = world.service("writer", &["message:send"]) else { panic!("a key") };
        let mut honest = busy(&world, &key).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(connect(&world).await);
        }
        // A neighbour behind the same address is served, the one who works goes on, and who waits longest has left.
        serves(&world).await;
        assert!(until_closed(&mut silent[0]).await.is_empty());
        honest.write_all(b"not json..").await.unwrap();
        let mut answer = [0; 100];
        let read = honest.read(&mut answer).await.unwrap();
        assert!(text(&answer[..read]).contains("HTTP/1.1 400"), "{}", text(&answer[..read]));
        world.stop().await;
    }
}

/// The attack: a caller keeps every connection of its address busy, with bodies that do not end.
#[tokio::test]
async fn who_keeps_every_place_busy_keeps_no_neighbour_out() {
    let world = world(|settings| settings.http.max_connections_per_address = 16).await;
    let Credential::Key(key) = world.service("hostile", &["message:send"]) else { panic!("a key") };
    let mut held = Vec::new();
    for _ in 0..16 {
        held.push(busy(&world, &key).await);
    }
    // Behind the same address: the neighbour is served, and more of the one that has its share is not.
    let neighbour = world.service("neighbour", &["agent:list"]);
    let answer = world.get(&neighbour, "/v1/agents").await;
    assert_eq!(answer.status, reqwest::StatusCode::OK, "{answer:?}");
    let mut more = connect(&world).await;
    let request = format!("GET /v1/agents HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {key}\r\n\r\n");
    more.write_all(request.as_bytes()).await.unwrap();
    let heard = until_closed(&mut more).await;
    assert!(text(&heard).starts_with("HTTP/1.1 503"), "{}", text(&heard));
    assert!(text(&heard).contains("your share of the connections"), "{}", text(&heard));
    // A credential that proves nobody has no share to take.
    let mut stranger = connect(&world).await;
    stranger.write_all(b"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    stranger.read_exact(&mut answer).await.unwrap();
    assert_eq!(text(&answer), "HTTP/1.1 401");
    world.stop().await;
}

#[tokio::test]
async fn proxies_that_are_believed_bring_as_many_as_they_like() {
    let world = world(|settings| {
        settings.http.max_connections_per_address = 1;
        settings.api.proxies.networks = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let _held = (connect(&world).await, connect(&world).await);
    serves(&world).await;
    world.stop().await;
}
