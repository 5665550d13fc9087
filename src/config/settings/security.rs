//! `security.*`: identity, policy, limits, and the decision log.

use super::api_keys::ApiKeys;
use super::audit::Audit;
use super::authorization::Authorization;
use super::identity::Authentication;
use super::rate_limit::RateLimits;
use super::server::Server;
use super::{attributes, emergency, vault};
use crate::api::Undeclared;
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{Choice, Flag, List, ParsedWord};
use crate::limit::{FailureSettings, QuotaSettings};
use crate::secrets::VaultSettings;
use crate::shared_state::SessionSettings;
use crate::{audit, authn, limit};

/// What the section says of the modules below it.
pub(super) struct Security {
    pub(super) authn: authn::Settings,
    pub(super) authorization: Authorization,
    pub(super) attributes: crate::attributes::Settings,
    pub(super) limit: limit::Settings,
    pub(super) quotas: QuotaSettings,
    /// When an address is blocked; `None`: never.
    pub(super) failures: Option<FailureSettings>,
    pub(super) sessions: SessionSettings,
    pub(super) audit: audit::Settings,
    /// Where the decision log is sent.
    pub(super) siem: crate::siem::Settings,
    /// Whether records keep what is needed to decide again.
    pub(super) replayable: bool,
    /// Whether lockdown holds from the start.
    pub(super) lockdown: bool,
    /// The Vault that secrets come from.
    pub(super) vault: Option<VaultSettings>,
}

impl Security {
    /// What the section says of the API goes into `server.api`.
    pub(super) fn read(r: &mut Reader<'_>, server: &mut Server) -> Self {
        let Authentication { session_timeout, jwt, tokens, dpop } =
            Authentication::read(r, &server.data_dir, &mut server.api);
        let oauth2 = super::oauth2::read(r, server.public_url.as_ref(), tokens.leeway);
        if let Some(login) = oauth2.as_ref().filter(|login| *login.issuer == *tokens.issuer) {
            let problem =
                ConfigProblem::error(ProblemCode::Contradiction, "is the issuer of the gateway's own tokens");
            let help = format!("another one than `{}`", login.issuer);
            r.report(problem.with_help(help), "security.oauth2.issuer");
        }
        let authorization = Authorization::read(r);
        let attributes = attributes::read(r, &server.data_dir);
        server.api.ext_authz_peers = r.value(
            "security.ext_authz.peers",
            List(ParsedWord::<ipnet::IpNet>::new("an address range")),
            Vec::new(),
            "Proxies that may ask about the requests of others at `/v1/ext_authz`, as `127.0.0.1/32`. Without the key, no proxy may.",
        );
        server.api.undeclared = r.value(
            "security.authzen.undeclared",
            Choice(&[("refuse", Undeclared::Refuse), ("carry", Undeclared::Carry)]),
            Undeclared::default(),
            "Properties and context keys of AuthZEN that the schema does not declare: `refuse` denies the question, `carry` shows them to policies in `context.extra`.",
        );
        let ApiKeys { keys: api_keys, rate: per_key } = ApiKeys::read(r, &server.data_dir);
        let RateLimits { principals: limit, quotas } = RateLimits::read(r, per_key);
        let Audit { journal: audit, siem, replayable } = Audit::read(r, &server.data_dir);
        let lockdown = r.value(
            "security.emergency.enable_lockdown_mode",
            Flag,
            false,
            "Lockdown holds from the start: policies see `context.system.lockdown`.",
        );
        let vault = vault::read(r);
        let failures = emergency::blocking(r);
        let mtls = server.clients.take();
        Self {
            authn: authn::Settings { jwt, api_keys, tokens, mtls, dpop, oauth2 },
            authorization,
            attributes,
            limit,
            quotas,
            failures,
            sessions: SessionSettings { timeout: session_timeout, ..Default::default() },
            audit,
            siem,
            replayable,
            lockdown,
            vault,
        }
    }
}
