//! The whole way with the real provider, in the browser.

use reqwest::{StatusCode, Url};
use serde_json::{Value as Json, json};

use super::browser::Browser;
use super::house::{House, bearer, told};
use crate::support::{Answer, Credential};

/// The text in the page's `number`th box.
fn shown(page: &Answer, number: usize) -> String {
    let rest = page.text.split("<textarea").nth(number).unwrap();
    rest.split_once('>').unwrap().1.split('<').next().unwrap().to_owned()
}

fn nowhere(_: &Url) -> bool {
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_and_is_the_same_principal_with_the_roles_of_the_provider() {
    let Some(house) = House::open(|_| {}).await else { return };
    let world = &house.world;
    let mut browser = Browser::new();
    let page = browser.walk(&world.url("/v1/auth/oauth2/authorize"), "vera", nowhere).await.unwrap();
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    let header = |name: &str| page.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(header("content-security-policy").starts_with("default-src 'none'; style-src 'sha256-"));
    assert!(!page.text.contains("<script"), "{}", page.text);
    // PKCE and its company, as the provider saw them.
    let asked = browser.visited.iter().find(|url| url.path() == "/auth").unwrap();
    let query: std::collections::HashMap<_, _> = asked.query_pairs().into_owned().collect();
    assert_eq!(query["code_challenge_method"], "S256");
    assert!(query["nonce"].len() == 43 && query["state"].len() == 43 && query["scope"].contains("openid"));
    assert!(browser.jar.values().all(|jar| !jar.contains_key("caxton-login")), "the cookie has served");

    let token = Credential::Token(shown(&page, 1));
    assert_eq!(world.get(&token, "/v1/agents").await.status, StatusCode::OK);
    assert_eq!(
        world.get(&token, "/v1/policies").await.status,
        world.get(&world.person("x", &["viewer"]), "/v1/policies").await.status
    );
    let principal = format!("Caxton::User::\"{}|vera\"", house.provider.issuer);
    let records = world.records();
    let of = |action: &str| records.iter().rfind(|record| record["action"] == action).unwrap();
    assert_eq!(of("auth:token")["subject"]["method"], "oauth2");
    assert_eq!(of("auth:token")["subject"]["principal"], principal);
    assert_eq!(of("agent:list")["subject"]["method"], "session");
    assert_eq!(of("agent:list")["subject"]["principal"], principal);
    for secret in [shown(&page, 1), shown(&page, 2)] {
        assert!(!std::fs::read_to_string(world.log()).unwrap().contains(&secret));
    }

    // It goes on, and ends.
    let body = json!({ "refresh_token": shown(&page, 2) });
    let next = world.post(&Credential::Nothing, "/v1/auth/refresh", &body).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
    let next = bearer(&next.json());
    assert_eq!(world.get(&next, "/v1/agents").await.status, StatusCode::OK);
    assert_eq!(
        world.post(&next, "/v1/auth/token", &json!({})).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(world.post(&next, "/v1/auth/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get(&next, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
}

/// Who has no role there has none here: that somebody can log in says nothing of what they may do.
#[tokio::test(flavor = "multi_thread")]
async fn roles_come_from_the_provider_and_a_login_ends_with_its_time() {
    let short = std::time::Duration::from_secs(1);
    let Some(house) =
        House::open(|settings| settings.authn.oauth2.as_mut().unwrap().max_session = short).await
    else {
        return;
    };
    let world = &house.world;
    let url = world.url("/v1/auth/oauth2/authorize");
    let page = Browser::new().walk(&url, "nobody", nowhere).await.unwrap();
    let (access, refresh) = (Credential::Token(shown(&page, 1)), shown(&page, 2));
    let mut answer = world.get(&access, "/v1/policies").await;
    assert!(matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED), "{answer:?}");
    // However much it is used.
    while answer.status != StatusCode::UNAUTHORIZED {
        answer = world.get(&access, "/v1/policies").await;
    }
    let body = json!({ "refresh_token": refresh });
    let late = world.post(&Credential::Nothing, "/v1/auth/refresh", &body).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED, "{late:?}");
    assert!(
        told(world)
            .iter()
            .any(|line| line.contains("session: login_over") || line.contains("session: expired"))
    );
}

/// A program of the person asks by JSON.
#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_json_for_who_does_not_want_a_page() {
    let Some(house) = House::open(|_| {}).await else { return };
    let world = &house.world;
    let mut browser = Browser::new();
    let back = |url: &Url| url.path() == "/v1/auth/oauth2/callback";
    let url = browser.walk(&world.url("/v1/auth/oauth2/authorize"), "vera", back).await.unwrap_err();
    // RFC 9207: this provider says who answers, so an answer without it is not its own.
    assert_eq!(url.query_pairs().find(|(name, _)| name == "iss").unwrap().1, house.provider.issuer);
    let cookie = &browser.jar[&format!("127.0.0.1:{}", url.port().unwrap())]["caxton-login"];
    let cookie = format!("caxton-login={cookie}");
    let pair = world.client.get(url.clone()).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(pair.status(), StatusCode::OK);
    let pair: Json = pair.json().await.unwrap();
    assert_eq!(pair["token_type"], "Bearer");
    assert!(pair["decision_id"].is_string());
    // The same answer again is nothing.
    let again = world.client.get(url).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    assert!(told(world).contains(&"- deny_explicit oauth2: wrong_state".to_owned()), "{:#?}", told(world));
}

/// The provider refuses a code that it has given before, and so do we, whatever the browser brings.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_counts_once_and_for_the_login_it_was_given_to() {
    let Some(house) = House::open(|_| {}).await else { return };
    let world = &house.world;
    let back = |url: &Url| url.path() == "/v1/auth/oauth2/callback";
    let parameter =
        |url: &Url, name: &str| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
    let (mut one, mut two) = (Browser::new(), Browser::new());
    let begin = world.url("/v1/auth/oauth2/authorize");
    let mine = one.walk(&begin, "vera", back).await.unwrap_err();
    let theirs = two.walk(&begin, "olivia", back).await.unwrap_err();
    // The thief's browser, with its own state, and the code of somebody else: PKCE does not fit.
    let mut url = mine.clone();
    url.query_pairs_mut()
        .clear()
        .append_pair("code", &parameter(&theirs, "code"))
        .append_pair("state", &parameter(&mine, "state"))
        .append_pair("iss", &house.provider.issuer);
    let answer = one.step(&url).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert!(told(world).contains(&"- deny_explicit oauth2: code_refused".to_owned()), "{:#?}", told(world));
}
