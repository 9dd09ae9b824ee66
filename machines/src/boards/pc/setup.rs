//! How the chipset and the PCI buses are set up where there is no firmware to do it.

use super::direct::{PIRQ_IRQS, PM_BASE, interrupt};
use super::{PIIX_SLOT, PM};
use crate::boards::at::memory::Layout;
use crate::devices::ide::piix as ide;
use crate::devices::pci::bridge::{RESERVE, RESERVE_IO, RESERVE_MEMORY};
use crate::devices::pci::{i440fx, piix3, piix4_pm};
use gearbox_core::board::Board;
use gearbox_core::pci::{Devfn, IntxPin, bridge, command, reg};
use gearbox_core::vm::CpuBus;

/// Where I/O BARs are assigned from, and where instead if there are bridges, whose windows are large: there is room for nine. What firmware sets aside
/// ends in the middle, so that it leaves enough for what is there.
const PCI_PORTS: u64 = 0xc000;
const BRIDGED_PORTS: u64 = 0x1000;
const RESERVED_PORTS_END: u64 = 0x6000;
/// What the windows of a bridge are made of, in bytes.
const IO_WINDOW: u64 = 4 << 10;
const MEMORY_WINDOW: u64 = 1 << 20;

/// Programs the chipset by the ports that firmware would use.
pub(super) struct Setup<'a>(pub(super) &'a Board);

/// Where a function is: the number of its bus, and where on it.
type At = (u8, Devfn);

/// The host bridge and the functions of the PIIX3 that are programmed.
const HOST: At = (0, Devfn::new(0, 0));
const ISA: At = (0, Devfn::new(PIIX_SLOT, 0));
const IDE: At = (0, Devfn::new(PIIX_SLOT, 1));
const POWER: At = (0, PM);

impl Setup<'_> {
    fn select(&self, (bus, at): At, register: u8) -> u16 {
        let address = u32::from(bus) << 16 | u32::from(at.0) << 8 | u32::from(register & !3);
        self.0.pio_out(0xcf8, 4, 1 << 31 | address);
        0xcfc + u16::from(register & 3)
    }
    fn config(&self, at: At, register: u8, size: u8) -> u32 {
        let port = self.select(at, register);
        self.0.pio_in(port, size)
    }
    fn set_config(&self, at: At, register: u8, size: u8, value: u32) {
        let port = self.select(at, register);
        self.0.pio_out(port, size, value);
    }

    /// Shadow RAM, interrupt routing, IDE channels, power management ports.
    pub(super) fn chipset(&self) {
        /// PAM0 has only a high half.
        const SHADOW: [u8; 7] = [0x30, 0x33, 0x33, 0x33, 0x33, 0x33, 0x33];
        const ELCR: u16 = 0x4d0;
        for (register, value) in (i440fx::config::PAM0..).zip(SHADOW) {
            self.set_config(HOST, register, 1, value.into());
        }
        let mut level = 0u16;
        for (register, irq) in (piix3::PIRQ_ROUTE..).zip(PIRQ_IRQS) {
            self.set_config(ISA, register, 1, irq.into());
            level |= 1 << irq;
        }
        for (port, byte) in (ELCR..).zip(level.to_le_bytes()) {
            self.0.pio_out(port, 1, byte.into());
        }
        for register in ide::TIMING {
            self.set_config(IDE, register, 2, ide::DECODE_ENABLE.into());
        }
        self.set_config(POWER, piix4_pm::config::PMBASE, 4, u32::from(PM_BASE) | 1);
        self.set_config(POWER, piix4_pm::config::PMREGMISC, 1, 1);
    }

    /// Numbers the buses behind bridges, assigns base addresses, windows and interrupt lines, and lets every function decode.
    pub(super) fn pci(&self, layout: Layout) {
        let (memory, last) = layout.hole();
        let bridged = (0..=u8::MAX).any(|at| self.is_bridge((0, Devfn(at))));
        let port = if bridged { BRIDGED_PORTS } else { PCI_PORTS };
        let mut next = Next { port, memory: memory.into(), end: u64::from(last) + 1, bus: 0 };
        self.bus(0, &mut Vec::new(), &mut next);
    }
    fn is_bridge(&self, at: At) -> bool {
        self.config(at, reg::HEADER_TYPE, 1) & 0x7f == 1
    }
    /// What is on a bus behind these bridges, the first of which is on the root bus. Returns how many ports and bytes of memory the windows of its own
    /// bridges take.
    fn bus(&self, bus: u8, bridges: &mut Vec<Devfn>, next: &mut Next) -> [u64; 2] {
        const NOBODY: u32 = 0xffff;
        let mut windows = [0; 2];
        for at in (0..=u8::MAX).map(Devfn) {
            if self.config((bus, at), reg::VENDOR_ID, 2) == NOBODY {
                continue;
            }
            let is_bridge = self.is_bridge((bus, at));
            let mut decodes = self.assign_bars((bus, at), if is_bridge { 2 } else { 6 }, next);
            if is_bridge {
                let before = [next.port, next.memory];
                bridges.push(at);
                decodes |= self.behind((bus, at), bridges, next);
                bridges.pop();
                windows[0] += next.port - before[0];
                windows[1] += next.memory - before[1];
            }
            let old = self.config((bus, at), reg::COMMAND, 2);
            self.set_config((bus, at), reg::COMMAND, 2, old | u32::from(decodes));
            if let Some(pin) = IntxPin::from_register(self.config((bus, at), reg::INTERRUPT_PIN, 1) as u8) {
                let swizzled = |(at, pin): (Devfn, IntxPin), bridge: &Devfn| (*bridge, pin.swizzled(at.slot()));
                let root = bridges.iter().rev().fold((at, pin), swizzled);
                self.set_config((bus, at), reg::INTERRUPT_LINE, 1, interrupt(root).irq.into());
            }
        }
        windows
    }
    /// The bus behind a bridge, if there is a number left for it. Returns the command bits that the bridge needs.
    fn behind(&self, at: At, bridges: &mut Vec<Devfn>, next: &mut Next) -> u16 {
        let Some(bus) = next.bus.checked_add(1) else { return 0 };
        next.bus = bus;
        let set = |register, size, value| self.set_config(at, register, size, value);
        set(bridge::reg::PRIMARY, 1, at.0.into());
        set(bridge::reg::SECONDARY, 1, bus.into());
        set(bridge::reg::SUBORDINATE, 1, 0xff);
        next.align();
        let (port, memory) = (next.port, next.memory);
        let windows = self.bus(bus, bridges, next);
        let wanted = self.reserved(at);
        let reserve = |next: u64, wanted: u64, end: u64| if wanted <= end { next.max(wanted) } else { next };
        next.port = reserve(next.port, port + windows[0] + wanted[0], RESERVED_PORTS_END);
        next.memory = reserve(next.memory, memory + windows[1] + wanted[1], next.end);
        next.align();
        set(bridge::reg::SUBORDINATE, 1, next.bus.into());
        // Where there is nothing behind, the window ends before it begins.
        let io = |address: u64| (address >> 8) as u32 & 0xf0;
        let high = |address: u64| (address >> 16) as u32 & 0xfff0;
        set(bridge::reg::IO_BASE, 1, io(if next.port > port { port } else { 0xf000 }));
        set(bridge::reg::IO_LIMIT, 1, io(if next.port > port { next.port - 1 } else { 0 }));
        set(bridge::reg::MEMORY_BASE, 2, high(if next.memory > memory { memory } else { 0xfff0_0000 }));
        set(bridge::reg::MEMORY_LIMIT, 2, high(if next.memory > memory { next.memory - 1 } else { 0 }));
        set(bridge::reg::PREFETCHABLE_BASE, 2, high(0xfff0_0000));
        set(bridge::reg::PREFETCHABLE_LIMIT, 2, 0);
        command::IO | command::MEMORY
    }
    /// How many ports and bytes of memory a bridge wants for devices on its bus, whether they are there or come later.
    fn reserved(&self, at: At) -> [u64; 2] {
        let wants = |capability: u8| {
            [RESERVE_IO, RESERVE_MEMORY].map(|n| match self.config(at, capability.saturating_add(n), 4) {
                u32::MAX => 0,
                n => n.into(),
            })
        };
        self.capability(at, RESERVE.1).map_or([0; 2], wants)
    }
    /// Where the first capability of a kind is.
    fn capability(&self, at: At, id: u8) -> Option<u8> {
        let next = |register| Some(self.config(at, register, 1) as u8).filter(|c| *c != 0);
        let all = std::iter::successors(next(reg::CAPABILITIES), |c| next(c.saturating_add(1)));
        // There is no room for more.
        all.take(48).find(|c| self.config(at, *c, 1) == u32::from(id))
    }
    /// Gives each BAR of a function an address aligned to its size. Returns the command bits that it needs.
    fn assign_bars(&self, at: At, bars: u8, next: &mut Next) -> u16 {
        const IO: u32 = 1;
        const WIDE: u32 = 4;
        let mut decodes = 0;
        let mut n = 0;
        while n < bars {
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

/// Where the next base addresses go, where the memory for them ends, and the last number that a bus has.
struct Next {
    port: u64,
    memory: u64,
    end: u64,
    bus: u8,
}

impl Next {
    /// On to where a window can begin.
    fn align(&mut self) {
        self.port = self.port.next_multiple_of(IO_WINDOW);
        self.memory = self.memory.next_multiple_of(MEMORY_WINDOW);
    }
}
