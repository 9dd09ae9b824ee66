//! The APIC bus: the local APICs of one VM, and the routing of messages between them. It needs no board lock.

use super::lapic::{DeliveryMode, Destination, Effect, Lapic, Message};
use crate::vm::MsiSink;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One local APIC on the bus.
pub struct LapicPort {
    lapic: Mutex<Lapic>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl LapicPort {
    /// The APIC. Hold it for one access only, and never while sending on the bus.
    pub fn lock(&self) -> MutexGuard<'_, Lapic> {
        self.lapic.lock()
    }
    /// Applies `f`, and wakes the CPU when `f` says that it has something new to look at.
    pub fn update(&self, f: impl FnOnce(&mut Lapic) -> bool) {
        if f(&mut self.lock()) {
            (self.wake)();
        }
    }
}

/// The local APICs of one VM.
#[derive(Default)]
pub struct LapicBus {
    ports: RwLock<Vec<Arc<LapicPort>>>,
    /// Rotates the choice among equals in lowest-priority delivery.
    turn: AtomicUsize,
}

impl LapicBus {
    /// A bus without CPUs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an APIC on the bus. `wake` is called, on any thread and without a lock held, when the CPU should look at its APIC.
    pub fn attach(&self, lapic: Lapic, wake: impl Fn() + Send + Sync + 'static) -> Arc<LapicPort> {
        let port = Arc::new(LapicPort { lapic: Mutex::new(lapic), wake: Box::new(wake) });
        self.ports.write().push(port.clone());
        port
    }

    /// Takes an APIC off the bus.
    pub fn detach(&self, port: &Arc<LapicPort>) {
        self.ports.write().retain(|p| !Arc::ptr_eq(p, port));
    }

    /// Delivers `message`, sent by `sender` (`None` for an MSI). Returns how many APICs were addressed.
    pub fn send(&self, sender: Option<&LapicPort>, message: Message) -> usize {
        let ports = self.ports.read();
        let is_sender = |p: &LapicPort| sender.is_some_and(|s| std::ptr::eq(s, p));
        let addressed = |p: &LapicPort| {
            !(message.dest == Destination::AllButSelf && is_sender(p)) && p.lock().matches(message.dest)
        };
        let deliver = |p: &LapicPort| p.update(|l| l.accept(message.mode, message.vector, message.trigger));
        if message.mode == DeliveryMode::LowestPriority {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % ports.len().max(1);
            let candidates = ports[first..].iter().chain(&ports[..first]).filter(|p| addressed(p));
            let able = candidates.filter(|p| p.lock().accepts_fixed());
            let chosen = able.min_by_key(|p| p.lock().arbitration_priority());
            return chosen.map_or(0, |p| {
                deliver(p);
                1
            });
        }
        ports.iter().filter(|p| addressed(p)).map(|p| deliver(p)).count()
    }

    /// Routes what an access to `sender`'s registers made it send. An EOI is returned: it is for the I/O APICs.
    #[must_use = "an EOI is to be passed to the I/O APICs"]
    pub fn route(&self, sender: &LapicPort, effect: Effect) -> Option<u8> {
        match effect {
            Effect::Ipi(message) => {
                self.send(Some(sender), message);
                None
            }
            Effect::Eoi(vector) => Some(vector),
        }
    }
}

impl MsiSink for LapicBus {
    fn send_msi(&self, addr: u64, data: u32) {
        match Message::from_msi(addr, data) {
            Some(message) => {
                self.send(None, message);
            }
            None => tracing::debug!(target: "guest_error", "MSI that is no interrupt message: {data:#x} to {addr:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86::lapic::{Trigger, apic_base};

    struct Rig {
        bus: LapicBus,
        cpus: Vec<Arc<LapicPort>>,
        woken: Vec<Arc<AtomicUsize>>,
    }

    fn rig(n: u32) -> Rig {
        let mut r = Rig { bus: LapicBus::new(), cpus: Vec::new(), woken: Vec::new() };
        for id in 0..n {
            let count = Arc::new(AtomicUsize::new(0));
            let c = count.clone();
            let port = r.bus.attach(Lapic::new(id, id == 0, true), move || {
                c.fetch_add(1, Ordering::Relaxed);
            });
            port.lock().write(0xf0, 0x1ff, 0);
            r.cpus.push(port);
            r.woken.push(count);
        }
        r
    }

    impl Rig {
        fn ipi(&self, from: usize, high: u32, low: u32) {
            self.cpus[from].lock().write(0x310, high, 0);
            let effect = self.cpus[from].lock().write(0x300, low, 0);
            if let Some(e) = effect {
                assert_eq!(self.bus.route(&self.cpus[from], e), None);
            }
        }
        fn got(&self) -> Vec<Option<u8>> {
            self.cpus.iter().map(|c| c.lock().pending()).collect()
        }
    }

    #[test]
    fn physical_and_shorthands() {
        let r = rig(3);
        r.ipi(0, 2 << 24, 0x4041);
        assert_eq!(r.got(), [None, None, Some(0x41)]);
        r.ipi(0, 0, 0xc_4052);
        assert_eq!(r.got(), [None, Some(0x52), Some(0x52)]);
        r.ipi(1, 0, 0x4_4063);
        assert_eq!(r.got(), [None, Some(0x63), Some(0x52)]);
        r.ipi(1, 0xff << 24, 0x4074);
        assert_eq!(r.got(), [Some(0x74); 3]);
        assert_eq!(r.woken[0].load(Ordering::Relaxed), 1);
        assert_eq!(r.woken[2].load(Ordering::Relaxed), 3);
    }

    #[test]
    fn logical_flat_and_cluster() {
        let r = rig(3);
        for (i, c) in r.cpus.iter().enumerate() {
            c.lock().write(0xd0, 1 << (24 + i), 0);
        }
        r.ipi(0, 0b110 << 24, 0x4841);
        assert_eq!(r.got(), [None, Some(0x41), Some(0x41)]);
        for (i, c) in r.cpus.iter().enumerate() {
            c.lock().write(0xe0, 0x0fff_ffff, 0);
            c.lock().write(0xd0, (0x10 * (i as u32 / 2 + 1) + (1 << (i % 2))) << 24, 0);
        }
        // Cluster 1 holds CPUs 0 and 1, cluster 2 holds CPU 2; cluster 15 is all.
        r.ipi(0, 0x11 << 24, 0x4852);
        assert_eq!(r.got(), [Some(0x52), Some(0x41), Some(0x41)]);
        r.ipi(0, 0xf1 << 24, 0x4863);
        assert_eq!(r.got(), [Some(0x63), Some(0x41), Some(0x63)]);
    }

    #[test]
    fn x2apic_reaches_clusters_and_broadcasts() {
        let r = rig(18);
        for c in &r.cpus {
            let base = c.lock().apic_base();
            c.lock().set_apic_base(base | apic_base::EXTD, 40).unwrap();
        }
        let send = |icr: u64| {
            let e = r.cpus[0].lock().write_msr(0x830, icr, 0).unwrap();
            assert_eq!(r.bus.route(&r.cpus[0], e.unwrap()), None);
        };
        send((1 << 16 | 0b10) << 32 | 0x4841);
        assert_eq!(r.got().iter().filter_map(|&v| v).collect::<Vec<_>>(), [0x41]);
        assert_eq!(r.got()[17], Some(0x41));
        send(0xffff_ffff << 32 | 0x4052);
        assert!(r.got().iter().all(|&v| v == Some(0x52)));
    }

    #[test]
    fn lowest_priority_picks_one_by_priority_then_in_turn() {
        let r = rig(2);
        for c in &r.cpus {
            c.lock().write(0xd0, 0x0100_0000, 0);
        }
        r.cpus[0].lock().write(0x80, 0x20, 0);
        r.bus.send_msi(0xfee0_100c, 0x0100 | 0x61);
        assert_eq!(r.got(), [None, Some(0x61)]);
        r.cpus[0].lock().write(0x80, 0, 0);
        r.cpus[1].lock().acknowledge();
        r.cpus[1].lock().write(0xb0, 0, 0);
        for v in [0x71, 0x72] {
            r.bus.send_msi(0xfee0_100c, 0x0100 | v);
        }
        assert_eq!(r.got().iter().flatten().count(), 2);
    }

    #[test]
    fn level_msi_comes_back_as_eoi() {
        let r = rig(1);
        r.bus.send(
            None,
            Message {
                mode: DeliveryMode::Fixed,
                vector: 0x51,
                trigger: Trigger::Level,
                dest: Destination::Physical(0),
            },
        );
        assert_eq!(r.cpus[0].lock().acknowledge(), 0x51);
        let e = r.cpus[0].lock().write(0xb0, 0, 0).unwrap();
        assert_eq!(r.bus.route(&r.cpus[0], e), Some(0x51));
    }

    #[test]
    fn init_and_startup_arrive_in_order() {
        let r = rig(2);
        r.ipi(0, 1 << 24, 0xc500);
        r.ipi(0, 1 << 24, 0x8500);
        r.ipi(0, 1 << 24, 0x4609);
        let e = r.cpus[1].lock().events();
        assert_eq!((e.init, e.startup), (true, Some(9)));
    }
}
