//! The interpreter in the same surroundings: user code of Linux, with the same pages, segments and control registers.

use super::case::{ARENA, ARENA_LEN, CODE, CODE_LEN, Case, Ending, FILLER, GS_BASE, Outcome, READ_ONLY, template};
use super::native::{CS32, CS64, DATA};
use crate::cpu::{Cpu, slot};
use crate::decode::ends_block;
use crate::fault::{Exec, Fault};
use crate::fpu::Fpu;
use crate::isa::Isa;
use crate::tests::vm_with;
use crate::vcpu::TcgVm;
use gearbox_core::mem::RamBlock;
use gearbox_core::x86::cpu_features::{CpuidReg, FeatureSet, Word};
use gearbox_core::x86::cpuid::CpuidSet;
use gearbox_core::x86::state::{DescriptorTable, FpuState, PendingEvents, Seg, Segment, cr0, cr4, efer, rflags};
use iced_x86::{Code, Decoder, Instruction};
use std::sync::Arc;

/// The features that the host's CPUID shows.
fn host_features() -> FeatureSet {
    let mut f = FeatureSet::default();
    for w in Word::all() {
        let info = w.info();
        // The range must exist.
        let highest = std::arch::x86_64::__cpuid(info.function & 0xc000_0000).eax;
        if info.function & 0xf000_0000 == 0x4000_0000 || highest < info.function || highest >> 28 != info.function >> 28
        {
            continue;
        }
        let r = std::arch::x86_64::__cpuid_count(info.function, info.index.unwrap_or(0));
        *f.word_mut(w) = match info.reg {
            CpuidReg::Eax => r.eax,
            CpuidReg::Ebx => r.ebx,
            CpuidReg::Ecx => r.ecx,
            CpuidReg::Edx => r.edx,
        };
    }
    f
}

/// What the interpreter offers and the host has, with the host's maker.
pub(super) fn common_cpuid() -> CpuidSet {
    let mut set = crate::accel::offered_cpuid();
    set.set_features(&set.features().and(&host_features()));
    let r = std::arch::x86_64::__cpuid(0);
    let vendor: Vec<u8> = [r.ebx, r.edx, r.ecx].iter().flat_map(|v| v.to_le_bytes()).collect();
    if let Ok(v) = vendor.try_into() {
        set.set_vendor(0, 0xd, &v);
    }
    set
}

/// How to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As a block, with the shortcuts.
    Block,
    /// By its executor.
    Step,
}

/// The CPU and its memory.
pub(super) struct Interpreter {
    pub cpu: Box<Cpu>,
    ram: Arc<RamBlock>,
    template: Box<[u8; ARENA_LEN]>,
    _vm: TcgVm,
}

/// Physical addresses.
const TABLES: u64 = 0x1000;
const CODE_AT: u64 = 0x1_0000;
const ARENA_AT: u64 = 0x2_0000;
const READ_ONLY_AT: u64 = 0x3_0000;
const GDT_AT: u64 = 0x4_0000;
const RAM: u64 = 1 << 20;
/// Linear address of the GDT, on a page of the supervisor's.
const GDT: u64 = 0xffff_ffff_fffe_0000;

/// Linux's GDT as far as user code can tell: selector, attributes.
const DESCRIPTORS: [(u16, u16); 6] =
    [(0x08, 0xc09b), (0x10, 0xa09b), (0x18, 0xc093), (CS32 & !3, 0xc0fb), (DATA & !3, 0xc0f3), (CS64 & !3, 0xa0fb)];
fn segment(selector: u16) -> Segment {
    let attr = DESCRIPTORS.iter().find(|d| d.0 == selector & !3).map_or(0, |d| d.1);
    Segment { selector, base: 0, limit: u32::MAX, attr: attr.into() }
}

impl Interpreter {
    pub(super) fn new() -> Self {
        let ram = RamBlock::new("ram", RAM).unwrap();
        let (vm, mut cfg) = vm_with(&ram);
        cfg.cpuid = common_cpuid();
        let mut cpu = vm.create_cpu(&cfg).unwrap();
        let template = template();

        let entry = |at: u64, v: u64| ram.write(at, &v.to_le_bytes());
        // Present, writable, user, accessed, dirty.
        const RW: u64 = 0x67;
        const NX: u64 = 1 << 63;
        entry(TABLES, (TABLES + 0x1000) | RW);
        entry(TABLES + 0x1000, (TABLES + 0x2000) | RW);
        entry(TABLES + 0x2000 + 8 * (CODE >> 21), (TABLES + 0x3000) | RW);
        let page = |linear: u64, physical: u64, bits: u64| {
            entry(TABLES + 0x3000 + 8 * (linear >> 12 & 511), physical | bits);
        };
        for n in [0, 0x1000] {
            page(CODE + n, CODE_AT + n, RW);
            page(ARENA + n, ARENA_AT + n, RW | NX);
        }
        page(READ_ONLY, READ_ONLY_AT, RW & !2 | NX);
        // The supervisor's half.
        entry(TABLES + 0xff8, (TABLES + 0x4000) | RW);
        entry(TABLES + 0x4ff8, (TABLES + 0x5000) | RW);
        entry(TABLES + 0x5ff8, (TABLES + 0x6000) | RW);
        entry(TABLES + 0x6000 + 8 * (GDT >> 12 & 511), GDT_AT | RW & !4 | NX);
        ram.write(READ_ONLY_AT, &template[..0x1000]);
        for (selector, attr) in DESCRIPTORS {
            ram.write(GDT_AT + u64::from(selector), &(0xf_0000_0000_ffff | u64::from(attr) << 40).to_le_bytes());
        }

        cpu.cr0 = cr0::PE | cr0::MP | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::PG;
        cpu.cr3 = TABLES;
        cpu.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::FSGSBASE;
        cpu.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
        cpu.xcr0 = 7;
        cpu.gdtr = DescriptorTable { base: GDT, limit: 127 };
        // No event can be delivered: what would be ends the case.
        cpu.idtr = DescriptorTable { base: 0, limit: 0 };
        // No I/O permission map either.
        cpu.seg[Seg::Tr as usize] = Segment { selector: 0x40, base: GDT, limit: 0x20, attr: 0x8b };
        cpu.flush_tlb(true);
        Self { cpu, ram, template, _vm: vm }
    }
    /// The instruction set that is compared.
    pub(super) fn isa(&self) -> &Isa {
        &self.cpu.isa
    }
    /// What the interpreter decodes.
    pub(super) fn decode(&self, c: &Case) -> Instruction {
        decode(self.isa(), c.bits, &c.bytes[..15])
    }

    /// Executes a case.
    pub(super) fn run(&mut self, c: &Case, how: How, o: &mut Outcome) -> Ending {
        let i = self.decode(c);
        self.prepare(c);
        let ending = self.execute(c, &i, how);
        let cpu = &mut self.cpu;
        o.gpr.copy_from_slice(&cpu.regs[..16]);
        o.rflags = cpu.rflags();
        o.fpu = cpu.fpu.to_state().to_xsave();
        // SAFETY: the block is longer; nobody else writes to it.
        unsafe {
            std::ptr::copy_nonoverlapping(self.ram.host_ptr().add(ARENA_AT as usize), o.memory.as_mut_ptr(), ARENA_LEN);
        }
        ending
    }
    fn prepare(&mut self, c: &Case) {
        let host = |at: u64| {
            // SAFETY: every address below is inside the block.
            unsafe { self.ram.host_ptr().add(at as usize) }
        };
        let (code, (at, patch)) = (c.placed(), c.patch());
        // SAFETY: as above, with room for what is copied; the CPU is not running.
        unsafe {
            std::ptr::copy_nonoverlapping(self.template.as_ptr(), host(ARENA_AT), ARENA_LEN);
            std::ptr::copy_nonoverlapping(patch.as_ptr(), host(ARENA_AT + at as u64), patch.len());
            std::ptr::write_bytes(host(CODE_AT), FILLER, CODE_LEN as usize);
            std::ptr::copy_nonoverlapping(code.as_ptr(), host(CODE_AT + u64::from(c.at)), code.len());
        }
        let written = host(CODE_AT) as usize;
        let cpu = &mut self.cpu;
        cpu.cache.written_range(written, CODE_LEN as usize);
        cpu.cache.sweep();
        cpu.regs[..16].copy_from_slice(&c.gpr);
        let cs = if c.bits == 32 { CS32 } else { CS64 };
        let data = segment(DATA);
        cpu.seg = [data, segment(cs), data, data, Segment::default(), Segment::default(), cpu.seg[6], cpu.seg[7]];
        cpu.seg[Seg::Gs as usize].base = GS_BASE;
        cpu.regs[slot::FS] = 0;
        cpu.regs[slot::GS] = GS_BASE;
        cpu.set_rflags(c.rflags | rflags::IF);
        cpu.set_cpl(3);
        cpu.rip = c.start();
        cpu.fpu = Fpu::from_state(&FpuState::from_xsave(&c.fpu));
        cpu.events = PendingEvents::default();
        cpu.stop = None;
    }
    fn execute(&mut self, c: &Case, i: &Instruction, how: How) -> Ending {
        let (start, next) = (c.start(), c.next());
        let repeated = i.is_string_instruction() && (i.has_rep_prefix() || i.has_repne_prefix());
        let mut r: Exec = Ok(());
        // A long repetition comes back to the engine in between.
        for _ in 0..256 {
            r = match how {
                How::Step => self.cpu.step(),
                How::Block => self.cpu.attempt(if ends_block(i) { 1 } else { 2 }),
            };
            if r.is_err() || self.cpu.rip != start || !repeated {
                break;
            }
        }
        let rip = self.cpu.rip;
        match r {
            Ok(()) => Ending::Done { rip },
            // The breakpoint behind it, or the end of what is mapped.
            Err(Fault::Exception(_)) if rip == next => Ending::Done { rip },
            Err(Fault::Exception(e)) => {
                let code = u64::from(e.error_code.unwrap_or(0));
                // What would have been delivered, had there been an IDT.
                let software = match i.code() {
                    Code::Int1 => Some(1),
                    Code::Int3 => Some(3),
                    Code::Into => Some(4),
                    Code::Int_imm8 if matches!(i.immediate8(), 3 | 4) => Some(i.immediate8()),
                    _ => None,
                };
                match software.filter(|v| e.vector == 13 && code >> 3 == u64::from(*v) && code & 2 != 0) {
                    Some(vector) => Ending::Exception { vector, error_code: 0, cr2: 0, rip: next },
                    None => Ending::Exception {
                        vector: e.vector,
                        error_code: code,
                        cr2: if e.vector == 14 { self.cpu.cr2 } else { 0 },
                        rip,
                    },
                }
            }
            Err(Fault::Internal(why)) => Ending::Internal(why),
            Err(Fault::Exit(_)) => Ending::Internal("an exit"),
        }
    }
}

/// Decodes as a processor with these instructions does.
pub(super) fn decode(isa: &Isa, bits: u32, bytes: &[u8]) -> Instruction {
    isa.admit(Decoder::with_ip(bits, bytes, 0, isa.options()).decode(), bytes)
}

// One page table has all that cases use.
const _: () = assert!(CODE_LEN == 0x2000 && ARENA_LEN == 0x2000 && CODE >> 21 == READ_ONLY >> 21);
