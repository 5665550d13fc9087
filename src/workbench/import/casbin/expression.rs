//! The matchers of Casbin: expressions over the fields of a request (`r.sub`) and of a rule (`p.obj`).

use super::super::lexer::{DEPTH, LexError, Lexis, Token, Tokens};

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    /// `r.sub`, or with an attribute `r.sub.Age`.
    Request(String, Option<String>),
    /// `p.obj`.
    Rule(String),
    Text(String),
    Number(i64),
}

/// How numbers and texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// A matcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expression {
    Always(bool),
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Compare(Operand, Comparison, Operand),
    /// `r.sub.Doc in (r.obj.Docs)`.
    In(Operand, Vec<Operand>),
    /// `keyMatch(r.obj, p.obj)`.
    Call(String, Vec<Operand>),
}

/// Longer ones first.
const LEXIS: Lexis = Lexis {
    marks: &["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", ",", "[", "]"],
    dotted: true,
    escapes: false,
};

/// Reads a matcher; the error says what is not understood.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    let tokens = Tokens::read(text, &LEXIS).map_err(not_understood)?;
    let mut reader = Reader { tokens, depth: 0 };
    let expression = reader.any()?;
    match reader.tokens.peek() {
        None => Ok(expression),
        Some(token) => Err(format!("{} is not expected there", shown(token))),
    }
}

/// What is said of a text that has no tokens.
fn not_understood(error: LexError) -> String {
    match error {
        LexError::Unknown(found) => format!("`{found}` is not understood"),
        LexError::Unended(quote) => format!("a {quote} has no end"),
        LexError::Escape(_) => "`\\` in a text is not understood".to_owned(),
        LexError::Number(word) => format!("the number `{word}` is not understood: whole numbers are"),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(text) => format!("`{text}`"),
        Token::Text(text) => format!("`\"{text}\"`"),
        Token::Number(number) => format!("`{number}`"),
        Token::Mark(mark) => format!("`{mark}`"),
    }
}

struct Reader {
    tokens: Tokens,
    depth: usize,
}

impl Reader {
    fn takes(&mut self, mark: &str) -> bool {
        self.tokens.takes(mark)
    }

    fn wants(&mut self, mark: &str) -> Result<(), String> {
        match self.takes(mark) {
            true => Ok(()),
            false => Err(format!("`{mark}` is missing")),
        }
    }

    fn any(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.all()?];
        while self.takes("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::Any(parts) })
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut parts = vec![self.one()?];
        while self.takes("&&") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Expression::All(parts) })
    }

    fn one(&mut self) -> Result<Expression, String> {
        if self.depth > DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        if self.takes("!") {
            self.depth += 1;
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Expression::Not(Box::new(inner)));
        }
        if self.takes("(") {
            self.depth += 1;
            let inner = self.any()?;
            self.depth -= 1;
            self.wants(")")?;
            return Ok(inner);
        }
        if let (Some(Token::Name(name)), Some(Token::Mark("("))) =
            (self.tokens.peek().cloned(), self.tokens.second())
        {
            self.tokens.next();
            self.tokens.next();
            let arguments = self.list(")")?;
            return Ok(Expression::Call(name, arguments));
        }
        for (word, holds) in [("true", true), ("false", false)] {
            if self.tokens.takes_name(word) {
                return Ok(Expression::Always(holds));
            }
        }
        let left = self.operand()?;
        if self.tokens.takes_name("in") {
            let end = if self.takes("[") { "]" } else { ")" };
            if end == ")" {
                self.wants("(")?;
            }
            return Ok(Expression::In(left, self.list(end)?));
        }
        let comparison = match self.tokens.next() {
            Some(Token::Mark("==")) => Comparison::Equal,
            Some(Token::Mark("!=")) => Comparison::Unequal,
            Some(Token::Mark("<")) => Comparison::Less,
            Some(Token::Mark("<=")) => Comparison::AtMost,
            Some(Token::Mark(">")) => Comparison::More,
            Some(Token::Mark(">=")) => Comparison::AtLeast,
            Some(token) => return Err(format!("{} is not expected there", shown(&token))),
            None => return Err("a comparison is missing at the end".to_owned()),
        };
        Ok(Expression::Compare(left, comparison, self.operand()?))
    }

    fn list(&mut self, end: &str) -> Result<Vec<Operand>, String> {
        let mut items = Vec::new();
        if self.takes(end) {
            return Ok(items);
        }
        loop {
            items.push(self.operand()?);
            if self.takes(end) {
                return Ok(items);
            }
            self.wants(",")?;
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        match self.tokens.next() {
            Some(Token::Text(text)) => Ok(Operand::Text(text)),
            Some(Token::Number(number)) => Ok(Operand::Number(number)),
            Some(Token::Name(name)) => {
                let mut parts = name.split('.');
                let (whose, field, attribute) = (parts.next(), parts.next(), parts.next());
                let digits = |word: &str| word.chars().all(|c| c.is_ascii_digit());
                let is = |word: &str, letter: char| word.strip_prefix(letter).is_some_and(digits);
                match (whose, field, attribute, parts.next()) {
                    (Some(whose), Some(field), attribute, None) if is(whose, 'r') => {
                        Ok(Operand::Request(field.to_owned(), attribute.map(str::to_owned)))
                    }
                    (Some(whose), Some(field), None, None) if is(whose, 'p') => {
                        Ok(Operand::Rule(field.to_owned()))
                    }
                    _ => Err(format!("`{name}` is not understood")),
                }
            }
            Some(token) => Err(format!("{} is not expected there", shown(&token))),
            None => Err("something is missing at the end".to_owned()),
        }
    }
}
