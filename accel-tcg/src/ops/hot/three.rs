//! A copy and an operation on the copy in one: what compilers make of three operands.

use super::data::{Form, RI, RR};
use super::{Hot, Policy, get, handler, put};
use crate::block::{Handler, Op};
use crate::cpu::Cpu;
use crate::int::Int;
use crate::ops::arith::{self, Binary, Shift};
use iced_x86::{Instruction, Mnemonic, OpKind};
use std::marker::PhantomData;

/// `dst = base OP b`.
struct Bin<O, T, F, L>(PhantomData<(O, T, F, L)>);
impl<O: Binary, T: Int, F: Form, L: Policy> Hot for Bin<O, T, F, L> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        // SAFETY: the caller's.
        let b = unsafe { F::source::<T>(c, o)? };
        let (r, f) = O::apply(get::<T>(c, o.base), b, c.lazy);
        put(c, o.dst, r);
        L::set(c, f);
        Some(())
    }
}
/// `dst = base SHIFT aux`.
struct ShiftImm<O, T, L>(PhantomData<(O, T, L)>);
impl<O: Shift, T: Int, L: Policy> Hot for ShiftImm<O, T, L> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        let (r, f) = O::apply(get::<T>(c, o.base), o.aux.into(), c.lazy);
        put(c, o.dst, r);
        L::set(c, f);
        Some(())
    }
}

/// The op of `copy` and `i` together, of which `op` is that of `i`; if `i` works on what `copy` moved between registers.
pub(super) fn fused<L: Policy>(copy: &Instruction, copied: &Op, i: &Instruction, op: Op) -> Option<Op> {
    use Mnemonic::*;
    let register = |i: &Instruction, n| i.op_kind(n) == OpKind::Register;
    let to = copy.op0_register();
    let fits = copy.mnemonic() == Mov && register(copy, 0) && register(copy, 1) && to.is_gpr() && to.size() >= 4;
    if !fits || !copy.op1_register().is_gpr() || !register(i, 0) || i.op0_register() != to || i.op_count() != 2 {
        return None;
    }
    let shift = matches!(i.mnemonic(), Shl | Sal | Shr | Sar | Rol | Ror);
    let immediate = match i.op1_kind() {
        OpKind::Register if !shift => false,
        OpKind::Memory | OpKind::Register => return None,
        _ => true,
    };
    macro_rules! sized {
        ($T:ident => $e:expr) => {
            if to.size() == 8 {
                type $T = u64;
                $e
            } else {
                type $T = u32;
                $e
            }
        };
    }
    macro_rules! bin {
        ($O:ident) => {
            sized!(T => if immediate { handler::<Bin<arith::$O, T, RI, L>> } else { handler::<Bin<arith::$O, T, RR, L>> })
        };
    }
    macro_rules! shift {
        ($O:ident) => {
            sized!(T => handler::<ShiftImm<arith::$O, T, L>>)
        };
    }
    let run: Handler = match i.mnemonic() {
        Add => bin!(Add),
        Sub => bin!(Sub),
        And => bin!(And),
        Or => bin!(Or),
        Xor => bin!(Xor),
        Shl | Sal => shift!(Shl),
        Shr => shift!(Shr),
        Sar => shift!(Sar),
        Rol => shift!(Rol),
        Ror => shift!(Ror),
        _ => return None,
    };
    // The second operand may be the copy too.
    let src = if op.src == op.dst { copied.src } else { op.src };
    Some(Op { run, base: copied.src, src, ..op })
}

#[cfg(test)]
mod tests {
    use crate::random::Random;
    use crate::tests::{ALL, Bench};
    use gearbox_core::vm::{Limit, VcpuExit};

    #[test]
    fn pairs_do_what_their_executors_do_one_by_one() {
        let (mut r, mut bench) = (Random(0x0123_4567_89ab_cdef), Bench::new());
        let base = bench.long_mode();
        // Without RSP.
        let register = |r: &mut Random| r.pick(&[0u8, 1, 2, 3, 5, 6, 7]);
        for case in 0..20_000 {
            let (to, from, other) = (register(&mut r), register(&mut r), register(&mut r));
            let rex: &[u8] = r.pick(&[&[][..], &[0x48]]);
            // MOV; an operation on its destination; in half of the cases TEST, after which the operation's flags are dead.
            let mut code = [rex, &[0x8b, 0xc0 | to << 3 | from], rex].concat();
            match r.below(3) {
                0 => code.extend([r.pick(&[0x01, 0x29, 0x21, 0x09, 0x31]), 0xc0 | other << 3 | to]),
                1 => {
                    code.extend([0x81, 0xc0 | r.pick(&[0, 5, 4, 1, 6]) << 3 | to]);
                    code.extend((r.next() as u32).to_le_bytes());
                }
                _ => code.extend([0xc1, 0xc0 | r.pick(&[4, 5, 7, 0, 1]) << 3 | to, r.next() as u8]),
            }
            let mut count = 2;
            if r.below(2) == 0 {
                code.extend([0x85, 0xc0 | other << 3 | from]);
                count += 1;
            }
            code.push(0xf4);
            let mut s = base.clone();
            s.gpr.iter_mut().enumerate().filter(|(n, _)| *n != 4).for_each(|(_, v)| *v = r.next());
            s.rflags = r.next() & ALL | 2;
            let (exit, whole) = bench.run(&code, &s, 100);
            assert_eq!(exit, VcpuExit::Halted);
            bench.vcpu.set_state(&s).unwrap();
            for _ in 0..count {
                bench.vcpu.run(&bench.board, Limit { instructions: Some(1) });
            }
            let stepped = bench.vcpu.get_state().unwrap();
            assert_eq!((whole.gpr, whole.rflags), (stepped.gpr, stepped.rflags), "case {case}: {code:02x?}");
        }
    }
}
