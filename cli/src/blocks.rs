//! Images and drives from how users ask for them: `-drive` and `drive_add`, `-blockdev` and `blockdev-add`.

use crate::args::{Config, DriveArg, Problem, Problems};
use crate::backend::block::{
    Aio, BlockBackend, BlockError, Blocks, CacheMode, DetectZeroes, Format, ImageOptions, Protocol,
};
use crate::blkdebug;
use crate::board::well_formed_id;
use crate::control::{Error, Result as ControlResult};
use crate::messages::warn;
use crate::qmp::types::blockdev::{
    BlockdevAioOptions, BlockdevDetectZeroesOptions, BlockdevDiscardOptions, BlockdevKind, BlockdevOptions,
    BlockdevOptionsBlkdebug, BlockdevOptionsFile, BlockdevOptionsNull, BlockdevRef, OnOffAuto,
};
use std::sync::Arc;

/// All of a machine's.
///
/// # Errors
/// Each that cannot be.
pub(crate) fn open(config: &Config) -> Result<Arc<Blocks>, Problems> {
    let (blocks, mut problems) = (Blocks::default(), Problems::default());
    // Names of those that cannot be, and of what is on them.
    let mut refused: Vec<&str> = Vec::new();
    for b in &config.blockdevs {
        let on_refused = b.options.below().is_some_and(|below| refused.contains(&below));
        let added = || add_node(&blocks, &b.options).map_err(|e| Problem::new("blockdev", &*b.given, e));
        if on_refused || problems.some(added()).is_none() {
            refused.extend(b.options.node_name.as_deref());
        }
    }
    for d in &config.drives {
        problems.value(add_drive(&blocks, d).map(drop).map_err(|e| d.problem(e)));
    }
    for (place, media) in &config.default_drives {
        blocks.add_default_drive(*place, *media);
    }
    problems.or(Arc::new(blocks))
}

/// Adds a drive with its image.
///
/// # Errors
/// The name or place is taken, or the image cannot be opened.
pub(crate) fn add_drive(blocks: &Blocks, d: &DriveArg) -> Result<Arc<BlockBackend>, BlockError> {
    let place = blocks.place(d.interface, d.place)?;
    let name = d.id.clone().unwrap_or_else(|| place.name(d.media));
    if !well_formed_id(&name) {
        return Err(BlockError::BadName("id", name));
    }
    if blocks.find(&name).is_some_and(|drive| drive.name() == name) {
        return Err(BlockError::DuplicateDrive(name));
    }
    let medium = d.image.as_ref().map(|image| blocks.open(d.node_name.as_deref(), image)).transpose()?;
    medium.as_ref().and_then(|m| m.warning()).into_iter().for_each(warn);
    blocks.add_drive(&name, place, d.media, medium, (d.on_read_error, d.on_write_error))
}

/// Adds an image that devices find by its name.
///
/// # Errors
/// The name is missing or taken, or the image cannot be opened.
pub(crate) fn add_node(blocks: &Blocks, options: &BlockdevOptions) -> ControlResult<()> {
    let name = options.node_name.as_deref();
    let name = name.ok_or_else(|| Error::generic("'node-name' must be specified for the root node"))?;
    check_name(name)?;
    let (file, format) = match &options.kind {
        BlockdevKind::Raw(on) => (&on.file, Format::Raw),
        BlockdevKind::Qcow2(on) => (&on.file, Format::Qcow2),
        _ => return Ok(blocks.add_file(name, &protocol(options, None)?)?),
    };
    match file {
        BlockdevRef::Reference(file) => {
            let below = blocks.file(file)?.options;
            blocks.add_node_on(name, file, &on_file(options, format, below)?)?;
        }
        BlockdevRef::Definition(file) => {
            let below = protocol(file, Some(options))?;
            match &file.node_name {
                None => drop(blocks.add_node(name, &on_file(options, format, below)?)?),
                Some(below_name) => {
                    check_name(below_name)?;
                    let image = on_file(options, format, below.clone())?;
                    blocks.add_node_with_file(name, &image, (below_name, &below))?;
                }
            }
        }
    }
    Ok(())
}

fn check_name(name: &str) -> ControlResult<()> {
    /// Most letters of a name.
    const MOST: usize = 31;
    match name {
        _ if !well_formed_id(name) => Err(BlockError::BadName("node-name", name.to_owned()).into()),
        _ if name.len() > MOST => Err(Error::generic("Node name too long")),
        _ => Ok(()),
    }
}

/// What the bytes are in. What it does not say for itself is as the format on it has it.
fn protocol(options: &BlockdevOptions, format: Option<&BlockdevOptions>) -> ControlResult<ImageOptions> {
    let base = match &options.kind {
        BlockdevKind::File(file) => of_file(Protocol::File, file)?,
        BlockdevKind::HostDevice(file) => of_file(Protocol::HostDevice, file)?,
        BlockdevKind::NullCo(null) => of_nothing(Protocol::NullCo, null)?,
        BlockdevKind::NullAio(null) => of_nothing(Protocol::NullAio, null)?,
        BlockdevKind::Blkdebug(debug) => debugged(debug, options)?,
        BlockdevKind::Raw(_) | BlockdevKind::Qcow2(_) => {
            return Err(Error::generic("a format on another format is not implemented yet"));
        }
    };
    let flag =
        |own: Option<bool>, of: fn(&BlockdevOptions) -> Option<bool>| own.or(format.and_then(of)).unwrap_or(false);
    let read_only = flag(options.read_only, |f| f.read_only);
    if options.force_share == Some(true) && !read_only {
        return Err(Error::generic("force-share=on can only be used with read-only images"));
    }
    let cache = CacheMode {
        direct: flag(direct(options), direct),
        no_flush: flag(no_flush(options), no_flush),
        ..CacheMode::WRITEBACK
    };
    Ok(ImageOptions {
        format: Some(Format::Raw),
        read_only,
        auto_read_only: flag(options.auto_read_only, |f| f.auto_read_only),
        cache,
        // A format's discards come through to a file that says nothing of its own.
        unmap: options.discard.map_or(format.is_some(), |d| d == BlockdevDiscardOptions::Unmap),
        detect_zeroes: zeroes(options)?,
        locking: base.locking && options.force_share != Some(true),
        ..base
    })
}

fn of_file(protocol: Protocol, file: &BlockdevOptionsFile) -> ControlResult<ImageOptions> {
    let path = crate::args::drives::file_name(&file.filename).map_err(Error::generic)?;
    Ok(ImageOptions {
        protocol: Some(protocol),
        aio: match file.aio {
            Some(BlockdevAioOptions::IoUring) => Aio::IoUring,
            Some(BlockdevAioOptions::Threads) | None => Aio::Threads,
        },
        locking: file.locking != Some(OnOffAuto::Off),
        ..ImageOptions::new(path)
    })
}

fn of_nothing(protocol: Protocol, null: &BlockdevOptionsNull) -> ControlResult<ImageOptions> {
    let image = ImageOptions::null(protocol);
    let size = null.size.map(u64::try_from).transpose().map_err(|_| Error::generic("device size is negative"))?;
    Ok(ImageOptions { null: size.or(image.null), ..image })
}

fn debugged(debug: &BlockdevOptionsBlkdebug, options: &BlockdevOptions) -> ControlResult<ImageOptions> {
    let BlockdevRef::Definition(image) = &debug.image else {
        return Err(Error::generic(
            "blkdebug on an image that has a name is not implemented yet: define it in 'image'",
        ));
    };
    let config = debug.config.as_ref().map(|path| blkdebug::config(path.as_ref())).transpose();
    let mut rules = config.map_err(Error::generic)?.unwrap_or_default();
    for error in debug.inject_error.iter().flatten() {
        rules.inject_error.push(blkdebug::inject_error(error).map_err(Error::generic)?);
    }
    for state in debug.set_state.iter().flatten() {
        rules.set_state.push(blkdebug::set_state(state).map_err(Error::generic)?);
    }
    Ok(ImageOptions { debug: Some(rules), ..protocol(image, Some(options))? })
}

/// A format on a file.
fn on_file(options: &BlockdevOptions, format: Format, file: ImageOptions) -> ControlResult<ImageOptions> {
    let read_only = options.read_only.unwrap_or(file.read_only);
    if file.read_only && !read_only && !file.auto_read_only {
        return Err(Error::generic("Block node is read-only"));
    }
    let no_flush = no_flush(options).unwrap_or(file.cache.no_flush);
    Ok(ImageOptions {
        format: Some(format),
        read_only,
        unmap: options.discard == Some(BlockdevDiscardOptions::Unmap) && file.unmap,
        detect_zeroes: zeroes(options)?,
        locking: file.locking && options.force_share != Some(true),
        cache: CacheMode { no_flush, ..file.cache },
        ..file
    })
}

fn direct(options: &BlockdevOptions) -> Option<bool> {
    options.cache.as_ref()?.direct
}

fn no_flush(options: &BlockdevOptions) -> Option<bool> {
    options.cache.as_ref()?.no_flush
}

fn zeroes(options: &BlockdevOptions) -> ControlResult<DetectZeroes> {
    match options.detect_zeroes {
        Some(BlockdevDetectZeroesOptions::Unmap) if options.discard != Some(BlockdevDiscardOptions::Unmap) => {
            let reason = "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap";
            Err(Error::generic(reason))
        }
        Some(BlockdevDetectZeroesOptions::Unmap) => Ok(DetectZeroes::Unmap),
        Some(BlockdevDetectZeroesOptions::On) => Ok(DetectZeroes::On),
        Some(BlockdevDetectZeroesOptions::Off) | None => Ok(DetectZeroes::Off),
    }
}
