//! Drives, their media and images.

use crate::control::DriveName;
use crate::qmp::command::{Command, commands};
use crate::qmp::types::block::{BlockDeviceInfo, BlockInfo, BlockStats, BlockdevChangeReadOnlyMode};
use crate::qmp::types::blockdev::BlockdevOptions;

/// A drive by what two arguments say.
fn named<'a>(device: &'a Option<String>, id: &'a Option<String>) -> DriveName<'a> {
    DriveName { device: device.as_deref(), id: id.as_deref() }
}

/// See the module.
pub(super) static COMMANDS: &[Command] = commands! {
    /// The drives, with their media.
    "query-block"() -> Vec<BlockInfo> [preconfig] = |call| Ok(call.control.block_devices());
    /// What drives, or images, have done.
    "query-blockstats"(query_nodes = "query-nodes": Option<bool>) -> Vec<BlockStats> [preconfig] =
        |call| Ok(call.control.block_stats(query_nodes.unwrap_or(false)));
    /// The images that are open.
    "query-named-block-nodes"(flat: Option<bool>) -> Vec<BlockDeviceInfo> [preconfig] = |call| {
        // What is behind an image is never told here.
        let _ = flat;
        Ok(call.control.named_block_nodes())
    };
    /// Opens an image.
    "blockdev-add"{ options: BlockdevOptions } [preconfig] = |call| call.control.blockdev_add(&options);
    /// Closes one.
    "blockdev-del"(node_name = "node-name": String) [preconfig] = |call| call.control.blockdev_del(&node_name);
    /// Opens the tray of a drive, or asks the guest to.
    "blockdev-open-tray"(device: Option<String>, id: Option<String>, force: Option<bool>) =
        |call| call.control.open_tray(named(&device, &id), force.unwrap_or(false));
    /// Closes it.
    "blockdev-close-tray"(device: Option<String>, id: Option<String>) =
        |call| call.control.close_tray(named(&device, &id));
    /// Takes the medium out of a drive whose tray is open.
    "blockdev-remove-medium"(id: String) = |call| call.control.remove_medium(named(&None, &Some(id)));
    /// Puts an image into one.
    "blockdev-insert-medium"(id: String, node_name = "node-name": String) =
        |call| call.control.insert_medium(named(&None, &Some(id)), &node_name);
    /// Opens the tray and takes the medium out.
    "eject"(device: Option<String>, id: Option<String>, force: Option<bool>) =
        |call| call.control.eject(named(&device, &id), force.unwrap_or(false));
    /// Puts another image into a drive.
    "blockdev-change-medium"(
        device: Option<String>,
        id: Option<String>,
        filename: String,
        format: Option<String>,
        force: Option<bool>,
        read_only_mode = "read-only-mode": Option<BlockdevChangeReadOnlyMode>,
    ) = |call| {
        let force = force.unwrap_or(false);
        call.control.change_medium(named(&device, &id), &filename, format.as_deref(), force, read_only_mode)
    };
    /// Gives an image another size.
    "block_resize"(device: Option<String>, node_name = "node-name": Option<String>, size: i64) =
        |call| call.control.block_resize(device.as_deref(), node_name.as_deref(), size);
};
