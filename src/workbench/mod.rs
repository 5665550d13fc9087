//! The workbench of policy authors: lint, tests, coverage, mutants, matrix, differences, replay, proofs, import.
//!
//! It stands above `policy`, asks it the same questions a gateway asks, and nothing that decides, loads or reloads knows
//! of it.

pub mod case;
pub(crate) mod clauses;
pub mod coverage;
pub mod diagnostics;
pub mod diff;
pub mod editor;
pub mod explain;
pub mod format;
pub mod import;
pub mod lint;
pub mod matrix;
pub mod measure;
pub mod mutate;
pub mod prove;
pub mod repl;
pub mod replay;
pub mod reported;
pub mod run;
