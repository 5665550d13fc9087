//! Test results as JUnit XML, which continuous integration systems show.

use super::render::push;
use crate::text::{escape_html, is_hidden};
use crate::workbench::run::{Report, SuiteReport, TestReport, TestResult};

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
                let expected = failure.expected.join("; ");
                let got = failure.got.join("; ");
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

/// Text for an attribute, on one line. Characters that cannot be seen and those that XML 1.0 does not allow are replaced.
fn escaped(text: &str) -> String {
    let replaced = |c: char| match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{fffe}' | '\u{ffff}' => char::REPLACEMENT_CHARACTER,
        c if is_hidden(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    escape_html(&text.chars().map(replaced).collect::<String>())
}
