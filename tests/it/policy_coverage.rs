//! Coverage by parts, held against sets whose covered and uncovered parts were worked out by hand.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, coverage, run_in};
use caxton::policy::{Bundle, SourceKind, Sources};
use caxton::workbench::coverage::{Coverage, PartKind, measure};
use caxton::workbench::run::{Settings, Suites, examine};

/// The built-in schema with one text of policies.
fn set(policies: &str) -> Bundle {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    Bundle::load(schema.with_policy("a.cedar", policies)).unwrap()
}

const WORLD: &str = "suite: s
entities:
  Gateway::\"g\": {}
  Tool::\"builtin___csv_parser\": {}
  Role::\"r\": {}
  Agent::\"a\": { in: [Role::\"r\"] }
  Service::\"s\": {}
tests:
";

/// A row: who asks, which action, in which circumstances, and what comes of it.
fn row(name: &str, principal: &str, action: &str, context: &str, outcome: &str) -> String {
    let resource = if action.contains("___") { "Tool::\"builtin___csv_parser\"" } else { "Gateway::\"g\"" };
    format!(
        "  - name: {name}\n    request: {{ principal: {principal}, action: {action}, resource: {resource}, context: {context} }}\n    expect: {{ outcome: {outcome} }}\n"
    )
}

fn covered(bundle: &Bundle, rows: &[String]) -> Coverage {
    let mut suites = Suites::default();
    suites.add("a.test.yaml", format!("{WORLD}{}", rows.concat()));
    let (report, questions) = examine(bundle, &suites, &Settings::default());
    assert_eq!(report.summary().passed, rows.len(), "{}", caxton::cli::policy::render::report(&report));
    measure(bundle, &questions)
}

/// `(text, true, false, errors)` of each part.
fn counts(coverage: &Coverage) -> Vec<(&str, usize, usize, usize)> {
    let parts = coverage.policies.iter().flat_map(|policy| &policy.parts);
    parts.map(|part| (part.text.as_str(), part.seen_true, part.seen_false, part.errors)).collect()
}

const LATE: &str = "@id(\"t.late\")
permit (principal in Caxton::Role::\"r\", action == Caxton::Action::\"tool:list\", resource)
when { context.system.hour >= 6 && (context.source.tls || context.source.mtls) }
unless { context.session.denied > 3 };
";

#[test]
fn parts_are_counted_in_the_order_in_which_they_are_asked() {
    let (agent, list) = ("Agent::\"a\"", "tool:list");
    let tls = "{ source: { tls: true } }";
    let rows = [
        row("with tls", agent, list, tls, "allow"),
        // The hour is false, so nothing behind it is asked.
        row("at night", agent, list, "{ system: { hour: 3 }, source: { tls: true } }", "deny_default"),
        // Neither of the two: both are asked, and the `unless` is not.
        row("open", agent, list, "{ source: { tls: false } }", "deny_default"),
        // Only the principal keeps this one out.
        row("a stranger", "Service::\"s\"", list, tls, "deny_default"),
        // Two elements keep this one out, which says nothing about either.
        row("a stranger elsewhere", "Service::\"s\"", "agent:list", tls, "deny_default"),
    ];
    let coverage = covered(&set(LATE), &rows);
    assert_eq!(
        counts(&coverage),
        [
            ("principal in Caxton::Role::\"r\"", 3, 1, 0),
            ("action == Caxton::Action::\"tool:list\"", 3, 0, 0),
            ("context.system.hour >= 6", 2, 1, 0),
            ("context.source.tls", 1, 1, 0),
            ("context.source.mtls", 0, 1, 0),
            ("context.session.denied > 3", 0, 1, 0),
        ]
    );
    let policy = &coverage.policies[0];
    assert_eq!((policy.in_scope, policy.held, policy.line), (3, 1, 2));
    assert_eq!((coverage.summary.points, coverage.summary.covered), (12, 9));
    assert!((coverage.summary.percent - 75.0).abs() < 1e-9);
    let gaps: Vec<_> = policy.parts.iter().flat_map(|part| part.gaps()).collect();
    assert_eq!(gaps, ["never the only element that excludes a request", "never true", "never true"]);
    let folders: Vec<_> = policy.parts.iter().map(|part| (part.kind, part.line, part.column)).collect();
    assert_eq!(folders[0], (PartKind::Principal, 2, 9));
    assert_eq!(folders[4], (PartKind::When, 3, 59));
    assert_eq!(folders[5], (PartKind::Unless, 4, 10));
}

#[test]
fn three_more_rows_cover_the_rest() {
    let (agent, list) = ("Agent::\"a\"", "tool:list");
    let rows = [
        row("with tls", agent, list, "{ source: { tls: true } }", "allow"),
        row("with a certificate", agent, list, "{ source: { mtls: true } }", "allow"),
        row("at night", agent, list, "{ system: { hour: 3 } }", "deny_default"),
        row("open", agent, list, "{}", "deny_default"),
        row("a stranger", "Service::\"s\"", list, "{}", "deny_default"),
        row("elsewhere", agent, "agent:list", "{}", "deny_default"),
        row("refused", agent, list, "{ source: { tls: true }, session: { denied: 4 } }", "deny_default"),
    ];
    let coverage = covered(&set(LATE), &rows);
    assert_eq!((coverage.summary.points, coverage.summary.covered), (12, 12), "{:?}", counts(&coverage));
}

#[test]
fn negated_groups_and_choices_are_taken_apart() {
    let policies = "@id(\"t.choice\")
permit (principal, action == Caxton::Action::\"tool:list\", resource)
when { if context.source.tls then context.system.hour < 12 else !(context.source.mtls || context.system.weekday != 4) };
";
    let list = "tool:list";
    let rows = [
        row("tls at noon", "Agent::\"a\"", list, "{ source: { tls: true } }", "deny_default"),
        row("without tls on a thursday", "Agent::\"a\"", list, "{}", "allow"),
    ];
    let coverage = covered(&set(policies), &rows);
    assert_eq!(
        counts(&coverage),
        [
            ("action == Caxton::Action::\"tool:list\"", 2, 0, 0),
            ("context.source.tls", 1, 1, 0),
            ("context.system.hour < 12", 0, 1, 0),
            ("context.source.mtls", 0, 1, 0),
            ("context.system.weekday != 4", 0, 1, 0),
        ]
    );
}

#[test]
fn what_the_schema_leaves_no_choice_about_is_no_gap() {
    // Tools go with the actions of tools and with nothing else, so each of the two elements says what the other says;
    // and only agents take turns at the model.
    let policies = "@id(\"t.tool\")
permit (principal is Caxton::Agent, action in Caxton::Action::\"tool:call\", resource is Caxton::Tool);
@id(\"t.model\")
permit (principal is Caxton::Agent, action == Caxton::Action::\"model:call\", resource);
@id(\"t.all\")
permit (principal in Caxton::Role::\"r\", action in Caxton::Action::\"*\", resource);
";
    let coverage = covered(&set(policies), &[row("list", "Agent::\"a\"", "tool:list", "{}", "allow")]);
    let implied: Vec<(&str, bool)> = coverage
        .policies
        .iter()
        .flat_map(|policy| &policy.parts)
        .map(|part| (part.text.as_str(), part.implied))
        .collect();
    assert_eq!(
        implied,
        [
            ("principal is Caxton::Agent", false),
            ("action in Caxton::Action::\"tool:call\"", true),
            ("resource is Caxton::Tool", true),
            ("principal is Caxton::Agent", true),
            ("action == Caxton::Action::\"model:call\"", false),
            ("principal in Caxton::Role::\"r\"", false),
            ("action in Caxton::Action::\"*\"", true),
        ]
    );
    assert_eq!(coverage.summary.points, 10);
}

#[test]
fn a_part_that_errs_is_neither_true_nor_false() {
    let policies = "@id(\"t.big\")
forbid (principal, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied * 9223372036854775807 > 1 };
";
    let row = row("over", "Agent::\"a\"", "tool:list", "{ session: { denied: 2 } }", "deny_error");
    let row = row.replace("deny_error", "deny_error, errors: 1");
    let coverage = covered(&set(policies), &[row]);
    assert_eq!(counts(&coverage)[1], ("context.session.denied * 9223372036854775807 > 1", 0, 0, 1));
}

// ---- the shipped set ----

#[test]
fn the_shipped_tests_see_every_part_of_the_shipped_policies() {
    let bundle = Bundle::load(Sources::shipped()).unwrap();
    let (report, questions) = examine(&bundle, &Suites::shipped(), &Settings::default());
    assert_eq!(report.summary().failed + report.summary().broken, 0);
    let coverage = measure(&bundle, &questions);
    assert_eq!(coverage.policies.len(), bundle.policies().count());
    assert_eq!(coverage.summary.covered, coverage.summary.points, "{}", coverage::summary(&coverage));
    assert!(coverage.summary.points > 300);
    // And the guide says so.
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policies.md");
    let (points, policies, rows) = (coverage.summary.points, coverage.policies.len(), coverage.rows);
    let line = format!("100.0 % covered: {points} of {points} points ({policies} policies, {rows} rows, ");
    assert!(fs::read_to_string(guide).unwrap().contains(&line), "{line}");
}

// ---- the command ----

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(tests: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("policies/a.cedar", LATE);
        folder.write("policy-tests/a.test.yaml", &format!("{WORLD}{tests}"));
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, options: coverage::CoverageOptions) -> Exit {
        run_in(self.0.path(), Command::Coverage(options), &Output::new(Format::Table)).unwrap()
    }
}

#[test]
fn the_gate_tells_enough_from_too_little_and_from_unknown() {
    let folder = Folder::new(&row("tls", "Agent::\"a\"", "tool:list", "{ source: { tls: true } }", "allow"));
    let with = |min| coverage::CoverageOptions { min, ..coverage::CoverageOptions::default() };
    assert_eq!(folder.run(with(None)), Exit::Fine);
    // The two elements that matched, the hour, `tls` and the `unless`: 5 of 12 points.
    assert_eq!(folder.run(with(Some(41.6))), Exit::Fine);
    assert_eq!(folder.run(with(Some(41.7))), Exit::Found);
    let failing = Folder::new(&row("tls", "Agent::\"a\"", "tool:list", "{}", "allow"));
    assert_eq!(failing.run(with(None)), Exit::Found, "tests that fail prove nothing");
    let broken = Folder::new(&row("tls", "Agent::\"a\"", "tool:lst", "{}", "allow"));
    assert_eq!(broken.run(with(None)), Exit::Usage);
    let nothing = coverage::CoverageOptions { filter: Some("no such".to_owned()), ..with(None) };
    assert_eq!(folder.run(nothing), Exit::Usage);
}

#[test]
fn the_page_stands_alone_and_shows_texts_as_texts() {
    let folder = Folder::new(&row("tls", "Agent::\"a\"", "tool:list", "{ source: { tls: true } }", "allow"));
    folder.write("policies/a.cedar", &format!("// <script>alert(1)</script>\n{LATE}"));
    let page = folder.path("coverage.html");
    folder
        .run(coverage::CoverageOptions { html: Some(page.clone()), ..coverage::CoverageOptions::default() });
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for outside in ["<script", "http://", "https://", "<link", "<img", "@import", "url("] {
        assert!(!page.contains(outside), "the page has `{outside}`");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(page.contains(
        "<mark class=\"half\" title=\"true 1 times, false 0 times\">context.system.hour &gt;= 6</mark>"
    ));
    assert!(
        page.contains(
            "<mark class=\"none\" title=\"true 0 times, false 0 times\">context.source.mtls</mark>"
        )
    );
    let text: String = page.split("<pre>").nth(1).unwrap().split("</pre>").next().unwrap().to_owned();
    let unmarked =
        text.split('<').map(|part| part.split_once('>').map_or(part, |(_, rest)| rest)).collect::<String>();
    let plain =
        unmarked.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    assert_eq!(plain, format!("// <script>alert(1)</script>\n{LATE}"), "the page shows the file, whole");
}

#[test]
fn the_list_names_file_line_and_what_was_not_seen() {
    let rows = [row("tls", "Agent::\"a\"", "tool:list", "{ source: { tls: true } }", "allow")];
    let text = coverage::summary(&covered(&set(LATE), &rows));
    let text = anstream::adapter::strip_str(&text).to_string();
    assert!(text.starts_with("t.late  5 of 12 points\n"), "{text}");
    assert!(text.contains("  policies/a.cedar:3:8  `context.system.hour >= 6`  never false\n"), "{text}");
    assert!(
        text.contains("  policies/a.cedar:3:59  `context.source.mtls`  never true, never false\n"),
        "{text}"
    );
    assert!(text.contains("\n41.6 % covered: 5 of 12 points (1 policy, 1 row, policies "), "{text}");
}
