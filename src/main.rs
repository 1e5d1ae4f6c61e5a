//! The `rekindle` program: a thin shell around [`rekindle::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rekindle::cli::main()
}
