//! The tokens of the small expression languages that rules are written in: CEL and the matchers of Casbin.
//!
//! Both have names, texts in quotes, whole numbers and marks. What they do not share is in [`Lexis`]. Each reader words its
//! messages itself, so a mistake comes as a value.

/// The deepest nesting that a reader follows: an expression in parentheses costs stack space.
pub(super) const DEPTH: usize = 32;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name; with dots in it where the language reads `r.sub` as one name.
    Name(String),
    /// A text, without its quotes.
    Text(String),
    /// A whole number.
    Number(i64),
    /// An operator or a parenthesis.
    Mark(&'static str),
}

/// What is particular to a language.
#[derive(Debug)]
pub(super) struct Lexis {
    /// Operators and parentheses, longer ones first.
    pub(super) marks: &'static [&'static str],
    /// Whether a name may have dots and letters of any script in it.
    pub(super) dotted: bool,
    /// Whether `\"`, `\'` and `\\` stand for a character in a text; otherwise a text has no `\`.
    pub(super) escapes: bool,
}

/// Why a text has no tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LexError {
    /// No token begins with this character.
    Unknown(char),
    /// A text that begins with this quote has no end.
    Unended(char),
    /// This character after `\` in a text, where it has no meaning that a name could need.
    Escape(char),
    /// It begins like a number and is no whole number of 64 bits.
    Number(String),
}

/// The tokens of an expression, and how far they are read.
#[derive(Debug)]
pub(super) struct Tokens {
    tokens: Vec<Token>,
    at: usize,
}

impl Tokens {
    /// Takes an expression apart.
    pub(super) fn read(source: &str, lexis: &Lexis) -> Result<Self, LexError> {
        let mut tokens = Vec::new();
        let mut rest = source.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, taken) = token(rest, first, lexis)?;
            tokens.push(token);
            rest = rest.get(taken..).unwrap_or_default().trim_start();
        }
        Ok(Self { tokens, at: 0 })
    }

    /// The next token, without reading it.
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// The token after the next one.
    pub(super) fn second(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1)
    }

    /// Reads the next token.
    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += usize::from(token.is_some());
        token
    }

    /// Reads the next token if it is this mark.
    pub(super) fn takes(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Mark(found)) if *found == mark);
        self.at += usize::from(found);
        found
    }

    /// Reads the next token if it is this name.
    pub(super) fn takes_name(&mut self, name: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(found)) if found == name);
        self.at += usize::from(found);
        found
    }

    /// The parts between occurrences of a mark outside of parentheses; `None` when one of `others` stands there too, or the
    /// parentheses do not fit.
    pub(super) fn split(self, mark: &str, is_other: impl Fn(&[Token]) -> bool) -> Option<Vec<Self>> {
        let mut parts = vec![Vec::new()];
        let mut depth = 0_usize;
        let mut before: Vec<Token> = Vec::new();
        for token in self.tokens {
            before.push(token.clone());
            match &token {
                Token::Mark("(" | "[") => depth += 1,
                Token::Mark(")" | "]") => depth = depth.checked_sub(1)?,
                Token::Mark(found) if depth == 0 && *found == mark => {
                    parts.push(Vec::new());
                    continue;
                }
                _ if depth == 0 && is_other(&before) => return None,
                _ => {}
            }
            parts.last_mut()?.push(token);
        }
        (depth == 0).then(|| parts.into_iter().map(|tokens| Self { tokens, at: 0 }).collect())
    }
}

/// The token at the beginning, and its length in bytes.
fn token(rest: &str, first: char, lexis: &Lexis) -> Result<(Token, usize), LexError> {
    if let Some(mark) = lexis.marks.iter().find(|mark| rest.starts_with(**mark)) {
        return Ok((Token::Mark(mark), mark.len()));
    }
    if matches!(first, '"' | '\'') {
        return text(rest, first, lexis);
    }
    let in_name = |c: char| {
        let plain = if lexis.dotted { c.is_alphanumeric() || c == '.' } else { c.is_ascii_alphanumeric() };
        plain || c == '_'
    };
    let end = rest.find(|c: char| !in_name(c)).unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or_default();
    if word.is_empty() {
        return Err(LexError::Unknown(first));
    }
    match word.parse() {
        Ok(number) => Ok((Token::Number(number), end)),
        Err(_) if first.is_ascii_digit() => Err(LexError::Number(word.to_owned())),
        Err(_) => Ok((Token::Name(word.to_owned()), end)),
    }
}

/// The text at the beginning, and its length in bytes with its quotes.
fn text(rest: &str, quote: char, lexis: &Lexis) -> Result<(Token, usize), LexError> {
    let mut text = String::new();
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' | '\'' | '\\' if escaped => {
                text.push(c);
                escaped = false;
            }
            // Other escapes are for characters that no name has.
            _ if escaped => return Err(LexError::Escape(c)),
            '\\' if lexis.escapes => escaped = true,
            '\\' => return Err(LexError::Escape(c)),
            c if c == quote => return Ok((Token::Text(text), at + 1)),
            c => text.push(c),
        }
    }
    Err(LexError::Unended(quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEL: Lexis = Lexis { marks: &["&&", "(", ")", "."], dotted: false, escapes: true };
    const CASBIN: Lexis = Lexis { marks: &["&&", "(", ")"], dotted: true, escapes: false };

    fn read(source: &str, lexis: &Lexis) -> Result<Vec<Token>, LexError> {
        Tokens::read(source, lexis).map(|tokens| tokens.tokens)
    }

    #[test]
    fn the_two_languages_differ_in_names_and_escapes() {
        let name = |name: &str| Token::Name(name.to_owned());
        assert_eq!(read("r.sub", &CASBIN), Ok(vec![name("r.sub")]));
        assert_eq!(read("r.sub", &CEL), Ok(vec![name("r"), Token::Mark("."), name("sub")]));
        assert_eq!(read(r#""a\"b""#, &CEL), Ok(vec![Token::Text("a\"b".to_owned())]));
        assert_eq!(read(r#""a\"b""#, &CASBIN), Err(LexError::Escape('\\')));
        assert_eq!(
            read("'é' && 42", &CEL),
            Ok(vec![Token::Text("é".to_owned()), Token::Mark("&&"), Token::Number(42)])
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert_eq!(read("a + b", &CEL), Err(LexError::Unknown('+')));
        assert_eq!(read("'a", &CEL), Err(LexError::Unended('\'')));
        assert_eq!(read(r#""\n""#, &CEL), Err(LexError::Escape('n')));
        assert_eq!(read("1e3", &CASBIN), Err(LexError::Number("1e3".to_owned())));
        assert_eq!(
            read("99999999999999999999", &CEL),
            Err(LexError::Number("99999999999999999999".to_owned()))
        );
    }

    #[test]
    fn only_marks_outside_of_parentheses_split() {
        let parts = |source: &str| {
            let is_other = |tokens: &[Token]| tokens.last() == Some(&Token::Mark("."));
            Tokens::read(source, &CEL).unwrap().split("&&", is_other).map(|parts| parts.len())
        };
        assert_eq!(parts("a && (b && c) && 'd && e'"), Some(3));
        assert_eq!(parts("a && (b.c)"), Some(2));
        assert_eq!(parts("a && b.c"), None);
        assert_eq!(parts("a) && (b"), None);
    }
}
