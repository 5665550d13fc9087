//! `screening.*`: when untrusted text counts as flagged.

use crate::config::reader::Reader;
use crate::config::value_type::{Integer, Size};
use crate::screen::Settings;

pub(super) fn read(r: &mut Reader<'_>) -> Settings {
    let usual = Settings::default();
    Settings {
        threshold: r.value(
            "screening.threshold",
            Integer::new(1..=10_000, "of 10,000"),
            usual.threshold,
            "Score from which a text counts as flagged in `context.screening`; what happens then is policy.",
        ),
        max_bytes: r.value(
            "screening.max_bytes",
            Size(1 << 10..=64 << 20),
            usual.max_bytes,
            "Bytes of one text that are screened.",
        ),
        inline_bytes: usual.inline_bytes,
    }
}
