//! `cargo run --release -p gearbox-tests --bin fuzz-qmp -- --seconds 3600`: random messages and bytes at QMP.

use gearbox_tests::fuzz::{main as run, qmp::Qmp};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(&Qmp::default())
}
