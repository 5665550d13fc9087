//! `/.well-known/security.txt` (RFC 9116): whom to tell of a weakness of this gateway.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;
use super::state::Api;
use crate::clock::rfc3339;

/// Where the file is (RFC 9116, section 3).
pub(super) const PATH: &str = "/.well-known/security.txt";
/// For how long a reader may keep it (RFC 9116, section 2.5.5: less than a year).
const LIFE_MILLIS: i64 = 30 * 24 * 60 * 60 * 1000;
/// The longest address of a contact, in bytes.
const LONGEST: usize = 512;

/// A way to reach those who take reports: an address of mail, of a page or of a telephone (RFC 9116, section 2.5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityContact(String);

/// The text is no contact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("write `mailto:ADDRESS`, `https://…` or `tel:NUMBER`")]
pub struct NoContact;

impl FromStr for SecurityContact {
    type Err = NoContact;

    fn from_str(text: &str) -> Result<Self, NoContact> {
        let is_plain = text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_contact = match text.split_once(':') {
            Some(("mailto", address)) => address
                .split_once('@')
                .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@')),
            Some(("https", _)) => url::Url::parse(text).is_ok(),
            Some(("tel", number)) => !number.is_empty(),
            _ => false,
        };
        if is_plain && is_contact { Ok(Self(text.to_owned())) } else { Err(NoContact) }
    }
}

impl fmt::Display for SecurityContact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The file; 404 where no contact is configured.
pub(super) async fn serve(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let Some(contact) = &api.settings.security_contact else {
        return Err(Problem::not_found("there is nothing at this path"));
    };
    let expires = rfc3339(api.clock.now_millis().saturating_add(LIFE_MILLIS));
    let mut text = format!("Contact: {contact}\nExpires: {expires}\nPreferred-Languages: en\n");
    if let Some(public) = &api.settings.public_url {
        text.push_str(&format!("Canonical: {}{PATH}\n", public.trim_end_matches('/')));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_an_address_of_mail_a_page_or_a_telephone() {
        for good in ["mailto:security@example.com", "https://example.com/report", "tel:+1-201-555-0123"] {
            assert_eq!(good.parse::<SecurityContact>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "security@example.com",
            "mailto:security",
            "mailto:@example.com",
            "http://example.com",
            "https://",
            "tel:",
            "mailto:a@b\nContact: mailto:x@y",
            "mailto:a@b c",
            "javascript:alert(1)",
        ] {
            assert_eq!(bad.parse::<SecurityContact>(), Err(NoContact), "{bad}");
        }
    }
}
