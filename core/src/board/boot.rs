//! The order in which firmware boots from devices (QEMU, docs/system/bootindex).

use super::{Cx, DeviceId, Realize};

/// A device from which firmware can boot.
struct BootDevice {
    index: i32,
    path: String,
    owner: DeviceId,
}

/// All of them, in order.
#[derive(Default)]
pub(super) struct BootDevices(Vec<BootDevice>);

impl BootDevices {
    /// Adds a device; false if another one has that index.
    fn add(&mut self, device: BootDevice) -> bool {
        let place = self.0.binary_search_by_key(&device.index, |d| d.index);
        place.map_err(|n| self.0.insert(n, device)).is_err()
    }
    /// The entry of a device that goes.
    pub(super) fn forget(&mut self, owner: DeviceId) {
        self.0.retain(|d| d.owner != owner);
    }
}

impl Realize<'_> {
    /// Firmware can boot from the device, in its turn if it has a `bootindex` that is not negative. The path is an Open Firmware one, as in
    /// `/pci@i0cf8/ide@1,1/drive@0/disk@0`.
    pub fn boot_device(&mut self, bootindex: Option<i32>, path: impl Into<String>) {
        let Some(index) = bootindex.filter(|&i| i >= 0) else { return };
        let device = BootDevice { index, path: path.into(), owner: self.id };
        if !self.fabric.boot.add(device) {
            self.conflicts.push(format!("The bootindex {index} has already been used"));
        }
    }
}

impl Cx<'_> {
    /// Paths of the devices that have a boot index, with it, in order.
    pub fn boot_order(&self) -> impl Iterator<Item = (i32, &str)> {
        self.fabric.boot.0.iter().map(|d| (d.index, d.path.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_used_once_and_free_again() {
        let mut all = BootDevices::default();
        let device = |index, owner| BootDevice { index, path: format!("/{index}"), owner: DeviceId::nth(owner) };
        assert!(all.add(device(5, 1)) && all.add(device(0, 2)) && !all.add(device(5, 3)));
        assert_eq!(all.0.iter().map(|d| d.index).collect::<Vec<_>>(), [0, 5]);
        all.forget(DeviceId::nth(1));
        assert!(all.add(device(5, 3)));
    }
}
