//! The embedded guest: the small program that Gearbox boots when it is given nothing else to boot.
//!
//! Its source is in `cli/guest`; `build.rs` compiles it into this crate. It is an ELF image with a PVH note, to be
//! booted like any other `-kernel`. What it expects of the machine:
//!
//! * on its command line [`accel=NAME`](command_line) and, if somebody can type, `console=interactive`;
//! * an `isa-debug-exit` device at [`DEBUG_EXIT_PORT`], by which it tells that a check failed.
//!
//! It ends by ACPI soft-off, exit status 0, when all checks passed; by status 3 when one failed; by 5 when all passed
//! and the soft-off did nothing; by 7 when it broke down itself.

/// Where the guest looks for `isa-debug-exit` (its `iobase`; `iosize` is 4).
pub const DEBUG_EXIT_PORT: u16 = 0xf4;

/// This build has no guest in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEmbedded {
    reason: &'static str,
}

impl std::fmt::Display for NotEmbedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this build of Gearbox has no embedded guest: {}", self.reason)
    }
}

impl std::error::Error for NotEmbedded {}

/// The guest's ELF image.
///
/// # Errors
/// The machine that compiled this Gearbox could not compile the guest.
#[cfg(guest_embedded)]
pub fn embedded() -> Result<&'static [u8], NotEmbedded> {
    Ok(include_bytes!(concat!(env!("OUT_DIR"), "/guest.elf")))
}

/// The guest's ELF image.
///
/// # Errors
/// The machine that compiled this Gearbox could not compile the guest.
#[cfg(not(guest_embedded))]
pub fn embedded() -> Result<&'static [u8], NotEmbedded> {
    Err(NotEmbedded { reason: env!("GEARBOX_GUEST_ABSENT") })
}

/// The command line for the guest: it compares `accelerator` (a name as in `-accel`) with what CPUID says, and offers a
/// prompt after the check if `interactive`.
pub fn command_line(accelerator: &str, interactive: bool) -> String {
    let console = if interactive { "interactive" } else { "batch" };
    format!("accel={accelerator} console={console}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_names_accelerator_and_console() {
        assert_eq!(command_line("tcg", false), "accel=tcg console=batch");
        assert_eq!(command_line("kvm", true), "accel=kvm console=interactive");
    }

    /// The image is a 64-bit x86-64 executable whose only loaded segment lies in the even megabyte from 2 MiB on,
    /// with a PVH entry point inside it.
    #[test]
    #[cfg(guest_embedded)]
    fn image_is_loadable_by_pvh() {
        let image = embedded().unwrap();
        let u16_at = |at: usize| u16::from_le_bytes(image[at..at + 2].try_into().unwrap());
        let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        assert_eq!(&image[..6], b"\x7fELF\x02\x01");
        assert_eq!((u16_at(16), u16_at(18)), (2, 62), "ET_EXEC, EM_X86_64");

        let (table, size, count) = (u64_at(32) as usize, u16_at(54) as usize, u16_at(56) as usize);
        let headers = (0..count).map(|i| table + i * size);
        let (mut loaded, mut entry) = (Vec::new(), None);
        for header in headers {
            let (kind, offset) = (u32_at(header), u64_at(header + 8) as usize);
            match kind {
                1 => loaded.push(u64_at(header + 24)..u64_at(header + 24) + u64_at(header + 40)),
                4 => {
                    assert_eq!([u32_at(offset), u32_at(offset + 4), u32_at(offset + 8)], [4, 4, 18]);
                    assert_eq!(&image[offset + 12..offset + 16], b"Xen\0");
                    entry = Some(u32_at(offset + 16).into());
                }
                _ => (),
            }
        }
        assert_eq!(loaded.len(), 1);
        assert!(loaded[0].start == 2 << 20 && loaded[0].end <= 3 << 20);
        assert!(entry.is_some_and(|entry: u64| loaded[0].contains(&entry)));
    }
}
