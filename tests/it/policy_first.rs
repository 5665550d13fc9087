//! The pages that take an author from an empty folder to a tested policy, and to a published one: their files are written,
//! their commands are run, and they print what the pages say.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What the page asks the reader to do.
enum Step {
    Write { path: String, text: String },
    Run { command: String, shown: Vec<String> },
}

/// A fenced block after a line that ends in a path is a file; in a `console` block, lines with `$` are commands.
fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut before) = (Vec::new(), String::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            if !line.is_empty() {
                before = line.to_owned();
            }
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if kind == "console" {
            for line in block {
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => {
                        steps.push(Step::Run { command: command.to_owned(), shown: Vec::new() });
                    }
                    (None, Some(Step::Run { shown, .. })) => shown.push(line.to_owned()),
                    _ => panic!("output before a command: {line}"),
                }
            }
        } else {
            let path = before.strip_suffix("`:").and_then(|line| line.rsplit('`').next());
            let path =
                path.unwrap_or_else(|| panic!("no path before a block of `{kind}`: {before}")).to_owned();
            steps.push(Step::Write { path, text: block.join("\n") + "\n" });
        }
    }
    steps
}

/// Whether the lines shown are printed in this order; `…` at the end of a line stands for its rest, alone for lines.
fn is_shown(shown: &[String], printed: &str) -> Result<(), String> {
    let mut printed = printed.lines();
    for line in shown.iter().filter(|line| *line != "…" && !line.is_empty()) {
        let fits = |found: &str| match line.strip_suffix('…') {
            Some(begin) => found.starts_with(begin.trim_end()),
            None => found.trim_end() == line,
        };
        if !printed.any(fits) {
            return Err(line.clone());
        }
    }
    Ok(())
}

#[test]
fn the_first_policy_does_what_its_page_says() {
    follow("docs/first-policy.md", 15);
}

#[test]
fn the_company_rules_do_what_their_page_says() {
    follow("docs/company-policies.md", 25);
}

fn follow(page: &str, least: usize) {
    let page = fs::read_to_string(page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_caxton")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", binary.display());
    let mut commands = 0;
    for step in steps(&page) {
        match step {
            Step::Write { path, text } => {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Step::Run { command, shown } => {
                let ran = Command::new("/bin/bash")
                    .args(["-c", &command])
                    .current_dir(folder.path())
                    .env_clear()
                    .env("PATH", &path)
                    .env("HOME", folder.path())
                    .output()
                    .unwrap();
                let printed = String::from_utf8(ran.stdout).unwrap();
                let said = String::from_utf8(ran.stderr).unwrap();
                if let Err(line) = is_shown(&shown, &printed) {
                    panic!("`{command}` does not print `{line}` there, but\n{printed}\n{said}");
                }
                commands += 1;
            }
        }
    }
    assert!(commands >= least, "{commands}");
}
