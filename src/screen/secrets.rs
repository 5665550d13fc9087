//! Secrets and personal data in plain text: shapes that are hard to meet by accident.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;

struct SecretShape {
    begins: &'static str,
    /// The characters that follow.
    body: fn(u8) -> bool,
    /// How many of them at least.
    least: usize,
    name: &'static str,
}

const fn shape(begins: &'static str, body: fn(u8) -> bool, least: usize, name: &'static str) -> SecretShape {
    SecretShape { begins, body, least, name }
}

const SHAPES: [SecretShape; 13] = [
    shape("cax_live_", is_word, 40, "secret.caxton_key"),
    shape("AKIA", is_upper, 16, "secret.aws_key"),
    shape("ASIA", is_upper, 16, "secret.aws_key"),
    shape("ghp_", is_word, 30, "secret.github_token"),
    shape("gho_", is_word, 30, "secret.github_token"),
    shape("ghs_", is_word, 30, "secret.github_token"),
    shape("github_pat_", is_word, 30, "secret.github_token"),
    shape("glpat-", is_token, 20, "secret.gitlab_token"),
    shape("xoxb-", is_token, 20, "secret.slack_token"),
    shape("xoxp-", is_token, 20, "secret.slack_token"),
    shape("sk-", is_token, 32, "secret.model_key"),
    shape("AIza", is_token, 35, "secret.google_key"),
    shape("eyJ", is_jwt, 40, "secret.jwt"),
];

const PRIVATE_KEY: &str = "PRIVATE KEY-----";

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_token(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

fn is_jwt(byte: u8) -> bool {
    is_token(byte) || byte == b'.'
}

/// Finds them.
#[derive(Debug)]
pub(super) struct SecretFinder {
    beginnings: Option<AhoCorasick>,
}

impl SecretFinder {
    pub(super) fn new() -> Self {
        // Thirteen short literals are always within the automaton's limits.
        Self {
            beginnings: AhoCorasick::new(SHAPES.iter().map(|shape| shape.begins).chain([PRIVATE_KEY])).ok(),
        }
    }

    /// Adds the names of what is in `text`.
    pub(super) fn find(&self, text: &str, findings: &mut BTreeSet<&'static str>) {
        let bytes = text.as_bytes();
        // Each byte is looked at once: a text that is all beginnings must not cost its square.
        let mut seen = 0;
        for found in self.beginnings.iter().flat_map(|automaton| automaton.find_iter(text)) {
            let Some(shape) = SHAPES.get(found.pattern().as_usize()) else {
                findings.insert("secret.private_key");
                continue;
            };
            let inside = bytes.get(..found.start()).and_then(<[u8]>::last).is_some_and(|byte| is_word(*byte));
            if inside || found.start() < seen {
                continue;
            }
            let body =
                bytes.get(found.end()..).unwrap_or_default().iter().take_while(|byte| (shape.body)(**byte));
            let dots = body.clone().filter(|byte| **byte == b'.').count();
            let length = body.count();
            seen = found.end() + length;
            if length >= shape.least && (shape.name != "secret.jwt" || dots == 2) {
                findings.insert(shape.name);
            }
        }
        find_numbers(text, findings);
    }
}

/// Payment cards (13 to 19 digits in groups, with a right Luhn digit) and US social security numbers.
fn find_numbers(text: &str, findings: &mut BTreeSet<&'static str>) {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-');
    for run in text.split(|c| !is_part(c)) {
        if run.bytes().filter(u8::is_ascii_digit).nth(8).is_none() {
            continue;
        }
        let groups: Vec<&str> = run.split([' ', '-']).collect();
        if groups.windows(3).any(is_social_security) && run.contains('-') {
            findings.insert("pii.ssn");
        }
        let groups: Vec<&str> = groups.into_iter().filter(|group| !group.is_empty()).collect();
        if (0..groups.len())
            .any(|start| (1..=6).any(|count| groups.get(start..start + count).is_some_and(is_card)))
        {
            findings.insert("pii.credit_card");
        }
    }
}

fn is_social_security(groups: &[&str]) -> bool {
    let lengths = groups.iter().map(|group| group.len());
    lengths.eq([3, 2, 4]) && !matches!(groups, ["000" | "666", ..] | [_, "00", _] | [.., "0000"])
}

fn is_card(groups: &[&str]) -> bool {
    let digits = groups.iter().flat_map(|group| group.bytes()).map(|byte| u32::from(byte - b'0'));
    let count = digits.clone().count();
    // Cards are written in one piece or in groups of four to six; other numbers stand apart.
    let grouped =
        groups.len() == 1 || groups.iter().rev().skip(1).all(|group| (4..=6).contains(&group.len()));
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    let issuer = groups.first().and_then(|group| group.bytes().next());
    (13..=19).contains(&count) && grouped && sum.is_multiple_of(10) && matches!(issuer, Some(b'2'..=b'6'))
}
