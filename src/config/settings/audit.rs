//! `security.audit.*`: the decision log.

use std::path::Path;
use std::time::Duration;

use crate::audit::{Durability, Settings};
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::reader::Reader;
use crate::config::value_type::{Choice, DurationRange, FilePath, Flag, Integer, List, Size};

/// What the section says of several modules.
pub(super) struct Audit {
    pub(super) journal: Settings,
    /// Where the records are sent.
    pub(super) siem: crate::siem::Settings,
    /// Whether records keep what is needed to decide again.
    pub(super) replayable: bool,
}

const DURABILITIES: &[(&str, Durability)] =
    &[("written", Durability::Written), ("synced", Durability::Synced)];

/// The shape of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct JsonLines;

/// The kinds of records that the guides choose among.
const EVENTS: &[(&str, &str)] = &[
    ("authentication", "authentication"),
    ("authorization", "authorization"),
    ("agent_creation", "agent_creation"),
    ("agent_deletion", "agent_deletion"),
    ("configuration_change", "configuration_change"),
    ("admin_action", "admin_action"),
];

/// A list that names every kind is what holds; one that leaves a kind out would leave out its records.
fn check_events(r: &mut Reader<'_>) {
    const KEY: &str = "security.audit.audit_events";
    let all: Vec<&str> = EVENTS.iter().map(|(name, _)| *name).collect();
    let named = r.value(
        KEY,
        List(Choice(EVENTS)),
        all.clone(),
        "Kinds of records. All of them are written, and those of tools, memory and messages too.",
    );
    if let Some(missing) = all.iter().find(|name| !named.contains(name)) {
        let message = format!("`{missing}` is left out, and records of every kind are written");
        let problem = ConfigProblem::error(ProblemCode::Weakens, message);
        r.report(problem.with_help("name all six kinds, or remove the key"), KEY);
    }
}

impl Audit {
    pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path) -> Self {
        r.value(
            "security.audit.audit_log_format",
            Choice(&[("json", JsonLines)]),
            JsonLines,
            "One JSON object a line.",
        );
        check_events(r);
        let usual = Settings::default();
        let log_file = data_dir.join("audit.log");
        let path = r.value(
            "security.audit.audit_log_file",
            FilePath { must_exist: false },
            log_file,
            "The decision log; made with mode 0600.",
        );
        let durability = r.value(
            "security.audit.durability",
            Choice(DURABILITIES),
            usual.durability,
            "When a record counts as kept, which comes before the effect: in the kernel (survives the process), or on the disk (survives the host).",
        );
        let queue = r.value(
            "security.audit.queue",
            Integer::new(16..=1_000_000, "records"),
            usual.queue,
            "Records that may wait to be written.",
        );
        let deadline = r.value(
            "security.audit.deadline",
            DurationRange::millis(1, 10_000),
            usual.deadline,
            "Time a record may wait; then the call is refused with 503.",
        );
        let record_bytes = r.value(
            "security.audit.max_record_bytes",
            Size(16 << 10..=16 << 20),
            usual.record_bytes,
            "Bytes of a record; a longer one keeps a digest of its context.",
        );
        let replayable = r.value(
            "security.audit.replayable",
            Flag,
            false,
            "Keep texts as they are, and the attributes of principal and resource, so that `caxton policy replay` can evaluate decisions again. They may hold personal data.",
        );
        let refusal_window = r.value(
            "security.audit.refusal_window",
            DurationRange::seconds(1, 3_600),
            usual.refusal_window,
            "Refused credentials and calls above a rate are counted for so long by address, principal and reason: the first, each doubling and the last are a record, with `count`.",
        );
        let refusal_kinds = r.value(
            "security.audit.refusal_kinds",
            Integer::new(16..=100_000, "kinds"),
            usual.refusal_kinds,
            "Addresses, principals and reasons that are counted one by one; the rest share a count for each reason.",
        );
        let rotation_bytes = r.value(
            "security.audit.rotation_size",
            Size(64 << 10..=64 << 30),
            usual.rotation_bytes,
            "The file is closed and a new one begun when it has this many bytes.",
        );
        let rotation_interval = r.value(
            "security.audit.rotation_interval",
            DurationRange::seconds(60, 366 * 86_400),
            usual.rotation_interval,
            "The file is closed and a new one begun when its first record is this old.",
        );
        let compresses = r.value(
            "security.audit.compression",
            Choice(&[("zstd", true), ("none", false)]),
            usual.compresses,
            "Whether closed files are compressed.",
        );
        let retention_days: u64 = r.value(
            "security.audit.retention_days",
            Integer::new(0..=36_500, "days"),
            90,
            "Closed files are deleted when their last record is this old, and a signed tombstone stays; 0: never.",
        );
        let checkpoint_interval = r.value(
            "security.audit.checkpoint_interval",
            DurationRange::seconds(1, 86_400),
            usual.checkpoint_interval,
            "Time between two signed checkpoints, when there are new records.",
        );
        let checkpoint_key = r.optional(
            "security.audit.checkpoint_key_file",
            FilePath { must_exist: false },
            "Key that signs checkpoints; made with mode 0600 when it is not there. Otherwise beside the log.",
        );
        let fsync_interval = r.value(
            "security.audit.sync_interval",
            DurationRange::millis(10, 60_000),
            usual.fsync_interval,
            "Time between two syncs of the disk, with `written`.",
        );
        let siem = super::audit_sinks::read(r, data_dir, &path);
        let journal = Settings {
            path,
            durability,
            queue,
            deadline,
            fsync_interval,
            retry: usual.retry,
            record_bytes,
            rotation_bytes,
            rotation_interval,
            compresses,
            retention: (retention_days > 0).then(|| Duration::from_secs(retention_days * 86_400)),
            checkpoint_interval,
            checkpoint_key,
            refusal_window,
            refusal_kinds,
        };
        Self { journal, siem, replayable }
    }
}
