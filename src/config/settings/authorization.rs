//! `security.authorization.*`: where policies are, which may decide, and how changes come.

use std::path::PathBuf;
use std::time::Duration;

use super::server::default_directory;
use crate::config::gateway::{FollowSettings, PublishedSettings, RemoteSettings};
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::{Reader, ValueSource};
use crate::config::value_type::{Choice, DirectoryPath, DurationRange, FilePath, Flag, HttpsUrl, Size};
use crate::policy::{self, OnPolicyError};

/// What the section says of the policies.
pub(super) struct Authorization {
    /// Policies; `None` is the shipped set.
    pub(super) policy_dir: Option<PathBuf>,
    /// Schemas; `None` is the shipped set.
    pub(super) schema_dir: Option<PathBuf>,
    /// Whether both stand beside the shipped set, or in its place.
    pub(super) extend_shipped: bool,
    /// Roles with permission words; `None`: no such file.
    pub(super) roles_file: Option<PathBuf>,
    /// Published versions; with them the newest decides, and not the directories.
    pub(super) published: Option<PublishedSettings>,
    /// How changes are noticed.
    pub(super) follow: FollowSettings,
    /// A set that is asked as well and does not decide.
    pub(super) candidate_dir: Option<PathBuf>,
    /// Bytes of a bundle.
    pub(super) max_bundle_bytes: u64,
    /// What an error in a policy means.
    pub(super) policy: policy::Settings,
}

const SCHEMAS: &str = "schemas";
const STORE: &str = "security.authorization.version_store";
const KEYS: &str = "security.authorization.trusted_keys_file";
const WATCH: &str = "security.authorization.watch";
const EXTEND: &str = "security.authorization.extend_shipped";
const ROLES: &str = "security.authorization.roles_file";
const URL: &str = "security.authorization.bundle.url";

impl Authorization {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        let version_store = r.optional(
            STORE,
            DirectoryPath { must_exist: true },
            "Published versions (`caxton policy publish`): the newest decides, and a newer one is live within a second. Instead of `policy_dir`; of `schema_dir` only the pinned tools count then.",
        );
        let stored = version_store.is_some();
        let mut directory = |key: &str, name: &str, doc| {
            let found = r.optional(key, DirectoryPath { must_exist: true }, doc);
            // With published versions the schemas are still where the pinned tools are.
            let found = if stored && name != SCHEMAS {
                found
            } else {
                found.or_else(|| default_directory(r, key, name))
            };
            if found.is_none() && !r.is_given(key) {
                let none = if stored { "(published versions)" } else { "(shipped set)" };
                r.set_in_force(key, none.to_owned(), ValueSource::Default);
            }
            found
        };
        let policy_dir = directory(
            "security.authorization.policy_dir",
            "policies",
            "Policies (`*.cedar`). Without the key: `policies`, if that directory exists, else the shipped set.",
        );
        let schema_dir = directory(
            "security.authorization.schema_dir",
            SCHEMAS,
            "Schemas (`*.cedarschema`). Without the key: `schemas`, if that directory exists, else the shipped set.",
        );
        let extend_shipped = r.value(
            EXTEND,
            Flag,
            false,
            "The files of `policy_dir` and `schema_dir` stand beside the shipped set; without this, in its place.",
        );
        let roles_file = r.optional(
            ROLES,
            FilePath { must_exist: true },
            "Roles with permission words (`roles.yaml`), compiled to policies. A built-in role that it names is replaced.",
        );
        let trusted_keys = r.optional(
            KEYS,
            FilePath { must_exist: true },
            "Public keys of which one must have signed a version before it decides. Without the key no signature is needed. Read anew with each change, so that keys can rotate.",
        );
        let watch = r.value(
            WATCH,
            Flag,
            false,
            "Read policies and schemas again when their directories change. Off: SIGHUP does. What is not valid, or still changing, is not taken.",
        );
        let remote = remote(r);
        let candidate_dir = r.optional(
            "security.authorization.candidate_dir",
            DirectoryPath { must_exist: true },
            "A folder with `policies` (and `schemas`): a candidate set that is evaluated for every decision and has no effect (shadow mode). Different decisions are counted and recorded (`shadow`). Read again at each reload.",
        );
        let max_bundle_bytes = r.value(
            "security.authorization.max_bundle_bytes",
            Size(64 << 10..=64 << 20),
            16 << 20,
            "Bytes of a policy bundle from `bundle.url` or the API.",
        );
        let on_policy_error = r.value(
            "security.authorization.on_policy_error",
            Choice(&OnPolicyError::WORDS),
            OnPolicyError::default(),
            "What an error while a policy is evaluated means: an error in a `forbid` denies, or any error denies.",
        );
        check(r, stored);
        Self {
            policy_dir,
            schema_dir,
            extend_shipped,
            roles_file,
            published: version_store.map(|store| PublishedSettings { store, trusted_keys }),
            follow: FollowSettings { watch, remote, ..Default::default() },
            candidate_dir,
            max_bundle_bytes: max_bundle_bytes as u64,
            policy: policy::Settings { on_policy_error, ..Default::default() },
        }
    }
}

/// Keys that have no effect together are mistakes: each is a protection, or a set of policies, that the operator relies on.
fn check(r: &mut Reader<'_>, stored: bool) {
    for key in ["security.authorization.policy_dir", WATCH, EXTEND, ROLES] {
        if stored && r.is_given(key) {
            let problem =
                ConfigProblem::error(ProblemCode::Contradiction, "has no effect: published versions decide");
            r.report(problem.with_help(format!("remove it, or remove `{STORE}`")), key);
        }
    }
    for key in [KEYS, URL] {
        if !stored && r.is_given(key) {
            let problem =
                ConfigProblem::error(ProblemCode::Missing, "has no effect: no version store is given");
            r.report(
                problem.with_help(format!("set `{STORE}`; files in directories carry no signature")),
                key,
            );
        }
    }
    if r.is_given(URL) && !r.is_given(KEYS) {
        let problem =
            ConfigProblem::error(ProblemCode::Missing, "the bundle server could replace the policies");
        r.report(problem.with_help(format!("give `{KEYS}`")), URL);
    }
}

/// `security.authorization.bundle.*`: where bundles are fetched from; `None` without an address.
fn remote(r: &mut Reader<'_>) -> Option<RemoteSettings> {
    let url = r.optional(
        URL,
        HttpsUrl { may_weaken: false },
        "Where a signed bundle (`caxton policy bundle build`) is fetched from. The last good one stays in the version store.",
    );
    let interval = r.value(
        "security.authorization.bundle.poll_interval",
        DurationRange::seconds(1, 86_400),
        Duration::from_secs(60),
        "How often `bundle.url` is asked whether there is another bundle.",
    );
    let longest_wait = r.value(
        "security.authorization.bundle.max_wait",
        DurationRange::seconds(1, 86_400),
        Duration::from_secs(600),
        "The longest time between questions to a bundle server that fails.",
    );
    Some(RemoteSettings { url: url?, interval, longest_wait })
}
