//! The maintenance utility.

fn main() -> std::process::ExitCode {
    backstay::cli::main()
}
