//! The `caxton` binary.

fn main() -> std::process::ExitCode {
    caxton::cli::run()
}
