//! `cfi.pflash01`: a parallel flash chip of Intel's command set, eight bits wide, in a drive.
//!
//! Sources: Intel 28F640J3 datasheet (290667), "Command Definitions"; JEDEC JESD68 (common flash interface) and JEP137 (command set 1); QEMU,
//! hw/block/pflash_cfi01.
//!
//! CPUs read the array as memory; any store wakes the device, which answers loads from then on until it is sent back to the array. What is
//! programmed replaces what was there, as in QEMU, while a chip only clears bits. The chip is ready (status bit 7) when the drive has all of it.

mod commands;
mod query;
#[cfg(test)]
mod tests;

use commands::{Action, Commands, Mode, status};
use gearbox_core::backend::block::{Drive, Media, Request};
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::mem::{RamBlock, RegionId};
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::property;
use query::Query;
use std::ops::Range;
use std::sync::Arc;

/// Images are written in units of this.
const SECTOR: u64 = 512;

/// The chip before it is realized. Its size is that of its blocks together.
#[derive(Clone, Debug, Default)]
pub struct Pflash {
    /// The image; without one the chip forgets.
    pub drive: Drive,
    /// Erase blocks.
    pub num_blocks: u32,
    /// Bytes of each, a power of two.
    pub sector_length: u64,
    /// What its memory is called.
    pub name: String,
}

/// What a board maps.
#[derive(Clone, Debug)]
pub struct PflashPins {
    /// The chip, not mapped yet.
    pub region: RegionId,
    /// What it holds.
    pub memory: Arc<RamBlock>,
}

/// The chip.
pub struct PflashDevice {
    memory: Arc<RamBlock>,
    region: RegionId,
    commands: Commands,
    query: Query,
    read_only: bool,
    /// What the drive does not have yet, and has not been asked to take.
    changed: Option<Range<u64>>,
    /// The drive has been asked to take something.
    writing: bool,
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<Pflash>("sys-bus-device", "parallel flash, Intel's command set")) }

const ARRAY: u32 = 0;
const DRIVE: u32 = 0;

impl DeviceSpec for Pflash {
    type Device = PflashDevice;
    type Pins = PflashPins;
    const TYPE: &'static str = "cfi.pflash01";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("drive", Drive, drive, "the drive or node with the image"),
        property!("num-blocks", u32, num_blocks, "number of erase blocks"),
        property!("sector-length", u64, sector_length, "bytes of an erase block, a power of two"),
        property!("name", String, name, "what its memory is called"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(PflashDevice, PflashPins), RealizeError> {
        if !self.sector_length.is_power_of_two() || self.sector_length < SECTOR {
            return Err(r.property_error("sector-length", "attribute \"sector-length\" not specified or zero."));
        }
        if self.num_blocks == 0 {
            return Err(r.property_error("num-blocks", "attribute \"num-blocks\" not specified or zero."));
        }
        let Some(size) = self.sector_length.checked_mul(self.num_blocks.into()).filter(|n| *n <= 1 << 32) else {
            return Err(r.property_error("num-blocks", "it is larger than the address space"));
        };
        let (memory, region) = r.rom_device_region(ARRAY, &self.name, size, 1)?;
        let medium = self.drive.backend().and_then(|b| b.medium());
        if let Some(medium) = &medium {
            if medium.size() < size {
                let has = medium.size();
                let reason = format!("device requires {size} bytes, block backend provides {has} bytes");
                return Err(r.property_error("drive", reason));
            }
            let mut image = vec![0; size as usize];
            let read = medium.read(0, &mut image);
            read.map_err(|e| r.property_error("drive", format!("can't read block backend: {e}")))?;
            memory.write(0, &image);
        }
        r.drive(DRIVE, &self.drive, Media::default(), false);
        let device = PflashDevice {
            memory: memory.clone(),
            region,
            commands: Commands::new(self.sector_length, size),
            query: Query { size, blocks: self.num_blocks, block_size: self.sector_length },
            read_only: medium.is_some_and(|m| m.read_only()),
            changed: None,
            writing: false,
        };
        Ok((device, PflashPins { region, memory }))
    }
}

impl PflashDevice {
    fn fill(&mut self, cx: &Cx<'_>, at: u64, data: &[u8]) {
        cx.address_space().write_block(&self.memory, at, data);
        let sectors = at / SECTOR * SECTOR..(at + data.len() as u64).next_multiple_of(SECTOR);
        self.changed = Some(match self.changed.take() {
            Some(c) => c.start.min(sectors.start)..c.end.max(sectors.end),
            None => sectors,
        });
    }
    /// Has the drive take what changed. It is asked once at a time, so that nothing older comes last.
    fn write_back(&mut self, cx: &Cx<'_>) {
        let Some(drive) = cx.drive(DRIVE) else {
            self.changed = None;
            return;
        };
        if self.writing {
            return;
        }
        if let Some(range) = self.changed.take() {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            self.memory.read(range.start, &mut bytes);
            drive.submit(Request::write(0, range.start, bytes));
            self.writing = true;
        }
    }
    fn perform(&mut self, cx: &Cx<'_>, action: Action) {
        match action {
            Action::None => return,
            Action::Program(_) if self.read_only => self.commands.fail(status::PROGRAM_ERROR),
            Action::Erase(_) if self.read_only => self.commands.fail(status::ERASE_ERROR),
            Action::Program(bytes) => bytes.into_iter().for_each(|(at, byte)| self.fill(cx, at, &[byte])),
            Action::Erase(block) => {
                let erased = vec![0xff; (block.end - block.start) as usize];
                self.fill(cx, block.start, &erased);
            }
        }
        self.write_back(cx);
    }
    fn show(&self, cx: &mut Cx<'_>) {
        cx.memory().set_readable(self.region, self.commands.mode() == Mode::Array);
    }
}

impl Device for PflashDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { memory, region: _, commands, query: _, read_only: _, changed, writing } = self;
        let size = memory.size();
        let sound =
            move |changed: &Option<Range<u64>>| changed.as_ref().is_none_or(|c| c.start < c.end && c.end <= size);
        commands.saved().and(Saved::sound(changed, sound)).and(Saved::of(writing)).version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        self.show(cx);
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8) -> u64 {
        match self.commands.mode() {
            // A CPU that read as the device went back to its array.
            Mode::Array => {
                let mut byte = [0];
                self.memory.read(offset, &mut byte);
                byte[0].into()
            }
            Mode::Status => self.commands.status(self.writing || self.changed.is_some()).into(),
            // QEMU's PCs do not say who made the chip, and no block is locked.
            Mode::Identifier => 0,
            Mode::Query => self.query.byte(offset & 0xff).into(),
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8, value: u64) {
        match self.commands.write(offset, value as u8) {
            Ok(action) => self.perform(cx, action),
            Err(wrong) => cx.guest_error(format_args!("{wrong} at {offset:#x}")),
        }
        self.show(cx);
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        while let Some(done) = cx.drive(DRIVE).and_then(|d| d.completed()) {
            self.writing = false;
            if done.result.is_err() {
                self.commands.fail(status::PROGRAM_ERROR);
            }
        }
        self.write_back(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.commands.reset();
        self.show(cx);
    }
}
