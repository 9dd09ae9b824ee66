//! What cards with ports and an interrupt on the ISA bus have in common.

use gearbox_core::board::{Line, Realize, RealizeError};

/// Settles the properties `iobase` and `irq` of a card with so many ports, and takes its interrupt.
///
/// # Errors
/// The ports would go beyond the last one, or the bus has no such interrupt.
pub(super) fn settle(r: &mut Realize<'_>, (base, ports): (u16, u16), irq: u8) -> Result<Line, RealizeError> {
    check(r, (base, ports), irq)?;
    r.settle_property("iobase", base);
    r.settle_property("irq", irq);
    Ok(r.isa_irq(irq))
}

/// Checks them only.
///
/// # Errors
/// As [`settle`].
pub(super) fn check(r: &Realize<'_>, (base, ports): (u16, u16), irq: u8) -> Result<(), RealizeError> {
    if base.checked_add(ports - 1).is_none() {
        return Err(r.property_error("iobase", format!("{base:#x} leaves no room for {ports} ports")));
    }
    if !(3..16).contains(&irq) || [8, 13].contains(&irq) {
        return Err(r.property_error("irq", format!("ISA cards have no interrupt {irq}")));
    }
    Ok(())
}
