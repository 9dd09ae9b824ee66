//! Registers of a CPU: by name, and as `info registers` shows them.

use super::output::{Done, Output};
use crate::x86::state::{Activity, Seg, Segment, X86State, cr0, efer, rflags};
use std::fmt::Write;

/// 32-bit names in the order of [`X86State::gpr`]; the 64-bit ones begin with `r`.
const GPR: [&str; 8] = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
const SEGMENTS: [(&str, Seg); 6] =
    [("es", Seg::Es), ("cs", Seg::Cs), ("ss", Seg::Ss), ("ds", Seg::Ds), ("fs", Seg::Fs), ("gs", Seg::Gs)];

/// The linear address of the next instruction.
pub(super) fn pc(s: &X86State) -> u64 {
    let pc = s.seg(Seg::Cs).base.wrapping_add(s.rip);
    if s.mode().0 == 64 { s.rip } else { pc & 0xffff_ffff }
}

/// A register by name: general-purpose ones, `eflags`, `eip`, `pc`, and segment registers with `.base` and `.limit`.
pub(super) fn register(s: &X86State, name: &str) -> Option<u64> {
    let gpr = |name: &str| GPR.iter().position(|n| *n == name);
    if let Some(n) = name.strip_prefix('e').and_then(gpr) {
        return Some(s.gpr[n] & 0xffff_ffff);
    }
    if let Some(n) = name.strip_prefix('r') {
        let numbered = || n.parse().ok().filter(|n| (8..16).contains(n));
        if let Some(n) = gpr(n).or_else(numbered) {
            return Some(s.gpr[n]);
        }
    }
    match name {
        "pc" => return Some(pc(s)),
        "eip" => return Some(s.rip & 0xffff_ffff),
        "rip" => return Some(s.rip),
        "eflags" | "rflags" => return Some(s.rflags),
        _ => {}
    }
    let (name, part) = name.split_once('.').unwrap_or((name, "selector"));
    let segment = s.seg(SEGMENTS.iter().find(|(n, _)| *n == name)?.1);
    match part {
        "selector" => Some(segment.selector.into()),
        "base" => Some(segment.base),
        "limit" => Some(segment.limit.into()),
        _ => None,
    }
}

/// What state does not hold, but is shown with it.
pub(super) struct Around {
    /// Number of the CPU.
    pub(super) index: usize,
    /// Address line 20 is let through.
    pub(super) a20: bool,
}

/// All registers, in QEMU's form.
pub(super) fn dump(s: &X86State, around: &Around, out: &mut Output) -> Done {
    let (bits, cpl) = s.mode();
    let long = bits == 64;
    writeln!(out, "\nCPU#{}", around.index)?;
    // A, B, C, D, then SI, DI, BP, SP: the order in which people read them.
    const ORDER: [usize; 8] = [0, 3, 1, 2, 6, 7, 5, 4];
    let rows = if long { 4 } else { 2 };
    for row in 0..rows {
        for column in 0..4 {
            let n = row * 4 + column;
            let gap = if column == 3 { '\n' } else { ' ' };
            match n {
                8.. => write!(out, "R{n:<2}={:016x}{gap}", s.gpr[n])?,
                _ if long => write!(out, "R{}={:016x}{gap}", GPR[ORDER[n]].to_uppercase(), s.gpr[ORDER[n]])?,
                _ => write!(out, "E{}={:08x}{gap}", GPR[ORDER[n]].to_uppercase(), s.gpr[ORDER[n]] as u32)?,
            }
        }
    }
    let flags = [
        (rflags::DF, 'D'),
        (rflags::OF, 'O'),
        (rflags::SF, 'S'),
        (rflags::ZF, 'Z'),
        (rflags::AF, 'A'),
        (rflags::PF, 'P'),
        (rflags::CF, 'C'),
    ];
    let flags: String = flags.iter().map(|(bit, c)| if s.rflags & bit != 0 { *c } else { '-' }).collect();
    if long {
        write!(out, "RIP={:016x} RFL={:08x}", s.rip, s.rflags)?;
    } else {
        write!(out, "EIP={:08x} EFL={:08x}", s.rip as u32, s.rflags)?;
    }
    let inhibited = u8::from(s.events.sti_shadow || s.events.mov_ss_shadow);
    let halted = u8::from(s.activity != Activity::Active);
    let (a20, smm) = (u8::from(around.a20), u8::from(s.smm.active));
    writeln!(out, " [{flags}] CPL={cpl} II={inhibited} A20={a20} SMM={smm} HLT={halted}")?;
    for (name, seg) in SEGMENTS {
        segment(s, &name.to_uppercase(), s.seg(seg), long, out)?;
    }
    segment(s, "LDT", s.seg(Seg::Ldtr), long, out)?;
    segment(s, "TR", s.seg(Seg::Tr), long, out)?;
    let width = if s.efer & efer::LMA != 0 { 16 } else { 8 };
    writeln!(out, "GDT=     {:0width$x} {:08x}", s.gdtr.base, s.gdtr.limit)?;
    writeln!(out, "IDT=     {:0width$x} {:08x}", s.idtr.base, s.idtr.limit)?;
    writeln!(out, "CR0={:08x} CR2={:0width$x} CR3={:0width$x} CR4={:08x}", s.cr0, s.cr2, s.cr3, s.cr4)?;
    for (n, dr) in s.dr[..4].iter().enumerate() {
        write!(out, "DR{n}={dr:016x} ")?;
    }
    writeln!(out, "\nDR6={:016x} DR7={:016x}", s.dr[4], s.dr[5])?;
    writeln!(out, "EFER={:016x}", s.efer)?;
    floating_point(s, long, out)
}

fn floating_point(s: &X86State, long: bool, out: &mut Output) -> Done {
    let f = &s.fpu;
    let top = f.fsw >> 11 & 7;
    writeln!(out, "FCW={:04x} FSW={:04x} [ST={top}] FTW={:02x} MXCSR={:08x}", f.fcw, f.fsw, f.ftw, f.mxcsr)?;
    let end = |n: usize| if n % 2 == 1 { '\n' } else { ' ' };
    for n in 0..8 {
        // Shown by physical register.
        let st = f.st[(n + 8 - usize::from(top)) % 8];
        write!(out, "FPR{n}={:016x} {:04x}{}", st as u64, (st >> 64) as u16, end(n))?;
    }
    const AVX: u64 = 6;
    for n in 0..if long { 16 } else { 8 } {
        let quads = |v: u128| format!("{:016x} {:016x}", (v >> 64) as u64, v as u64);
        if s.xcr0 & AVX == AVX {
            writeln!(out, "YMM{n:02}={} {}", quads(f.ymm_hi[n]), quads(f.xmm[n]))?;
        } else {
            write!(out, "XMM{n:02}={}{}", quads(f.xmm[n]), end(n))?;
        }
    }
    Ok(())
}

/// Names of system segment types (SDM vol. 3, table 3-2), outside IA-32e mode and in it.
const SYSTEM: [[&str; 16]; 2] = [
    [
        "Reserved",
        "TSS16-avl",
        "LDT",
        "TSS16-busy",
        "CallGate16",
        "TaskGate",
        "IntGate16",
        "TrapGate16",
        "Reserved",
        "TSS32-avl",
        "Reserved",
        "TSS32-busy",
        "CallGate32",
        "Reserved",
        "IntGate32",
        "TrapGate32",
    ],
    [
        "<hiword>",
        "Reserved",
        "LDT",
        "Reserved",
        "Reserved",
        "Reserved",
        "Reserved",
        "Reserved",
        "Reserved",
        "TSS64-avl",
        "Reserved",
        "TSS64-busy",
        "CallGate64",
        "Reserved",
        "IntGate64",
        "TrapGate64",
    ],
];

fn segment(s: &X86State, name: &str, seg: &Segment, long: bool, out: &mut Output) -> Done {
    let width = if long { 16 } else { 8 };
    let base = if long { seg.base } else { seg.base & 0xffff_ffff };
    // As in the high half of a descriptor; the limit's bits there are left out.
    let rights = (seg.attr & 0xf0ff) << 8;
    write!(out, "{name:<3}={:04x} {base:0width$x} {:08x} {rights:08x}", seg.selector, seg.limit)?;
    if s.cr0 & cr0::PE == 0 || !seg.present() {
        return Ok(writeln!(out)?);
    }
    write!(out, " DPL={} ", seg.dpl())?;
    let ia32e = s.efer & efer::LMA != 0;
    let mark = |bit: u8, c: char| if seg.typ() & bit != 0 { c } else { '-' };
    if !seg.s() {
        return Ok(writeln!(out, "{}", SYSTEM[usize::from(ia32e)][usize::from(seg.typ())])?);
    }
    let (kind, flags) = if seg.typ() & 8 != 0 {
        let kind = match (seg.l(), seg.db()) {
            (true, _) => "CS64",
            (false, true) => "CS32",
            (false, false) => "CS16",
        };
        (kind, [mark(4, 'C'), mark(2, 'R')])
    } else {
        (if seg.db() || ia32e { "DS  " } else { "DS16" }, [mark(4, 'E'), mark(2, 'W')])
    };
    Ok(writeln!(out, "{kind} [{}{}{}]", flags[0], flags[1], mark(1, 'A'))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_registers() {
        let mut s = X86State::reset(true, 0x663);
        s.gpr[9] = 1 << 40;
        assert_eq!(register(&s, "pc"), Some(0xffff_fff0));
        assert_eq!(
            (register(&s, "edx"), register(&s, "r9"), register(&s, "eflags")),
            (Some(0x663), Some(1 << 40), Some(2))
        );
        assert_eq!((register(&s, "cs"), register(&s, "cs.base")), (Some(0xf000), Some(0xffff_0000)));
        for name in ["", "e", "r", "r7", "r16", "xax", "cs.", "cs.nothing", "gs.base.base"] {
            assert_eq!(register(&s, name), None, "{name}");
        }
    }

    #[test]
    fn after_reset_it_reads_as_qemus() {
        let mut out = Output::default();
        let done = dump(&X86State::reset(true, 0x60fb1), &Around { index: 0, a20: true }, &mut out);
        let text = out.finish(done);
        let expected = "\nCPU#0\nEAX=00000000 EBX=00000000 ECX=00000000 EDX=00060fb1\n\
            ESI=00000000 EDI=00000000 EBP=00000000 ESP=00000000\n\
            EIP=0000fff0 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\n\
            ES =0000 00000000 0000ffff 00009300\n\
            CS =f000 ffff0000 0000ffff 00009b00\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("\nGDT=     00000000 0000ffff\n") && text.contains("\nEFER=0000000000000000\nFCW="),
            "{text}"
        );
    }
}
