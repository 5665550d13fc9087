//! What needs the solver or asks the whole shipped set: proofs, mutants, the golden sessions of the workbench.

#[path = "../support/mod.rs"]
mod support;

mod analyze;
mod example_sets;
mod faults;
mod golden;
mod mutate;
mod prove;
mod random;
mod workflow;
