//! A CPU for tests of this folder.

use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::tests::{Recorder, vm_with};
use crate::vcpu::TcgVm;
use gearbox_core::mem::{AddressSpace, RamBlock};
use gearbox_core::x86::cpuid::CpuidLeaf;
use gearbox_core::x86::state::{Seg, Segment, cr0, cr4, efer};
use iced_x86::{Decoder, DecoderOptions, Instruction};
use std::sync::Arc;

/// A CPU with 1 MiB of RAM and a board.
pub(super) struct Machine {
    pub cpu: Box<Cpu>,
    pub memory: Arc<AddressSpace>,
    pub board: Recorder,
    _vm: TcgVm,
}

/// Where tests put a memory operand.
pub(super) const OPERAND: u64 = 0x1_0000;
/// Where tests put code.
pub(super) const CODE: u64 = 0x2_0000;

impl Machine {
    /// In 64-bit code without paging, with x87, SSE and XSAVE enabled.
    pub(super) fn new() -> Self {
        let (vm, cfg) = vm_with(&RamBlock::new("ram", 1 << 20).unwrap());
        let mut cpu = vm.create_cpu(&cfg).unwrap();
        cpu.cr0 = cr0::PE | cr0::NE | cr0::ET;
        cpu.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE;
        cpu.efer = efer::LME | efer::LMA;
        cpu.xcr0 = 7;
        // XSAVEOPT, XSAVEC, XGETBV1, XSAVES.
        cpu.cpuid.set(CpuidLeaf { function: 0xd, index: Some(1), eax: 0xf, ..CpuidLeaf::default() });
        cpu.set_seg(Seg::Cs, Segment { selector: 8, base: 0, limit: u32::MAX, attr: 0xa09b });
        cpu.update_mode();
        Self { cpu, memory: cfg.memory, board: Recorder::default(), _vm: vm }
    }
    /// Executes one instruction of x87, MMX, SSE or AVX at [`CODE`] by its executor.
    pub(super) fn execute(&mut self, bytes: &[u8]) -> Exec {
        self.execute_with(super::executor, bytes)
    }
    /// Executes any instruction at [`CODE`] by its executor.
    pub(super) fn execute_any(&mut self, bytes: &[u8]) -> Exec {
        self.execute_with(crate::ops::executor, bytes)
    }
    fn execute_with(&mut self, find: fn(&Instruction) -> Option<Executor>, bytes: &[u8]) -> Exec {
        self.memory.write(CODE, bytes).unwrap();
        let i = Decoder::with_ip(self.cpu.mode.bits(), bytes, CODE, DecoderOptions::NONE).decode();
        self.cpu.rip = CODE + i.len() as u64;
        find(&i).expect("an instruction that is known")(&mut self.cpu, &i)
    }
    /// The bytes of the memory operand.
    pub(super) fn operand<const N: usize>(&self) -> [u8; N] {
        self.memory.read_array(OPERAND).unwrap()
    }
    /// Sets the bytes of the memory operand.
    pub(super) fn set_operand(&self, bytes: &[u8]) {
        self.memory.write(OPERAND, bytes).unwrap();
    }
}
