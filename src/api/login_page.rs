//! The few pages that a person sees while logging in. No script, nothing from elsewhere, nothing that came with the
//! request, and no frame around them.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::problem::Problem;
use crate::text::escape_html;

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1.25rem;color:#1b1f24;background:#fff}h1{font-size:1.5rem}code,textarea{font:.85rem/1.4 ui-monospace,monospace;overflow-wrap:anywhere}textarea{width:100%;box-sizing:border-box;border:1px solid #8c959f;border-radius:4px;padding:.5rem;background:#f6f8fa;color:inherit}a.go{display:inline-block;padding:.5rem 1.25rem;border-radius:4px;background:#0a4fa3;color:#fff;text-decoration:none}small{color:#57606a}@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}textarea{background:#161b22}a.go{background:#2f81f7}small{color:#9da7b1}}";

/// The style is the one thing that a browser may take, by its digest.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Whether the caller is a person with a browser.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter();
    accepts.filter_map(|value| value.to_str().ok()).any(|text| text.contains("text/html"))
}

/// A page; `body` is HTML, whatever is in it has been escaped.
pub(super) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escape_html(title);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title} · Caxton</title><style>{STYLE}</style></head>\n<body><main><h1>{title}</h1>\n{body}</main></body></html>\n"
    );
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    // The address of this page has a code in it.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// What went wrong with a login, for a person.
pub(super) fn of_problem(problem: Problem) -> Response {
    // Which of them it was is for the operator: an attacker who sends a browser here learns nothing.
    let refused = "The login failed: it took too long, was started in another browser, or was refused";
    of_problem_titled(problem, ("You are not logged in", refused))
}

/// What went wrong, for a person.
pub(super) fn of_problem_titled(problem: Problem, (title, refused): (&str, &str)) -> Response {
    let said = capital(problem.detail());
    let decision = problem.decision();
    let told = problem.into_response();
    let said = match told.status() {
        StatusCode::UNAUTHORIZED => refused,
        _ => said.as_str(),
    };
    let mut body = format!("<p>{}.</p>\n", escape_html(said));
    if let Some(decision) = decision {
        let _ = writeln!(body, "<p><small>decision <code>{decision}</code></small></p>");
    }
    let _ = writeln!(body, "<p>Start again from the beginning, or contact the operator of this gateway.</p>");
    let mut answer = page(StatusCode::OK, title, &body);
    // Status and headers are those of any caller's.
    *answer.status_mut() = told.status();
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = told.headers().get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
