//! INT n, INT3, INTO and INT1, with the virtual-8086 rules (SDM vol. 2, INT n; vol. 3, 20.3.3).

use super::interrupt::Source;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use gearbox_core::x86::state::{Seg, cr4, rflags};
use iced_x86::{Code, Instruction};

pub(super) fn executor(code: Code) -> Option<Executor> {
    use Code::*;
    Some(match code {
        Int_imm8 => int_n,
        Int3 => |cpu, _| cpu.deliver(vector::BP, Source::Software, None),
        Int1 => int1,
        Into => |cpu, _| match cpu.lazy.of() {
            true => cpu.deliver(vector::OF, Source::Software, None),
            false => Ok(()),
        },
        _ => return None,
    })
}

fn int1(cpu: &mut Cpu, _: &Instruction) -> Exec {
    cpu.deliver(vector::DB, Source::Icebp, None)
}

fn int_n(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let n = i.immediate8();
    if cpu.v86() {
        let redirected = cpu.cr4 & cr4::VME != 0 && !cpu.redirection_bit(n)?;
        if redirected {
            return cpu.deliver_to_8086_program(n);
        }
        if cpu.iopl() < 3 {
            return Err(Fault::GP0);
        }
    }
    cpu.deliver(n, Source::Software, None)
}

impl Cpu {
    /// I/O privilege level.
    pub(crate) fn iopl(&self) -> u8 {
        (self.flags >> 12 & 3) as u8
    }

    /// Bit `n` of the TSS's interrupt redirection bitmap, which lies just below the I/O permission bitmap. Set: the protected-mode handler
    /// gets the interrupt.
    fn redirection_bit(&mut self, n: u8) -> Exec<bool> {
        let tr = *self.segment(Seg::Tr);
        let at = |offset: u64| (offset <= u64::from(tr.limit)).then(|| tr.base.wrapping_add(offset));
        let (Some(_), Some(base)) = (at(0x67), at(0x66)) else { return Err(Fault::GP0) };
        let io_map: u16 = self.system_read(base)?;
        let byte = u64::from(io_map).wrapping_sub(32).wrapping_add(u64::from(n / 8));
        let Some(byte) = at(byte) else { return Err(Fault::GP0) };
        Ok(self.system_read::<u8>(byte)? >> (n % 8) & 1 != 0)
    }

    /// INT n inside virtual-8086 mode, by the 8086 program's own interrupt table at linear address 0.
    fn deliver_to_8086_program(&mut self, n: u8) -> Exec {
        let entry: u32 = self.load(u64::from(n) * 4, self.privilege())?;
        let flags = self.rflags();
        let virtual_if = self.iopl() < 3;
        let pushed = if virtual_if {
            let enabled = if flags & rflags::VIF != 0 { rflags::IF } else { 0 };
            flags & !rflags::IF | enabled | rflags::IOPL
        } else {
            flags
        };
        let ip = u64::from(entry & 0xffff);
        self.check_push(6)?;
        self.push(pushed as u16)?;
        self.push(self.segment(Seg::Cs).selector)?;
        self.push(self.rip as u16)?;
        let cs = self.flat_paragraph(Seg::Cs, super::descriptor::Selector((entry >> 16) as u16));
        self.set_seg(Seg::Cs, cs);
        self.rip = ip;
        let cleared = rflags::TF | if virtual_if { rflags::VIF } else { rflags::IF };
        self.set_rflags(flags & !cleared);
        Ok(())
    }
}
