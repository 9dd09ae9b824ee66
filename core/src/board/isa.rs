//! The interrupts of the ISA bus: wires that many cards share.
//!
//! A card drives an interrupt through [`Realize::isa_irq`](super::Realize::isa_irq); the board says where each one leads. An interrupt is asserted while any of its
//! drivers asserts it, so that a card can come or go without the others noticing.

use super::Pin;

/// Number of interrupts.
pub const IRQS: usize = 16;

#[derive(Default)]
struct Irq {
    asserted: u32,
    inputs: Vec<Pin>,
}

/// The interrupts of a board's ISA bus.
#[derive(Default)]
pub(super) struct IsaInterrupts {
    irqs: [Irq; IRQS],
}

impl IsaInterrupts {
    pub(super) fn feed(&mut self, irq: u8, input: Pin) {
        self.irqs[usize::from(irq) % IRQS].inputs.push(input);
    }
    /// These are asserted, each as often as it is named.
    pub(super) fn count(&mut self, asserted: impl Iterator<Item = u8>) {
        self.irqs.iter_mut().for_each(|irq| irq.asserted = 0);
        asserted.for_each(|irq| self.irqs[usize::from(irq) % IRQS].asserted += 1);
    }
    /// One driver has changed; the inputs to change with it, if that makes a difference.
    pub(super) fn change(&mut self, irq: u8, level: bool) -> Vec<Pin> {
        let irq = &mut self.irqs[usize::from(irq) % IRQS];
        let was = irq.asserted > 0;
        irq.asserted = if level { irq.asserted + 1 } else { irq.asserted.saturating_sub(1) };
        if was == (irq.asserted > 0) { Vec::new() } else { irq.inputs.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::DeviceId;

    #[test]
    fn asserted_while_anybody_asserts_it() {
        let mut isa = IsaInterrupts::default();
        let pin = Pin { device: DeviceId::nth(1), index: 4 };
        isa.feed(4, pin);
        assert_eq!(isa.change(4, true), [pin]);
        assert_eq!((isa.change(4, true), isa.change(4, false), isa.change(5, true)), (vec![], vec![], vec![]));
        assert_eq!(isa.change(4, false), [pin]);
    }
}
