//! What firmware does on this board before an operating system starts, for machines that boot a kernel without firmware.

use super::{PIIX_SLOT, PM, SCI};
use crate::acpi::{Hotplug, PciInterrupt, Platform, PowerManagement};
use crate::boards::at;
use crate::boards::at::memory::Layout;
use crate::devices::cpu_hotplug;
use crate::devices::floppy::FdcDevice;
use crate::devices::hpet;
use crate::devices::ide::piix as ide;
use crate::devices::ioapic::IOAPIC_BASE;
use crate::devices::pci::{self, i440fx, piix3, piix4_pm};
use crate::devices::pvpanic::PvPanicDevice;
use crate::devices::vmgenid::VmGenIdDevice;
use gearbox_core::board::{Board, BoardState};
use gearbox_core::machine::numa::NumaNodes;
use gearbox_core::machine::{Boot, BootError, MachineConfig};
use gearbox_core::pci::{Devfn, command, reg};
use gearbox_core::vm::CpuBus;
use gearbox_core::x86::state::X86State;

/// Interrupts that PIRQA to PIRQD are routed to.
const PIRQ_IRQS: [u8; 4] = [10, 10, 11, 11];
/// Where the power management ports go.
const PM_BASE: u16 = 0x600;
/// Where I/O BARs are assigned from.
const PCI_PORTS: u32 = 0xc000;

/// What the tables tell of this board.
pub(super) fn platform(s: &mut BoardState, config: &MachineConfig, nodes: NumaNodes, layout: Layout) -> Platform {
    let ids: Vec<_> = s.devices().map(|(id, ..)| id).collect();
    let (serials, parallels) = (at::direct::serials(s), at::direct::parallels(s));
    let generation = ids.iter().find_map(|&id| Some(s.device::<VmGenIdDevice>(id)?.guid()));
    let pvpanic = ids.iter().find_map(|&id| s.device::<PvPanicDevice>(id)?.port());
    let floppies = ids.iter().find_map(|&id| Some(s.device::<FdcDevice>(id)?.kinds())).unwrap_or_default();
    let functions = s.fabric.pci.functions();
    let pci_interrupts = functions.filter_map(|(at, _, c)| Some(interrupt(at, c.interrupt_pin()? as u8)));
    Platform {
        processors: super::processors(s, config).collect(),
        numa: at::numa::platform(config, nodes, layout),
        ioapic: IOAPIC_BASE as u32,
        pci_memory: layout.hole(),
        pm: Some(PowerManagement {
            base: PM_BASE,
            gpe0: piix4_pm::GPE0,
            gpe0_len: piix4_pm::GPE0_LEN,
            sci: SCI,
            command: (piix4_pm::APM_CONTROL, piix4_pm::ACPI_ENABLE, piix4_pm::ACPI_DISABLE),
            reset: (piix3::RESET_CONTROL, piix3::RESET_EVERYTHING),
            s5: piix4_pm::SLEEP_S5,
        }),
        hotplug: Some(Hotplug {
            pci: pci::hotplug::BASE,
            pci_slots: !s.fabric.pci.fixed_slots(),
            cpus: cpu_hotplug::BASE,
        }),
        serials,
        parallels,
        pvpanic,
        generation,
        floppies,
        mouse: true,
        hpet: super::has_hpet(config).then_some(hpet::BASE as u32),
        pci_interrupts: pci_interrupts.collect(),
        more: config.acpi_tables.clone(),
    }
}

/// Where an interrupt pin leads, once [`DirectBoot`] has routed it.
fn interrupt(at: Devfn, pin: u8) -> PciInterrupt {
    let irq = match at {
        // Power management: its pin is the SCI.
        at if at == PM => SCI,
        at => PIRQ_IRQS[piix3::pirq(u32::from(at.slot()) * 4 + u32::from(pin))],
    };
    PciInterrupt { slot: at.slot(), pin, irq }
}

/// Direct boot on this board.
pub(super) struct DirectBoot {
    pub(super) common: at::direct::DirectBoot,
}

impl Boot for DirectBoot {
    fn enter(&self, board: &Board, state: &mut X86State) -> Result<(), BootError> {
        let setup = Setup(board);
        setup.chipset();
        setup.pci(self.common.layout);
        self.common.enter(board, state)
    }
}

/// Programs the chipset by the ports that firmware would use.
struct Setup<'a>(&'a Board);

impl Setup<'_> {
    fn select(&self, at: Devfn, register: u8) -> u16 {
        self.0.pio_out(0xcf8, 4, 1 << 31 | u32::from(at.0) << 8 | u32::from(register & !3));
        0xcfc + u16::from(register & 3)
    }
    fn config(&self, at: Devfn, register: u8, size: u8) -> u32 {
        let port = self.select(at, register);
        self.0.pio_in(port, size)
    }
    fn set_config(&self, at: Devfn, register: u8, size: u8, value: u32) {
        let port = self.select(at, register);
        self.0.pio_out(port, size, value);
    }

    /// Shadow RAM, interrupt routing, IDE channels, power management ports.
    fn chipset(&self) {
        /// PAM0 has only a high half.
        const SHADOW: [u8; 7] = [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33];
        const ELCR: u16 = 0x4d0;
        let (host, isa) = (Devfn::new(0, 0), Devfn::new(PIIX_SLOT, 0));
        for (register, value) in (i440fx::config::PAM0..).zip(SHADOW) {
            self.set_config(host, register, 1, value.into());
        }
        let mut level = 0u16;
        for (register, irq) in (piix3::PIRQ_ROUTE..).zip(PIRQ_IRQS) {
            self.set_config(isa, register, 1, irq.into());
            level |= 1 << irq;
        }
        for (port, byte) in (ELCR..).zip(level.to_le_bytes()) {
            self.0.pio_out(port, 1, byte.into());
        }
        for register in ide::TIMING {
            self.set_config(Devfn::new(PIIX_SLOT, 1), register, 2, ide::DECODE_ENABLE.into());
        }
        self.set_config(PM, piix4_pm::config::PMBASE, 4, u32::from(PM_BASE) | 1);
        self.set_config(PM, piix4_pm::config::PMREGMISC, 1, 1);
    }

    /// Assigns base addresses and interrupt lines to every function, and lets it decode.
    fn pci(&self, layout: Layout) {
        let functions: Vec<_> =
            self.0.with(|s| s.fabric.pci.functions().map(|(at, _, c)| (at, c.interrupt_pin())).collect());
        let mut next = Next { port: PCI_PORTS.into(), memory: layout.hole().0.into() };
        for (at, pin) in functions {
            let decodes = self.assign_bars(at, &mut next);
            let old = self.config(at, reg::COMMAND, 2);
            self.set_config(at, reg::COMMAND, 2, old | u32::from(decodes));
            if let Some(pin) = pin {
                self.set_config(at, reg::INTERRUPT_LINE, 1, interrupt(at, pin as u8).irq.into());
            }
        }
    }
    /// Gives each BAR of a function an address aligned to its size. Returns the command bits that it needs.
    fn assign_bars(&self, at: Devfn, next: &mut Next) -> u16 {
        const IO: u32 = 1;
        const WIDE: u32 = 4;
        const BARS: u8 = 6;
        let mut decodes = 0;
        let mut n = 0;
        while n < BARS {
            let register = reg::BAR0 + 4 * n;
            n += 1;
            let kind = self.config(at, register, 4);
            self.set_config(at, register, 4, u32::MAX);
            let mask = self.config(at, register, 4);
            if mask == 0 {
                continue;
            }
            let (cursor, size, enable) = if kind & IO != 0 {
                (&mut next.port, (!(mask & !3) & 0xffff) + 1, command::IO)
            } else {
                (&mut next.memory, (!(mask & !15)).wrapping_add(1), command::MEMORY)
            };
            let base = cursor.next_multiple_of(u64::from(size.max(1)));
            *cursor = base + u64::from(size);
            self.set_config(at, register, 4, base as u32);
            decodes |= enable;
            if kind & (IO | WIDE) == WIDE {
                self.set_config(at, reg::BAR0 + 4 * n, 4, 0);
                n += 1;
            }
        }
        decodes
    }
}

/// Where the next base addresses go.
struct Next {
    port: u64,
    memory: u64,
}
