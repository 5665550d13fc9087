//! Which media types a client takes (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

use crate::api::problem::Problem;

/// The two forms in which an answer can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accept {
    /// `application/json`.
    pub(super) json: bool,
    /// `text/event-stream`, named as such: who takes anything gets JSON.
    pub(super) events: bool,
}

impl Accept {
    /// What the `Accept` fields say. None of them: JSON.
    ///
    /// # Errors
    /// Neither form is taken: 406.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut fields = headers.get_all(header::ACCEPT).iter().peekable();
        if fields.peek().is_none() {
            return Ok(Self { json: true, events: false });
        }
        let mut accept = Self { json: false, events: false };
        for range in fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            if parts.any(is_weight_of_zero) {
                continue;
            }
            if ["*/*", "application/*", "application/json"].iter().any(|name| kind.eq_ignore_ascii_case(name))
            {
                accept.json = true;
            } else if ["text/*", "text/event-stream"].iter().any(|name| kind.eq_ignore_ascii_case(name)) {
                accept.events = true;
            }
        }
        if accept.json || accept.events {
            Ok(accept)
        } else {
            Err(Problem::not_acceptable("the answer is `application/json` or `text/event-stream`"))
        }
    }
}

/// `q=0`, which says that the range is not taken.
fn is_weight_of_zero(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|weight| weight == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[&'static str]) -> Option<(bool, bool)> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT, field.parse().unwrap());
        }
        Accept::of(&headers).ok().map(|accept| (accept.json, accept.events))
    }

    #[test]
    fn who_does_not_name_events_gets_json() {
        for (fields, expected) in [
            (&[][..], Some((true, false))),
            (&["*/*"], Some((true, false))),
            (&["application/json"], Some((true, false))),
            (&["APPLICATION/JSON; charset=utf-8"], Some((true, false))),
            (&["application/json, text/event-stream"], Some((true, true))),
            (&["application/json", "text/event-stream;q=0.5"], Some((true, true))),
            (&["text/event-stream"], Some((false, true))),
            (&["text/event-stream;q=0, */*"], Some((true, false))),
            (&["application/json;q=0.0"], None),
            (&["text/html"], None),
            (&[""], None),
        ] {
            assert_eq!(of(fields), expected, "{fields:?}");
        }
    }
}
