//! What must be true of a qcow2 image before it is written, so that the crate that writes it comes to an end. The fields are named as in the specification
//! (QEMU, docs/interop/qcow2.txt).

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Largest table of reference counts in bytes: as QEMU has it.
const MOST_REFCOUNT_TABLE: u64 = 8 << 20;

/// An unsigned number of `len` bytes of a file.
fn field(file: &File, at: u64, len: usize) -> io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes[8 - len..], at)?;
    Ok(u64::from_be_bytes(bytes))
}
fn corrupt(what: &str) -> io::Error {
    io::Error::other(format!("the image is corrupt: {what}"))
}

/// Refuses an image whose first table does not cover its size (imago walks through all of what is missing when the size changes), and those whose reference
/// counts would lead the search for a free cluster astray.
///
/// # Errors
/// What is wrong, or the host's reason.
pub(super) fn check_tables(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let (cluster_bits, size, l1_size) = (cluster_bits(&file)?, field(&file, 24, 8)?, field(&file, 36, 4)?);
    let covered = u128::from(l1_size) << covered_bits(cluster_bits);
    if covered < size.into() {
        return Err(io::Error::other("L1 table is too small"));
    }
    check_reference_counts(&file, cluster_bits)
}

/// log2 of the size of a cluster of the temporary file that takes what is written to an image with `snapshot=on`.
pub(super) const OVERLAY_CLUSTER_BITS: u64 = 16;
/// Tables of the second level that shrinking an image may visit: imago makes each that is missing.
const MOST_TABLES: u64 = 4096;

/// log2 of the size of an image's clusters. Other sizes than those that there can be are refused elsewhere.
fn cluster_bits(file: &File) -> io::Result<u64> {
    Ok(field(file, 20, 4)?.clamp(9, 21))
}
/// log2 of the bytes that an entry of the first table is for: it is for a second one, a cluster with entries of 8 bytes for a cluster each.
fn covered_bits(cluster_bits: u64) -> u64 {
    2 * cluster_bits - 3
}
/// By how many bytes an image may shrink: 2 TiB, if its clusters have 64 KiB. `None` stands for the temporary file.
///
/// # Errors
/// The host's reason.
pub(super) fn most_shrinkage(path: Option<&Path>) -> io::Result<u64> {
    let bits = path.map_or(Ok(OVERLAY_CLUSTER_BITS), |path| cluster_bits(&File::open(path)?))?;
    Ok(MOST_TABLES << covered_bits(bits))
}

/// By the counts, the cluster with the header may be free, so that it would be given to somebody, and the search not end; or the table names blocks more than
/// once, or behind the end of the file, so that more clusters would have to be looked at than there can be.
fn check_reference_counts(file: &File, cluster_bits: u64) -> io::Result<()> {
    let version = field(file, 4, 4)?;
    let refcount_table = field(file, 48, 8)?;
    let table_size = field(file, 56, 4)? << cluster_bits;
    if table_size > MOST_REFCOUNT_TABLE {
        return Err(corrupt("its table of reference counts is too large"));
    }
    let headless = || corrupt("its header has no reference count");
    let mut table = vec![0; table_size as usize];
    file.read_exact_at(&mut table, refcount_table).map_err(|_| headless())?;
    let blocks: Vec<_> =
        table.chunks_exact(8).map(|e| u64::from_be_bytes(e.try_into().expect("eight bytes"))).collect();
    let size = file.metadata()?.len();
    let mut seen = HashSet::new();
    if let Some(block) = blocks.iter().find(|&&b| b != 0 && (b >= size || !seen.insert(b))) {
        return Err(corrupt(&format!("its table of reference counts names {block:#x}")));
    }
    // log2 of the bits of a count; version 2 has 16 bits.
    let refcount_order = if version >= 3 { field(file, 96, 4)? } else { 4 };
    let bytes = (1usize << refcount_order.min(6)).div_ceil(8);
    let mut count = match blocks.first() {
        None | Some(0) => 0,
        Some(&block) => field(file, block, bytes).map_err(|_| headless())?,
    };
    if refcount_order < 3 {
        // Counts of less than a byte begin with the lowest bits.
        count &= (1 << (1 << refcount_order)) - 1;
    }
    if count == 0 { Err(headless()) } else { Ok(()) }
}
