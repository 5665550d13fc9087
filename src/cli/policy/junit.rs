//! Test results as JUnit XML, which continuous integration systems show.

use std::fmt::Write as _;

use crate::policy::run::{Report, SuiteReport, TestReport, TestResult};

/// The whole report.
pub(super) fn xml(report: &Report) -> String {
    let summary = report.summary();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let tests = summary.passed + summary.failed + summary.broken;
    push(
        &mut xml,
        format_args!(
            "<testsuites tests=\"{tests}\" failures=\"{}\" errors=\"{}\">",
            summary.failed, summary.broken
        ),
    );
    report.suites.iter().for_each(|one| suite(&mut xml, one));
    push(&mut xml, format_args!("</testsuites>"));
    xml
}

fn suite(xml: &mut String, suite: &SuiteReport) {
    let name = escaped(&suite.suite);
    push(xml, format_args!("  <testsuite name=\"{name}\" file=\"{}\">", escaped(&suite.file)));
    if let Some(problem) = &suite.problem {
        push(xml, format_args!("    <testcase classname=\"{name}\" name=\"(file)\">"));
        push(xml, format_args!("      <error message=\"{}\"/>", escaped(&problem.message)));
        push(xml, format_args!("    </testcase>"));
    }
    suite.tests.iter().for_each(|one| test(xml, &name, one));
    push(xml, format_args!("  </testsuite>"));
}

fn test(xml: &mut String, class: &str, test: &TestReport) {
    let head = format!("    <testcase classname=\"{class}\" name=\"{}\"", escaped(&test.name));
    match &test.result {
        TestResult::Passed => push(xml, format_args!("{head}/>")),
        TestResult::Failed { failures } => {
            push(xml, format_args!("{head}>"));
            for failure in failures {
                let (expected, got) = (failure.expected.join("; "), failure.got.join("; "));
                let text = format!("{} expected {expected}, got {got}", failure.row);
                push(xml, format_args!("      <failure message=\"{}\"/>", escaped(text.trim())));
            }
            push(xml, format_args!("    </testcase>"));
        }
        TestResult::Broken { problem } => {
            push(xml, format_args!("{head}>"));
            let text = format!("line {}: {}", problem.line, problem.message);
            push(xml, format_args!("      <error message=\"{}\"/>", escaped(&text)));
            push(xml, format_args!("    </testcase>"));
        }
    }
}

fn push(xml: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(xml, "{line}");
}

/// Text for an attribute; characters that XML 1.0 does not allow at all are replaced.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
