//! The harness itself: guests in process that answer, are silent, and end.

use gearbox::guest;
use gearbox::machine::ShutdownCause;
use gearbox::testing::{Cmos, Devfn, Expect, ExpectError, FwCfg, Pci, StartError, Vm, VmBuilder};
use gearbox_tests::small::assemble;
use iced_x86::code_asm::*;
use serde_json::json;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// The embedded guest at its prompt.
fn our_guest() -> VmBuilder {
    Vm::pc()
        .accel("tcg")
        .kernel(guest::embedded().expect("a guest"))
        .append(&guest::command_line("tcg", true))
        .device(&format!("isa-debug-exit,iobase={:#x},iosize=4", guest::DEBUG_EXIT_PORT))
        .serial(Expect)
}

#[test]
fn a_guest_is_talked_to_and_powers_off() {
    let mut vm = our_guest().start().expect("a guest");
    assert_eq!(vm.accel(), "tcg");
    vm.expect("> $", PATIENCE).unwrap();
    vm.send("help\r").unwrap();
    let found = vm.expect(r"(?P<command>power\w*)[^\n]*\n", PATIENCE).unwrap();
    assert!(found.name("command").is_some_and(|c| found[1] == *c), "{found:?}");
    vm.expect("> $", PATIENCE).unwrap();
    vm.send(&format!("{}\r", &found[1])).unwrap();
    let outcome = vm.wait(PATIENCE).unwrap();
    assert_eq!((outcome.status, outcome.cause), (0, ShutdownCause::GuestShutdown));
}

#[test]
fn silence_is_told_with_the_scene() {
    let mut vm = our_guest().start().expect("a guest");
    vm.expect("> $", PATIENCE).unwrap();
    let e = vm.expect("never said", Duration::from_millis(50)).unwrap_err();
    let text = e.to_string();
    assert!(matches!(e, ExpectError::Late { .. }));
    assert!(text.contains("/never said/ did not come within 50ms"), "{text}");
    assert!(text.contains("help") && text.contains("RIP="), "{text}");
    assert!(matches!(vm.expect("(", PATIENCE), Err(ExpectError::Pattern(_))));
}

#[test]
fn a_guest_that_ends_is_waited_for_no_longer() {
    let mut vm = our_guest().start().expect("a guest");
    vm.expect("> $", PATIENCE).unwrap();
    vm.machine().board().request(gearbox::board::SystemRequest::Quit(ShutdownCause::HostQmpQuit));
    let start = Instant::now();
    let e = vm.expect("never said", PATIENCE).unwrap_err();
    assert!(matches!(e, ExpectError::Ended { .. }) && start.elapsed() < PATIENCE, "{e}");
}

/// A boot sector that says that it is ready, waits for the power button, and puts the machine into S5.
fn waits_for_the_button() -> [u8; 512] {
    let code = assemble(16, 0x7c00, |a| {
        let mut out = |port: u32, value: u32| {
            a.mov(dx, port as i32).unwrap();
            a.mov(eax, value).unwrap();
            a.out(dx, eax).unwrap();
        };
        // PMBASE at 600h, and the power management ports on.
        out(0xcf8, 0x8000_0b40);
        out(0xcfc, 0x601);
        out(0xcf8, 0x8000_0b80);
        out(0xcfc, 1);
        // The button sets its status bit if it is enabled.
        out(0x600, 0x0100_0000);
        for c in "ready\n".bytes() {
            a.mov(dx, 0x3f8).unwrap();
            a.mov(al, i32::from(c)).unwrap();
            a.out(dx, al).unwrap();
        }
        let mut wait = a.create_label();
        a.set_label(&mut wait).unwrap();
        a.mov(dx, 0x600).unwrap();
        a.in_(ax, dx).unwrap();
        a.test(ah, 1).unwrap();
        a.jz(wait).unwrap();
        a.mov(dx, 0x604).unwrap();
        a.mov(ax, 0x2000).unwrap();
        a.out(dx, ax).unwrap();
        a.hlt().unwrap();
    });
    let mut sector = [0; 512];
    sector[..code.len()].copy_from_slice(&code);
    sector
}

#[test]
fn the_power_button_the_control_and_the_monitor() {
    let mut vm = Vm::pc().accel("tcg").serial(Expect).boot_sector(waits_for_the_button()).start().expect("a pc");
    vm.expect("ready\n", PATIENCE).unwrap();
    assert!(vm.monitor("info status").unwrap().contains("running"));
    vm.qmp("stop", json!({})).unwrap();
    assert!(vm.event("STOP", PATIENCE).is_some());
    assert_eq!(vm.qmp("query-status", json!({})).unwrap()["status"], "paused");
    assert_eq!(vm.qmp("nothing", json!({})).unwrap_err().class(), Some("CommandNotFound"));
    vm.qmp("cont", json!({})).unwrap();
    let outcome = vm.poweroff(PATIENCE).unwrap();
    assert_eq!((outcome.status, outcome.cause), (0, ShutdownCause::GuestShutdown));
    assert_eq!(vm.event("SHUTDOWN", PATIENCE).expect("an event")["data"]["reason"], "guest-shutdown");
}

#[test]
fn what_is_wrong_is_told() {
    let refused = |b: VmBuilder| match b.start() {
        Err(e) => e.to_string(),
        Ok(_) => panic!("it was made"),
    };
    assert!(refused(Vm::pc().device("isa-debug-exitt")).contains("did you mean 'isa-debug-exit'"));
    assert!(refused(Vm::pc().accel("tcgg")).contains("tcgg"));
    assert!(refused(Vm::pc().kernel("/nowhere")).contains("/nowhere"));
    assert!(refused(Vm::pc().append("x")).contains("kernel"));
    assert!(refused(Vm::pc().args(["-qmp", "stdio"])).contains("-qmp"));
    assert!(refused(our_guest().boot_sector([0; 512])).contains("boot sector"));
    assert!(matches!(Vm::pc().accel("tcg").start().expect("a pc").expect("x", PATIENCE), Err(ExpectError::NoPort)));
}

#[test]
fn a_whole_board_without_a_cpu() -> Result<(), StartError> {
    let mut bench = Vm::pc().memory(512 << 20).device("isa-debug-exit,iobase=0xf4").bench()?;
    assert_eq!(Cmos::of(&mut bench).word(0x34), 0x1f00);
    assert_eq!(FwCfg::of(&mut bench).item(3, 8), (512u64 << 20).to_le_bytes());
    let mut pci = Pci::of(&mut bench);
    let host = pci.function(Devfn::new(0, 0)).expect("a host bridge");
    assert_eq!((host.vendor, host.device, host.class), (0x8086, 0x1237, [6, 0, 0]));
    assert_eq!(pci.functions()[0], host);
    assert_eq!(pci.space(host.at)[..4], [0x86, 0x80, 0x37, 0x12]);
    assert_eq!((pci.bars(host.at), pci.capabilities(host.at)), (vec![], vec![]));
    Ok(())
}

#[test]
fn a_board_is_made_in_less_than_a_millisecond() {
    let best = (0..20).map(|_| {
        let start = Instant::now();
        drop(Vm::pc().bench().expect("a pc"));
        start.elapsed()
    });
    let best = best.min().expect("one");
    assert!(best < Duration::from_millis(if cfg!(debug_assertions) { 10 } else { 1 }), "{best:?}");
}
