//! The guest that Gearbox boots when it is given nothing else to boot: it says what machine it finds itself on,
//! checks it, and ends with an exit code that says whether the check passed.
//!
//! A freestanding x86-64 program in one ELF image, entered by the PVH boot protocol (`boot.s`). It runs in ring 3,
//! with a few lines of assembler under it in ring 0; `ring0.rs` says why. `cli/build.rs` compiles it.
//!
//! Words on the command line: `accel=NAME`, the accelerator that Gearbox chose, which the guest compares with CPUID;
//! `console=interactive`, to offer a prompt after the check; any other console ends after it.
//!
//! Exit: by ACPI soft-off when all checks passed, else by the debug exit port, see [`power::Ending`].

#![no_std]
#![no_main]

#[macro_use]
mod serial;
#[macro_use]
mod text;
#[macro_use]
mod interrupts;
#[macro_use]
mod check;

mod accelerator;
mod acpi;
mod bench;
mod boot;
mod cpu;
mod devices;
mod digest;
mod intrinsics;
mod memory;
mod mmio;
mod once;
mod paging;
mod pci;
mod port;
mod power;
mod prompt;
mod ring0;
mod time;

use accelerator::Accelerator;
use boot::StartInfo;
use check::Subject;
use devices::{apic, pic};
use memory::Memory;
use power::Ending;

/// Where `boot.s` enters Rust, in ring 3 with interrupts off and `hvm_start_info` at `info`.
extern "C" fn start(info: u64) -> ! {
    serial::init();
    println!();
    println!("Gearbox guest {}", env!("CARGO_PKG_VERSION"));
    let Some(info) = StartInfo::at(info) else {
        println!("gearbox guest: the loader left no hvm_start_info");
        power::end(Ending::Broken)
    };
    let command_line = info.command_line();
    pic::init();
    apic::virtual_wire();
    acpi::init(info.rsdp());
    time::calibrate();
    let subject = Subject { accelerator: Accelerator::find(command_line), memory: Memory::new(info) };

    subject.accelerator.report();
    println!("command line: {command_line}");
    cpu::report();
    subject.memory.report();
    devices::report_pci();
    devices::report_isa();
    devices::report_acpi();
    let score = check::run(&subject);
    score.report();

    if accelerator::option(command_line, "console") == Some("interactive") {
        prompt::run(subject, score)
    }
    power::end(if score.failed == 0 { Ending::Passed } else { Ending::Failed })
}
