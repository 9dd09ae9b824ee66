//! Cylinders, heads and sectors, for those who do not know better, and what the BIOS makes of them. The guess is QEMU's (`hw/block/hd-geometry.c`).

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
        let translation = if cylinders <= BIOS_CYLINDERS { Translation::None } else { Translation::Lba };
        Self { cylinders, heads: HEADS, sectors: SECTORS, translation }
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
}
