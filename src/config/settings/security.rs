//! Identity, policy, limits, and the decision log.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::attributes::Attributes;
use super::authorization::Authorization;
use super::identity::{ApiKeys, Authentication};
use super::oauth2::Oauth2;
use super::server::Server;
use crate::config::kind::{
    Choice, File, Flag, Integer, List, Named, Parsed, Rate, RateOf, Size, Span, printable,
};
use crate::config::problem::{Code, Problem};
use crate::config::reader::Reader;
use crate::secrets::VaultSettings;

/// `security.*`
pub struct Security {
    /// Values that weaken a protection are accepted.
    pub allow_weakened: bool,
    /// Tokens.
    pub authentication: Authentication,
    /// Login of people; `None`: nobody can log in.
    pub oauth2: Option<Oauth2>,
    /// Policies.
    pub authorization: Authorization,
    /// What is known of people and things.
    pub attributes: Attributes,
    /// Proxies that may ask about the requests of others.
    pub ext_authz_peers: Vec<ipnet::IpNet>,
    /// API keys.
    pub api_keys: ApiKeys,
    /// Calls of one principal.
    pub rate_limit: RateLimit,
    /// The decision log.
    pub audit: Audit,
    /// Lockdown holds from the start.
    pub lockdown: bool,
    /// The Vault that secrets come from.
    pub vault: Option<VaultSettings>,
    /// When an address is blocked; `None`: never.
    pub failures: Option<Failures>,
}

impl Security {
    pub(super) fn read(r: &mut Reader<'_>, server: &Server) -> Self {
        let data_dir = &server.data_dir;
        let authentication = Authentication::read(r);
        let oauth2 = Oauth2::read(r, server.public_url.as_ref());
        if let Some(login) = oauth2.as_ref().filter(|login| login.issuer == authentication.tokens.issuer) {
            let problem = Problem::error(Code::Contradiction, "is the issuer of the gateway's own tokens");
            r.tell(
                problem.with_help(format!("another one than `{}`", login.issuer)),
                "security.oauth2.issuer",
            );
        }
        Self {
            allow_weakened: r.weakened,
            authentication,
            oauth2,
            authorization: Authorization::read(r),
            attributes: Attributes::read(r),
            ext_authz_peers: r.value("security.ext_authz.peers", List(Parsed::<ipnet::IpNet>::new("an address range")), Vec::new(), "Proxies that may ask about the requests of others at `/v1/ext_authz`, as `127.0.0.1/32`. Without any, nobody may."),
            api_keys: ApiKeys::read(r),
            rate_limit: RateLimit::read(r),
            audit: Audit::read(r, data_dir),
            lockdown: r.value(
                "security.emergency.enable_lockdown_mode",
                Flag,
                false,
                "Lockdown holds from the start: policies see `context.system.lockdown`.",
            ),
            vault: super::vault::read(r),
            failures: Failures::read(r),
        }
    }
}

/// What blocks an address: `security.emergency.*`
#[derive(Debug)]
pub struct Failures {
    /// So many refused credentials.
    pub attempts: NonZeroU32,
    /// For so long.
    pub block: Duration,
}

impl Failures {
    fn read(r: &mut Reader<'_>) -> Option<Self> {
        const SWITCH: &str = "security.emergency.auto_block_suspicious_ips";
        let on = r.value(
            SWITCH,
            Flag,
            false,
            "An address whose credentials were refused too often is not listened to for a while. Behind a proxy, name it in `server.trusted_proxies`: else all callers have its address.",
        );
        let attempts = r.value(
            "security.emergency.max_failed_auth_attempts",
            Integer::new(1..=10_000, "attempts"),
            3,
            "Refused credentials after which an address is blocked.",
        );
        let block = r.value(
            "security.emergency.block_duration",
            Span(Duration::from_secs(1)..=Duration::from_secs(30 * 86_400)),
            Duration::from_secs(15 * 60),
            "How long an address is blocked, and after how long its failures are forgotten.",
        );
        for key in ["max_failed_auth_attempts", "block_duration"] {
            let key = format!("security.emergency.{key}");
            if !on && r.is_given(&key) {
                let problem = Problem::error(Code::Missing, "has no effect: addresses are not blocked");
                r.tell(problem.with_help(format!("set `{SWITCH}: true`, or remove the key")), &key);
            }
        }
        let attempts = NonZeroU32::new(attempts)?;
        on.then_some(Self { attempts, block })
    }
}

/// `security.rate_limit.*`
#[derive(Debug)]
pub struct RateLimit {
    /// Calls of one principal.
    pub per_principal: Rate,
    /// Calls of one principal at once.
    pub burst: u32,
    /// Calls of one principal on a route.
    pub per_route: Vec<(String, Rate)>,
    /// Messages of one principal to a capability.
    pub per_capability: Vec<(String, Rate)>,
    /// Principals that are counted at once.
    pub max_principals: usize,
}

impl RateLimit {
    fn read(r: &mut Reader<'_>) -> Self {
        let rate = Rate { count: 600, per: Duration::from_secs(60) };
        let limit = Self {
            per_principal: r.value(
                "security.rate_limit.per_principal",
                RateOf,
                rate,
                "Calls of one principal; more are answered with 429.",
            ),
            burst: r.value(
                "security.rate_limit.burst",
                Integer::new(1..=1_000_000, "calls"),
                100,
                "Calls of one principal at once.",
            ),
            per_route: r.value(
                PER_ROUTE,
                Named::of_tools(RateOf),
                Vec::new(),
                "Calls of one principal on a route, by its template, such as `/v1/messages: 50/minute`. The count of the rate may come at once.",
            ),
            per_capability: r.value(
                PER_CAPABILITY,
                Named::of_tools(RateOf),
                Vec::new(),
                "Messages of one principal to a capability, such as `desk: 50/minute`, whichever agent takes them.",
            ),
            max_principals: r.value(
                "security.rate_limit.max_principals",
                Integer::new(100..=10_000_000, "principals"),
                100_000,
                "Principals that are counted at once.",
            ),
        };
        let keys = ("security.rate_limit.per_principal", "security.rate_limit.burst");
        check_rate(r, &limit.per_principal, limit.burst, keys);
        limit.check_names(r);
        limit
    }

    /// A limit of something that is not there would look like a protection.
    fn check_names(&self, r: &mut Reader<'_>) {
        let guarded =
            |endpoint: &crate::api::Endpoint| matches!(endpoint.access, crate::api::Access::Action(_));
        let routes: BTreeSet<&str> =
            crate::api::endpoints().iter().filter(|one| guarded(one)).map(|one| one.path).collect();
        for (route, rate) in &self.per_route {
            if !routes.contains(route.as_str()) {
                let problem =
                    Problem::error(Code::OutOfRange, format!("`{}` is not a route", printable(route)));
                r.tell(
                    problem.with_help(format!(
                        "write one of {}",
                        routes.iter().copied().collect::<Vec<_>>().join(", ")
                    )),
                    PER_ROUTE,
                );
            }
            check_rate(r, rate, rate.count, (PER_ROUTE, PER_ROUTE));
        }
        for (capability, rate) in &self.per_capability {
            if crate::model::CapabilityName::parse(capability).is_err() {
                let message = format!("`{}` is not the name of a capability", printable(capability));
                r.tell(Problem::error(Code::WrongType, message), PER_CAPABILITY);
            }
            check_rate(r, rate, rate.count, (PER_CAPABILITY, PER_CAPABILITY));
        }
    }
}

const PER_ROUTE: &str = "security.rate_limit.per_route";
const PER_CAPABILITY: &str = "security.rate_limit.per_capability";

/// The limiter counts in nanoseconds; what it could not count it must not be given.
pub(super) fn check_rate(r: &mut Reader<'_>, rate: &Rate, burst: u32, (rate_key, burst_key): (&str, &str)) {
    let interval = rate.per / rate.count.max(1);
    let refill = interval.checked_mul(burst);
    if interval.is_zero() || refill.is_none_or(|refill| refill > MAX_REFILL) {
        let problem = Problem::error(
            Code::Contradiction,
            "a burst would take more than 366 days to refill, or no time at all",
        );
        let problem = problem.with_help(format!("make `{burst_key}` smaller, or the rate usual"));
        r.tell(problem, if r.is_given(rate_key) { rate_key } else { burst_key });
    }
}

/// The longest time in which a used-up burst may refill.
const MAX_REFILL: Duration = Duration::from_secs(366 * 86_400);

/// When a record counts as kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In the kernel: survives the process.
    Written,
    /// On the disk: survives the host.
    Synced,
}

/// `security.audit.*`
#[derive(Debug)]
pub struct Audit {
    /// The decision log.
    pub log_file: PathBuf,
    /// When a record counts as kept.
    pub durability: Durability,
    /// Records that may wait to be written.
    pub queue: usize,
    /// Time a record may wait before the call is refused.
    pub deadline: Duration,
    /// Time between two syncs of the disk, with `written`.
    pub sync_interval: Duration,
    /// Bytes of a record.
    pub max_record_bytes: usize,
    /// Keep what is needed to decide again.
    pub replayable: bool,
    /// For how long refusals of one kind are counted into few records.
    pub refusal_window: Duration,
    /// Kinds of refusals that are counted one by one.
    pub refusal_kinds: usize,
}

/// The shape of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct JsonLines;

impl Audit {
    fn read(r: &mut Reader<'_>, data_dir: &Path) -> Self {
        let millis = |low, high| Span(Duration::from_millis(low)..=Duration::from_millis(high));
        r.value(
            "security.audit.audit_log_format",
            Choice(&[("json", JsonLines)]),
            JsonLines,
            "One JSON object a line.",
        );
        Self {
            log_file: r.value("security.audit.audit_log_file", File { must_exist: false }, data_dir.join("audit.log"), "The decision log; made with mode 0600."),
            durability: r.value("security.audit.durability", Choice(&[("written", Durability::Written), ("synced", Durability::Synced)]), Durability::Written, "When a record counts as kept, which comes before the effect: in the kernel (survives the process), or on the disk (survives the host)."),
            queue: r.value("security.audit.queue", Integer::new(16..=1_000_000, "records"), 4_096, "Records that may wait to be written."),
            deadline: r.value("security.audit.deadline", millis(1, 10_000), Duration::from_millis(100), "Time a record may wait; then the call is refused with 503."),
            max_record_bytes: r.value("security.audit.max_record_bytes", Size(16 << 10..=16 << 20), 512 << 10, "Bytes of a record; a longer one keeps a digest of its context."),
            replayable: r.value("security.audit.replayable", Flag, false, "Keep texts as they are, and the attributes of principal and resource, so that `caxton policy replay` can evaluate decisions again. They may hold personal data."),
            refusal_window: r.value("security.audit.refusal_window", Span(Duration::from_secs(1)..=Duration::from_secs(3_600)), Duration::from_secs(60), "Refused credentials and calls above a rate are counted for so long by address, principal and reason: the first, each doubling and the last are a record, with `count`."),
            refusal_kinds: r.value("security.audit.refusal_kinds", Integer::new(16..=100_000, "kinds"), 4_096, "Addresses, principals and reasons that are counted one by one; the rest share a count for each reason."),
            sync_interval: r.value("security.audit.sync_interval", millis(10, 60_000), Duration::from_secs(1), "Time between two syncs of the disk, with `written`."),
        }
    }
}
