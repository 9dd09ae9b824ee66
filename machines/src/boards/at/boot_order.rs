//! The boot order, as firmware reads it: two bytes of CMOS RAM, and items of the firmware configuration device (QEMU's `set_boot_dev`).

use crate::devices::fw_cfg::{FwCfg, key};
use gearbox_core::machine::{BootOrder, BuildError};

/// CMOS RAM: the third device, and bit 0 to leave floppies unchecked.
const THIRD: u8 = 0x38;
/// CMOS RAM: the second and the first device.
const FIRST_TWO: u8 = 0x3d;
/// What the two bytes have room for.
const MOST: usize = 3;

/// What firmware calls a drive letter.
fn device(letter: char) -> Option<u8> {
    match letter {
        'a' | 'b' => Some(1),
        'c' => Some(2),
        'd' => Some(3),
        'n' => Some(4),
        _ => None,
    }
}

fn bytes(order: &str, floppy_check: bool) -> Result<[(u8, u8); 2], BuildError> {
    let wrong = |reason: String| BuildError::Option { option: "boot", value: order.to_owned(), reason };
    if order.chars().count() > MOST {
        return Err(wrong(format!("Too many boot devices for PC: at most {MOST}")));
    }
    let mut devices = [0; MOST];
    for (slot, letter) in devices.iter_mut().zip(order.chars()) {
        *slot = device(letter).ok_or_else(|| wrong(format!("Invalid boot device for PC: '{letter}'")))?;
    }
    let [first, second, third] = devices;
    Ok([(THIRD, third << 4 | u8::from(!floppy_check)), (FIRST_TWO, second << 4 | first)])
}

/// The bytes of CMOS RAM for the first boot, and for those that follow a reset.
///
/// # Errors
/// An order that firmware has no words for.
pub(in crate::boards) fn cmos(boot: &BootOrder) -> Result<[[(u8, u8); 2]; 2], BuildError> {
    let later = bytes(&boot.order, boot.floppy_check)?;
    let first = boot.once.as_ref().map_or(Ok(later), |once| bytes(once, boot.floppy_check))?;
    Ok([first, later])
}

/// Items of the firmware configuration device.
pub(in crate::boards) fn items(boot: &BootOrder, items: &mut FwCfg) {
    items.set(key::BOOT_MENU, u16::from(boot.menu).to_le_bytes());
    let mut add = |name, bytes: &[u8]| items.add_file(name, bytes).expect("names that no other item has");
    if let Some(ms) = boot.splash_time {
        add("etc/boot-menu-wait", &ms.to_le_bytes());
    }
    // -1 as 32 bits: never.
    let wait = boot.reboot_timeout.map_or(u32::MAX, u32::from);
    add("etc/boot-fail-wait", &wait.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(order: &str, once: Option<&str>, floppy_check: bool) -> [u16; 2] {
        let boot = BootOrder { order: order.into(), once: once.map(Into::into), floppy_check, ..BootOrder::default() };
        cmos(&boot).unwrap().map(|[(_, third), (_, two)]| u16::from_le_bytes([third, two]))
    }

    #[test]
    fn the_bytes_are_those_of_qemu() {
        assert_eq!(order("cad", None, true), [0x1230; 2]);
        assert_eq!(order("cad", Some("a"), false), [0x0101, 0x1231]);
        assert_eq!(order("nda", None, true), [0x3410; 2]);
        assert_eq!(order("", None, true), [0; 2]);
        assert!(cmos(&BootOrder { order: "abcd".into(), ..BootOrder::default() }).is_err());
        assert!(cmos(&BootOrder { once: Some("x".into()), ..BootOrder::default() }).is_err());
    }
}
