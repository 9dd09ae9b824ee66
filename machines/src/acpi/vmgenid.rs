//! AML that tells where the VM generation id is (Microsoft, "Virtual Machine Generation ID"; QEMU, docs/specs/vmgenid).

use super::aml::{Raw, device, list, method, name, path, scope, store};
use super::table::{HEADER, OEM_TABLE_ID, table};
use crate::devices::vmgenid::GUID_OFFSET;
use acpi_tables::aml::{Add, Equal, If, Index, Local, ONE, Package, Return, ZERO};

/// Name of the address of the page.
const ADDRESS: &str = "VGIA";

/// Where in the table the address is: behind the header, a NameOp, the name, and a DWordPrefix.
pub(super) const ADDRESS_OFFSET: usize = HEADER + 6;
/// Stands for the address: a value that AML encodes as a doubleword.
const PLACEHOLDER: u32 = 0x8000_0000;

/// The table, relative to the page with the number.
pub(super) fn ssdt() -> Vec<u8> {
    let body = list(&[name(ADDRESS, &PLACEHOLDER), scope("\\_SB_", &[generation()])]);
    let mut t = table(b"SSDT", 1, &body.0);
    t[ADDRESS_OFFSET..][..4].fill(0);
    // By this name tools find the table.
    t[OEM_TABLE_ID].copy_from_slice(b"VMGENID\0");
    t
}

fn generation() -> Raw {
    let page = path(ADDRESS);
    let missing = Equal::new(&page, &ZERO);
    device(
        "VGEN",
        &[
            name("_HID", &"QEMUVGID"),
            name("_CID", &"VM_Gen_Counter"),
            name("_DDN", &"VM_Gen_Counter"),
            method("_STA", 0, &[&If::new(&missing, vec![&Return::new(&ZERO)]), &Return::new(&0x0fu8)]),
            address(),
        ],
    )
}

/// `ADDR`: lower and upper half of the address of the number.
fn address() -> Raw {
    let (halves, page) = (Local(0), path(ADDRESS));
    let low = Add::new(&ZERO, &page, &(GUID_OFFSET as u8));
    method(
        "ADDR",
        0,
        &[
            &store(&halves, &Package::new(vec![&ZERO, &ZERO])),
            &store(&Index::new(&ZERO, &halves, &ZERO), &low),
            &store(&Index::new(&ZERO, &halves, &ONE), &ZERO),
            &Return::new(&halves),
        ],
    )
}
