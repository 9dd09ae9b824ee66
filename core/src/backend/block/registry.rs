//! The images and drives of a machine, by name (`-blockdev`, `-drive`).

use super::drive::BlockBackend;
use super::image::{self, OpenError};
use super::node::{Node, NodeInfo};
use super::options::{Format, ImageOptions, OnError, Protocol};
use super::place::{DriveMedia, DrivePlace, Interface, WantedPlace};
use super::request::IoError;
use super::workers::Workers;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

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
    #[error("Duplicate ID '{0}' for drive")]
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
    /// It is no identifier.
    #[error("Invalid {0}: '{1}'")]
    BadName(&'static str, String),
    /// A place is said in two ways.
    #[error("index cannot be used with bus and unit")]
    IndexAndBus,
    /// A bus does not have so many.
    #[error("unit {unit} too big (max is {})", units - 1)]
    UnitTooBig {
        /// As wanted.
        unit: u32,
        /// How many there are.
        units: u32,
    },
    /// There is none.
    #[error("can't find value '{id}'{hint}")]
    Unknown {
        /// As given.
        id: String,
        /// `; did you mean 'x'?`, or nothing.
        hint: String,
    },
    /// There is no drive of that name.
    #[error("Device '{0}' not found")]
    NoDrive(String),
    /// There is no node of that name.
    #[error("Failed to find node with node-name='{0}'")]
    NoNode(String),
    /// There is none of that name to build on.
    #[error("Cannot find device='{0}' nor node-name='{0}'")]
    NoReference(String),
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
    /// Where failures stop the machine: the one for which it stands.
    pub io_status: Option<Result<(), IoError>>,
    /// The medium with its size in bytes.
    pub inserted: Option<(NodeInfo, u64)>,
}

struct Entry {
    backend: Arc<BlockBackend>,
    place: DrivePlace,
    media: DriveMedia,
    /// Nobody asked for it.
    default: bool,
}

/// The node of a file, on which others may have a format (`-blockdev driver=file`).
#[derive(Clone, Debug)]
pub struct FileNode {
    /// How it is to be opened.
    pub options: ImageOptions,
    /// What kind of file it is.
    pub protocol: Protocol,
    /// The node that is on it.
    user: Weak<Node>,
    /// It was named with the node that is on it, and goes with that.
    inline: bool,
}

/// The images and drives of a machine.
#[derive(Default)]
pub struct Blocks {
    workers: Arc<Workers>,
    leaving: Arc<Leaving>,
    state: Mutex<State>,
}

/// Media of devices that have gone, which workers flush.
#[derive(Default)]
struct Leaving {
    count: Mutex<usize>,
    none: Condvar,
}

impl Leaving {
    fn wait(&self) {
        let mut count = self.count.lock();
        while *count > 0 {
            self.none.wait(&mut count);
        }
    }
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Weak<Node>>,
    /// Nodes that the user has named and that stay until they are removed.
    owned: BTreeMap<String, Arc<Node>>,
    files: BTreeMap<String, FileNode>,
    drives: Vec<Entry>,
    /// All back ends, in the order in which they were made: those of drives, and those that were made for a node and a device.
    backends: Vec<Weak<BlockBackend>>,
    named: u32,
}

impl State {
    /// The name for a new node: as wanted, or one of its own.
    fn free_name(&mut self, wanted: Option<&str>) -> Result<String, BlockError> {
        self.nodes.retain(|_, node| node.strong_count() > 0);
        match wanted {
            Some(name) if self.nodes.contains_key(name) || self.files.contains_key(name) => {
                Err(BlockError::DuplicateNode(name.to_owned()))
            }
            Some(name) => Ok(name.to_owned()),
            None => {
                self.named += 1;
                Ok(format!("#block{:03}", self.named))
            }
        }
    }
    fn check_free(&self, place: DrivePlace) -> Result<(), BlockError> {
        let DrivePlace { interface, bus, unit } = place;
        let taken = interface != Interface::None && self.drives.iter().any(|d| d.place == place);
        if taken { Err(BlockError::PlaceTaken { bus, unit, index: place.index() }) } else { Ok(()) }
    }
    /// A file that nobody uses.
    fn free_file(&self, name: &str) -> Result<&FileNode, BlockError> {
        let file = self.files.get(name).ok_or_else(|| BlockError::NoReference(name.to_owned()))?;
        if file.user.strong_count() > 0 { Err(BlockError::InUse(name.to_owned())) } else { Ok(file) }
    }
    fn add_backend(&mut self, backend: &Arc<BlockBackend>) {
        self.backends.retain(|b| b.strong_count() > 0);
        self.backends.push(Arc::downgrade(backend));
    }
    fn take_file(&mut self, name: &str, node: &Arc<Node>) {
        if let Some(file) = self.files.get_mut(name) {
            file.user = Arc::downgrade(node);
        }
    }
}

impl Blocks {
    /// Opens an image as a node `name`, or with a name of its own. It lives for as long as somebody has it.
    ///
    /// # Errors
    /// The name is taken, or the image cannot be opened.
    pub fn open(&self, name: Option<&str>, options: &ImageOptions) -> Result<Arc<Node>, BlockError> {
        let (name, file) = {
            let mut state = self.state.lock();
            let name = state.free_name(name)?;
            (name, state.free_name(None)?)
        };
        let node = Node::open(&name, &file, options)?;
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
    /// Adds a file as a node that stays likewise. It is opened when somebody uses it.
    ///
    /// # Errors
    /// The name is taken, or the file cannot be opened.
    pub fn add_file(&self, name: &str, options: &ImageOptions) -> Result<(), BlockError> {
        let (protocol, _) = image::reach(options)?;
        let mut state = self.state.lock();
        let name = state.free_name(Some(name))?;
        state.files.insert(name, FileNode { options: options.clone(), protocol, user: Weak::new(), inline: false });
        Ok(())
    }
    /// The file that is a node of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn file(&self, name: &str) -> Result<FileNode, BlockError> {
        self.state.lock().files.get(name).cloned().ok_or_else(|| BlockError::NoReference(name.to_owned()))
    }
    /// All files that are nodes, by name.
    pub fn files(&self) -> Vec<(String, FileNode)> {
        self.state.lock().files.iter().map(|(name, file)| (name.clone(), file.clone())).collect()
    }
    /// Opens an image on the file that is a node `file`, as a node that stays likewise. The options have the file's with them.
    ///
    /// # Errors
    /// As [`Blocks::open`]; somebody has the file.
    pub fn add_node_on(&self, name: &str, file: &str, options: &ImageOptions) -> Result<Arc<Node>, BlockError> {
        let name = {
            let mut state = self.state.lock();
            state.free_file(file)?;
            state.free_name(Some(name))?
        };
        let node = Node::open(&name, file, options)?;
        let mut state = self.state.lock();
        state.take_file(file, &node);
        state.nodes.insert(name.clone(), Arc::downgrade(&node));
        state.owned.insert(name, node.clone());
        Ok(node)
    }
    /// The same on a file that becomes a node with it, and goes with it.
    ///
    /// # Errors
    /// As there, and as [`Blocks::add_file`].
    pub fn add_node_with_file(
        &self,
        name: &str,
        options: &ImageOptions,
        (file, below): (&str, &ImageOptions),
    ) -> Result<Arc<Node>, BlockError> {
        self.add_file(file, below)?;
        let added = self.add_node_on(name, file, options);
        let mut state = self.state.lock();
        match &added {
            Ok(_) => state.files.get_mut(file).into_iter().for_each(|f| f.inline = true),
            Err(_) => drop(state.files.remove(file)),
        }
        added
    }
    /// Closes a node (`blockdev-del`), once what a device that has gone left to write is written. Not to be called with the board locked.
    ///
    /// # Errors
    /// There is none, somebody has it, or it goes with another one.
    pub fn remove_node(&self, name: &str) -> Result<(), BlockError> {
        self.leaving.wait();
        let mut state = self.state.lock();
        if state.files.get(name).is_some_and(|f| f.inline) {
            return Err(BlockError::NotOwned(name.to_owned()));
        }
        if state.files.contains_key(name) {
            state.free_file(name)?;
            state.files.remove(name);
            return Ok(());
        }
        match state.owned.get(name).map(Arc::strong_count) {
            Some(1) => {
                state.owned.remove(name);
                state.nodes.remove(name);
                state.files.retain(|_, f| !f.inline || f.user.strong_count() > 0);
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
    /// There is none, or it is a file on which another one is.
    pub fn node(&self, name: &str) -> Result<Arc<Node>, BlockError> {
        if let Some(file) = self.open_file(name)? {
            return Ok(file);
        }
        let node = self.state.lock().nodes.get(name).and_then(Weak::upgrade);
        node.ok_or_else(|| BlockError::NoNode(name.to_owned()))
    }
    /// All nodes, in the order in which they were opened.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = self.state.lock().nodes.values().filter_map(Weak::upgrade).collect();
        nodes.sort_by_key(|n| n.number());
        nodes
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
        state.check_free(place)?;
        if state.drives.iter().any(|d| d.backend.name() == name) {
            return Err(BlockError::DuplicateDrive(name.to_owned()));
        }
        let backend = BlockBackend::new(name, self.workers.clone(), medium, on_read_error, on_write_error);
        state.add_backend(&backend);
        state.drives.push(Entry { backend: backend.clone(), place, media, default: false });
        Ok(backend)
    }
    /// Adds an empty drive that nobody asked for, unless its place is taken.
    pub fn add_default_drive(&self, place: DrivePlace, media: DriveMedia) {
        let mut state = self.state.lock();
        let name = place.name(media);
        if !state.drives.iter().any(|d| d.place == place || d.backend.name() == name) {
            let backend = BlockBackend::new(&name, self.workers.clone(), None, OnError::Report, OnError::Enospc);
            state.add_backend(&backend);
            state.drives.push(Entry { backend, place, media, default: true });
        }
    }
    /// Takes a drive away (`drive_del`); returns its medium, to be flushed. A device that has the drive finds no medium any more.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_drive(&self, name: &str) -> Result<Option<Arc<Node>>, BlockError> {
        let mut state = self.state.lock();
        let at = state.drives.iter().position(|d| d.backend.name() == name);
        let entry = state.drives.remove(at.ok_or_else(|| BlockError::NoDrive(name.to_owned()))?);
        Ok(entry.backend.set_medium(None))
    }
    /// The device that had a drive has gone, and the drive with it.
    pub(crate) fn device_gone(&self, drive: &Arc<BlockBackend>) {
        self.state.lock().drives.retain(|d| !Arc::ptr_eq(&d.backend, drive));
        let Some(medium) = drive.set_medium(None) else { return };
        // It may take a while, and the board is locked here.
        let leaving = self.leaving.clone();
        *leaving.count.lock() += 1;
        self.workers.run(move || {
            if let Err(e) = medium.flush() {
                tracing::warn!("{}: flush: {e}", medium.info().filename.display());
            }
            drop(medium);
            *leaving.count.lock() -= 1;
            leaving.none.notify_all();
        });
    }
    /// The places of drives that were asked for, and that nobody has looked after.
    pub fn orphans(&self) -> Vec<DrivePlace> {
        let state = self.state.lock();
        let orphan = |d: &&Entry| d.place.interface != Interface::None && !d.default && d.backend.device().is_none();
        state.drives.iter().filter(orphan).map(|d| d.place).collect()
    }
    /// The place for a drive, from what is said of it.
    ///
    /// # Errors
    /// There is none like this, or another drive has it.
    pub fn place(&self, interface: Interface, wanted: WantedPlace) -> Result<DrivePlace, BlockError> {
        let state = self.state.lock();
        let place = wanted.find(interface, |place| state.drives.iter().any(|d| d.place == place))?;
        state.check_free(place)?;
        Ok(place)
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
        if let Some(d) = self.state.lock().drives.iter().find(|d| d.backend.name() == id) {
            return Ok(d.backend.clone());
        }
        let _opened = self.open_file(id)?;
        let state = self.state.lock();
        let Some(node) = state.nodes.get(id).and_then(Weak::upgrade) else {
            let names = state.drives.iter().map(|d| d.backend.name());
            let near =
                crate::closest(id, names.chain(state.nodes.keys().chain(state.files.keys()).map(String::as_str)));
            return Err(BlockError::Unknown { id: id.to_owned(), hint: crate::did_you_mean(near) });
        };
        drop(state);
        Ok(self.anonymous(Some(node)))
    }
    /// A new back end without a name, for a device.
    fn anonymous(&self, medium: Option<Arc<Node>>) -> Arc<BlockBackend> {
        let backend = BlockBackend::new("", self.workers.clone(), medium, OnError::Report, OnError::Enospc);
        self.state.lock().add_backend(&backend);
        backend
    }
    /// Opens the file that is a node `name`, if there is one, for somebody who wants it as it is.
    fn open_file(&self, name: &str) -> Result<Option<Arc<Node>>, BlockError> {
        let options = {
            let state = self.state.lock();
            if !state.files.contains_key(name) || state.nodes.get(name).is_some_and(|n| n.strong_count() > 0) {
                return Ok(None);
            }
            ImageOptions { format: Some(Format::Raw), ..state.free_file(name)?.options.clone() }
        };
        let node = Node::open(name, name, &options)?;
        let mut state = self.state.lock();
        state.take_file(name, &node);
        state.nodes.insert(name.to_owned(), Arc::downgrade(&node));
        Ok(Some(node))
    }
    /// A new back end without a medium and a name, for a device that can do without.
    pub fn empty(&self) -> Arc<BlockBackend> {
        self.anonymous(None)
    }
    /// All back ends, in the order in which they were made.
    pub fn backends(&self) -> Vec<Arc<BlockBackend>> {
        self.state.lock().backends.iter().filter_map(Weak::upgrade).collect()
    }
    /// The back end that has a node as its medium.
    pub fn user(&self, node: &Arc<Node>) -> Option<Arc<BlockBackend>> {
        self.backends().into_iter().find(|b| b.medium().is_some_and(|m| Arc::ptr_eq(&m, node)))
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
                io_status: b.io_status(),
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
