//! New images.

use super::image::{OpenError, Qcow2Image, guarded};
use super::lock::ImageLock;
use super::options::Format;
use super::request::SECTOR;
use imago::FormatCreateBuilder;
use imago::file::File as HostFile;
use std::fs::File;
use std::io;
use std::path::Path;

/// Makes an empty image of `size` bytes, rounded up to whole sectors, in place of what is in the file.
///
/// # Errors
/// Somebody uses the file, or the host's reason.
pub fn create(path: &Path, format: Format, size: u64) -> Result<(), OpenError> {
    let fail = |e: io::Error| OpenError::new(path, e);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(fail)?;
    let _lock = ImageLock::take(path, true).map_err(|reason| OpenError::new(path, reason))?;
    let size = size.checked_next_multiple_of(SECTOR).ok_or_else(|| OpenError::new(path, "the size is too large"))?;
    // First nothing, so that all of it reads as zeroes.
    file.set_len(0).map_err(fail)?;
    match format {
        Format::Raw => file.set_len(size),
        Format::Qcow2 => guarded(|| {
            let storage = HostFile::try_from(file)?;
            Qcow2Image::create_builder(Box::new(storage)).size(size).create()
        }),
    }
    .map_err(fail)
}
