//! Reading a line: its words, its braces, and what the word before the cursor can become.

use rustyline::Helper;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;

use super::COMMANDS;

/// Where the braces begin, or the end.
pub(super) fn brace(text: &str) -> usize {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted => return at,
            _ => {}
        }
    }
    text.len()
}

/// Words at spaces that are in no quotes.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut escaped = false;
    for c in text.chars() {
        match c {
            c if c.is_whitespace() && !quoted => {
                words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
                continue;
            }
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        word.push(c);
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

/// Completes commands, entities, actions and policies.
pub(super) struct ReplHelper {
    pub(super) words: Vec<String>,
}

impl ReplHelper {
    /// Where the word before the cursor begins, and what it can become.
    fn candidates(&self, line: &str, cursor: usize) -> (usize, Vec<String>) {
        let before = line.get(..cursor).unwrap_or(line);
        let mut start = 0;
        let mut quoted = false;
        for (at, c) in before.char_indices() {
            match c {
                '"' => quoted = !quoted,
                c if c.is_whitespace() && !quoted => start = at + c.len_utf8(),
                _ => {}
            }
        }
        let part = before.get(start..).unwrap_or_default();
        let commands = COMMANDS.iter().filter(|_| start == 0).map(|command| (*command).to_owned());
        let words = self.words.iter().filter(|_| start > 0).cloned();
        (start, commands.chain(words).filter(|word| word.starts_with(part)).collect())
    }
}

impl Completer for ReplHelper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(line, cursor))
    }
}

impl Hinter for ReplHelper {
    type Hint = String;
}

impl Highlighter for ReplHelper {}
impl Validator for ReplHelper {}
impl Helper for ReplHelper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_braces_respect_quotes() {
        assert_eq!(
            words(" User::\"a b\"  tool:list\tX::\"{\\\"\" "),
            ["User::\"a b\"", "tool:list", "X::\"{\\\"\""]
        );
        assert_eq!(brace("X::\"{\" { a: 1 }"), 7);
        assert_eq!(brace("X"), 1);
    }

    #[test]
    fn commands_entities_actions_and_policies_are_completed() {
        let words = ["Agent::\"a b\"", "Agent::\"c\"", "tool:list", "agents.list-tools"];
        let words = ReplHelper { words: words.map(str::to_owned).to_vec() };
        let complete = |line: &str| words.candidates(line, line.len());
        assert_eq!(complete("po"), (0, vec!["policies".to_owned(), "policy".to_owned()]));
        assert_eq!(complete("ask Agent::\"a "), (4, vec!["Agent::\"a b\"".to_owned()]));
        assert_eq!(complete("ask Agent::\"a b\" too"), (17, vec!["tool:list".to_owned()]));
        assert_eq!(complete("show agents."), (5, vec!["agents.list-tools".to_owned()]));
        assert_eq!(complete("show x").1, Vec::<String>::new());
    }
}
