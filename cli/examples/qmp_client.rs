//! A client of QMP and qtest: another process, Gearbox's or any that speaks the protocols, is started, asked, changed, and ended.
//!
//! `cargo run --example qmp_client [PROGRAM]`

use gearbox::testing::{Io, Program};
use serde_json::json;
use std::time::Duration;

/// What runs. The program is the first argument, or else the `gearbox` beside this example.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = match std::env::args_os().nth(1) {
        Some(path) => Program::at(path),
        None => Program::gearbox()?,
    };
    talk(&program)
}

/// The conversation.
pub fn talk(program: &Program) -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: client
    let mut machine = program.start(["-m", "64", "-nodefaults"])?;

    // Its memory and ports, over qtest.
    let qtest = machine.qtest();
    qtest.writeq(0x1000, 0x0123_4567_89ab_cdef);
    assert_eq!(qtest.readl(0x1004), 0x0123_4567);

    // Everything else, over QMP.
    let qmp = machine.qmp();
    let version = &qmp.greeting()["version"]["qemu"];
    println!("it speaks the protocol of version {}.{}", version["major"], version["minor"]);
    let memory = qmp.execute("query-memory-size-summary", json!({}))?;
    assert_eq!(memory["base-memory"], 64 << 20);
    let wrong = qmp.execute("no-such-command", json!({})).expect_err("there is none");
    assert_eq!(wrong.class(), Some("CommandNotFound"));

    // Events come in between; one can be waited for.
    qmp.execute("system_reset", json!({}))?;
    let reset = qmp.event("RESET", Duration::from_secs(20))?;
    assert_eq!(reset["data"]["guest"], false);

    // SIGTERM, and exit status 0.
    assert!(machine.end()?.success());
    // ANCHOR_END: client
    Ok(())
}
