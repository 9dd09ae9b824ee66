//! `virtio-blk-pci` as users name it.

use super::BlkDevice;
use super::config::Config;
use crate::devices::error_policy::{ErrorPolicies, ErrorPolicy};
use crate::devices::ide::{Geometry, Translation};
use crate::devices::virtio::pci::{Flavour, Function, Identity, OnOffAuto, VirtioPci, virtio_pci};
use crate::devices::virtio::transport::features;
use crate::devices::virtio::{Generic, NonTransitional, Transitional};
use gearbox_core::backend::block::{Drive, Media, Node, SECTOR};
use gearbox_core::backend::memory::Size;
use gearbox_core::board::{DeviceSpec, Realize, RealizeError};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::{pci_properties, property};
use std::collections::BTreeMap;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_GEOMETRY,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_TOPOLOGY, VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ids::{VIRTIO_ID_BLOCK, VIRTIO_TRANS_ID_BLOCK};

/// SCSI controller, which it is not.
const CLASS: u32 = 0x01_00_00;
const QUEUE_SIZE: u16 = 256;
/// Most queues: each needs a bit of the driver's patience and a vector.
const MOST_QUEUES: u16 = 1024;
/// Buffers of a request where the size of the queue does not decide, plus those for header and status.
const SEGMENTS: u16 = 128;
/// Most sectors of requests without data, unless told otherwise.
const MOST_SECTORS: u32 = 0x3f_ffff;
/// Most bytes of a block, logical and physical.
const MOST_BLOCK: u64 = 2 << 20;
/// In place of a number of queues.
pub const AS_PROCESSORS: u16 = u16::MAX;
/// In place of a number of bytes.
pub const AS_BLOCKS: Size = Size(u32::MAX as u64);
/// Characters of a serial number.
const MOST_SERIAL: usize = 20;

/// A disk.
#[derive(Clone, Debug)]
pub struct Blk {
    /// The back end.
    pub drive: Drive,
    /// What happens when the host cannot read or write.
    pub on_error: ErrorPolicies,
    /// Place in the order in which firmware tries devices; not in it without.
    pub bootindex: Option<i32>,
    /// Serial number.
    pub serial: Option<String>,
    /// Bytes of a logical block; 0 for those of a sector.
    pub logical_block_size: Size,
    /// Bytes of a physical block, likewise.
    pub physical_block_size: Size,
    /// Bytes that it is good to read or write at a time, at least.
    pub min_io_size: Size,
    /// And at best.
    pub opt_io_size: Size,
    /// Bytes in whose units discarding gives space back; `u32::MAX` for those of a block.
    pub discard_granularity: Size,
    /// It has a write cache; as the drive says without.
    pub write_cache: OnOffAuto,
    /// Drivers can change that.
    pub config_wce: bool,
    /// Geometry; guessed without.
    pub cylinders: u32,
    /// See there.
    pub heads: u32,
    /// See there.
    pub sectors: u32,
    /// Number of queues; `u16::MAX` for one for each processor.
    pub num_queues: u16,
    /// Elements of each.
    pub queue_size: u16,
    /// Requests can have as many buffers as the queue.
    pub seg_max_adjust: bool,
    /// It discards.
    pub discard: bool,
    /// It writes zeroes.
    pub write_zeroes: bool,
    /// Most sectors of a request to discard.
    pub max_discard: u32,
    /// Most sectors of a request to write zeroes.
    pub max_write_zeroes: u32,
}

impl Default for Blk {
    fn default() -> Self {
        Self {
            drive: Drive::default(),
            on_error: ErrorPolicies::default(),
            bootindex: None,
            serial: None,
            logical_block_size: Size(0),
            physical_block_size: Size(0),
            min_io_size: Size(0),
            opt_io_size: Size(0),
            discard_granularity: AS_BLOCKS,
            write_cache: OnOffAuto::Auto,
            config_wce: true,
            cylinders: 0,
            heads: 0,
            sectors: 0,
            num_queues: AS_PROCESSORS,
            queue_size: QUEUE_SIZE,
            seg_max_adjust: true,
            discard: true,
            write_zeroes: true,
            max_discard: MOST_SECTORS,
            max_write_zeroes: MOST_SECTORS,
        }
    }
}

impl Blk {
    fn geometry(&self, r: &Realize<'_>, medium: &Node) -> Result<Geometry, RealizeError> {
        let (cylinders, heads, sectors) = (self.cylinders, self.heads, self.sectors);
        if (cylinders, heads, sectors) == (0, 0, 0) {
            let mut first = [0; SECTOR as usize];
            // What cannot be read now is for the guest to find out.
            let _ = medium.read(0, &mut first);
            return Ok(Geometry::guess(medium.size() / SECTOR, &first));
        }
        for (name, value, most) in [("cyls", cylinders, 65535), ("heads", heads, 255), ("secs", sectors, 255)] {
            if !(1..=most).contains(&value) {
                return Err(r.property_error(name, format!("{name} must be between 1 and {most}")));
            }
        }
        Ok(Geometry { cylinders, heads, sectors, translation: Translation::None })
    }
    /// Bytes of a logical and a physical block, and those of the best requests.
    fn sizes(&self, r: &Realize<'_>) -> Result<[u32; 4], RealizeError> {
        let size = |Size(given)| if given == 0 { SECTOR } else { given };
        let (logical, physical) = (size(self.logical_block_size), size(self.physical_block_size));
        for (name, size) in [("logical_block_size", logical), ("physical_block_size", physical)] {
            if !(SECTOR..=MOST_BLOCK).contains(&size) || !size.is_power_of_two() {
                let reason = format!("{size} is not a power of two between {SECTOR} and {MOST_BLOCK}");
                return Err(r.property_error(name, reason));
            }
        }
        if logical > physical {
            return Err(
                r.property_error("logical_block_size", "logical_block_size > physical_block_size not supported")
            );
        }
        let (Size(min), Size(opt)) = (self.min_io_size, self.opt_io_size);
        for (name, size, most) in [("min_io_size", min, logical * 0xffff), ("opt_io_size", opt, u32::MAX.into())] {
            if !size.is_multiple_of(logical) {
                return Err(r.property_error(name, format!("{name} must be a multiple of logical_block_size")));
            }
            if size > most {
                return Err(r.property_error(name, format!("{name} must not exceed {most}")));
            }
        }
        Ok([logical, physical, min, opt].map(|size| u32::try_from(size).unwrap_or(u32::MAX)))
    }
    fn serial(&self, r: &Realize<'_>) -> Result<String, RealizeError> {
        let serial = self.serial.clone().unwrap_or_default();
        if serial.len() > MOST_SERIAL {
            return Err(r.property_error("serial", format!("it is longer than {MOST_SERIAL} characters")));
        }
        Ok(serial)
    }
}

impl<F: Flavour> VirtioPci<Blk, F> {
    fn make(self, r: &mut Realize<'_>) -> Result<(Function<BlkDevice>, ()), RealizeError> {
        let blk = &self.kind;
        let backend = blk.drive.backend().ok_or_else(|| r.property_error("drive", "drive property not set"))?.clone();
        blk.on_error.apply(&backend);
        let medium =
            backend.medium().ok_or_else(|| r.property_error("drive", "Device needs media, but drive is empty"))?;
        let queues = if blk.num_queues == AS_PROCESSORS { r.cpus().clamp(1, MOST_QUEUES) } else { blk.num_queues };
        if !(1..=MOST_QUEUES).contains(&queues) {
            let reason = format!("num-queues property must be between 1 and {MOST_QUEUES}");
            return Err(r.property_error("num-queues", reason));
        }
        let queue_size = Self::check_queue_size(r, "queue-size", blk.queue_size)?;
        let [block_size, physical_block_size, min_io, opt_io] = blk.sizes(r)?;
        let geometry = blk.geometry(r, &medium)?;
        let granularity =
            if blk.discard_granularity == AS_BLOCKS { block_size.into() } else { blk.discard_granularity.0 };
        if !granularity.is_multiple_of(block_size.into()) || granularity > u32::MAX.into() {
            let reason = "discard_granularity must be a multiple of logical_block_size";
            return Err(r.property_error("discard_granularity", reason));
        }
        for (name, sectors) in
            [("max-discard-sectors", blk.max_discard), ("max-write-zeroes-sectors", blk.max_write_zeroes)]
        {
            if !(1..=MOST_SECTORS).contains(&sectors) {
                return Err(r.property_error(name, format!("it must be between 1 and {MOST_SECTORS}")));
            }
        }
        let serial = blk.serial(r)?;
        let write_cache = blk.write_cache.or(medium.info().cache.writeback);
        let config = Config {
            read_only: medium.read_only(),
            block_size,
            physical_block_size,
            min_io,
            opt_io,
            geometry,
            segments: u32::from(if blk.seg_max_adjust { queue_size } else { SEGMENTS.min(queue_size) })
                .saturating_sub(2)
                .max(1),
            queues,
            most_discard: blk.discard.then_some(blk.max_discard),
            most_zeroes: blk.write_zeroes.then_some(blk.max_write_zeroes),
            discard_alignment: (granularity / SECTOR) as u32,
            write_cache,
            write_cache_at_reset: write_cache,
        };
        let optional = [
            (VIRTIO_BLK_F_RO, config.read_only),
            (VIRTIO_BLK_F_FLUSH, write_cache || blk.config_wce),
            (VIRTIO_BLK_F_CONFIG_WCE, blk.config_wce),
            (VIRTIO_BLK_F_MQ, queues > 1),
            (VIRTIO_BLK_F_DISCARD, blk.discard),
            (VIRTIO_BLK_F_WRITE_ZEROES, blk.write_zeroes),
        ];
        let always =
            features(&[VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_GEOMETRY, VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_TOPOLOGY]);
        let features = optional.iter().filter(|(_, on)| *on).fold(always, |all, (n, _)| all | 1 << n);
        for (name, value) in [("cyls", geometry.cylinders), ("heads", geometry.heads), ("secs", geometry.sectors)] {
            r.settle_property(name, value);
        }
        r.settle_property("num-queues", queues);
        r.settle_property("logical_block_size", block_size);
        r.settle_property("physical_block_size", physical_block_size);

        let identity = Identity {
            kind: VIRTIO_ID_BLOCK as u16,
            // Transitional ids begin at 1000h; the kernel's names are from there.
            transitional: VIRTIO_TRANS_ID_BLOCK as u16,
            class: CLASS,
            queues: vec![queue_size; queues.into()],
            vectors: u32::from(queues) + 1,
        };
        r.drive(0, &blk.drive, Media::default(), false);
        let device = BlkDevice { backend, config, serial, features, pending: BTreeMap::new(), next_tag: 0 };
        let made = self.realize_as(r, identity, device)?;
        if let Some(path) = r.pci_path("scsi") {
            r.boot_device(self.kind.bootindex, format!("{path}/disk@0,0"));
        }
        Ok(made)
    }
}

virtio_pci! { Blk, BlkDevice, Storage, "virtio-blk-pci", "virtio disk", &[
    property!("drive", Drive, kind.drive, "the drive or node with the medium"),
    property!("rerror", ErrorPolicy, kind.on_error.read, "what happens when the host cannot read"),
    property!("werror", ErrorPolicy, kind.on_error.write, "what happens when the host cannot write"),
    property!("bootindex", Option<i32>, kind.bootindex, "place in the boot order"),
    property!("serial", Option<String>, kind.serial, "serial number"),
    property!("logical_block_size", Size, kind.logical_block_size, "bytes of a logical block"),
    property!("physical_block_size", Size, kind.physical_block_size, "bytes of a physical block"),
    property!("min_io_size", Size, kind.min_io_size, "bytes of the smallest request that is good"),
    property!("opt_io_size", Size, kind.opt_io_size, "bytes of the best request"),
    property!("discard_granularity", Size, kind.discard_granularity, "bytes in whose units space is given back"),
    property!("write-cache", OnOffAuto, kind.write_cache, "it has a write cache"),
    property!("config-wce", bool, kind.config_wce, "drivers can turn the write cache on and off"),
    property!("cyls", u32, kind.cylinders, "cylinders, guessed if 0"),
    property!("heads", u32, kind.heads, "heads, guessed if 0"),
    property!("secs", u32, kind.sectors, "sectors of a track, guessed if 0"),
    property!("num-queues", u16, kind.num_queues, "number of queues, one for each processor by default"),
    property!("queue-size", u16, kind.queue_size, "elements of each queue"),
    property!("seg-max-adjust", bool, kind.seg_max_adjust, "a request has as many buffers as the queue leaves room for"),
    property!("discard", bool, kind.discard, "it can be asked to discard"),
    property!("write-zeroes", bool, kind.write_zeroes, "it can be asked to write zeroes"),
    property!("max-discard-sectors", u32, kind.max_discard, "most sectors of a request to discard"),
    property!("max-write-zeroes-sectors", u32, kind.max_write_zeroes, "most sectors of a request to write zeroes"),
] }
