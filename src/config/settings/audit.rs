//! `security.audit.*`: the decision log.

use std::path::Path;

use crate::audit::{Durability, Settings};
use crate::config::reader::Reader;
use crate::config::value_type::{Choice, DurationRange, FilePath, Flag, Integer, Size};

/// What the section says of two modules.
pub(super) struct Audit {
    pub(super) journal: Settings,
    /// Whether records keep what is needed to decide again.
    pub(super) replayable: bool,
}

const DURABILITIES: &[(&str, Durability)] =
    &[("written", Durability::Written), ("synced", Durability::Synced)];

/// The shape of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct JsonLines;

impl Audit {
    pub(super) fn read(r: &mut Reader<'_>, data_dir: &Path) -> Self {
        r.value(
            "security.audit.audit_log_format",
            Choice(&[("json", JsonLines)]),
            JsonLines,
            "One JSON object a line.",
        );
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
        let fsync_interval = r.value(
            "security.audit.sync_interval",
            DurationRange::millis(10, 60_000),
            usual.fsync_interval,
            "Time between two syncs of the disk, with `written`.",
        );
        let journal = Settings {
            path,
            durability,
            queue,
            deadline,
            fsync_interval,
            retry: usual.retry,
            record_bytes,
            refusal_window,
            refusal_kinds,
        };
        Self { journal, replayable }
    }
}
