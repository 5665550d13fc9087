//! One record as a message of RFC 5424.

use std::sync::Arc;

use super::super::OutgoingRecord;

/// RFC 5424, table 1.
const AUTHPRIV: u8 = 10;
const LOG_AUDIT: u8 = 13;
/// The private enterprise number of the structured data. 32473 is the one for documentation (RFC 5612): no other is registered.
const SD_ID: &str = "caxton@32473";

/// What all messages of a sink begin with.
#[derive(Debug)]
pub(super) struct MessageHeader {
    host: String,
    process: u32,
    facility: Option<u8>,
}

impl MessageHeader {
    pub(super) fn new(instance: Arc<str>, facility: Option<u8>) -> Self {
        Self { host: printable(&instance, 255), process: std::process::id(), facility }
    }

    /// `<PRI>1 TIME HOST caxton PID MSGID [SD] RECORD`, without a line break.
    pub(super) fn message(&self, record: &OutgoingRecord) -> String {
        let usual = if record.event_type == "authentication" { AUTHPRIV } else { LOG_AUDIT };
        let priority = u16::from(self.facility.unwrap_or(usual)) * 8 + u16::from(record.severity.syslog());
        let time = printable(&record.time, 32);
        let id = printable(&record.event_type, 32);
        let (seq, decision) = (record.seq, quoted(&record.decision_id));
        format!(
            "<{priority}>1 {time} {} caxton {} {id} [{SD_ID} seq=\"{seq}\" decisionId=\"{decision}\"] {}",
            self.host, self.process, record.text
        )
    }
}

/// PRINTUSASCII of section 6: visible ASCII without spaces; `-` for nothing.
fn printable(text: &str, most: usize) -> String {
    let text: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A PARAM-VALUE of section 6.3.3.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::siem::format::logged::Severity;

    fn record(event_type: &str, severity: Severity) -> OutgoingRecord {
        OutgoingRecord {
            seq: 7,
            uid: "u".to_owned(),
            decision_id: "a\"b]c\\d".to_owned(),
            event_type: event_type.to_owned(),
            time_millis: 0,
            time: "2026-01-10T10:00:00.121Z".to_owned(),
            severity,
            trace: None,
            text: "{\"seq\":7}".to_owned(),
        }
    }

    #[test]
    fn a_message_is_one_of_rfc_5424() {
        let header = MessageHeader { host: printable("gate way\n1", 255), process: 42, facility: None };
        assert_eq!(
            header.message(&record("tool_call", Severity::Medium)),
            "<108>1 2026-01-10T10:00:00.121Z gateway1 caxton 42 tool_call [caxton@32473 seq=\"7\" decisionId=\"a\\\"b\\]c\\\\d\"] {\"seq\":7}"
        );
        let of_a_login = header.message(&record("authentication", Severity::Informational));
        assert!(of_a_login.starts_with("<86>1 "), "{of_a_login}");
        let local = MessageHeader { host: printable("", 255), process: 42, facility: Some(16) };
        let message = local.message(&record("", Severity::High));
        assert!(message.starts_with("<131>1 2026-01-10T10:00:00.121Z - caxton 42 - ["), "{message}");
    }
}
