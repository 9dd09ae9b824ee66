//! The pair of 8259A programmable interrupt controllers of a PC, with the edge/level registers of the PIIX3.
//!
//! Sources: Intel 8259A datasheet (231468), Intel 82371SB (PIIX3) datasheet (290550) for ports 4D0h/4D1h. As on the PIIX3, bit 3 of ICW1
//! (LTIM) has no effect: ELCR selects edge or level for each input.

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Pins, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{TypeEntry, TypeInfo};
use serde::{Deserialize, Serialize};

/// The input of the master that the slave's INT output drives.
const CASCADE: u8 = 2;
/// What an 8259A answers to INTA when it has no request: level 7.
const SPURIOUS: u8 = 7;
/// The bit of the command port that marks ICW1.
const ICW1: u8 = 0x10;

/// Which of ICW2 to ICW4 the next write to the data port is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Expect {
    #[default]
    Ocw1,
    Icw2,
    Icw3,
    Icw4,
}

/// One 8259A as a value: inputs and commands in, INT out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Chip {
    /// Input pins as they are.
    pins: u8,
    /// Rising edges not yet acknowledged.
    edges: u8,
    /// Mask, in-service and edge/level registers.
    imr: u8,
    isr: u8,
    elcr: u8,
    /// The input of highest priority.
    top: u8,
    /// T7-T3 of ICW2: the vector of input 0.
    base: u8,
    expect: Expect,
    /// ICW1 announced an ICW4; ICW1 said that there is no slave.
    icw4: bool,
    single: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    /// Inputs to which another chip is connected.
    slaves: u8,
    /// Special mask mode; special fully nested mode, in which a slave may interrupt itself.
    special_mask: bool,
    fully_nested: bool,
    /// OCW3: reads of the command port give ISR; the next read is a poll.
    read_isr: bool,
    poll: bool,
}

impl Chip {
    /// Input `n` (0 to 7) has `level`.
    pub fn set_pin(&mut self, n: u8, level: bool) {
        let bit = 1 << n;
        if level {
            self.edges |= bit & !self.pins;
            self.pins |= bit;
        } else {
            self.pins &= !bit;
        }
    }
    /// The interrupt request register: latched edges, and levels where ELCR says so.
    pub fn irr(&self) -> u8 {
        (self.edges & !self.elcr) | (self.pins & self.elcr)
    }
    /// The in-service register.
    pub fn isr(&self) -> u8 {
        self.isr
    }
    /// The interrupt mask register.
    pub fn imr(&self) -> u8 {
        self.imr
    }
    /// The edge/level control register.
    pub fn elcr(&self) -> u8 {
        self.elcr
    }
    /// The input of highest priority.
    pub fn top(&self) -> u8 {
        self.top
    }
    /// The vector of input 0.
    pub fn base(&self) -> u8 {
        self.base
    }
    /// Reads of the command port give the in-service register.
    pub fn reads_isr(&self) -> bool {
        self.read_isr
    }
    /// Special fully nested mode is on.
    pub fn fully_nested(&self) -> bool {
        self.fully_nested
    }
    /// Distance of the most urgent of `inputs` from the top priority; 8 if there is none.
    fn rank(&self, inputs: u8) -> u32 {
        match inputs.rotate_right(u32::from(self.top)) {
            0 => 8,
            r => r.trailing_zeros(),
        }
    }
    fn at_rank(&self, rank: u32) -> u8 {
        (rank as u8).wrapping_add(self.top) & 7
    }
    /// The input that asks for service now, if it outranks what is in service.
    pub fn request(&self) -> Option<u8> {
        let mut busy = self.isr;
        if self.special_mask {
            busy &= !self.imr;
        }
        if self.fully_nested {
            busy &= !self.slaves;
        }
        let rank = self.rank(self.irr() & !self.imr);
        (rank < self.rank(busy)).then(|| self.at_rank(rank))
    }
    /// Takes input `n` into service.
    fn acknowledge(&mut self, n: u8) {
        self.edges &= !(1 << n);
        if !self.auto_eoi {
            self.isr |= 1 << n;
        } else if self.rotate_on_auto_eoi {
            self.top = (n + 1) & 7;
        }
    }
    /// An INTA cycle for this chip alone: the vector.
    fn intack(&mut self) -> u8 {
        let n = self.request().inspect(|&n| self.acknowledge(n)).unwrap_or(SPURIOUS);
        self.base | n
    }
    /// Clears `n` from service, and makes it the lowest priority if `rotate`.
    fn end(&mut self, n: u8, rotate: bool) {
        self.isr &= !(1 << n);
        if rotate {
            self.top = (n + 1) & 7;
        }
    }

    /// A store to the command port: ICW1, OCW2 or OCW3.
    fn command(&mut self, v: u8) {
        if v & ICW1 != 0 {
            // It clears edges, mask, service and modes; levels remain, as do pins and ELCR.
            *self = Self {
                pins: self.pins,
                elcr: self.elcr,
                slaves: self.slaves,
                expect: Expect::Icw2,
                icw4: v & 1 != 0,
                single: v & 2 != 0,
                ..Self::default()
            };
        } else if v & 0x08 != 0 {
            self.poll |= v & 0x04 != 0;
            if v & 0x02 != 0 {
                self.read_isr = v & 0x01 != 0;
            }
            if v & 0x40 != 0 {
                self.special_mask = v & 0x20 != 0;
            }
        } else {
            self.ocw2(v >> 5, v & 7);
        }
    }
    /// OCW2: rotation, specific, end of interrupt (R, SL, EOI in `op`).
    fn ocw2(&mut self, op: u8, n: u8) {
        let rotate = op & 4 != 0;
        match op & 3 {
            0 => self.rotate_on_auto_eoi = rotate,
            1 => {
                let rank = self.rank(self.isr);
                if rank < 8 {
                    self.end(self.at_rank(rank), rotate);
                }
            }
            3 => self.end(n, rotate),
            _ if rotate => self.top = (n + 1) & 7,
            _ => {}
        }
    }
    /// A store to the data port: OCW1, or the next initialization word.
    fn data(&mut self, v: u8) {
        let last = if self.icw4 { Expect::Icw4 } else { Expect::Ocw1 };
        self.expect = match self.expect {
            Expect::Ocw1 => {
                self.imr = v;
                Expect::Ocw1
            }
            Expect::Icw2 => {
                self.base = v & 0xf8;
                if self.single { last } else { Expect::Icw3 }
            }
            // How the chips of a PC are cascaded is soldered.
            Expect::Icw3 => last,
            Expect::Icw4 => {
                self.fully_nested = v & 0x10 != 0;
                self.auto_eoi = v & 0x02 != 0;
                Expect::Ocw1
            }
        };
    }
    /// A load from the command (`a0` false) or data port.
    fn read(&mut self, a0: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            return self.request().map_or(0, |n| {
                self.acknowledge(n);
                0x80 | n
            });
        }
        match (a0, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr(),
        }
    }
    fn write(&mut self, a0: bool, v: u8) {
        if a0 { self.data(v) } else { self.command(v) }
    }
    /// Power-on and system reset: like ICW1 without one, and ELCR is cleared. The pins are what they are.
    fn reset(&mut self) {
        *self = Self { pins: self.pins, slaves: self.slaves, ..Self::default() };
    }
}

/// Configuration of the pair (`isa-i8259`): it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pic;

/// Pins of the pair.
#[derive(Clone, Copy, Debug)]
pub struct PicPins {
    /// ISA interrupts 0 to 15. Pin 2 is the cascade and must stay open.
    pub irq: Pins,
    /// INT of the master, to the CPU's INTR.
    pub intr: Line,
}

/// The pair: the slave's INT drives input 2 of the master.
#[derive(Debug)]
pub struct PicPair {
    master: Chip,
    slave: Chip,
    intr: Line,
    /// How often each input was raised.
    raised: [u64; 16],
}

const MASTER: u32 = 0;
const SLAVE: u32 = 1;
const ELCR: u32 = 2;

/// Inputs that may be level-triggered: not the timer, keyboard and cascade, nor clock and coprocessor (PIIX3, ELCR1 and ELCR2).
const ELCR_MASK: [u8; 2] = [0xf8, 0xde];

impl DeviceSpec for Pic {
    type Device = PicPair;
    type Pins = PicPins;
    const TYPE: &'static str = "isa-i8259";

    fn realize(self, r: &mut Realize<'_>) -> Result<(PicPair, PicPins), RealizeError> {
        r.ports(MASTER, "pic", 0x20, 2);
        r.ports(SLAVE, "pic", 0xa0, 2);
        r.ports(ELCR, "elcr", 0x4d0, 2);
        r.answer_intack();
        let pins = PicPins { irq: r.inputs("irq", 16), intr: r.output("intr") };
        let master = Chip { slaves: 1 << CASCADE, ..Chip::default() };
        Ok((PicPair { master, slave: Chip::default(), intr: pins.intr, raised: [0; 16] }, pins))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<Pic>("pic-common", "interrupt controllers, 8259A")) }

impl PicPair {
    /// Master and slave, for `info pic`.
    pub fn chips(&self) -> [&Chip; 2] {
        [&self.master, &self.slave]
    }
    /// How often each input was raised, the slave's from 8 on, for `info irq`.
    pub fn raised(&self) -> &[u64; 16] {
        &self.raised
    }
    /// Lets the slave's INT reach the master, and the master's the CPU.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        self.master.set_pin(CASCADE, self.slave.request().is_some());
        cx.set(self.intr, self.master.request().is_some());
    }
    fn chip(&mut self, slave: bool) -> &mut Chip {
        if slave { &mut self.slave } else { &mut self.master }
    }
}

impl Device for PicPair {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { master, slave, intr: _, raised } = self;
        let sound = |(master, slave, _): &(Chip, Chip, _)| master.top < 8 && slave.top < 8;
        Saved::sound((master, slave, raised), sound).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8) -> u64 {
        if region == ELCR {
            return self.chip(offset != 0).elcr.into();
        }
        let v = self.chip(region == SLAVE).read(offset != 0);
        self.settle(cx);
        v.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8, value: u64) {
        let v = value as u8;
        if region == ELCR {
            self.chip(offset != 0).elcr = v & ELCR_MASK[usize::from(offset != 0)];
        } else {
            self.chip(region == SLAVE).write(offset != 0, v);
            if region == MASTER && offset == 0 && v & ICW1 != 0 {
                // Edges count from now on; a slave that keeps asking must not be overlooked for that.
                self.master.set_pin(CASCADE, false);
            }
        }
        self.settle(cx);
    }
    fn pin(&mut self, cx: &mut Cx<'_>, index: u32, level: bool) {
        let n = index as u8;
        if n == CASCADE {
            return;
        }
        let raised = &mut self.raised[usize::from(n & 15)];
        *raised = raised.wrapping_add(level.into());
        self.chip(n >= 8).set_pin(n & 7, level);
        self.settle(cx);
    }
    fn interrupt_acknowledge(&mut self, cx: &mut Cx<'_>) -> Option<u8> {
        let vector = if self.master.request() == Some(CASCADE) {
            self.master.acknowledge(CASCADE);
            // INT falls during the cycle, so that a further request of the slave is a new edge for the master.
            self.master.set_pin(CASCADE, false);
            self.slave.intack()
        } else {
            self.master.intack()
        };
        self.settle(cx);
        Some(vector)
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.master.reset();
        self.slave.reset();
        self.settle(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::Realized;

    /// A pair as a PC's firmware sets it up: vectors 08h and 70h, nothing masked.
    fn pair() -> (Bench, Realized<PicPins>) {
        let mut b = Bench::new();
        let pic = b.realize(Pic).unwrap();
        init(&mut b, 0x01);
        (b, pic)
    }
    fn init(b: &mut Bench, icw4: u8) {
        for (port, vector, cascade) in [(0x20, 0x08, 0x04), (0xa0, 0x70, 0x02)] {
            b.outb(port, 0x11);
            b.outb(port + 1, vector);
            b.outb(port + 1, cascade);
            b.outb(port + 1, icw4);
            b.outb(port + 1, 0);
        }
    }
    fn irr(b: &mut Bench, port: u16) -> u8 {
        b.outb(port, 0x0a);
        b.inb(port)
    }
    fn isr(b: &mut Bench, port: u16) -> u8 {
        b.outb(port, 0x0b);
        b.inb(port)
    }

    #[test]
    fn an_edge_is_latched_served_and_ended() {
        let (mut b, pic) = pair();
        b.pulse(pic.irq.get(4));
        assert!(b.level(pic.intr));
        assert_eq!((irr(&mut b, 0x20), isr(&mut b, 0x20)), (0x10, 0));
        assert_eq!(b.ack_interrupt(), Some(0x0c));
        assert!(!b.level(pic.intr));
        assert_eq!((irr(&mut b, 0x20), isr(&mut b, 0x20)), (0, 0x10));
        b.pulse(pic.irq.get(4));
        assert!(!b.level(pic.intr), "not while it is in service");
        b.outb(0x20, 0x20);
        assert!(b.level(pic.intr));
    }

    #[test]
    fn lower_numbers_interrupt_higher_ones() {
        let (mut b, pic) = pair();
        b.pulse(pic.irq.get(4));
        assert_eq!(b.ack_interrupt(), Some(0x0c));
        b.pulse(pic.irq.get(5));
        assert!(!b.level(pic.intr));
        b.pulse(pic.irq.get(1));
        assert_eq!(b.ack_interrupt(), Some(0x09));
        b.outb(0x20, 0x20); // non-specific: ends IR1, the highest in service
        assert_eq!(isr(&mut b, 0x20), 0x10);
        b.outb(0x20, 0x64); // specific: IR4
        assert_eq!(b.ack_interrupt(), Some(0x0d));
    }

    #[test]
    fn masked_requests_wait() {
        let (mut b, pic) = pair();
        b.outb(0x21, 0x10);
        assert_eq!(b.inb(0x21), 0x10);
        b.pulse(pic.irq.get(4));
        assert!(!b.level(pic.intr));
        b.outb(0x21, 0);
        assert!(b.level(pic.intr));
    }

    #[test]
    fn the_slave_asks_through_the_master() {
        let (mut b, pic) = pair();
        b.pulse(pic.irq.get(8));
        b.pulse(pic.irq.get(14));
        assert_eq!(b.ack_interrupt(), Some(0x70));
        assert_eq!((isr(&mut b, 0x20), isr(&mut b, 0xa0)), (0x04, 0x01));
        b.outb(0xa0, 0x20);
        b.outb(0x20, 0x20);
        assert_eq!(b.ack_interrupt(), Some(0x76));
    }

    #[test]
    fn under_automatic_eoi_every_slave_request_is_seen() {
        let (mut b, pic) = pair();
        init(&mut b, 0x03);
        for n in [9, 10, 11] {
            b.pulse(pic.irq.get(n));
        }
        assert_eq!([0; 3].map(|_| b.ack_interrupt()), [Some(0x71), Some(0x72), Some(0x73)]);
        assert!(!b.level(pic.intr));
        assert_eq!((isr(&mut b, 0x20), isr(&mut b, 0xa0)), (0, 0));
    }

    #[test]
    fn special_fully_nested_mode_lets_the_slave_interrupt_itself() {
        for (icw4, nested) in [(0x01, false), (0x11, true)] {
            let (mut b, pic) = pair();
            init(&mut b, icw4);
            b.pulse(pic.irq.get(10));
            assert_eq!(b.ack_interrupt(), Some(0x72));
            b.pulse(pic.irq.get(8));
            assert_eq!(b.level(pic.intr), nested);
        }
    }

    #[test]
    fn spurious_requests_give_level_7_of_whoever_asked() {
        let (mut b, pic) = pair();
        assert_eq!(b.ack_interrupt(), Some(0x0f));
        assert_eq!(isr(&mut b, 0x20), 0);
        b.outb(0x4d1, 0x02);
        b.drive(pic.irq.get(9), true);
        b.drive(pic.irq.get(9), false);
        assert_eq!(b.ack_interrupt(), Some(0x77));
        assert_eq!((isr(&mut b, 0x20), isr(&mut b, 0xa0)), (0x04, 0), "only the master waits for an EOI");
    }

    #[test]
    fn level_triggered_inputs_follow_the_pin() {
        let (mut b, pic) = pair();
        b.outw(0x4d0, 0xffff);
        assert_eq!(b.inw(0x4d0), 0xdef8, "some inputs are edge-triggered for good");
        b.drive(pic.irq.get(5), true);
        assert_eq!(b.ack_interrupt(), Some(0x0d));
        b.outb(0x20, 0x20);
        assert!(b.level(pic.intr), "still asserted");
        b.drive(pic.irq.get(5), false);
        assert!(!b.level(pic.intr));
        b.drive(pic.irq.get(5), true);
        init(&mut b, 0x01);
        assert!(b.level(pic.intr), "initialization forgets edges, not levels");
        b.reset();
        assert_eq!(b.inw(0x4d0), 0);
    }

    #[test]
    fn a_slave_that_asks_survives_the_masters_initialization() {
        let (mut b, pic) = pair();
        b.pulse(pic.irq.get(9));
        for v in [0x08, 0x04, 0x01, 0x00] {
            if v == 0x08 {
                b.outb(0x20, 0x11);
            }
            b.outb(0x21, v);
        }
        assert_eq!(b.ack_interrupt(), Some(0x71));
    }

    #[test]
    fn priorities_rotate() {
        let (mut b, pic) = pair();
        b.outb(0x20, 0xc4); // IR4 lowest, so IR5 highest
        b.pulse(pic.irq.get(1));
        b.pulse(pic.irq.get(6));
        assert_eq!(b.ack_interrupt(), Some(0x0e));
        b.outb(0x20, 0xa0); // rotate on non-specific EOI: IR6 lowest
        b.pulse(pic.irq.get(7));
        b.pulse(pic.irq.get(6));
        assert_eq!(b.ack_interrupt(), Some(0x0f));
        b.outb(0x20, 0xe7); // rotate on specific EOI: IR7 lowest
        assert_eq!(b.ack_interrupt(), Some(0x09));
        b.outb(0x20, 0x20);
        assert_eq!(b.ack_interrupt(), Some(0x0e));
    }

    #[test]
    fn automatic_eoi_can_rotate() {
        let (mut b, pic) = pair();
        init(&mut b, 0x03);
        b.outb(0x20, 0x80);
        b.pulse(pic.irq.get(0));
        assert_eq!(b.ack_interrupt(), Some(0x08));
        b.pulse(pic.irq.get(0));
        b.pulse(pic.irq.get(3));
        assert_eq!(b.ack_interrupt(), Some(0x0b));
        b.outb(0x20, 0x00);
        assert_eq!(b.ack_interrupt(), Some(0x08));
    }

    #[test]
    fn special_mask_mode_opens_all_other_levels() {
        let (mut b, pic) = pair();
        b.pulse(pic.irq.get(3));
        assert_eq!(b.ack_interrupt(), Some(0x0b));
        b.outb(0x20, 0x68);
        b.outb(0x21, 0x08);
        b.pulse(pic.irq.get(5));
        assert_eq!(b.ack_interrupt(), Some(0x0d));
        b.outb(0x20, 0x48);
        b.pulse(pic.irq.get(6));
        assert!(!b.level(pic.intr));
    }

    #[test]
    fn polling_acknowledges() {
        let (mut b, pic) = pair();
        b.outb(0x20, 0x0c);
        assert_eq!(b.inb(0x20), 0);
        b.pulse(pic.irq.get(6));
        b.outb(0x20, 0x0c);
        assert_eq!(b.inb(0x20), 0x86);
        assert_eq!(isr(&mut b, 0x20), 0x40);
        assert!(!b.level(pic.intr));
    }

    #[test]
    fn a_single_chip_takes_no_icw3() {
        let (mut b, pic) = pair();
        b.outb(0x20, 0x12);
        b.outb(0x21, 0x47);
        b.outb(0x21, 0xff);
        assert_eq!(b.inb(0x21), 0xff);
        b.pulse(pic.irq.get(0));
        assert!(!b.level(pic.intr));
        b.outb(0x21, 0xfe);
        assert_eq!(b.ack_interrupt(), Some(0x40));
    }
}
