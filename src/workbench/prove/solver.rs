//! The solver: a process of its own for each thread, bounded in time, killed when it is not needed any more.
//!
//! It gets no environment but `PATH`: what it is asked is not secret, but what the surroundings hold may be.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, Env, WellFormedAsserts};
use tokio::process::Command;
use tokio::runtime::Runtime;

use super::Settings;
use crate::stack;

/// What a solver that hangs gets on top of its own limit before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// The longest that telling its version may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no solver to ask.
#[derive(Debug, thiserror::Error)]
pub enum SolverError {
    /// It is not there, or may not be run.
    #[error("the solver `{}` cannot be run", program.display())]
    Missing {
        /// What was tried.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not say that it is cvc5.
    #[error("`{}` does not answer like cvc5", program.display())]
    Other {
        /// What was tried.
        program: PathBuf,
    },
}

/// A solver that was found.
#[derive(Debug, Clone)]
pub struct Solver {
    program: PathBuf,
    version: String,
    settings: Settings,
}

/// What came of one question.
pub(in crate::workbench) enum Answer {
    /// It holds for every request.
    Holds,
    /// It does not hold for this one.
    Broken(Box<Env>),
    /// Unknown.
    Open(String),
}

impl Solver {
    /// Looks for the solver and asks for its version.
    pub fn find(settings: &Settings) -> Result<Self, SolverError> {
        let program = settings.solver.clone();
        let failed = |source| SolverError::Missing { program: program.clone(), source };
        let runtime = runtime().map_err(failed)?;
        let output = runtime.block_on(async {
            let asked = command(&program).arg("--version").stdin(Stdio::null()).output();
            match tokio::time::timeout(VERSION_LIMIT, asked).await {
                Ok(output) => output,
                Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
            }
        });
        let text = output.map_err(failed)?.stdout;
        let text = String::from_utf8_lossy(&text);
        let said = text.split_once("cvc5 version ").map(|(_, after)| after);
        let version = said.and_then(|after| after.split_whitespace().next());
        match version {
            Some(version) => {
                Ok(Self { program, version: format!("cvc5 {version}"), settings: settings.clone() })
            }
            None => Err(SolverError::Other { program }),
        }
    }

    /// Its name and version, `cvc5 1.0.3`.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    fn start(&self) -> Result<CedarSymCompiler<LocalSolver>, String> {
        // Each question has the limit to itself: a limit of the process would end it in the middle of the work.
        let limit = format!("--tlimit-per={}", self.settings.timeout.as_millis());
        let mut command = command(&self.program);
        command.args(["--lang", "smt", limit.as_str()]);
        let started = LocalSolver::from_command(&mut command).map_err(Error::from);
        started.and_then(CedarSymCompiler::new).map_err(|error| told(&error))
    }

    /// Does `count` pieces of work, each thread with a solver of its own. What no thread could do is `None`.
    pub(in crate::workbench) fn in_parallel<T: Send>(
        &self,
        count: usize,
        work: &(dyn Fn(usize, &mut Session<'_>) -> T + Sync),
    ) -> Vec<Option<T>> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
        let labour = || {
            let Ok(mut session) = Session::new(self) else { return };
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                let result = work(number, &mut session);
                done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, result));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.settings.threads.clamp(1, count.max(1)) {
                // A thread that cannot be had leaves its work to the others.
                let _ = stack::spawn_scoped(scope, labour);
            }
        });
        let mut results: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
        for (number, result) in done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            if let Some(slot) = results.get_mut(number) {
                *slot = Some(result);
            }
        }
        results
    }
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn command(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// One thread's solver. Started with the first question that needs it.
pub(in crate::workbench) struct Session<'s> {
    solver: &'s Solver,
    runtime: Runtime,
    compiler: Option<CedarSymCompiler<LocalSolver>>,
}

impl<'s> Session<'s> {
    fn new(solver: &'s Solver) -> std::io::Result<Self> {
        Ok(Self { solver, runtime: runtime()?, compiler: None })
    }

    /// Asks whether the assertions can be met; if they cannot, what they stand for holds.
    pub(in crate::workbench) fn ask(&mut self, asserts: &WellFormedAsserts<'_>) -> Answer {
        let limit = self.solver.settings.timeout + GRACE;
        let _within = self.runtime.enter();
        let mut compiler = match self.compiler.take() {
            Some(compiler) => compiler,
            None => match self.solver.start() {
                Ok(compiler) => compiler,
                Err(why) => return Answer::Open(why),
            },
        };
        let asked =
            self.runtime.block_on(async { tokio::time::timeout(limit, compiler.check_sat(asserts)).await });
        let answer = match asked {
            Ok(Ok(None)) => Answer::Holds,
            Ok(Ok(Some(env))) => Answer::Broken(Box::new(env)),
            Ok(Err(Error::SolverUnknown)) | Err(_) => {
                let seconds = self.solver.settings.timeout.as_secs_f32();
                Answer::Open(format!("the solver came to no answer within {seconds} s"))
            }
            Ok(Err(error)) => Answer::Open(told(&error)),
        };
        match answer {
            // A solver that failed once is not trusted again; dropping it kills it.
            Answer::Open(_) => self.end(compiler),
            Answer::Holds | Answer::Broken(_) => self.compiler = Some(compiler),
        }
        answer
    }

    fn end(&self, mut compiler: CedarSymCompiler<LocalSolver>) {
        // It is killed when it is dropped, at the latest.
        let _ = self
            .runtime
            .block_on(async { tokio::time::timeout(GRACE, compiler.solver_mut().clean_up()).await });
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(compiler) = self.compiler.take() {
            self.end(compiler);
        }
    }
}

/// One line, without the terms that a message may quote.
pub(super) fn told(error: &Error) -> String {
    const CHARACTERS: usize = 200;
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(CHARACTERS).collect()
}
