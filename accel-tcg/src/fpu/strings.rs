//! SSE4.2: string comparison (SDM vol. 2, 4.1) and CRC32.

use super::vec::Vec128;

/// What a string comparison yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    /// IntRes2: one bit per element of the second operand.
    pub bits: u16,
    /// CF: IntRes2 is not zero.
    pub carry: bool,
    /// ZF: the second operand ends within the register.
    pub second_ends: bool,
    /// SF: the first operand ends within the register.
    pub first_ends: bool,
    /// OF: bit 0 of IntRes2.
    pub overflow: bool,
    /// Number of elements in a register.
    lanes: u32,
}

impl Compared {
    /// The value of ECX: the lowest or, with `imm[6]`, the highest bit that is set, or the number of elements.
    pub(crate) fn index(&self, imm: u8) -> u32 {
        match self.bits {
            0 => self.lanes,
            b if imm & 0x40 != 0 => 15 - b.leading_zeros(),
            b => b.trailing_zeros(),
        }
    }
    /// The value of XMM0: the bits, or with `imm[6]` a mask of whole elements.
    pub(crate) fn mask(&self, imm: u8) -> Vec128 {
        if imm & 0x40 == 0 {
            return Vec128::from_low32(self.bits.into());
        }
        let width = 16 / self.lanes as usize;
        Vec128::from_u8s(std::array::from_fn(|i| if self.bits >> (i / width) & 1 != 0 { 0xff } else { 0 }))
    }
}

/// The elements of `v` in the format `imm[1:0]`: unsigned or signed bytes or words.
fn elements(v: Vec128, imm: u8) -> ([i32; 16], usize) {
    let mut out = [0; 16];
    let mut put = |values: &mut dyn Iterator<Item = i32>| out.iter_mut().zip(values).for_each(|(o, v)| *o = v);
    match imm & 3 {
        0 => put(&mut v.u8s().into_iter().map(i32::from)),
        1 => put(&mut v.u16s().into_iter().map(i32::from)),
        2 => put(&mut v.i8s().into_iter().map(i32::from)),
        _ => put(&mut v.i16s().into_iter().map(i32::from)),
    }
    (out, if imm & 1 == 0 { 16 } else { 8 })
}

/// PCMPESTRx and PCMPISTRx: compares `a` with `b` as `imm` says. `lengths` are those of the explicit forms (EAX and EDX, or RAX and RDX);
/// without them each string ends before its first zero.
pub(crate) fn compare(a: Vec128, b: Vec128, imm: u8, lengths: Option<(i64, i64)>) -> Compared {
    let ((x, lanes), (y, _)) = (elements(a, imm), elements(b, imm));
    let implicit = |e: &[i32]| e.iter().position(|&v| v == 0).unwrap_or(lanes);
    let (xl, yl) = match lengths {
        Some((p, q)) => (p.unsigned_abs().min(lanes as u64) as usize, q.unsigned_abs().min(lanes as u64) as usize),
        None => (implicit(&x[..lanes]), implicit(&y[..lanes])),
    };
    let (first, second) = (&x[..xl], &y[..yl]);
    let found = |j: usize| match imm >> 2 & 3 {
        // Equal any: element j of the second is in the set.
        0 => j < yl && first.contains(&y[j]),
        // Ranges: pairs of bounds; an odd one out bounds nothing.
        1 => j < yl && first.chunks_exact(2).any(|r| (r[0]..=r[1]).contains(&y[j])),
        // Equal each: past both ends is equal, past one is not.
        2 => match (j < xl, j < yl) {
            (true, true) => x[j] == y[j],
            (p, q) => p == q,
        },
        // Equal ordered: the first occurs in the second at j; what would lie past the register counts as found.
        _ => (0..(lanes - j).min(xl)).all(|i| second.get(i + j) == Some(&first[i])),
    };
    let result1 = (0..lanes).fold(0u16, |m, j| m | u16::from(found(j)) << j);
    let all = if lanes == 16 { 0xffff } else { 0xff };
    let bits = match imm >> 4 & 3 {
        1 => result1 ^ all,
        // Negated only where the second operand is valid.
        3 => result1 ^ ((1u32 << yl) - 1) as u16,
        _ => result1,
    };
    Compared {
        bits,
        carry: bits != 0,
        second_ends: yl < lanes,
        first_ends: xl < lanes,
        overflow: bits & 1 != 0,
        lanes: lanes as u32,
    }
}

/// The table for one byte of CRC-32C (polynomial 11EDC6F41h, reflected).
const CRC32C: [u32; 256] = {
    let mut t = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut c, mut k) = (i as u32, 0);
        while k < 8 {
            c = c >> 1 ^ if c & 1 != 0 { 0x82f6_3b78 } else { 0 };
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
};

/// CRC32: accumulates the low `bytes` bytes of `value`.
#[inline]
pub(crate) fn crc32c(crc: u32, value: u64, bytes: usize) -> u32 {
    value.to_le_bytes().iter().take(bytes).fold(crc, |c, &b| c >> 8 ^ CRC32C[usize::from(c as u8 ^ b)])
}
