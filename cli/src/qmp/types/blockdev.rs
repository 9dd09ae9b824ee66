//! How images are opened (QAPI `block-core.json`).

use crate::control::Error;
use crate::qmp::qapi::{Kind, Path, Qapi, Type, TypeRef, qapi_enum, qapi_struct, qapi_union};
use serde_json::Value;

qapi_enum! {
    /// What becomes of discards.
    enum BlockdevDiscardOptions {
        /// Nothing.
        Ignore = "ignore",
        /// The space goes back to the host.
        Unmap = "unmap",
    }

    /// What becomes of writes of zeroes.
    enum BlockdevDetectZeroesOptions {
        /// They are written.
        Off = "off",
        /// They are written as zeroes.
        On = "on",
        /// Their space goes back to the host.
        Unmap = "unmap",
    }

    /// Yes, no, or where it can be.
    enum OnOffAuto {
        /// Where it can be.
        Auto = "auto",
        /// Yes.
        On = "on",
        /// No.
        Off = "off",
    }

    /// How the host is asked.
    enum BlockdevAioOptions {
        /// By threads that wait.
        Threads = "threads",
        /// By its io_uring, which only raw images can.
        IoUring = "io_uring",
    }
}

qapi_enum! {
    /// What happens in the handling of a request.
    enum BlkdebugEvent {
        /// A read begins.
        ReadAio = "read_aio",
        /// A write begins.
        WriteAio = "write_aio",
        /// A write goes to the image.
        Pwritev = "pwritev",
        /// A write of zeroes goes to the image.
        PwritevZero = "pwritev_zero",
        /// A write has been done.
        PwritevDone = "pwritev_done",
        /// A flush begins.
        FlushToOs = "flush_to_os",
        /// What has been written goes to stable storage.
        FlushToDisk = "flush_to_disk",
    }

    /// A kind of requests.
    enum BlkdebugIOType {
        /// Reads.
        Read = "read",
        /// Writes.
        Write = "write",
        /// Writes of zeroes.
        WriteZeroes = "write-zeroes",
        /// Discards.
        Discard = "discard",
        /// Flushes.
        Flush = "flush",
    }
}

qapi_struct! {
    /// What the host caches.
    struct BlockdevCacheOptions {
        /// The page cache is not used.
        direct: Option<bool>,
        /// Flushes are not passed on.
        no_flush = "no-flush": Option<bool>,
    }

    /// A file or a device of the host.
    struct BlockdevOptionsFile {
        /// Its path.
        filename: String,
        /// Other processes are kept from it.
        locking: Option<OnOffAuto>,
        /// How the host is asked.
        aio: Option<BlockdevAioOptions>,
    }

    /// Nothing: what is written is lost, and what is read are zeroes.
    struct BlockdevOptionsNull {
        /// How much of it there is, in bytes: 1 GiB by default.
        size: Option<i64>,
        /// Zeroes are read. They always are.
        read_zeroes = "read-zeroes": Option<bool>,
    }

    /// An error that requests meet once an event has happened.
    struct BlkdebugInjectErrorOptions {
        /// The event.
        event: BlkdebugEvent,
        /// It counts in this state only.
        state: Option<i64>,
        /// Which requests meet the error: all of them by default.
        iotype: Option<BlkdebugIOType>,
        /// The host's number for it: 5 (EIO) by default.
        errno: Option<i64>,
        /// Only requests that reach this sector meet it.
        sector: Option<i64>,
        /// It is met once.
        once: Option<bool>,
        /// Requests do not get as far as a worker, which is not implemented.
        immediately: Option<bool>,
    }

    /// An event changes the state, which is 1 at first.
    struct BlkdebugSetStateOptions {
        /// The event.
        event: BlkdebugEvent,
        /// It counts in this state only.
        state: Option<i64>,
        /// The state that follows.
        new_state: i64,
    }

    /// A file whose requests fail or wait.
    struct BlockdevOptionsBlkdebug {
        /// The file.
        image: BlockdevRef,
        /// A file with more of what follows.
        config: Option<String>,
        /// Errors.
        inject_error = "inject-error": Option<Vec<BlkdebugInjectErrorOptions>>,
        /// States.
        set_state = "set-state": Option<Vec<BlkdebugSetStateOptions>>,
    }

    /// A format on a file.
    struct BlockdevOptionsGenericFormat {
        /// The file.
        file: BlockdevRef,
    }
}

qapi_union! {
    /// An image.
    union BlockdevOptions {
        /// Its name.
        node_name = "node-name": Option<String>,
        /// What becomes of discards.
        discard: Option<BlockdevDiscardOptions>,
        /// What the host caches.
        cache: Option<BlockdevCacheOptions>,
        /// It is not written to.
        read_only = "read-only": Option<bool>,
        /// It may be one that cannot be written to.
        auto_read_only = "auto-read-only": Option<bool>,
        /// Other processes may write to it.
        force_share = "force-share": Option<bool>,
        /// What becomes of writes of zeroes.
        detect_zeroes = "detect-zeroes": Option<BlockdevDetectZeroesOptions>,
    }
    /// What it is.
    kind: "driver"
    /// What images there are.
    enum BlockdevKind("BlockdevDriver") {
        /// A file of the host.
        File(BlockdevOptionsFile) = "file",
        /// A device of the host.
        HostDevice(BlockdevOptionsFile) = "host_device",
        /// Nothing.
        NullCo(BlockdevOptionsNull) = "null-co",
        /// The same.
        NullAio(BlockdevOptionsNull) = "null-aio",
        /// A file whose requests fail or wait.
        Blkdebug(BlockdevOptionsBlkdebug) = "blkdebug",
        /// The bytes of a file as they are.
        Raw(BlockdevOptionsGenericFormat) = "raw",
        /// QEMU's copy-on-write format.
        Qcow2(BlockdevOptionsGenericFormat) = "qcow2",
    }
}

impl BlockdevOptions {
    /// The name of the image that it is on, if that is there already.
    pub fn below(&self) -> Option<&str> {
        match &self.kind {
            BlockdevKind::Raw(on) | BlockdevKind::Qcow2(on) => match &on.file {
                BlockdevRef::Reference(name) => Some(name),
                BlockdevRef::Definition(_) => None,
            },
            _ => None,
        }
    }
}

/// An image that is there already, or one to be opened.
#[derive(Clone, Debug, PartialEq)]
pub enum BlockdevRef {
    /// To be opened.
    Definition(Box<BlockdevOptions>),
    /// The name of one that is there.
    Reference(String),
}

impl Qapi for BlockdevRef {
    fn ty() -> &'static Type {
        const CASES: &[TypeRef] = &[TypeRef::Of(BlockdevOptions::ty), TypeRef::Of(String::ty)];
        static TYPE: Type = Type { name: "BlockdevRef", kind: Kind::Alternate(CASES) };
        &TYPE
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        match value {
            Value::String(name) => Ok(Self::Reference(name)),
            definition => BlockdevOptions::decode(definition, at).map(|o| Self::Definition(Box::new(o))),
        }
    }
    fn encode(&self) -> Value {
        match self {
            Self::Definition(options) => options.encode(),
            Self::Reference(name) => name.encode(),
        }
    }
}
