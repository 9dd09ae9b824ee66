//! Opening of images: which format one has, which files it refers to, and who else uses them.

use super::lock::ImageLock;
use super::options::{Aio, Format, ImageOptions, Protocol};
use super::qcow2;
use super::uring::Ring;
use imago::file::File as HostFile;
use imago::format::gate::ImplicitOpenGate;
use imago::null::Null;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DynStorage, FormatAccess, FormatCreateBuilder, FormatDriverBuilder, Storage, StorageOpenOptions};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What an image is in.
type Store = Box<dyn DynStorage>;
/// An image that is open.
pub(super) type Access = FormatAccess<Store>;
pub(super) type Qcow2Image = Qcow2<Store, Arc<Access>>;

/// Most files in a chain of backing files: opening and reading go down it by recursion.
const LONGEST_CHAIN: usize = 32;
/// Bytes by which a format is recognised.
pub(super) const PROBED: usize = 512;

/// Why an image could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Could not open '{filename}': {reason}")]
pub struct OpenError {
    /// As given.
    pub filename: String,
    /// Why not.
    pub reason: String,
}

impl OpenError {
    pub(super) fn new(path: &Path, reason: impl ToString) -> Self {
        Self { filename: path.display().to_string(), reason: reason.to_string() }
    }
}

/// A file that an image refers to for what it does not contain itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackingFile {
    /// Where it is.
    pub filename: PathBuf,
    /// Its format.
    pub format: Format,
}

/// What was opened.
pub(super) struct Opened {
    pub(super) access: Access,
    pub(super) format: Format,
    /// The format was guessed, and is not to change by what the guest writes.
    pub(super) probed: bool,
    pub(super) read_only: bool,
    pub(super) protocol: Protocol,
    /// Nearest first.
    pub(super) backing: Vec<BackingFile>,
    pub(super) locks: Vec<ImageLock>,
    /// The file of an image that is asked for by io_uring.
    pub(super) ring: Option<RingFile>,
}

/// A file with a ring.
pub(super) struct RingFile {
    pub(super) ring: Ring,
    pub(super) file: Arc<File>,
    /// What addresses in memory are multiples of.
    pub(super) mem_align: usize,
    /// What offsets and lengths are multiples of.
    pub(super) req_align: usize,
}

/// A format by the first bytes of an image, or the name of one that is not supported.
pub fn probe(start: &[u8]) -> Result<Format, &'static str> {
    const KNOWN: [(usize, &[u8], &str); 10] = [
        (0, b"QED\0", "qed"),
        (0, b"KDMV", "vmdk"),
        (0, b"COWD", "vmdk"),
        (0, b"# Disk DescriptorFile", "vmdk"),
        (64, &[0x7f, 0x10, 0xda, 0xbe], "vdi"),
        (0, b"conectix", "vpc"),
        (0, b"vhdxfile", "vhdx"),
        (0, b"WithoutFreeSpace", "parallels"),
        (0, b"WithouFreSpacExt", "parallels"),
        (0, b"LUKS\xba\xbe", "luks"),
    ];
    if let Some(version) = start.strip_prefix(b"QFI\xfb") {
        return if version.starts_with(&[0, 0, 0, 1]) { Err("qcow") } else { Ok(Format::Qcow2) };
    }
    match KNOWN.iter().find(|(at, magic, _)| start.get(*at..).is_some_and(|s| s.starts_with(magic))) {
        Some((_, _, name)) => Err(name),
        None => Ok(Format::Raw),
    }
}

/// The first bytes of a file.
pub(super) fn start_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(PROBED as u64).read_to_end(&mut start)?;
    Ok(start)
}

fn probe_file(path: &Path) -> io::Result<Format> {
    let unsupported = |name: &str| {
        let path = path.display();
        io::Error::other(format!(
            "images in the format {name} are not supported; 'qemu-img convert -O qcow2 {path} NEW' makes one that is"
        ))
    };
    probe(&start_of(path)?).map_err(unsupported)
}

/// The host's words for an error, without the path that comes before them already.
fn words(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(code) => {
            let text = io::Error::from_raw_os_error(code).to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
        None => e.to_string(),
    }
}

/// Calls into the crate that reads formats. A mistake in it, which a hostile image could find, is an error like others.
pub(super) fn guarded<R>(f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(io::Error::other("the image cannot be read")))
}

/// Looks whether the file of an image can be opened; returns what kind of file it is, and whether it can only be read.
///
/// # Errors
/// The host's reason.
pub(super) fn reach(options: &ImageOptions) -> Result<(Protocol, bool), OpenError> {
    if options.null.is_some() {
        return Ok((options.protocol.unwrap_or(Protocol::NullCo), options.read_only || options.snapshot));
    }
    let path = &*options.filename;
    let fail = |reason: String| OpenError::new(path, reason);
    let metadata = std::fs::metadata(path).map_err(|e| fail(words(&e)))?;
    if metadata.is_dir() {
        return Err(fail("it is a directory".into()));
    }
    let protocol = if metadata.is_file() { Protocol::File } else { Protocol::HostDevice };
    match options.protocol {
        Some(Protocol::File) if protocol != Protocol::File => {
            return Err(fail("A regular file was expected by the 'file' driver, but something else was given".into()));
        }
        Some(Protocol::HostDevice) if protocol != Protocol::HostDevice => {
            let path = path.display();
            return Err(fail(format!(
                "'host_device' driver requires '{path}' to be either a character or block device"
            )));
        }
        _ => {}
    }
    let mut read_only = options.read_only || options.snapshot;
    if !read_only && let Err(e) = File::options().read(true).write(true).open(path) {
        let kept = matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem);
        if !(kept && options.auto_read_only) {
            return Err(fail(words(&e)));
        }
        read_only = true;
    }
    let protocol = if options.debug.is_some() { Protocol::Blkdebug } else { protocol };
    Ok((protocol, read_only))
}

/// Opens an image.
///
/// # Errors
/// The host's reason, or what is wrong with the image.
pub(super) fn open(options: &ImageOptions) -> Result<Opened, OpenError> {
    let path = &*options.filename;
    let fail = |reason: String| OpenError::new(path, reason);
    let (protocol, mut read_only) = reach(options)?;
    let format = match options.format {
        Some(format) => format,
        None => probe_file(path).map_err(|e| fail(words(&e)))?,
    };
    let found = Arc::new(Mutex::new(Found { locking: options.locking, ..Found::default() }));
    let gate = Gate(found.clone());
    let mut ring = None;
    let opened = guarded(|| {
        if let Some(size) = options.null {
            return in_nothing(options, format, size, read_only);
        }
        gate.admit(path, format, !read_only)?;
        if format == Format::Qcow2 && !read_only {
            qcow2::check_tables(path)?;
        }
        let storage = StorageOpenOptions::new().direct(options.cache.direct);
        Ok(match format {
            _ if options.aio == Aio::IoUring => {
                let (image, file) = with_ring(options, format, read_only)?;
                ring = Some(file);
                FormatAccess::new(Raw::builder(image).write(!read_only).open(gate.clone())?)
            }
            Format::Raw => FormatAccess::new(
                Raw::builder_path(path).storage_open_options(storage).write(!read_only).open(gate.clone())?,
            ),
            Format::Qcow2 => {
                let builder = Qcow2Image::builder_path(path).storage_open_options(storage);
                FormatAccess::new(builder.write(!read_only).open(gate.clone())?)
            }
        })
    });
    let mut access = opened.map_err(|e| fail(words(&e)))?;
    // No file has more, and what follows the last sector is still to have an offset.
    if i64::try_from(access.size()).is_err() {
        return Err(fail("the image is too large".to_owned()));
    }
    if options.snapshot {
        access = guarded(|| overlay(access)).map_err(|e| fail(format!("temporary overlay: {}", words(&e))))?;
        read_only = options.read_only;
    }
    let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let locks = std::mem::take(&mut found.locks);
    let backing = found.files.drain(..).skip(1).collect();
    let probed = options.format.is_none() && format == Format::Raw;
    Ok(Opened { access, format, probed, read_only, protocol, backing, locks, ring })
}

/// An image in nothing.
fn in_nothing(options: &ImageOptions, format: Format, size: u64, read_only: bool) -> io::Result<Access> {
    if format != Format::Raw || options.aio == Aio::IoUring {
        return Err(io::Error::other("there is no format in nothing, and no io_uring for it"));
    }
    let store: Store = Box::new(Null::new(size));
    let image = Raw::builder(store).write(!read_only).open(imago::DenyImplicitOpenGate::default())?;
    Ok(FormatAccess::new(image))
}

/// Opens a file for requests by a ring, and for others.
fn with_ring(options: &ImageOptions, format: Format, read_only: bool) -> io::Result<(Store, RingFile)> {
    if format != Format::Raw || options.snapshot || options.debug.is_some() {
        let what = match format {
            _ if options.snapshot => "temporary overlays",
            Format::Raw => Protocol::Blkdebug.name(),
            other => other.name(),
        };
        return Err(io::Error::other(format!("aio=io_uring is for raw images, not for {what}; use aio=threads")));
    }
    let ring = Ring::open().map_err(io::Error::other)?;
    let (path, direct) = (&options.filename, options.cache.direct);
    let flags = if direct { libc::O_DIRECT } else { 0 };
    let file = File::options().read(true).write(!read_only).custom_flags(flags).open(path)?;
    let opened = StorageOpenOptions::new().filename(path).write(!read_only).direct(direct);
    let image = HostFile::from_open_file(file.try_clone()?, opened)?;
    let (mem_align, req_align) = (image.mem_align(), image.req_align());
    Ok((Box::new(image), RingFile { ring, file: Arc::new(file), mem_align, req_align }))
}

/// Puts an empty image over `base` that takes what is written, in a temporary file without a name.
fn overlay(base: Access) -> io::Result<Access> {
    let directory = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let file = || -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(open(&directory, flags, Mode::RUSR | Mode::WUSR)?.into())
    };
    let storage: Store = Box::new(HostFile::try_from(file()?)?);
    let size = base.size().next_multiple_of(super::SECTOR);
    let base = Arc::new(base);
    let image = Qcow2Image::create_builder(storage)
        .size(size)
        .cluster_size(1 << qcow2::OVERLAY_CLUSTER_BITS)
        .create_open(imago::DenyImplicitOpenGate::default(), |s| Ok(Qcow2Image::builder(s).backing(Some(base))))?;
    Ok(FormatAccess::new(image))
}

/// What was met on the way.
#[derive(Default)]
struct Found {
    locking: bool,
    /// The image itself first.
    files: Vec<BackingFile>,
    locks: Vec<ImageLock>,
}

/// Opens the files that an image refers to.
#[derive(Clone)]
struct Gate(Arc<Mutex<Found>>);

impl Gate {
    /// Notes a file, unless the chain is too long, and locks it.
    fn admit(&self, path: &Path, format: Format, write: bool) -> io::Result<()> {
        let mut found = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let same = |f: &BackingFile| f.filename.canonicalize().ok() == path.canonicalize().ok();
        if found.files.iter().any(same) {
            return Err(io::Error::other(format!("the backing file {} refers to itself", path.display())));
        }
        if found.files.len() >= LONGEST_CHAIN {
            return Err(io::Error::other("the chain of backing files is too long"));
        }
        found.files.push(BackingFile { filename: path.to_owned(), format });
        if found.locking {
            let lock = ImageLock::take(path, write).map_err(io::Error::other)?;
            found.locks.push(lock);
        }
        Ok(())
    }
}

impl ImplicitOpenGate<Store> for Gate {
    fn open_format<F: FormatDriverBuilder<Store>>(&mut self, builder: F) -> io::Result<Access> {
        let path = builder.get_image_path().unwrap_or_default();
        let format = match F::FORMAT {
            imago::format::Format::Raw => Format::Raw,
            imago::format::Format::Qcow2 => Format::Qcow2,
            other => return Err(io::Error::other(format!("the format {other:?} is not supported"))),
        };
        self.admit(&path, format, builder.get_writable())?;
        Ok(FormatAccess::new(builder.open(self.clone())?))
    }
    fn open_storage(&mut self, options: StorageOpenOptions) -> io::Result<Store> {
        Store::open(options)
    }
}
