//! The layouts of the x87 and SSE state in memory: FSTENV and FSAVE (SDM vol. 1, 8.1.10), FXSAVE (10.5.1), XSAVE (13.4).

use super::Fpu;
use super::f80::F80;
use super::vec::Vec128;
use crate::fault::{Exec, Fault};

/// MXCSR bits that exist, as FXSAVE reports them.
pub(crate) const MXCSR_MASK: u32 = 0xffff;
/// MXCSR after RESET and as the initial state of XRSTOR.
pub(super) const MXCSR_INIT: u32 = 0x1f80;

/// The four layouts of an x87 environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EnvLayout {
    /// 32-bit operand size: 28 bytes, else 14.
    pub wide: bool,
    /// Protected mode: offsets and selectors, else linear addresses.
    pub protected: bool,
}

impl EnvLayout {
    /// Bytes of an environment.
    pub(super) fn len(self) -> usize {
        if self.wide { 28 } else { 14 }
    }
    /// Bytes with the eight registers after it.
    pub(super) fn full_len(self) -> usize {
        self.len() + 80
    }
}

/// Bytes of the longest of these images.
pub(super) const LONGEST_ENV: usize = 108;

impl Fpu {
    /// Writes the environment to the start of `out`, which has at least [`EnvLayout::len`] bytes.
    ///
    /// Code and data selectors are zero, as on every processor that reports them deprecated (CPUID.7.0:EBX[13]).
    pub(super) fn store_env(&self, l: EnvLayout, out: &mut [u8]) {
        let (ip, dp, op) = (self.fip as u32, self.fdp as u32, u32::from(self.fop & 0x7ff));
        let pointers = match (l.protected, l.wide) {
            (true, true) => [ip, op << 16, dp, 0xffff_0000],
            (true, false) => [ip, 0, dp, 0],
            (false, _) => [ip & 0xffff, ip >> 16 << 12 | op, dp & 0xffff, dp >> 16 << 12],
        };
        let words = [self.fcw, self.status(), self.full_tags()].map(u32::from);
        if l.wide {
            let control = words.map(|w| w | 0xffff_0000);
            for (chunk, v) in out.chunks_exact_mut(4).zip(control.into_iter().chain(pointers)) {
                chunk.copy_from_slice(&v.to_le_bytes());
            }
        } else {
            for (chunk, v) in out.chunks_exact_mut(2).zip(words.into_iter().chain(pointers)) {
                chunk.copy_from_slice(&(v as u16).to_le_bytes());
            }
        }
    }
    /// Takes over an environment written by [`Fpu::store_env`].
    pub(super) fn load_env(&mut self, l: EnvLayout, image: &[u8]) {
        let mut f = [0u32; 7];
        for (n, v) in f.iter_mut().enumerate() {
            *v = if l.wide { u32_at(image, 4 * n) } else { u16_at(image, 2 * n).into() };
        }
        let [control, status, tags, a, b, c, d] = f;
        (self.fip, self.fdp, self.fop) = match (l.protected, l.wide) {
            (true, true) => (a.into(), c.into(), (b >> 16) as u16 & 0x7ff),
            (true, false) => (a.into(), c.into(), self.fop),
            (false, _) => {
                let high = |v: u32| if l.wide { v >> 12 << 16 } else { v >> 12 << 16 & 0xf_0000 };
                ((a & 0xffff | high(b)).into(), (c & 0xffff | high(d)).into(), b as u16 & 0x7ff)
            }
        };
        self.set_control(control as u16);
        self.set_status(status as u16);
        self.set_full_tags(tags as u16);
    }
    /// Writes the environment and the registers.
    pub(super) fn store_all(&self, l: EnvLayout, out: &mut [u8]) {
        self.store_env(l, out);
        for (n, chunk) in out[l.len()..].chunks_exact_mut(10).take(8).enumerate() {
            chunk.copy_from_slice(&self.slot(n as u8).to_bytes());
        }
    }
    /// Takes over what [`Fpu::store_all`] wrote.
    pub(super) fn load_all(&mut self, l: EnvLayout, image: &[u8]) {
        self.load_env(l, image);
        for (n, chunk) in image[l.len()..].chunks_exact(10).take(8).enumerate() {
            let mut bytes = [0; 10];
            bytes.copy_from_slice(chunk);
            *self.slot_mut(n as u8) = F80::from_bytes(bytes);
        }
    }

    // ---- FXSAVE and XSAVE

    /// The x87 part of the legacy region: bytes 0..24 and 32..160. With `wide_pointers` the instruction and data pointers have 64 bits.
    pub(super) fn store_x87(&self, wide_pointers: bool, out: &mut Legacy) {
        out[0..2].copy_from_slice(&self.fcw.to_le_bytes());
        out[2..4].copy_from_slice(&self.status().to_le_bytes());
        out[4..6].copy_from_slice(&u16::from(self.valid).to_le_bytes());
        out[6..8].copy_from_slice(&self.fop.to_le_bytes());
        let cut = if wide_pointers { u64::MAX } else { 0xffff_ffff };
        out[8..16].copy_from_slice(&(self.fip & cut).to_le_bytes());
        out[16..24].copy_from_slice(&(self.fdp & cut).to_le_bytes());
        for (n, chunk) in out[32..160].chunks_exact_mut(16).enumerate() {
            chunk.copy_from_slice(&self.slot(n as u8).bits().to_le_bytes());
        }
    }
    /// Takes over the x87 part of the legacy region.
    pub(super) fn load_x87(&mut self, wide_pointers: bool, image: &Legacy) {
        self.set_control(u16_at(image, 0));
        self.set_status(u16_at(image, 2));
        self.valid = image[4];
        self.fop = u16_at(image, 6) & 0x7ff;
        let cut = if wide_pointers { u64::MAX } else { 0xffff_ffff };
        self.fip = u64_at(image, 8) & cut;
        self.fdp = u64_at(image, 16) & cut;
        for (n, chunk) in image[32..160].chunks_exact(16).enumerate() {
            *self.slot_mut(n as u8) = F80::from_bits(u128_of(chunk));
        }
    }
    /// The initial x87 state of XRSTOR.
    pub(super) fn reset_x87(&mut self) {
        self.init();
        self.regs = [F80::ZERO; 8];
    }
    /// Is the x87 in the state that [`Fpu::reset_x87`] gives?
    pub(super) fn x87_is_initial(&self) -> bool {
        self.fcw == 0x37f
            && self.status() == 0
            && self.valid == 0
            && (self.fip, self.fdp, self.fop) == (0, 0, 0)
            && self.regs == [F80::ZERO; 8]
    }
    /// MXCSR and its mask: bytes 24..32.
    pub(super) fn store_mxcsr(&self, out: &mut Legacy) {
        out[24..28].copy_from_slice(&self.mxcsr.to_le_bytes());
        out[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
    }
}

/// The legacy region of an FXSAVE or XSAVE image, as far as the processor writes it.
pub(super) type Legacy = [u8; 416];

/// Where the XMM registers begin.
pub(super) const XMM_OFFSET: usize = 160;

/// The part of an image that the processor uses.
pub(super) fn legacy_of(image: &[u8]) -> &Legacy {
    image.first_chunk().expect("an image has more bytes than its legacy region")
}
/// #GP(0) for bits of MXCSR that do not exist.
pub(super) fn check_mxcsr(v: u32) -> Exec {
    if v & !MXCSR_MASK == 0 { Ok(()) } else { Err(Fault::GP0) }
}
/// MXCSR of a legacy region.
pub(super) fn mxcsr_of(image: &Legacy) -> u32 {
    u32_at(image, 24)
}

/// Writes registers one after the other.
pub(super) fn store_vectors(registers: &[Vec128], out: &mut [u8]) {
    for (chunk, v) in out.chunks_exact_mut(16).zip(registers) {
        chunk.copy_from_slice(&v.0);
    }
}
/// Reads registers written by [`store_vectors`].
pub(super) fn load_vectors(registers: &mut [Vec128], image: &[u8]) {
    for (chunk, v) in image.chunks_exact(16).zip(registers) {
        *v = Vec128::from_u128(u128_of(chunk));
    }
}

/// Little-endian words of an image whose length is known.
fn bytes_at<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    let mut v = [0; N];
    v.copy_from_slice(&b[at..at + N]);
    v
}
fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(b, at))
}
fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(b, at))
}
/// The eight bytes from `at` on.
pub(super) fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(b, at))
}
fn u128_of(chunk: &[u8]) -> u128 {
    u128::from_le_bytes(bytes_at(chunk, 0))
}
