//! The vCPUs of one VM, as they and others reach all of them.

use crate::cpu::Cpu;
use crate::exclusive::Exclusive;
use crate::handle::{Shared, event};
use gearbox_core::mem::{FlatRange, MemoryListener, RamBlock};
use parking_lot::RwLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// All vCPUs of a VM.
#[derive(Default)]
pub(crate) struct Peers {
    vcpus: RwLock<Vec<Weak<Shared>>>,
    count: AtomicUsize,
    /// How often the flat view has changed.
    views: AtomicU64,
    /// Sections in which one of them is alone.
    pub(crate) exclusive: Exclusive,
}

impl Peers {
    /// Adds a vCPU.
    pub(crate) fn add(&self, s: &Arc<Shared>) {
        let mut all = self.vcpus.write();
        all.retain(|s| s.strong_count() > 0);
        all.push(Arc::downgrade(s));
        self.count.store(all.len(), Ordering::SeqCst);
    }
    /// Is there only one?
    pub(crate) fn single(&self) -> bool {
        self.count.load(Ordering::Relaxed) < 2
    }
    /// Does something to each of them.
    pub(crate) fn each(&self, f: impl Fn(&Shared)) {
        self.vcpus.read().iter().filter_map(Weak::upgrade).for_each(|s| f(&s));
    }
    /// Does something to each but `me`.
    pub(crate) fn others(&self, me: &Shared, f: impl Fn(&Shared)) {
        self.each(|s| {
            if !std::ptr::eq(s, me) {
                f(s);
            }
        });
    }
    /// How often the flat view has changed.
    pub(crate) fn views(&self) -> u64 {
        self.views.load(Ordering::SeqCst)
    }
}

impl MemoryListener for Peers {
    fn removed(&self, _range: &FlatRange) {}
    fn commit(&self) {
        self.views.fetch_add(1, Ordering::SeqCst);
        self.each(|s| s.post(event::MEMORY));
    }
    fn code_written(&self, block: &Arc<RamBlock>, offset: u64, len: u64) {
        let start = (block.host_ptr() as usize).wrapping_add(offset as usize);
        self.each(|s| s.code_changed(start, len as usize));
    }
}

impl Cpu {
    /// Does `f` while all other vCPUs stand between two instructions. What they did until then is in force for `f`, and what `f` posts to
    /// them is seen before they go on.
    pub(crate) fn alone<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> R {
        if self.peers.single() {
            return f(self);
        }
        let peers = self.peers.clone();
        let me = self.shared.clone();
        let _alone = peers.exclusive.alone(|| peers.others(&me, |s| s.post(event::EXCLUSIVE)));
        // Another one may have been alone before.
        let events = self.shared.take_only(event::TRANSLATIONS);
        self.refresh_translations(events);
        f(self)
    }
    /// Takes the events that change translations.
    pub(crate) fn refresh_translations(&mut self, events: u64) {
        if events & event::MEMORY != 0 {
            self.views_seen = self.peers.views();
            self.flush_tlb(true);
        }
        if events & event::PROTECT != 0 {
            match self.shared.take_protect() {
                Some(pages) => pages.into_iter().for_each(|page| self.tlb.protect(page)),
                None => self.flush_tlb(true),
            }
        }
    }
    /// After a callback of the board that changed the memory map: has every vCPU that executes let go of the old one before this one goes on.
    pub(crate) fn spread_map(&mut self) {
        self.alone(|cpu| cpu.views_seen = cpu.peers.views());
    }
}
