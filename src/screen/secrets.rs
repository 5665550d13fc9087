//! Secrets and personal data in plain text: shapes that are hard to meet by accident.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;

/// How a secret begins, what follows, how much of it at least, and its name.
const SHAPES: [(&str, fn(u8) -> bool, usize, &str); 13] = [
    ("cax_live_", is_word, 40, "secret.caxton_key"),
    ("AKIA", is_upper, 16, "secret.aws_key"),
    ("ASIA", is_upper, 16, "secret.aws_key"),
    ("ghp_", is_word, 30, "secret.github_token"),
    ("gho_", is_word, 30, "secret.github_token"),
    ("ghs_", is_word, 30, "secret.github_token"),
    ("github_pat_", is_word, 30, "secret.github_token"),
    ("glpat-", is_token, 20, "secret.gitlab_token"),
    ("xoxb-", is_token, 20, "secret.slack_token"),
    ("xoxp-", is_token, 20, "secret.slack_token"),
    ("sk-", is_token, 32, "secret.model_key"),
    ("AIza", is_token, 35, "secret.google_key"),
    ("eyJ", is_jwt, 40, "secret.jwt"),
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
pub(super) struct Finder {
    beginnings: Option<AhoCorasick>,
}

impl Finder {
    pub(super) fn new() -> Self {
        // Thirteen short literals are always within the automaton's limits.
        Self { beginnings: AhoCorasick::new(SHAPES.iter().map(|shape| shape.0).chain([PRIVATE_KEY])).ok() }
    }

    /// Adds the names of what is in `text`.
    pub(super) fn find(&self, text: &str, findings: &mut BTreeSet<&'static str>) {
        for found in self.beginnings.iter().flat_map(|automaton| automaton.find_iter(text)) {
            let Some((_, follows, least, name)) = SHAPES.get(found.pattern().as_usize()) else {
                findings.insert("secret.private_key");
                continue;
            };
            let starts_word =
                !text.as_bytes().get(..found.start()).and_then(<[u8]>::last).is_some_and(|b| is_word(*b));
            let rest = text.as_bytes().get(found.end()..).unwrap_or_default();
            let body = rest.iter().take_while(|byte| follows(**byte));
            let dots = body.clone().filter(|byte| **byte == b'.').count();
            if starts_word && body.count() >= *least && (*name != "secret.jwt" || dots == 2) {
                findings.insert(name);
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
