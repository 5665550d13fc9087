//! The command line: argv in, exit code out. stdout is data, stderr is talk.

pub mod config;
pub mod output;
pub mod policy;
