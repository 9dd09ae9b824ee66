//! An address space: the flat view in force, and access to the RAM in it.

use super::{FlatKind, FlatRange, FlatView, PAGE_SIZE, RamAccess, RamBlock};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// Hears of changes to an address space. Calls come with the board locked, on whichever thread made the change.
pub trait MemoryListener: Send + Sync {
    /// Changes follow.
    fn begin(&self) {}
    /// A range is no longer there.
    fn removed(&self, _range: &FlatRange) {}
    /// A range is new.
    fn added(&self, _range: &FlatRange) {}
    /// The changes are complete. Afterwards no vCPU may use what was removed.
    fn commit(&self) {}
    /// Someone who is no vCPU wrote to a page marked by [`RamBlock::set_code`].
    fn code_written(&self, _block: &Arc<RamBlock>, _offset: u64, _len: u64) {}
}

/// An address that is not backed by RAM (or, for writes, writable RAM).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RAM at {0:#x}")]
pub struct NotRam(pub u64);

/// A guest address space as CPU and DMA threads see it: lock-free reads of the current [`FlatView`].
#[derive(Default)]
pub struct AddressSpace {
    view: ArcSwap<FlatView>,
    /// What CPUs in system management mode see, where it is something else.
    smm_view: ArcSwapOption<FlatView>,
    listeners: RwLock<Vec<Arc<dyn MemoryListener>>>,
    /// Blocks stay mapped for as long as the space lives, so that host pointers cached by a vCPU never dangle.
    blocks: RwLock<Vec<Arc<RamBlock>>>,
}

impl AddressSpace {
    /// An empty space.
    pub fn new() -> Self {
        Self::default()
    }
    /// The view in force. Keep it only for one access.
    pub fn view(&self) -> Guard<Arc<FlatView>> {
        self.view.load()
    }
    /// The view of CPUs in system management mode. Keep it only for one access.
    pub fn smm_view(&self) -> Guard<Arc<FlatView>> {
        self.smm_view.load_full().map_or_else(|| self.view.load(), Guard::from_inner)
    }
    /// Adds a listener and tells it of all present ranges.
    pub fn listen(&self, listener: Arc<dyn MemoryListener>) {
        listener.begin();
        for r in self.view().ranges() {
            listener.added(r);
        }
        listener.commit();
        self.listeners.write().push(listener);
    }
    /// Puts a new view in force and tells the listeners what differs.
    pub fn install(&self, new: FlatView) {
        self.install_with_smm(new, None);
    }
    /// The same with a view for CPUs in system management mode. Of that the listeners only hear that something changed.
    pub fn install_with_smm(&self, new: FlatView, smm: Option<FlatView>) {
        let (old, old_smm) = (self.view.load_full(), self.smm_view.load_full());
        let smm_changed = old_smm.as_deref() != smm.as_ref();
        if smm_changed {
            self.smm_view.store(smm.map(Arc::new));
        }
        if *old == new {
            if smm_changed {
                let listeners = self.listeners.read().clone();
                listeners.iter().for_each(|l| {
                    l.begin();
                    l.commit();
                });
            }
            return;
        }
        let new = Arc::new(new);
        for r in new.ranges() {
            if let FlatKind::Ram { block, .. } = &r.kind
                && !self.blocks.read().iter().any(|b| Arc::ptr_eq(b, block))
            {
                self.blocks.write().push(block.clone());
            }
        }
        let listeners = self.listeners.read().clone();
        listeners.iter().for_each(|l| l.begin());
        for r in old.ranges().iter().filter(|r| new.find(r.start) != Some(*r)) {
            listeners.iter().for_each(|l| l.removed(r));
        }
        self.view.store(new.clone());
        for r in new.ranges().iter().filter(|r| old.find(r.start) != Some(*r)) {
            listeners.iter().for_each(|l| l.added(r));
        }
        listeners.iter().for_each(|l| l.commit());
    }

    /// Reads RAM or ROM.
    ///
    /// # Errors
    /// The first address that is neither.
    pub fn read(&self, addr: u64, data: &mut [u8]) -> Result<(), NotRam> {
        let view = self.view();
        self.each(&view, addr, data.len(), |r, at, from, n| match &r.kind {
            FlatKind::Ram { block, offset, .. } => {
                block.read(offset + (at - r.start), &mut data[from..from + n]);
                true
            }
            FlatKind::Io { .. } => false,
        })
    }
    /// Writes RAM, as a device does by DMA. Nothing is written to ROM.
    ///
    /// # Errors
    /// The first address that is not writable RAM; what stands before it has been written.
    pub fn write(&self, addr: u64, data: &[u8]) -> Result<(), NotRam> {
        self.store(addr, data, false)
    }
    /// Writes RAM and ROM, as a loader does before the machine runs.
    ///
    /// # Errors
    /// The first address that is neither.
    pub fn load(&self, addr: u64, data: &[u8]) -> Result<(), NotRam> {
        self.store(addr, data, true)
    }
    fn store(&self, addr: u64, data: &[u8], rom: bool) -> Result<(), NotRam> {
        let view = self.view();
        self.each(&view, addr, data.len(), |r, at, from, n| match &r.kind {
            FlatKind::Ram { block, offset, access } if rom || *access == RamAccess::ReadWrite => {
                let offset = offset + (at - r.start);
                self.write_block(block, offset, &data[from..from + n]);
                true
            }
            _ => false,
        })
    }
    /// Writes a block whatever CPUs may do to it, as the device does that it belongs to.
    ///
    /// # Panics
    /// The range is not inside the block.
    pub fn write_block(&self, block: &Arc<RamBlock>, offset: u64, data: &[u8]) {
        block.write(offset, data);
        self.code_written(block, offset, data.len() as u64);
    }
    /// Gives the host back a page of RAM, which reads as zero from then on. What is decoded of it is forgotten, as after a write.
    ///
    /// # Errors
    /// There is no RAM that can be written.
    pub fn discard_page(&self, addr: u64) -> Result<(), NotRam> {
        let addr = addr & !(PAGE_SIZE - 1);
        let view = self.view();
        let range = view.find(addr).ok_or(NotRam(addr))?;
        match &range.kind {
            FlatKind::Ram { block, offset, access: RamAccess::ReadWrite }
                if range.clip(addr, PAGE_SIZE as usize) == PAGE_SIZE as usize =>
            {
                let offset = offset + (addr - range.start);
                if offset.is_multiple_of(PAGE_SIZE) && block.discard(offset, PAGE_SIZE as usize) {
                    self.code_written(block, offset, PAGE_SIZE);
                }
                Ok(())
            }
            _ => Err(NotRam(addr)),
        }
    }
    /// Tells the listeners of a write by no vCPU, where it touched code.
    pub(super) fn code_written(&self, block: &Arc<RamBlock>, offset: u64, len: u64) {
        // The mark must not be looked at before the bytes are there.
        fence(Ordering::SeqCst);
        if block.has_code(offset, len) {
            self.listeners.read().iter().for_each(|l| l.code_written(block, offset, len));
        }
    }
    fn each(
        &self,
        view: &FlatView,
        addr: u64,
        len: usize,
        mut f: impl FnMut(&FlatRange, u64, usize, usize) -> bool,
    ) -> Result<(), NotRam> {
        let mut done = 0;
        while done < len {
            let at = addr.checked_add(done as u64).ok_or(NotRam(u64::MAX))?;
            let r = view.find(at).ok_or(NotRam(at))?;
            let n = r.clip(at, len - done);
            if !f(r, at, done, n) {
                return Err(NotRam(at));
            }
            done += n;
        }
        Ok(())
    }
    /// Reads a little-endian integer of `N` bytes from RAM; `None` where there is none.
    pub fn read_array<const N: usize>(&self, addr: u64) -> Option<[u8; N]> {
        let mut b = [0; N];
        self.read(addr, &mut b).ok().map(|()| b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::MemTree;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);
    impl MemoryListener for Log {
        fn removed(&self, r: &FlatRange) {
            self.0.lock().push(format!("-{:x}", r.start));
        }
        fn added(&self, r: &FlatRange) {
            self.0.lock().push(format!("+{:x}", r.start));
        }
        fn code_written(&self, _: &Arc<RamBlock>, offset: u64, len: u64) {
            self.0.lock().push(format!("code {offset:x}+{len:x}"));
        }
    }

    #[test]
    fn listeners_hear_the_difference_only() {
        let (a, b) = (RamBlock::new("a", 0x1000).unwrap(), RamBlock::new("b", 0x1000).unwrap());
        let mut t = MemTree::new("m", u64::MAX);
        let (ra, rb) = (t.ram(&a, 0, 0x1000), t.ram(&b, 0, 0x1000));
        t.map(t.root(), 0, ra, 0);
        let s = AddressSpace::new();
        let log = Arc::new(Log::default());
        s.listen(log.clone());
        s.install(t.render());
        t.map(t.root(), 0x5000, rb, 0);
        s.install(t.render());
        t.set_readonly(ra, true);
        s.install(t.render());
        assert_eq!(*log.0.lock(), ["+0", "+5000", "-0", "+0"]);
    }

    #[test]
    fn dma_reaches_ram_only_and_reports_code() {
        let a = RamBlock::new("a", 0x2000).unwrap();
        let mut t = MemTree::new("m", u64::MAX);
        let ra = t.ram(&a, 0, 0x1000);
        t.map(t.root(), 0, ra, 0);
        let rom = t.rom(&a, 0x1000, 0x1000);
        t.map(t.root(), 0x1000, rom, 0);
        let s = AddressSpace::new();
        let log = Arc::new(Log::default());
        s.install(t.render());
        s.listen(log.clone());
        a.set_code(0xfff);
        assert_eq!(s.write(0xffe, &[1, 2, 3]), Err(NotRam(0x1000)));
        assert_eq!(s.load(0x1ffe, &[9, 9]), Ok(()));
        assert_eq!(s.read_array(0x1ffe), Some([9u8, 9]));
        assert_eq!(s.read_array::<4>(0x1ffe), None);
        assert_eq!(s.read(u64::MAX, &mut [0; 2]), Err(NotRam(u64::MAX)));
        assert_eq!((s.discard_page(0x1000), s.discard_page(0x123)), (Err(NotRam(0x1000)), Ok(())));
        assert_eq!(s.read_array(0xffe), Some([0u8, 0]));
        assert_eq!(*log.0.lock(), ["+0", "+1000", "code ffe+2", "code 0+1000"]);
    }
}
