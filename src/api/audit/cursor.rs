//! Where a page of records begins. A cursor is bound to the question that it came from, so that one of another question is
//! refused rather than answered with a gap. It needs no secret: whoever may ask may begin anywhere.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::api::problem::Problem;
use crate::audit::query::{FilterWords, Order};

/// Which question, as the first bytes of its digest.
type Question = [u8; 8];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) question: Question,
    /// Number of the record after which it goes on.
    pub(super) after: u64,
}

impl Cursor {
    /// What a cursor of this question is bound to: the words, since `last` means another instant each time.
    pub(super) fn question(words: &FilterWords, order: Order) -> Question {
        let whole = digest(&SHA256, format!("{words:?} {order:?}").as_bytes());
        whole.as_ref().first_chunk().copied().unwrap_or_default()
    }

    pub(super) fn read(text: &str, question: Question) -> Result<u64, Problem> {
        let after = Self::parse(text).filter(|cursor| cursor.question == question);
        let after = after.map(|cursor| cursor.after);
        after.ok_or_else(|| Problem::malformed("`cursor` is not from an answer to this question"))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let bytes: [u8; 16] = bytes.try_into().ok()?;
        let (question, after) = (bytes.first_chunk()?, bytes.last_chunk()?);
        Some(Self { question: *question, after: u64::from_be_bytes(*after) })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.question, self.after.to_be_bytes()].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_its_question_only() {
        let words = |user: &str| FilterWords { user: Some(user.to_owned()), ..FilterWords::default() };
        let question = Cursor::question(&words("ann"), Order::NewestFirst);
        let text = Cursor { question, after: u64::MAX - 1 }.to_string();
        assert_eq!(Cursor::read(&text, question).unwrap(), u64::MAX - 1);
        for other in [
            Cursor::question(&words("bob"), Order::NewestFirst),
            Cursor::question(&words("ann"), Order::OldestFirst),
        ] {
            assert_eq!(Cursor::read(&text, other).unwrap_err().status(), 400);
        }
        for wrong in
            ["", "x", "AAAA", &text[1..], &format!("{text}A"), &text.replace(char::is_alphanumeric, "é")]
        {
            assert!(Cursor::read(wrong, question).is_err(), "{wrong}");
        }
    }
}
