//! A CPU's registers as text, in the manner of QEMU's `info registers`.

use super::state::{Activity, Seg, Segment, X86State, cr0, efer, rflags};
use std::fmt;

const GPR: [&str; 16] =
    ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"];
const SEG: [&str; 8] = ["ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDT", "TR "];

impl X86State {
    /// Width of code in bits, and privilege level, as CS and the mode bits have it.
    pub fn mode(&self) -> (u32, u8) {
        let cs = self.seg(Seg::Cs);
        let bits = match (self.efer & efer::LMA != 0 && cs.l(), cs.db()) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        };
        let cpl = if self.cr0 & cr0::PE == 0 {
            0
        } else if self.rflags & rflags::VM != 0 {
            3
        } else {
            self.seg(Seg::Ss).dpl()
        };
        (bits, cpl)
    }
}

fn segment(f: &mut fmt::Formatter<'_>, name: &str, s: &Segment) -> fmt::Result {
    writeln!(f, "{name} ={:04x} {:016x} {:08x} {:05x}", s.selector, s.base, s.limit, s.attr)
}

impl fmt::Display for X86State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // RAX, RBX, RCX, RDX, then RSI, RDI, RBP, RSP: the order in which people read them.
        for row in [[0, 3, 1, 2], [6, 7, 5, 4], [8, 9, 10, 11], [12, 13, 14, 15]] {
            let cells = row.map(|i: usize| format!("{}={:016x}", GPR[i], self.gpr[i]));
            writeln!(f, "{}", cells.join(" "))?;
        }
        let (bits, cpl) = self.mode();
        let halted = u8::from(self.activity == Activity::Halted);
        writeln!(f, "RIP={:016x} RFL={:08x} CPL={cpl} BITS={bits} HLT={halted}", self.rip, self.rflags)?;
        for (name, s) in SEG.iter().zip(&self.seg) {
            segment(f, name, s)?;
        }
        writeln!(f, "GDT=     {:016x} {:08x}", self.gdtr.base, self.gdtr.limit)?;
        writeln!(f, "IDT=     {:016x} {:08x}", self.idtr.base, self.idtr.limit)?;
        writeln!(f, "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x}", self.cr0, self.cr2, self.cr3, self.cr4)?;
        write!(f, "EFER={:016x}", self.efer)
    }
}
