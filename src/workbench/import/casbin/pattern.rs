//! Patterns of keys: `/alice_data/*` of `keyMatch`, `/book/:id` of `keyMatch2`, `/book/{id}` of `keyMatch3`.
//!
//! Cedar's `like` has one wildcard, for anything. A segment is said by what else has to hold: as many slashes as the pattern
//! has, so that no wildcard takes one, and no segment that is empty.

use crate::policy::set::text::pattern as like;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Literal(String),
    /// One or more characters other than `/`, with its name.
    Segment(String),
    /// Anything.
    Rest,
}

/// A pattern of keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyPattern(Vec<Piece>);

impl KeyPattern {
    /// Reads a pattern of one of the functions.
    pub(super) fn read(function: &str, text: &str) -> Result<Self, String> {
        if function == "keyMatch" {
            // What stands after the first `*` does not matter.
            return Ok(match text.split_once('*') {
                Some((before, _)) => Self(vec![Piece::Literal(before.to_owned()), Piece::Rest]),
                None => Self(vec![Piece::Literal(text.to_owned())]),
            });
        }
        let (open, close) = if function == "keyMatch2" { (':', None) } else { ('{', Some('}')) };
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut characters = text.chars().peekable();
        while let Some(c) = characters.next() {
            if c == open && characters.peek().is_some_and(|next| *next != '/') {
                let mut name = String::new();
                while let Some(next) = characters.peek().copied() {
                    if Some(next) == close || next == '/' {
                        break;
                    }
                    name.push(next);
                    characters.next();
                }
                if close.is_some() && characters.next() != close {
                    return Err(format!("the pattern `{text}` has no `}}`"));
                }
                pieces.extend((!literal.is_empty()).then(|| Piece::Literal(std::mem::take(&mut literal))));
                pieces.push(Piece::Segment(name));
            } else if c == '*' && literal.ends_with('/') {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                pieces.push(Piece::Rest);
            } else if c.is_alphanumeric()
                || matches!(c, '/' | '_' | '-' | ' ' | '@' | '~' | '%' | ',' | ':' | '=' | '&')
            {
                literal.push(c);
            } else {
                // The rest is the language of regular expressions.
                return Err(format!("`{c}` in the pattern `{text}` is not understood"));
            }
        }
        pieces.extend((!literal.is_empty()).then_some(Piece::Literal(literal)));
        let has = |kind: fn(&Piece) -> bool| pieces.iter().any(kind);
        if has(|piece| matches!(piece, Piece::Segment(_))) && has(|piece| *piece == Piece::Rest) {
            return Err(format!("`{text}` has a name and a `*`: such a pattern cannot be said"));
        }
        Ok(Self(pieces))
    }

    /// Whether it has a segment of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Segment(known) if known == name))
    }

    /// Whether a key fits.
    pub(super) fn fits(&self, key: &str) -> bool {
        fits(&self.0, key)
    }

    /// Keys that fit, and some that nearly do.
    pub(super) fn samples(&self) -> Vec<String> {
        let filled = |with: &str| -> String {
            let piece = |piece: &Piece| match piece {
                Piece::Literal(text) => text.clone(),
                Piece::Segment(_) | Piece::Rest => with.to_owned(),
            };
            self.0.iter().map(piece).collect()
        };
        vec![
            filled("x1"),
            filled("x1/y"),
            filled(""),
            format!("{}z", filled("x1")),
            format!("z{}", filled("x1")),
        ]
    }

    /// The conditions on `of`, all of which have to hold.
    pub(super) fn cedar(&self, of: &str) -> Vec<String> {
        let literals = |left_out: Option<usize>| -> String {
            // Two literals without a wildcard between are one.
            let mut parts = vec![String::new()];
            for (number, piece) in self.0.iter().enumerate() {
                match (piece, parts.last_mut()) {
                    (Piece::Literal(text), Some(last)) => last.push_str(text),
                    _ if left_out == Some(number) => {}
                    _ => parts.push(String::new()),
                }
            }
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            like(&parts)
        };
        let mut conditions = vec![format!("{of} like {}", literals(None))];
        let segments = || self.0.iter().enumerate().filter(|(_, piece)| matches!(piece, Piece::Segment(_)));
        if segments().next().is_some() {
            let slashes: usize = self
                .0
                .iter()
                .map(|piece| match piece {
                    Piece::Literal(text) => text.matches('/').count(),
                    Piece::Segment(_) | Piece::Rest => 0,
                })
                .sum();
            // One slash more than the pattern has.
            let mut parts = vec![""];
            parts.extend(std::iter::repeat_n("/", slashes + 1));
            parts.push("");
            conditions.push(format!("!({of} like {})", like(&parts)));
        }
        conditions.extend(segments().map(|(number, _)| format!("!({of} like {})", literals(Some(number)))));
        conditions
    }
}

fn fits(pieces: &[Piece], key: &str) -> bool {
    match pieces.split_first() {
        None => key.is_empty(),
        Some((Piece::Literal(text), rest)) => {
            key.strip_prefix(text.as_str()).is_some_and(|key| fits(rest, key))
        }
        Some((Piece::Rest, rest)) => {
            let ends = key.char_indices().map(|(at, _)| at).chain([key.len()]);
            ends.into_iter().any(|at| key.get(at..).is_some_and(|key| fits(rest, key)))
        }
        Some((Piece::Segment(_), rest)) => {
            let end = key.find('/').unwrap_or(key.len());
            let inner = key.get(..end).unwrap_or_default();
            let ends = inner.char_indices().map(|(at, _)| at).chain([inner.len()]).skip(1);
            ends.into_iter().any(|at| key.get(at..).is_some_and(|key| fits(rest, key)))
        }
    }
}
