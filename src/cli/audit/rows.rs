//! Records as rows of a table, and as single lines.

use comfy_table::{Cell, CellAlignment, Color};
use serde_json::Value as Json;

use super::plain_json;
use crate::audit::visible;
use crate::cli::output::{Format, table};

/// One record as one line.
pub(super) fn record_line(record: &Json, format: Format) -> String {
    match format {
        Format::Table => columns(record).join("  "),
        _ => plain_json(&record.to_string()),
    }
}

/// A table of records.
pub(super) fn rows(records: &[Json]) -> comfy_table::Table {
    let mut table = table(["seq", "time", "who", "did", "to", "decision", "policy", "µs"]);
    for record in records {
        let [seq, time, who, did, to, decision, policy, micros] = columns(record);
        let colour = if decision == "allow" { Color::Green } else { Color::Red };
        table.add_row([
            Cell::new(seq).set_alignment(CellAlignment::Right),
            Cell::new(time),
            Cell::new(who),
            Cell::new(did),
            Cell::new(to),
            Cell::new(decision).fg(colour),
            Cell::new(policy),
            Cell::new(micros).set_alignment(CellAlignment::Right),
        ]);
    }
    table
}

/// What a person wants to see of a record: number, time, who, did what, to what, decision, policies, microseconds.
pub(super) fn columns(record: &Json) -> [String; 8] {
    let text = |pointer: &str| record.pointer(pointer).and_then(Json::as_str);
    let number = |name: &str| record.get(name).map(Json::to_string).unwrap_or_default();
    let who = match (text("/subject/principal"), text("/actor")) {
        (Some(subject), Some(actor)) => format!("{} for {}", short_name(subject), short_name(actor)),
        (Some(subject), None) => short_name(subject),
        (None, _) => "-".to_owned(),
    };
    let did = text("/action").or(text("/event")).or(text("/event_type")).unwrap_or("-");
    // One record may stand for many refusals.
    let did = match record.get("count").and_then(Json::as_u64) {
        Some(count) => format!("{did} ×{count}"),
        None => did.to_owned(),
    };
    let detail = || match text("/event") {
        // Of a signed note, the number of records; `--format json` and `audit show` have the note.
        Some("audit_checkpoint") => text("/detail")
            .and_then(|note| note.lines().nth(1))
            .map_or_else(|| "-".to_owned(), |size| format!("the first {size} records")),
        _ => text("/detail").unwrap_or("-").to_owned(),
    };
    let to = text("/resource").map_or_else(detail, short_name);
    let cells = [
        number("seq"),
        text("/time").unwrap_or("-").to_owned(),
        who,
        did,
        to,
        text("/outcome").unwrap_or("-").to_owned(),
        policies(record),
        number("latency_us"),
    ];
    cells.map(|cell| visible(&cell).into_owned())
}

/// `Caxton::Agent::"researcher"` as `Agent researcher`.
pub(super) fn short_name(name: &str) -> String {
    match name.split_once("::\"") {
        Some((type_name, id)) => {
            let base = type_name.rsplit("::").next().unwrap_or(type_name);
            format!("{base} {}", id.strip_suffix('"').unwrap_or(id))
        }
        None => name.to_owned(),
    }
}

fn policies(record: &Json) -> String {
    let policies = record.get("policies").and_then(Json::as_array);
    let ids: Vec<&str> =
        policies.into_iter().flatten().filter_map(|policy| policy.get("id").and_then(Json::as_str)).collect();
    match ids.as_slice() {
        [] => record.get("reason_code").and_then(Json::as_str).unwrap_or("-").to_owned(),
        ids => ids.join(", "),
    }
}
