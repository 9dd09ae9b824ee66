//! The state of the bootstrap processor at an operating system's entry.

use gearbox_core::x86::state::{DescriptorTable, Seg, Segment, X86State, cr0, gpr, rflags};

/// 32-bit protected mode without paging, flat segments, interrupts off: what Linux' 32-bit protocol, PVH and multiboot all ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// EIP.
    pub eip: u32,
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ESI.
    pub esi: u32,
    /// Where [`Entry::gdt`] is loaded.
    pub gdt: u32,
}

/// Selectors that Linux asks for (`__BOOT_CS`, `__BOOT_DS`); PVH and multiboot leave them open.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
/// Flat, 4 GiB, present, ring 0: executable and readable, or writable; accessed, as after a load.
const CODE_ATTR: u32 = 0xc09b;
const DATA_ATTR: u32 = 0xc093;

impl Entry {
    /// The descriptor table behind the selectors.
    pub fn gdt() -> [u8; 32] {
        let descriptor = |attr: u64| 0xffff | (attr & 0xff) << 40 | 0xf << 48 | (attr >> 12) << 52;
        let mut table = [0; 32];
        for (n, attr) in [(2, CODE_ATTR), (3, DATA_ATTR)] {
            table[8 * n..8 * n + 8].copy_from_slice(&descriptor(attr.into()).to_le_bytes());
        }
        table
    }
    /// Turns the reset state into the entry state.
    pub fn apply(&self, s: &mut X86State) {
        let flat = |selector, attr| Segment { selector, base: 0, limit: u32::MAX, attr };
        for seg in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            *s.seg_mut(seg) = flat(DATA, DATA_ATTR);
        }
        *s.seg_mut(Seg::Cs) = flat(CODE, CODE_ATTR);
        s.gdtr = DescriptorTable { base: self.gdt.into(), limit: Self::gdt().len() as u16 - 1 };
        s.idtr = DescriptorTable { base: 0, limit: 0 };
        s.cr0 = cr0::PE | cr0::ET;
        s.rflags = rflags::FIXED1;
        s.gpr = [0; 16];
        s.gpr[gpr::RAX] = self.eax.into();
        s.gpr[gpr::RBX] = self.ebx.into();
        s.gpr[gpr::RSI] = self.esi.into();
        s.rip = self.eip.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_flat() {
        let t = Entry::gdt();
        assert_eq!(t[16..24], [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0]);
        assert_eq!(t[24..], [0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]);
    }

    #[test]
    fn protected_mode_is_on_and_paging_off() {
        let mut s = X86State::reset(true, 0x663);
        Entry { eip: 0x10_0000, eax: 1, ebx: 2, esi: 3, gdt: 0x1000 }.apply(&mut s);
        assert_eq!((s.cr0, s.rflags, s.rip), (0x11, 2, 0x10_0000));
        assert_eq!(s.gpr[..7], [1, 0, 0, 2, 0, 0, 3]);
        assert!(s.seg(Seg::Cs).db() && s.seg(Seg::Cs).base == 0 && s.seg(Seg::Cs).limit == u32::MAX);
    }
}
