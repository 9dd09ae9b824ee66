//! No-operations, fences, cache lines, direct stores, random numbers.

use super::operand::{size, sized};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::flags::LazyFlags;
use crate::mem::Access;
use crate::mem::virt::seg_of;
use gearbox_core::vm::VcpuExit;
use gearbox_core::x86::state::{Seg, gpr, rflags};
use iced_x86::{Code, Instruction, Mnemonic};
use std::sync::atomic::{Ordering, fence};

/// How often a loop pauses before its thread gives way.
const MANY_PAUSES: u32 = 64;

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Nop | Reservednop | Lfence | Sfence | Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 | Prefetchw
        | Prefetch | Prefetchwt1 | Cldemote => |_, _| Ok(()),
        Mfence => |_, _| {
            fence(Ordering::SeqCst);
            Ok(())
        },
        // What was decoded before may be old: the code may have been changed through another address, or by another CPU.
        Serialize => |c, _| {
            fence(Ordering::SeqCst);
            c.leave_block = true;
            Ok(())
        },
        Pause => pause,
        Clflush | Clflushopt | Clwb => flush_line,
        Clzero => clear_line,
        Movdiri => |c, i| sized!(size(i, 0), T => { let v = c.read_op::<T>(i, 1)?; c.write_mem(i, v) }),
        Movdir64b => movdir64b,
        Rdrand | Rdseed => random,
        Ud0 | Ud1 | Ud2 => |_, _| Err(Fault::UD),
        _ => return None,
    })
}

/// PAUSE: whoever is waited for may need this thread, or its place on the host.
fn pause(c: &mut Cpu, _: &Instruction) -> Exec {
    if c.turns {
        return Err(Fault::Exit(Box::new(VcpuExit::Budget)));
    }
    c.pauses += 1;
    if c.pauses == MANY_PAUSES {
        c.pauses = 0;
        std::thread::yield_now();
    }
    Ok(())
}

/// CLFLUSH and its kin: there is no cache, but the address is checked like a byte load.
fn flush_line(c: &mut Cpu, i: &Instruction) -> Exec {
    let lin = c.operand_linear(i, 1, Access::Read)?;
    c.load::<u8>(lin, c.privilege()).map(|_| ())
}

/// The bytes of a cache line (CPUID leaf 1, EBX).
const LINE: usize = 64;

/// CLZERO (APM vol. 3): zeroes the line that rAX points into.
fn clear_line(c: &mut Cpu, i: &Instruction) -> Exec {
    let mask = match i.code() {
        Code::Clzerow => 0xffff,
        Code::Clzerod => 0xffff_ffff,
        _ => u64::MAX,
    };
    let at = c.gpr(gpr::RAX) & mask & !(LINE as u64 - 1);
    let seg = match seg_of(i.segment_prefix()) {
        s if !c.code64() || matches!(s, Seg::Fs | Seg::Gs) => s,
        _ => Seg::Ds,
    };
    let lin = c.linear(seg, at, LINE, Access::Write)?;
    c.store_bytes(lin, &[0; LINE], c.privilege())
}

/// MOVDIR64B: 64 bytes from anywhere to an aligned place in ES.
fn movdir64b(c: &mut Cpu, i: &Instruction) -> Exec {
    let mut line = [0; LINE];
    let to = c.reg(i.op0_register());
    let lin = c.linear(Seg::Es, to, LINE, Access::Write)?;
    if lin & (LINE as u64 - 1) != 0 {
        return Err(Fault::GP0);
    }
    c.read_mem_bytes(i, &mut line)?;
    c.store_bytes(lin, &line, c.privilege())
}

/// A random number. Where instructions are counted, every run of a guest gets the same ones.
fn entropy(c: &Cpu) -> u64 {
    use std::hash::{BuildHasher, DefaultHasher, Hasher};
    let mut h = match c.counted {
        Some(_) => DefaultHasher::new(),
        // The standard library seeds every `RandomState` from the host's generator.
        None => std::collections::hash_map::RandomState::new().build_hasher(),
    };
    h.write_u32(c.apic_id);
    h.write_u64(c.tsc());
    h.finish()
}

/// RDRAND and RDSEED.
fn random(c: &mut Cpu, i: &Instruction) -> Exec {
    let v = entropy(c);
    c.set_reg(i.op0_register(), v & (u64::MAX >> (64 - 8 * size(i, 0))));
    c.lazy = LazyFlags::from_bits(rflags::CF);
    Ok(())
}
