//! Where firmware images are found on the host.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Directories in which packages put firmware.
const STANDARD: [&str; 3] = ["/usr/share/seabios", "/usr/share/qemu", "/usr/share/OVMF"];

/// The directories in which an image is looked for that is named without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwarePath(Vec<PathBuf>);

impl Default for FirmwarePath {
    fn default() -> Self {
        Self::new([])
    }
}

impl FirmwarePath {
    /// These, and then the standard ones.
    pub fn new(first: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(first.into_iter().chain(STANDARD.map(PathBuf::from)).collect())
    }
    /// The directories, in order.
    pub fn directories(&self) -> &[PathBuf] {
        &self.0
    }
    /// The file of that name: as it is, or in the first directory that has one.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let places = std::iter::once(PathBuf::from(name)).chain(self.0.iter().map(|d| d.join(name)));
        places.into_iter().find(|p| !name.is_empty() && p.is_file())
    }
    /// Its contents and path.
    ///
    /// # Errors
    /// There is no such file, it cannot be read, is empty or has more than `most` bytes.
    pub fn read(&self, name: &str, most: u64) -> io::Result<(Vec<u8>, PathBuf)> {
        let path = self.find(name).ok_or_else(|| {
            let package = package_of(name).map(|p| format!("; package {p} has it")).unwrap_or_default();
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("no such file, here or in the firmware directories{package}"),
            )
        })?;
        read_file(&path, most).map(|bytes| (bytes, path))
    }
}

/// Reads a file of 1 to `most` bytes.
///
/// # Errors
/// It cannot be read, is empty or larger ([`io::ErrorKind::FileTooLarge`]).
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A device file may have no end.
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        0 => Err(io::Error::other("is empty")),
        n if n > most => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("is larger than {} KiB", most >> 10))),
        _ => Ok(bytes),
    }
}

/// The Debian package that an image usually comes from.
pub fn package_of(name: &str) -> Option<&'static str> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|p| name.starts_with(p));
    if starts(&["bios", "vgabios"]) {
        Some("seabios")
    } else if starts(&["OVMF"]) {
        Some("ovmf")
    } else if starts(&["linuxboot", "multiboot", "pvh.bin", "kvmvapic"]) {
        Some("qemu-system-data")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_wins_and_what_is_missing_is_named() {
        let base = std::env::temp_dir().join(format!("gearbox-firmware-path-{}", std::process::id()));
        let (a, b) = (base.join("a"), base.join("b"));
        for dir in [&a, &b] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join("x.bin"), dir.display().to_string()).unwrap();
        }
        let path = FirmwarePath::new([b.clone(), a]);
        assert_eq!(path.find("x.bin"), Some(b.join("x.bin")));
        assert!(path.find("").is_none());
        assert!(path.read("x.bin", 3).unwrap_err().to_string().contains("larger"));
        let missing = path.read("vgabios-none-such.bin", 1 << 20).unwrap_err().to_string();
        assert!(missing.contains("package seabios"), "{missing}");
        std::fs::remove_dir_all(base).unwrap();
    }
}
