//! What stops an instruction before its end.

use gearbox_core::vm::VcpuExit;

/// Exception vectors (SDM vol. 3, table 7-1).
pub(crate) mod vector {
    #![allow(missing_docs, dead_code)]
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
    pub const XM: u8 = 19;
}

/// A processor exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    /// Vector, see [`vector`].
    pub vector: u8,
    /// Error code, for the vectors that push one.
    pub error_code: Option<u32>,
}

/// Why an executor did not complete its instruction. Registers other than those that the architecture changes are untouched then, and
/// the engine puts RIP back to the instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// To be delivered to the guest; RIP is that of the instruction.
    Exception(Exception),
    /// [`gearbox_core::vm::Vcpu::run`] has to return with this; RIP is that of the next instruction (or where the executor put it).
    Exit(Box<VcpuExit>),
    /// The instruction is known, but this engine cannot execute it: never the guest's doing.
    Internal(&'static str),
}

impl Fault {
    /// An exception without an error code.
    pub(crate) const fn plain(vector: u8) -> Self {
        Self::Exception(Exception { vector, error_code: None })
    }
    /// An exception with an error code.
    pub(crate) const fn coded(vector: u8, code: u32) -> Self {
        Self::Exception(Exception { vector, error_code: Some(code) })
    }
    /// #UD.
    pub(crate) const UD: Self = Self::plain(vector::UD);
    /// #NM.
    pub(crate) const NM: Self = Self::plain(vector::NM);
    /// #DE.
    pub(crate) const DE: Self = Self::plain(vector::DE);
    /// #GP(0).
    pub(crate) const GP0: Self = Self::coded(vector::GP, 0);
    /// #SS(0).
    pub(crate) const SS0: Self = Self::coded(vector::SS, 0);
}

/// What an executor returns.
pub(crate) type Exec<T = ()> = Result<T, Fault>;
