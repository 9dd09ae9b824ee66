//! A dialogue with a guest over its serial port: Gearbox's own guest, at its prompt.
//!
//! `cargo run --example serial_expect`

use gearbox::guest;
use gearbox::machine::ShutdownCause;
use gearbox::testing::{Expect, Vm};
use std::time::Duration;

/// What runs.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let patience = Duration::from_secs(60);
    // ANCHOR: dialogue
    let mut vm = Vm::pc()
        .accel("tcg")
        .kernel(guest::embedded()?)
        .append(&guest::command_line("tcg", true))
        .serial(Expect)
        .start()?;
    vm.expect("gearbox> ", patience)?;
    vm.send("echo the answer is 42\r")?;
    // The guest repeats what is typed, then says it.
    vm.expect(r"echo the answer", patience)?;
    let found = vm.expect(r"the answer is (?P<answer>\d+)\s", patience)?;
    assert_eq!(found.name("answer"), Some("42"));
    vm.expect("gearbox> ", patience)?;

    // The machine is controlled as well as talked to.
    let status = vm.qmp("query-status", serde_json::json!({}))?;
    assert_eq!(status["status"], "running");
    vm.send("poweroff\r")?;
    assert_eq!(vm.wait(patience)?.cause, ShutdownCause::GuestShutdown);
    // ANCHOR_END: dialogue
    println!("the answer is {}", &found[1]);
    Ok(())
}
