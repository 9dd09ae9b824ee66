//! Files that a machine has in its memory: option ROMs of PCI devices and of the ISA bus, and flash chips, which the guest reads, programs and erases.

use super::Target;
use super::board::{RAM, Script};
use crate::random::Random;

/// Option ROMs.
pub struct OptionRom;
/// Flash chips.
pub struct Flash;

const STEPS: usize = 200;

/// A size such as the part takes, or one that it does not.
fn size(r: &mut Random, sound: &[u64]) -> u64 {
    match r.below(5) {
        0 => r.below(0x2_0000),
        1 => r.pick(sound) + r.below(3) - 1,
        _ => *r.pick(sound),
    }
}

impl Target for OptionRom {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mut s = Script::default();
        let size = size(r, &[0x200, 0x400, 0x1000, 0x8000, 0x1_0000]);
        // The header, and the PCI data structure to which it points (PCI Firmware Specification 3.0, 5.1).
        let data = *r.pick(&[0x1c, 0x20, 0x40]);
        let mut image = [0; 0x80];
        image[..2].copy_from_slice(&[0x55, 0xaa]);
        image[2] = (size / 512) as u8;
        image[0x18] = data;
        image[usize::from(data)..][..4].copy_from_slice(b"PCIR");
        image[usize::from(data) + 4..][..4].copy_from_slice(&[0xf4, 0x1a, 0x44, 0x10]);
        for _ in 0..r.below(4) {
            match r.one_in(2) {
                true => image[0x18..0x1a].copy_from_slice(&(r.interesting() as u16).to_le_bytes()),
                false => image[r.index(0x80)] = r.number() as u8,
            }
        }
        s.file("rom", size, &image);
        let device = *r.pick(&["virtio-rng-pci", "VGA", "pci-serial"]);
        s.word("-device");
        s.word(&format!("{device},addr=4,romfile=@rom@"));
        if r.one_in(3) {
            s.word("-option-rom");
            s.word("@rom@");
        }
        for _ in 0..STEPS / 4 {
            let base = *r.pick(&[0xfeb0_0000, 0xc_0000, 0xffff_f000, 0]);
            s.config(4, 0, 0x30, base | r.below(2));
            s.config(4, 0, 4, r.below(8));
            s.step(format!("read {:#x} {}", base + r.below(0x2_0000), 1 + r.below(64)));
            s.store('l', base + r.below(0x2_0000), r.number() & 0xffff_ffff);
            if r.one_in(20) {
                s.step("!reset");
            }
        }
        s.0
    }
}

/// Commands of Intel's flash chips (CFI command set 1).
const COMMANDS: &[u64] = &[0x10, 0x20, 0x28, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xd0, 0xe8, 0xf0, 0xff];

impl Target for Flash {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mut s = Script::default();
        for name in ["code", "variables"].into_iter().take(1 + r.index(2)) {
            let size = size(r, &[0x1000, 0x2_0000, 0x8_4000, 0x40_0000, 0x80_0000]);
            s.file(name, size, &r.number().to_le_bytes());
            s.word("-drive");
            let more = r.pick(&["", ",readonly=on", ",snapshot=on"]);
            let format = r.pick(&["format=raw", "format=qcow2", "index=1", "format=raw"]);
            s.word(&format!("if=pflash,file=@{name}@,{format}{more}"));
        }
        for _ in 0..STEPS {
            let reach = *r.pick(&[0x2000, 0x4_0000, 0x50_0000, 0x100_0000]);
            let at = match r.below(4) {
                0 => 0xe_0000 + r.below(0x2_0000),
                _ => 0xffff_ffff - r.below(reach),
            };
            let width = *r.pick(&['b', 'b', 'w', 'l', 'q']);
            match r.below(20) {
                0..8 => s.store(width, at, *r.pick(COMMANDS)),
                8..12 => s.store(width, at, r.interesting()),
                12..18 => s.step(format!("read{width} {at:#x}")),
                18 => s.step(format!("read {at:#x} {}", r.below(70))),
                _ if r.one_in(3) => s.step("!reset"),
                _ => s.step(format!("write {:#x} 4 0xe8100170", at % RAM)),
            }
        }
        s.step("!settle");
        s.0
    }
}
