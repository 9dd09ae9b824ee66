//! `isa-fdc`: the floppy disk controller of a PC, with two drives.
//!
//! Source: Intel 82078 datasheet (290468): registers (clause 2), phases and commands (clauses 3 to 5). A command that the datasheet has and that neither BIOS
//! nor operating systems use (SCAN, SAVE, RESTORE, DRIVE SPECIFICATION, FORMAT AND WRITE) is answered as an invalid one. Heads move at once. As in QEMU,
//! a transfer goes to its track by itself, the data rate has to be that of the medium, and an interrupt stays until the last byte of a result has been read.

mod command;
mod media;
mod spec;
#[cfg(test)]
mod tests;
mod transfer;

pub use media::DriveKind;
pub use spec::{BUS, DMA, FdcPins, Floppy, IsaFdc};

use gearbox_core::backend::block::MediumEvent;
use gearbox_core::board::{Cx, Device, DeviceState, Line, ResetKind, Saved};
use media::{Drive, R500};
use serde::{Deserialize, Serialize};
use spec::{FIRST_PORT, LAST, LAST_PORT, Part};
use std::any::Any;
use transfer::Transfer;

use crate::devices::i8257::DmaChannel;

/// Registers by their offset. Status register A is not there in the mode of the PC AT.
mod register {
    pub(super) const STATUS_B: u64 = 1;
    pub(super) const DIGITAL_OUTPUT: u64 = 2;
    pub(super) const TAPE_DRIVE: u64 = 3;
    /// Read: main status. Written: data rate.
    pub(super) const MAIN_STATUS: u64 = 4;
    pub(super) const DATA: u64 = 5;
    /// Read: digital input. Written: data rate.
    pub(super) const DIGITAL_INPUT: u64 = 7;
}

/// Bits of the registers.
mod bits {
    /// Digital output: drive, not reset, DMA.
    pub(super) const DRIVE: u8 = 3;
    pub(super) const NOT_RESET: u8 = 1 << 2;
    pub(super) const DMA: u8 = 1 << 3;
    /// Main status.
    pub(super) const REQUEST: u8 = 1 << 7;
    pub(super) const TO_HOST: u8 = 1 << 6;
    pub(super) const NON_DMA: u8 = 1 << 5;
    pub(super) const BUSY: u8 = 1 << 4;
    /// Data rate select: reset; rate.
    pub(super) const SOFTWARE_RESET: u8 = 1 << 7;
    pub(super) const RATE: u8 = 3;
    /// Digital input: disk change.
    pub(super) const CHANGED: u8 = 1 << 7;
}

/// Status register 0.
mod st0 {
    pub(super) const ABNORMAL: u8 = 0x40;
    pub(super) const INVALID: u8 = 0x80;
    pub(super) const READY_CHANGED: u8 = 0xc0;
    pub(super) const SEEK_END: u8 = 0x20;
}

/// The data rate after power-on: as in QEMU, that of usual media, and not the datasheet's 250 kb/s.
const START_RATE: u8 = R500;
/// Drives on the controller.
const DRIVES: usize = 2;

/// What the controller does.
#[derive(Serialize, Deserialize)]
enum Phase {
    /// It takes a command and its parameters.
    Command(Vec<u8>),
    /// It moves data.
    Execution(Transfer),
    /// It gives a result.
    Result(Vec<u8>, usize),
}

impl Phase {
    /// Can the controller be there?
    fn is_sound(&self) -> bool {
        match self {
            Self::Command(bytes) => bytes.len() <= command::MOST_BYTES,
            Self::Execution(transfer) => transfer.is_sound(),
            Self::Result(bytes, at) => *at < bytes.len() && bytes.len() <= command::MOST_BYTES,
        }
    }
}

/// The controller.
pub struct FdcDevice {
    drives: [Option<Drive>; DRIVES],
    dma: DmaChannel,
    irq: Line,
    phase: Phase,
    output: u8,
    tape: u8,
    rate: u8,
    interrupt: bool,
    /// Status register 0 for SENSE INTERRUPT STATUS.
    status0: u8,
    /// Drives about which a reset has yet to be told.
    polled: u8,
    timers: [u8; 2],
    configuration: u8,
    precompensation: u8,
    perpendicular: u8,
    locked: bool,
    last_sector: u8,
}

impl FdcDevice {
    fn new(dma: DmaChannel, irq: Line) -> Self {
        Self {
            drives: [None, None],
            dma,
            irq,
            phase: Phase::Command(Vec::new()),
            output: bits::NOT_RESET | bits::DMA,
            tape: 0,
            rate: START_RATE,
            interrupt: false,
            status0: 0,
            polled: 0,
            timers: [0; 2],
            configuration: 0x60,
            precompensation: 0,
            perpendicular: 0,
            locked: false,
            last_sector: 0,
        }
    }
    /// What the drives are.
    pub fn kinds(&self) -> [Option<DriveKind>; DRIVES] {
        self.drives.each_ref().map(|d| d.as_ref().and_then(|d| d.kind))
    }
    fn selected(&self) -> usize {
        usize::from(self.output & bits::DRIVE)
    }
    fn drive(&mut self, n: usize) -> Option<&mut Drive> {
        self.drives.get_mut(n).and_then(Option::as_mut)
    }
    fn set_interrupt(&mut self, cx: &mut Cx<'_>, on: bool) {
        self.interrupt = on;
        cx.set(self.irq, on);
    }
    /// Gives a result, with an interrupt where a transfer is over.
    fn finish(&mut self, cx: &mut Cx<'_>, result: &[u8], interrupt: bool) {
        self.phase = if result.is_empty() { Phase::Command(Vec::new()) } else { Phase::Result(result.to_vec(), 0) };
        if interrupt {
            self.set_interrupt(cx, true);
        }
    }
    /// By pin, or by software: what LOCK does not keep is as after power-on.
    fn reset_core(&mut self, cx: &mut Cx<'_>) {
        for n in 0..DRIVES as u32 {
            cx.drive(n).into_iter().for_each(|d| d.cancel());
        }
        self.set_interrupt(cx, false);
        self.phase = Phase::Command(Vec::new());
        self.status0 = 0;
        if !self.locked {
            (self.configuration, self.precompensation) = (0x60, 0);
        }
        self.perpendicular = 0;
    }
    /// The end of a reset: the drives have been polled, which is told by an interrupt.
    fn poll(&mut self, cx: &mut Cx<'_>) {
        self.polled = 4;
        self.status0 = st0::READY_CHANGED;
        self.set_interrupt(cx, true);
    }
    fn in_reset(&self) -> bool {
        self.output & bits::NOT_RESET == 0
    }
    fn main_status(&self) -> u8 {
        match &self.phase {
            _ if self.in_reset() => 0,
            Phase::Command(bytes) if bytes.is_empty() => bits::REQUEST,
            Phase::Command(_) => bits::REQUEST | bits::BUSY,
            Phase::Execution(t) => bits::BUSY | t.status(),
            Phase::Result(..) => bits::REQUEST | bits::TO_HOST | bits::BUSY,
        }
    }
    fn read_data(&mut self, cx: &mut Cx<'_>) -> u8 {
        match &mut self.phase {
            Phase::Result(bytes, at) => {
                let byte = bytes[*at];
                *at += 1;
                if *at == bytes.len() {
                    self.phase = Phase::Command(Vec::new());
                    self.set_interrupt(cx, false);
                }
                byte
            }
            Phase::Execution(_) => self.give_byte(cx),
            Phase::Command(_) => {
                cx.guest_error(format_args!("read of data when there are none"));
                0
            }
        }
    }
    fn write_data(&mut self, cx: &mut Cx<'_>, byte: u8) {
        match &mut self.phase {
            _ if self.output & bits::NOT_RESET == 0 => cx.guest_error(format_args!("command while it is reset")),
            Phase::Command(bytes) => {
                bytes.push(byte);
                if bytes.len() > command::parameters(bytes[0]) {
                    let bytes = std::mem::take(bytes);
                    self.execute(cx, &bytes);
                }
            }
            Phase::Execution(_) => self.take_byte(cx, byte),
            Phase::Result(..) => cx.guest_error(format_args!("command before the result of the last one was read")),
        }
    }
}

impl Device for FdcDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self {
            drives,
            dma: _,
            irq: _,
            phase,
            output,
            tape,
            rate,
            interrupt,
            status0,
            polled,
            timers,
            configuration,
            precompensation,
            perpendicular,
            locked,
            last_sector,
        } = self;
        let registers = (
            output,
            tape,
            rate,
            interrupt,
            status0,
            timers,
            configuration,
            precompensation,
            perpendicular,
            locked,
            last_sector,
        );
        let controller =
            Saved::of(registers).and(Saved::sound(polled, |n| *n <= 4)).and(Saved::sound(phase, Phase::is_sound));
        drives.iter_mut().flatten().map(Drive::saved).fold(controller, Saved::and).version(1)
    }
    fn loaded(&mut self, _cx: &mut Cx<'_>) {
        self.drives.iter_mut().flatten().for_each(Drive::look);
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8) -> u64 {
        let v = match offset + if region == LAST { LAST_PORT } else { FIRST_PORT } {
            // The two reserved bits, the drive that is selected, and the motors.
            register::STATUS_B => 0xc0 | (self.output & 1) << 5 | self.output >> 4 & 3,
            register::DIGITAL_OUTPUT => self.output,
            register::TAPE_DRIVE => self.tape,
            register::MAIN_STATUS => self.main_status(),
            register::DATA => self.read_data(cx),
            register::DIGITAL_INPUT => {
                let n = self.selected();
                // As in QEMU where there is no drive.
                if self.drive(n).is_none_or(|d| d.changed) { bits::CHANGED } else { 0 }
            }
            _ => 0xff,
        };
        v.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8, value: u64) {
        let v = value as u8;
        match offset + if region == LAST { LAST_PORT } else { FIRST_PORT } {
            register::DIGITAL_OUTPUT => {
                let was = std::mem::replace(&mut self.output, v);
                match (was & bits::NOT_RESET != 0, v & bits::NOT_RESET != 0) {
                    (true, false) => self.reset_core(cx),
                    (false, true) => self.poll(cx),
                    _ => {}
                }
            }
            register::TAPE_DRIVE => self.tape = v & 3,
            register::MAIN_STATUS => {
                self.rate = v & bits::RATE;
                if v & bits::SOFTWARE_RESET != 0 && !self.in_reset() {
                    self.reset_core(cx);
                    self.poll(cx);
                }
            }
            register::DATA => self.write_data(cx, v),
            register::DIGITAL_INPUT => self.rate = v & bits::RATE,
            _ => {}
        }
    }
    /// The DMA channel can be used.
    fn pin(&mut self, cx: &mut Cx<'_>, _index: u32, level: bool) {
        if level {
            self.go_on(cx);
        }
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, tag: u32) {
        while let Some(done) = cx.drive(tag).and_then(|d| d.completed()) {
            self.completed(cx, done);
        }
    }
    fn medium(&mut self, _cx: &mut Cx<'_>, tag: u32, _event: MediumEvent) {
        if let Some(drive) = self.drive(tag as usize) {
            drive.look();
            drive.changed = true;
        }
    }
    fn plugged(&mut self, _cx: &mut Cx<'_>, _bus: &str, part: Box<dyn Any + Send>) -> Result<(), String> {
        let part = part.downcast::<Part>().map_err(|_| "only floppy drives go there".to_owned())?;
        self.drives[part.unit % DRIVES] = Some(part.drive);
        Ok(())
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.locked = false;
        self.reset_core(cx);
        (self.output, self.rate, self.tape, self.polled) = (bits::NOT_RESET | bits::DMA, START_RATE, 0, 0);
        self.drives.iter_mut().flatten().for_each(|d| (d.track, d.head) = (0, 0));
    }
}
