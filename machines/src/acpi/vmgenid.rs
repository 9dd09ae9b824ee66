//! AML that tells where the VM generation id is (Microsoft, "Virtual Machine Generation ID"; QEMU, docs/specs/vmgenid).

use super::aml::{Raw, device, list, method, name, path, scope, store};
use super::table::table;
use crate::devices::vmgenid::GUID_OFFSET;
use acpi_tables::aml::{Add, Equal, If, Index, Local, ONE, Package, Return, ZERO};

/// Bytes of the page with the number that have to be in memory.
pub(super) const PAGE_USED: usize = GUID_OFFSET + 16;

/// Name of the address of the page.
const ADDRESS: &str = "VGIA";

/// The table, for a page at this address. The address comes first in it, where firmware and tests find it.
pub(super) fn ssdt(page: u32) -> Vec<u8> {
    let body = list(&[name(ADDRESS, &page), scope("\\_SB_", &[generation()])]);
    table(b"SSDT", 1, &body.0)
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
