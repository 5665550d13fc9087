//! Microsoft Sentinel by the Logs Ingestion API:
//! `POST {endpoint}/dataCollectionRules/{rule}/streams/{stream}?api-version=2023-01-01` with a token of Microsoft Entra
//! (client credentials), <https://learn.microsoft.com/azure/azure-monitor/logs/logs-ingestion-api-overview>.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::http::{HttpReceiver, SinkSecret, TlsFiles};
use super::{Acknowledged, OutgoingRecord, SendError, Sink, SinkSetupError};
use crate::clock::SharedClock;
use crate::json;
use crate::secret::{Address, Secret};

/// The most bytes of one call.
pub const SENTINEL_CALL_BYTES: usize = 1_000_000;
/// A token is replaced so long before its end.
const EARLY: i64 = 300;

/// Sentinel as receiver.
pub struct SentinelSettings {
    /// The data collection endpoint.
    pub url: Address,
    /// The immutable id of the data collection rule: `dcr-…`.
    pub rule_id: String,
    /// The stream of the rule: `Custom-CaxtonAgentEvent`.
    pub stream: String,
    /// Where tokens are issued: `https://login.microsoftonline.com/TENANT/oauth2/v2.0/token`.
    pub token_url: Address,
    /// The application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SinkSecret,
    /// What the token is for.
    pub scope: String,
    /// Certificates.
    pub tls: TlsFiles,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: i64,
}

struct Token {
    /// `Bearer …`.
    header: HeaderValue,
    /// In seconds since the Unix epoch.
    ends: i64,
}

pub(in crate::siem) struct Sentinel {
    receiver: HttpReceiver,
    issuer: HttpReceiver,
    client_id: String,
    client_secret: Secret<String>,
    scope: String,
    token: Option<Token>,
    clock: SharedClock,
}

impl Sentinel {
    /// Reads files: call it off the async threads.
    pub(in crate::siem) fn new(
        settings: SentinelSettings,
        timeout: Duration,
        clock: SharedClock,
    ) -> Result<Self, SinkSetupError> {
        let mut url = settings.url.expose().clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/dataCollectionRules/{}/streams/{}", settings.rule_id, settings.stream));
        url.set_query(Some("api-version=2023-01-01"));
        let receiver = HttpReceiver::new(Address::new(url), &settings.tls, timeout)?;
        let issuer = receiver.with_address(settings.token_url);
        let client_secret = settings.client_secret.read()?;
        let (client_id, scope) = (settings.client_id, settings.scope);
        Ok(Self { receiver, issuer, client_id, client_secret, scope, token: None, clock })
    }

    /// A token that is good for a while.
    async fn token(&mut self) -> Result<HeaderValue, SendError> {
        let now = self.clock.now_seconds();
        if let Some(token) = self.token.as_ref().filter(|token| token.ends > now) {
            return Ok(token.header.clone());
        }
        let form = Secret::new(
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &self.client_id)
                .append_pair("client_secret", self.client_secret.expose())
                .append_pair("scope", &self.scope)
                .finish(),
        );
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let answer = self.issuer.post(form.expose().clone(), headers).await?;
        if answer.status != StatusCode::OK {
            // A refusal repeats no secret, but says which application or tenant is wrong.
            return Err(SendError::retry(format!("no token: {}", answer.quoted())));
        }
        let unreadable = || SendError::retry("the token endpoint answered something else than a token");
        let token: TokenAnswer = json::parse_as(&answer.body).map_err(|_| unreadable())?;
        let bearer = Secret::new(format!("Bearer {}", token.access_token));
        let mut header = HeaderValue::from_str(bearer.expose()).map_err(|_| unreadable())?;
        header.set_sensitive(true);
        let ends = now.saturating_add(token.expires_in.clamp(0, 86_400)).saturating_sub(EARLY);
        self.token = Some(Token { header: header.clone(), ends });
        Ok(header)
    }
}

#[async_trait::async_trait]
impl Sink for Sentinel {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let texts: Vec<&str> = batch.iter().map(|record| record.text.as_str()).collect();
        let body = format!("[{}]", texts.join(","));
        if body.len() > SENTINEL_CALL_BYTES {
            return Err(SendError::Refused(format!("{} bytes are more than a call may have", body.len())));
        }
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(http::header::AUTHORIZATION, self.token().await?);
        let answer = self.receiver.post(body, headers).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // The next try has another token.
            self.token = None;
        }
        answer.acknowledged()?;
        Ok(Acknowledged::default())
    }
}
