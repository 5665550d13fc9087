//! The matchers of Casbin: expressions over the fields of a request (`r.sub`) and of a rule (`p.obj`).

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

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(i64),
    Mark(&'static str),
}

/// Longer ones first.
const MARKS: [&str; 14] = ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", ",", "[", "]"];

/// The deepest that parentheses are nested.
const DEPTH: usize = 32;

/// Reads a matcher; the error says what is not understood.
pub(super) fn parse(text: &str) -> Result<Expression, String> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0, depth: 0 };
    let expression = reader.any()?;
    match reader.peek() {
        None => Ok(expression),
        Some(token) => Err(format!("{} is not expected there", shown(token))),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            tokens.push(Token::Mark(mark));
            mark.len()
        } else if matches!(first, '"' | '\'') {
            let inside = rest.get(1..).unwrap_or_default();
            let end = inside.find(first).ok_or_else(|| format!("a {first} has no end"))?;
            let inside = inside.get(..end).unwrap_or_default();
            if inside.contains('\\') {
                return Err("`\\` in a text is not understood".to_owned());
            }
            tokens.push(Token::Text(inside.to_owned()));
            end + 2
        } else {
            let end =
                rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(rest.len());
            let word = rest.get(..end).unwrap_or_default();
            tokens.push(match (word, word.parse()) {
                ("", _) => return Err(format!("`{first}` is not understood")),
                (_, Ok(number)) => Token::Number(number),
                (word, Err(_)) if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    return Err(format!("the number `{word}` is not understood: whole numbers are"));
                }
                (word, Err(_)) => Token::Name(word.to_owned()),
            });
            end
        };
        rest = rest.get(taken..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
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
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.peek().cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Mark(found)) if *found == mark);
        self.at += usize::from(found);
        found
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
            (self.peek().cloned(), self.tokens.get(self.at + 1))
        {
            self.at += 2;
            let arguments = self.list(")")?;
            return Ok(Expression::Call(name, arguments));
        }
        match self.peek() {
            Some(Token::Name(word)) if word == "true" || word == "false" => {
                let holds = word == "true";
                self.at += 1;
                return Ok(Expression::Always(holds));
            }
            _ => {}
        }
        let left = self.operand()?;
        if matches!(self.peek(), Some(Token::Name(word)) if word == "in") {
            self.at += 1;
            let end = if self.takes("[") { "]" } else { ")" };
            if end == ")" {
                self.wants("(")?;
            }
            return Ok(Expression::In(left, self.list(end)?));
        }
        let comparison = match self.next() {
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
        match self.next() {
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
