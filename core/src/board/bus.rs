//! The board as CPUs see it: decoding of ports and memory to devices.

use super::device::all_ones;
use super::{Board, BoardState, Cx, Device};
use crate::mem::{AddressSpace, FlatKind, IoTarget, RamAccess};
use crate::vm::{CpuBus, string_in, string_out};
use std::sync::atomic::Ordering;

impl BoardState {
    /// A load of up to 8 bytes from a device, in accesses as wide as its region takes.
    fn io_read(&mut self, target: IoTarget, offset: u64, data: &mut [u8]) {
        let width = self.width(target);
        let mut done = 0;
        while done < data.len() {
            let n = step(data.len() - done, width);
            let at = offset + done as u64;
            let v = self.try_call(target.device, |d, cx| d.read(cx, target.region, at, n as u8)).unwrap_or(u64::MAX);
            data[done..done + n].copy_from_slice(&v.to_le_bytes()[..n]);
            done += n;
        }
    }
    fn io_write(&mut self, target: IoTarget, offset: u64, data: &[u8]) {
        let width = self.width(target);
        let mut done = 0;
        while done < data.len() {
            let n = step(data.len() - done, width);
            let mut v = [0; 8];
            v[..n].copy_from_slice(&data[done..done + n]);
            let (at, v) = (offset + done as u64, u64::from_le_bytes(v));
            self.try_call(target.device, |d, cx| d.write(cx, target.region, at, n as u8, v));
            done += n;
            if done < data.len() {
                self.settle();
            }
        }
    }
    /// How many bytes of an access with `rest` bytes to go at `at` the device takes, if its region is visible for `clip` of them. An aligned
    /// access that the region takes as a whole is decoded by its first address alone, even where another device has the addresses that
    /// follow (ports 0xcf8 and 0xcf9); others are split where regions meet.
    fn reach(&self, target: IoTarget, at: u64, rest: usize, clip: usize) -> usize {
        let whole = rest.is_power_of_two() && rest <= self.width(target) && at.is_multiple_of(rest as u64);
        if whole { rest } else { clip }
    }
    fn width(&self, target: IoTarget) -> usize {
        // A view may be older than the lock, and the device gone meanwhile.
        let width = self.slot(target.device).and_then(|s| s.claims.widths.get(target.region as usize));
        width.map_or(1, |w| usize::from(*w))
    }
}

/// The widest power of two that fits both what is left and what the region takes.
fn step(left: usize, width: usize) -> usize {
    let n = left.min(width).min(8);
    if n.is_power_of_two() { n } else { n.next_power_of_two() / 2 }
}

impl Board {
    /// Reads any part of an address space: RAM directly, devices under the lock, all ones where nothing answers.
    fn space_read(&self, space: &AddressSpace, addr: u64, data: &mut [u8]) {
        let mut done = 0;
        while done < data.len() {
            let rest = data.len() - done;
            let Some(at) = addr.checked_add(done as u64) else {
                data[done..].fill(0xff);
                return;
            };
            let view = space.view();
            let n = match view.find(at) {
                Some(r) => {
                    let n = r.clip(at, rest);
                    let into = at - r.start;
                    match &r.kind {
                        FlatKind::Ram { block, offset, .. } => {
                            block.read(offset + into, &mut data[done..done + n]);
                            n
                        }
                        FlatKind::Io { target, offset } => self.with(|s| {
                            let n = s.reach(*target, at, rest, n);
                            s.io_read(*target, offset + into, &mut data[done..done + n]);
                            n
                        }),
                    }
                }
                None => {
                    let n = view.gap(at, rest).max(1);
                    data[done..done + n].fill(0xff);
                    n
                }
            };
            done += n;
        }
    }
    /// Has the device at a port move a string as a whole; false if no device has all bytes of an access.
    fn string(&self, port: u16, size: u8, move_it: impl FnOnce(&mut dyn Device, &mut Cx<'_>, u32, u64)) -> bool {
        self.string_port(port, size).is_some_and(|(target, offset)| {
            self.with(|s| {
                let whole = s.width(target) >= usize::from(size);
                whole && s.try_call(target.device, |d, cx| move_it(d, cx, target.region, offset)).is_some()
            })
        })
    }
    /// The device that has an aligned port, and the offset in its region.
    fn string_port(&self, port: u16, size: u8) -> Option<(IoTarget, u64)> {
        let at = u64::from(port);
        let view = self.ports.view();
        let range = view.find(at)?;
        match &range.kind {
            FlatKind::Io { target, offset } if at.is_multiple_of(size.into()) => {
                Some((*target, offset + (at - range.start)))
            }
            _ => None,
        }
    }
    fn space_write(&self, space: &AddressSpace, addr: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let rest = data.len() - done;
            let Some(at) = addr.checked_add(done as u64) else { return };
            let view = space.view();
            let n = match view.find(at) {
                Some(r) => {
                    let n = r.clip(at, rest);
                    let into = at - r.start;
                    let piece = &data[done..done + n];
                    match &r.kind {
                        FlatKind::Ram { access: RamAccess::ReadOnly, .. } => n,
                        FlatKind::Ram { access: RamAccess::ReadWrite, .. } => {
                            // It is RAM in this very view, so nothing is refused.
                            let _ = space.write(at, piece);
                            n
                        }
                        FlatKind::Ram { access: RamAccess::RomDevice(target, offset), .. } => {
                            self.with(|s| s.io_write(*target, offset + into, piece));
                            n
                        }
                        FlatKind::Io { target, offset } => self.with(|s| {
                            let n = s.reach(*target, at, rest, n);
                            s.io_write(*target, offset + into, &data[done..done + n]);
                            n
                        }),
                    }
                }
                None => view.gap(at, rest).max(1),
            };
            done += n;
        }
    }
}

impl CpuBus for Board {
    fn pio_in(&self, port: u16, size: u8) -> u32 {
        let mut data = [0; 4];
        let Some(slice) = data.get_mut(..size as usize) else { return all_ones(4) as u32 };
        self.space_read(&self.ports, u64::from(port), slice);
        u32::from_le_bytes(data)
    }
    fn pio_out(&self, port: u16, size: u8, value: u32) {
        if let Some(slice) = value.to_le_bytes().get(..size as usize) {
            self.space_write(&self.ports, u64::from(port), slice);
        }
    }
    fn pio_in_string(&self, port: u16, size: u8, data: &mut [u8]) {
        if !self.string(port, size, |d, cx, region, offset| d.read_string(cx, region, offset, size, data)) {
            string_in(size, data, || self.pio_in(port, size).into());
        }
    }
    fn pio_out_string(&self, port: u16, size: u8, data: &[u8]) {
        if !self.string(port, size, |d, cx, region, offset| d.write_string(cx, region, offset, size, data)) {
            string_out(size, data, |value| self.pio_out(port, size, value as u32));
        }
    }
    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        self.space_read(self.memory(), addr, data);
    }
    fn mmio_write(&self, addr: u64, data: &[u8]) {
        self.space_write(self.memory(), addr, data);
    }
    fn ack_interrupt(&self) -> Option<u8> {
        self.with(|s| {
            let pic = s.fabric.intack()?;
            s.try_call(pic, |d, cx| d.interrupt_acknowledge(cx)).flatten()
        })
    }
    fn eoi(&self, vector: u8) {
        self.with(|s| {
            for id in s.fabric.eoi_listeners() {
                s.try_call(id, |d, cx| d.eoi(cx, vector));
            }
        });
    }
    fn deadline(&self) -> Option<u64> {
        self.next_deadline()
    }
    fn stop_pending(&self) -> bool {
        self.requests.stop.load(Ordering::Acquire)
    }
    fn settle_timers(&self) {
        self.run_timers();
    }
}
