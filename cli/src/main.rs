//! The command `otpgate`, and the older tools whose names it answers to.

fn main() -> std::process::ExitCode {
    otpgate_cli::run(std::env::args_os().collect())
}
