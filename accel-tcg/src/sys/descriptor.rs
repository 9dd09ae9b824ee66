//! Selectors and descriptors (SDM vol. 3, 3.4 and 3.5), and their tables in memory.

use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use gearbox_core::x86::state::{Seg, Segment};

/// The value of a segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selector(pub u16);

impl Selector {
    /// The null selectors are 0 to 3.
    pub(crate) fn is_null(self) -> bool {
        self.0 & !3 == 0
    }
    /// Requested privilege level.
    pub(crate) fn rpl(self) -> u8 {
        (self.0 & 3) as u8
    }
    /// The same descriptor with another RPL.
    pub(crate) fn with_rpl(self, rpl: u8) -> Self {
        Self(self.0 & !3 | u16::from(rpl & 3))
    }
    /// In the LDT.
    pub(crate) fn local(self) -> bool {
        self.0 & 4 != 0
    }
    /// Byte offset in its table.
    fn offset(self) -> u64 {
        u64::from(self.0 & !7)
    }
}

/// How to report that a selector is no good: which exception when the descriptor is wrong, and the EXT bit of the error code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blame {
    /// #GP or #TS.
    pub vector: u8,
    /// The event came from outside the program.
    pub ext: bool,
}

impl Blame {
    /// #GP on behalf of an instruction.
    pub(crate) const GP: Self = Self { vector: vector::GP, ext: false };

    /// #TS in the same circumstances.
    pub(crate) const fn ts(self) -> Self {
        Self { vector: vector::TS, ..self }
    }
    /// The fault with the selector as error code.
    pub(crate) fn of(self, s: Selector) -> Fault {
        self.with(self.vector, s)
    }
    /// The fault with the error code 0 (or EXT).
    pub(crate) fn zero(self) -> Fault {
        self.of(Selector(0))
    }
    /// #NP(selector).
    pub(crate) fn not_present(self, s: Selector) -> Fault {
        self.with(vector::NP, s)
    }
    /// #SS(selector).
    pub(crate) fn stack(self, s: Selector) -> Fault {
        self.with(vector::SS, s)
    }
    fn with(self, vector: u8, s: Selector) -> Fault {
        Fault::coded(vector, u32::from(s.0 & !3) | u32::from(self.ext))
    }
}

/// Types of system descriptors (SDM vol. 3, table 3-2).
pub(crate) mod system {
    #![allow(missing_docs)]
    pub const TSS16: u8 = 1;
    pub const LDT: u8 = 2;
    pub const TSS16_BUSY: u8 = 3;
    pub const CALL16: u8 = 4;
    pub const TASK_GATE: u8 = 5;
    pub const INT16: u8 = 6;
    pub const TRAP16: u8 = 7;
    /// Also the 64-bit TSS.
    pub const TSS32: u8 = 9;
    pub const TSS32_BUSY: u8 = 11;
    /// Also the 64-bit call gate.
    pub const CALL32: u8 = 12;
    pub const INT32: u8 = 14;
    pub const TRAP32: u8 = 15;
    /// The difference between an available and a busy TSS.
    pub const BUSY: u8 = 2;
}

/// An 8-byte descriptor, or the lower half of a 16-byte one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(pub u64);

impl Descriptor {
    pub(crate) fn typ(self) -> u8 {
        (self.0 >> 40 & 15) as u8
    }
    /// Code or data, not system.
    pub(crate) fn is_segment(self) -> bool {
        self.0 >> 44 & 1 != 0
    }
    pub(crate) fn dpl(self) -> u8 {
        (self.0 >> 45 & 3) as u8
    }
    pub(crate) fn present(self) -> bool {
        self.0 >> 47 & 1 != 0
    }
    /// L: 64-bit code.
    pub(crate) fn long(self) -> bool {
        self.0 >> 53 & 1 != 0
    }
    /// D/B.
    pub(crate) fn big(self) -> bool {
        self.0 >> 54 & 1 != 0
    }
    pub(crate) fn is_code(self) -> bool {
        self.is_segment() && self.typ() & 8 != 0
    }
    pub(crate) fn is_conforming(self) -> bool {
        self.is_code() && self.typ() & 4 != 0
    }
    pub(crate) fn is_writable_data(self) -> bool {
        self.is_segment() && self.typ() & 10 == 2
    }
    /// Data, or code that may be read.
    pub(crate) fn is_readable(self) -> bool {
        self.is_segment() && self.typ() & 10 != 8
    }
    /// Whether RPL and CPL count: not for conforming code.
    pub(crate) fn is_guarded(self) -> bool {
        !self.is_conforming()
    }
    /// Limit in bytes.
    pub(crate) fn limit(self) -> u32 {
        let raw = (self.0 & 0xffff | self.0 >> 32 & 0xf_0000) as u32;
        if self.0 >> 55 & 1 != 0 { raw << 12 | 0xfff } else { raw }
    }
    /// Base, the low 32 bits.
    pub(crate) fn base(self) -> u64 {
        self.0 >> 16 & 0xff_ffff | self.0 >> 56 << 24
    }
    /// The hidden part that a segment register takes, with `selector` as the visible one.
    pub(crate) fn segment(self, selector: Selector) -> Segment {
        Segment { selector: selector.0, base: self.base(), limit: self.limit(), attr: (self.0 >> 40) as u32 & 0xf0ff }
    }
}

/// A segment register that holds a null selector.
pub(crate) fn null_segment(selector: Selector) -> Segment {
    Segment { selector: selector.0, base: 0, limit: 0, attr: Segment::UNUSABLE }
}

/// A stack segment with a null selector, as 64-bit mode has it below ring 3.
pub(crate) fn null_stack(selector: Selector) -> Segment {
    Segment { attr: Segment::UNUSABLE | u32::from(selector.rpl()) << 5, ..null_segment(selector) }
}

/// Does `offset .. offset + len` lie inside the segment, expand-down ones included?
pub(crate) fn within_limit(s: &Segment, offset: u64, len: u64) -> bool {
    let last = offset + len.max(1) - 1;
    if s.s() && s.typ() & 0xc == 4 {
        let top = if s.db() { u64::from(u32::MAX) } else { 0xffff };
        offset > u64::from(s.limit) && last <= top
    } else {
        last <= u64::from(s.limit)
    }
}

impl Cpu {
    /// Linear address of the first of `len` bytes of descriptor `s`.
    fn descriptor_address(&self, s: Selector, len: u64, blame: Blame) -> Exec<u64> {
        let (base, limit) = if s.local() {
            let ldt = self.segment(Seg::Ldtr);
            if ldt.unusable() {
                return Err(blame.of(s));
            }
            (ldt.base, ldt.limit)
        } else {
            (self.gdtr.base, self.gdtr.limit.into())
        };
        if s.offset() + len - 1 > u64::from(limit) {
            return Err(blame.of(s));
        }
        Ok(base.wrapping_add(s.offset()))
    }
    /// Reads the descriptor that a selector names. The selector must not be null.
    pub(crate) fn descriptor(&mut self, s: Selector, blame: Blame) -> Exec<Descriptor> {
        let at = self.descriptor_address(s, 8, blame)?;
        self.system_read(at).map(Descriptor)
    }
    /// Reads the upper half of a 16-byte descriptor (IA-32e mode): bits 32..64 of its base or offset. Bits 8..13 of its last dword must be
    /// zero.
    pub(crate) fn descriptor_high(&mut self, s: Selector, blame: Blame) -> Exec<u64> {
        let at = self.descriptor_address(s, 16, blame)?;
        let high: u64 = self.system_read(at.wrapping_add(8))?;
        if high >> 40 & 0x1f != 0 { Err(blame.of(s)) } else { Ok(high & 0xffff_ffff) }
    }
    /// Sets the accessed bit of a code or data descriptor in memory and gives the descriptor with it.
    pub(crate) fn set_accessed(&mut self, s: Selector, d: Descriptor) -> Exec<Descriptor> {
        const ACCESSED: u64 = 1 << 40;
        if d.0 & ACCESSED == 0 {
            self.write_descriptor_type(s, d.typ() | 1, d)?;
        }
        Ok(Descriptor(d.0 | ACCESSED))
    }
    /// Sets the type field of a descriptor in memory: accessed and busy bits.
    pub(crate) fn write_descriptor_type(&mut self, s: Selector, typ: u8, d: Descriptor) -> Exec {
        let at = self.descriptor_address(s, 8, Blame::GP)?;
        let byte = (d.0 >> 40) as u8 & 0xf0 | typ;
        self.system_write(at.wrapping_add(5), byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_flat_code_segment() {
        let d = Descriptor(0x00cf_9b00_0000_ffff);
        let s = d.segment(Selector(0x10));
        assert_eq!((s.base, s.limit, s.attr), (0, 0xffff_ffff, 0xc09b));
        assert!(d.is_code() && d.is_readable() && !d.is_conforming() && !d.is_writable_data());
    }

    #[test]
    fn fields_of_a_data_segment_with_byte_granularity() {
        let d = Descriptor(0x124f_9234_5678_9abc);
        assert_eq!((d.base(), d.limit(), d.dpl(), d.present()), (0x1234_5678, 0xf_9abc, 0, true));
        assert!(d.is_writable_data() && d.big());
    }

    #[test]
    fn limits_of_expand_down_segments_are_lower_bounds() {
        let s = Segment { selector: 0, base: 0, limit: 0xfff, attr: 0x4097 };
        assert!(within_limit(&s, 0x1000, 4));
        assert!(!within_limit(&s, 0xfff, 4));
        assert!(within_limit(&s, 0xffff_fffc, 4));
        assert!(!within_limit(&s, 0xffff_fffd, 4));
        let small = Segment { attr: 0x97, ..s };
        assert!(!within_limit(&small, 0xfffd, 4));
    }
}
