//! Memory for translated code: one piece of it mapped twice, to be written at one address and executed at another, so that no page is
//! both writable and executable.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;

/// Bytes for the code of one CPU. Pages that were never used cost nothing.
const SIZE: usize = 64 << 20;

/// A bump allocator of code.
pub(super) struct CodeMemory {
    writable: *mut c_void,
    executable: *mut c_void,
    used: usize,
}

// SAFETY: the mappings belong to this value alone.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Maps it.
    ///
    /// # Errors
    /// The host allows no executable memory, or has none left.
    pub(super) fn new() -> io::Result<Self> {
        let file = memfd_create("gearbox-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, SIZE as u64)?;
        let map = |prot| {
            // SAFETY: a new mapping at an address of the kernel's choice.
            unsafe { mmap(std::ptr::null_mut(), SIZE, prot, MapFlags::SHARED, &file, 0) }
        };
        let writable = map(ProtFlags::READ | ProtFlags::WRITE)?;
        let executable = map(ProtFlags::READ | ProtFlags::EXEC).inspect_err(|_| {
            // SAFETY: mapped above, and not used any more.
            let _ = unsafe { munmap(writable, SIZE) };
        })?;
        Ok(Self { writable, executable, used: 0 })
    }
    /// Where the next code will be executed.
    pub(super) fn next(&self) -> usize {
        self.executable as usize + self.used
    }
    /// Puts `code` there. False if there is no room.
    pub(super) fn add(&mut self, code: &[u8]) -> bool {
        if code.len() > SIZE - self.used {
            return false;
        }
        // SAFETY: inside the mapping, by the check above. Nothing executes there yet.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), self.writable.cast::<u8>().add(self.used), code.len());
        }
        // Entries of blocks begin a line of the host's instruction cache at best, and a quarter of one at worst.
        self.used = (self.used + code.len()).next_multiple_of(16).min(SIZE);
        true
    }
    /// Overwrites the distance of a jump, which stands at `at`, so that it leads to `target`.
    ///
    /// The only thread that executes this code is the caller. The host notices that what it executes is written at another address (as it does for code that
    /// is new).
    pub(super) fn redirect(&mut self, at: usize, target: usize) {
        let distance = target.wrapping_sub(at + 4) as i32;
        let offset = at - self.executable as usize;
        assert!(offset + 4 <= self.used);
        // SAFETY: inside the mapping, by the check above.
        unsafe { self.writable.cast::<u8>().add(offset).cast::<i32>().write_unaligned(distance) };
    }
    /// Overwrites the instruction at `at` with a jump to `target`.
    pub(super) fn replace(&mut self, at: usize, target: usize) {
        const JMP: u8 = 0xe9;
        self.redirect(at + 1, target);
        // SAFETY: inside the mapping, as the distance behind it.
        unsafe { self.writable.cast::<u8>().add(at - self.executable as usize).write(JMP) };
    }
    /// How much is in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }
    /// Forgets all code from `used` on. None of it may be executing.
    pub(super) fn truncate(&mut self, used: usize) {
        self.used = used.min(self.used);
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for at in [self.writable, self.executable] {
            // SAFETY: mapped in `new`; no code of it executes when its owner goes.
            let _ = unsafe { munmap(at, SIZE) };
        }
    }
}
