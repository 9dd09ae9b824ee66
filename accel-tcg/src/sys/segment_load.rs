//! Loads and stores of segment registers: MOV, POP, LDS and friends (SDM vol. 2, MOV; vol. 3, 5.5 and 5.6).

use super::descriptor::{Blame, Selector, null_segment, null_stack};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::virt::seg_of;
use gearbox_core::x86::state::{Seg, Segment};
use iced_x86::{Code, Instruction, OpKind, Register};

pub(super) fn executor(code: Code) -> Option<Executor> {
    use Code::*;
    Some(match code {
        Mov_Sreg_rm16 | Mov_Sreg_r32m16 | Mov_Sreg_r64m16 => mov_to,
        Mov_rm16_Sreg | Mov_r32m16_Sreg | Mov_r64m16_Sreg => mov_from,
        Popw_ES | Popw_SS | Popw_DS | Popw_FS | Popw_GS => pop::<2>,
        Popd_ES | Popd_SS | Popd_DS | Popd_FS | Popd_GS => pop::<4>,
        Popq_FS | Popq_GS => pop::<8>,
        Les_r16_m1616 | Lds_r16_m1616 | Lss_r16_m1616 | Lfs_r16_m1616 | Lgs_r16_m1616 => load_pointer::<2>,
        Les_r32_m1632 | Lds_r32_m1632 | Lss_r32_m1632 | Lfs_r32_m1632 | Lgs_r32_m1632 => load_pointer::<4>,
        Lss_r64_m1664 | Lfs_r64_m1664 | Lgs_r64_m1664 => load_pointer::<8>,
        _ => return None,
    })
}

fn mov_to(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let s = i.op_register(0);
    // MOV to CS decodes as an instruction and is #UD.
    if s == Register::CS {
        return Err(Fault::UD);
    }
    let value = cpu.read_op::<u16>(i, 1)?;
    cpu.load_segment(seg_of(s), Selector(value))?;
    cpu.shadow_after(seg_of(s));
    Ok(())
}

fn mov_from(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let value = cpu.segment(seg_of(i.op_register(1))).selector;
    if i.op_kind(0) == OpKind::Memory {
        return cpu.write_mem(i, value);
    }
    cpu.set_reg(i.op_register(0), value.into());
    Ok(())
}

fn pop<const SIZE: usize>(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let s = seg_of(i.op_register(0));
    let value = cpu.peek_sized(SIZE, 0)? as u16;
    // POP SS moves the pointer by the size of the old stack.
    let sp = cpu.sp().wrapping_add(SIZE as u64);
    let mask = cpu.sp_mask();
    cpu.load_segment(s, Selector(value))?;
    cpu.set_sp_masked(sp, mask);
    cpu.shadow_after(s);
    Ok(())
}

fn load_pointer<const SIZE: usize>(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let mut bytes = [0; 10];
    cpu.read_mem_bytes(i, &mut bytes[..SIZE + 2])?;
    let mut offset = [0; 8];
    offset[..SIZE].copy_from_slice(&bytes[..SIZE]);
    let selector = u16::from_le_bytes([bytes[SIZE], bytes[SIZE + 1]]);
    let s = match i.mnemonic() {
        iced_x86::Mnemonic::Les => Seg::Es,
        iced_x86::Mnemonic::Lds => Seg::Ds,
        iced_x86::Mnemonic::Lss => Seg::Ss,
        iced_x86::Mnemonic::Lfs => Seg::Fs,
        _ => Seg::Gs,
    };
    cpu.load_segment(s, Selector(selector))?;
    cpu.set_reg(i.op_register(0), u64::from_le_bytes(offset));
    Ok(())
}

impl Cpu {
    /// MOV SS and POP SS hold off interrupts and debug exceptions for one instruction (SDM vol. 3, 7.8.3).
    fn shadow_after(&mut self, s: Seg) {
        if s == Seg::Ss {
            self.events.mov_ss_shadow = true;
            self.leave_block = true;
        }
    }
    /// Sets the stack pointer under the mask of a stack that may have been another one.
    pub(crate) fn set_sp_masked(&mut self, v: u64, mask: u64) {
        use gearbox_core::x86::state::gpr::RSP;
        let keep = if mask == 0xffff { !mask } else { 0 };
        self.regs[RSP] = self.regs[RSP] & keep | v & mask;
    }

    /// Loads ES, SS, DS, FS or GS, with the checks of the present mode.
    pub(crate) fn load_segment(&mut self, s: Seg, selector: Selector) -> Exec {
        let value = if self.protected() && !self.v86() {
            match s {
                Seg::Ss => self.stack_segment(selector)?,
                _ => self.data_segment(selector, Blame::GP)?,
            }
        } else {
            self.flat_paragraph(s, selector)
        };
        self.set_seg(s, value);
        Ok(())
    }

    /// What a load in real or virtual-8086 mode leaves. Real mode changes the base only, so that limits from protected mode survive
    /// ("unreal" mode); virtual-8086 mode sets everything (SDM vol. 3, 20.1.1 and 20.3.1).
    pub(crate) fn flat_paragraph(&self, s: Seg, selector: Selector) -> Segment {
        let old = self.segment(s);
        let fresh = Segment::real(selector.0);
        if self.v86() {
            Segment { attr: 0xf3, ..fresh }
        } else if old.unusable() {
            fresh
        } else {
            Segment { limit: old.limit, attr: old.attr | 0x90, ..fresh }
        }
    }

    /// Checks and reads the descriptor of a data segment.
    pub(super) fn data_segment(&mut self, selector: Selector, blame: Blame) -> Exec<Segment> {
        if selector.is_null() {
            return Ok(null_segment(selector));
        }
        let d = self.descriptor(selector, blame)?;
        let outranked = d.is_guarded() && (selector.rpl() > d.dpl() || self.cpl > d.dpl());
        if !d.is_readable() || outranked {
            return Err(blame.of(selector));
        }
        if !d.present() {
            return Err(blame.not_present(selector));
        }
        Ok(self.set_accessed(selector, d)?.segment(selector))
    }

    fn stack_segment(&mut self, selector: Selector) -> Exec<Segment> {
        if selector.is_null() {
            return if self.code64() && self.cpl < 3 && selector.rpl() == self.cpl {
                Ok(null_stack(selector))
            } else {
                Err(Fault::GP0)
            };
        }
        self.stack_segment_for(selector, self.cpl, Blame::GP)
    }

    /// Checks and reads the descriptor of a stack segment for privilege level `cpl`. The selector must not be null.
    pub(crate) fn stack_segment_for(&mut self, selector: Selector, cpl: u8, blame: Blame) -> Exec<Segment> {
        let d = self.descriptor(selector, blame)?;
        if selector.rpl() != cpl || !d.is_writable_data() || d.dpl() != cpl {
            return Err(blame.of(selector));
        }
        if !d.present() {
            return Err(blame.stack(selector));
        }
        Ok(self.set_accessed(selector, d)?.segment(selector))
    }

    /// After a return to an outer ring: data segments that it may not see become null (SDM vol. 3, 5.8.6).
    pub(crate) fn drop_inner_segments(&mut self) {
        for s in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
            let v = self.segment(s);
            let conforming_code = v.typ() & 12 == 12;
            if !v.unusable() && v.dpl() < self.cpl && !conforming_code {
                self.set_seg(s, null_segment(Selector(0)));
            }
        }
    }
}
