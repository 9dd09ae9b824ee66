//! The accelerators that a body of tests runs on.

use gearbox_accel_kvm as _;
use gearbox_accel_qtest as _;
use gearbox_accel_tcg as _;
use gearbox_core::accel::{Choice, Request, Selected, Speed, registered, select};

/// Those that execute guest code.
pub const WITH_CPU: [&str; 2] = ["kvm", "tcg"];

/// Opens an accelerator by name; where this host does not have it, says so on a line of its own and returns `None`.
///
/// # Panics
/// The accelerator is not linked in, or it is tcg and does not open: that one runs anywhere.
pub fn open(name: &str, cpus: u32) -> Option<Selected> {
    let registry = registered();
    let choice = Choice::parse([name], &registry).expect("a registered accelerator");
    match select(&registry, &choice, &Request { cpus, icount: None }) {
        Ok(s) => Some(s),
        Err(e) if name == "kvm" => {
            eprintln!("skipped on kvm: {e}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// Does it execute ring 0 itself? A KVM that only emulates it lacks some instructions (IRET outside real mode, for one).
pub fn executes_ring_0(selected: &Selected) -> bool {
    selected.selection.speed == Speed::Full
}
