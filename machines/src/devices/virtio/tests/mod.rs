//! Devices as a driver sees them: set up by either kind of registers, and driven through queues in guest RAM.

mod balloon;
mod blk;
mod driver;
mod hostile;
mod rng;
mod serial;
mod transport;

use super::blk::{Blk, BlkDevice};
use super::pci::Function;
use super::{Flavour, Generic, VirtioPci};
use driver::{Driver, Mode};
use gearbox_accel_qtest::Bench;
use gearbox_core::backend::block::{
    BlockBackend, Blocks, DriveMedia, DrivePlace, Format, ImageOptions, Interface, OnError,
};
use gearbox_core::board::{DeviceId, DeviceSpec};
use gearbox_core::pci::Devfn;
use std::io::Write;
use std::sync::Arc;
use tempfile::NamedTempFile;

const RAM: u64 = 8 << 20;
const MODES: [Mode; 2] = [Mode::Legacy, Mode::Modern];

/// A disk and its driver.
struct Disk {
    d: Driver,
    id: DeviceId,
    backend: Arc<BlockBackend>,
    blocks: Arc<Blocks>,
    file: NamedTempFile,
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 512 * 7 + n % 512) as u8).collect()
}

/// A disk with that content, of a spec that `change` changes.
fn disk_as<F: Flavour>(
    mode: Mode,
    content: &[u8],
    options: impl FnOnce(ImageOptions) -> ImageOptions,
    change: impl FnOnce(&mut VirtioPci<Blk, F>),
) -> Disk
where
    VirtioPci<Blk, F>: DeviceSpec<Device = Function<BlkDevice>>,
{
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let mut b = Bench::with_ram(RAM);
    let blocks = Arc::new(Blocks::default());
    b.with(|s| s.set_blocks(blocks.clone()));
    let options = options(ImageOptions { format: Some(Format::Raw), unmap: true, ..ImageOptions::new(file.path()) });
    let node = blocks.open(None, &options).unwrap();
    let place = DrivePlace { interface: Interface::None, bus: 0, unit: 0 };
    let on_error = (OnError::Report, OnError::Enospc);
    let backend = blocks.add_drive("d", place, DriveMedia::Disk, Some(node), on_error).unwrap();
    let mut spec = VirtioPci { place: Some(Devfn::new(4, 0)).into(), ..VirtioPci::<Blk, F>::default() };
    spec.kind.drive = backend.clone().into();
    change(&mut spec);
    let id = b.realize(spec).unwrap().id;
    Disk { d: Driver::new(b, mode), id, backend, blocks, file }
}

fn disk(mode: Mode, content: &[u8]) -> Disk {
    disk_as::<Generic>(mode, content, |o| o, |_| {})
}
