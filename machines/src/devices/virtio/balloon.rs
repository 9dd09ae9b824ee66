//! `virtio-balloon`: memory that the guest does without goes back to the host (5.5).
//!
//! The host says how many pages it wants; the driver names those that it gives, and those that it takes back. The driver's figures about its memory
//! come when they are asked for: what they are is a property of the device.

use super::chain::Chain;
use super::pci::{Flavour, Function, Identity, OnOffAuto, VirtioPci, virtio_pci};
use super::transport::{Io, VirtioDevice};
use super::{Generic, NonTransitional, Transitional};
use gearbox_core::board::{Cx, DeviceSpec, Realize, RealizeError, Saved, Timer};
use gearbox_core::event::Event;
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo, Value};
use gearbox_core::{pci_properties, property};
use std::time::{SystemTime, UNIX_EPOCH};
use virtio_bindings::virtio_ids::{VIRTIO_ID_BALLOON, VIRTIO_TRANS_ID_BALLOON};

/// Features (5.5.3).
const STATISTICS: u32 = 1;
const DEFLATE_ON_OOM: u32 = 2;
const PAGE_POISON: u32 = 4;
const REPORTING: u32 = 5;
/// A device of no class.
const CLASS: u32 = 0x00_ff_00;
/// Queues, and the elements of each.
const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
const STATS: u16 = 2;
const FREE: u16 = 3;
const QUEUE_SIZE: u16 = 128;
const FREE_QUEUE_SIZE: u16 = 32;
/// log2 of the bytes of a page, whatever the guest's pages are.
const PAGE_SHIFT: u32 = 12;
const PAGE: u64 = 1 << PAGE_SHIFT;
/// Most bytes of page numbers in one request. Linux's have 1 KiB.
const MOST_NUMBERS: usize = 64 << 10;
/// Fields of the configuration: pages wanted, pages given, a command that is not used, what free pages are filled with.
const ACTUAL: usize = 4;
const POISON: usize = 12;
const SECOND: u64 = 1_000_000_000;

/// The driver's figures by their numbers (5.5.6.3), as users know them.
const FIGURES: [&str; 10] = [
    "stat-swap-in",
    "stat-swap-out",
    "stat-major-faults",
    "stat-minor-faults",
    "stat-free-memory",
    "stat-total-memory",
    "stat-available-memory",
    "stat-disk-caches",
    "stat-htlb-pgalloc",
    "stat-htlb-pgfail",
];
/// Bytes of one: number and value.
const FIGURE: usize = 10;

/// The balloon.
#[derive(Clone, Debug)]
pub struct Balloon {
    /// The guest may take pages back when it would run out of memory otherwise.
    pub deflate_on_oom: bool,
    /// The guest tells which pages it does not use.
    pub free_page_reporting: bool,
    /// The guest says what it fills free pages with.
    pub page_poison: bool,
}

impl Default for Balloon {
    fn default() -> Self {
        Self { deflate_on_oom: false, free_page_reporting: false, page_poison: true }
    }
}

/// The device.
pub struct BalloonDevice {
    kind: Balloon,
    ram_size: u64,
    /// Pages that the host wants, and that the guest says it has given.
    wanted: u32,
    actual: u32,
    poison: u32,
    /// The driver's figures; all ones for those that it has not given.
    figures: [u64; FIGURES.len()],
    /// When they came, in seconds since 1970; 0 if they have not.
    updated: u64,
    /// The buffer in which they came, which is given back to ask for new ones.
    asks: Option<Chain>,
    /// How often they are asked for, in seconds; 0 for never.
    interval: u32,
    timer: Timer,
}

impl BalloonDevice {
    fn left(&self) -> u64 {
        self.ram_size.saturating_sub(u64::from(self.actual) << PAGE_SHIFT)
    }
    fn set_actual(&mut self, cx: &Cx<'_>, actual: u32) {
        if std::mem::replace(&mut self.actual, actual) != actual {
            cx.emit(&Event::BalloonChange { actual: self.left() });
        }
    }
    /// Pages by their numbers. Those that the driver takes back come by themselves when they are touched.
    fn pages(io: &mut Io<'_, '_>, queue: u16, chain: &Chain) {
        if queue == INFLATE {
            if chain.readable.len() > MOST_NUMBERS as u64 {
                io.cx.guest_error(format_args!("more than {} pages are given at a time", MOST_NUMBERS / 4));
            }
            let numbers = chain.readable.bytes(io.cx, MOST_NUMBERS).unwrap_or_default();
            for number in numbers.as_chunks().0 {
                discard(io, u64::from(u32::from_le_bytes(*number)) << PAGE_SHIFT);
            }
        }
        io.push(queue, chain.head, 0);
    }
    /// Ranges of pages that nobody uses. What a driver relies on to find in them is not taken away.
    fn free(&self, io: &mut Io<'_, '_>, chain: Chain) {
        let head = chain.head;
        if !io.has(PAGE_POISON) || self.poison == 0 {
            for range in chain.writable.into_inner() {
                let end = (range.addr + range.len) & !(PAGE - 1);
                (range.addr.next_multiple_of(PAGE)..end).step_by(PAGE as usize).for_each(|at| discard(io, at));
            }
        }
        io.push(FREE, head, 0);
    }
    fn take_figures(&mut self, io: &mut Io<'_, '_>) {
        while let Some(chain) = io.pop(STATS) {
            let most = FIGURES.len() * FIGURE;
            for figure in chain.readable.bytes(io.cx, most).unwrap_or_default().as_chunks::<FIGURE>().0 {
                let [t0, t1, value @ ..] = *figure;
                if let Some(place) = self.figures.get_mut(usize::from(u16::from_le_bytes([t0, t1]))) {
                    *place = u64::from_le_bytes(value);
                }
            }
            self.updated = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
            // There is one at a time.
            if let Some(older) = self.asks.replace(chain) {
                io.push(STATS, older.head, 0);
            }
        }
        io.interrupt(STATS);
        self.arm(io.cx);
    }
    fn arm(&self, cx: &mut Cx<'_>) {
        match self.interval {
            0 => cx.disarm(self.timer),
            seconds => cx.arm(self.timer, cx.now().saturating_add(u64::from(seconds) * SECOND)),
        }
    }
    /// Sets how often the driver is asked for its figures.
    fn set_interval(&mut self, cx: &mut Cx<'_>, value: &Value) -> Result<(), String> {
        let seconds = value.as_i64().ok_or("expected an integer")?;
        if seconds < 0 {
            return Err("timer value must be greater than zero".to_owned());
        }
        self.interval = u32::try_from(seconds).map_err(|_| "timer value is too big")?;
        match self.interval {
            0 => cx.disarm(self.timer),
            _ => cx.arm(self.timer, cx.now()),
        }
        Ok(())
    }
    fn statistics(&self) -> Value {
        let figures = FIGURES.iter().zip(self.figures).map(|(name, n)| ((*name).to_owned(), n.into()));
        let all = [("stats", Value::Object(figures.collect())), ("last-update", self.updated.into())];
        Value::Object(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// Gives a page of the guest's back to the host.
fn discard(io: &mut Io<'_, '_>, at: u64) {
    if io.cx.address_space().discard_page(at).is_err() {
        io.cx.guest_error(format_args!("a page at {at:#x} is given, where there is no RAM"));
    }
}

impl VirtioDevice for BalloonDevice {
    fn saved(&mut self) -> Saved<'_> {
        // Figures are the host's to ask for again.
        let Self { kind: _, ram_size: _, wanted, actual, poison, figures: _, updated: _, asks, interval, timer: _ } =
            self;
        Saved::sound(asks, |asks| asks.as_ref().is_none_or(Chain::is_sound))
            .and(Saved::of((wanted, actual, poison, interval)))
    }
    fn loaded(&mut self) {
        (self.figures, self.updated) = ([u64::MAX; FIGURES.len()], 0);
    }
    fn features(&self) -> u64 {
        let optional = [
            (DEFLATE_ON_OOM, self.kind.deflate_on_oom),
            (PAGE_POISON, self.kind.page_poison),
            (REPORTING, self.kind.free_page_reporting),
        ];
        optional.iter().fold(1 << STATISTICS, |all, (n, on)| all | u64::from(*on) << n)
    }
    fn config(&self) -> Vec<u8> {
        let mut fields = vec![self.wanted, self.actual];
        if self.kind.page_poison {
            fields.extend([0, self.poison]);
        }
        fields.into_iter().flat_map(u32::to_le_bytes).collect()
    }
    fn write_config(&mut self, io: &mut Io<'_, '_>, offset: usize, data: &[u8]) {
        let mut config = self.config();
        config[offset..offset + data.len()].copy_from_slice(data);
        let field = |at: usize| config[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        if self.kind.page_poison {
            self.poison = field(POISON).unwrap_or_default();
        }
        if let Some(actual) = field(ACTUAL) {
            self.set_actual(io.cx, actual);
        }
    }
    fn notified(&mut self, io: &mut Io<'_, '_>, queue: u16) {
        match queue {
            INFLATE | DEFLATE => io.serve(queue, |io, chain| Self::pages(io, queue, &chain)),
            STATS => self.take_figures(io),
            FREE => io.serve(queue, |io, chain| self.free(io, chain)),
            _ => {}
        }
    }
    /// Linux puts its first figures in the queue before it says that it is ready.
    fn start(&mut self, io: &mut Io<'_, '_>) {
        self.take_figures(io);
    }
    /// What the driver had given is its own again.
    fn reset(&mut self, cx: &mut Cx<'_>) {
        (self.asks, self.poison) = (None, 0);
        self.set_actual(cx, 0);
    }
    /// It is time to ask for figures.
    fn timer(&mut self, io: &mut Io<'_, '_>, _tag: u32) {
        match self.asks.take() {
            Some(chain) => {
                io.push(STATS, chain.head, 0);
                io.interrupt(STATS);
            }
            // The driver has not answered yet.
            None => self.arm(io.cx),
        }
    }
    fn balloon_size(&self) -> u64 {
        self.left()
    }
    fn set_balloon_size(&mut self, io: &mut Io<'_, '_>, bytes: u64) {
        self.wanted = u32::try_from(self.ram_size.saturating_sub(bytes) >> PAGE_SHIFT).unwrap_or(u32::MAX);
        io.config_changed();
    }
}

impl<F: Flavour> VirtioPci<Balloon, F> {
    fn make(self, r: &mut Realize<'_>) -> Result<(Function<BalloonDevice>, ()), RealizeError> {
        if !r.balloon() {
            r.refuse("Only one balloon device is supported".to_owned());
        }
        let mut queues = vec![QUEUE_SIZE; 3];
        if self.kind.free_page_reporting {
            queues.push(FREE_QUEUE_SIZE);
        }
        let identity = Identity {
            kind: VIRTIO_ID_BALLOON as u16,
            transitional: VIRTIO_TRANS_ID_BALLOON as u16,
            class: CLASS,
            queues,
            vectors: 0,
        };
        let device = BalloonDevice {
            kind: self.kind.clone(),
            ram_size: r.ram_size(),
            wanted: 0,
            actual: 0,
            poison: 0,
            figures: [u64::MAX; FIGURES.len()],
            updated: 0,
            asks: None,
            interval: 0,
            timer: r.timer(0),
        };
        r.dynamic_property::<Function<BalloonDevice>>(
            "guest-stats",
            "guest statistics",
            "what the guest says of its memory",
            |function, _| function.device.statistics(),
            None,
        );
        r.dynamic_property::<Function<BalloonDevice>>(
            "guest-stats-polling-interval",
            "int",
            "how often it is asked, in seconds; 0 for never",
            |function, _| function.device.interval.into(),
            Some(|function, cx, value| function.device.set_interval(cx, value)),
        );
        self.realize_as(r, identity, device)
    }
}

virtio_pci! { Balloon, BalloonDevice, Misc, "virtio-balloon-pci", "memory that the guest gives back", &[
    property!("deflate-on-oom", bool, kind.deflate_on_oom, "the guest may take memory back before it runs out of it"),
    property!("free-page-reporting", bool, kind.free_page_reporting, "the guest tells which pages it does not use"),
    property!("page-poison", bool, kind.page_poison, "the guest says what it fills free pages with"),
] }
