//! A test file that pins what a source meant.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::text::{one_line, quote_yaml};
use crate::workbench::replay::key;

/// The most rows of a file.
const MAX_ROWS: usize = 400;

/// Tests to be written.
#[derive(Debug, Default)]
pub(super) struct Suite {
    /// Entities by name, each with its text in braces.
    pub(super) entities: BTreeMap<String, String>,
    pub(super) tests: Vec<Test>,
}

/// One test; every row is a set of values for the request.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: String,
    /// Entities whose texts hold values of the row.
    pub(super) entities: BTreeMap<String, String>,
    pub(super) rows: Vec<Vec<(&'static str, String)>>,
    pub(super) principal: String,
    pub(super) action: String,
    pub(super) resource: String,
    pub(super) outcome: &'static str,
}

impl Suite {
    /// Adds an entity of which nothing is said.
    pub(super) fn exists(&mut self, name: &str) {
        self.entities.entry(name.to_owned()).or_insert_with(|| "{}".to_owned());
    }

    /// The file, and how many rows it has.
    pub(super) fn text(&self, topic: &str, file: &str) -> (String, usize) {
        let mut text = String::new();
        let push = |text: &mut String, line: std::fmt::Arguments<'_>| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{line}");
        };
        push(
            &mut text,
            format_args!(
                "# What {} means; the rows come from there, not from the policies.",
                one_line(file, usize::MAX)
            ),
        );
        push(&mut text, format_args!("suite: {}\nentities:", key(topic)));
        for (name, entity) in &self.entities {
            push(&mut text, format_args!("  {}: {entity}", key(name)));
        }
        push(&mut text, format_args!("tests:"));
        let mut rows = 0;
        for test in self.tests.iter().filter(|test| !test.rows.is_empty()) {
            push(&mut text, format_args!("  - name: {}\n    matrix:", quote_yaml(&test.name)));
            for row in test.rows.iter().take(MAX_ROWS.saturating_sub(rows).max(1)) {
                let values: Vec<String> =
                    row.iter().map(|(name, value)| format!("{name}: {}", key(value))).collect();
                push(&mut text, format_args!("      - {{ {} }}", values.join(", ")));
                rows += 1;
            }
            if !test.entities.is_empty() {
                push(&mut text, format_args!("    entities:"));
                for (name, entity) in &test.entities {
                    push(&mut text, format_args!("      {}: {entity}", key(name)));
                }
            }
            let [principal, action, resource] =
                [&test.principal, &test.action, &test.resource].map(|text| key(text));
            push(
                &mut text,
                format_args!(
                    "    request: {{ principal: {principal}, action: {action}, resource: {resource} }}"
                ),
            );
            push(&mut text, format_args!("    expect: {{ outcome: {} }}", test.outcome));
        }
        (text, rows)
    }
}
