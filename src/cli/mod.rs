//! The command line: argv in, exit code out. stdout is data, stderr is talk.

pub mod auth;
pub mod output;
