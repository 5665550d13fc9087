//! The `caxton` binary.

fn main() {}
