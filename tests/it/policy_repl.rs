//! Trying things out from a pipe, and tests that run again when a file changes.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use crate::support::child;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::child::Caxton;

const POLICIES: &str = "@id(\"t.list\")
@description(\"Agents that are let list.\")
permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
when { principal.status == \"active\" };
";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/t.cedar"), POLICIES).unwrap();
    folder
}

fn repl(folder: &Path, arguments: &[&str], lines: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_caxton"))
        .args(["policy", "repl"])
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended before it read everything.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let ended = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: ended.status.code(), out: text(ended.stdout), err: text(ended.stderr) }
}

#[test]
fn a_session_asks_edits_and_asks_again() {
    let folder = folder();
    let said = repl(
        folder.path(),
        &[],
        "# what an agent may list
set Agent::\"a\" { attrs: { status: active }, in: [Workspace::\"lab\"] }
ask Agent::\"a\" tool:list Gateway::\"g\"
set Agent::\"a\" { attrs: { status: suspended } }
policy
@id(\"t.list\")
permit (principal is Caxton::Agent, action == Caxton::Action::\"tool:list\", resource)
when { context.session.denied < 3 };
context { session: { denied: 3 } }
ask Agent::\"a\" tool:list Gateway::\"g\" { session: { denied: 2 } }
drop t.list
reload
policies t
entities
",
    );
    let (allow, deny) = (
        "allow by t.list  Agent::\"a\" Action::\"tool:list\" Gateway::\"g\"",
        "deny_default (no_permit)  Agent::\"a\" Action::\"tool:list\" Gateway::\"g\"",
    );
    let wanted = [
        allow,
        &format!("{deny}  before: allow by t.list"),
        &format!("{allow}  before: deny_default (no_permit)"),
        &format!("{deny}  before: allow by t.list"),
        &format!("{allow}  before: deny_default (no_permit)"),
        &format!("{deny}  before: allow by t.list"),
        // The file's own policy again: the agent is suspended.
        deny,
        "t.list  Agents that are let list.",
        "Agent::\"a\" {\"attrs\":{\"status\":\"suspended\"}}",
        "Workspace::\"lab\" {}",
    ];
    assert_eq!(said.out.lines().collect::<Vec<_>>(), wanted, "{}", said.err);
    assert_eq!(said.code, Some(0));
    let file = fs::read_to_string(folder.path().join("policies/t.cedar")).unwrap();
    assert_eq!(file, POLICIES, "edits are in memory");
}

#[test]
fn a_question_becomes_a_test_that_passes() {
    let folder = folder();
    let said = repl(
        folder.path(),
        &[],
        "now 2026-01-10T10:00:00Z\nask Agent::\"a\" tool:list Gateway::\"g\"\ntest\n",
    );
    let test = said.out.split_once('\n').unwrap().1;
    fs::write(folder.path().join("tried.test.yaml"), test).unwrap();
    let ended = child::run(folder.path(), &["policy", "test", "tried.test.yaml"]);
    assert_eq!(ended.code, Some(0), "{ended:?}\n{test}");
    assert!(ended.stdout.contains("1 passed"), "{ended:?}");
}

#[test]
fn entities_come_from_files() {
    let folder = folder();
    fs::write(
        folder.path().join("x.fixtures.yaml"),
        "entities:\n  Agent::\"b\": { attrs: { status: retired } }\n",
    )
    .unwrap();
    let said = repl(
        folder.path(),
        &["--entities", "x.fixtures.yaml"],
        "ask Agent::\"b\" tool:list Gateway::\"g\"\n",
    );
    assert!(said.out.starts_with("deny_default"), "{}", said.out);
    assert!(said.err.contains("1 entity from `x.fixtures.yaml`"), "{}", said.err);
    let said =
        repl(folder.path(), &[], "entities x.fixtures.yaml\nentities nothing.yaml\nquit\nask again never\n");
    assert!(said.err.contains("reading `nothing.yaml`") && !said.err.contains("never"), "{}", said.err);
}

#[test]
fn mistakes_are_said_and_do_not_end_the_session() {
    let folder = folder();
    let lines = [
        ("asc", "there is no command `asc`; did you mean `ask`?"),
        ("ask", "no request yet: use `ask PRINCIPAL ACTION RESOURCE`"),
        ("ask Agent::\"a\"", "ask like this: `ask Agent::\"a\" tool:list Gateway::\"g\"`"),
        (
            "ask Agent::\"a\" tool:lst Gateway::\"g\"",
            "there is no action `tool:lst`; did you mean `tool:list`?",
        ),
        ("ask agent a g", "`agent` is not the name of an entity, as `Agent::\"researcher\"` is"),
        ("set Agent::\"a\" { attrs: { statu: x } }", ""),
        (
            "ask Agent::\"a\" tool:list Gateway::\"g\"",
            "there is no attribute `statu`; did you mean `status`?",
        ),
        ("set Agent::\"a\" { colour: red }", "unknown field `colour`, expected one of attrs, in, tags"),
        ("unset Agent::\"zz\"", "there is no entity `Agent::\"zz\"`"),
        ("policy permit (principal, action, resource);", "a policy needs an `@id`"),
        (
            "policy @id(\"t.x\") permit (principal, action, resource) when { context.nothing };",
            "the policies would not be valid: ",
        ),
        ("drop nothing", "there is no policy `nothing`"),
        ("why", "there is no attribute `statu`"),
    ];
    let all: String = lines.iter().map(|(line, _)| format!("{line}\n")).collect();
    let said = repl(folder.path(), &[], &(all + "policies\npolicy\npermit (principal"));
    assert_eq!(said.code, Some(2));
    for (line, wanted) in lines {
        assert!(said.err.contains(wanted), "{line}: {}", said.err);
    }
    assert!(said.err.ends_with("error: the policy that was being typed has no end\n"), "{}", said.err);
    assert_eq!(said.out, "t.list  Agents that are let list.\n");
    // A set that is refused has no session.
    fs::write(folder.path().join("policies/t.cedar"), "permit (principal);").unwrap();
    assert_eq!(repl(folder.path(), &[], "quit\n").code, Some(2));
}

#[test]
fn tests_run_again_when_something_changes() {
    let folder = folder();
    let base = folder.path();
    let suite = |outcome: &str| {
        fs::create_dir_all(base.join("policy-tests")).unwrap();
        let text = format!(
            "suite: s\nentities: {{ Agent::\"a\": {{}}, Gateway::\"g\": {{}} }}\ntests:\n  - name: t\n    request: {{ principal: Agent::\"a\", action: tool:list, resource: Gateway::\"g\" }}\n    expect: {{ outcome: {outcome} }}\n"
        );
        // As a whole: half a file may be run as well, and is told in other words.
        fs::write(base.join("draft"), text).unwrap();
        fs::rename(base.join("draft"), base.join("policy-tests/t.test.yaml")).unwrap();
    };
    suite("allow");
    let mut watching = Caxton::spawn(base, &["policy", "test", "--watch"]);
    // One change may be seen twice.
    let summary = |watching: &mut Caxton, wanted: &str| loop {
        let line = watching.line();
        if line.contains("(1 row, policies") && line.contains(wanted) {
            return;
        }
    };
    summary(&mut watching, "1 passed");
    watching.hear("waiting for changes");
    suite("deny_default");
    summary(&mut watching, "1 failed");
    watching.hear("waiting for changes");
    // A file that is being written is broken for a while.
    fs::write(base.join("policies/t.cedar"), "permit (principal").unwrap();
    watching.hear("refused");
    watching.hear("waiting for changes");
    fs::write(base.join("policies/t.cedar"), POLICIES.replace("active", "retired")).unwrap();
    summary(&mut watching, "1 passed");
    // What is not ours does not matter, and the end is Ctrl-C's.
    watching.signal("INT");
    watching.end();
}

/// A session at a terminal, with the keys that a person presses.
#[test]
fn at_a_terminal_words_are_completed_lines_come_back_and_a_policy_can_be_left() {
    let folder = folder();
    let history = folder.path().join("history");
    let mut command = Command::new(env!("CARGO_BIN_EXE_caxton"));
    command
        .args(["policy", "repl", "--history"])
        .arg(&history)
        .current_dir(folder.path())
        .env("TERM", "xterm");
    let mut session = rexpect::session::spawn_command(command, Some(180_000)).unwrap();
    session.exp_string("`help` lists the commands").unwrap();
    // What is typed before the prompt is there is lost, as at any terminal in raw mode.
    let prompt = |session: &mut rexpect::session::PtySession| {
        session.exp_string("> \r\u{1b}[2C").unwrap();
    };
    prompt(&mut session);
    session.send_line("set Agent::\"a\" { attrs: { status: active } }").unwrap();
    prompt(&mut session);
    // Tab completes a command, an entity and an action.
    let keys = [
        ("as\t", "ask"),
        (" Ag\t", "ask Agent::\""),
        ("a\t", "ask Agent::\"a\""),
        (" tool:li\t", "\"a\" tool:list"),
    ];
    for (typed, completed) in keys {
        session.send(typed).unwrap();
        session.flush().unwrap();
        session.exp_string(completed).unwrap();
    }
    session.send_line(" Gateway::\"g\"").unwrap();
    session.exp_string("allow by t.list").unwrap();
    prompt(&mut session);
    session.send_line("set Agent::\"a\" { attrs: { status: suspended } }").unwrap();
    session.exp_string("deny_default").unwrap();
    prompt(&mut session);
    session.send_line("set Agent::\"a\" { attrs: { status: active } }").unwrap();
    prompt(&mut session);
    // Three times up is the question; it is asked again.
    session.send("\u{1b}[A\u{1b}[A\u{1b}[A").unwrap();
    session.flush().unwrap();
    session.exp_string("tool:list").unwrap();
    session.send_line("").unwrap();
    session.exp_string("allow by t.list").unwrap();
    prompt(&mut session);
    // Control-C leaves the policy that is being typed, and not the session.
    session.send_line("policy").unwrap();
    // `… `, of which this reads each byte as a character.
    session.exp_string("\u{a6} ").unwrap();
    session.send_control('c').unwrap();
    prompt(&mut session);
    session.send_line("policies").unwrap();
    session.exp_string("t.list").unwrap();
    prompt(&mut session);
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
    assert!(fs::read_to_string(history).unwrap().contains("ask Agent::\"a\" tool:list Gateway::\"g\""));
}
