//! The part of CEL that rules on servers are written in: names of tools, prompts, resources and servers, claims, and how they
//! are joined.

use super::condition::{Condition, Target, Text};
use super::lexer::{DEPTH, LexError, Lexis, Token, Tokens};

/// Whose names stand in an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// `mcp.tool.name`, `jwt.sub`.
    Agentgateway,
    /// `request.mcp.tool`, `request.auth.jwt.claims.sub`.
    AgentRouter,
}

/// Longer ones first.
const LEXIS: Lexis = Lexis {
    marks: &["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",", ".", "?", ":"],
    dotted: false,
    escapes: true,
};

/// Reads an expression, or says what in it has no counterpart.
pub(super) fn read(source: &str, names: Names) -> Result<Condition, String> {
    condition(Tokens::read(source, &LEXIS).map_err(not_understood)?, names)
}

/// The parts that `&&` joins, each read by itself; the whole as one part when something else joins them.
pub(super) fn parts(source: &str, names: Names) -> Vec<Result<Condition, String>> {
    split(source, names, "&&", &["||", "?"])
}

/// The parts that `||` joins, each read by itself; the whole as one part when something else joins them.
pub(super) fn alternatives(source: &str, names: Names) -> Vec<Result<Condition, String>> {
    split(source, names, "||", &["?"])
}

fn split(source: &str, names: Names, mark: &str, others: &[&str]) -> Vec<Result<Condition, String>> {
    // `?` is an operator of its own unless it stands in `.?`.
    let is_other = |before: &[Token]| match before {
        [.., Token::Mark("."), Token::Mark("?")] => false,
        [.., Token::Mark(last)] => others.contains(last),
        _ => false,
    };
    let tokens = Tokens::read(source, &LEXIS).ok();
    match tokens.and_then(|tokens| tokens.split(mark, is_other)) {
        Some(parts) => parts.into_iter().map(|part| condition(part, names)).collect(),
        None => vec![read(source, names)],
    }
}

fn condition(tokens: Tokens, names: Names) -> Result<Condition, String> {
    let mut parser = Parser { tokens, depth: 0, names };
    let condition = parser.any()?;
    match parser.tokens.peek() {
        None => Ok(condition),
        Some(_) => Err(parser.unknown()),
    }
}

/// What is said of a text that has no tokens.
fn not_understood(error: LexError) -> String {
    match error {
        LexError::Unknown(found) => format!("`{found}`"),
        LexError::Unended(_) => "a text that does not end".to_owned(),
        LexError::Escape(found) => format!("`\\{found}` in a text"),
        LexError::Number(word) => format!("`{word}`"),
    }
}

/// `a.b["c"].?d`.
struct Path {
    parts: Vec<String>,
    /// Whether a part may be absent without an error.
    optional: bool,
}

struct Parser {
    tokens: Tokens,
    depth: usize,
    names: Names,
}

impl Parser {
    fn takes(&mut self, mark: &'static str) -> bool {
        self.tokens.takes(mark)
    }

    fn wants(&mut self, mark: &'static str) -> Result<(), String> {
        if self.takes(mark) { Ok(()) } else { Err(self.unknown()) }
    }

    fn unknown(&self) -> String {
        match self.tokens.peek() {
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Text(text)) => format!("the text `{text}` there"),
            Some(Token::Number(number)) => format!("`{number}`"),
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
        for (word, holds) in [("true", true), ("false", false)] {
            if self.tokens.takes_name(word) {
                return Ok(Condition::Always(holds));
            }
        }
        match self.tokens.peek().cloned() {
            Some(Token::Name(name)) if name == "has" && self.tokens.second() == Some(&Token::Mark("(")) => {
                self.tokens.next();
                self.presence()
            }
            Some(Token::Name(_)) => self.comparison(),
            // `"admin" in jwt.roles`
            Some(Token::Text(text)) if self.tokens.second() == Some(&Token::Name("in".to_owned())) => {
                self.tokens.next();
                self.tokens.next();
                let path = self.path()?;
                self.subject(&path, Text::Is(text))
            }
            Some(_) | None => Err(self.unknown()),
        }
    }

    /// `(jwt.sub)`, after `has`.
    fn presence(&mut self) -> Result<Condition, String> {
        self.wants("(")?;
        let path = self.path()?;
        self.wants(")")?;
        let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
        let condition = match (self.names, parts.as_slice()) {
            (Names::Agentgateway, ["mcp", of] | ["mcp", of, "name" | "target"]) => {
                target(of).map(Condition::Is)
            }
            (Names::Agentgateway, ["jwt", claim @ ..])
            | (Names::AgentRouter, ["request", "auth", "jwt", "claims", claim @ ..])
                if !claim.is_empty() =>
            {
                Some(Condition::ClaimThere(claim.join(".")))
            }
            _ => None,
        };
        condition.ok_or_else(|| format!("`has({})`", path.parts.join(".")))
    }

    fn path(&mut self) -> Result<Path, String> {
        let mut path = Path { parts: vec![self.name()?], optional: false };
        loop {
            if self.takes(".") {
                path.optional |= self.takes("?");
                path.parts.push(self.name()?);
            } else if self.takes("[") {
                path.optional |= self.takes("?");
                match self.tokens.next() {
                    Some(Token::Text(text)) => path.parts.push(text),
                    Some(_) | None => return Err("an index that is not a text".to_owned()),
                }
                self.wants("]")?;
            } else {
                return Ok(path);
            }
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.peek().cloned() {
            Some(Token::Name(name)) => {
                self.tokens.next();
                Ok(name)
            }
            Some(_) | None => Err(self.unknown()),
        }
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        let mut path = self.path()?;
        if self.takes("(") {
            let method = path.parts.pop().unwrap_or_default();
            let text = self.wanted_text().map_err(|_| format!("`{method}` of something else than a text"))?;
            self.wants(")")?;
            let text = match method.as_str() {
                "orValue" if path.optional => return self.comparison_with_default(&path, &text),
                "startsWith" => Text::Begins(text),
                "endsWith" => Text::Ends(text),
                // Of a list of roles, that it has one; of a name, that it has a part.
                "contains" if self.is_list(&path) => Text::Is(text),
                "contains" => Text::Has(text),
                other => return Err(format!("`{other}()`")),
            };
            return self.subject(&path, text);
        }
        if self.takes("==") {
            let text = self.wanted_text()?;
            return self.subject(&path, Text::Is(text));
        }
        if self.takes("!=") {
            let text = self.wanted_text()?;
            return Ok(Condition::Not(Box::new(self.subject(&path, Text::Is(text))?)));
        }
        if self.tokens.takes_name("in") {
            return match self.texts()? {
                texts if texts.is_empty() => Ok(Condition::Always(false)),
                texts => self.subject(&path, Text::OneOf(texts)),
            };
        }
        Err(format!("`{}` by itself", path.parts.join(".")))
    }

    /// `claims.?team.orValue("")` compared with a text that is not the default: that the claim is there and has it.
    fn comparison_with_default(&mut self, path: &Path, default: &str) -> Result<Condition, String> {
        let is_equal = self.takes("==");
        if !is_equal && !self.takes("!=") {
            return Err(self.unknown());
        }
        let text = self.wanted_text()?;
        let condition =
            self.subject(&Path { parts: path.parts.clone(), optional: false }, Text::Is(text.clone()))?;
        let Condition::Claim(name, _) = &condition else {
            return Err(format!("`{}`", path.parts.join(".")));
        };
        if text == default {
            return Err(format!("the default `{default}` itself"));
        }
        let there = Condition::ClaimThere(name.clone());
        let both = Condition::All(vec![there, condition]);
        Ok(if is_equal { both } else { Condition::Not(Box::new(both)) })
    }

    /// `["a", "b"]`.
    fn texts(&mut self) -> Result<Vec<String>, String> {
        self.wants("[")?;
        let mut texts = Vec::new();
        while !self.takes("]") {
            texts.push(self.wanted_text()?);
            let more = self.takes(",");
            if !more && self.tokens.peek() != Some(&Token::Mark("]")) {
                return Err(self.unknown());
            }
        }
        Ok(texts)
    }

    fn wanted_text(&mut self) -> Result<String, String> {
        match self.tokens.peek().cloned() {
            Some(Token::Text(text)) => {
                self.tokens.next();
                Ok(text)
            }
            Some(_) | None => {
                Err(format!("a comparison with something else than a text ({})", self.unknown()))
            }
        }
    }

    /// Whether it is a claim that may have several values.
    fn is_list(&self, path: &Path) -> bool {
        let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
        let claim = match (self.names, parts.as_slice()) {
            (Names::Agentgateway, ["jwt", claim @ ..]) => claim,
            (Names::AgentRouter, ["request", "auth", "jwt", "claims", claim @ ..]) => claim,
            (Names::AgentRouter, ["request", "auth", "jwt", "scopes"]) => return true,
            _ => return false,
        };
        !matches!(claim, ["sub" | "iss" | "email"] | [])
    }

    /// What a path is, with what is asked of it.
    fn subject(&self, path: &Path, text: Text) -> Result<Condition, String> {
        let unknown = || format!("`{}`", path.parts.join("."));
        if path.optional {
            return Err(format!("{} without a default", unknown()));
        }
        let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
        match self.names {
            Names::Agentgateway => agentgateway(&parts, text),
            Names::AgentRouter => agent_router(&parts, text),
        }
        .ok_or_else(unknown)
    }
}

/// `tool`, `prompt` or `resource`.
fn target(word: &str) -> Option<Target> {
    match word {
        "tool" => Some(Target::Tool),
        "prompt" => Some(Target::Prompt),
        "resource" => Some(Target::Resource),
        _ => None,
    }
}

fn agentgateway(path: &[&str], text: Text) -> Option<Condition> {
    match path {
        ["mcp", of, "name"] => Some(Condition::Name(target(of)?, text)),
        ["mcp", of, "target"] => Some(Condition::ServerOf(target(of)?, text)),
        ["jwt", first, rest @ ..] => Some(claim(first, rest, text)),
        _ => None,
    }
}

fn agent_router(path: &[&str], text: Text) -> Option<Condition> {
    match path {
        ["request", "mcp", "tool"] => Some(Condition::Name(Target::Tool, text)),
        ["request", "mcp", "backend"] => Some(Condition::Server(text)),
        // Only calls of tools are asked about; lists show what can be called.
        ["request", "mcp", "method"] => Some(Condition::Always(text.fits("tools/call"))),
        ["request", "auth", "jwt", "scopes"] => Some(Condition::Claim("scope".to_owned(), text)),
        ["request", "auth", "jwt", "claims", first, rest @ ..] => Some(claim(first, rest, text)),
        _ => None,
    }
}

/// A claim; one inside of another is known by its path.
fn claim(first: &str, rest: &[&str], text: Text) -> Condition {
    let path: Vec<&str> = [first].into_iter().chain(rest.iter().copied()).collect();
    Condition::Claim(path.join("."), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str) -> Text {
        Text::Is(text.to_owned())
    }

    #[test]
    fn rules_are_read() {
        let read = |source: &str| super::read(source, Names::Agentgateway);
        let tool = |name: &str| Condition::Name(Target::Tool, is(name));
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
        assert_eq!(
            read("mcp.tool.name.contains(\"get\")"),
            Ok(Condition::Name(Target::Tool, Text::Has("get".to_owned())))
        );
        assert_eq!(
            read("mcp.tool.name.startsWith('get_')"),
            Ok(Condition::Name(Target::Tool, Text::Begins("get_".to_owned())))
        );
        assert_eq!(
            read("mcp.tool.target in ['a', 'b']"),
            Ok(Condition::ServerOf(Target::Tool, Text::OneOf(vec!["a".to_owned(), "b".to_owned()])))
        );
        assert_eq!(
            read("has(jwt.sub) && true"),
            Ok(Condition::All(vec![Condition::ClaimThere("sub".to_owned()), Condition::Always(true)]))
        );
    }

    #[test]
    fn what_has_no_counterpart_is_told() {
        let read = |source: &str| super::read(source, Names::Agentgateway);
        for (source, what) in [
            ("request.headers[\"x\"] == \"y\"", "`request.headers.x`"),
            ("mcp.tool.name", "`mcp.tool.name` by itself"),
            ("mcp.tool.name == 3", "a comparison with something else than a text (`3`)"),
            ("mcp.tool.name == jwt.tool", "a comparison with something else than a text (`jwt`)"),
            ("mcp.tool.name.matches(\"x\")", "`matches()`"),
            ("mcp.task.name == \"x\"", "`mcp.task.name`"),
            ("mcp.tool.arguments.a == \"x\"", "`mcp.tool.arguments.a`"),
            ("jwt == \"x\"", "`jwt`"),
            ("jwt.?sub == \"x\"", "`jwt.sub` without a default"),
            ("jwt.?sub.orValue(\"x\") == \"x\"", "the default `x` itself"),
            ("request.auth.jwt.scopes.contains(\"x\")", "`request.auth.jwt.scopes`"),
            ("(mcp.tool.name == \"x\"", "an end there"),
            ("mcp.tool.name == \"x\" mcp", "`mcp`"),
            ("\"x", "a text that does not end"),
            ("", "an end there"),
        ] {
            assert_eq!(read(source), Err(what.to_owned()), "{source}");
        }
        assert!(read(&format!("{}true", "!".repeat(100))).is_err());
    }

    #[test]
    fn names_of_agent_router_are_read() {
        let read = |source: &str| super::read(source, Names::AgentRouter);
        let claim = |name: &str, value: &str| Condition::Claim(name.to_owned(), is(value));
        for (source, condition) in [
            ("request.mcp.backend == 'deploy'", Condition::Server(is("deploy"))),
            ("request.mcp.method == 'tools/call'", Condition::Always(true)),
            ("request.mcp.method == 'tools/list'", Condition::Always(false)),
            ("'deploy:write' in request.auth.jwt.scopes", claim("scope", "deploy:write")),
            ("request.auth.jwt.claims['org'].unit == 'x'", claim("org.unit", "x")),
            (
                "request.auth.jwt.claims.?team.orValue('') == 'a'",
                Condition::All(vec![Condition::ClaimThere("team".to_owned()), claim("team", "a")]),
            ),
        ] {
            assert_eq!(read(source), Ok(condition), "{source}");
        }
        for source in
            ["request.headers['x'] == 'y'", "request.mcp.params.arguments.a == 'b'", "jwt.sub == 'a'"]
        {
            assert!(read(source).is_err(), "{source}");
        }
    }

    #[test]
    fn parts_of_a_conjunction_are_read_by_themselves() {
        let told = |source: &str| {
            let parts = super::parts(source, Names::AgentRouter);
            parts.iter().map(Result::is_ok).collect::<Vec<_>>()
        };
        let tool = "request.mcp.tool == 'a'";
        let argument = "request.mcp.params.?arguments.?x.orValue('') == 'y'";
        assert_eq!(told(&format!("{tool} && {argument}")), [true, false]);
        assert_eq!(told(&format!("({tool} || {argument}) && {tool}")), [false, true]);
        assert_eq!(told(&format!("{tool} || {argument}")), [false]);
        assert_eq!(told(&format!("{tool} ? true : false")), [false]);
        assert_eq!(told("'a"), [false]);
        let alternatives =
            super::alternatives(&format!("{tool} || {argument} && {tool}"), Names::AgentRouter);
        assert_eq!(alternatives.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    }
}
