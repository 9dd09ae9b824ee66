//! Guest registers that are kept in host registers within a block.
//!
//! Memory always has them too: a change goes to both. So nothing has to be written back where a block is left, and a fault finds all registers in place.

use super::asm::{R8, R9, R10, R11, RSI, Reg};
use crate::block::Op;
use crate::ops::hot::ZERO;

/// Host registers for it.
const HOMES: [Reg; 5] = [RSI, R8, R9, R10, R11];

/// Which guest register is where.
#[derive(Clone, Debug)]
pub(super) struct Registers {
    homes: [Option<Reg>; 16],
    /// Those whose host registers hold them now.
    valid: u16,
}

impl Registers {
    /// Homes for the guest registers that `ops` name most.
    pub(super) fn of(ops: &[Op]) -> Self {
        let mut uses = [0u32; 16];
        for op in ops {
            for at in [op.dst, op.src, op.base, op.index].into_iter().filter(|at| *at < ZERO) {
                uses[usize::from(at >> 3)] += 1;
            }
        }
        let mut order: Vec<usize> = (0..16).filter(|n| uses[*n] > 1).collect();
        order.sort_by_key(|n| std::cmp::Reverse(uses[*n]));
        let mut homes = [None; 16];
        order.into_iter().zip(HOMES).for_each(|(n, home)| homes[n] = Some(home));
        Self { homes, valid: 0 }
    }
    /// The host register of guest register `n`.
    pub(super) fn home(&self, n: u8) -> Option<Reg> {
        self.homes.get(usize::from(n)).copied().flatten()
    }
    pub(super) fn is_valid(&self, n: u8) -> bool {
        self.valid >> n & 1 != 0
    }
    pub(super) fn set_valid(&mut self, n: u8) {
        self.valid |= 1 << n;
    }
    /// The host register of `n`, if it has one, is no longer right.
    pub(super) fn spoil(&mut self, n: u8) {
        self.valid &= !(1 << n);
    }
    pub(super) fn spoil_all(&mut self) {
        self.valid = 0;
    }
    /// Those that are valid now.
    pub(super) fn snapshot(&self) -> u16 {
        self.valid
    }
}
