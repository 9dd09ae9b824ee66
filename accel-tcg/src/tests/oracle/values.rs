//! Random operands with a liking for edges.

use crate::random::Random;
use gearbox_core::x86::state::FpuState;
use iced_x86::{Instruction, MemorySize, Mnemonic};

/// A [`Random`] that gives operands.
pub(super) struct Values(pub Random);

impl std::ops::Deref for Values {
    type Target = Random;
    fn deref(&self) -> &Random {
        &self.0
    }
}
impl std::ops::DerefMut for Values {
    fn deref_mut(&mut self) -> &mut Random {
        &mut self.0
    }
}

impl Values {
    /// For general registers.
    pub(super) fn integer(&mut self) -> u64 {
        match self.below(8) {
            0 | 1 => self.pick(&[
                0,
                1,
                2,
                0x7f,
                0x80,
                0xff,
                0x7fff,
                0x8000,
                0xffff,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                i64::MAX as u64,
                1 << 63,
                !0,
                !1,
            ]),
            2 => self.next() & 0x3f,
            3 => (self.next() & 0x3f).wrapping_neg(),
            4 => self.next() >> self.below(64),
            5 => 1 << self.below(64),
            6 => self.double(),
            _ => self.next(),
        }
    }
    fn half(&mut self) -> u16 {
        (self.below(2) << 15 | self.exponent(5) << 10 | self.fraction(10)) as u16
    }
    fn vector(&mut self) -> u128 {
        match self.below(7) {
            0 | 1 => (0..4).fold(0, |v, i| v | u128::from(self.single()) << (32 * i)),
            2 | 3 => (0..2).fold(0, |v, i| v | u128::from(self.double()) << (64 * i)),
            4 => (0..16).fold(0, |v, i| v | u128::from(self.pick(&[0u8, 1, 0x7f, 0x80, 0xff, 0x41, 0x20])) << (8 * i)),
            5 => (0..8).fold(0, |v, i| v | u128::from(self.half()) << (16 * i)),
            _ => u128::from(self.next()) << 64 | u128::from(self.next()),
        }
    }
    /// A register file of x87, SSE and AVX; with exceptions unmasked in one case of four.
    pub(super) fn fpu(&mut self) -> FpuState {
        let mut s = FpuState::default();
        let unmask = self.one_in(4);
        let masks = if unmask { self.next() as u16 & 0x3f } else { 0x3f };
        let precision = if self.one_in(3) { self.below(4) as u16 } else { 3 };
        s.fcw = masks | precision << 8 | (self.below(4) as u16) << 10 | 0x40;
        // One in sixteen has an exception pending.
        let flags = if self.one_in(2) { self.next() as u16 & 0x3f } else { 0 };
        let flags = if self.one_in(16) { flags } else { flags & masks };
        let pending = if flags & !masks != 0 { 0x8080 } else { 0 };
        s.fsw = flags | pending | (self.below(8) as u16) << 11 | self.next() as u16 & 0x4700;
        s.ftw = if self.one_in(4) { self.next() as u8 } else { !(1 << self.below(8)) };
        for v in &mut s.st {
            *v = self.extended();
        }
        if self.one_in(4) {
            s.st[1] = s.st[0] ^ u128::from(self.below(8)) ^ u128::from(self.below(2)) << 79;
        }
        let sse_masks = if unmask { self.next() as u32 & 0x1f80 } else { 0x1f80 };
        s.mxcsr = sse_masks | (self.below(4) as u32) << 13;
        if self.one_in(2) {
            s.mxcsr = s.mxcsr & !0x6000 | 0x20;
        }
        if self.one_in(3) {
            s.mxcsr |= self.next() as u32 & 0x8040;
        }
        if self.one_in(3) {
            s.mxcsr |= self.next() as u32 & 0x3f;
        }
        for v in s.xmm.iter_mut().chain(&mut s.ymm_hi) {
            *v = self.vector();
        }
        if self.one_in(4) {
            let (from, to) = (self.below(16) as usize, self.below(16) as usize);
            s.xmm[to] = s.xmm[from] ^ 1 << self.below(128);
        }
        s
    }

    /// What a memory operand of `i` may hold.
    pub(super) fn memory_for(&mut self, i: &Instruction) -> Vec<u8> {
        use Mnemonic::*;
        /// In the third byte of MXCSR, AMD's misaligned exception mask, which the interpreter's CPU does not have.
        const MM: u8 = 2;
        let v = |bytes: &[u8]| bytes.to_vec();
        match i.mnemonic() {
            Fxrstor | Fxrstor64 => {
                let mut image = self.fpu().to_xsave()[..512].to_vec();
                if self.one_in(16) {
                    image[26] = self.next() as u8 & !MM;
                }
                image
            }
            Fldcw => v(&(self.next() as u16 | self.pick(&[0x3f, 0])).to_le_bytes()),
            Ldmxcsr | Vldmxcsr => {
                let reserved = if self.one_in(16) { self.next() as u32 & !(u32::from(MM) << 16) } else { 0 };
                v(&(self.next() as u32 & 0xffff | reserved).to_le_bytes())
            }
            Fbld => (0..10)
                .map(|n| if n < 9 { (self.below(10) << 4 | self.below(10)) as u8 } else { self.next() as u8 })
                .collect(),
            Fldenv | Frstor => {
                // Control and status from a state that can be, pointers and opcode of zero.
                let (wide, s) = (i.memory_size().size() != 14 && i.memory_size().size() != 94, self.fpu());
                let mut m = vec![0; if wide { 28 } else { 14 }];
                let step = if wide { 4 } else { 2 };
                m[..2].copy_from_slice(&s.fcw.to_le_bytes());
                m[step..step + 2].copy_from_slice(&s.fsw.to_le_bytes());
                m[2 * step..2 * step + 2].copy_from_slice(&(self.next() as u16).to_le_bytes());
                for _ in 0..8 {
                    m.extend_from_slice(&self.extended().to_le_bytes()[..10]);
                }
                m
            }
            _ => match i.memory_size() {
                MemorySize::Float32 => v(&self.single().to_le_bytes()),
                MemorySize::Float64 => v(&self.double().to_le_bytes()),
                MemorySize::Float80 => v(&self.extended().to_le_bytes()[..10]),
                m if m.size() <= 8 => v(&self.integer().to_le_bytes()[..m.size().max(1)]),
                m => (0..m.size().div_ceil(16)).flat_map(|_| self.vector().to_le_bytes()).take(m.size()).collect(),
            },
        }
    }
}
