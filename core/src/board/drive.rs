//! How devices of a board come to their back ends, and how users change media.

use super::{BoardState, Cx, DeviceId, Realize, RealizeError, SystemRequest};
use crate::backend::block::{
    BlockBackend, BlockClient, Blocks, Drive, IoError, IoFailure, Media, MediumEvent, MediumRefusal, Node, OnError,
};
use crate::backend::chardev::{CharBackend, Chardevs};
use crate::backend::rng::{Rng, RngReader, RngSource};
use crate::event::Event;
use crate::object::{Backends, UserObjects};
use std::sync::Arc;

/// Everything that properties can name.
pub(super) struct NamedBackends {
    chardevs: Arc<Chardevs>,
    blocks: Arc<Blocks>,
    user_objects: Arc<UserObjects>,
}

impl Backends for NamedBackends {
    fn chardev(&self, id: &str) -> Result<Arc<dyn CharBackend>, String> {
        self.chardevs.attach(id).map_err(|e| e.to_string())
    }
    fn drive(&self, id: &str) -> Result<Arc<BlockBackend>, String> {
        self.blocks.drive(id).map_err(|e| e.to_string())
    }
    fn rng(&self, id: &str) -> Result<Arc<Rng>, String> {
        self.user_objects.get(id).ok_or_else(|| format!("Device '{id}' not found"))
    }
}

impl Realize<'_> {
    /// A block back end, if one is given, under `tag`: [`super::Device::backend_ready`] is called when a request is done, and
    /// [`super::Device::medium`] when something happens to the medium. A device that writes wants media that can be written.
    pub fn drive(&mut self, tag: u32, drive: &Drive, media: Media, writes: bool) {
        self.drive_of(self.id, tag, drive, media, writes);
    }
    /// The same for a device that is a part of `owner`, who hears of it.
    pub fn drive_of(&mut self, owner: DeviceId, tag: u32, drive: &Drive, media: Media, writes: bool) {
        let Some(backend) = drive.backend() else { return };
        if writes && backend.medium().is_some_and(|m| m.read_only()) {
            self.conflicts.push(MediumRefusal::ReadOnly.to_string());
            return;
        }
        let (device, board) = (owner, self.fabric.board());
        let ready = {
            let board = board.clone();
            move || {
                if let Some(board) = board.upgrade() {
                    board.with(|s| s.try_call(device, |d, cx| d.backend_ready(cx, tag)));
                }
            }
        };
        let failed = move |failure: &IoFailure| {
            if let Some(board) = board.upgrade() {
                board.emit(&event(failure));
                if failure.action == OnError::Stop {
                    board.request(SystemRequest::IoError);
                }
            }
        };
        let name = self.user_id().unwrap_or(self.path()).to_owned();
        let memory = self.fabric.dma().clone();
        let client = BlockClient { device: name, memory, ready: Box::new(ready), failed: Box::new(failed) };
        match backend.attach(client, media) {
            Ok(()) => {
                self.fabric.drives.insert((device, tag), (backend.clone(), self.id));
            }
            Err(e) => self.conflicts.push(format!("Drive '{}' {e}", drive.id())),
        }
    }
    /// A source of random numbers, for which a thread waits: [`super::Device::backend_ready`] is called with `tag` when some have come.
    ///
    /// # Errors
    /// The host has none, or no thread for it.
    pub fn rng(&mut self, tag: u32, source: &RngSource) -> Result<Arc<RngReader>, RealizeError> {
        let (device, board) = (self.id, self.fabric.board());
        let ready = move || {
            if let Some(board) = board.upgrade() {
                board.with(|s| s.try_call(device, |d, cx| d.backend_ready(cx, tag)));
            }
        };
        let rng = source.rng().map_err(|reason| self.property_error("rng", reason))?;
        let host = |source| RealizeError::Host { what: "a thread for random numbers".into(), source };
        RngReader::new(rng, ready).map(Arc::new).map_err(host)
    }
    /// Is there a back end of `owner` under `tag`?
    pub fn has_drive(&self, owner: DeviceId, tag: u32) -> bool {
        self.fabric.drives.contains_key(&(owner, tag))
    }
    /// A back end without a medium, for devices that can do without one.
    pub fn empty_drive(&self) -> Drive {
        self.fabric.blocks.empty().into()
    }
}

fn event(failure: &IoFailure) -> Event {
    Event::BlockIoError {
        device: failure.device.clone(),
        node: failure.node.clone(),
        operation: failure.operation.name(),
        action: failure.action.name(),
        nospace: failure.error == IoError::NoSpace,
        reason: failure.error.to_string(),
    }
}

impl Cx<'_> {
    /// The block back end claimed with `tag`, if there is one.
    pub fn drive(&self, tag: u32) -> Option<&Arc<BlockBackend>> {
        self.fabric.drives.get(&(self.id(), tag)).map(|(drive, _)| drive)
    }
    /// Moves the tray of the drive claimed with `tag`, as the guest wants it.
    pub fn move_tray(&self, tag: u32, open: bool) {
        let Some(drive) = self.drive(tag) else { return };
        if drive.set_tray_open(open) {
            self.emit(&tray_moved(drive, open));
        }
    }
}

fn tray_moved(drive: &BlockBackend, tray_open: bool) -> Event {
    Event::DeviceTrayMoved { device: drive.name().to_owned(), id: drive.device().unwrap_or_default(), tray_open }
}

impl BoardState {
    /// The images and drives that devices find by name.
    pub fn blocks(&self) -> &Arc<Blocks> {
        &self.fabric.blocks
    }
    /// Names them.
    pub fn set_blocks(&mut self, blocks: Arc<Blocks>) {
        self.fabric.blocks = blocks;
    }
    pub(super) fn backends(&self) -> NamedBackends {
        NamedBackends {
            chardevs: self.chardevs.clone(),
            blocks: self.fabric.blocks.clone(),
            user_objects: self.user_objects.clone(),
        }
    }
    fn tell_drive(&mut self, drive: &Arc<BlockBackend>, event: MediumEvent) {
        let owner = self.fabric.drives.iter().find(|(_, (d, _))| Arc::ptr_eq(d, drive)).map(|(key, _)| *key);
        if let Some((device, tag)) = owner {
            self.try_call(device, |d, cx| d.medium(cx, tag, event));
        }
    }
    /// A device's medium can be changed only if the device says so.
    fn check_removable(drive: &BlockBackend) -> Result<(), MediumRefusal> {
        match drive.device() {
            Some(_) if !drive.media().removable => Err(MediumRefusal::NotRemovable(drive.label())),
            _ => Ok(()),
        }
    }
    /// Moves the tray as a user does who presses the button.
    fn press(&mut self, drive: &Arc<BlockBackend>, open: bool) {
        let moved = drive.set_tray_open(open);
        self.tell_drive(drive, MediumEvent::Changed { loaded: !open });
        if moved {
            self.fabric.emit(&tray_moved(drive, open));
        }
    }
    /// Opens the tray of a drive (`blockdev-open-tray`). Where the guest keeps the door locked it is only asked to, unless `force` is given.
    ///
    /// # Errors
    /// The medium cannot be changed, or the door is locked.
    pub fn open_tray(&mut self, drive: &Arc<BlockBackend>, force: bool) -> Result<(), MediumRefusal> {
        Self::check_removable(drive)?;
        if !drive.media().tray || drive.tray_open() {
            return Ok(());
        }
        let locked = drive.locked();
        if locked {
            if force {
                drive.set_locked(false);
            }
            self.tell_drive(drive, MediumEvent::EjectRequest { force });
        }
        if locked && !force {
            return Err(MediumRefusal::Locked(drive.label()));
        }
        self.press(drive, true);
        Ok(())
    }
    /// Closes it (`blockdev-close-tray`).
    ///
    /// # Errors
    /// The medium cannot be changed.
    pub fn close_tray(&mut self, drive: &Arc<BlockBackend>) -> Result<(), MediumRefusal> {
        Self::check_removable(drive)?;
        if drive.media().tray && drive.tray_open() {
            self.press(drive, false);
        }
        Ok(())
    }
    fn check_open(drive: &BlockBackend) -> Result<(), MediumRefusal> {
        Self::check_removable(drive)?;
        match drive.device() {
            Some(_) if drive.media().tray && !drive.tray_open() => Err(MediumRefusal::TrayClosed(drive.label())),
            _ => Ok(()),
        }
    }
    /// Takes the medium out (`blockdev-remove-medium`). Requests that are under way are carried out on it; what was written to it is to be flushed.
    ///
    /// # Errors
    /// It cannot be changed, or the tray is closed.
    pub fn remove_medium(&mut self, drive: &Arc<BlockBackend>) -> Result<Option<Arc<Node>>, MediumRefusal> {
        Self::check_open(drive)?;
        let medium = drive.set_medium(None);
        if !drive.media().tray {
            self.tell_drive(drive, MediumEvent::Changed { loaded: false });
        }
        Ok(medium)
    }
    /// Puts a medium in (`blockdev-insert-medium`).
    ///
    /// # Errors
    /// It cannot be changed, the tray is closed, or there is one.
    pub fn insert_medium(&mut self, drive: &Arc<BlockBackend>, medium: Arc<Node>) -> Result<(), MediumRefusal> {
        Self::check_open(drive).map_err(|e| match e {
            MediumRefusal::TrayClosed(_) => MediumRefusal::NoWayIn,
            other => other,
        })?;
        if drive.medium().is_some() {
            return Err(MediumRefusal::Full(drive.label()));
        }
        drive.set_medium(Some(medium));
        if !drive.media().tray {
            self.tell_drive(drive, MediumEvent::Changed { loaded: true });
        }
        Ok(())
    }
    /// Tells the device that the medium has another size.
    pub fn medium_resized(&mut self, drive: &Arc<BlockBackend>) {
        self.tell_drive(drive, MediumEvent::Resized);
    }
}
