//! `caxton policy repl`: load a set, set entities, ask, edit, ask again.
//!
//! On a terminal it has line editing, a history and completion; from a pipe it reads lines, so that a session can be a
//! file. Policies are edited in memory only.

mod words;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustyline::Editor;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;

use super::explain;
use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::render::{BOLD, DIM, GREEN, PLAIN, RED, counted};
use crate::cli::output::{Exit, Output};
use crate::suggest::nearest;
use crate::text::clean;
use crate::workbench::explain::Explanation;
use crate::workbench::repl::{Workbench, WorkbenchError};
use words::{ReplHelper, brace, words};

/// The longest line that is read from a pipe, and the most bytes of a file of entities.
const MAX_BYTES: u64 = 1 << 20;

const HELP: &str = "\
ask PRINCIPAL ACTION RESOURCE [{context}]   ask; `ask` alone asks again
why                                         explain the last answer, part by part
set ENTITY [{ attrs: {…}, in: […] }]        say what an entity is
unset ENTITY                                take it away
entities [FILE]                             list them, or add those of a `*.fixtures.yaml`
context [{…}]                               what is not neutral about every question
now [INSTANT]                               when every question is asked
policies [TEXT]                             list policies whose id has the text
show ID                                     the text of a policy
policy                                      type a policy, up to its `;`: it takes the place of the one with its id
drop ID                                     take a policy away
reload                                      read the files again, and forget edits
test                                        the last question as a test file
quit";

const COMMANDS: [&str; 15] = [
    "ask", "why", "set", "unset", "entities", "context", "now", "policies", "show", "policy", "drop",
    "reload", "test", "help", "quit",
];

/// What to begin with.
#[derive(Debug, Default, clap::Args)]
pub struct ReplOptions {
    /// A `*.fixtures.yaml` file with entities to begin with.
    #[arg(long, value_name = "FILE")]
    pub entities: Option<PathBuf>,
    /// Keep the history of lines in this file.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// What the gateway knows.
    #[command(flatten)]
    pub world: WorldOptions,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// A session.
struct Session<'s> {
    base: &'s Path,
    options: &'s ReplOptions,
    output: &'s Output,
    bench: Workbench,
    /// A policy that is being typed.
    typing: Option<String>,
    last: Option<String>,
    failed: bool,
}

/// Whether the session continues.
#[derive(PartialEq, Eq)]
enum ReplFlow {
    Line,
    End,
}

pub(super) fn run(base: &Path, options: &ReplOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let known = known_world(&options.folders, &options.world, output)?;
    let mut session = Session {
        base,
        options,
        output,
        bench: Workbench::new(bundle).in_gateway(known),
        typing: None,
        last: None,
        failed: false,
    };
    if let Some(file) = &options.entities {
        session.add_entities(file)?;
    }
    if std::io::stdin().is_terminal() {
        session.at_terminal()?;
        return Ok(Exit::Fine);
    }
    session.piped()?;
    Ok(if session.failed { Exit::Usage } else { Exit::Fine })
}

impl Session<'_> {
    fn at_terminal(&mut self) -> anyhow::Result<()> {
        let policies = counted(self.bench.bundle().policies().count(), "policy");
        self.output.say(format_args!("{policies}; `help` lists the commands, `quit` ends"));
        let mut editor: Editor<ReplHelper, FileHistory> = Editor::new()?;
        if let Some(file) = self.options.history.as_ref().filter(|file| file.exists()) {
            editor.load_history(file).with_context(|| format!("reading `{}`", file.display()))?;
        }
        loop {
            editor.set_helper(Some(ReplHelper { words: self.bench.words() }));
            match editor.readline(if self.typing.is_some() { "… " } else { "> " }) {
                Ok(line) => {
                    editor.add_history_entry(&line)?;
                    if self.line(&line)? == ReplFlow::End {
                        break;
                    }
                }
                // Leaves what is being typed, not the session.
                Err(ReadlineError::Interrupted) => self.typing = None,
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(file) = &self.options.history {
            editor.save_history(file).with_context(|| format!("writing `{}`", file.display()))?;
        }
        Ok(())
    }

    fn piped(&mut self) -> anyhow::Result<()> {
        let mut input = std::io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = std::io::Read::take(&mut input, MAX_BYTES).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            anyhow::ensure!(
                line.ends_with(b"\n") || (read as u64) < MAX_BYTES,
                "a line is longer than {MAX_BYTES} bytes"
            );
            let text = String::from_utf8_lossy(&line).into_owned();
            if self.line(text.trim_end_matches(['\n', '\r']))? == ReplFlow::End {
                break;
            }
        }
        if self.typing.is_some() {
            self.refuse("the policy that was being typed has no end");
        }
        Ok(())
    }

    /// One line; what is wrong with it is said, and does not end the session.
    fn line(&mut self, line: &str) -> anyhow::Result<ReplFlow> {
        if let Some(mut typed) = self.typing.take() {
            typed.push_str(line);
            typed.push('\n');
            if line.trim_end().ends_with(';') {
                self.put(&typed)?;
            } else {
                self.typing = Some(typed);
            }
            return Ok(ReplFlow::Line);
        }
        let line = line.trim();
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "" => {}
            word if word.starts_with('#') => {}
            "quit" | "exit" => return Ok(ReplFlow::End),
            "help" | "?" => self.output.line(HELP)?,
            "ask" => self.ask(rest)?,
            "why" => match self.bench.ask_again() {
                Ok(answer) => self.output.line(explain::text(&answer, 5).trim_end())?,
                Err(error) => self.refuse(&error.to_string()),
            },
            "policy" if rest.is_empty() => self.typing = Some(String::new()),
            "policy" if rest.ends_with(';') => self.put(rest)?,
            "policy" => self.typing = Some(format!("{rest}\n")),
            "show" => match self.bench.text(rest) {
                Ok(text) => self.output.line(&clean_lines(&text))?,
                Err(error) => self.refuse(&error.to_string()),
            },
            "test" => match self.bench.test() {
                Ok(text) => self.output.line(&text)?,
                Err(error) => self.refuse(&error.to_string()),
            },
            "policies" => self.list(rest)?,
            "entities" if rest.is_empty() => {
                for (name, entity) in self.bench.entities() {
                    self.output.line(&format!(
                        "{} {DIM}{}{PLAIN}",
                        clean(name),
                        clean(&entity.to_string())
                    ))?;
                }
            }
            "entities" => {
                if let Err(error) = self.add_entities(Path::new(rest)) {
                    self.refuse(&format!("{error:#}"));
                }
            }
            "reload" => self.reload()?,
            _ => {
                let done = self.change(word, rest);
                self.changed(done)?;
            }
        }
        Ok(ReplFlow::Line)
    }

    /// What changes the world or the policies, after which the last question is asked again.
    fn change(&mut self, word: &str, rest: &str) -> Result<(), WorkbenchError> {
        let (name, braces) = rest.split_at(brace(rest));
        match word {
            "set" => self.bench.set(name, braces),
            "unset" => self.bench.unset(rest),
            "context" => self.bench.set_context(rest),
            "now" => {
                self.bench.set_now(rest);
                Ok(())
            }
            "drop" => self.bench.drop_policy(rest),
            _ => {
                let near = nearest(word, COMMANDS.iter().copied());
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                Err(WorkbenchError::Said(format!("there is no command `{word}`{near}")))
            }
        }
    }

    fn changed(&mut self, done: Result<(), WorkbenchError>) -> anyhow::Result<()> {
        match done {
            Err(error) => self.refuse(&error.to_string()),
            Ok(()) if self.bench.has_asked() => self.again()?,
            Ok(()) => {}
        }
        Ok(())
    }

    fn ask(&mut self, rest: &str) -> anyhow::Result<()> {
        if rest.is_empty() {
            return self.again();
        }
        let (names, context) = rest.split_at(brace(rest));
        let words = words(names);
        let [principal, action, resource] = words.as_slice() else {
            self.refuse("ask like this: `ask Agent::\"a\" tool:list Gateway::\"g\"`");
            return Ok(());
        };
        match self.bench.ask(principal, action, resource, context) {
            Ok(answer) => self.answer(&answer),
            Err(error) => {
                self.refuse(&error.to_string());
                Ok(())
            }
        }
    }

    fn again(&mut self) -> anyhow::Result<()> {
        match self.bench.ask_again() {
            Ok(answer) => self.answer(&answer),
            Err(error) => {
                self.refuse(&error.to_string());
                Ok(())
            }
        }
    }

    fn answer(&mut self, answer: &Explanation) -> anyhow::Result<()> {
        let by: Vec<&str> = answer.decided.iter().map(|account| account.id.as_str()).collect();
        let by = if by.is_empty() { format!("({})", answer.reason) } else { format!("by {}", by.join(", ")) };
        let colour = if answer.outcome == "allow" { GREEN } else { RED };
        let asked = format!("{} {} {}", answer.principal, answer.action, answer.resource);
        let now = format!("{} {}", answer.outcome, clean(&by));
        let was = self.last.replace(now.clone()).filter(|was| *was != now);
        let was = was.map(|was| format!("  {DIM}before: {was}{PLAIN}")).unwrap_or_default();
        self.output.line(&format!("{colour}{now}{PLAIN}  {DIM}{}{PLAIN}{was}", clean(&asked)))
    }

    fn put(&mut self, text: &str) -> anyhow::Result<()> {
        let done = self.bench.put(text);
        if let Ok(ids) = &done {
            self.output.say(format_args!("{BOLD}{}{PLAIN} in memory", clean(&ids.join(", "))));
        }
        self.changed(done.map(drop))
    }

    fn list(&self, part: &str) -> anyhow::Result<()> {
        let policies = self.bench.bundle().policies().filter(|policy| policy.id.contains(part));
        for policy in policies {
            let about = policy.annotations.iter().find(|(name, _)| name.as_ref() == "description");
            let about = about.map(|(_, text)| text.to_string()).unwrap_or_default();
            self.output.line(&format!("{}  {DIM}{}{PLAIN}", clean(&policy.id), clean(&about)))?;
        }
        Ok(())
    }

    fn add_entities(&mut self, file: &Path) -> anyhow::Result<()> {
        let failed = || format!("reading `{}`", file.display());
        let bytes = std::fs::metadata(file).with_context(failed)?.len();
        anyhow::ensure!(bytes <= MAX_BYTES, "`{}` is larger than {MAX_BYTES} bytes", file.display());
        let text = std::fs::read_to_string(file).with_context(failed)?;
        let count = self.bench.add_fixtures(&text).with_context(failed)?;
        let entities = if count == 1 { "1 entity".to_owned() } else { format!("{count} entities") };
        self.output.say(format_args!("{entities} from `{}`", file.display()));
        Ok(())
    }

    fn reload(&mut self) -> anyhow::Result<()> {
        match self.options.folders.load_any(self.base, self.output)? {
            Some(bundle) => {
                self.bench.load(bundle);
                self.changed(Ok(()))
            }
            None => {
                self.refuse("the policies stay as they were");
                Ok(())
            }
        }
    }

    fn refuse(&mut self, why: &str) {
        self.failed = true;
        self.output.say(format_args!("{RED}error{PLAIN}: {}", clean(why)));
    }
}

fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}
