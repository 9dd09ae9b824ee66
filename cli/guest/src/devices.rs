//! The devices of a PC, and the report of what is found on the buses.

pub mod apic;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod pic;
pub mod pit;
pub mod pm_timer;
pub mod rtc;
pub mod uart;

use crate::text::{Bytes, Hertz};
use crate::{acpi, pci, port};

/// Prints what is on the PCI buses.
pub fn report_pci() {
    println!("pci:");
    if !pci::present() {
        println!("  no configuration mechanism #1");
        return;
    }
    for function in pci::functions() {
        let Some((vendor, device)) = function.id() else { continue };
        let (class, name) = (function.class(), pci::class_name(function.class()));
        println!(
            "  {function} {vendor:04x}:{device:04x} class {:02x}{:02x} rev {:02x}  {name}",
            class.0,
            class.1,
            function.read8(8)
        );
        for (index, bar) in pci::bars(function) {
            match bar {
                pci::Bar::Io(base) => println!("          BAR{index} ports at {base:#06x}"),
                pci::Bar::Memory(base, prefetchable) => {
                    let kind = if prefetchable { ", prefetchable" } else { "" };
                    println!("          BAR{index} memory at {base:#010x}{kind}");
                }
            }
        }
    }
}

/// Prints what answers at the well-known ports of the ISA bus.
pub fn report_isa() {
    println!("isa:");
    let say = |port: u16, name: &str, there: bool| {
        if there {
            println!("  {port:04x}  {name}");
        }
    };
    say(0x20, "8259A interrupt controllers, a pair", pic::present());
    say(0x40, "8254 interval timer", pit::status(0) != 0xff || pit::count(0) != 0xffff);
    say(0x60, "8042 keyboard controller", i8042::present());
    if rtc::present() {
        match rtc::now() {
            Some(now) => println!("  0070  MC146818 real-time clock: {now}"),
            None => println!("  0070  MC146818 real-time clock, not readable"),
        }
    }
    say(0x92, "fast A20 and reset", port::in8(0x92) != 0xff);
    for (i, base) in uart::PORTS.into_iter().enumerate() {
        if let Some(kind) = uart::identify(base) {
            println!("  {base:04x}  COM{}: {kind}", i + 1);
        }
    }
    say(0xe9, "debug console", port::in8(0xe9) == 0xe9);
    if fw_cfg::present() {
        let ram = u64::from_le_bytes(fw_cfg::item(fw_cfg::RAM_SIZE));
        let cpus = u16::from_le_bytes(fw_cfg::item(fw_cfg::CPU_COUNT));
        let dma = if fw_cfg::has_dma() { "with DMA" } else { "without DMA" };
        println!("  0510  fw_cfg {dma}: {} of RAM, {cpus} CPU, {} files", Bytes(ram), fw_cfg::file_count());
    }
}

/// Prints the ACPI tables and what they say of the interrupt controllers and timers.
pub fn report_acpi() {
    let Some(acpi) = acpi::get() else {
        println!("acpi: no tables");
        return;
    };
    println!("acpi: root pointer at {:#x}, revision {}", acpi.rsdp.0, acpi.rsdp.1);
    for table in acpi.tables() {
        let (oem, id) = table.oem();
        let sum = if table.sum_is_right() { "" } else { ", WRONG SUM" };
        println!("  {} at {:08x}, {} bytes, {oem} {id}{sum}", table.signature(), table.address(), table.bytes().len());
    }
    if let Some(apic) = apic::local() {
        println!("  local APIC at {:08x}, version {:#x}", apic.base(), apic.read(apic::local::VERSION) & 0xff);
    }
    if let Some(apic) = apic::IoApic::first() {
        println!("  I/O APIC at {:08x}, version {:#x}, {} inputs", apic.base(), apic.read(1) & 0xff, apic.inputs());
    }
    for entry in acpi::madt() {
        match entry {
            acpi::Interrupt::Processor(id, enabled) => {
                println!("  processor, APIC id {id}{}", if enabled { "" } else { ", disabled" });
            }
            acpi::Interrupt::IoApic(id, address, base) => {
                println!("  I/O APIC {id} at {address:08x} from global interrupt {base}");
            }
            acpi::Interrupt::Override(source, global, flags) => {
                println!("  ISA interrupt {source} is global interrupt {global}, flags {flags:#x}");
            }
        }
    }
    if let Some(timer) = acpi::pm_timer() {
        println!("  PM timer at port {:#06x}, {} bits, {}", timer.port(), timer.bits(), Hertz(pm_timer::HZ));
    }
    if let Some(hpet) = hpet::Hpet::find() {
        let hz = 1_000_000_000_000_000 / u64::from(hpet.period_fs().max(1));
        println!("  HPET with {} comparators at {}", hpet.timers(), Hertz(hz));
    }
}
