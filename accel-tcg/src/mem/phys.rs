//! Physical addresses: RAM and ROM through host pointers, the rest through the board; the local APIC's page before either.

use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::Plain;
use gearbox_core::mem::{FlatKind, RamAccess, RamBlock, granules};
use std::sync::Arc;

/// How a page may be reached without asking anyone: host address of its first byte. A page in which some vCPU has decoded code is not to be
/// written that way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DirectPage {
    pub read: Option<usize>,
    pub write: Option<usize>,
}

impl Cpu {
    /// How the page of `paddr` may be reached directly. A page that is partly something else may not.
    pub(crate) fn direct_page(&self, paddr: u64) -> DirectPage {
        let page = paddr & !0xfff;
        if self.is_lapic(page) {
            return DirectPage::default();
        }
        let view = self.view();
        let Some(r) = view.find(page).filter(|r| r.last - page >= 0xfff) else { return DirectPage::default() };
        let host = r.host_ptr(page).map(|p| p as usize);
        let FlatKind::Ram { block, offset, access } = &r.kind else { return DirectPage::default() };
        // Code and host pointers go by whole host pages.
        if host.is_some_and(|h| h & 0xfff != 0) {
            return DirectPage::default();
        }
        let offset = offset + (page - r.start);
        let write = host.filter(|_| *access == RamAccess::ReadWrite && !block.has_code(offset, 1));
        if write.is_some() {
            block.mark_dirty(offset, 1);
        }
        DirectPage { read: host, write }
    }
    /// Host address of a whole page of RAM or ROM that can be read.
    pub(super) fn readable_page(&self, page: u64) -> Option<usize> {
        let view = self.view();
        let r = view.find(page).filter(|r| r.last - page >= 0xfff && !self.is_lapic(page))?;
        r.host_ptr(page).map(|p| p as usize).filter(|h| h & 0xfff == 0)
    }
    /// Reads physical memory of any kind. What nothing answers reads as ones.
    pub(crate) fn phys_read(&mut self, paddr: u64, data: &mut [u8]) -> Exec {
        let mut done = 0;
        while done < data.len() {
            let at = paddr.wrapping_add(done as u64);
            let n = (data.len() - done).min(0x1000 - (at & 0xfff) as usize);
            self.phys_read_page(at, &mut data[done..done + n])?;
            done += n;
        }
        Ok(())
    }
    fn phys_read_page(&mut self, at: u64, data: &mut [u8]) -> Exec {
        if self.is_lapic(at) {
            self.lapic_read(at & 0xfff, data);
            return Ok(());
        }
        let n = data.len();
        {
            let view = self.view();
            if let Some(r) = view.find(at).filter(|r| r.clip(at, n) == n)
                && let Some(p) = r.host_ptr(at)
            {
                // SAFETY: `clip` says that `n` bytes from `at` lie in the range, whose block stays mapped.
                unsafe { load_bytes(p, data) };
                return Ok(());
            }
        }
        let bus = self.bus()?;
        for (k, chunk) in data.chunks_mut(8).enumerate() {
            bus.mmio_read(at + 8 * k as u64, chunk);
        }
        self.board_touched();
        Ok(())
    }
    /// Writes physical memory of any kind. Stores to ROM are dropped, stores to code kill what was decoded from it.
    pub(crate) fn phys_write(&mut self, paddr: u64, data: &[u8]) -> Exec {
        let mut done = 0;
        while done < data.len() {
            let at = paddr.wrapping_add(done as u64);
            let n = (data.len() - done).min(0x1000 - (at & 0xfff) as usize);
            self.phys_write_page(at, &data[done..done + n])?;
            done += n;
        }
        Ok(())
    }
    fn phys_write_page(&mut self, at: u64, data: &[u8]) -> Exec {
        if self.is_lapic(at) {
            self.lapic_write(at & 0xfff, data);
            return Ok(());
        }
        match self.ram_at(at, data.len()) {
            Backing::Ram(ram) => {
                // SAFETY: `ram_at` says that so many bytes lie in a block that stays mapped.
                unsafe { store_bytes(ram.host, data) };
                self.ram_written(&ram);
                return Ok(());
            }
            Backing::Rom => return Ok(()),
            Backing::Board => {}
        }
        let bus = self.bus()?;
        for (k, chunk) in data.chunks(8).enumerate() {
            bus.mmio_write(at + 8 * k as u64, chunk);
        }
        self.board_touched();
        Ok(())
    }
    /// What a store of `len` bytes, all in one page, goes to.
    pub(super) fn ram_at(&self, at: u64, len: usize) -> Backing {
        let view = self.view();
        match view.find(at).filter(|r| r.clip(at, len) == len && !self.is_lapic(at)) {
            Some(r) => match (&r.kind, r.host_ptr(at)) {
                (FlatKind::Ram { access: RamAccess::ReadOnly, .. }, _) => Backing::Rom,
                (FlatKind::Ram { block, offset, access: RamAccess::ReadWrite }, Some(host)) => {
                    Backing::Ram(RamBytes { host, len, block: block.clone(), offset: offset + (at - r.start) })
                }
                _ => Backing::Board,
            },
            None => Backing::Board,
        }
    }
    /// After a store to RAM that did not go by the TLB: marks the page dirty, and kills what was decoded from the bytes, on every vCPU.
    pub(super) fn ram_written(&mut self, ram: &RamBytes) {
        ram.block.mark_dirty(ram.offset, ram.len as u64);
        if ram.block.code_granules(ram.offset) & granules(ram.offset, ram.len) == 0 {
            return;
        }
        if self.cache.written(ram.host as usize, ram.len) {
            self.leave_block = true;
        }
        if !self.peers.single() {
            self.peers.others(&self.shared, |s| s.code_changed(ram.host as usize, ram.len));
        }
    }
    /// Reads a value from physical memory (page tables, APIC-less tables).
    pub(crate) fn phys_load<T: Plain>(&mut self, paddr: u64) -> Exec<T> {
        let mut v = T::default();
        // SAFETY: `Plain` types are any bytes.
        let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut v).cast::<u8>(), T::SIZE) };
        self.phys_read(paddr, bytes)?;
        Ok(v.le())
    }
    /// Writes a value to physical memory.
    pub(crate) fn phys_store<T: Plain>(&mut self, paddr: u64, v: T) -> Exec {
        let v = v.le();
        // SAFETY: `Plain` types have no padding.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const v).cast::<u8>(), T::SIZE) };
        self.phys_write(paddr, bytes)
    }
}

/// What a store goes to.
pub(super) enum Backing {
    /// RAM.
    Ram(RamBytes),
    /// ROM, which does not take it.
    Rom,
    /// A device, or nothing.
    Board,
}

/// Bytes of a RAM block.
pub(super) struct RamBytes {
    pub(super) host: *mut u8,
    len: usize,
    block: Arc<RamBlock>,
    offset: u64,
}

/// Copies from guest memory in one load where it can be one.
///
/// # Safety
/// `p` is valid for `data.len()` bytes.
unsafe fn load_bytes(p: *const u8, data: &mut [u8]) {
    macro_rules! one {
        ($t:ty) => {
            if data.len() == size_of::<$t>() {
                // SAFETY: the caller's.
                let v = unsafe { p.cast::<$t>().read_unaligned() };
                data.copy_from_slice(&v.to_ne_bytes());
                return;
            }
        };
    }
    one!(u8);
    one!(u16);
    one!(u32);
    one!(u64);
    // SAFETY: the caller's; guest memory never overlaps a Rust slice.
    unsafe { std::ptr::copy_nonoverlapping(p, data.as_mut_ptr(), data.len()) };
}

/// Copies to guest memory in one store where it can be one.
///
/// # Safety
/// `p` is valid for `data.len()` bytes.
unsafe fn store_bytes(p: *mut u8, data: &[u8]) {
    macro_rules! one {
        ($t:ty) => {
            if let Ok(b) = data.try_into() {
                // SAFETY: the caller's.
                return unsafe { p.cast::<$t>().write_unaligned(<$t>::from_ne_bytes(b)) };
            }
        };
    }
    one!(u8);
    one!(u16);
    one!(u32);
    one!(u64);
    // SAFETY: the caller's; guest memory never overlaps a Rust slice.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), p, data.len()) };
}
