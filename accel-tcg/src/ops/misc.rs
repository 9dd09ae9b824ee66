//! No-operations, fences, cache hints, random numbers.

use super::operand::size;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::flags::LazyFlags;
use crate::mem::Access;
use gearbox_core::x86::state::rflags;
use iced_x86::{Instruction, Mnemonic};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Nop | Pause | Endbr32 | Endbr64 | Lfence | Sfence | Mfence | Prefetchnta | Prefetcht0 | Prefetcht1
        | Prefetcht2 | Prefetchw | Prefetch | Prefetchwt1 | Fnop | Serialize => |_, _| Ok(()),
        Clflush | Clflushopt | Clwb | Cldemote => flush_line,
        Rdrand if feature(i) => |c, i| random(c, i, 1, 30, false),
        Rdseed => |c, i| random(c, i, 7, 18, true),
        Ud0 | Ud1 | Ud2 => |_, _| Err(Fault::UD),
        _ => return None,
    })
}
/// Register forms only exist.
fn feature(i: &Instruction) -> bool {
    i.op_count() == 1
}

/// CLFLUSH and its kin: there is no cache, but the address is checked like a byte load.
fn flush_line(c: &mut Cpu, i: &Instruction) -> Exec {
    let lin = c.operand_linear(i, 1, Access::Read)?;
    c.load::<u8>(lin, c.privilege()).map(|_| ())
}

/// RDRAND and RDSEED, where CPUID says so (leaf 1 ECX or leaf 7 EBX).
fn random(c: &mut Cpu, i: &Instruction, leaf: u32, bit: u32, seed: bool) -> Exec {
    let offered = c.cpuid.get(leaf, 0).is_some_and(|l| if seed { l.ebx } else { l.ecx } >> bit & 1 != 0);
    if !offered {
        return Err(Fault::UD);
    }
    use std::hash::{BuildHasher, Hasher};
    // The standard library seeds every `RandomState` from the host's generator.
    let mut h = std::collections::hash_map::RandomState::new().build_hasher();
    h.write_u64(c.tsc());
    let v = h.finish();
    c.set_reg(i.op0_register(), v & (u64::MAX >> (64 - 8 * size(i, 0))));
    c.lazy = LazyFlags::from_bits(rflags::CF);
    Ok(())
}
