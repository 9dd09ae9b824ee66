//! What an accelerator gives to a machine: a [`Vm`] with its [`Vcpu`]s, and the [`CpuBus`] through which they reach the board.

use crate::clock::ClockSource;
use crate::mem::{AddressSpace, MemoryListener};
use crate::x86::cpuid::{CpuModel, CpuidSet};
use crate::x86::state::X86State;
use std::sync::Arc;

/// How the vCPUs of an accelerator are given host threads. `gearbox-core` owns the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threading {
    /// There is no CPU to run (qtest).
    NoCpu,
    /// One host thread for each vCPU.
    PerVcpu,
    /// All vCPUs take turns on one host thread, in a deterministic order.
    RoundRobin,
}

/// An error of an accelerator, with the operation that failed in its text.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    /// The host refused an operation.
    #[error("{what}: {source}")]
    Host {
        /// What was attempted.
        what: String,
        /// The host's reason.
        source: std::io::Error,
    },
    /// The accelerator cannot do what was asked.
    #[error("{0}")]
    Unsupported(String),
    /// The vCPU met something that it cannot continue from: a bug or a missing part of the accelerator, never a guest's doing.
    #[error("{0}")]
    Internal(String),
}

/// A virtual machine on an accelerator.
pub trait Vm: Send + Sync {
    /// How its vCPUs are given threads.
    fn threading(&self) -> Threading;
    /// The clock that this accelerator's machine runs by.
    fn clock(&self) -> Arc<dyn ClockSource>;
    /// Who must hear of changes to the flat memory view.
    fn memory_listener(&self) -> Option<Arc<dyn MemoryListener>> {
        None
    }
    /// The CPUID leaves that this accelerator can offer; a CPU model is cut down to them.
    fn cpuid(&self) -> &CpuidSet;
    /// Makes vCPU number `id`. Called on the thread that will run it.
    ///
    /// # Errors
    /// The host's refusal, or a model that the accelerator cannot run.
    fn create_vcpu(&self, id: u32, cfg: &VcpuConfig) -> Result<Box<dyn Vcpu>, VmError>;
    /// Its CPUs have system management mode.
    fn has_smm(&self) -> bool {
        false
    }
    /// Where message-signalled interrupts (and the I/O APIC's messages) go.
    fn msi(&self) -> Arc<dyn MsiSink>;
    /// The accelerator tracks pages written by vCPUs.
    fn dirty_log(&self) -> Option<&dyn DirtyLog> {
        None
    }
    /// State of the VM outside its vCPUs (a kernel clock, an in-kernel interrupt controller).
    fn vm_state(&self) -> Option<&dyn VmState> {
        None
    }
}

/// What a vCPU is made from.
pub struct VcpuConfig {
    /// The CPU model as requested.
    pub model: CpuModel,
    /// The leaves that the guest will see, already cut to [`Vm::cpuid`], with topology and APIC id filled in.
    pub cpuid: CpuidSet,
    /// Local APIC id.
    pub apic_id: u32,
    /// Bootstrap processor.
    pub bsp: bool,
    /// Guest-physical memory.
    pub memory: Arc<AddressSpace>,
}

/// A message-signalled interrupt target (PCI Local Bus 3.0, 6.8; SDM vol. 3, 11.11).
pub trait MsiSink: Send + Sync {
    /// Delivers the message `data` written to `addr`.
    fn send_msi(&self, addr: u64, data: u32);
    /// How many I/O APIC pins the accelerator wants to be told of, and their route, when a redirection entry changes. KVM with a
    /// split interrupt controller needs it to report EOIs; others ignore it.
    fn set_route(&self, _pin: u32, _msi: Option<(u64, u32)>) {}
}

/// Limits of one [`Vcpu::run`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// At most this many instructions.
    pub instructions: Option<u64>,
}

/// Why [`Vcpu::run`] returned. Guest I/O is no exit: it goes through [`CpuBus`] in the middle of the instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VcpuExit {
    /// In HLT (or waiting for SIPI) with no event to take; the caller waits on the handle's wake-up.
    Halted,
    /// [`VcpuHandle::kick`] was called.
    Kicked,
    /// [`Limit`] was reached.
    Budget,
    /// The CPU asked for a system reset.
    Reset,
    /// The CPU asked for a shutdown of the machine.
    Shutdown,
    /// A triple fault put the CPU in shutdown state.
    TripleFault,
    /// A breakpoint or single step of the debugger.
    Debug,
    /// The accelerator cannot continue; the text says why, with the failing instruction where there is one.
    InternalError(String),
}

/// One virtual CPU. Lives on one thread.
pub trait Vcpu: Send {
    /// Runs guest instructions until an exit. Guest I/O calls `bus`.
    fn run(&mut self, bus: &dyn CpuBus, limit: Limit) -> VcpuExit;
    /// The part that other threads may use.
    fn handle(&self) -> Arc<dyn VcpuHandle>;
    /// Finishes what an exit left open and gives the registers.
    ///
    /// # Errors
    /// The host refused to read the state.
    fn get_state(&mut self) -> Result<X86State, VmError>;
    /// Loads a whole state.
    ///
    /// # Errors
    /// The state is not one that this CPU can have, or the host refused it.
    fn set_state(&mut self, state: &X86State) -> Result<(), VmError>;
    /// Linear address to guest-physical address by the current paging mode, without side effects; `None` where not mapped.
    fn translate(&mut self, linear: u64) -> Option<u64>;
}

/// What other threads may do to a vCPU. Every call returns at once, and wakes the CPU where the event should.
pub trait VcpuHandle: Send + Sync {
    /// Makes [`Vcpu::run`] return [`VcpuExit::Kicked`] soon; never lost, even when the vCPU is about to enter the guest.
    fn kick(&self);
    /// Drives the INTR pin (LINT0), the output of the 8259A pair.
    fn set_intr(&self, level: bool);
    /// Pulses the NMI pin (LINT1).
    fn nmi(&self);
    /// Drives the INIT pin (a "soft" reset of the processor, keyboard controller pulse or port 92h bit 0 style).
    fn init(&self);
    /// Pulses the SMI pin. A CPU without system management mode has none.
    fn smi(&self) {}
    /// Blocks the calling thread, for at most `timeout`, until the vCPU has something to do after [`VcpuExit::Halted`], or is kicked.
    fn wait(&self, timeout: Option<std::time::Duration>);
    /// For a thread that runs several vCPUs in turn; `None` where each has one of its own.
    fn turns(&self) -> Option<&dyn Turns> {
        None
    }
}

/// What a thread that runs several vCPUs in turn ([`Threading::RoundRobin`]) has to know of each that has halted.
pub trait Turns {
    /// Has it something to do?
    fn awake(&self) -> bool;
    /// When its own timer is due, in the machine clock's ns.
    fn timer(&self) -> Option<u64>;
    /// Has `f` called whenever the vCPU gets something to do. To be said once.
    fn on_wake(&self, f: Box<dyn Fn() + Send + Sync>);
}

/// The board as a CPU sees it. Calls return when the effects are visible.
///
/// Sizes are 1, 2, 4 (ports) or up to 8 (memory); wider accesses are split by the caller. Accesses that nothing answers read all ones.
pub trait CpuBus: Sync {
    /// IN.
    fn pio_in(&self, port: u16, size: u8) -> u32;
    /// OUT.
    fn pio_out(&self, port: u16, size: u8, value: u32);
    /// INS/REP INS from one port: fills `data` with `data.len() / size` reads.
    fn pio_in_string(&self, port: u16, size: u8, data: &mut [u8]) {
        string_in(size, data, || self.pio_in(port, size).into());
    }
    /// OUTS/REP OUTS to one port.
    fn pio_out_string(&self, port: u16, size: u8, data: &[u8]) {
        string_out(size, data, |value| self.pio_out(port, size, value as u32));
    }
    /// A load from guest-physical memory that is not plain RAM. RAM inside the range is served as well.
    fn mmio_read(&self, addr: u64, data: &mut [u8]);
    /// A store to guest-physical memory that is not plain RAM.
    fn mmio_write(&self, addr: u64, data: &[u8]);
    /// INTA: the vector of the 8259A pair, or `None` when it has withdrawn its request and there is no spurious vector to give.
    fn ack_interrupt(&self) -> Option<u8>;
    /// A local APIC broadcast the EOI of a level-triggered `vector`.
    fn eoi(&self, vector: u8);
    /// When the next board timer is due, in the machine clock's ns.
    fn deadline(&self) -> Option<u64>;
    /// The machine is going to end or to be reset. The vCPU whose access that was finishes the instruction, and [`Vcpu::run`] returns
    /// [`VcpuExit::Kicked`].
    fn stop_pending(&self) -> bool {
        false
    }
    /// Runs board timers that are due (for accelerators whose clock only they advance).
    fn settle_timers(&self);
}

/// Fills `data` with loads of `size` bytes, lowest first.
pub fn string_in(size: u8, data: &mut [u8], mut load: impl FnMut() -> u64) {
    for chunk in data.chunks_exact_mut(size.into()) {
        chunk.copy_from_slice(&load().to_le_bytes()[..size.into()]);
    }
}
/// Gives `data` to stores of `size` bytes, lowest first.
pub fn string_out(size: u8, data: &[u8], mut store: impl FnMut(u64)) {
    for chunk in data.chunks_exact(size.into()) {
        let mut value = [0; 8];
        value[..size.into()].copy_from_slice(chunk);
        store(u64::from_le_bytes(value));
    }
}

/// Tracks which pages vCPUs wrote.
pub trait DirtyLog: Send + Sync {
    /// Starts or stops logging of every RAM block.
    ///
    /// # Errors
    /// The host refused.
    fn enable(&self, on: bool) -> Result<(), VmError>;
    /// Moves the pages written since the last call into the RAM blocks' dirty bitmaps.
    ///
    /// # Errors
    /// The host refused.
    fn sync(&self) -> Result<(), VmError>;
}

/// State of an accelerator's VM that belongs to no vCPU.
pub trait VmState: Send + Sync {
    /// Saves it as named values.
    ///
    /// # Errors
    /// The host refused to read it.
    fn save(&self) -> Result<std::collections::BTreeMap<String, Vec<u8>>, VmError>;
    /// Loads what [`VmState::save`] gave.
    ///
    /// # Errors
    /// A value is unknown, or the host refused it.
    fn load(&self, values: &std::collections::BTreeMap<String, Vec<u8>>) -> Result<(), VmError>;
}
