//! `cargo run --release -p gearbox-tests --bin fuzz-qtest -- --seconds 3600`: random commands of qtest at every device.

use gearbox_tests::fuzz::{main as run, qtest::Qtest};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(&Qtest)
}
