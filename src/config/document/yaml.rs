//! YAML events to a tree, with everything refused that makes YAML surprising.

use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::{KeyName, MAX_DEPTH, MAX_KEYS, Node, Scalar, Value, refuse_twice};
use crate::config::problem::{ConfigProblem, ProblemCode};
use crate::config::value_type::printable;
use crate::text::one_line;

/// A collection that is not closed yet.
enum Open {
    List(Vec<Node>),
    Section { entries: Vec<(KeyName, Node)>, key: Option<KeyName> },
}

struct Builder<'a> {
    text: &'a str,
    open: Vec<(usize, Open)>,
    root: Option<Node>,
    problems: Vec<ConfigProblem>,
}

/// Reads YAML. A mistake of form ends the reading; a key given twice or an alias does not.
pub(super) fn parse(text: &str) -> (Node, Vec<ConfigProblem>) {
    let options = granit_parser::options! {
        disallow_directives: true,
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder { text, open: Vec::new(), root: None, problems: Vec::new() };
    for next in Parser::new_from_str_with_options(text, options) {
        match next {
            Ok((event, span)) => {
                if !builder.event(event, &range(&span)) {
                    break;
                }
            }
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                builder.problems.push(
                    ConfigProblem::error(
                        ProblemCode::Syntax,
                        format!("this is not YAML: {}", one_line(&error.info(), 400)),
                    )
                    .at(text, &(at..at)),
                );
                break;
            }
        }
    }
    builder.finish()
}

impl Builder<'_> {
    /// Takes one event; `false` ends the reading.
    fn event(&mut self, event: Event<'_>, at: &Range<usize>) -> bool {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Comment(..) => {}
            Event::DocumentStart(..) => {
                if self.root.is_some() {
                    return self.stop("a second document begins here", "keep one document in the file", at);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if !self.properties(anchor, tag.is_some(), at) {
                    return false;
                }
                return self.scalar(text.into_owned(), style, at);
            }
            Event::SequenceStart(_, anchor, tag) => {
                return self.properties(anchor, tag.is_some(), at) && self.begin(Open::List(Vec::new()), at);
            }
            Event::MappingStart(_, anchor, tag) => {
                let open = Open::Section { entries: Vec::new(), key: None };
                return self.properties(anchor, tag.is_some(), at) && self.begin(open, at);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(at),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return self.stop("aliases (`*name`) are not accepted", "write the value out", at);
            }
            // The parser may learn new events; what is not understood must not be skipped.
            _ => return self.stop("this part of YAML is not accepted", "write the value plainly", at),
        }
        true
    }

    fn stop(&mut self, message: &str, help: &str, at: &Range<usize>) -> bool {
        self.problems
            .push(ConfigProblem::error(ProblemCode::Syntax, message).at(self.text, at).with_help(help));
        false
    }

    fn properties(&mut self, anchor: usize, tagged: bool, at: &Range<usize>) -> bool {
        if anchor != 0 {
            return self.stop(
                "anchors (`&name`) are not accepted",
                "write the value out where it is needed",
                at,
            );
        }
        if tagged {
            return self.stop("tags (`!name`) are not accepted", "remove the tag; each key has one type", at);
        }
        true
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, at: &Range<usize>) -> bool {
        let quoted = style != ScalarStyle::Plain;
        if let Some((_, Open::Section { entries, key: key @ None })) = self.open.last_mut() {
            *key = Some(KeyName { text, at: at.clone() });
            if entries.len() >= MAX_KEYS {
                return self.stop(
                    "a section has at most 1,000 keys",
                    "check that this is the right file",
                    at,
                );
            }
            return true;
        }
        let empty = !quoted && matches!(text.as_str(), "" | "~" | "null");
        let value = if empty { Value::Empty } else { Value::Scalar(Scalar { text, quoted }) };
        self.add(Node { at: at.clone(), value });
        true
    }

    fn begin(&mut self, open: Open, at: &Range<usize>) -> bool {
        if let Some((_, Open::Section { key: None, .. })) = self.open.last() {
            return self.stop("a key must be a plain name", "write `name: value`", at);
        }
        if self.open.len() >= MAX_DEPTH {
            return self.stop("the file nests too deeply", "at most 16 levels are read", at);
        }
        self.open.push((at.start, open));
        true
    }

    fn end(&mut self, at: &Range<usize>) {
        if let Some((start, open)) = self.open.pop() {
            let value = match open {
                Open::List(items) => Value::List(items),
                Open::Section { entries, .. } => Value::Section(entries),
            };
            self.add(Node { at: start..at.end.max(start), value });
        }
    }

    /// The path of the innermost open section, with a dot at the end.
    fn path_of_parent(&self) -> String {
        let outer = self.open.split_last().map_or(&[][..], |(_, outer)| outer);
        let names = outer.iter().filter_map(|(_, open)| match open {
            Open::Section { key: Some(name), .. } => Some(format!("{}.", printable(&name.text))),
            Open::Section { key: None, .. } | Open::List(_) => None,
        });
        names.collect()
    }

    fn add(&mut self, node: Node) {
        let path = self.path_of_parent();
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((_, Open::List(items))) => items.push(node),
            Some((_, Open::Section { entries, key })) => {
                if let Some(name) = key.take() {
                    match refuse_twice(self.text, entries, &path, &name) {
                        Some(problem) => self.problems.push(problem),
                        None => entries.push((name, node)),
                    }
                }
            }
        }
    }

    /// Closes what a mistake left open, so that the keys before it are still checked.
    fn finish(mut self) -> (Node, Vec<ConfigProblem>) {
        let end = self.text.len()..self.text.len();
        while !self.open.is_empty() {
            self.end(&end);
        }
        (self.root.unwrap_or_else(Node::nothing), self.problems)
    }
}

fn range(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}
