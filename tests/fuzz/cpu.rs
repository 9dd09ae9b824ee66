//! `cargo run --release -p gearbox-tests --bin fuzz-cpu -- --seconds 3600`: random code and tables for the software CPU.

use gearbox_tests::fuzz::{cpu::Cpu, main as run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(&Cpu)
}
