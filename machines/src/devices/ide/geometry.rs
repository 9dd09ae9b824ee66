//! Cylinders, heads and sectors, for those who do not know better, and what the BIOS makes of them. The guess is QEMU's (`hw/block/hd-geometry.c`).

use gearbox_core::object::{Backends, PropertyValue, Value};

/// The geometry of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u32,
    /// Heads.
    pub heads: u32,
    /// Sectors of a track.
    pub sectors: u32,
    /// How the BIOS translates it.
    pub translation: Translation,
}

/// How the BIOS turns the geometry of a disk into one that its calls have room for. The numbers are those of CMOS RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// It does not.
    None = 0,
    /// By the number of sectors.
    Lba = 1,
    /// By doubling heads.
    Large = 2,
    /// The same, with 15 heads in place of 16 at first, so that they never become 256.
    Rechs = 3,
}

/// What a user says of the translation (`bios-chs-trans=`, QEMU's `BiosAtaTranslation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BiosTranslation {
    /// The one that fits the geometry.
    #[default]
    Auto,
    /// This one.
    Given(Translation),
}

impl Translation {
    /// All, by QEMU's names.
    const NAMED: [(&'static str, Self); 4] =
        [("none", Self::None), ("lba", Self::Lba), ("large", Self::Large), ("rechs", Self::Rechs)];

    /// QEMU's name.
    pub fn name(self) -> &'static str {
        Self::NAMED[self as usize].0
    }
    /// The one of a disk with this geometry: none if BIOS calls have room for it as it is.
    fn of(cylinders: u32, heads: u32, sectors: u32) -> Self {
        let fits = cylinders <= BIOS_CYLINDERS && heads <= HEADS && sectors <= SECTORS;
        if fits { Self::None } else { Self::Lba }
    }
}

impl PropertyValue for BiosTranslation {
    const KIND: &'static str = "BiosAtaTranslation";
    fn to_value(&self) -> Value {
        match self {
            Self::Auto => "auto",
            Self::Given(translation) => translation.name(),
        }
        .into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let named = Translation::NAMED.into_iter().find(|(name, _)| *name == text);
        named.map(|(_, t)| Self::Given(t)).ok_or_else(|| format!("'{text}' is none of auto, none, lba, large, rechs"))
    }
}

const HEADS: u32 = 16;
const SECTORS: u32 = 63;
const MOST_CYLINDERS: u32 = 16383;
/// Most cylinders that BIOS calls have room for.
const BIOS_CYLINDERS: u32 = 1024;

impl Geometry {
    /// The usual one for a disk of so many sectors.
    fn usual(total: u64) -> Self {
        let cylinders = (total / u64::from(HEADS * SECTORS)).clamp(2, MOST_CYLINDERS.into()) as u32;
        Self::given(cylinders, HEADS, SECTORS)
    }
    /// This one, with the translation that fits it.
    pub fn given(cylinders: u32, heads: u32, sectors: u32) -> Self {
        Self { cylinders, heads, sectors, translation: Translation::of(cylinders, heads, sectors) }
    }
    /// With the translation that a user asks for.
    #[must_use]
    pub fn translated(self, asked: BiosTranslation) -> Self {
        match asked {
            BiosTranslation::Auto => self,
            BiosTranslation::Given(translation) => Self { translation, ..self },
        }
    }
    /// That of a disk of so many sectors with `first` as its first one: whoever made a partition table had one in mind.
    pub fn guess(total: u64, first: &[u8]) -> Self {
        let Some((cylinders, heads, sectors)) = logical(total, first) else { return Self::usual(total) };
        if heads > HEADS {
            // Somebody has translated it.
            let usual = Self::usual(total);
            let fits = usual.cylinders * usual.heads <= 131_072;
            return Self { translation: if fits { Translation::Large } else { Translation::Lba }, ..usual };
        }
        Self { cylinders, heads, sectors, translation: Translation::None }
    }
}

/// Cylinders, heads and sectors by where the partitions of a master boot record end.
fn logical(total: u64, first: &[u8]) -> Option<(u32, u32, u32)> {
    if first.get(510..512)? != [0x55, 0xaa] {
        return None;
    }
    first[446..510].chunks(16).find_map(|entry| {
        let used = entry[12..16] != [0; 4];
        let (heads, sectors) = (u32::from(entry[5]) + 1, u32::from(entry[6] & 63));
        if !used || heads == 1 || sectors == 0 {
            return None;
        }
        let cylinders = u32::try_from(total / u64::from(heads * sectors)).ok()?;
        (1..=MOST_CYLINDERS).contains(&cylinders).then_some((cylinders, heads, sectors))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_size_and_by_partition_table() {
        let none = [0; 512];
        let g = Geometry::guess(20480, &none);
        assert_eq!((g.cylinders, g.heads, g.sectors, g.translation), (20, 16, 63, Translation::None));
        let g = Geometry::guess(1 << 32, &none);
        assert_eq!((g.cylinders, g.translation), (16383, Translation::Lba));
        let mut mbr = none;
        mbr[510..].copy_from_slice(&[0x55, 0xaa]);
        mbr[446 + 12] = 1;
        (mbr[446 + 5], mbr[446 + 6]) = (3, 0xc0 | 32);
        let g = Geometry::guess(20480, &mbr);
        assert_eq!((g.cylinders, g.heads, g.sectors), (160, 4, 32));
        (mbr[446 + 5], mbr[446 + 6]) = (254, 63);
        assert_eq!(Geometry::guess(2 << 20, &mbr).translation, Translation::Large);
    }

    #[test]
    fn what_the_user_says_of_the_translation_counts() {
        for (geometry, auto) in [((1024, 16, 63), Translation::None), ((1025, 16, 63), Translation::Lba)] {
            let geometry = Geometry::given(geometry.0, geometry.1, geometry.2);
            assert_eq!(geometry.translated(BiosTranslation::Auto).translation, auto);
            for (n, (name, translation)) in Translation::NAMED.into_iter().enumerate() {
                assert_eq!((translation as usize, translation.name()), (n, name));
                assert_eq!(geometry.translated(BiosTranslation::Given(translation)).translation, translation);
            }
        }
        assert_eq!(
            Geometry::given(16, 16, 255).translation,
            Translation::Lba,
            "more sectors than BIOS calls have room for"
        );
    }
}
