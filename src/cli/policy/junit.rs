//! Test results as JUnit XML, which continuous integration systems show.

use super::markup::escaped;
use super::render::push;
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
    let name = escaped(&suite.suite, allowed);
    push(xml, format_args!("  <testsuite name=\"{name}\" file=\"{}\">", escaped(&suite.file, allowed)));
    if let Some(problem) = &suite.problem {
        push(xml, format_args!("    <testcase classname=\"{name}\" name=\"(file)\">"));
        push(xml, format_args!("      <error message=\"{}\"/>", escaped(&problem.message, allowed)));
        push(xml, format_args!("    </testcase>"));
    }
    suite.tests.iter().for_each(|one| test(xml, &name, one));
    push(xml, format_args!("  </testsuite>"));
}

fn test(xml: &mut String, class: &str, test: &TestReport) {
    let head = format!("    <testcase classname=\"{class}\" name=\"{}\"", escaped(&test.name, allowed));
    match &test.result {
        TestResult::Passed => push(xml, format_args!("{head}/>")),
        TestResult::Failed { failures } => {
            push(xml, format_args!("{head}>"));
            for failure in failures {
                let expected = failure.expected.join("; ");
                let got = failure.got.join("; ");
                let text = format!("{} expected {expected}, got {got}", failure.row);
                push(xml, format_args!("      <failure message=\"{}\"/>", escaped(text.trim(), allowed)));
            }
            push(xml, format_args!("    </testcase>"));
        }
        TestResult::Broken { problem } => {
            push(xml, format_args!("{head}>"));
            let text = format!("line {}: {}", problem.line, problem.message);
            push(xml, format_args!("      <error message=\"{}\"/>", escaped(&text, allowed)));
            push(xml, format_args!("    </testcase>"));
        }
    }
}

/// Characters that XML 1.0 does not allow at all are replaced.
fn allowed(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
        c => c,
    }
}
