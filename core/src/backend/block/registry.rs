//! The images and drives of a machine, by name (`-blockdev`, `-drive`).

use super::drive::BlockBackend;
use super::image::OpenError;
use super::node::{Node, NodeInfo};
use super::options::{ImageOptions, OnError};
use super::workers::Workers;
use crate::named::named;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

named! {
    /// Which bus a drive is for (`if=`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Interface {
        /// None: a device names it.
        None = "none",
        /// IDE.
        Ide = "ide",
        /// A virtio disk.
        Virtio = "virtio",
        /// A floppy drive.
        Floppy = "floppy",
        /// A flash chip.
        Pflash = "pflash",
    }
}

impl Interface {
    /// Drives on each of its buses; 0 where a bus has one and the index is all.
    pub fn units(self) -> u32 {
        match self {
            Self::Ide | Self::Floppy => 2,
            _ => 0,
        }
    }
}

/// What kind of drive is asked for (`media=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriveMedia {
    /// A disk.
    #[default]
    Disk,
    /// A CD-ROM.
    Cdrom,
}

/// Where a board is to put a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DrivePlace {
    /// The kind of bus.
    pub interface: Interface,
    /// Which of them.
    pub bus: u32,
    /// Where on it.
    pub unit: u32,
}

/// Why a node or drive could not be had, added or removed. The texts are QEMU's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The image.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A node of that name is there.
    #[error("Duplicate nodes with node-name='{0}'")]
    DuplicateNode(String),
    /// A drive of that name is there.
    #[error("Device with id '{0}' already exists")]
    DuplicateDrive(String),
    /// The place is taken.
    #[error("drive with bus={bus}, unit={unit} (index={index}) exists")]
    PlaceTaken {
        /// Which bus.
        bus: u32,
        /// Where on it.
        unit: u32,
        /// The same as one number.
        index: u32,
    },
    /// There is none.
    #[error("can't find value '{id}'{hint}")]
    Unknown {
        /// As given.
        id: String,
        /// `; did you mean 'x'?`, or nothing.
        hint: String,
    },
    /// There is no node of that name.
    #[error("Failed to find node with node-name='{0}'")]
    NoNode(String),
    /// Somebody has it.
    #[error("Node {0} is in use")]
    InUse(String),
    /// Nobody named it, so nobody can remove it.
    #[error("Node {0} is not owned by the monitor")]
    NotOwned(String),
}

/// A drive as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriveInfo {
    /// Its name; empty if it was made for a node and a device.
    pub name: String,
    /// The device that has it.
    pub device: Option<String>,
    /// The medium can be changed.
    pub removable: bool,
    /// Where the tray is, if there is one.
    pub tray_open: Option<bool>,
    /// The door is locked.
    pub locked: bool,
    /// The medium with its size in bytes.
    pub inserted: Option<(NodeInfo, u64)>,
}

struct Entry {
    backend: Arc<BlockBackend>,
    place: DrivePlace,
    media: DriveMedia,
}

/// The images and drives of a machine.
#[derive(Default)]
pub struct Blocks {
    workers: Arc<Workers>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Weak<Node>>,
    /// Nodes that the user has named and that stay until they are removed.
    owned: BTreeMap<String, Arc<Node>>,
    drives: Vec<Entry>,
    /// Back ends that were made for a node and a device.
    anonymous: Vec<Weak<BlockBackend>>,
    named: u32,
}

impl Blocks {
    /// Opens an image as a node `name`, or with a name of its own. It lives for as long as somebody has it.
    ///
    /// # Errors
    /// The name is taken, or the image cannot be opened.
    pub fn open(&self, name: Option<&str>, options: &ImageOptions) -> Result<Arc<Node>, BlockError> {
        let name = {
            let mut state = self.state.lock();
            state.nodes.retain(|_, node| node.strong_count() > 0);
            match name {
                Some(name) if state.nodes.contains_key(name) => {
                    return Err(BlockError::DuplicateNode(name.to_owned()));
                }
                Some(name) => name.to_owned(),
                None => {
                    state.named += 1;
                    format!("#block{}", state.named)
                }
            }
        };
        let node = Node::open(&name, options)?;
        self.state.lock().nodes.insert(name, Arc::downgrade(&node));
        Ok(node)
    }
    /// Opens an image as a node that stays until [`Blocks::remove_node`] (`-blockdev`).
    ///
    /// # Errors
    /// As [`Blocks::open`].
    pub fn add_node(&self, name: &str, options: &ImageOptions) -> Result<Arc<Node>, BlockError> {
        let node = self.open(Some(name), options)?;
        self.state.lock().owned.insert(name.to_owned(), node.clone());
        Ok(node)
    }
    /// Closes a node (`blockdev-del`).
    ///
    /// # Errors
    /// There is none, or somebody has it.
    pub fn remove_node(&self, name: &str) -> Result<(), BlockError> {
        let mut state = self.state.lock();
        match state.owned.get(name).map(Arc::strong_count) {
            Some(1) => {
                state.owned.remove(name);
                state.nodes.remove(name);
                Ok(())
            }
            Some(_) => Err(BlockError::InUse(name.to_owned())),
            None if state.nodes.get(name).is_some_and(|n| n.strong_count() > 0) => {
                Err(BlockError::NotOwned(name.to_owned()))
            }
            None => Err(BlockError::NoNode(name.to_owned())),
        }
    }
    /// A node.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&self, name: &str) -> Result<Arc<Node>, BlockError> {
        let node = self.state.lock().nodes.get(name).and_then(Weak::upgrade);
        node.ok_or_else(|| BlockError::NoNode(name.to_owned()))
    }
    /// All nodes.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.state.lock().nodes.values().filter_map(Weak::upgrade).collect()
    }

    /// Adds a drive (`-drive`), empty without a `medium`.
    ///
    /// # Errors
    /// The name or the place is taken.
    pub fn add_drive(
        &self,
        name: &str,
        place: DrivePlace,
        media: DriveMedia,
        medium: Option<Arc<Node>>,
        (on_read_error, on_write_error): (OnError, OnError),
    ) -> Result<Arc<BlockBackend>, BlockError> {
        let mut state = self.state.lock();
        if state.drives.iter().any(|d| d.backend.name() == name) {
            return Err(BlockError::DuplicateDrive(name.to_owned()));
        }
        if place.interface != Interface::None && state.drives.iter().any(|d| d.place == place) {
            let DrivePlace { interface, bus, unit } = place;
            return Err(BlockError::PlaceTaken { bus, unit, index: bus * interface.units().max(1) + unit });
        }
        let backend = BlockBackend::new(name, self.workers.clone(), medium, on_read_error, on_write_error);
        state.drives.push(Entry { backend: backend.clone(), place, media });
        Ok(backend)
    }
    /// Is there a drive for this place?
    pub fn is_taken(&self, place: DrivePlace) -> bool {
        self.at(place).is_some()
    }
    /// The drive that a board is to put somewhere.
    pub fn at(&self, place: DrivePlace) -> Option<(Arc<BlockBackend>, DriveMedia)> {
        let state = self.state.lock();
        let found = state.drives.iter().find(|d| d.place == place);
        found.map(|d| (d.backend.clone(), d.media))
    }
    /// The places of all drives that are for a kind of bus.
    pub fn places(&self, interface: Interface) -> Vec<DrivePlace> {
        let state = self.state.lock();
        let mut all: Vec<_> = state.drives.iter().map(|d| d.place).filter(|p| p.interface == interface).collect();
        all.sort_unstable();
        all
    }
    /// The drive of that name, or a new one around the node of that name (`drive=`).
    ///
    /// # Errors
    /// There is neither.
    pub fn drive(&self, id: &str) -> Result<Arc<BlockBackend>, BlockError> {
        let mut state = self.state.lock();
        if let Some(d) = state.drives.iter().find(|d| d.backend.name() == id) {
            return Ok(d.backend.clone());
        }
        let Some(node) = state.nodes.get(id).and_then(Weak::upgrade) else {
            let names = state.drives.iter().map(|d| d.backend.name());
            let near = crate::closest(id, names.chain(state.nodes.keys().map(String::as_str)));
            return Err(BlockError::Unknown { id: id.to_owned(), hint: crate::did_you_mean(near) });
        };
        let backend = BlockBackend::new("", self.workers.clone(), Some(node), OnError::Report, OnError::Enospc);
        state.anonymous.retain(|b| b.strong_count() > 0);
        state.anonymous.push(Arc::downgrade(&backend));
        Ok(backend)
    }
    /// A new back end without a medium and a name, for a device that can do without.
    pub fn empty(&self) -> Arc<BlockBackend> {
        let backend = BlockBackend::new("", self.workers.clone(), None, OnError::Report, OnError::Enospc);
        self.state.lock().anonymous.push(Arc::downgrade(&backend));
        backend
    }
    /// All back ends, in the order in which they were made: those with a name, then those that were made for a device.
    pub fn backends(&self) -> Vec<Arc<BlockBackend>> {
        let state = self.state.lock();
        let named = state.drives.iter().map(|d| d.backend.clone());
        named.chain(state.anonymous.iter().filter_map(Weak::upgrade)).collect()
    }
    /// The back end with that name, or of the device with that id or path.
    pub fn find(&self, name_or_device: &str) -> Option<Arc<BlockBackend>> {
        let all = self.backends();
        let named = all.iter().find(|b| !b.name().is_empty() && b.name() == name_or_device);
        named.or_else(|| all.iter().find(|b| b.device().as_deref() == Some(name_or_device))).cloned()
    }
    /// All drives as lists show them.
    pub fn list(&self) -> Vec<DriveInfo> {
        let info = |b: Arc<BlockBackend>| {
            let device = b.device();
            // A drive that no device has is one whose medium can be changed.
            let media = b.media();
            DriveInfo {
                name: b.name().to_owned(),
                removable: media.removable || device.is_none(),
                tray_open: (media.tray).then(|| b.tray_open()),
                locked: b.locked(),
                inserted: b.medium().map(|m| (m.info().clone(), m.size())),
                device,
            }
        };
        self.backends().into_iter().filter(|b| !b.label().is_empty()).map(info).collect()
    }

    /// Waits until no request is under way. Not to be called with the board locked.
    pub fn drain(&self) {
        self.backends().iter().for_each(|b| b.drain());
    }
    /// Tries again what failed and stopped the machine.
    pub fn resume(&self) {
        self.backends().iter().for_each(BlockBackend::resume);
    }
    /// Waits likewise, and has everything written on stable storage; what the host refuses is logged.
    pub fn settle(&self) {
        self.drain();
        for node in self.nodes() {
            if let Err(e) = node.flush() {
                tracing::warn!("{}: flush: {e}", node.info().filename.display());
            }
        }
    }
}
