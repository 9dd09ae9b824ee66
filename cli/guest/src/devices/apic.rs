//! The local APIC (SDM vol. 3, chapter 11) and the I/O APIC (82093AA).

use crate::interrupts::{LAPIC_EOI, LAPIC_TIMER, SPURIOUS};
use crate::mmio::Mmio;
use crate::{acpi, cpu};
use core::sync::atomic::Ordering::Relaxed;

/// Local APIC registers.
pub mod local {
    /// Identification.
    pub const ID: u64 = 0x20;
    /// Version and number of LVT entries.
    pub const VERSION: u64 = 0x30;
    /// Interrupts requested, 256 bits.
    pub const IRR: u64 = 0x200;
    /// Interrupt command, low half.
    pub const ICR_LOW: u64 = 0x300;
    /// LVT: timer.
    pub const LVT_TIMER: u64 = 0x320;
    /// LVT: LINT0, the 8259A's output.
    pub const LVT_LINT0: u64 = 0x350;
    /// LVT: LINT1, NMI.
    pub const LVT_LINT1: u64 = 0x360;
    /// Timer: initial count.
    pub const INITIAL_COUNT: u64 = 0x380;
    /// Timer: current count.
    pub const CURRENT_COUNT: u64 = 0x390;
    /// Timer: divider.
    pub const DIVIDE: u64 = 0x3e0;
    /// Task priority.
    pub const TPR: u64 = 0x80;
    /// Spurious vector and software enable.
    pub const SPURIOUS: u64 = 0xf0;
}

/// LVT and redirection entries: masked.
pub const MASKED: u32 = 1 << 16;
/// LVT of the timer: periodic.
pub const PERIODIC: u32 = 1 << 17;
const EXT_INT: u32 = 7 << 8;
const NMI: u32 = 4 << 8;

const APIC_BASE: u32 = 0x1b;

/// The local APIC, if the CPU has one and it is switched on, in xAPIC mode and below 4 GiB.
pub fn local() -> Option<Mmio> {
    if !cpu::has(cpu::Feature::Apic) {
        return None;
    }
    let msr = cpu::read_msr(APIC_BASE);
    let (enabled, x2apic, base) = (msr >> 11 & 1 != 0, msr >> 10 & 1 != 0, msr & 0x000f_ffff_ffff_f000);
    // SAFETY: the CPU says that its APIC is there.
    (enabled && !x2apic && base != 0 && base < 0xffff_f000).then(|| unsafe { Mmio::new(base) })
}

/// Software-enables the local APIC in virtual wire mode: the 8259A pair reaches the CPU through LINT0, and LINT1 is NMI
/// (MultiProcessor Specification 1.4, 3.6.2.2).
pub fn virtual_wire() {
    if let Some(apic) = local() {
        LAPIC_EOI.store(apic.base() + 0xb0, Relaxed);
        apic.write(local::SPURIOUS, 0x100 | SPURIOUS);
        apic.write(local::TPR, 0);
        apic.write(local::LVT_TIMER, MASKED | LAPIC_TIMER);
        apic.write(local::LVT_LINT0, EXT_INT);
        apic.write(local::LVT_LINT1, NMI);
    }
}

/// Opens or closes the way of the 8259A pair to the CPU.
pub fn wire_pic(apic: Mmio, open: bool) {
    apic.write(local::LVT_LINT0, EXT_INT | if open { 0 } else { MASKED });
}

/// An I/O APIC.
#[derive(Clone, Copy)]
pub struct IoApic(Mmio);

impl IoApic {
    /// The one that the MADT lists first, if it is one by its version register.
    pub fn first() -> Option<IoApic> {
        let base = acpi::madt().find_map(|entry| match entry {
            acpi::Interrupt::IoApic(_, address, 0) => Some(address),
            _ => None,
        })?;
        // SAFETY: firmware says that the device is there.
        let apic = IoApic(unsafe { Mmio::new(base.into()) });
        (base != 0 && base < 0xffff_f000 && matches!(apic.read(1) & 0xff, 0x10..=0x2f)).then_some(apic)
    }

    /// A register behind the index.
    pub fn read(self, register: u8) -> u32 {
        self.0.write(0, register.into());
        self.0.read(0x10)
    }

    /// Writes a register behind the index.
    pub fn write(self, register: u8, value: u32) {
        self.0.write(0, register.into());
        self.0.write(0x10, value);
    }

    /// Its address.
    pub fn base(self) -> u64 {
        self.0.base()
    }

    /// Number of inputs.
    pub fn inputs(self) -> u32 {
        (self.read(1) >> 16 & 0xff) + 1
    }

    /// Sends input `pin`, edge-triggered and active high, as `vector` to the local APIC `id`.
    pub fn route(self, pin: u8, vector: u32, id: u32) {
        self.write(0x11 + 2 * pin, id << 24);
        self.write(0x10 + 2 * pin, vector);
    }

    /// Masks input `pin`.
    pub fn mask(self, pin: u8) {
        self.write(0x10 + 2 * pin, MASKED);
    }
}

/// The I/O APIC input that an ISA interrupt goes to.
pub fn input_of_isa(irq: u8) -> u32 {
    acpi::madt()
        .find_map(|entry| match entry {
            acpi::Interrupt::Override(source, input, _) if source == irq => Some(input),
            _ => None,
        })
        .unwrap_or(irq.into())
}
