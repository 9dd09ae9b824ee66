//! The `gearbox` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(gearbox::run(std::env::args_os().skip(1)))
}
