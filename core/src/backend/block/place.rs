//! Where users put drives: kinds of buses, and places on them (QEMU's `blockdev.c`).

use super::registry::BlockError;
use crate::named::named;

named! {
    /// Which bus a drive is for (`if=`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Interface {
        /// None: a device names it.
        None = "none",
        /// IDE.
        Ide = "ide",
        /// A virtio disk.
        Virtio = "virtio",
        /// A floppy drive.
        Floppy = "floppy",
        /// A flash chip.
        Pflash = "pflash",
    }

    /// What kind of drive is asked for (`media=`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum DriveMedia {
        /// A disk.
        #[default]
        Disk = "disk",
        /// A CD-ROM.
        Cdrom = "cdrom",
    }
}

impl Interface {
    /// Drives on each of its buses; 0 where all are on one, and the index is the unit. Users rely on what an index means.
    pub fn units(self) -> u32 {
        if self == Self::Ide { 2 } else { 0 }
    }
}

/// Where a board is to put a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrivePlace {
    /// The kind of bus.
    pub interface: Interface,
    /// Which of them.
    pub bus: u32,
    /// Where on it.
    pub unit: u32,
}

impl DrivePlace {
    /// The place with that number among those of its kind.
    pub fn nth(interface: Interface, index: u32) -> Self {
        let units = interface.units();
        let (bus, unit) = (index.checked_div(units).unwrap_or(0), index.checked_rem(units).unwrap_or(index));
        Self { interface, bus, unit }
    }
    /// Its number.
    pub fn index(self) -> u32 {
        self.bus.saturating_mul(self.interface.units()).saturating_add(self.unit)
    }
    /// What a drive is called that is there and has no other name.
    pub fn name(self, media: DriveMedia) -> String {
        let Self { interface, bus, unit } = self;
        let interface_name = interface.name();
        match (interface, media) {
            (Interface::Ide, DriveMedia::Disk) => format!("{interface_name}{bus}-hd{unit}"),
            (Interface::Ide, DriveMedia::Cdrom) => format!("{interface_name}{bus}-cd{unit}"),
            _ => format!("{interface_name}{unit}"),
        }
    }
}

/// Where a user wants a drive, as far as that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantedPlace {
    /// Its number.
    pub index: Option<u32>,
    /// Which bus.
    pub bus: Option<u32>,
    /// Where on it.
    pub unit: Option<u32>,
}

impl WantedPlace {
    /// The place: without a number or unit, the first one that is not `taken`, from the given bus on.
    ///
    /// # Errors
    /// What is said does not go together, or there is no such unit.
    pub fn find(self, interface: Interface, taken: impl Fn(DrivePlace) -> bool) -> Result<DrivePlace, BlockError> {
        let units = interface.units();
        match self {
            Self { index: Some(_), bus, unit } if bus.is_some() || unit.is_some() => Err(BlockError::IndexAndBus),
            Self { index: Some(index), .. } => Ok(DrivePlace::nth(interface, index)),
            Self { unit: Some(unit), .. } if units > 0 && unit >= units => Err(BlockError::UnitTooBig { unit, units }),
            Self { bus, unit: Some(unit), .. } => Ok(DrivePlace { interface, bus: bus.unwrap_or(0), unit }),
            Self { bus, .. } => {
                let first = bus.unwrap_or(0).saturating_mul(units);
                let mut places = (first..=u32::MAX).map(|index| DrivePlace::nth(interface, index));
                Ok(places.find(|place| !taken(*place)).unwrap_or(DrivePlace::nth(interface, first)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(interface: Interface, bus: u32, unit: u32) -> DrivePlace {
        DrivePlace { interface, bus, unit }
    }

    #[test]
    fn an_index_is_a_bus_and_a_unit() {
        assert_eq!(DrivePlace::nth(Interface::Ide, 3), place(Interface::Ide, 1, 1));
        assert_eq!(DrivePlace::nth(Interface::Floppy, 1), place(Interface::Floppy, 0, 1));
        for interface in Interface::ALL {
            for index in 0..5 {
                assert_eq!(DrivePlace::nth(*interface, index).index(), index);
            }
        }
    }

    #[test]
    fn names_are_those_of_qemu() {
        let ide = place(Interface::Ide, 1, 0);
        assert_eq!((ide.name(DriveMedia::Cdrom), ide.name(DriveMedia::Disk)), ("ide1-cd0".into(), "ide1-hd0".into()));
        assert_eq!(place(Interface::None, 0, 2).name(DriveMedia::Cdrom), "none2");
        assert_eq!(place(Interface::Floppy, 0, 0).name(DriveMedia::Disk), "floppy0");
    }

    #[test]
    fn places_are_found() {
        let taken = [place(Interface::Ide, 0, 0), place(Interface::Ide, 0, 1), place(Interface::None, 0, 0)];
        let find = |wanted: WantedPlace, interface| wanted.find(interface, |p| taken.contains(&p));
        let any = WantedPlace::default();
        assert_eq!(find(any, Interface::Ide).unwrap(), place(Interface::Ide, 1, 0));
        assert_eq!(find(any, Interface::None).unwrap(), place(Interface::None, 0, 1));
        let unit = |unit| WantedPlace { unit: Some(unit), ..any };
        assert_eq!(find(unit(1), Interface::Ide).unwrap(), place(Interface::Ide, 0, 1));
        assert_eq!(find(WantedPlace { bus: Some(1), ..any }, Interface::Ide).unwrap(), place(Interface::Ide, 1, 0));
        let error = |wanted| find(wanted, Interface::Ide).unwrap_err().to_string();
        assert_eq!(error(unit(2)), "unit 2 too big (max is 1)");
        assert_eq!(error(WantedPlace { index: Some(1), ..unit(0) }), "index cannot be used with bus and unit");
    }
}
