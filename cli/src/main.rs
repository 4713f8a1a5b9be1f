fn main() -> std::process::ExitCode {
    otpgate_cli::run(std::env::args_os().collect())
}
