//! Guest memory as KVM's memory slots.

use super::vm::Shared;
use gearbox_core::mem::{FlatKind, FlatRange, MemoryListener, PAGE_SIZE, RamAccess, RamBlock};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use parking_lot::Mutex;
use std::sync::Arc;
use vmm_sys_util::errno;

/// One slot.
#[derive(Clone, Debug)]
struct Slot {
    number: u32,
    guest: u64,
    size: u64,
    readonly: bool,
    /// Keeps the memory mapped for as long as the kernel may reach it.
    block: Arc<RamBlock>,
    offset: u64,
}

impl Slot {
    fn region(&self, size: u64, log: bool) -> kvm_userspace_memory_region {
        let readonly = if self.readonly { KVM_MEM_READONLY } else { 0 };
        let log = if log { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
        kvm_userspace_memory_region {
            slot: self.number,
            flags: readonly | log,
            guest_phys_addr: self.guest,
            memory_size: size,
            userspace_addr: self.block.host_ptr().wrapping_add(self.offset as usize) as u64,
        }
    }
}

#[derive(Default)]
struct Slots {
    used: Vec<Slot>,
    /// Numbers below `next` that are free again.
    free: Vec<u32>,
    next: u32,
    log: bool,
    pending: Vec<Change>,
}

enum Change {
    Remove(u64),
    Add(FlatRange),
}

/// Listens to the address space and keeps the slots equal to its RAM.
pub(super) struct KvmMemory {
    vm: Arc<Shared>,
    limit: u32,
    slots: Mutex<Slots>,
}

/// The part of a range that consists of whole pages, as (guest address, block, offset, size, readonly). The rest stays to MMIO exits, which
/// the board serves from RAM as well.
fn whole_pages(range: &FlatRange) -> Option<(u64, Arc<RamBlock>, u64, u64, bool)> {
    let FlatKind::Ram { block, offset, access } = &range.kind else { return None };
    let start = range.start.checked_next_multiple_of(PAGE_SIZE)?;
    // The exclusive end, computed without overflowing at the top of the address space.
    let end = match range.last.checked_add(1) {
        Some(end) => end / PAGE_SIZE * PAGE_SIZE,
        None => range.last - (PAGE_SIZE - 1),
    };
    let offset = offset.checked_add(start - range.start)?;
    let size = end.checked_sub(start).filter(|n| *n > 0)?;
    (offset % PAGE_SIZE == 0).then(|| (start, block.clone(), offset, size, *access != RamAccess::ReadWrite))
}

impl KvmMemory {
    /// Nothing is mapped yet; `limit` is the number of slots that KVM has.
    pub(super) fn new(vm: Arc<Shared>, limit: u32) -> Self {
        Self { vm, limit, slots: Mutex::default() }
    }

    fn set(&self, region: kvm_userspace_memory_region) -> Result<(), errno::Error> {
        // SAFETY: the host range lies inside a RAM block that the slot keeps mapped until KVM has forgotten it. The guest writes to it behind
        // Rust's back, which is the RAM block's contract: nobody makes references to its bytes.
        let done = unsafe { self.vm.fd.set_user_memory_region(region) };
        if let Err(e) = &done {
            tracing::error!(
                guest = region.guest_phys_addr,
                size = region.memory_size,
                "KVM_SET_USER_MEMORY_REGION: {e}"
            );
        }
        done
    }

    fn remove(&self, slots: &mut Slots, guest: u64) {
        if let Some(i) = slots.used.iter().position(|s| s.guest == guest) {
            let slot = slots.used.swap_remove(i);
            if self.set(slot.region(0, false)).is_ok() {
                slots.free.push(slot.number);
            }
        }
    }

    fn add(&self, slots: &mut Slots, range: &FlatRange) {
        let Some((guest, block, offset, size, readonly)) = whole_pages(range) else { return };
        let number = match slots.free.pop() {
            Some(n) => n,
            None if slots.next < self.limit => {
                slots.next += 1;
                slots.next - 1
            }
            None => return tracing::error!(guest, "KVM has no memory slot left; the range is slow and holds no code"),
        };
        let slot = Slot { number, guest, size, readonly, block, offset };
        if self.set(slot.region(size, slots.log)).is_ok() {
            slots.used.push(slot);
        } else {
            slots.free.push(number);
        }
    }

    /// Switches dirty logging of all slots.
    pub(super) fn log_dirty(&self, on: bool) -> Result<(), errno::Error> {
        let mut slots = self.slots.lock();
        slots.log = on;
        slots.used.iter().filter(|s| !s.readonly).try_for_each(|s| self.set(s.region(s.size, on)))
    }

    /// Moves KVM's dirty pages to the RAM blocks.
    pub(super) fn sync_dirty(&self) -> Result<(), errno::Error> {
        let slots = self.slots.lock();
        for s in slots.used.iter().filter(|s| slots.log && !s.readonly) {
            let words = self.vm.fd.get_dirty_log(s.number, s.size as usize)?;
            for (i, word) in words.into_iter().enumerate() {
                let mut rest = word;
                while rest != 0 {
                    let page = i as u64 * 64 + u64::from(rest.trailing_zeros());
                    s.block.mark_dirty(s.offset + page * PAGE_SIZE, PAGE_SIZE);
                    rest &= rest - 1;
                }
            }
        }
        Ok(())
    }
}

impl MemoryListener for KvmMemory {
    fn removed(&self, range: &FlatRange) {
        if let Some((guest, ..)) = whole_pages(range) {
            self.slots.lock().pending.push(Change::Remove(guest));
        }
    }
    fn added(&self, range: &FlatRange) {
        if whole_pages(range).is_some() {
            self.slots.lock().pending.push(Change::Add(range.clone()));
        }
    }
    fn commit(&self) {
        let mut slots = self.slots.lock();
        let pending = std::mem::take(&mut slots.pending);
        if pending.is_empty() {
            return;
        }
        self.vm.gate.closed(|| {
            for change in &pending {
                match change {
                    Change::Remove(guest) => self.remove(&mut slots, *guest),
                    Change::Add(range) => self.add(&mut slots, range),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram(start: u64, last: u64, offset: u64) -> FlatRange {
        let block = RamBlock::new("t", 0x10000).unwrap();
        FlatRange { start, last, kind: FlatKind::Ram { block, offset, access: RamAccess::ReadWrite } }
    }
    fn pages(r: &FlatRange) -> Option<(u64, u64, u64)> {
        whole_pages(r).map(|(guest, _, offset, size, _)| (guest, offset, size))
    }

    #[test]
    fn only_whole_pages_become_slots() {
        assert_eq!(pages(&ram(0x1000, 0x2fff, 0x4000)), Some((0x1000, 0x4000, 0x2000)));
        assert_eq!(pages(&ram(0x1800, 0x37ff, 0x800)), Some((0x2000, 0x1000, 0x1000)));
        assert_eq!(pages(&ram(0x1000, 0x2fff, 0x800)), None);
        assert_eq!(pages(&ram(0x1000, 0x1fef, 0)), None);
        assert_eq!(pages(&ram(u64::MAX - 0x1fff, u64::MAX, 0)), Some((u64::MAX - 0x1fff, 0, 0x1000)));
    }
}
