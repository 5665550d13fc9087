//! Policies in one look, with nothing lost.
//!
//! Cedar's formatter lays out each policy by itself. What stands between policies (headings, remarks, empty lines that
//! group them) is kept as it was written, because the formatter would push it all against the next policy. A text whose
//! formatted form does not say the same, or lacks a comment, is refused and stays as it is.

use std::collections::BTreeMap;

use cedar_policy_core::ast::{PolicySet, Template};
use cedar_policy_core::parser::{parse_policyset, text_to_cst};
use cedar_policy_formatter::{Config, policies_str_to_pretty};

use crate::policy::set::depth;
use crate::policy::set::depth::Language;

/// Columns of a line; what Cedar's own tool takes when nothing is said.
const WIDTH: usize = 80;
const INDENT: isize = 2;

/// Why a text is not formatted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is not policies.
    #[error("the policies cannot be read: {0}")]
    Parse(String),
    /// The formatter's own check failed.
    #[error("the formatter cannot lay this out: {0}")]
    Formatter(String),
    /// A comment would be lost.
    #[error("the comment `{0}` would be lost")]
    Comment(String),
    /// The formatted text would say something else.
    #[error("the formatted policies would not be the same as `{0}`")]
    Policy(String),
}

/// Lays out a text of policies.
pub fn format(text: &str) -> Result<String, FormatError> {
    let parse = |error: &dyn std::fmt::Display| FormatError::Parse(error.to_string());
    depth::check(text, Language::Policy).map_err(|deep| parse(&deep))?;
    let before = parse_policyset(text).map_err(|error| parse(&error))?;
    let cst = text_to_cst::parse_policies(text).map_err(|error| parse(&error))?;
    let policies = cst.as_inner().map(|policies| policies.0.as_slice()).unwrap_or_default();
    let config = Config { line_width: WIDTH, indent_width: INDENT };
    let mut formatted = String::with_capacity(text.len());
    let mut end = 0;
    for loc in policies.iter().filter_map(|policy| policy.loc()) {
        between(&mut formatted, text.get(end..loc.start()).unwrap_or_default());
        let policy = text.get(loc.start()..loc.end()).unwrap_or_default();
        let pretty = policies_str_to_pretty(policy, &config).map_err(|error| formatter_error(&error))?;
        formatted.push_str(pretty.trim_end());
        end = loc.end();
    }
    between(&mut formatted, text.get(end..).unwrap_or_default());
    let formatted = match formatted.trim_end() {
        "" => String::new(),
        whole => format!("{whole}\n"),
    };
    check(text, &before, &formatted)?;
    Ok(formatted)
}

fn formatter_error(error: &dyn std::fmt::Debug) -> FormatError {
    let text = format!("{error:?}");
    FormatError::Formatter(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// What stands between two policies: comments, and at most one empty line in a row.
fn between(formatted: &mut String, gap: &str) {
    let mut lines = gap.split('\n').map(str::trim).collect::<Vec<_>>().into_iter().peekable();
    // What stands on the line on which a policy ends belongs to that policy.
    if !formatted.is_empty() {
        match lines.next().unwrap_or_default() {
            "" => formatted.push('\n'),
            remark => {
                formatted.push(' ');
                formatted.push_str(remark);
                formatted.push('\n');
            }
        }
    }
    // A policy begins after an empty line, unless its own comment stands on it.
    let mut empty = !formatted.is_empty();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            // The last one is where the next policy stands.
            empty |= lines.peek().is_some() && !formatted.is_empty();
            continue;
        }
        if std::mem::take(&mut empty) {
            formatted.push('\n');
        }
        formatted.push_str(line);
        formatted.push('\n');
    }
    if empty {
        formatted.push('\n');
    }
}

/// Whether the formatted text has the same policies, templates and comments.
fn check(text: &str, before: &PolicySet, formatted: &str) -> Result<(), FormatError> {
    let after = parse_policyset(formatted).map_err(|error| FormatError::Formatter(error.to_string()))?;
    let by_id = |set: &PolicySet| -> BTreeMap<String, Template> {
        set.all_templates().map(|template| (template.id().to_string(), template.clone())).collect()
    };
    let (old, new) = (by_id(before), by_id(&after));
    for (id, template) in &old {
        if !new.get(id).is_some_and(|other| same(template, other)) {
            return Err(FormatError::Policy(id.clone()));
        }
    }
    if let Some(id) = new.keys().find(|id| !old.contains_key(*id)) {
        return Err(FormatError::Policy(id.clone()));
    }
    let (mut kept, mut wanted) = (comments(formatted), comments(text));
    kept.sort_unstable();
    wanted.sort_unstable();
    let lost = wanted.iter().find(|comment| {
        let count = |all: &[&str]| all.iter().filter(|other| other == comment).count();
        count(&wanted) != count(&kept)
    });
    lost.map_or(Ok(()), |comment| Err(FormatError::Comment((*comment).to_owned())))
}

fn same(one: &Template, other: &Template) -> bool {
    let annotations = |template: &Template| -> BTreeMap<String, String> {
        template.annotations().map(|(name, value)| (name.to_string(), value.val.to_string())).collect()
    };
    let conditions = match (one.non_scope_constraints(), other.non_scope_constraints()) {
        (Some(one), Some(other)) => one.eq_shape(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    one.effect() == other.effect()
        && one.principal_constraint() == other.principal_constraint()
        && one.action_constraint() == other.action_constraint()
        && one.resource_constraint() == other.resource_constraint()
        && annotations(one) == annotations(other)
        && conditions
}

/// The comments of a text, in order; what looks like one in a string is none.
fn comments(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines() {
        let (mut quoted, mut escaped, mut slash) = (false, false, None);
        for (at, c) in line.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '/' if !quoted && slash == Some(at.wrapping_sub(1)) => {
                    found.push(line.get(at.wrapping_sub(1)..).unwrap_or_default().trim());
                    break;
                }
                '/' if !quoted => slash = Some(at),
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAND: &str = "// what this file is


// a heading

@id(\"a\") // after the id
@description(\"says // nothing\")
permit ( // why
  principal, // who
  action == Action::\"x\", resource) // after the scope
when { // first
  // inside
  principal.a == 1 && // and
  principal.b // last
  == \"// no comment \\\" // still none\"
}
; // end of a
// about b
@id(\"b\") forbid(principal,action,resource);@id(\"c\") permit(principal == ?principal,action,resource) unless{context.x};


// the end
";

    #[test]
    fn everything_is_kept_and_laid_out() {
        let formatted = format(HAND).unwrap();
        assert!(formatted.starts_with("// what this file is\n\n// a heading\n\n@id(\"a\")"), "{formatted}");
        for comment in
            ["// why", "// who", "// after the scope", "// inside", "// and", "// last", "// end of a"]
        {
            assert_eq!(formatted.matches(comment).count(), 1, "{comment}\n{formatted}");
        }
        assert!(
            formatted.contains(
                "; // end of a\n\n// about b\n@id(\"b\")\nforbid (principal, action, resource);\n\n@id(\"c\")"
            ),
            "{formatted}"
        );
        assert!(formatted.ends_with("unless { context.x };\n\n// the end\n"), "{formatted}");
        assert_eq!(format(&formatted).unwrap(), formatted, "once is enough");
    }

    #[test]
    fn texts_without_policies_and_with_other_line_ends() {
        assert_eq!(format("").unwrap(), "");
        assert_eq!(format("\n\n").unwrap(), "");
        assert_eq!(format("  // only this  \n\n\n// and this").unwrap(), "// only this\n\n// and this\n");
        assert_eq!(
            format("permit(principal,action,resource);\r\n// x\r\n").unwrap(),
            "permit (principal, action, resource);\n\n// x\n"
        );
    }

    #[test]
    fn what_is_not_policies_is_refused() {
        assert!(matches!(format("permit (principal"), Err(FormatError::Parse(_))));
    }

    #[test]
    fn empty_lines_in_a_text_are_part_of_it() {
        let text = "permit (principal, action, resource)\nwhen { context.a == \"x\n\n\ny\" };\n";
        assert_eq!(format(text).unwrap(), text);
    }

    #[test]
    fn a_loss_is_seen() {
        let set = |text: &str| parse_policyset(text).unwrap();
        let one = "// a\n// a\n@id(\"x\") permit (principal == ?principal, action, resource) when { true };";
        let lost = |changed: &str| check(one, &set(one), changed);
        assert_eq!(lost(one), Ok(()));
        assert_eq!(lost(&one.replacen("// a\n", "", 1)), Err(FormatError::Comment("// a".to_owned())));
        let policy = Err(FormatError::Policy("policy0".to_owned()));
        for (from, to) in [
            ("permit", "forbid"),
            ("true", "false"),
            ("when", "unless"),
            ("\"x\"", "\"y\""),
            ("== ?", "in ?"),
        ] {
            assert_eq!(lost(&one.replace(from, to)), policy, "{to}");
        }
        assert!(lost("// a\n// a").is_err());
    }
}
