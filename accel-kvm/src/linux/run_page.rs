//! The page that a vCPU shares with the kernel: why it left the guest, and requests to it.
//!
//! Both the vCPU's thread and those that kick it reach the page, so it has a mapping of its own here, of which no reference is ever made.

use kvm_bindings::kvm_run;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

/// A mapped `kvm_run`.
pub(super) struct RunPage {
    at: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to no thread; everything reads and writes it by copies through raw pointers, and the one byte that
// several threads touch is accessed atomically.
unsafe impl Send for RunPage {}
// SAFETY: as above.
unsafe impl Sync for RunPage {}

/// KVM_EXIT_IO.
#[derive(Clone, Copy, Debug)]
pub(super) struct Io {
    pub input: bool,
    pub port: u16,
    /// Bytes of one access.
    pub size: u8,
    offset: usize,
    len: usize,
}

/// KVM_EXIT_MMIO.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mmio {
    pub addr: u64,
    pub write: bool,
    pub len: usize,
    pub data: [u8; 8],
}

impl Mmio {
    /// The bytes of the access.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.data[..self.len]
    }
}

/// KVM_EXIT_INTERNAL_ERROR.
#[derive(Clone, Debug)]
pub(super) struct InternalError {
    pub suberror: u32,
    pub data: Vec<u64>,
    /// The instruction that could not be emulated, where the kernel tells.
    pub instruction: Option<Vec<u8>>,
}

macro_rules! field {
    ($self:ident . $($path:tt)+) => {
        // SAFETY: the field lies inside the mapping, which is at least as large as `kvm_run` (checked at creation) and aligned to
        // a page; volatile, because the kernel is the other side. Any bytes are a valid integer or array of integers.
        unsafe { ptr::read_volatile(&raw const (*$self.run()).$($path)+) }
    };
}

impl RunPage {
    /// Maps the page of a vCPU; `len` is what KVM_GET_VCPU_MMAP_SIZE says.
    pub(super) fn map(vcpu: &impl AsRawFd, len: usize) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        if len < size_of::<kvm_run>() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the descriptor is open for as long as `vcpu` is borrowed, that is during this call.
        let vcpu = unsafe { BorrowedFd::borrow_raw(vcpu.as_raw_fd()) };
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let at = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, vcpu, 0)? };
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { at, len })
    }

    fn run(&self) -> *mut kvm_run {
        self.at.as_ptr().cast()
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        // SAFETY: the byte lies inside the mapping, which lives as long as `self`, and is only accessed atomically.
        unsafe { AtomicU8::from_ptr(self.at.as_ptr().add(offset_of!(kvm_run, immediate_exit))) }
    }
    /// The next KVM_RUN shall return at once.
    pub(super) fn set_immediate_exit(&self, on: bool) {
        self.immediate_exit().store(u8::from(on), Ordering::SeqCst);
    }
    /// Asks for an exit as soon as the guest can take an external interrupt.
    pub(super) fn request_interrupt_window(&self, on: bool) {
        // SAFETY: as in `field!`.
        unsafe { ptr::write_volatile(&raw mut (*self.run()).request_interrupt_window, u8::from(on)) }
    }
    /// Could the guest take an external interrupt at the last exit?
    pub(super) fn ready_for_interrupt(&self) -> bool {
        field!(self.ready_for_interrupt_injection) != 0
    }
    /// KVM_EXIT_*.
    pub(super) fn exit_reason(&self) -> u32 {
        field!(self.exit_reason)
    }
    /// Writes KVM_EXIT_UNKNOWN, to see whether the kernel replaces it.
    pub(super) fn clear_exit_reason(&self) {
        // SAFETY: as in `field!`.
        unsafe { ptr::write_volatile(&raw mut (*self.run()).exit_reason, 0) }
    }

    /// The details of KVM_EXIT_IO.
    pub(super) fn io(&self) -> Io {
        let io = field!(self.__bindgen_anon_1.io);
        let len = io.count as usize * usize::from(io.size);
        let offset = (io.data_offset as usize).min(self.len);
        Io {
            input: u32::from(io.direction) == kvm_bindings::KVM_EXIT_IO_IN,
            port: io.port,
            size: io.size.clamp(1, 4),
            offset,
            len: len.min(self.len - offset),
        }
    }
    /// Copies the data of port accesses out.
    pub(super) fn read_io(&self, io: &Io, data: &mut Vec<u8>) {
        data.clear();
        data.resize(io.len, 0);
        // SAFETY: `io` clips the range to the mapping; the vector is not part of it.
        unsafe { ptr::copy_nonoverlapping(self.at.as_ptr().add(io.offset), data.as_mut_ptr(), io.len) }
    }
    /// Copies the data of port reads in.
    pub(super) fn write_io(&self, io: &Io, data: &[u8]) {
        let len = data.len().min(io.len);
        // SAFETY: as in `read_io`.
        unsafe { ptr::copy_nonoverlapping(data.as_ptr(), self.at.as_ptr().add(io.offset), len) }
    }

    /// The details of KVM_EXIT_MMIO.
    pub(super) fn mmio(&self) -> Mmio {
        let m = field!(self.__bindgen_anon_1.mmio);
        Mmio { addr: m.phys_addr, write: m.is_write != 0, len: (m.len as usize).min(8), data: m.data }
    }
    /// Answers an MMIO read.
    pub(super) fn set_mmio_data(&self, data: [u8; 8]) {
        // SAFETY: as in `field!`.
        unsafe { ptr::write_volatile(&raw mut (*self.run()).__bindgen_anon_1.mmio.data, data) }
    }

    /// The vector of KVM_EXIT_IOAPIC_EOI.
    pub(super) fn eoi_vector(&self) -> u8 {
        field!(self.__bindgen_anon_1.eoi.vector)
    }
    /// The processor's reason in KVM_EXIT_FAIL_ENTRY.
    pub(super) fn entry_failure(&self) -> u64 {
        field!(self.__bindgen_anon_1.fail_entry.hardware_entry_failure_reason)
    }
    /// KVM_SYSTEM_EVENT_*.
    pub(super) fn system_event(&self) -> u32 {
        field!(self.__bindgen_anon_1.system_event.type_)
    }
    /// The details of KVM_EXIT_INTERNAL_ERROR.
    pub(super) fn internal_error(&self) -> InternalError {
        let e = field!(self.__bindgen_anon_1.internal);
        let data = e.data[..(e.ndata as usize).min(e.data.len())].to_vec();
        let emulation = e.suberror == kvm_bindings::KVM_INTERNAL_ERROR_EMULATION && !data.is_empty();
        let has_bytes = u64::from(kvm_bindings::KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
        let instruction = (emulation && data[0] & has_bytes != 0).then(|| {
            // After `ndata` and the flags: a length, and at most 15 bytes.
            let bytes: Vec<u8> = data[1..].iter().flat_map(|d| d.to_le_bytes()).collect();
            let len = bytes.first().map_or(0, |n| usize::from(*n).min(15));
            bytes.get(1..=len).unwrap_or_default().to_vec()
        });
        InternalError { suberror: e.suberror, data, instruction }
    }
}

impl Drop for RunPage {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing refers to it any more. A failure would leave it mapped, which harms nobody.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), self.len) };
    }
}
