//! Memory as the CPU sees it: segments over linear addresses over physical addresses.
//!
//! | layer | here |
//! |---|---|
//! | `seg:offset` → linear | [`virt`](self): [`Cpu::read_virt`](crate::cpu::Cpu::read_virt) and friends check limits, types, canonical form |
//! | linear → physical | [`paging`], cached by [`tlb`]; [`linear`]: `load`, `store` and friends |
//! | read-modify-writes, locked and not | [`atomic`] |
//! | physical → host memory or board | [`phys`] |

pub(crate) mod atomic;
pub(crate) mod linear;
pub(crate) mod paging;
pub(crate) mod phys;
pub(crate) mod stack;
#[cfg(test)]
mod tests;
pub(crate) mod tlb;
pub(crate) mod virt;

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A load.
    Read,
    /// A store, or the load half of a read-modify-write.
    Write,
    /// An instruction fetch.
    Execute,
}
