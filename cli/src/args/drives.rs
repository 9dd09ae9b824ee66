//! `-drive` and its short forms.
//!
//! The keys of `-drive` are a table, from which it is parsed, and from which `-drive help` is made.

use super::{Options, Problem, Problems, Properties, unknown};
use crate::blkdebug;
use gearbox_core::backend::block::{
    Aio, CacheMode, DebugOptions, DetectZeroes, DriveMedia, Format, ImageOptions, Interface, OnError, Protocol,
    WantedPlace,
};
use gearbox_core::object::{parse_size, parse_switch};

/// A drive as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveArg {
    /// The option and its value as given, for messages.
    pub given: (&'static str, String),
    /// `id=`.
    pub id: Option<String>,
    /// `if=`.
    pub interface: Interface,
    /// `index=`, `bus=`, `unit=`.
    pub place: WantedPlace,
    /// `media=`.
    pub media: DriveMedia,
    /// How the image is opened; none without `file=`.
    pub image: Option<ImageOptions>,
    /// `node-name=`.
    pub node_name: Option<String>,
    /// `rerror=`.
    pub on_read_error: OnError,
    /// `werror=`.
    pub on_write_error: OnError,
}

impl DriveArg {
    /// Something that is wrong with it.
    pub fn problem(&self, reason: impl std::fmt::Display) -> Problem {
        Problem::new(self.given.0, &*self.given.1, reason)
    }
}

/// What `-drive` has said so far.
struct Draft {
    drive: DriveArg,
    file: Option<String>,
    image: ImageOptions,
    /// There is no file.
    nothing: Option<Protocol>,
    /// A key that is about nothing only, and how much of it there is to be.
    about_nothing: Option<&'static str>,
    size: Option<u64>,
    read_only: Option<bool>,
    snapshot: Option<bool>,
}

/// Why a value is not taken; nothing if it is not one of those that there are.
type Refusal = Option<String>;

/// A key of `-drive`: what may follow, what it means, and how it is taken.
struct Key {
    /// Its names; the first is the usual one.
    names: &'static [&'static str],
    values: &'static str,
    help: &'static str,
    take: fn(&mut Draft, &str) -> Result<(), Refusal>,
}

const fn key(
    names: &'static [&'static str],
    values: &'static str,
    help: &'static str,
    take: fn(&mut Draft, &str) -> Result<(), Refusal>,
) -> Key {
    Key { names, values, help, take }
}

static KEYS: &[Key] = &[
    key(&["file", "file.filename"], "FILE", "the image: a file or a device of the host", |d, v| {
        d.file = Some(v.to_owned()).filter(|v| !v.is_empty());
        Ok(())
    }),
    key(&["id"], "ID", "a name, for -device NAME,drive=ID", |d, v| {
        d.drive.id = Some(v.to_owned());
        Ok(())
    }),
    key(&["node-name"], "NAME", "the name of the image", |d, v| {
        d.drive.node_name = Some(v.to_owned());
        Ok(())
    }),
    key(&["if"], "ide|virtio|floppy|pflash|none", "the bus that it is for", |d, v| {
        interface(v).map(|i| d.drive.interface = i)
    }),
    key(&["index"], "NUMBER", "its number among the drives for that bus", |d, v| {
        number(v).map(|n| d.drive.place.index = n)
    }),
    key(&["bus"], "NUMBER", "which of the buses of that kind", |d, v| number(v).map(|n| d.drive.place.bus = n)),
    key(&["unit"], "NUMBER", "where on that bus", |d, v| number(v).map(|n| d.drive.place.unit = n)),
    key(&["media"], "disk|cdrom", "what kind of drive it is", |d, v| {
        among(v, DriveMedia::ALL, DriveMedia::name).map(|m| d.drive.media = m)
    }),
    key(
        &["format", "driver"],
        "raw|qcow2|null-co|null-aio",
        "the format of the image; found out without it",
        |d, v| {
            match (Format::from_name(v), nothing(v)) {
                (None, None) => return Err(None),
                (None, nothing) => d.nothing = nothing,
                (format, _) => d.image.format = format,
            }
            Ok(())
        },
    ),
    key(&["file.driver"], "file|host_device|null-co|null-aio", "what the image is in", |d, v| {
        d.nothing = nothing(v);
        d.image.protocol = Protocol::from_name(v).filter(|p| *p != Protocol::Blkdebug);
        if d.image.protocol.is_some() { Ok(()) } else { Err(None) }
    }),
    key(&["size", "file.size"], "SIZE", "how much of nothing there is (null-co): 1G without it", |d, v| {
        (d.size, d.about_nothing) = (Some(parse_size(v).ok_or(None)?), Some("size"));
        Ok(())
    }),
    key(
        &["read-zeroes", "file.read-zeroes"],
        "on|off",
        "nothing (null-co) reads as zeroes, as it always does",
        |d, v| {
            d.about_nothing = Some("read-zeroes");
            switch(v).map(drop)
        },
    ),
    key(&["readonly", "read-only"], "on|off", "the image is not written to", |d, v| {
        switch(v).map(|on| d.read_only = Some(on))
    }),
    key(&["auto-read-only"], "on|off", "the image may be one that cannot be written to", |d, v| {
        switch(v).map(|on| d.image.auto_read_only = on)
    }),
    key(&["snapshot"], "on|off", "what is written goes to a temporary file", |d, v| {
        switch(v).map(|on| d.snapshot = Some(on))
    }),
    key(&["cache"], "writeback|writethrough|none|directsync|unsafe", "what the host caches", |d, v| {
        d.image.cache = CacheMode::from_name(v).ok_or(None)?;
        Ok(())
    }),
    key(&["cache.direct"], "on|off", "the host's page cache is not used", |d, v| {
        switch(v).map(|on| d.image.cache.direct = on)
    }),
    key(&["cache.writeback"], "on|off", "writes are done before they are on stable storage", |d, v| {
        switch(v).map(|on| d.image.cache.writeback = on)
    }),
    key(&["cache.no-flush"], "on|off", "flushes are not passed on to the host", |d, v| {
        switch(v).map(|on| d.image.cache.no_flush = on)
    }),
    key(
        &["aio", "file.aio"],
        "threads|io_uring",
        "how the host is asked; io_uring is for raw images",
        |d, v| match v {
            "native" => Err(Some("'aio=native' is not implemented yet; there are 'threads' and 'io_uring'".to_owned())),
            _ => among(v, Aio::ALL, Aio::name).map(|aio| d.image.aio = aio),
        },
    ),
    key(&["discard"], "ignore|unmap", "what the guest discards is given back to the host", |d, v| match v {
        "ignore" | "off" => {
            d.image.unmap = false;
            Ok(())
        }
        "unmap" | "on" => {
            d.image.unmap = true;
            Ok(())
        }
        _ => Err(None),
    }),
    key(&["detect-zeroes"], "off|on|unmap", "writes of zeroes take no space", |d, v| {
        among(v, DetectZeroes::ALL, DetectZeroes::name).map(|z| d.image.detect_zeroes = z)
    }),
    key(&["werror"], "enospc|report|ignore|stop", "what happens when the host cannot write", |d, v| {
        among(v, OnError::ALL, OnError::name).map(|e| d.drive.on_write_error = e)
    }),
    key(&["rerror"], "report|ignore|stop", "what happens when the host cannot read", |d, v| {
        let all: Vec<_> = OnError::ALL.iter().copied().filter(|e| *e != OnError::Enospc).collect();
        among(v, &all, OnError::name).map(|e| d.drive.on_read_error = e)
    }),
    key(&["file.locking", "locking"], "on|off|auto", "the image is locked against other processes", |d, v| {
        d.image.locking = v == "auto" || switch(v)?;
        Ok(())
    }),
];

/// Keys of QEMU's that are not here, by how they begin.
const MISSING: [&str; 10] =
    ["bps", "iops", "throttling", "group", "copy-on-read", "stats-", "l2-cache", "refcount-cache", "backing", "file."];

/// The keys with their values, and what they mean.
pub fn keys() -> impl Iterator<Item = (String, String)> {
    KEYS.iter().map(|k| (format!("{}={}", k.names[0], k.values), k.help.to_owned()))
}

/// Interfaces that boards have places for.
const INTERFACES: [Interface; 5] =
    [Interface::Ide, Interface::Virtio, Interface::Floppy, Interface::Pflash, Interface::None];

fn interface(name: &str) -> Result<Interface, Refusal> {
    match Interface::from_name(name) {
        Some(found) if INTERFACES.contains(&found) => Ok(found),
        Some(_) => Err(Some(format!("'if={name}' is not implemented yet"))),
        None if ["scsi", "sd", "mtd", "xen"].contains(&name) => Err(Some(format!("there is no place for 'if={name}'"))),
        None => Err(None),
    }
}

fn number(text: &str) -> Result<Option<u32>, Refusal> {
    text.parse().map(Some).map_err(|_| None)
}

fn switch(text: &str) -> Result<bool, Refusal> {
    parse_switch(text).ok_or(None)
}

fn among<T: Copy>(name: &str, all: &[T], name_of: fn(T) -> &'static str) -> Result<T, Refusal> {
    all.iter().copied().find(|one| name_of(*one) == name).ok_or(None)
}

/// The protocol of that name, if it stands for nothing.
fn nothing(name: &str) -> Option<Protocol> {
    Protocol::from_name(name).filter(|p| matches!(p, Protocol::NullCo | Protocol::NullAio))
}

/// What a name means that users give to an image: `FILE`, `file:FILE`, `null-co://`, or `blkdebug:CONFIGURATION:FILE`.
///
/// # Errors
/// It means something else, or a configuration cannot be read.
pub fn image_at(name: &str) -> Result<ImageOptions, String> {
    if let Some(protocol) = name.strip_suffix("://").and_then(nothing) {
        return Ok(ImageOptions::null(protocol));
    }
    if let Some(rest) = name.strip_prefix("blkdebug:") {
        let (config, image) = rest.split_once(':').ok_or("blkdebug requires CONFIGURATION:FILE")?;
        let debug = if config.is_empty() { Ok(DebugOptions::default()) } else { blkdebug::config(config.as_ref()) };
        return Ok(ImageOptions { debug: Some(debug?), ..image_at(image)? });
    }
    file_name(name).map(ImageOptions::new)
}

/// A file's name without QEMU's prefix for a protocol.
///
/// # Errors
/// The protocol is another one.
pub fn file_name(text: &str) -> Result<&str, String> {
    match text.split_once(':').filter(|(protocol, _)| !protocol.is_empty() && !protocol.contains('/')) {
        Some(("file", path)) => Ok(path),
        Some(("json", _)) => Err("'json:' is not implemented yet; use -blockdev".to_owned()),
        Some((protocol, _)) => Err(format!("Unknown protocol '{protocol}'")),
        None => Ok(text),
    }
}

/// A short form of `-drive`.
struct Short {
    name: &'static str,
    interface: Interface,
    /// The number of the drive; the first that is free without.
    index: Option<u32>,
    media: DriveMedia,
}

const fn disk(name: &'static str, interface: Interface, index: Option<u32>) -> Short {
    Short { name, interface, index, media: DriveMedia::Disk }
}

static SHORT: [Short; 8] = [
    disk("hda", Interface::Ide, Some(0)),
    disk("hdb", Interface::Ide, Some(1)),
    disk("hdc", Interface::Ide, Some(2)),
    disk("hdd", Interface::Ide, Some(3)),
    Short { name: "cdrom", interface: Interface::Ide, index: Some(2), media: DriveMedia::Cdrom },
    disk("fda", Interface::Floppy, Some(0)),
    disk("fdb", Interface::Floppy, Some(1)),
    disk("pflash", Interface::Pflash, None),
];

/// The name of an option for a drive. Their order is one, so that drives without a place come to the first free one.
pub fn option(name: &str) -> Option<&'static str> {
    let short = SHORT.iter().map(|short| short.name);
    short.chain(["drive"]).find(|known| *known == name)
}

/// All drives that are understood, in the order in which they were given.
pub fn drives(o: &Options, problems: &mut Problems) -> Vec<DriveArg> {
    let mut full = o.drive.iter();
    o.drives
        .iter()
        .filter_map(|(option, text)| {
            let parsed = match SHORT.iter().find(|short| short.name == *option) {
                Some(form) => short(form, text, o.snapshot),
                // -set may have added to it.
                None => drive(full.next().unwrap_or(text), o.snapshot),
            };
            problems.some(parsed)
        })
        .collect()
}

fn draft(option: &'static str, text: &str) -> Draft {
    let drive = DriveArg {
        given: (option, text.to_owned()),
        id: None,
        interface: Interface::Ide,
        place: WantedPlace::default(),
        media: DriveMedia::Disk,
        image: None,
        node_name: None,
        on_read_error: OnError::Report,
        on_write_error: OnError::Enospc,
    };
    Draft {
        drive,
        file: None,
        image: ImageOptions::new(""),
        nothing: None,
        about_nothing: None,
        size: None,
        read_only: None,
        snapshot: None,
    }
}

fn short(form: &'static Short, file: &str, snapshot: bool) -> Result<DriveArg, Problem> {
    let mut d = draft(form.name, file);
    (d.drive.interface, d.drive.place.index, d.drive.media) = (form.interface, form.index, form.media);
    d.file = Some(file.to_owned()).filter(|f| !f.is_empty());
    d.finish(snapshot)
}

/// A `-drive`; `snapshot` is what it is without `snapshot=`.
///
/// # Errors
/// What is unknown, or does not go together.
pub fn drive(text: &str, snapshot: bool) -> Result<DriveArg, Problem> {
    let mut d = draft("drive", text);
    let wrong = |reason: String| Problem::new("drive", text, reason);
    for (name, value) in Properties::parse("drive", text, Some("file")).rest() {
        let Some(known) = KEYS.iter().find(|k| k.names.contains(&&*name)) else {
            if MISSING.iter().any(|m| name.starts_with(m)) {
                return Err(wrong(format!("'{name}' is not implemented yet")));
            }
            return Err(wrong(unknown("option", &name, KEYS.iter().map(|k| k.names[0]))));
        };
        let reason =
            |refusal: Refusal| refusal.unwrap_or_else(|| format!("'{name}' takes {}, not '{value}'", known.values));
        (known.take)(&mut d, &value).map_err(|refusal| wrong(reason(refusal)))?;
    }
    d.finish(snapshot)
}

impl Draft {
    fn finish(self, snapshot: bool) -> Result<DriveArg, Problem> {
        let Self { mut drive, file, mut image, nothing, about_nothing, size, read_only, snapshot: own } = self;
        let cdrom = drive.media == DriveMedia::Cdrom;
        image.read_only = read_only.unwrap_or(cdrom);
        image.snapshot = own.unwrap_or(snapshot);
        if cdrom && read_only == Some(false) {
            return Err(drive.problem("Block device is read-only: a CD-ROM is not written to"));
        }
        if image.detect_zeroes == DetectZeroes::Unmap && !image.unmap {
            let reason = "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap";
            return Err(drive.problem(reason));
        }
        let at = match nothing {
            Some(protocol) => Some(Ok(ImageOptions::null(protocol))),
            None => file.map(|file| image_at(&file)),
        };
        if let Some(at) = at {
            let at = at.map_err(|reason| drive.problem(reason))?;
            if let Some(key) = about_nothing.filter(|_| at.null.is_none()) {
                return Err(drive.problem(format!("'{key}' is about null-co and null-aio")));
            }
            image.format = image.format.or(at.format);
            image.protocol = at.protocol.or(image.protocol);
            image.null = at.null.map(|default| size.unwrap_or(default));
            (image.filename, image.debug) = (at.filename, at.debug);
            drive.image = Some(image);
        } else if drive.media == DriveMedia::Disk && drive.interface == Interface::Ide {
            return Err(drive.problem("Device needs media, but drive is empty: give it file=FILE"));
        }
        Ok(drive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        drive(text, false).unwrap_err().reason
    }

    #[test]
    fn what_a_drive_is_by_default_and_in_full() {
        let d = drive("disk.img", false).unwrap();
        assert_eq!((d.interface, d.media, d.place), (Interface::Ide, DriveMedia::Disk, WantedPlace::default()));
        assert_eq!(d.image, Some(ImageOptions::new("disk.img")));
        assert_eq!((d.on_read_error, d.on_write_error), (OnError::Report, OnError::Enospc));
        let d = drive(
            "file=a,,b,if=none,id=x,format=qcow2,cache=none,discard=on,detect-zeroes=unmap,werror=stop,rerror=ignore,snapshot=on,media=cdrom,aio=io_uring",
            false,
        )
        .unwrap();
        let cache = CacheMode::from_name("none").unwrap();
        let image = ImageOptions {
            format: Some(Format::Qcow2),
            read_only: true,
            snapshot: true,
            unmap: true,
            aio: Aio::IoUring,
            detect_zeroes: DetectZeroes::Unmap,
            cache,
            ..ImageOptions::new("a,b")
        };
        assert_eq!((d.image, d.id.as_deref(), d.interface), (Some(image), Some("x"), Interface::None));
        assert_eq!((d.on_read_error, d.on_write_error), (OnError::Ignore, OnError::Stop));
        let place = drive("a,bus=1,unit=0", true).unwrap();
        assert_eq!(place.place, WantedPlace { index: None, bus: Some(1), unit: Some(0) });
        assert!(place.image.unwrap().snapshot);
        assert_eq!(drive("if=none,id=x", false).unwrap().image, None);
        let image = |text: &str| drive(text, false).unwrap().image.unwrap();
        assert_eq!(image("null-co://,file.read-zeroes=on,format=raw"), ImageOptions::null(Protocol::NullCo));
        assert_eq!(image("driver=null-aio,size=1440k").null, Some(1440 << 10));
        assert_eq!(image("file.driver=null-co,if=none"), ImageOptions::null(Protocol::NullCo));
        let debug = Some(DebugOptions::default());
        assert_eq!(image("blkdebug::/a:b"), ImageOptions { debug, ..ImageOptions::new("/a:b") });
    }

    #[test]
    fn mistakes() {
        for (text, reason) in [
            ("a,if=scsi", "there is no place for 'if=scsi'"),
            ("a,if=eide", "'if' takes ide|virtio|floppy|pflash|none, not 'eide'"),
            ("a,formt=raw", "unknown option 'formt'; did you mean 'format'?"),
            ("a,format=vmdk", "'format' takes raw|qcow2|null-co|null-aio, not 'vmdk'"),
            ("a,size=1M", "'size' is about null-co and null-aio"),
            ("blkdebug:a", "blkdebug requires CONFIGURATION:FILE"),
            ("a,index=x", "'index' takes NUMBER, not 'x'"),
            ("a,cache=some", "'cache' takes writeback|writethrough|none|directsync|unsafe, not 'some'"),
            ("a,rerror=enospc", "'rerror' takes report|ignore|stop, not 'enospc'"),
            ("a,aio=uring", "'aio' takes threads|io_uring, not 'uring'"),
            ("a,snapshot=maybe", "'snapshot' takes on|off, not 'maybe'"),
            ("nbd:host:10809", "Unknown protocol 'nbd'"),
            ("a,iops=5", "'iops' is not implemented yet"),
            ("if=ide", "Device needs media, but drive is empty: give it file=FILE"),
        ] {
            assert_eq!(told(text), reason, "{text}");
        }
        assert!(told("a,aio=native").contains("there are 'threads' and 'io_uring'"));
        assert_eq!(file_name("file:a:b"), Ok("a:b"));
        assert_eq!(file_name("/a:b"), Ok("/a:b"));
    }

    #[test]
    fn every_key_is_shown() {
        let shown: Vec<_> = keys().map(|(key, _)| key).collect();
        assert!(shown.contains(&"media=disk|cdrom".to_owned()) && shown.len() == KEYS.len());
        assert!(shown.contains(&format!("if={}", INTERFACES.map(Interface::name).join("|"))));
    }
}
