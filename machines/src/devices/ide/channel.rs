//! A channel: the registers that its two drives share, and the bus master's way to the one that is selected. Its ports are in [`ports`](super::ports).

use super::bus_master::{BusMaster, End};
use super::drive::{Drive, Phase};
use super::geometry::Geometry;
use super::registers::{command, control, device, status};
use gearbox_core::backend::block::MediumEvent;
use gearbox_core::board::{Cx, Line, Saved};
use std::any::Any;

/// Offsets in the command block.
#[rustfmt::skip]
mod reg {
    pub(super) const DATA: u64 = 0;
    pub(super) const ERROR: u64 = 1;
    pub(super) const COUNT: u64 = 2;
    pub(super) const LBA_LOW: u64 = 3;
    pub(super) const LBA_MID: u64 = 4;
    pub(super) const LBA_HIGH: u64 = 5;
    pub(super) const DEVICE: u64 = 6;
    pub(super) const STATUS: u64 = 7;
}

/// A drive on its way to its channel.
pub(super) struct Part {
    pub(super) unit: usize,
    pub(super) drive: Drive,
}

/// A channel.
pub(super) struct Channel {
    pub(super) drives: [Option<Drive>; 2],
    pub(super) bus_master: BusMaster,
    /// The tag of the first drive's back end.
    first_tag: u32,
    irq: Line,
    selected: usize,
    control: u8,
}

impl Channel {
    pub(super) fn new(irq: Line, first_tag: u32) -> Self {
        let bus_master = BusMaster::default();
        Self { drives: [None, None], bus_master, first_tag, irq, selected: 0, control: 0 }
    }
    /// What is saved of it, with its drives.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { drives, bus_master, first_tag: _, irq: _, selected, control } = self;
        let channel = Saved::sound(selected, |n| *n < 2).and(Saved::of(control)).and(bus_master.saved());
        drives.iter_mut().flatten().map(Drive::saved).fold(channel, Saved::and)
    }
    /// Hardware reset.
    pub(super) fn reset(&mut self, cx: &mut Cx<'_>) {
        (self.selected, self.control) = (0, 0);
        self.bus_master.reset();
        self.drives.iter_mut().flatten().for_each(Drive::power_on);
        cx.set(self.irq, false);
    }
    fn drive(&mut self) -> Option<&mut Drive> {
        self.drives[self.selected].as_mut()
    }
    /// The disk at a place: its geometry.
    pub(super) fn geometry(&mut self, unit: usize) -> Option<Geometry> {
        Some(self.drives.get_mut(unit)?.as_mut()?.disk()?.geometry)
    }
    /// Takes a drive, which is a [`Part`].
    pub(super) fn plug(&mut self, cx: &mut Cx<'_>, part: Box<dyn Any + Send>) -> Result<(), String> {
        let part = part.downcast::<Part>().map_err(|_| "no IDE drive".to_owned())?;
        let place = self.drives.get_mut(part.unit).ok_or("Can't create IDE unit, bus supports only 2 units")?;
        if place.is_some() {
            return Err(format!("IDE unit {} is in use", part.unit));
        }
        *place = Some(part.drive);
        self.settle(cx);
        Ok(())
    }

    /// A load from the command block, of data apart.
    pub(super) fn read(&mut self, cx: &mut Cx<'_>, offset: u64) -> u8 {
        if self.drives.iter().all(Option::is_none) {
            return 0;
        }
        if offset == reg::STATUS {
            cx.set(self.irq, false);
            return self.drive().map_or(0, |d| d.regs.status);
        }
        let before = self.control & control::HOB != 0;
        // The drive that is there answers for one that is not, except for the status.
        let other = self.drives.iter().flatten().next();
        let Some(regs) = self.drives[self.selected].as_ref().or(other).map(|d| &d.regs) else { return 0 };
        let twice = match offset {
            reg::ERROR if before => return regs.feature.before,
            reg::ERROR => return regs.error,
            reg::COUNT => regs.count,
            reg::LBA_LOW => regs.lba_low,
            reg::LBA_MID => regs.lba_mid,
            reg::LBA_HIGH => regs.lba_high,
            _ => return regs.device,
        };
        if before { twice.before } else { twice.now }
    }
    /// A store to the command block, of data apart.
    pub(super) fn write(&mut self, cx: &mut Cx<'_>, offset: u64, value: u8) {
        self.control &= !control::HOB;
        if offset == reg::STATUS {
            cx.set(self.irq, false);
            match (value, self.drive()) {
                // Both drives carry it out.
                (command::EXECUTE_DIAGNOSTIC, _) => {
                    let drives = self.drives.iter_mut().flatten();
                    drives.filter(|d| !d.is_busy()).for_each(|d| d.command(value));
                    self.selected = 0;
                }
                (_, Some(drive)) => drive.command(value),
                (_, None) => {}
            }
            return self.settle(cx);
        }
        if self.drive().is_some_and(|d| d.is_busy()) {
            return;
        }
        for drive in self.drives.iter_mut().flatten() {
            let regs = &mut drive.regs;
            match offset {
                reg::ERROR => regs.feature.write(value),
                reg::COUNT => regs.count.write(value),
                reg::LBA_LOW => regs.lba_low.write(value),
                reg::LBA_MID => regs.lba_mid.write(value),
                reg::LBA_HIGH => regs.lba_high.write(value),
                _ => regs.device = value | device::OBSOLETE,
            }
        }
        if offset == reg::DEVICE {
            self.selected = usize::from(value & device::DEV != 0);
        }
    }
    /// Is this the data register?
    pub(super) fn is_data(offset: u64) -> bool {
        offset == reg::DATA
    }
    /// Reads data for the host; what it does not have reads as zero.
    pub(super) fn read_data(&mut self, cx: &mut Cx<'_>, data: &mut [u8]) {
        let mut done = 0;
        while done < data.len() {
            let Some(drive) = self.drive() else { break };
            let ready = drive.readable();
            if ready.is_empty() {
                break;
            }
            let n = ready.len().min(data.len() - done);
            data[done..done + n].copy_from_slice(&ready[..n]);
            drive.has_read(n);
            done += n;
            self.settle(cx);
        }
        data[done..].fill(0);
    }
    /// Takes data from the host; what nobody waits for is lost.
    pub(super) fn write_data(&mut self, cx: &mut Cx<'_>, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let Some(drive) = self.drive() else { return };
            let room = drive.writable();
            if room.is_empty() {
                return;
            }
            let n = room.len().min(data.len() - done);
            room[..n].copy_from_slice(&data[done..done + n]);
            drive.has_written(n);
            done += n;
            self.settle(cx);
        }
    }

    /// The alternate status register: the status, with no effect.
    pub(super) fn alternate_status(&mut self) -> u8 {
        self.drive().map_or(0, |d| d.regs.status)
    }
    /// The device control register.
    pub(super) fn write_control(&mut self, cx: &mut Cx<'_>, value: u8) {
        let (was, is) = (self.control & control::SRST != 0, value & control::SRST != 0);
        self.control = value;
        if is && !was {
            for drive in self.drives.iter_mut().flatten() {
                drive.reset();
                drive.regs.status = status::BSY | status::DSC;
            }
        } else if was && !is {
            self.drives.iter_mut().flatten().for_each(Drive::reset);
            self.selected = 0;
        }
        cx.set(self.irq, cx.level(self.irq) && value & (control::NIEN | control::SRST) == 0);
        self.settle(cx);
    }

    /// A store to the bus master.
    pub(super) fn write_bus_master(&mut self, cx: &mut Cx<'_>, offset: u64, value: u8) {
        let under_way = self.moves_dma();
        self.bus_master.write(cx, offset, value, under_way);
        self.settle(cx);
    }
    /// Is the back end at work on a transfer by the bus master?
    fn moves_dma(&mut self) -> bool {
        self.drive().is_some_and(|d| d.phase == Phase::Waiting && d.transfer.is_some_and(|t| t.dma))
    }

    /// Requests of a drive are done.
    pub(super) fn completed(&mut self, cx: &mut Cx<'_>, unit: usize) {
        if let Some(drive) = &mut self.drives[unit] {
            while let Some(completion) = drive.backend.as_ref().and_then(|b| b.completed()) {
                drive.complete(completion);
            }
        }
        self.settle(cx);
    }

    /// Something happened to the medium of a drive.
    pub(super) fn medium(&mut self, cx: &mut Cx<'_>, unit: usize, event: MediumEvent) {
        if let Some(drive) = &mut self.drives[unit] {
            drive.medium_event(event);
        }
        self.settle(cx);
    }

    /// Does what the drives want: moves data by the bus master, the tray, and the interrupt.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        self.move_dma(cx);
        if self.bus_master.is_stopping() && !self.moves_dma() {
            self.bus_master.stop();
        }
        let quiet = self.control & (control::NIEN | control::SRST) != 0;
        for (unit, drive) in self.drives.iter_mut().enumerate() {
            let Some(drive) = drive else { continue };
            if let Some(open) = drive.tray.take() {
                cx.move_tray(self.first_tag + unit as u32, open);
            }
            // Only the one that is selected drives the wire.
            let asks = std::mem::take(&mut drive.interrupt) && unit == self.selected;
            if asks && !quiet {
                // An interrupt that nobody has seen yet is followed by another one.
                cx.set(self.irq, false);
                cx.set(self.irq, true);
                self.bus_master.interrupt();
            }
        }
    }
    fn move_dma(&mut self, cx: &mut Cx<'_>) {
        let Some(drive) = self.drives[self.selected].as_mut() else { return };
        let master = &mut self.bus_master;
        while master.is_active() {
            let moved = match drive.phase {
                Phase::Dma => {
                    // What is lost on the way goes through a buffer.
                    let direct = drive.moves_directly() && cx.may_master();
                    let bytes = drive.dma_bytes(master.room(), direct);
                    if bytes == 0 {
                        // Too little memory: the bus master stops, and there is no interrupt.
                        master.stop();
                        drive.dma_failed();
                        return;
                    }
                    if direct {
                        drive.dma_move(master.lend(bytes));
                        Ok(())
                    } else if drive.dma_writes() {
                        master.gather(cx, bytes as usize).map(|data| drive.store(data))
                    } else {
                        drive.dma_fetch(bytes);
                        Ok(())
                    }
                }
                Phase::DmaIn => {
                    let data = std::mem::take(&mut drive.buffer);
                    master.scatter(cx, &data).map(|()| drive.dma_taken(data.len()))
                }
                _ => break,
            };
            if moved.is_err() {
                drive.abort();
                drive.dma_over = Some(End::BusError);
            }
        }
        if let Some(end) = drive.dma_over.take() {
            let may_stay = !drive.is_cdrom();
            master.finish(end, may_stay);
        }
    }
}
