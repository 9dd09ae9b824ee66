//! Debug registers (SDM vol. 3, 18.2).

use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use crate::mem::Access;
use gearbox_core::x86::state::{Seg, cr4, rflags};
use iced_x86::{Code, Instruction, Register};

pub(super) fn executor(code: Code) -> Option<Executor> {
    Some(match code {
        Code::Mov_r32_dr | Code::Mov_r64_dr => mov_from,
        Code::Mov_dr_r32 | Code::Mov_dr_r64 => mov_to,
        _ => return None,
    })
}

/// Index of DR6 in [`Cpu::dr`].
pub(crate) const DR6: usize = 4;
/// Index of DR7.
pub(crate) const DR7: usize = 5;

/// DR6 bits.
pub(crate) mod dr6 {
    /// A debug register was touched under DR7.GD.
    pub(crate) const BD: u64 = 1 << 13;
    /// Single step.
    pub(crate) const BS: u64 = 1 << 14;
    /// Switch to a task with the T flag.
    pub(crate) const BT: u64 = 1 << 15;
    /// What is always set (no RTM).
    pub(crate) const FIXED: u64 = 0xffff_0ff0;
    pub(super) const WRITABLE: u64 = 0xe00f;
}

/// DR7 bits.
pub(crate) mod dr7 {
    /// General detect: access to debug registers raises #DB.
    pub(crate) const GD: u64 = 1 << 13;
    /// What is enabled for the present task only: L0 to L3, LE.
    pub(crate) const LOCAL: u64 = 0x155;
    pub(super) const FIXED: u64 = 1 << 10;
    pub(super) const WRITABLE: u64 = 0xffff_23ff;
}

/// DR6 and DR7 with the bits that are fixed in them.
pub(super) fn with_fixed(dr6: u64, dr7: u64) -> (u64, u64) {
    (dr6 & dr6::WRITABLE | dr6::FIXED, dr7 & dr7::WRITABLE | dr7::FIXED)
}

/// The place in [`Cpu::dr`], after all checks.
fn place(cpu: &mut Cpu, r: Register) -> Exec<usize> {
    let n = r.number();
    let n = match n {
        4 | 5 if cpu.cr4 & cr4::DE != 0 => return Err(Fault::UD),
        4 | 5 => n + 2,
        0..=7 => n,
        _ => return Err(Fault::UD),
    };
    cpu.require_ring0()?;
    if cpu.dr[DR7] & dr7::GD != 0 {
        cpu.dr[DR6] |= dr6::BD;
        return Err(Fault::plain(vector::DB));
    }
    Ok(if n >= 6 { n - 2 } else { n })
}

fn mov_from(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let at = place(cpu, i.op1_register())?;
    cpu.set_reg(i.op0_register(), cpu.dr[at]);
    Ok(())
}

fn mov_to(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let at = place(cpu, i.op0_register())?;
    let value = cpu.reg(i.op1_register());
    if at >= DR6 && value >> 32 != 0 {
        return Err(Fault::GP0);
    }
    cpu.dr[at] = match at {
        DR6 => with_fixed(value, 0).0,
        DR7 => with_fixed(0, value).1,
        _ => value,
    };
    cpu.leave_block = true;
    Ok(())
}

/// #DB where an instruction breakpoint stands at the present instruction and RF does not let it through (SDM vol. 3, 18.3.1.1).
pub(crate) fn check_instruction_breakpoints(cpu: &mut Cpu) -> Exec {
    let dr7 = cpu.dr[DR7];
    if dr7 & 0xff == 0 || cpu.flags & rflags::RF != 0 {
        return Ok(());
    }
    let base = if cpu.code64() { 0 } else { cpu.segment(Seg::Cs).base };
    let linear = base.wrapping_add(cpu.rip);
    // R/W = 00: instruction execution.
    let stands = |n: usize| dr7 >> (2 * n) & 3 != 0 && dr7 >> (16 + 4 * n) & 3 == 0 && cpu.dr[n] == linear;
    let hits: u64 = (0..4).filter(|&n| stands(n)).map(|n| 1 << n).sum();
    if hits == 0 {
        return Ok(());
    }
    cpu.dr[DR6] = cpu.dr[DR6] & !0xf | hits;
    Err(Fault::plain(vector::DB))
}

/// The #DB after an instruction: for a single step, and for the data and port breakpoints that it hit (SDM vol. 3, 18.3.1.2 and
/// 18.3.1.4). RIP is that of the next instruction. `branched`: the instruction was a branch that was taken.
pub(crate) fn debug_trap(cpu: &mut Cpu, single_step: bool, branched: bool) -> Exec {
    let step = if single_step && (branched || !cpu.steps_branches()) { dr6::BS } else { 0 };
    let causes = cpu.watch_hits.take() | step;
    if causes == 0 {
        return Ok(());
    }
    cpu.dr[DR6] |= causes;
    Err(Fault::plain(vector::DB))
}

/// What a breakpoint waits for: its R/W field in DR7.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Write = 1,
    /// With CR4.DE.
    Port = 2,
    ReadOrWrite = 3,
}

impl Cpu {
    /// Under TF or breakpoints every instruction, and every iteration of a repeated one, is looked at alone.
    pub(crate) fn debugged(&self) -> bool {
        self.flags & rflags::TF != 0 || self.dr[DR7] & 0xff != 0
    }
    /// Notes the data breakpoints that an access hits.
    #[inline(always)]
    pub(crate) fn watch(&self, linear: u64, len: usize, a: Access) {
        if self.dr[DR7] & 0xff != 0 {
            match a {
                Access::Read => self.note_hits(linear, len, &[Condition::ReadOrWrite]),
                Access::Write => self.note_hits(linear, len, &[Condition::ReadOrWrite, Condition::Write]),
                Access::Execute => {}
            }
        }
    }
    /// Notes the port breakpoints that an access hits.
    pub(super) fn watch_port(&self, port: u16, size: u8) {
        if self.dr[DR7] & 0xff != 0 && self.cr4 & cr4::DE != 0 {
            self.note_hits(port.into(), size.into(), &[Condition::Port]);
        }
    }
    fn note_hits(&self, at: u64, len: usize, conditions: &[Condition]) {
        let dr7 = self.dr[DR7];
        for n in 0..4 {
            let enabled = dr7 >> (2 * n) & 3 != 0;
            let condition = dr7 >> (16 + 4 * n) & 3;
            let size = [1, 2, 8, 4][(dr7 >> (18 + 4 * n) & 3) as usize];
            let start = self.dr[n] & !(size - 1);
            let overlap = at.wrapping_sub(start) < size || start.wrapping_sub(at) < len as u64;
            if enabled && overlap && conditions.iter().any(|&c| c as u64 == condition) {
                self.watch_hits.set(self.watch_hits.get() | 1 << n);
            }
        }
    }
}
