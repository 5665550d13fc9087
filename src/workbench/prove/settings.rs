//! What an operator can choose about proofs.

use std::path::PathBuf;
use std::time::Duration;

/// How proofs are sought. The defaults are the sound ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The solver: a path, or a name that is looked up in `PATH`.
    pub solver: PathBuf,
    /// The longest that the solver may think about one question.
    pub timeout: Duration,
    /// Solvers that run at once.
    pub threads: usize,
    /// Counterexamples of one statement that are kept; the others are counted.
    pub kept: usize,
    /// Entities that exist, as tests write them (`Agent::"clerk"`): a counterexample is about these where it can be.
    pub names: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            solver: PathBuf::from("cvc5"),
            timeout: Duration::from_secs(10),
            threads,
            kept: 3,
            names: Vec::new(),
        }
    }
}
