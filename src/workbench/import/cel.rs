//! The part of CEL that rules on tools are written in: names of tools and servers, claims, and how they are joined.

use super::condition::{Condition, Text};

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Mark(&'static str),
}

/// Reads an expression, or says what in it has no counterpart.
pub(super) fn read(source: &str) -> Result<Condition, String> {
    let tokens = tokens(source)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    let condition = parser.any()?;
    match parser.peek() {
        None => Ok(condition),
        Some(_) => Err(parser.unknown()),
    }
}

/// The parts that `&&` joins; `None` when something else joins them, or it cannot be told.
pub(super) fn conjuncts(source: &str) -> Option<Vec<&str>> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    let mut quote = None;
    let mut bytes = source.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (Some(_), b'\\') => drop(bytes.next()),
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b')' | b']' | b'}') => depth = depth.checked_sub(1)?,
            (None, b'|' | b'?') if depth == 0 => return None,
            (None, b'&') if depth == 0 => {
                bytes.next().filter(|(_, next)| *next == b'&')?;
                parts.push(source.get(begin..at)?);
                begin = at + 2;
            }
            (None, _) => {}
        }
    }
    parts.push(source.get(begin..)?);
    (quote.is_none() && depth == 0).then_some(parts)
}

const MARKS: [&str; 13] = ["&&", "||", "==", "!=", "!", "(", ")", "[", "]", ",", ".", "<", ">"];
/// The deepest nesting.
const DEPTH: usize = 32;

fn tokens(source: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, taken) = if first == '"' || first == '\'' {
            text(rest, first)?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Token::Name(rest.get(..end).unwrap_or_default().to_owned()), end)
        } else if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            (Token::Mark(mark), mark.len())
        } else {
            return Err(format!("`{first}`"));
        };
        tokens.push(token);
        rest = rest.get(taken..).unwrap_or_default().trim_start();
    }
    Ok(tokens)
}

fn text(rest: &str, quote: char) -> Result<(Token, usize), String> {
    let mut text = String::new();
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => {
                // Other escapes are for characters that no name has.
                if !matches!(c, '"' | '\'' | '\\') {
                    return Err(format!("`\\{c}` in a text"));
                }
                text.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            c if c == quote => return Ok((Token::Text(text), at + 1)),
            c => text.push(c),
        }
    }
    Err("a text that does not end".to_owned())
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, mark: &'static str) -> bool {
        let is = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(is);
        is
    }

    fn wants(&mut self, mark: &'static str) -> Result<(), String> {
        if self.takes(mark) { Ok(()) } else { Err(self.unknown()) }
    }

    fn unknown(&self) -> String {
        match self.peek() {
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Text(text)) => format!("the text `{text}` there"),
            Some(Token::Mark(mark)) => format!("`{mark}` there"),
            None => "an end there".to_owned(),
        }
    }

    fn any(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.all()?];
        while self.takes("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.one()?];
        while self.takes("&&") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err("so much nesting".to_owned());
        }
        let condition = self.inner();
        self.depth -= 1;
        condition
    }

    fn inner(&mut self) -> Result<Condition, String> {
        if self.takes("!") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.takes("(") {
            let inside = self.any()?;
            self.wants(")")?;
            return Ok(inside);
        }
        match self.next() {
            Some(Token::Name(name)) if name == "true" || name == "false" => {
                Ok(Condition::Always(name == "true"))
            }
            Some(Token::Name(name)) if name == "has" && self.takes("(") => {
                let path = self.path(None)?;
                self.wants(")")?;
                match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                    ["jwt", claim] => Ok(Condition::ClaimThere((*claim).to_owned())),
                    _ => Err(format!("`has({})`", path.join("."))),
                }
            }
            Some(Token::Name(name)) => self.comparison(name),
            // `"admin" in jwt.roles`
            Some(Token::Text(text)) if self.peek() == Some(&Token::Name("in".to_owned())) => {
                self.at += 1;
                let path = self.path(None)?;
                subject(&path, Text::Is(text))
            }
            _ => {
                self.at = self.at.saturating_sub(1);
                Err(self.unknown())
            }
        }
    }

    fn path(&mut self, first: Option<String>) -> Result<Vec<String>, String> {
        let mut path = vec![match first {
            Some(first) => first,
            None => self.name()?,
        }];
        loop {
            if self.takes(".") {
                path.push(self.name()?);
            } else if self.takes("[") {
                let Some(Token::Text(text)) = self.next() else { return Err(self.unknown()) };
                self.wants("]")?;
                path.push(text);
            } else {
                return Ok(path);
            }
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Name(name)) => Ok(name),
            _ => {
                self.at = self.at.saturating_sub(1);
                Err(self.unknown())
            }
        }
    }

    fn comparison(&mut self, first: String) -> Result<Condition, String> {
        let mut path = self.path(Some(first))?;
        if self.takes("(") {
            let method = path.pop().unwrap_or_default();
            let Some(Token::Text(text)) = self.next() else {
                return Err(format!("`{method}` of something else than a text"));
            };
            self.wants(")")?;
            let text = match method.as_str() {
                "startsWith" => Text::Begins(text),
                "endsWith" => Text::Ends(text),
                // Of a list of roles, that it has one; of a name, that it has a part.
                "contains" if is_list(&path) => Text::Is(text),
                "contains" => Text::Has(text),
                other => return Err(format!("`{other}()`")),
            };
            return subject(&path, text);
        }
        if self.takes("==") {
            let text = self.wanted_text()?;
            return subject(&path, Text::Is(text));
        }
        if self.takes("!=") {
            let text = self.wanted_text()?;
            return Ok(Condition::Not(Box::new(subject(&path, Text::Is(text))?)));
        }
        if self.peek() == Some(&Token::Name("in".to_owned())) {
            self.at += 1;
            self.wants("[")?;
            let mut texts = Vec::new();
            while !self.takes("]") {
                texts.push(self.wanted_text()?);
                let more = self.takes(",");
                if !more && self.peek() != Some(&Token::Mark("]")) {
                    return Err(self.unknown());
                }
            }
            return subject(&path, Text::OneOf(texts));
        }
        Err(format!("`{}` by itself", path.join(".")))
    }

    fn wanted_text(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Text(text)) => Ok(text),
            _ => {
                self.at = self.at.saturating_sub(1);
                Err(format!("a comparison with something else than a text ({})", self.unknown()))
            }
        }
    }
}

fn is_list(path: &[String]) -> bool {
    matches!(path, [root, claim] if root == "jwt" && !matches!(claim.as_str(), "sub" | "iss" | "email"))
}

fn subject(path: &[String], text: Text) -> Result<Condition, String> {
    match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mcp", "tool", "name"] => Ok(Condition::Tool(text)),
        ["mcp", "tool", "target"] => Ok(Condition::Server(text)),
        ["jwt", claim] => Ok(Condition::Claim((*claim).to_owned(), text)),
        ["jwt", ..] => Err(format!("the nested claim `{}`", path.join("."))),
        _ => Err(format!("`{}`", path.join("."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str) -> Text {
        Text::Is(text.to_owned())
    }

    #[test]
    fn rules_are_read() {
        let tool = |name: &str| Condition::Tool(is(name));
        let sub = Condition::Claim("sub".to_owned(), is("ada"));
        assert_eq!(read("mcp.tool.name == \"echo\""), Ok(tool("echo")));
        assert_eq!(
            read("jwt.sub == 'ada' && (mcp.tool.name == \"a\" || !(mcp.tool[\"name\"] != \"b\"))"),
            Ok(Condition::All(vec![
                sub,
                Condition::Any(vec![
                    tool("a"),
                    Condition::Not(Box::new(Condition::Not(Box::new(tool("b")))))
                ])
            ]))
        );
        assert_eq!(read("\"admin\" in jwt.roles"), Ok(Condition::Claim("roles".to_owned(), is("admin"))));
        assert_eq!(
            read("jwt.roles.contains(\"admin\")"),
            Ok(Condition::Claim("roles".to_owned(), is("admin")))
        );
        assert_eq!(read("mcp.tool.name.contains(\"get\")"), Ok(Condition::Tool(Text::Has("get".to_owned()))));
        assert_eq!(
            read("mcp.tool.name.startsWith('get_')"),
            Ok(Condition::Tool(Text::Begins("get_".to_owned())))
        );
        assert_eq!(
            read("mcp.tool.target in ['a', 'b']"),
            Ok(Condition::Server(Text::OneOf(vec!["a".to_owned(), "b".to_owned()])))
        );
        assert_eq!(
            read("has(jwt.sub) && true"),
            Ok(Condition::All(vec![Condition::ClaimThere("sub".to_owned()), Condition::Always(true)]))
        );
    }

    #[test]
    fn what_has_no_counterpart_is_told() {
        for (source, what) in [
            ("jwt.nested.key == \"x\"", "the nested claim `jwt.nested.key`"),
            ("request.headers[\"x\"] == \"y\"", "`request.headers.x`"),
            ("mcp.tool.name", "`mcp.tool.name` by itself"),
            ("mcp.tool.name == 3", "`3`"),
            ("mcp.tool.name == jwt.tool", "a comparison with something else than a text (`jwt`)"),
            ("mcp.tool.name.matches(\"x\")", "`matches()`"),
            ("mcp.prompt.name == \"x\"", "`mcp.prompt.name`"),
            ("(mcp.tool.name == \"x\"", "an end there"),
            ("mcp.tool.name == \"x\" mcp", "`mcp`"),
            ("\"x", "a text that does not end"),
            ("", "an end there"),
        ] {
            assert_eq!(read(source), Err(what.to_owned()), "{source}");
        }
        assert!(read(&format!("{}true", "!".repeat(100))).is_err());
    }
}
