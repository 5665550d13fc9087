//! The coverage of policies as one page: their text, coloured by what the tests have seen. No script, no other file,
//! nothing from the network: it can be kept as an artefact of a build and opened anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::coverage::floored;
use super::render::push;
use crate::policy::{SourceKind, Sources};
use crate::text::{clean_lines, escape_html};
use crate::workbench::coverage::{Coverage, Part, PolicyCoverage};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --faint: #6a737d; --line: #d8dee4;
  --both: #dafbe1; --half: #fff1b8; --none: #ffd7d5; --implied: #e7ecf0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #8b949e; --line: #30363d;
  --both: #12381f; --half: #4a3a00; --none: #5c1a1b; --implied: #21262d; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p.counts, td.n, li small { color: var(--faint); }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow-x: auto; font: 13px/1.5 ui-monospace, monospace; }
mark { color: inherit; border-radius: 3px; padding: .1em .15em; }
mark.both { background: var(--both); } mark.half { background: var(--half); text-decoration: underline dotted; }
mark.none { background: var(--none); text-decoration: underline wavy; } mark.implied { background: var(--implied); }
i { color: var(--faint); font-style: normal; user-select: none; }
code { font: 13px ui-monospace, monospace; }
";

/// The whole page.
pub(super) fn page(coverage: &Coverage, sources: &Sources) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    // The page shows untrusted texts: nothing in it may load or run.
    push(
        &mut page,
        format_args!(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        ),
    );
    push(
        &mut page,
        format_args!(
            "<meta name=\"viewport\" content=\"width=device-width\">\n<title>Policy coverage</title>\n<style>{STYLE}</style>\n</head>\n<body>"
        ),
    );
    head(&mut page, coverage);
    let mut by_file: BTreeMap<&str, Vec<&PolicyCoverage>> = BTreeMap::new();
    for policy in &coverage.policies {
        by_file.entry(&policy.file).or_default().push(policy);
    }
    files(&mut page, &by_file);
    for source in sources.iter().filter(|source| source.kind == SourceKind::Policy) {
        if let Some(policies) = by_file.get(source.path.as_ref()) {
            file(&mut page, &source.path, &source.text, policies);
        }
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn head(page: &mut String, coverage: &Coverage) {
    let summary = coverage.summary;
    push(page, format_args!("<h1>Policy coverage: {:.1}&nbsp;%</h1>", floored(summary.percent)));
    push(
        page,
        format_args!(
            "<p class=\"counts\">{} of {} points, {} policies, {} rows of tests, policies <code>{}</code></p>",
            summary.covered,
            summary.points,
            coverage.policies.len(),
            coverage.rows,
            escaped(coverage.policy_version.as_str())
        ),
    );
    push(
        page,
        format_args!(
            "<p><mark class=\"both\">seen both ways</mark> <mark class=\"half\">seen one way</mark> \
             <mark class=\"none\">never seen</mark> <mark class=\"implied\">holds by the schema</mark></p>"
        ),
    );
}

fn files(page: &mut String, by_file: &BTreeMap<&str, Vec<&PolicyCoverage>>) {
    push(
        page,
        format_args!("<table><tr><th>file</th><th class=\"n\">covered</th><th class=\"n\">points</th></tr>"),
    );
    for (file, policies) in by_file {
        let sum = |of: fn(&PolicyCoverage) -> usize| -> usize { policies.iter().map(|one| of(one)).sum() };
        let covered = sum(|one| one.summary.covered);
        let points = sum(|one| one.summary.points);
        push(
            page,
            format_args!(
                "<tr><td><a href=\"#{}\">{}</a></td><td class=\"n\">{covered}</td><td class=\"n\">{points}</td></tr>",
                anchor(file),
                escaped(file),
            ),
        );
    }
    push(page, format_args!("</table>"));
}

fn file(page: &mut String, path: &str, text: &str, policies: &[&PolicyCoverage]) {
    push(page, format_args!("<h2 id=\"{}\">{}</h2>", anchor(path), escaped(path)));
    let gaps: Vec<(&PolicyCoverage, &Part)> = policies
        .iter()
        .flat_map(|policy| policy.parts.iter().map(move |part| (*policy, part)))
        .filter(|(_, part)| !part.gaps().is_empty())
        .collect();
    if !gaps.is_empty() {
        push(page, format_args!("<ul>"));
        for (policy, part) in gaps {
            push(
                page,
                format_args!(
                    "<li>line {}: <code>{}</code> {} <small>{}</small></li>",
                    part.line,
                    escaped(&part.text),
                    part.gaps().join(", "),
                    escaped(&policy.id)
                ),
            );
        }
        push(page, format_args!("</ul>"));
    }
    page.push_str("<pre>");
    coloured(page, text, policies);
    page.push_str("</pre>\n");
}

/// The file's text with its parts marked. Parts do not overlap: an element of a scope has no parts, and a clause
/// is shown by its leaves.
fn coloured(page: &mut String, text: &str, policies: &[&PolicyCoverage]) {
    let mut parts: Vec<&Part> = policies.iter().flat_map(|policy| &policy.parts).collect();
    parts.sort_by_key(|part| (part.start, part.end));
    let mut at = 0;
    for part in parts {
        let (Some(before), Some(marked)) = (text.get(at..part.start), text.get(part.start..part.end)) else {
            continue;
        };
        page.push_str(&escaped(before));
        let class = match (part.gaps().len(), part.points()) {
            (0, 1) => "implied",
            (0, _) => "both",
            (missed, points) if missed == points => "none",
            _ => "half",
        };
        let _ = write!(
            page,
            "<mark class=\"{class}\" title=\"{}\">{}</mark>",
            escaped(&with_cause(part)),
            escaped(marked)
        );
        at = part.end;
    }
    page.push_str(&escaped(text.get(at..).unwrap_or_default()));
}

fn with_cause(part: &Part) -> String {
    let (yes, no) = if part.kind.is_scope() { ("matched", "kept out alone") } else { ("true", "false") };
    let mut with_cause = format!("{yes} {} times, {no} {} times", part.seen_true, part.seen_false);
    if part.errors > 0 {
        let _ = write!(with_cause, ", {} errors", part.errors);
    }
    if part.implied {
        with_cause.push_str("; the schema leaves no other");
    }
    with_cause
}

fn anchor(path: &str) -> String {
    path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// Text of a policy for the page. A character that turns the direction of text could make a policy look like another one.
fn escaped(text: &str) -> String {
    escape_html(&clean_lines(text))
}
