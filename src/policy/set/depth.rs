//! How deep a text of policies or of a schema nests, before a parser that recurses sees it.
//!
//! Cedar's parser, its validator and the code that drops what they built take one frame of the stack for each level, and a
//! stack that is used up ends the process: 1,000 parentheses are a kilobyte. So the tokens are walked here first, without
//! recursion. What is counted is an upper bound of the levels of the expression that the text would become: brackets,
//! `if`, and operators in a row, of which each takes the ones before it as its operand.

use std::sync::Arc;

use super::error::PolicyProblem;

/// The most levels of one expression. The threads that work on policies have a stack for these ([`crate::stack`]).
pub(crate) const MOST_LEVELS: usize = 1_000;

/// The most levels of brackets, which take the most of a parser's stack.
pub(crate) const MOST_BRACKETS: usize = 64;

/// Which language a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// Policies, templates and expressions.
    Policy,
    /// Cedar's schemas, in which `<` and `>` are brackets.
    Schema,
}

/// A text that nests too deep, and the byte where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nested deeper than {most} levels")]
pub(crate) struct TooDeep {
    pub(crate) at: usize,
    most: usize,
}

impl TooDeep {
    /// The problem at its place in a file.
    pub(crate) fn problem(self, file: &Arc<str>, text: &Arc<str>) -> PolicyProblem {
        let problem = PolicyProblem::in_file(file, text, self.to_string());
        let advice = "split it into several policies, or into sets (`[a, b].contains(c)`)";
        problem.at(Some((self.at, 1).into()), "here").with_advice(advice)
    }
}

/// Refuses a text that nests too deep.
pub(crate) fn check(text: &str, language: Language) -> Result<(), TooDeep> {
    let mut outer: Vec<Frame> = Vec::new();
    let mut frame = Frame::default();
    let mut tokens = Tokens { text: text.as_bytes(), at: 0, language };
    let mut before = Token::Other;
    while let Some((at, token)) = tokens.next_token() {
        match token {
            Token::Open => {
                if outer.len() >= MOST_BRACKETS {
                    return Err(TooDeep { at, most: MOST_BRACKETS });
                }
                // A call or an index takes what stands before it as its operand.
                if matches!(before, Token::Word | Token::Close) {
                    frame.members.add();
                }
                outer.push(std::mem::take(&mut frame));
            }
            Token::Close => {
                let inner = frame.levels();
                // More closed than opened: the parser says so.
                let Some(around) = outer.pop() else { return Ok(()) };
                frame = around;
                frame.inner = frame.inner.max(inner);
            }
            Token::Separator => frame = Frame { beside: frame.levels(), ..Frame::default() },
            Token::Operator(operator) => frame.operator(operator),
            Token::Word | Token::Other => {}
        }
        if frame.levels() > MOST_LEVELS {
            return Err(TooDeep { at, most: MOST_LEVELS });
        }
        before = token;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A name, a number or a text.
    Word,
    Open,
    Close,
    /// What comes after it is another expression beside the one before.
    Separator,
    Operator(Operator),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    If,
    Or,
    /// `&&`, and a further clause of a policy.
    And,
    /// `in`, `has`, `like`, `is`, `==`, `<` and the like.
    Relation,
    Sum,
    Product,
    Not,
    Member,
}

/// What stands between two brackets.
#[derive(Debug, Default, Clone, Copy)]
struct Frame {
    /// The levels of the deepest part before the last separator.
    beside: usize,
    /// The levels of the deepest part in brackets since.
    inner: usize,
    ifs: usize,
    ors: usize,
    ands: Row,
    relations: Row,
    sums: Row,
    products: Row,
    nots: Row,
    members: Row,
}

/// Operators in a row: those since an operator that binds less, and the longest row.
#[derive(Debug, Default, Clone, Copy)]
struct Row {
    now: usize,
    most: usize,
}

impl Row {
    fn add(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }
}

impl Frame {
    fn levels(&self) -> usize {
        let rows = [self.ands, self.relations, self.sums, self.products, self.nots, self.members];
        let rows: usize = rows.iter().map(|row| row.most).sum();
        self.beside.max(1 + self.inner + self.ifs + self.ors + rows)
    }

    fn operator(&mut self, operator: Operator) {
        // From what binds least: an operator begins all rows anew that bind more.
        let begins = match operator {
            Operator::If => {
                self.ifs += 1;
                return;
            }
            Operator::Or => {
                self.ors += 1;
                [&mut self.ands, &mut self.relations, &mut self.sums].into_iter().for_each(|row| row.now = 0);
                [&mut self.products, &mut self.nots, &mut self.members]
            }
            Operator::And => {
                self.ands.add();
                (self.relations.now, self.sums.now) = (0, 0);
                [&mut self.products, &mut self.nots, &mut self.members]
            }
            Operator::Relation => {
                self.relations.add();
                self.sums.now = 0;
                [&mut self.products, &mut self.nots, &mut self.members]
            }
            Operator::Sum => {
                self.sums.add();
                [&mut self.products, &mut self.nots, &mut self.members]
            }
            Operator::Product => {
                self.products.add();
                (self.nots.now, self.members.now) = (0, 0);
                return;
            }
            Operator::Not => return self.nots.add(),
            Operator::Member => return self.members.add(),
        };
        begins.into_iter().for_each(|row| row.now = 0);
    }
}

/// Walks over tokens; strings and comments are passed over.
struct Tokens<'t> {
    text: &'t [u8],
    at: usize,
    language: Language,
}

impl Tokens<'_> {
    fn next_token(&mut self) -> Option<(usize, Token)> {
        loop {
            let start = self.at;
            let byte = *self.text.get(start)?;
            self.at += 1;
            let next = self.text.get(self.at).copied().unwrap_or_default();
            let token = match byte {
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                b'/' if next == b'/' => {
                    self.skip_while(|byte| byte != b'\n' && byte != b'\r');
                    continue;
                }
                b'"' => {
                    self.string();
                    Token::Word
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | 0x80.. => {
                    self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80);
                    word(self.text.get(start..self.at).unwrap_or_default())
                }
                // Of `&&`, `||`, `==`, `!=`, `<=` and `>=` the first byte counts.
                b'&' | b'|' | b'=' | b'!' | b'<' | b'>' => {
                    let two = next == b'=' && !matches!(byte, b'&' | b'|')
                        || matches!(byte, b'&' | b'|') && next == byte;
                    self.at += usize::from(two);
                    self.mark(byte, two)
                }
                mark => self.mark(mark, false),
            };
            return Some((start, token));
        }
    }

    fn mark(&self, mark: u8, two: bool) -> Token {
        match mark {
            b'(' | b'[' | b'{' => Token::Open,
            b')' | b']' | b'}' => Token::Close,
            b'<' if self.language == Language::Schema => Token::Open,
            b'>' if self.language == Language::Schema => Token::Close,
            b',' | b';' => Token::Separator,
            b'|' => Token::Operator(Operator::Or),
            b'&' => Token::Operator(Operator::And),
            b'+' | b'-' => Token::Operator(Operator::Sum),
            b'*' => Token::Operator(Operator::Product),
            b'.' => Token::Operator(Operator::Member),
            b'!' if !two => Token::Operator(Operator::Not),
            b'!' | b'<' | b'>' => Token::Operator(Operator::Relation),
            b'=' if two => Token::Operator(Operator::Relation),
            _ => Token::Other,
        }
    }

    fn string(&mut self) {
        while let Some(byte) = self.text.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'"' => return,
                _ => {}
            }
        }
    }

    fn skip_while(&mut self, holds: impl Fn(u8) -> bool) {
        while self.text.get(self.at).is_some_and(|byte| holds(*byte)) {
            self.at += 1;
        }
    }
}

fn word(word: &[u8]) -> Token {
    match word {
        b"if" => Token::Operator(Operator::If),
        b"in" | b"has" | b"like" | b"is" => Token::Operator(Operator::Relation),
        // The clauses of a policy are joined like parts of one.
        b"when" | b"unless" => Token::Operator(Operator::And),
        b"then" | b"else" => Token::Other,
        _ => Token::Word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(condition: &str) -> Result<(), TooDeep> {
        check(&format!("permit(principal, action, resource) when {{ {condition} }};"), Language::Policy)
    }

    #[test]
    fn whatever_nests_is_counted_and_what_stands_side_by_side_is_not() {
        let row = |part: &str, by: &str, times: usize| vec![part; times].join(by);
        let deep = [
            format!("{}true{}", "(".repeat(70), ")".repeat(70)),
            format!("{}1{}", "[".repeat(70), "]".repeat(70)),
            format!("{}1{}", "{ a: ".repeat(70), "}".repeat(70)),
            format!("{} true", "if true then true else ".repeat(1_200)),
            row("true", " && ", 1_200),
            row("true", " || ", 1_200),
            row("1", " + ", 1_200),
            row("1", " * ", 1_200),
            format!("true {}", "} when { true ".repeat(1_200)),
            format!("{}true", "!".repeat(1_200)),
            format!("context{}", ".a".repeat(1_200)),
            format!("context{}", "[\"a\"]".repeat(1_200)),
            format!("\"{}\".a == (\"\\\"\" == \"(\" && {})", "(".repeat(100), row("true", " && ", 1_200)),
        ];
        for text in deep {
            assert!(policy(&text).is_err(), "{}", text.get(..60).unwrap());
        }
        let flat = [
            format!("[{}].contains(1)", row("1", ", ", 100_000)),
            row("context.a.b.c == principal.d.e + 1 && !(resource in [principal])", " || ", 600),
            format!("context.a == \"{}\"", "(".repeat(10_000)),
            format!("true // {}\n", "((((".repeat(1_000)),
            format!("{}true{}", "(".repeat(60), ")".repeat(60)),
        ];
        for text in flat {
            assert_eq!(policy(&text), Ok(()), "{}", text.get(..60).unwrap());
        }
        let many = "permit(principal, action, resource) when { context.a && context.b };".repeat(5_000);
        assert_eq!(check(&many, Language::Policy), Ok(()));
    }

    #[test]
    fn a_schema_nests_in_types() {
        let nested =
            |times: usize| format!("entity A = {{ a: {}Long{} }};", "Set<".repeat(times), ">".repeat(times));
        assert!(check(&nested(70), Language::Schema).is_err());
        assert_eq!(check(&nested(60), Language::Schema), Ok(()));
        assert_eq!(
            check(&"entity A in [B, C] = { a: Set<Long>, b: { c: Long } };".repeat(2_000), Language::Schema),
            Ok(())
        );
    }
}
