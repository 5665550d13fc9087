//! `security.emergency.*`: which addresses are blocked.

use std::num::NonZeroU32;

use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{DurationRange, Flag, Integer};
use crate::limit::FailureSettings;

/// `None`: no address is blocked.
pub(super) fn blocking(r: &mut Reader<'_>) -> Option<FailureSettings> {
    const SWITCH: &str = "security.emergency.auto_block_suspicious_ips";
    let usual = FailureSettings::default();
    let on = r.value(
        SWITCH,
        Flag,
        false,
        "An address whose credentials were refused too often is blocked for a while. Behind a proxy, name it in `server.trusted_proxies`: else all callers have its address.",
    );
    let attempts = r.value(
        "security.emergency.max_failed_auth_attempts",
        Integer::new(1..=10_000, "attempts"),
        usual.attempts.get(),
        "Refused credentials after which an address is blocked.",
    );
    let block = r.value(
        "security.emergency.block_duration",
        DurationRange::seconds(1, 30 * 86_400),
        usual.block,
        "How long an address is blocked, and after how long its failures are forgotten.",
    );
    for key in ["max_failed_auth_attempts", "block_duration"] {
        let key = format!("security.emergency.{key}");
        if !on && r.is_given(&key) {
            let problem =
                ConfigProblem::error(ProblemCode::Missing, "has no effect: addresses are not blocked");
            r.report(problem.with_help(format!("set `{SWITCH}: true`, or remove the key")), &key);
        }
    }
    let attempts = NonZeroU32::new(attempts)?;
    on.then_some(FailureSettings { attempts, block, max_addresses: usual.max_addresses })
}
