//! The bench: devices driven by a Rust test, in process.

use crate::{BenchChardev, Messages};
use gearbox_core::board::state::{SavedState, StateError};
use gearbox_core::board::{
    Board, BoardState, Cx, Device, DeviceId, DeviceSpec, Line, Pin, RealizeError, Realized, ResetKind, SystemRequest,
};
use gearbox_core::clock::{ClockSource, ManualClock};
use gearbox_core::machine::{BuildError, MachineConfig, MachineType, Wiring};
use gearbox_core::mem::RamBlock;
use gearbox_core::vm::CpuBus;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A change of a watched line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The line.
    pub line: Line,
    /// Its new level.
    pub level: bool,
    /// Machine time of the change in ns.
    pub ns: u64,
}

/// A board without a CPU, in the hands of a test: it stands in for the CPU (ports, memory, interrupt acknowledge), for the
/// crystal (the clock moves only when told) and for whatever is wired to the devices' pins.
///
/// Nothing is shared between benches and none has a thread, so that tests run in parallel.
///
/// ```
/// use gearbox_accel_qtest::Bench;
///
/// let mut b = Bench::with_ram(0x10000);
/// b.writel(0x100, 0x1234_5678);
/// assert_eq!(b.readb(0x101), 0x56);
/// assert_eq!(b.readw(0x10_0000), 0xffff); // nothing there
/// assert_eq!(b.inb(0x80), 0xff);
/// b.clock_step_ns(1_000_000);
/// assert_eq!(b.clock_ns(), 1_000_000);
/// ```
pub struct Bench {
    board: Arc<Board>,
    clock: Arc<dyn ClockSource>,
    messages: Arc<Messages>,
    edges: Arc<Mutex<Vec<Edge>>>,
    wiring: Wiring,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

macro_rules! accessors {
    ($($width:literal $ty:ident: $inp:ident $outp:ident;)*) => {$(
        #[doc = concat!("IN of ", $width, ".")]
        pub fn $inp(&self, port: u16) -> $ty {
            self.board.pio_in(port, size_of::<$ty>() as u8) as $ty
        }
        #[doc = concat!("OUT of ", $width, ".")]
        pub fn $outp(&mut self, port: u16, value: $ty) {
            self.board.pio_out(port, size_of::<$ty>() as u8, value.into());
        }
    )*};
    (memory $($width:literal $ty:ident: $read:ident $write:ident;)*) => {$(
        #[doc = concat!("Load of ", $width, ".")]
        pub fn $read(&self, addr: u64) -> $ty {
            let mut b = [0; size_of::<$ty>()];
            self.board.mmio_read(addr, &mut b);
            $ty::from_le_bytes(b)
        }
        #[doc = concat!("Store of ", $width, ".")]
        pub fn $write(&mut self, addr: u64, value: $ty) {
            self.board.mmio_write(addr, &value.to_le_bytes());
        }
    )*};
}

impl Bench {
    /// An empty board: no RAM, no device, machine time 0.
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let messages = Arc::new(Messages::new());
        Self::around(Board::new(clock, messages.clone()), messages)
    }
    /// An empty board with `size` bytes of RAM at address 0.
    ///
    /// # Panics
    /// The host has no memory for it.
    pub fn with_ram(size: u64) -> Self {
        let bench = Self::new();
        let ram = RamBlock::new("ram", size).expect("memory for the bench's RAM");
        bench.board.with(|s| {
            let tree = s.memory();
            let region = tree.ram(&ram, 0, size);
            tree.map(tree.root(), 0, region, 0);
        });
        bench
    }
    /// A whole machine as its board file builds it, after power-on. No firmware and no kernel is started: there is no CPU.
    ///
    /// # Errors
    /// What in the configuration the machine cannot honour.
    pub fn of(machine: &dyn MachineType, config: &MachineConfig) -> Result<Self, BuildError> {
        let mut bench = Self::new();
        bench.wiring = gearbox_core::machine::build(machine, config, &bench.board)?;
        bench.with(|s| s.reset(ResetKind::Power));
        Ok(bench)
    }
    /// A bench around a board that somebody else made, on a clock that is moved by hand and with `messages` as the target of its
    /// message-signalled interrupts.
    pub fn around(board: Arc<Board>, messages: Arc<Messages>) -> Self {
        let clock = board.clock().clone();
        Self { board, clock, messages, edges: Arc::default(), wiring: Wiring::default() }
    }
    /// A character back end to give to a device.
    pub fn chardev() -> Arc<BenchChardev> {
        BenchChardev::new()
    }
    /// What a whole machine offers to a CPU and a user; empty for a bench of single devices.
    pub fn wiring(&self) -> &Wiring {
        &self.wiring
    }
    /// The board.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Puts a device on the board, in its state after power-on.
    ///
    /// # Errors
    /// As [`BoardState::realize`].
    pub fn realize<S: DeviceSpec>(&mut self, spec: S) -> Result<Realized<S::Pins>, RealizeError> {
        self.with(|s| {
            let made = s.realize("/machine/unattached/device[*]", spec)?;
            s.call(made.id, |d, cx| d.reset(cx, ResetKind::Power));
            Ok(made)
        })
    }
    /// Wires an output to an input.
    pub fn connect(&mut self, line: Line, pin: Pin) {
        self.with(|s| s.connect(line, pin));
    }
    /// System reset of every device.
    pub fn reset(&mut self) {
        self.with(|s| s.reset(ResetKind::System));
    }
    /// Goes on from where `other`, which has the same devices, is now: its memory and its saved state are loaded.
    ///
    /// # Errors
    /// `other` cannot be saved, or this one is not the same.
    pub fn take_over(&mut self, other: &Self) -> Result<(), StateError> {
        let state = other.board.save()?;
        for (from, to) in other.with(|s| s.memory().blocks()).iter().zip(self.with(|s| s.memory().blocks())) {
            let mut bytes = vec![0; from.size().min(to.size()) as usize];
            from.read(0, &mut bytes);
            to.write(0, &bytes);
        }
        // As a file would have it.
        self.board.load(&SavedState::from_bytes(&state.to_bytes())?)
    }
    /// Runs `f` with the board locked.
    pub fn with<R>(&self, f: impl FnOnce(&mut BoardState) -> R) -> R {
        self.board.with(f)
    }
    /// Looks at a device as the value that it is.
    ///
    /// # Panics
    /// Device `id` is not a `D`.
    pub fn device<D: Device, R>(&self, id: DeviceId, f: impl FnOnce(&mut D) -> R) -> R {
        self.with(|s| f(s.device(id).expect("a device of this type")))
    }
    /// Calls a device with its context, as the board does.
    pub fn call<R>(&mut self, id: DeviceId, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        self.with(|s| s.call(id, f))
    }

    accessors! {
        "a byte" u8: inb outb;
        "a word" u16: inw outw;
        "a doubleword" u32: inl outl;
    }
    accessors! { memory
        "a byte" u8: readb writeb;
        "a word" u16: readw writew;
        "a doubleword" u32: readl writel;
        "a quadword" u64: readq writeq;
    }
    /// Loads bytes.
    pub fn read(&self, addr: u64, data: &mut [u8]) {
        self.board.mmio_read(addr, data);
    }
    /// Stores bytes.
    pub fn write(&mut self, addr: u64, data: &[u8]) {
        self.board.mmio_write(addr, data);
    }

    /// Level of an output.
    pub fn level(&self, line: Line) -> bool {
        self.with(|s| s.level(line))
    }
    /// Drives an input.
    pub fn drive(&mut self, pin: Pin, level: bool) {
        self.with(|s| s.drive(pin, level));
    }
    /// Drives an input high, then low.
    pub fn pulse(&mut self, pin: Pin) {
        self.drive(pin, true);
        self.drive(pin, false);
    }
    /// Records changes of `line` from now on, for [`Bench::edges`].
    pub fn watch(&mut self, line: Line) {
        let (edges, clock) = (self.edges.clone(), self.clock.clone());
        self.with(|s| {
            s.connect_fn(line, move |level| edges.lock().push(Edge { line, level, ns: clock.now() }));
        });
    }
    /// Takes the changes of watched lines so far, in order.
    pub fn edges(&mut self) -> Vec<Edge> {
        std::mem::take(&mut *self.edges.lock())
    }
    /// The interrupt-acknowledge cycle of a CPU: the vector that the 8259A pair gives.
    pub fn ack_interrupt(&mut self) -> Option<u8> {
        self.board.ack_interrupt()
    }
    /// A local APIC's EOI broadcast.
    pub fn eoi(&mut self, vector: u8) {
        self.board.eoi(vector);
    }
    /// Takes the message-signalled interrupts sent so far, as (address, data).
    pub fn messages(&mut self) -> Vec<(u64, u32)> {
        self.messages.take()
    }
    /// The route that the I/O APIC announced for a pin.
    pub fn route(&self, pin: u32) -> Option<(u64, u32)> {
        self.messages.route(pin)
    }
    /// Takes what devices asked of the machine so far.
    pub fn requests(&mut self) -> Vec<SystemRequest> {
        std::iter::from_fn(|| self.board.wait_request(Some(Duration::ZERO))).collect()
    }

    /// Machine time in ns.
    pub fn clock_ns(&self) -> u64 {
        self.clock.now()
    }
    /// Moves the clock on by `ns`; timers fire on the way, each at its own time.
    pub fn clock_step_ns(&mut self, ns: u64) {
        self.clock_set_ns(self.clock_ns().saturating_add(ns));
    }
    /// Moves the clock on to `ns`.
    ///
    /// # Panics
    /// The clock is not one that is moved by hand.
    pub fn clock_set_ns(&mut self, ns: u64) {
        assert!(self.board.step_clock(ns), "a bench needs a clock that is moved by hand");
    }
    /// Moves the clock on to the next timer and returns the time; it stands still when no timer is armed.
    pub fn clock_step(&mut self) -> u64 {
        if let Some(next) = self.board.next_deadline() {
            self.clock_set_ns(next);
        }
        self.clock_ns()
    }
    /// When the next timer is due.
    pub fn deadline(&self) -> Option<u64> {
        self.board.next_deadline()
    }
}
