//! One test a threat. Whoever lies, replays or sends somebody else's browser gets nothing, and what was refused is on
//! record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::authn::jwt::JwtAlgorithm;
use caxton::authn::oauth2::Settings as Login;
use caxton::server::Settings;
use reqwest::header::{LOCATION, RETRY_AFTER, SET_COOKIE};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Value as Json, json};

use super::house::{healthy, told};
use super::liar::{CLIENT, Liar, Reply};
use crate::support::pki::{Authority, DAY, Identity, Wish};
use crate::support::{Answer, Credential, PATIENCE, World, send, write};

const BACK: &str = "http://127.0.0.1:1/v1/auth/oauth2/callback";

struct Stage {
    world: World,
    liar: Arc<Liar>,
    client: Client,
}

/// A login that a browser has begun.
struct Begun {
    state: String,
    nonce: String,
    cookie: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let stage = Self::unready(Liar::start().await, change).await;
        healthy(&stage.world, "oauth2").await;
        stage
    }

    /// With a provider that will be silent: nobody waits for it long.
    async fn soon_silent() -> Self {
        let short = |settings: &mut Settings| {
            settings.authn.oauth2.as_mut().unwrap().timeout = Duration::from_secs(2);
        };
        Self::with(short).await
    }

    async fn unready(liar: Arc<Liar>, change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::with(|settings, _| {
            let login = Login::new(&liar.issuer, CLIENT, BACK.parse().unwrap());
            settings.authn.oauth2 =
                Some(Login { algorithm: JwtAlgorithm::EdDsa, timeout: PATIENCE, ..login });
            change(settings);
        })
        .await;
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { world, liar, client }
    }

    async fn authorize(&self, query: &str) -> Answer {
        send(self.client.get(self.world.url(&format!("/v1/auth/oauth2/authorize{query}")))).await
    }

    async fn begin(&self, query: &str) -> Begun {
        let answer = self.authorize(query).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{answer:?}");
        let url = Url::parse(answer.headers[LOCATION].to_str().unwrap()).unwrap();
        let find = |name: &str| url.query_pairs().find(|(n, _)| n == name).unwrap().1.into_owned();
        assert!(url.as_str().starts_with(&self.liar.issuer));
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Begun { state: find("state"), nonce: find("nonce"), cookie }
    }

    /// The browser comes back with these parameters.
    async fn back(&self, cookie: &str, parameters: &[(&str, &str)]) -> Answer {
        let mut url = Url::parse(&self.world.url("/v1/auth/oauth2/callback")).unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        let request = self.client.get(url).header("accept", "application/json");
        send(if cookie.is_empty() { request } else { request.header("cookie", cookie) }).await
    }

    /// A login whose ID token is what `make` makes of good claims.
    async fn login(&self, make: impl FnOnce(&Liar, Json) -> String) -> Answer {
        let begun = self.begin("").await;
        self.liar.answers(&make(&self.liar, self.liar.claims(&begun.nonce)));
        self.back(&begun.cookie, &[("code", "c"), ("state", &begun.state)]).await
    }

    /// It is refused, says nothing of why, and is on record with this reason.
    fn refused(&self, answer: &Answer, reason: &str) {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{reason}: {answer:?}");
        assert_eq!(answer.json()["title"], "Unauthorized");
        let told = told(&self.world);
        let line = format!("- deny_explicit oauth2: {reason}");
        assert!(told.contains(&line), "{line}: {told:#?}");
        assert!(!told.iter().any(|line| line.starts_with("auth:token allow")), "{told:#?}");
    }
}

fn changed(mut claims: Json, name: &str, value: Json) -> Json {
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

#[tokio::test]
async fn a_good_answer_logs_in_so_the_bad_ones_are_refused_for_what_is_bad() {
    let stage = Stage::new().await;
    let answer = stage.login(|liar, claims| liar.signed(&claims)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let token = Credential::Token(answer.json()["access_token"].as_str().unwrap().to_owned());
    assert_eq!(stage.world.get(&token, "/v1/agents").await.status, StatusCode::OK);
    let asked = stage.liar.asked.lock().unwrap().join("\n");
    for part in [
        "code_verifier=",
        "redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fv1%2Fauth%2Foauth2%2Fcallback",
        "client_id=caxton",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    // What an administrator ends, ends.
    let admin = stage.world.person("root", &["admin"]);
    assert_eq!(
        stage.world.post(&admin, "/v1/admin/sessions/revoke-all", &json!({})).await.status,
        StatusCode::OK
    );
    assert_eq!(stage.world.get(&token, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_id_token_that_is_not_for_this_login_is_refused() {
    let stage = Stage::new().await;
    let now = stage.liar.claims("")["iat"].as_i64().unwrap();
    let cases: [(&str, Json, &str); 17] = [
        ("nonce", json!("another"), "wrong_nonce"),
        ("nonce", Json::Null, "claim_missing"),
        ("nonce", json!(7), "claim_type"),
        ("iss", json!("https://other.example"), "wrong_issuer"),
        ("iss", json!(format!("{}/", stage.liar.issuer)), "wrong_issuer"),
        ("aud", json!("somebody-else"), "wrong_audience"),
        ("aud", json!([CLIENT, "somebody-else"]), "claim_missing"),
        ("azp", json!("somebody-else"), "wrong_audience"),
        ("azp", json!(7), "claim_type"),
        ("exp", json!(now - 60), "expired"),
        ("exp", Json::Null, "claim_missing"),
        ("iat", Json::Null, "claim_missing"),
        ("iat", json!(now + 3600), "not_yet_valid"),
        ("sub", Json::Null, "claim_missing"),
        ("sub", json!("a\u{202e}b"), "claim_value"),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA"), "wrong_access_token"),
        ("roles", json!(["a\u{0}"]), "claim_value"),
    ];
    for (name, value, reason) in cases {
        let answer = stage.login(|liar, claims| liar.signed(&changed(claims, name, value))).await;
        stage.refused(&answer, reason);
    }
}

#[tokio::test]
async fn an_id_token_that_the_provider_did_not_sign_as_configured_is_refused() {
    let stage = Stage::new().await;
    type Make = fn(&Liar, Json) -> String;
    let cases: [(Make, &str); 5] = [
        (|liar, claims| liar.sign(&json!({ "alg": "none" }), &claims), "wrong_algorithm"),
        (|liar, claims| liar.sign(&json!({ "alg": "HS256", "kid": "k" }), &claims), "wrong_algorithm"),
        (
            |liar, claims| liar.sign(&json!({ "alg": "EdDSA", "kid": "k", "typ": "at+jwt" }), &claims),
            "wrong_type",
        ),
        (|liar, claims| format!("{}A", liar.signed(&claims)), "bad_signature"),
        (|_, _| "no token".to_owned(), "malformed"),
    ];
    for (make, reason) in cases {
        let answer = stage.login(make).await;
        let told = told(&stage.world);
        // The last letter of base64url may not even decode: both are refusals of a token that was tampered with.
        let reason = if reason == "bad_signature" && told.last().unwrap().contains("malformed") {
            "malformed"
        } else {
            reason
        };
        stage.refused(&answer, reason);
    }
    // A key that nobody has published: it may be the next one, so it is fetched, and until then it is no way in.
    let answer =
        stage.login(|liar, claims| liar.sign(&json!({ "alg": "EdDSA", "kid": "k2" }), &claims)).await;
    assert!(matches!(answer.status.as_u16(), 401 | 503), "{answer:?}");
}

#[tokio::test]
async fn a_browser_that_did_not_begin_the_login_does_not_end_it() {
    let stage = Stage::new().await;
    // Login CSRF: the attacker's state, and code, in the victim's browser.
    let (attacker, victim) = (stage.begin("").await, stage.begin("").await);
    stage.liar.answers(&stage.liar.signed(&stage.liar.claims(&attacker.nonce)));
    let parameters = [("code", "c"), ("state", attacker.state.as_str())];
    stage.refused(&stage.back(&victim.cookie, &parameters).await, "wrong_browser");
    // And then it is spent for the attacker as well.
    stage.refused(&stage.back(&attacker.cookie, &parameters).await, "wrong_state");
    // No cookie, two cookies, one of another name.
    for cookie in ["", "two", "other"] {
        let begun = stage.begin("").await;
        let value = begun.cookie.split_once('=').unwrap().1;
        let cookie = match cookie {
            "two" => format!("{}; caxton-login=x", begun.cookie),
            "other" => format!("login={value}"),
            _ => String::new(),
        };
        stage.refused(&stage.back(&cookie, &[("code", "c"), ("state", &begun.state)]).await, "wrong_browser");
    }
    assert!(stage.liar.asked.lock().unwrap().is_empty(), "the provider was not asked");
}

#[tokio::test]
async fn a_state_counts_once_and_a_made_up_one_never() {
    let stage = Stage::new().await;
    let begun = stage.begin("").await;
    for state in ["", "x", &"A".repeat(43), &"A".repeat(5_000)] {
        let answer = stage.back(&begun.cookie, &[("code", "c"), ("state", state)]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    stage.refused(&stage.back(&begun.cookie, &[("code", "c")]).await, "wrong_state");
    stage.liar.answers(&stage.liar.signed(&stage.liar.claims(&begun.nonce)));
    let parameters = [("code", "c"), ("state", begun.state.as_str())];
    assert_eq!(stage.back(&begun.cookie, &parameters).await.status, StatusCode::OK);
    assert_eq!(stage.back(&begun.cookie, &parameters).await.status, StatusCode::UNAUTHORIZED);
    // A parameter that stands twice is nobody's.
    let begun = stage.begin("").await;
    let twice = [("code", "c"), ("code", "d"), ("state", begun.state.as_str())];
    assert_eq!(stage.back(&begun.cookie, &twice).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_answer_of_another_provider_is_not_taken_to_this_one() {
    let liar = Liar::start().await;
    *liar.metadata.lock().unwrap() = json!({ "authorization_response_iss_parameter_supported": true });
    let stage = Stage::unready(liar, |_| {}).await;
    healthy(&stage.world, "oauth2").await;
    for iss in [None, Some("https://other.example"), Some("")] {
        let begun = stage.begin("").await;
        let mut parameters = vec![("code", "c"), ("state", begun.state.as_str())];
        parameters.extend(iss.map(|iss| ("iss", iss)));
        stage.refused(&stage.back(&begun.cookie, &parameters).await, "wrong_issuer");
    }
    assert!(stage.liar.asked.lock().unwrap().is_empty(), "no code went to the wrong one");
    // A provider that does not promise to say who it is may leave it out, but not say something else.
    let stage = Stage::new().await;
    let begun = stage.begin("").await;
    let parameters = [("code", "c"), ("state", begun.state.as_str()), ("iss", "https://other.example")];
    stage.refused(&stage.back(&begun.cookie, &parameters).await, "wrong_issuer");
}

#[tokio::test]
async fn no_request_chooses_where_a_browser_or_a_code_goes() {
    let stage = Stage::new().await;
    let challenge = "A".repeat(43);
    let state = "s".repeat(16);
    let good = format!("?port=50000&code_challenge={challenge}&state={state}");
    assert_eq!(stage.authorize(&good).await.status, StatusCode::SEE_OTHER);
    for bad in [
        "?redirect_uri=https://evil.example".to_owned(),
        "?next=//evil.example".to_owned(),
        format!("{good}&redirect_uri=https://evil.example"),
        format!("{good}&port=50001"),
        "?port=50000".to_owned(),
        format!("?port=80&code_challenge={challenge}&state={state}"),
        format!("?port=50000@evil.example&code_challenge={challenge}&state={state}"),
        format!("?port=70000&code_challenge={challenge}&state={state}"),
        format!("?port=50000&code_challenge=short&state={state}"),
        format!("?port=50000&code_challenge={challenge}&state=%22%3E%3Cscript%3E{state}"),
        format!("?port=50000&code_challenge={challenge}"),
        format!("?code_challenge={challenge}&state={state}"),
    ] {
        let answer = stage.authorize(&bad).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}: {answer:?}");
        assert!(!answer.headers.contains_key(LOCATION), "{bad}");
    }
    // What a page shows is what we say, never what came.
    let html = stage
        .client
        .get(stage.world.url("/v1/auth/oauth2/callback?error=<script>alert(1)</script>&state=<b>"));
    let page = send(html.header("accept", "text/html")).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(!page.text.contains("alert") && !page.text.contains("<b>"), "{}", page.text);
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
}

#[tokio::test]
async fn a_program_gets_its_session_once_with_its_proof_and_after_a_button() {
    let stage = Stage::new().await;
    // RFC 7636, appendix B.
    let (verifier, challenge) =
        ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    let query = format!("?port=50000&code_challenge={challenge}&state=0123456789abcdef");
    let code = async || {
        let begun = stage.begin(&query).await;
        stage.liar.answers(&stage.liar.signed(&stage.liar.claims(&begun.nonce)));
        let page = stage.back(&begun.cookie, &[("code", "c"), ("state", &begun.state)]).await;
        assert_eq!(page.status, StatusCode::OK, "no redirect: {page:?}");
        let link =
            page.text.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
        let url = Url::parse(&link).unwrap();
        assert_eq!((url.host_str(), url.port(), url.scheme()), (Some("127.0.0.1"), Some(50000), "http"));
        assert!(link.ends_with("&state=0123456789abcdef"), "{link}");
        assert!(page.text.contains("|vera"), "says who: {}", page.text);
        url.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned()
    };
    let redeem = async |body: Json| stage.world.post(&Credential::Nothing, "/v1/auth/token", &body).await;
    // With another proof: nothing, and the code is spent.
    let wrong = code().await;
    let other = "x".repeat(43);
    stage.refused(&redeem(json!({ "code": wrong, "code_verifier": other })).await, "wrong_verifier");
    stage.refused(&redeem(json!({ "code": wrong, "code_verifier": verifier })).await, "unknown_code");
    for (body, status) in [
        (json!({ "code": "x" }), 400),
        (json!({ "code_verifier": verifier }), 400),
        (json!({ "code": "x", "code_verifier": "short" }), 400),
        (json!({ "code": "x", "code_verifier": verifier, "device_code": "y" }), 400),
        (json!({ "device_code": "y" }), 401),
        (json!({ "token": "y" }), 422),
        (json!({ "code": "x".repeat(5_000), "code_verifier": verifier }), 413),
        (json!({}), 401),
    ] {
        let answer = redeem(body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
    }
    // A second credential is never passed over.
    let grant = json!({ "code": code().await, "code_verifier": verifier });
    let vera = stage.world.person("vera", &["viewer"]);
    let both = stage.world.post(&vera, "/v1/auth/token", &grant).await;
    assert_eq!(both.status, StatusCode::UNAUTHORIZED, "{both:?}");
    let good = redeem(grant.clone()).await;
    assert_eq!(good.status, StatusCode::OK, "{good:?}");
    assert_eq!(redeem(grant).await.status, StatusCode::UNAUTHORIZED, "once");
    let token = Credential::Token(good.json()["access_token"].as_str().unwrap().to_owned());
    assert_eq!(stage.world.get(&token, "/v1/agents").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_provider_that_fails_is_an_outage_and_never_a_way_in() {
    let stage = Stage::new().await;
    let replies = [
        Reply::Json(500, json!({ "error": "server_error" })),
        Reply::Json(400, json!({ "error": "invalid_client", "error_description": "<script>" })),
        Reply::Json(200, json!({ "access_token": "at", "token_type": "Bearer" })),
        Reply::Json(200, json!([])),
        Reply::Huge,
        Reply::Redirect(format!("{}/jwks", stage.liar.issuer)),
    ];
    let outage = async |stage: &Stage, reply: Reply| {
        let begun = stage.begin("").await;
        stage.liar.replies(reply);
        let answer = stage.back(&begun.cookie, &[("code", "c"), ("state", &begun.state)]).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert!(answer.headers.contains_key(RETRY_AFTER) && !answer.text.contains("script"), "{answer:?}");
    };
    for reply in replies {
        outage(&stage, reply).await;
    }
    outage(&Stage::soon_silent().await, Reply::Silence).await;
    // What the provider refuses is refused.
    let begun = stage.begin("").await;
    stage.liar.replies(Reply::Json(400, json!({ "error": "invalid_grant" })));
    let answer = stage.back(&begun.cookie, &[("code", "c"), ("state", &begun.state)]).await;
    stage.refused(&answer, "code_refused");
    for (error, reason) in [("access_denied", "access_denied"), ("made_up\n", "no_code")] {
        let begun = stage.begin("").await;
        stage.refused(&stage.back(&begun.cookie, &[("error", error), ("state", &begun.state)]).await, reason);
    }
}

#[tokio::test]
async fn nobody_logs_in_before_the_provider_is_known_and_is_who_it_says() {
    let wrong = [
        json!({ "issuer": "https://other.example" }),
        json!({ "token_endpoint": "http://10.0.0.1/token" }),
        json!({ "jwks_uri": null }),
    ];
    for metadata in wrong {
        let liar = Liar::start().await;
        *liar.metadata.lock().unwrap() = metadata;
        let stage = Stage::unready(liar, |_| {}).await;
        let answer = stage.authorize("").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert!(answer.headers.contains_key(RETRY_AFTER));
        let state = "A".repeat(43);
        let back = stage.back("caxton-login=x", &[("code", "c"), ("state", &state)]).await;
        assert_eq!(back.status, StatusCode::UNAUTHORIZED);
        stage.world.stop().await;
    }
    // A gateway without a provider has no such thing.
    let world = World::new().await;
    for path in ["/v1/auth/oauth2/authorize", "/v1/auth/oauth2/callback?code=c&state=s"] {
        assert_eq!(world.get(&Credential::Nothing, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let device = world.post(&Credential::Nothing, "/v1/auth/oauth2/device", &json!({})).await;
    assert_eq!(device.status, StatusCode::NOT_FOUND);
    let grant = json!({ "device_code": "x" });
    assert_eq!(
        world.post(&Credential::Nothing, "/v1/auth/token", &grant).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn logins_under_way_are_bounded() {
    let stage = Stage::with(|settings| {
        let login = settings.authn.oauth2.as_mut().unwrap();
        login.max_logins_per_address = 2;
    })
    .await;
    let first = stage.begin("").await;
    stage.begin("").await;
    let full = stage.authorize("").await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE, "{full:?}");
    assert!(full.headers.contains_key(RETRY_AFTER) && !full.headers.contains_key(LOCATION));
    stage.back(&first.cookie, &[("code", "c"), ("state", &first.state), ("error", "x")]).await;
    assert_eq!(stage.authorize("").await.status, StatusCode::SEE_OTHER, "one has come back");
    for expected in [200, 200, 503] {
        let answer = stage.world.post(&Credential::Nothing, "/v1/auth/oauth2/device", &json!({})).await;
        assert_eq!(answer.status.as_u16(), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_device_asks_no_faster_than_it_may_and_gets_one_session() {
    let stage = Stage::new().await;
    let begin = async |stage: &Stage| {
        let begun = stage.world.post(&Credential::Nothing, "/v1/auth/oauth2/device", &json!({})).await.json();
        json!({ "device_code": begun["device_code"], "user_code": begun["user_code"] })
    };
    let begun = begin(&stage).await;
    assert_eq!(begun["user_code"], "ABCD-EFGH");
    assert_ne!(begun["device_code"], "d", "the provider's own code stays here");
    let grant = json!({ "device_code": begun["device_code"] });
    let ask = async || stage.world.post(&Credential::Nothing, "/v1/auth/token", &grant).await;
    stage.liar.replies(Reply::Json(400, json!({ "error": "authorization_pending" })));
    loop {
        let (began, before) = (Instant::now(), stage.liar.asked.lock().unwrap().len());
        let (one, two) = (ask().await, ask().await);
        if began.elapsed() >= Duration::from_secs(1) {
            // The interval has passed between the two, or has begun before the first.
            continue;
        }
        let reason = |answer: &Answer| answer.json()["reason"].as_str().unwrap().to_owned();
        assert!(one.status == StatusCode::BAD_REQUEST && two.status == StatusCode::BAD_REQUEST);
        if reason(&one) == "slow_down" {
            continue;
        }
        assert_eq!((reason(&one).as_str(), reason(&two).as_str()), ("authorization_pending", "slow_down"));
        let asked = stage.liar.asked.lock().unwrap().len();
        assert_eq!(asked, before + 1, "the provider was asked once");
        break;
    }
    assert!(told(&stage.world).iter().all(|line| !line.contains("oauth2:")), "to wait is no failure");
    // No nonce in this flow; everything else must be as ever.
    let mut claims = changed(stage.liar.claims(""), "nonce", Json::Null);
    stage.liar.answers(&stage.liar.signed(&claims));
    let mut answer = ask().await;
    while answer.status == StatusCode::BAD_REQUEST {
        answer = ask().await;
    }
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(ask().await.status, StatusCode::UNAUTHORIZED, "once");
    // Said no; lied about; not there.
    claims["aud"] = json!("somebody-else");
    let lie = stage.liar.signed(&claims);
    for (reply, status) in [
        (Reply::Json(400, json!({ "error": "access_denied" })), 401),
        (Reply::Json(400, json!({ "error": "expired_token" })), 401),
        (Reply::Json(200, json!({ "access_token": "at", "token_type": "Bearer", "id_token": lie })), 401),
        (Reply::Json(500, json!({ "error": "server_error" })), 503),
        (Reply::Silence, 503),
    ] {
        let silent = matches!(reply, Reply::Silence).then_some(Stage::soon_silent());
        let silent = futures::future::OptionFuture::from(silent).await;
        let stage = silent.as_ref().unwrap_or(&stage);
        let grant = json!({ "device_code": begin(stage).await["device_code"] });
        stage.liar.replies(reply);
        let answer = stage.world.post(&Credential::Nothing, "/v1/auth/token", &grant).await;
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_told_of_somebody_else_is_not_believed_of_this_person() {
    let liar = Liar::start().await;
    let place: Url = format!("{}/userinfo", liar.issuer).parse().unwrap();
    let stage = Stage::unready(liar, |settings| {
        settings.authn.oauth2.as_mut().unwrap().userinfo_endpoint = Some(place.into())
    })
    .await;
    healthy(&stage.world, "oauth2").await;
    for other in [json!({ "sub": "olivia", "roles": ["admin"] }), json!({ "roles": ["admin"] })] {
        *stage.liar.userinfo.lock().unwrap() = other;
        let answer = stage.login(|liar, claims| liar.signed(&claims)).await;
        stage.refused(&answer, "wrong_person");
    }
    // It adds; it does not change what the ID token says, and says nothing that only the ID token can.
    *stage.liar.userinfo.lock().unwrap() =
        json!({ "sub": "vera", "roles": ["admin"], "groups": ["staff"], "aud": "x", "exp": 1 });
    let answer = stage.login(|liar, claims| liar.signed(&claims)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let token = Credential::Token(answer.json()["access_token"].as_str().unwrap().to_owned());
    let keys = stage.world.get(&token, "/v1/auth/keys").await;
    assert_eq!(keys.status, StatusCode::FORBIDDEN, "a viewer still: {keys:?}");
}

#[tokio::test]
async fn a_page_that_sends_browsers_here_blocks_no_address() {
    let stage = Stage::with(|settings| settings.failures = Some(Default::default())).await;
    for _ in 0..5 {
        let answer = stage.back("", &[("code", "c"), ("state", "x")]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let vera = stage.world.person("vera", &["viewer"]);
    assert_eq!(stage.world.get(&vera, "/v1/agents").await.status, StatusCode::OK);
    // Codes that a program makes up are guesses.
    let guess = json!({ "code": "x", "code_verifier": "x".repeat(43) });
    for _ in 0..3 {
        stage.world.post(&Credential::Nothing, "/v1/auth/token", &guess).await;
    }
    let blocked = stage.world.request(&vera, Method::GET, "/v1/agents");
    assert_eq!(send(blocked).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(stage.authorize("").await.status, StatusCode::TOO_MANY_REQUESTS);
}

/// Pictures and frames of any page would take the places of everybody behind one address.
#[tokio::test]
async fn a_login_begins_where_a_person_goes_and_nowhere_else() {
    let stage = Stage::new().await;
    let begin = |mode: &str, destination: &str| {
        let request = stage.client.get(stage.world.url("/v1/auth/oauth2/authorize"));
        send(request.header("sec-fetch-mode", mode).header("sec-fetch-dest", destination))
    };
    for (mode, destination) in [("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")] {
        let answer = begin(mode, destination).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{mode}, {destination}: {answer:?}");
        assert!(!answer.headers.contains_key(SET_COOKIE));
    }
    assert_eq!(begin("navigate", "document").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_credential_beside_a_login_is_not_passed_over() {
    let stage = Stage::new().await;
    let begun = stage.begin("").await;
    stage.liar.answers(&stage.liar.signed(&stage.liar.claims(&begun.nonce)));
    let key = "cax_live_000000000000_0000000000000000000000000000000000000000000000000";
    for path in ["authorize".to_owned(), format!("callback?code=c&state={}", begun.state)] {
        let request = stage.client.get(stage.world.url(&format!("/v1/auth/oauth2/{path}")));
        let answer = send(request.header("x-api-key", key).header("cookie", &begun.cookie)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}: {answer:?}");
    }
    let body = json!({ "code": "c", "code_verifier": "v".repeat(43) });
    let request = stage.client.post(stage.world.url("/v1/auth/token")).header("x-api-key", key).json(&body);
    let answer = send(request).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    let told = told(&stage.world);
    let refusals = told.iter().filter(|line| line.contains("session: conflicting_credentials")).count();
    // The third is counted, and on record when its window is over.
    assert_eq!(refusals, 2, "{told:#?}");
}

/// A proxy shows the certificate of the browser. One that does not hold is refused, and so is one that names somebody,
/// before the login is looked at: neither costs it.
#[tokio::test]
async fn a_certificate_beside_a_login_is_not_passed_over() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use caxton::api::{ForwardedBy, Proxies};
    let (clients, directory) = (Authority::new("Client CA"), tempfile::tempdir().unwrap());
    let authorities = directory.path().join("clients.pem");
    write(&authorities, &clients.pem);
    let stage = Stage::with(|settings| {
        settings.authn.mtls = Some(caxton::authn::mtls::Settings::new(authorities));
        settings.api.proxies = Proxies {
            networks: vec!["127.0.0.1/32".parse().unwrap()],
            forwarded_by: ForwardedBy::XForwardedFor,
            certificate_header: Some("client-cert".parse().unwrap()),
        };
    })
    .await;
    let with = |identity: &Identity, request: reqwest::RequestBuilder| {
        let certificate = format!(":{}:", STANDARD.encode(&identity.certificates()[0]));
        let request = request.header("client-cert", certificate).header("x-forwarded-for", "198.51.100.7");
        send(request.header("x-forwarded-proto", "https"))
    };
    let begun = stage.begin("").await;
    let wish = || Wish::client("pay").uri("spiffe://prod.example/pay");
    let expired = clients.sign(&wish().valid(-2 * DAY, -DAY));
    let foreign = Authority::new("Other CA").sign(&wish());
    for (identity, why) in [
        (&expired, "mtls: expired"),
        (&foreign, "mtls: unknown_issuer"),
        (&clients.sign(&wish()), "session: conflicting_credentials"),
    ] {
        let get = |path: &str| stage.client.get(stage.world.url(path)).header("cookie", &begun.cookie);
        let grant = json!({ "code": "c", "code_verifier": "v".repeat(43) });
        for request in [
            get("/v1/auth/oauth2/authorize"),
            get(&format!("/v1/auth/oauth2/callback?code=c&state={}", begun.state)),
            stage.client.post(stage.world.url("/v1/auth/token")).json(&grant),
        ] {
            let answer = with(identity, request).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{why}: {answer:?}");
            assert!(!answer.headers.contains_key(SET_COOKIE) && !answer.headers.contains_key(LOCATION));
        }
        let told = told(&stage.world);
        let refusals = told.iter().filter(|line| **line == format!("- deny_explicit {why}")).count();
        // The third is counted, and on record when its window is over.
        assert_eq!(refusals, 2, "{why}: {told:#?}");
    }
    assert!(stage.liar.asked.lock().unwrap().is_empty(), "the provider was not asked");
    stage.liar.answers(&stage.liar.signed(&stage.liar.claims(&begun.nonce)));
    let good = stage.back(&begun.cookie, &[("code", "c"), ("state", &begun.state)]).await;
    assert_eq!(good.status, StatusCode::OK, "{good:?}");
    // Nor beside the session that came of it.
    let token = Credential::Token(good.json()["access_token"].as_str().unwrap().to_owned());
    let list = || stage.world.request(&token, Method::GET, "/v1/agents");
    for identity in [&expired, &foreign] {
        assert_eq!(with(identity, list()).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(send(list()).await.status, StatusCode::OK);
}
