//! Media by their size, and the drives that take them.

use gearbox_core::backend::block::BlockBackend;
use gearbox_core::board::Saved;
use std::sync::Arc;

/// Bytes of a sector.
pub(super) const SECTOR: u64 = 512;

/// A kind of drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriveKind {
    /// 5.25", 1.2 MB.
    K120,
    /// 3.5", 1.44 MB.
    K144,
    /// 3.5", 2.88 MB.
    K288,
}

impl DriveKind {
    const ALL: [Self; 3] = [Self::K120, Self::K144, Self::K288];
    /// QEMU's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::K120 => "120",
            Self::K144 => "144",
            Self::K288 => "288",
        }
    }
    /// By QEMU's name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
    /// Cylinders, heads and sectors per track, of the media that have most of them.
    pub fn limits(self) -> [u8; 3] {
        let formats = FORMATS.iter().filter(|f| f.kind == self);
        formats.fold([0; 3], |[c, h, s], f| [c.max(f.tracks), h.max(f.heads), s.max(f.sectors)])
    }
    /// What CMOS RAM calls it.
    pub fn cmos(self) -> u8 {
        match self {
            Self::K120 => 2,
            Self::K144 => 4,
            Self::K288 => 5,
        }
    }
}

/// Data rates, as the controller's registers have them.
pub(super) const R500: u8 = 0;
const R300: u8 = 1;
const R250: u8 = 2;
const R1000: u8 = 3;

/// A way to divide a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) kind: DriveKind,
    pub(super) sectors: u8,
    pub(super) tracks: u8,
    pub(super) heads: u8,
    pub(super) rate: u8,
}

const fn format(kind: DriveKind, sectors: u8, tracks: u8, heads: u8, rate: u8) -> Format {
    Format { kind, sectors, tracks, heads, rate }
}

/// The formats that there are, those to prefer first.
static FORMATS: [Format; 29] = {
    use DriveKind::{K120, K144, K288};
    [
        format(K144, 18, 80, 2, R500),
        format(K144, 20, 80, 2, R500),
        format(K144, 21, 80, 2, R500),
        format(K144, 21, 82, 2, R500),
        format(K144, 21, 83, 2, R500),
        format(K144, 22, 80, 2, R500),
        format(K144, 23, 80, 2, R500),
        format(K144, 24, 80, 2, R500),
        format(K288, 36, 80, 2, R1000),
        format(K288, 39, 80, 2, R1000),
        format(K288, 40, 80, 2, R1000),
        format(K288, 44, 80, 2, R1000),
        format(K288, 48, 80, 2, R1000),
        format(K144, 9, 80, 2, R250),
        format(K144, 10, 80, 2, R250),
        format(K144, 10, 82, 2, R250),
        format(K144, 10, 83, 2, R250),
        format(K144, 13, 80, 2, R250),
        format(K144, 14, 80, 2, R250),
        format(K120, 15, 80, 2, R500),
        format(K120, 18, 82, 2, R500),
        format(K120, 18, 83, 2, R500),
        format(K120, 11, 80, 2, R250),
        format(K120, 9, 40, 2, R300),
        format(K120, 9, 40, 1, R300),
        format(K120, 10, 41, 2, R300),
        format(K120, 10, 42, 2, R300),
        format(K120, 8, 40, 2, R250),
        format(K120, 8, 40, 1, R250),
    ]
};

impl Format {
    /// Bytes of a medium that is divided like this.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.sectors) * u64::from(self.tracks) * u64::from(self.heads) * SECTOR
    }
    /// The one of a medium of so many bytes. Of another size, the smallest that has room for all of it, or else the largest.
    pub(super) fn of(size: u64, kind: Option<DriveKind>) -> Self {
        let fits = |f: &&Self| {
            kind.is_none_or(|kind| f.kind == kind || (kind == DriveKind::K288 && f.kind == DriveKind::K144))
        };
        let all = || FORMATS.iter().filter(fits);
        let exact = all().find(|f| f.size() == size);
        let roomy = || all().filter(|f| f.size() >= size).min_by_key(|f| f.size());
        *exact.or_else(roomy).or_else(|| all().max_by_key(|f| f.size())).unwrap_or(&FORMATS[0])
    }
}

/// A drive.
pub(super) struct Drive {
    pub(super) kind: Option<DriveKind>,
    pub(super) backend: Option<Arc<BlockBackend>>,
    /// Of the medium, if there is one.
    pub(super) format: Option<Format>,
    /// Where the heads are.
    pub(super) track: u8,
    pub(super) head: u8,
    /// The medium has been changed since the heads last moved.
    pub(super) changed: bool,
}

impl Drive {
    pub(super) fn new(kind: Option<DriveKind>, backend: Option<Arc<BlockBackend>>) -> Self {
        let mut drive = Self { kind, backend, format: None, track: 0, head: 0, changed: true };
        drive.look();
        drive
    }
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { kind: _, backend: _, format: _, track, head, changed } = self;
        Saved::of((track, changed)).and(Saved::sound(head, |head| *head < 2))
    }
    /// Looks at the medium.
    pub(super) fn look(&mut self) {
        let medium = self.backend.as_ref().and_then(|b| b.medium());
        self.format = medium.map(|m| Format::of(m.size(), self.kind));
    }
    pub(super) fn read_only(&self) -> bool {
        self.backend.as_ref().and_then(|b| b.medium()).is_some_and(|m| m.read_only())
    }
    /// Moves the heads.
    pub(super) fn seek(&mut self, track: u8) -> bool {
        let moved = self.track != track;
        self.track = track;
        if moved && self.format.is_some() {
            self.changed = false;
        }
        moved
    }
    /// Where a sector is on the medium, in bytes.
    pub(super) fn position(&self, track: u8, head: u8, sector: u8) -> Option<u64> {
        let f = self.format.filter(|f| track < f.tracks && head < f.heads && (1..=f.sectors).contains(&sector))?;
        let n = (u64::from(track) * u64::from(f.heads) + u64::from(head)) * u64::from(f.sectors);
        Some((n + u64::from(sector) - 1) * SECTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_known_by_their_size() {
        let of = |kib: u64, kind| {
            let f = Format::of(kib << 10, kind);
            (f.sectors, f.tracks, f.heads, f.kind)
        };
        assert_eq!(of(1440, None), (18, 80, 2, DriveKind::K144));
        assert_eq!(of(2880, None), (36, 80, 2, DriveKind::K288));
        assert_eq!(of(1200, None), (15, 80, 2, DriveKind::K120));
        assert_eq!(of(720, None), (9, 80, 2, DriveKind::K144));
        assert_eq!(of(360, None), (9, 40, 2, DriveKind::K120));
        assert_eq!(of(1440, Some(DriveKind::K288)), (18, 80, 2, DriveKind::K144));
        assert_eq!(of(100, Some(DriveKind::K144)).0, 9, "the smallest that it has room on");
        assert_eq!(of(100_000, None).0, 48, "the largest");
    }
}
