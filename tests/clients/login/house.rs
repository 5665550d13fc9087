//! A gateway whose people log in at a provider.

use caxton::authn::oauth2::{ClientSecret, Settings as Login};
use caxton::secret::Secret;
use caxton::server::Settings;
use serde_json::Value as Json;

use super::provider::{CLIENT, Provider, SECRET};
use crate::support::{Credential, PATIENCE, World, port, until};

pub(crate) struct House {
    pub(crate) world: World,
    pub(crate) provider: Provider,
}

impl House {
    /// A gateway and the real provider, which know each other.
    pub(crate) async fn open(change: impl FnOnce(&mut Settings)) -> Option<Self> {
        Self::with(|settings, _| change(settings)).await
    }

    /// The same, for who must know the provider's name.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings, &str)) -> Option<Self> {
        let port = port::free().port();
        let back = format!("http://127.0.0.1:{port}/v1/auth/oauth2/callback");
        let provider = Provider::start(&back).await?;
        let world = World::with(|settings, _| {
            settings.listen.set_port(port);
            let login = Login::new(&provider.issuer, CLIENT, back.parse().unwrap());
            let client_secret = Some(ClientSecret::Given(Secret::new(SECRET.to_owned())));
            settings.authn.oauth2 = Some(Login { client_secret, timeout: PATIENCE, ..login });
            change(settings, &provider.issuer);
        })
        .await;
        healthy(&world, "oauth2").await;
        Some(Self { world, provider })
    }
}

/// Waits until a way in works: what it needs is fetched in the background.
pub(crate) async fn healthy(world: &World, method: &str) {
    let operator = world.service("watcher", &["config:read"]);
    until(&format!("{method} comes up"), async || {
        let status = world.get(&operator, "/v1/auth/status").await.json();
        let row = |row: &&Json| row["method"] == method;
        let found = status["methods"].as_array().unwrap().iter().find(row).unwrap();
        found["healthy"] == true && found["enabled"] == true
    })
    .await;
}

pub(crate) fn bearer(pair: &Json) -> Credential {
    Credential::Token(pair["access_token"].as_str().unwrap().to_owned())
}

/// `event: detail` or `action outcome` of records about authentication, with their method.
pub(crate) fn told(world: &World) -> Vec<String> {
    let word = |value: &Json| value.as_str().unwrap_or("-").to_owned();
    let about = |record: &&Json| {
        record["action"].as_str().is_some_and(|action| action.starts_with("auth:"))
            || record["event_type"] == "authentication"
    };
    let line = |r: &Json| format!("{} {} {}", word(&r["action"]), word(&r["outcome"]), word(&r["detail"]));
    world.records().iter().filter(about).map(line).collect()
}
