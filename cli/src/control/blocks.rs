//! Drives, their media and images: `query-block` and its companions.

use super::{Control, Error, Result};
use crate::args::DriveArg;
use crate::args::drives::image_at;
use crate::backend::block::{
    BlockBackend, BlockStats as Counted, Blocks, CacheMode, DetectZeroes, DriveInfo, Format, ImageOptions, IoError,
    MediumRefusal, Node, NodeInfo, OperationStats, SECTOR,
};
use crate::blocks;
use crate::messages::warn;
use crate::qmp::types::block::{
    BlockDeviceInfo, BlockDeviceIoStatus, BlockDeviceStats, BlockInfo, BlockStats, BlockdevCacheInfo,
    BlockdevChangeReadOnlyMode, ImageInfo,
};
use crate::qmp::types::blockdev::{BlockdevDetectZeroesOptions, BlockdevOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

impl From<MediumRefusal> for Error {
    fn from(e: MediumRefusal) -> Self {
        Self::generic(e.to_string())
    }
}

impl From<IoError> for Error {
    fn from(e: IoError) -> Self {
        Self::generic(e.to_string())
    }
}

/// How a command names a drive: by its own name, or by its device's id.
#[derive(Clone, Copy, Debug)]
pub struct DriveName<'a> {
    /// Its own.
    pub device: Option<&'a str>,
    /// Its device's.
    pub id: Option<&'a str>,
}

impl Control {
    fn blocks(&self) -> &Arc<Blocks> {
        &self.facts.blocks
    }
    fn find_drive(&self, name: DriveName<'_>) -> Result<Arc<BlockBackend>> {
        let ((Some(name), None) | (None, Some(name))) = (name.device, name.id) else {
            return Err(Error::generic("Need exactly one of 'device' and 'id'"));
        };
        self.blocks().find(name).ok_or_else(|| Error::device_not_found(name))
    }

    /// `query-block`.
    pub fn block_devices(&self) -> Vec<BlockInfo> {
        self.blocks().list().into_iter().map(drive_info).collect()
    }
    /// `query-named-block-nodes`: the latest first, and each before the file that it is on.
    pub fn named_block_nodes(&self) -> Vec<BlockDeviceInfo> {
        let mut infos = Vec::new();
        for node in self.blocks().nodes().iter().rev() {
            let (info, size) = (node.info(), node.size());
            if info.file_node != info.name {
                infos.push(node_info(info, size));
            }
            infos.push(file_info(info));
        }
        let idle = |name: &String| !infos.iter().any(|i| i.node_name.as_ref() == Some(name));
        let idle: Vec<_> = self.blocks().files().into_iter().filter(|(name, _)| idle(name)).collect();
        infos.extend(idle.into_iter().map(|(name, file)| {
            let o = file.options;
            file_info(&NodeInfo {
                file_node: name.clone(),
                name,
                filename: o.filename,
                protocol: file.protocol,
                format: Format::Raw,
                read_only: o.read_only,
                aio: o.aio,
                cache: o.cache,
                unmap: o.unmap,
                detect_zeroes: o.detect_zeroes,
                snapshot: o.snapshot,
                backing: Vec::new(),
                null: o.null,
            })
        }));
        infos
    }
    /// An image by the name of its drive, by its own, or if `device` is said, by the device that has it.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn image(&self, name: &str, device: bool) -> Result<Arc<Node>> {
        let drive = self.blocks().find(name).filter(|d| !device || d.device().as_deref() == Some(name));
        let medium = drive.and_then(|d| d.medium()).or_else(|| self.blocks().node(name).ok().filter(|_| !device));
        medium.ok_or_else(|| Error::generic(format!("Cannot find device='{name}' nor node-name='{name}'")))
    }
    /// `query-blockstats`: of drives; or with `nodes` of images, which nobody counts for.
    pub fn block_stats(&self, nodes: bool) -> Vec<BlockStats> {
        if nodes {
            let of = |node: &Arc<Node>| BlockStats {
                device: None,
                qdev: None,
                node_name: Some(node.name().to_owned()),
                stats: numbers(&Counted::default()),
            };
            return self.blocks().nodes().iter().map(of).collect();
        }
        let of = |drive: Arc<BlockBackend>| BlockStats {
            device: Some(drive.name().to_owned()),
            qdev: drive.device(),
            node_name: drive.medium().map(|m| m.name().to_owned()),
            stats: numbers(&drive.stats()),
        };
        self.blocks().backends().into_iter().filter(|b| !b.label().is_empty()).map(of).collect()
    }
    /// `blockdev-add`.
    ///
    /// # Errors
    /// The name is missing or taken, or the image cannot be opened.
    pub fn blockdev_add(&self, options: &BlockdevOptions) -> Result<()> {
        blocks::add_node(self.blocks(), options)
    }
    /// `blockdev-del`.
    ///
    /// # Errors
    /// There is no such image, or somebody has it.
    pub fn blockdev_del(&self, name: &str) -> Result<()> {
        Ok(self.blocks().remove_node(name)?)
    }
    /// `drive_add`: a drive for a device to come.
    ///
    /// # Errors
    /// The name is taken, or the image cannot be opened.
    pub fn drive_add(&self, drive: &DriveArg) -> Result<()> {
        blocks::add_drive(self.blocks(), drive)?;
        Ok(())
    }
    /// `drive_del`. A device that has the drive finds no medium any more.
    ///
    /// # Errors
    /// There is none, or the host cannot write what was written to it.
    pub fn drive_del(&self, name: &str) -> Result<()> {
        let medium = self.blocks().remove_drive(name)?;
        Ok(medium.map_or(Ok(()), |m| m.flush())?)
    }

    /// `blockdev-open-tray`: where the guest keeps the door locked, it is asked to, unless `force` is given.
    ///
    /// # Errors
    /// There is no such drive, or its medium cannot be changed.
    pub fn open_tray(&self, name: DriveName<'_>, force: bool) -> Result<()> {
        let drive = self.find_drive(name)?;
        match self.machine()?.board().with(|s| s.open_tray(&drive, force)) {
            // The guest has been asked, which is all that this command promises.
            Err(MediumRefusal::Locked(_)) => Ok(()),
            done => Ok(done?),
        }
    }
    /// `blockdev-close-tray`.
    ///
    /// # Errors
    /// There is no such drive, or its medium cannot be changed.
    pub fn close_tray(&self, name: DriveName<'_>) -> Result<()> {
        let drive = self.find_drive(name)?;
        Ok(self.machine()?.board().with(|s| s.close_tray(&drive))?)
    }
    /// `blockdev-remove-medium`.
    ///
    /// # Errors
    /// There is no such drive, its medium cannot be changed, or its tray is closed.
    pub fn remove_medium(&self, name: DriveName<'_>) -> Result<()> {
        let drive = self.find_drive(name)?;
        self.take_medium(&drive)
    }
    fn take_medium(&self, drive: &Arc<BlockBackend>) -> Result<()> {
        let medium = self.machine()?.board().with(|s| s.remove_medium(drive))?;
        Ok(medium.map_or(Ok(()), |m| m.flush())?)
    }
    /// `blockdev-insert-medium`.
    ///
    /// # Errors
    /// There is no such drive or image, the image is in use, the tray is closed, or not empty.
    pub fn insert_medium(&self, name: DriveName<'_>, node: &str) -> Result<()> {
        let drive = self.find_drive(name)?;
        let medium = self.blocks().node(node).map_err(|_| Error::generic(format!("Node '{node}' not found")))?;
        if self.blocks().user(&medium).is_some() {
            return Err(Error::generic(format!("Node '{node}' is already in use")));
        }
        Ok(self.machine()?.board().with(|s| s.insert_medium(&drive, medium))?)
    }
    /// `eject`: opens the tray and takes the medium out.
    ///
    /// # Errors
    /// There is no such drive, its medium cannot be changed, or the guest keeps the door locked and `force` is not given.
    pub fn eject(&self, name: DriveName<'_>, force: bool) -> Result<()> {
        let drive = self.find_drive(name)?;
        self.machine()?.board().with(|s| s.open_tray(&drive, force))?;
        self.take_medium(&drive)
    }
    /// `blockdev-change-medium`: puts another image in.
    ///
    /// # Errors
    /// There is no such drive, its medium cannot be changed, or the image cannot be opened.
    pub fn change_medium(
        &self,
        name: DriveName<'_>,
        filename: &str,
        format: Option<&str>,
        force: bool,
        mode: Option<BlockdevChangeReadOnlyMode>,
    ) -> Result<()> {
        let drive = self.find_drive(name)?;
        let old = drive.medium();
        let read_only = match mode.unwrap_or(BlockdevChangeReadOnlyMode::Retain) {
            BlockdevChangeReadOnlyMode::Retain => old.as_ref().is_none_or(|m| m.read_only()),
            BlockdevChangeReadOnlyMode::ReadOnly => true,
            BlockdevChangeReadOnlyMode::ReadWrite => false,
        };
        let known =
            |name: &str| Format::from_name(name).ok_or_else(|| Error::generic(format!("Unknown driver '{name}'")));
        let image = ImageOptions {
            format: format.map(known).transpose()?,
            read_only,
            auto_read_only: false,
            cache: old.map_or(CacheMode::WRITEBACK, |m| m.info().cache),
            ..image_at(filename).map_err(Error::generic)?
        };
        let medium = self.blocks().open(None, &image)?;
        medium.warning().into_iter().for_each(warn);
        let machine = self.machine()?;
        machine.board().with(|s| s.open_tray(&drive, force))?;
        self.take_medium(&drive)?;
        machine.board().with(|s| s.insert_medium(&drive, medium).and_then(|()| s.close_tray(&drive)))?;
        Ok(())
    }
    /// `block_resize`, of a drive's medium or of an image by its name.
    ///
    /// # Errors
    /// There is none, it cannot be written, or the host's reason.
    pub fn block_resize(&self, device: Option<&str>, node: Option<&str>, size: i64) -> Result<()> {
        let (device, node) = (device.unwrap_or_default(), node.unwrap_or_default());
        let drive = self.blocks().find(device);
        let medium = match (&drive, device, node) {
            (Some(drive), ..) => {
                drive.medium().ok_or_else(|| Error::generic(format!("Device '{device}' has no medium")))?
            }
            (None, "", name) if !name.is_empty() && self.blocks().node(name).is_ok() => self.blocks().node(name)?,
            (None, ..) => {
                return Err(Error::generic(format!("Cannot find device='{device}' nor node-name='{node}'")));
            }
        };
        let size = u64::try_from(size).map_err(|_| Error::generic("Parameter 'size' expects a >0 size"))?;
        medium.resize(size)?;
        if let (Some(user), Ok(machine)) = (self.blocks().user(&medium), self.machine()) {
            machine.board().with(|s| s.medium_resized(&user));
        }
        Ok(())
    }
}

fn drive_info(drive: DriveInfo) -> BlockInfo {
    BlockInfo {
        device: drive.name,
        qdev: drive.device,
        ty: "unknown".to_owned(),
        removable: drive.removable,
        locked: drive.locked,
        tray_open: drive.tray_open,
        io_status: drive.io_status.map(|status| match status {
            Ok(()) => BlockDeviceIoStatus::Ok,
            Err(IoError::NoSpace) => BlockDeviceIoStatus::Nospace,
            Err(_) => BlockDeviceIoStatus::Failed,
        }),
        inserted: drive.inserted.map(|(node, size)| node_info(&node, size)),
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What an image of `size` bytes is, for people and programs that do not ask for more.
pub(crate) fn image_info(node: &NodeInfo, size: u64) -> ImageInfo {
    let own_file = node.file_node == node.name;
    let backing = node.backing.first();
    let path = |path: &Path| path.display().to_string();
    ImageInfo {
        filename: path(&node.filename),
        format: if own_file { node.protocol.name() } else { node.format.name() }.to_owned(),
        virtual_size: whole(size),
        actual_size: match node.null {
            Some(_) => Some(0),
            None => std::fs::metadata(&node.filename).ok().map(|m| whole(m.blocks() * 512)),
        },
        backing_filename: backing.map(|b| path(&b.filename)),
        full_backing_filename: backing.map(|b| path(&b.filename)),
        backing_filename_format: backing.map(|b| b.format.name().to_owned()),
    }
}

fn node_info(node: &NodeInfo, size: u64) -> BlockDeviceInfo {
    let image = image_info(node, size);
    BlockDeviceInfo {
        file: image.filename.clone(),
        node_name: Some(node.name.clone()),
        ro: node.read_only,
        drv: image.format.clone(),
        backing_file: image.backing_filename.clone(),
        backing_file_depth: whole(node.backing.len() as u64),
        encrypted: false,
        detect_zeroes: match node.detect_zeroes {
            DetectZeroes::Off => BlockdevDetectZeroesOptions::Off,
            DetectZeroes::On => BlockdevDetectZeroesOptions::On,
            DetectZeroes::Unmap => BlockdevDetectZeroesOptions::Unmap,
        },
        bps: 0,
        bps_rd: 0,
        bps_wr: 0,
        iops: 0,
        iops_rd: 0,
        iops_wr: 0,
        image,
        cache: BlockdevCacheInfo {
            writeback: node.cache.writeback,
            direct: node.cache.direct,
            no_flush: node.cache.no_flush,
        },
        write_threshold: 0,
    }
}

/// The file below an image, as a node of its own.
fn file_info(node: &NodeInfo) -> BlockDeviceInfo {
    let host = || std::fs::metadata(&node.filename).map_or(0, |m| m.len());
    let size = node.null.unwrap_or_else(host).next_multiple_of(SECTOR);
    let file = NodeInfo { name: node.file_node.clone(), backing: Vec::new(), ..node.clone() };
    node_info(&file, size)
}

fn numbers(counted: &Counted) -> BlockDeviceStats {
    let Counted { read, write, flush, discard, highest_write, last } = counted;
    let time = |of: &OperationStats| whole(u64::try_from(of.time.as_nanos()).unwrap_or(u64::MAX));
    BlockDeviceStats {
        rd_bytes: whole(read.bytes),
        wr_bytes: whole(write.bytes),
        unmap_bytes: whole(discard.bytes),
        rd_operations: whole(read.done),
        wr_operations: whole(write.done),
        flush_operations: whole(flush.done),
        unmap_operations: whole(discard.done),
        rd_total_time_ns: time(read),
        wr_total_time_ns: time(write),
        flush_total_time_ns: time(flush),
        unmap_total_time_ns: time(discard),
        wr_highest_offset: whole(*highest_write),
        rd_merged: 0,
        wr_merged: 0,
        unmap_merged: 0,
        idle_time_ns: last.map(|at| whole(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX))),
        failed_rd_operations: whole(read.failed),
        failed_wr_operations: whole(write.failed),
        failed_flush_operations: whole(flush.failed),
        failed_unmap_operations: whole(discard.failed),
        invalid_rd_operations: whole(read.invalid),
        invalid_wr_operations: whole(write.invalid),
        invalid_flush_operations: whole(flush.invalid),
        invalid_unmap_operations: whole(discard.invalid),
        account_invalid: true,
        account_failed: true,
        timed_stats: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{QmpError, Vm};
    use serde_json::{Value, json};

    fn told(result: Result<Value, QmpError>) -> String {
        match result.unwrap_err() {
            QmpError::Command { desc, .. } => desc,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn media_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, [7; 8192]).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (first, second) = (file("first.iso"), file("second.iso"));
        let mut vm = Vm::pc().accel("qtest").device("ide-cd,id=cd,bus=ide.1").start().unwrap();
        let add = json!({"driver": "raw", "node-name": "n", "read-only": true, "file": {"driver": "file", "filename": first}});
        vm.qmp("blockdev-add", add).unwrap();
        let closed = vm.qmp("blockdev-insert-medium", json!({"id": "cd", "node-name": "n"}));
        assert_eq!(told(closed), "Tray of the device is not open");
        vm.qmp("blockdev-open-tray", json!({"id": "cd"})).unwrap();
        vm.qmp("blockdev-insert-medium", json!({"id": "cd", "node-name": "n"})).unwrap();
        vm.qmp("blockdev-close-tray", json!({"id": "cd"})).unwrap();
        let drives = vm.qmp("query-block", json!({})).unwrap();
        let medium = &drives[0]["inserted"];
        assert_eq!((&medium["node-name"], &medium["image"]["virtual-size"]), (&json!("n"), &json!(8192)));
        assert_eq!(told(vm.qmp("blockdev-del", json!({"node-name": "n"}))), "Node n is in use");
        vm.qmp("blockdev-change-medium", json!({"id": "cd", "filename": second})).unwrap();
        vm.qmp("blockdev-del", json!({"node-name": "n"})).unwrap();
        assert!(vm.monitor("info block").unwrap().contains("second.iso (raw, read-only)"));
        vm.qmp("eject", json!({"id": "cd"})).unwrap();
        let drives = vm.qmp("query-block", json!({})).unwrap();
        assert!(drives[0].get("inserted").is_none() && drives[0]["tray_open"] == true);
    }

    #[test]
    fn a_disk_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        std::fs::write(&path, [0; 4096]).unwrap();
        let drive = format!("file={},format=raw,id=d", path.display());
        let mut vm = Vm::pc().accel("qtest").args(["-drive", &drive]).start().unwrap();
        vm.qmp("block_resize", json!({"device": "d", "size": 1 << 20})).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1 << 20);
        assert!(vm.monitor("info block -v d").unwrap().contains("virtual size: 1 MiB (1048576 bytes)"));
        assert_eq!(told(vm.qmp("eject", json!({"device": "d"}))), "Device 'd' is not removable");
    }
}
