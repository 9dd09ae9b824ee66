//! What KVM does otherwise than processors do, with the place in the SDM that says how they do it.
//!
//! Nearly all of it is of a KVM that emulates ring 0: what its instruction emulator lacks or simplifies, and what shows of the host where ring 3 of
//! 64-bit code is executed by the host's processor. A step with a known fault ends its case and is counted.

use super::case::Step;
use super::compare::{Difference, SEGMENTS};
use super::generate::{PAGE, bits, idt, long, real_like, ring};
use super::machine::{Ending, RAM};
use gearbox_core::x86::state::{Seg, X86State, cr0, cr4, efer, rflags};
use gearbox_tests::states::{GDT, HANDLERS};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, Mnemonic as M, OpKind, Register};

/// A step that came out differently.
pub struct Facts<'a> {
    pub instruction: Instruction,
    pub before: &'a X86State,
    pub kvm: &'a Ending,
    pub tcg: &'a Ending,
    pub differences: &'a [Difference],
    bytes: &'a [u8],
    intr: bool,
    intel: bool,
}

impl<'a> Facts<'a> {
    pub fn new(
        step: &'a Step,
        before: &'a X86State,
        (kvm, tcg): (&'a Ending, &'a Ending),
        differences: &'a [Difference],
        intel: bool,
    ) -> Self {
        let instruction = Decoder::new(bits(before), &step.code, DecoderOptions::NONE).decode();
        Self { instruction, before, kvm, tcg, differences, bytes: &step.code, intr: step.intr, intel }
    }
    fn is(&self, mnemonics: &[Mnemonic]) -> bool {
        mnemonics.contains(&self.instruction.mnemonic())
    }
    /// This KVM lets the host's processor execute ring 3 of 64-bit code, on the host's own tables.
    fn native(&self) -> bool {
        bits(self.before) == 64 && ring(self.before) == 3
    }
    fn differs(&self, field: &str) -> bool {
        self.differences.iter().any(|d| d.field == field)
    }
    /// Nothing but these differs.
    fn only(&self, fields: &[&str]) -> bool {
        self.differences.iter().all(|d| fields.iter().any(|f| d.field.starts_with(f)))
    }
    fn protected(&self) -> bool {
        !real_like(self.before)
    }
    /// KVM raises this exception, or cannot deliver it.
    fn kvm_raises(&self, v: u64) -> bool {
        self.raises(self.kvm, v)
    }
    /// And the software CPU does something else.
    fn only_kvm_raises(&self, v: u64) -> bool {
        self.kvm_raises(v) && vector(self.tcg) != Some(v)
    }
    /// The software CPU raises this exception, or cannot deliver it.
    fn faults(&self, v: u64) -> bool {
        self.raises(self.tcg, v)
    }
    fn astray(&self) -> bool {
        self.before.idtr.base != idt(self.before)
    }
    /// With another IDT than the mode's, it is not known which.
    fn raises(&self, ending: &Ending, v: u64) -> bool {
        self.astray() || vector(ending) == Some(v) || *ending == Ending::TripleFault
    }
    /// The instruction is a single step.
    fn stepped(&self) -> bool {
        self.before.rflags & rflags::TF != 0
    }
    fn value(&self) -> u64 {
        self.before.gpr[0]
    }
}

/// A value of a [`Difference`].
fn number(v: &str) -> u64 {
    u64::from_str_radix(v, 16).unwrap_or(0)
}

/// The vector in whose handler a step ended.
fn vector(e: &Ending) -> Option<u64> {
    let Ending::Stopped(s) = e else { return None };
    let at = s.seg(Seg::Cs).base.wrapping_add(s.rip).checked_sub(HANDLERS)?;
    (at < 0x1000 && at % 16 < 4).then_some(at / 16)
}

/// A known fault of KVM.
pub struct Gap {
    pub name: &'static str,
    /// Only a KVM that emulates ring 0 has it.
    pub emulated: bool,
    pub applies: fn(&Facts) -> bool,
}

const fn gap(name: &'static str, applies: fn(&Facts) -> bool) -> Gap {
    Gap { name, emulated: true, applies }
}

/// Instructions that the emulator does not have outside real mode.
const WITHOUT_CODE: &[Mnemonic] = &[
    M::Int,
    M::Into,
    M::Int1,
    M::Int3,
    M::Iret,
    M::Iretd,
    M::Iretq,
    M::Lar,
    M::Lsl,
    M::Verr,
    M::Verw,
    M::Bound,
    M::Arpl,
    M::Swapgs,
    M::Wait,
    M::Fnop,
    M::Fninit,
    M::Emms,
    M::Movaps,
];
const FAR: &[Mnemonic] = &[M::Jmp, M::Call, M::Iret, M::Iretd, M::Iretq, M::Retf];
/// Instructions that show or use descriptor tables without being privileged.
const ON_TABLES: &[Mnemonic] = &[
    M::Sgdt,
    M::Sidt,
    M::Sldt,
    M::Str,
    M::Smsw,
    M::Lar,
    M::Lsl,
    M::Verr,
    M::Verw,
    M::Lss,
    M::Lfs,
    M::Lgs,
    M::Iret,
    M::Iretd,
    M::Iretq,
    M::Retf,
];

fn names_segment(i: &Instruction) -> bool {
    (0..i.op_count()).any(|n| i.op_register(n).is_segment_register())
}

/// All that are known.
pub const GAPS: &[Gap] = &[
    gap("interrupts that an instruction lets in come late (vol. 3, 7.8.1)", |f| {
        let lets_in = f.is(&[M::Sti, M::Popf, M::Popfd, M::Popfq, M::Iret, M::Iretd, M::Iretq, M::Sysret, M::Sysretq]);
        f.intr && f.before.rflags & rflags::IF == 0 && lets_in
    }),
    gap("#GP for an external interrupt that has no gate lacks EXT (vol. 3, 7.13)", |f| {
        f.intr && f.kvm_raises(13) && f.faults(13) && f.only(&["memory"])
    }),
    gap("some single steps trap an instruction late: OUT, SWAPGS, accesses to devices (vol. 3, 19.3.1.4)", |f| {
        let [Difference { kvm, tcg, .. }] = f.differences else { return false };
        let late = number(kvm).wrapping_sub(number(tcg));
        f.stepped() && vector(f.kvm) == Some(1) && late.is_power_of_two() && late.trailing_zeros().is_multiple_of(16)
    }),
    gap("single step of INT n in real mode (vol. 3, 19.3.1.4)", |f| {
        !f.protected() && vector(f.kvm) == Some(1) && vector(f.tcg).is_some_and(|v| v != 1)
    }),
    gap("exceptions do not look at what is in the IDT (vol. 3, 7.12): with one of another mode, anything comes", |f| {
        f.astray() && (vector(f.tcg).is_some() || *f.tcg == Ending::TripleFault)
    }),
    gap("exceptions do not look at the limit of the stack (vol. 3, 7.12)", |f| {
        vector(f.kvm) == Some(12) && *f.tcg == Ending::TripleFault
    }),
    gap("SYSRET does not trap by the TF that it loads (AMD64 Linux, entry_64.S)", |f| {
        f.is(&[M::Sysretq]) && f.before.gpr[11] & rflags::TF != 0
    }),
    gap("LTR takes tasks of 16 bits in long mode (vol. 2, LTR)", |f| {
        long(f.before) && f.is(&[M::Ltr]) && (f.differs("tr") || f.kvm_raises(11)) && f.faults(13)
    }),
    gap("long mode begins with a task of 16 bits (vol. 3, 10.8.5.1)", |f| {
        let narrow = matches!(f.before.seg(Seg::Tr).attr & 0x1f, 1 | 3);
        narrow && f.is(&[M::Mov]) && f.instruction.op0_register() == Register::CR0 && f.faults(13)
    }),
    gap("near branches of 16 bits in 64-bit mode on AMD's (APM vol. 3, RET)", |f| {
        !f.intel && bits(f.before) == 64 && f.bytes[0] == 0x66 && f.is(&[M::Ret, M::Call, M::Jmp])
    }),
    gap("IRET in real mode does not go beyond 64 KiB (vol. 2, IRET)", |f| {
        f.before.cr0 & cr0::PE == 0 && f.is(&[M::Iret, M::Iretd]) && f.before.seg(Seg::Cs).limit > 0xffff
    }),
    gap("#UD outside real mode for instructions that the emulator has no code for", |f| {
        f.protected() && f.is(WITHOUT_CODE) && f.kvm_raises(6)
    }),
    gap("ENTER does not look at the end of its frame (vol. 2, ENTER)", |f| {
        f.is(&[M::Enter]) && (f.only(&["memory 20"]) || f.faults(14) || f.faults(12))
    }),
    gap("#UD for ENTER with a level (vol. 2, ENTER)", |f| f.is(&[M::Enter]) && f.only_kvm_raises(6)),
    gap("ENTER pushes as widely as the stack is (vol. 2, ENTER)", |f| {
        f.is(&[M::Enter]) && f.only(&["gpr4", "gpr5", "memory"])
    }),
    gap("CALL to compatibility mode pushes when it is there (vol. 2, CALL)", |f| {
        let elsewhere = vector(f.kvm) == Some(12) || f.only(&["memory"]);
        bits(f.before) == 64 && f.instruction.is_call_far_indirect() && elsewhere
    }),
    gap("interrupts in real mode push as widely as CS.D says (vol. 2, INT n)", |f| {
        f.before.cr0 & cr0::PE == 0 && f.before.seg(Seg::Cs).db() && f.only(&["gpr4", "memory"])
    }),
    gap("the last byte of the I/O permission map may lie beyond the limit (vol. 1, 19.5.2)", |f| {
        f.is(&[M::In, M::Out, M::Insb, M::Insd, M::Insw, M::Outsb, M::Outsd, M::Outsw])
            && ring(f.before) == 3
            && vector(f.tcg) == Some(13)
    }),
    gap("no breakpoints on data and I/O (vol. 3, 19.2)", |f| {
        let on = (0..4).any(|n| f.before.dr[5] >> (2 * n) & 3 != 0 && f.before.dr[5] >> (16 + 4 * n) & 3 != 0);
        on && f.faults(1)
    }),
    gap("IRET of long mode checks neither the target nor SS (vol. 2, IRET)", |f| {
        long(f.before) && f.is(&[M::Iret, M::Iretd, M::Iretq]) && f.faults(13)
    }),
    gap("64-bit ring 3 has the host's SYSENTER (vol. 2, SYSENTER)", |f| f.native() && f.is(&[M::Sysenter])),
    gap("IA32_PAT takes reserved types (vol. 3, 13.12.4)", |f| {
        f.is(&[M::Wrmsr]) && f.before.gpr[1] == 0x277 && f.faults(13)
    }),
    gap("exceptions do not look at SS.B: stacks of 16 bits (vol. 3, 7.12)", |f| {
        let low = f.before.gpr[4] & 0xffff_ffff;
        f.protected() && !long(f.before) && !f.before.seg(Seg::Ss).db() && !(0x40..=0xffff).contains(&low)
    }),
    gap("exceptions do not look for the code segment that the gate names (vol. 3, 7.12.1)", |f| {
        f.protected() && (f.before.gdtr.base != GDT || f.before.gdtr.limit < 0xff) && *f.tcg == Ending::TripleFault
    }),
    gap("no call gates and task switches (vol. 3, 6.8.4 and 9.3)", |f| {
        let task = f.differs("tr") && f.kvm_raises(13);
        f.protected() && (task || f.is(FAR) && f.kvm_raises(6))
    }),
    gap("64-bit ring 3 uses the host's segments (vol. 3, 3.4)", |f| {
        let far = f.instruction.is_jmp_far_indirect() || f.instruction.is_call_far_indirect();
        f.native() && (f.is(ON_TABLES) || far || names_segment(&f.instruction))
    }),
    gap("64-bit ring 3 has IF set, IOPL 0 and NT clear (vol. 3, 2.3)", |f| {
        let odd = |s: &X86State| {
            bits(s) == 64 && ring(s) == 3 && s.rflags & (rflags::IF | rflags::IOPL | rflags::NT) != rflags::IF
        };
        odd(f.before) || matches!(f.tcg, Ending::Stopped(s) if odd(s))
    }),
    gap("64-bit ring 3 has the host's tables in the upper half (vol. 3, 5.7)", |f| {
        let upper = matches!(f.tcg, Ending::Stopped(s) if s.cr2 >> 47 != 0);
        upper && vector(f.kvm) == Some(14) && f.faults(14) && f.only(&["memory"])
    }),
    gap("64-bit ring 3 has the host's XGETBV (vol. 2, XGETBV)", |f| f.native() && f.is(&[M::Xgetbv])),
    gap("64-bit ring 3 does not see CR0.TS and CR0.EM (vol. 3, 2.5)", |f| {
        f.native() && f.before.cr0 & (cr0::TS | cr0::EM) != 0 && matches!(vector(f.tcg), Some(6 | 7))
    }),
    gap("SYSCALL from 64-bit ring 3 shows the old CS and SS (vol. 2, SYSCALL)", |f| {
        f.native() && f.is(&[M::Syscall]) && (f.only(&["cs", "ss", "memory"]) || vector(f.tcg).is_some())
    }),
    gap("SYSCALL from 64-bit ring 3 without EFER.SCE (vol. 2, SYSCALL)", |f| {
        f.native() && f.is(&[M::Syscall]) && f.before.efer & efer::SCE == 0
    }),
    gap("no protected-mode virtual interrupts in 64-bit ring 3 (vol. 3, 21.4)", |f| {
        f.native() && f.is(&[M::Cli, M::Sti]) && f.before.cr4 & cr4::PVI != 0
    }),
    gap("accesses across the border of canonical addresses (vol. 1, 3.3.7.1)", |f| {
        let at = |n: usize| f.before.gpr[n] | 0xf == 0x7fff_ffff_ffff;
        bits(f.before) == 64 && (at(3) && f.faults(13) || (at(4) || at(5)) && f.faults(12))
    }),
    gap("#SS by an SS prefix in 64-bit mode (vol. 2, 2.2.1)", |f| {
        bits(f.before) == 64 && f.bytes[0] == 0x36 && vector(f.tcg) == Some(13) && vector(f.kvm) == Some(12)
    }),
    gap("what modifies memory that may only be read sets the page's accessed flag (vol. 3, 5.8)", |f| {
        vector(f.kvm) == vector(f.tcg) && matches!(vector(f.tcg), Some(12..=14)) && f.only(&["memory 20"])
    }),
    gap("a far call beyond the limit sets the segment's accessed flag (vol. 2, CALL)", |f| {
        (f.instruction.is_call_far() || f.instruction.is_jmp_far() || f.is(FAR))
            && f.faults(13)
            && f.only(&["memory 30"])
    }),
    gap("SLDT, STR, SMSW and MOV from segments with REX.W store 8 bytes (vol. 2, SLDT)", |f| {
        let op0 = f.instruction.op0_kind() == OpKind::Memory;
        op0 && f.bytes[0] == 0x48
            && (f.is(&[M::Sldt, M::Str, M::Smsw]) || names_segment(&f.instruction))
            && f.only(&["memory"])
    }),
    gap("the upper half of CR0 (vol. 2, MOV)", |f| {
        f.is(&[M::Mov]) && f.instruction.op0_register() == Register::CR0 && f.value() >> 32 != 0 && f.faults(13)
    }),
    gap("exceptions clear AC, and IOPL and NT are not kept (vol. 3, 7.14)", |f| {
        let lost = |a: &X86State, b: &X86State| (a.rflags ^ b.rflags) & !(rflags::AC | rflags::IOPL | rflags::NT) == 0;
        let (Ending::Stopped(a), Ending::Stopped(b)) = (f.kvm, f.tcg) else { return false };
        f.only(&["rflags", "memory"]) && f.differs("rflags") && lost(a, b)
    }),
    gap("IRET keeps reserved flags (vol. 1, 3.4.3)", |f| {
        let reserved =
            |e: &Ending| matches!(e, Ending::Stopped(s) if s.rflags & !(rflags::DEFINED | rflags::FIXED1) != 0);
        f.is(&[M::Iret, M::Iretd, M::Iretq]) && reserved(f.kvm)
    }),
    gap("the vector table of real mode has no limit (vol. 3, 21.1.4)", |f| {
        f.before.cr0 & cr0::PE == 0 && f.before.idtr.limit < 0x3ff
    }),
    gap("interrupts in real mode use and leave 16 bits of ESP (vol. 3, 21.1.4)", |f| {
        let (Ending::Stopped(a), Ending::Stopped(b)) = (f.kvm, f.tcg) else { return false };
        f.before.cr0 & cr0::PE == 0 && f.only(&["gpr4", "memory"]) && a.gpr[4] == b.gpr[4] & 0xffff
    }),
    gap("INT n in real mode takes n as signed (vol. 2, INT n)", |f| {
        f.before.cr0 & cr0::PE == 0 && f.is(&[M::Int]) && f.instruction.immediate8() >= 0x80
    }),
    gap("PUSH in real mode with SP of 1 does not shut down (vol. 2, PUSH)", |f| {
        f.before.cr0 & cr0::PE == 0 && f.before.gpr[4] & 0xffff < 8 && *f.tcg == Ending::TripleFault
    }),
    gap("IRET with operands of 16 and 32 bits in long mode (vol. 2, IRET)", |f| {
        long(f.before) && f.is(&[M::Iret, M::Iretd]) && f.kvm_raises(13)
    }),
    gap("IRET and RET to conforming code compare its DPL with the privilege before (vol. 2, IRET)", |f| {
        f.is(&[M::Iret, M::Iretd, M::Iretq, M::Retf]) && f.only_kvm_raises(13)
    }),
    gap("IRET to ring 3 leaves it the data segments of ring 0 (vol. 2, IRET)", |f| {
        f.is(&[M::Iret, M::Iretd, M::Iretq]) && f.only(&["es", "ds", "fs", "gs", "rflags", "memory"])
    }),
    gap("SYSRET to other than 64-bit mode, or from it (vol. 2, SYSRET)", |f| f.is(&[M::Sysret])),
    gap("SYSRET keeps neither NT nor IOPL, nor SS but for its selector (vol. 2, SYSRET)", |f| {
        f.is(&[M::Sysretq]) && f.only(&["ss", "rflags", "memory"])
    }),
    gap("SYSRET to an address that is not canonical faults in ring 3 on Intel's (vol. 2, SYSRET)", |f| {
        f.intel && f.is(&[M::Sysretq]) && f.faults(13)
    }),
    gap("upper halves of IA32_FMASK and IA32_SYSENTER_CS (vol. 4, table 2-2)", |f| {
        f.is(&[M::Wrmsr]) && f.only(&["msr c0000084", "msr 174"])
    }),
    gap("bits of CR4 that CPUID does not have (vol. 3, 2.5)", |f| {
        let cpuid = cr4::VME | 0x7ff;
        let to_cr4 = f.is(&[M::Mov]) && f.instruction.op0_register() == Register::CR4;
        to_cr4 && (f.value() ^ f.before.cr4) & !cpuid != 0 && (f.differs("cr4") || f.faults(13))
    }),
    gap("INT n outside real mode (vol. 2, INT n)", |f| {
        f.protected() && f.is(&[M::Int, M::Int3, M::Int1]) && f.kvm_raises(13)
    }),
    gap("INT 18h to 1Fh call this KVM (vol. 2, INT n)", |f| {
        f.protected() && f.is(&[M::Int]) && matches!(f.instruction.immediate8(), 0x18..0x20)
    }),
    gap("SYSRET without EFER.SCE (vol. 2, SYSRET)", |f| f.is(&[M::Sysretq]) && f.before.efer & efer::SCE == 0),
    gap("SYSEXIT looks at all bits of IA32_SYSENTER_CS (vol. 2, SYSEXIT)", |f| {
        let cs = f.before.msrs.get(&0x174).copied().unwrap_or(0);
        f.is(&[M::Sysexit, M::Sysexitq]) && cs != 0 && cs & 0xfffc == 0 && f.faults(13)
    }),
    gap("no SYSCALL in real mode on AMD's (APM vol. 3, SYSCALL)", |f| {
        f.before.cr0 & cr0::PE == 0 && !f.intel && f.is(&[M::Syscall])
    }),
    gap("IA32_SYSENTER_ESP and EIP take what is not canonical (vol. 2, WRMSR)", |f| {
        let v = (f.before.gpr[2] << 32 | f.before.gpr[0] & 0xffff_ffff).cast_signed();
        f.is(&[M::Wrmsr]) && matches!(f.before.gpr[1], 0x175 | 0x176) && v << 16 >> 16 != v
    }),
    gap("SYSENTER and SYSEXIT in long mode on AMD's (APM vol. 3, SYSENTER)", |f| {
        !f.intel && long(f.before) && f.is(&[M::Sysenter, M::Sysexit, M::Sysexitq]) && f.faults(6)
    }),
    gap("SWAPGS outside 64-bit mode (vol. 2, SWAPGS)", |f| bits(f.before) != 64 && f.bytes == [0x0f, 0x01, 0xf8]),
    gap("far pointers with 64-bit offsets on AMD's (APM vol. 3, LFS)", |f| {
        let far = f.instruction.is_jmp_far_indirect() || f.instruction.is_call_far_indirect();
        !f.intel && f.bytes[0] & 0xf8 == 0x48 && (far || f.is(&[M::Lss, M::Lfs, M::Lgs]))
    }),
    gap("#GP by privilege before #UD for control registers that do not exist (vol. 2, MOV)", |f| {
        let unknown = matches!(f.bytes, [0x0f, 0x20 | 0x22, modrm] if matches!(modrm >> 3 & 7, 1 | 5..));
        ring(f.before) == 3 && unknown && f.only_kvm_raises(13)
    }),
    gap("XSETBV where CPUID has no XSAVE (vol. 2, XSETBV)", |f| f.is(&[M::Xsetbv]) && f.faults(6)),
    gap("RDFSBASE and the like without CR4.FSGSBASE or CPUID's (vol. 2, RDFSBASE)", |f| {
        f.is(&[M::Rdfsbase, M::Rdgsbase, M::Wrfsbase, M::Wrgsbase]) && f.faults(6)
    }),
    gap("DR7 bit 11 sticks without RTM (vol. 3, 19.2.4)", |f| f.differs("dr7") && f.only(&["dr7"])),
    gap("upper halves for DR4 and DR5 (vol. 2, MOV)", |f| {
        let dr = f.instruction.op0_register();
        matches!(dr, Register::DR4 | Register::DR5) && f.value() >> 32 != 0 && f.faults(13)
    }),
    gap("LTR with TI set has no error code (vol. 2, LTR)", |f| {
        f.is(&[M::Ltr]) && f.value() & 4 != 0 && f.only(&["memory"])
    }),
    gap("no paging outside long mode (vol. 3, 4.1)", |f| {
        let on = matches!(f.tcg, Ending::TripleFault) || matches!(f.tcg, Ending::Stopped(s) if s.cr0 & cr0::PG != 0);
        let to_cr0 = f.is(&[M::Mov]) && f.instruction.op0_register() == Register::CR0;
        to_cr0 && !long(f.before) && f.before.cr0 & cr0::PG == 0 && f.value() & cr0::PG != 0 && on
    }),
    Gap {
        name: "the frame of a double fault, an abort, has RF or not (vol. 3, 19.3.1.1)",
        emulated: false,
        applies: |f| {
            let [d] = f.differences else { return false };
            let bits = number(&d.kvm) ^ number(&d.tcg);
            d.field.starts_with("memory") && (bits == rflags::RF || bits == rflags::RF << 32)
        },
    },
    Gap {
        name: "stacks where there is no RAM, which KVM delivers nothing to",
        emulated: false,
        applies: |f| {
            *f.kvm == Ending::TripleFault
                && (f.before.gpr[4] >= RAM || f.before.gpr[4].wrapping_sub(1) & !0xfff == PAGE)
        },
    },
    Gap {
        name: "what was null in protected mode and is loaded in real mode may be present or not (vol. 3, 21.1.1)",
        emulated: false,
        applies: |f| {
            let null = |(name, seg): &(&str, Seg)| f.differs(name) && f.before.seg(*seg).unusable();
            f.before.cr0 & cr0::PE == 0 && f.differences.len() == SEGMENTS.iter().filter(|s| null(s)).count()
        },
    },
    Gap {
        name: "accesses across 4 GiB may fault or not (vol. 3, 6.3)",
        emulated: false,
        applies: |f| {
            let low = |n: usize| f.before.gpr[n] & 0xffff_ffff;
            bits(f.before) != 64 && ((1..6).any(|n| low(n) >= 0xffff_ffe0) || low(4) < 0x20)
        },
    },
];
