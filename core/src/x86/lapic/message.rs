//! Interrupt messages between APICs: what the ICR, an MSI or an I/O APIC redirection entry says.

/// Delivery mode (SDM vol. 3, 11.6.1 and 11.11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The vector is put into IRR of every destination.
    Fixed,
    /// Fixed, to the destination that runs at the lowest priority.
    LowestPriority,
    /// System management interrupt; the vector means nothing.
    Smi,
    /// Non-maskable interrupt; the vector means nothing.
    Nmi,
    /// INIT.
    Init,
    /// Start-up IPI; the vector is bits 12..20 of the first instruction's address.
    StartUp,
    /// The vector comes from the 8259A pair.
    ExtInt,
}

impl DeliveryMode {
    /// From the three bits of the field; encoding 3 is reserved.
    pub fn from_bits(bits: u32) -> Option<Self> {
        Some(match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            7 => Self::ExtInt,
            _ => return None,
        })
    }
    /// Does the mode put a vector into IRR?
    pub fn has_vector(self) -> bool {
        matches!(self, Self::Fixed | Self::LowestPriority)
    }
}

/// Trigger mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// An edge; nobody hears of its EOI.
    Edge,
    /// A level; its EOI is broadcast to the I/O APICs.
    Level,
}

impl Trigger {
    /// From the bit of the field.
    pub fn from_bit(level: bool) -> Self {
        if level { Self::Level } else { Self::Edge }
    }
}

/// Who a message is for (SDM vol. 3, 11.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Every local APIC.
    All,
    /// Every local APIC but the sender's.
    AllButSelf,
    /// The one with this APIC id.
    Physical(u32),
    /// Those whose logical destination register matches.
    Logical(u32),
}

impl Destination {
    /// From an 8-bit destination field, of which all ones is a broadcast.
    pub fn from_u8(dest: u8, logical: bool) -> Self {
        match (dest, logical) {
            (0xff, _) => Self::All,
            (d, false) => Self::Physical(d.into()),
            (d, true) => Self::Logical(d.into()),
        }
    }
    /// From x2APIC's 32-bit destination field, of which all ones is a broadcast.
    pub fn from_u32(dest: u32, logical: bool) -> Self {
        match (dest, logical) {
            (u32::MAX, _) => Self::All,
            (d, false) => Self::Physical(d),
            (d, true) => Self::Logical(d),
        }
    }
}

/// One interrupt message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Delivery mode.
    pub mode: DeliveryMode,
    /// Vector, where the mode has one.
    pub vector: u8,
    /// Trigger mode.
    pub trigger: Trigger,
    /// Destination.
    pub dest: Destination,
}

impl Message {
    /// Decodes a memory write to 0xfeexxxxx as SDM vol. 3, 11.11 defines it; `None` when the address is none of those or the delivery
    /// mode is reserved.
    pub fn from_msi(addr: u64, data: u32) -> Option<Self> {
        if addr >> 20 != 0xfee {
            return None;
        }
        let logical = addr & 1 << 2 != 0;
        let redirectable = addr & 1 << 3 != 0;
        let mode = match DeliveryMode::from_bits(data >> 8)? {
            DeliveryMode::Fixed if redirectable && logical => DeliveryMode::LowestPriority,
            m => m,
        };
        Some(Self {
            mode,
            vector: data as u8,
            trigger: Trigger::from_bit(data & 1 << 15 != 0),
            dest: Destination::from_u8((addr >> 12) as u8, logical),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_msi_is_decoded_field_by_field() {
        assert_eq!(
            Message::from_msi(0xfee0_3000, 0x8041),
            Some(Message {
                mode: DeliveryMode::Fixed,
                vector: 0x41,
                trigger: Trigger::Level,
                dest: Destination::Physical(3)
            })
        );
        let m = Message::from_msi(0xfeef_f00c, 0x0030).unwrap();
        assert_eq!((m.mode, m.dest), (DeliveryMode::LowestPriority, Destination::All));
        assert_eq!(Message::from_msi(0xfee0_0000, 0x0330), None);
        assert_eq!(Message::from_msi(0xfed0_0000, 0x30), None);
    }
}
