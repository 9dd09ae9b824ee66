//! Commands that move no data (290468, clause 5), and the table of all.

use super::transfer::Kind;
use super::{FdcDevice, bits, st0};
use gearbox_core::board::Cx;

/// A command: its code, which bits of the first byte are the code, parameters that follow, and what is done.
struct Command {
    code: u8,
    mask: u8,
    parameters: usize,
    run: fn(&mut FdcDevice, &mut Cx<'_>, &[u8]),
}

const fn command(code: u8, mask: u8, parameters: usize, run: fn(&mut FdcDevice, &mut Cx<'_>, &[u8])) -> Command {
    Command { code, mask, parameters, run }
}

/// The number that VERSION gives: an enhanced controller; and that of PART ID.
const VERSION: u8 = 0x90;
const PART: u8 = 0x41;

static COMMANDS: [Command; 22] = [
    command(0x06, 0x1f, 8, |f, cx, p| f.start(cx, p, Kind::Read)),
    command(0x0c, 0x1f, 8, |f, cx, p| f.start(cx, p, Kind::Read)),
    command(0x02, 0x9f, 8, |f, cx, p| f.start(cx, p, Kind::Read)),
    command(0x05, 0x3f, 8, |f, cx, p| f.start(cx, p, Kind::Write)),
    command(0x09, 0x3f, 8, |f, cx, p| f.start(cx, p, Kind::Write)),
    command(0x16, 0x1f, 8, |f, cx, p| f.start(cx, p, Kind::Verify)),
    command(0x0d, 0xbf, 5, |f, cx, p| f.start_format(cx, p)),
    command(0x0a, 0xbf, 1, |f, cx, p| f.read_id(cx, p)),
    command(0x0f, 0xff, 2, |f, cx, p| f.seek(cx, p[1], |_| p[2])),
    command(0x07, 0xff, 1, |f, cx, p| f.seek(cx, p[1] & bits::DRIVE, |_| 0)),
    command(0x8f, 0xff, 2, |f, cx, p| f.seek(cx, p[1], |track| track.saturating_sub(p[2]))),
    command(0xcf, 0xff, 2, |f, cx, p| f.seek(cx, p[1], |track| track.saturating_add(p[2]))),
    command(0x08, 0xff, 0, |f, cx, _| f.sense_interrupt(cx)),
    command(0x04, 0xff, 1, |f, cx, p| f.sense_drive(cx, p)),
    command(0x03, 0xff, 2, |f, cx, p| f.specify(cx, p)),
    command(0x12, 0xff, 1, |f, cx, p| {
        if p[1] & 0x80 != 0 {
            f.perpendicular = p[1] & 0x3f;
        }
        f.finish(cx, &[], false);
    }),
    command(0x13, 0xff, 3, |f, cx, p| {
        (f.configuration, f.precompensation) = (p[2], p[3]);
        f.finish(cx, &[], false);
    }),
    command(0x17, 0xff, 1, |f, cx, p| f.finish(cx, &[p[1]], false)),
    command(0x14, 0x7f, 0, |f, cx, p| {
        f.locked = p[0] & 0x80 != 0;
        let locked = u8::from(f.locked) << 4;
        f.finish(cx, &[locked], false);
    }),
    command(0x0e, 0xff, 0, |f, cx, _| f.dump_registers(cx)),
    command(0x10, 0xff, 0, |f, cx, _| f.finish(cx, &[VERSION], false)),
    command(0x18, 0xff, 0, |f, cx, _| f.finish(cx, &[PART], false)),
];

/// Bytes of a command or of a result, at most.
pub(super) const MOST_BYTES: usize = 10;

fn find(first: u8) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| first & c.mask == c.code)
}

/// How many parameters follow the first byte of a command.
pub(super) fn parameters(first: u8) -> usize {
    find(first).map_or(0, |c| c.parameters)
}

impl FdcDevice {
    /// Carries a command out; its bytes are all there.
    pub(super) fn execute(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        match find(bytes[0]) {
            Some(command) => (command.run)(self, cx, bytes),
            None => {
                cx.guest_error(format_args!("unknown command {:#04x}", bytes[0]));
                self.finish(cx, &[st0::INVALID], false);
            }
        }
    }
    /// Selects the drive and head that a parameter names; its number.
    pub(super) fn select(&mut self, parameter: u8) -> usize {
        self.output = self.output & !bits::DRIVE | parameter & bits::DRIVE;
        let n = self.selected();
        if let Some(drive) = self.drive(n) {
            drive.head = parameter >> 2 & 1;
        }
        n
    }
    /// Status register 0 with drive and head.
    pub(super) fn status0(&mut self, status: u8) -> u8 {
        let n = self.selected();
        let head = self.drive(n).map_or(0, |d| d.head);
        status | head << 2 | n as u8
    }
    fn seek(&mut self, cx: &mut Cx<'_>, parameter: u8, to: impl FnOnce(u8) -> u8) {
        let n = self.select(parameter);
        let there = self.drive(n).map(|drive| drive.seek(to(drive.track))).is_some();
        // A drive that is not there never says that its heads are at track 0.
        self.status0 = st0::SEEK_END | if there { 0 } else { st0::ABNORMAL };
        self.finish(cx, &[], true);
    }
    fn sense_interrupt(&mut self, cx: &mut Cx<'_>) {
        let n = self.selected();
        let status = if self.polled > 0 {
            self.polled -= 1;
            st0::READY_CHANGED | (3 - self.polled)
        } else if !self.interrupt {
            return self.finish(cx, &[st0::INVALID], false);
        } else {
            std::mem::replace(&mut self.status0, st0::READY_CHANGED) | n as u8
        };
        let track = self.drive(n).map_or(0, |d| d.track);
        self.set_interrupt(cx, false);
        self.finish(cx, &[status, track], false);
    }
    fn sense_drive(&mut self, cx: &mut Cx<'_>, p: &[u8]) {
        /// Ready, two sides; write-protected; at track 0.
        const FIXED: u8 = 0x28;
        const PROTECTED: u8 = 0x40;
        const TRACK_0: u8 = 0x10;
        let n = self.select(p[1]);
        let status = self.drive(n).map_or(0, |d| {
            let at = |condition, bit| if condition { bit } else { 0 };
            at(d.read_only(), PROTECTED) | at(d.track == 0, TRACK_0) | d.head << 2
        });
        self.finish(cx, &[FIXED | status | n as u8], false);
    }
    fn specify(&mut self, cx: &mut Cx<'_>, p: &[u8]) {
        /// The second parameter's: data go through the data register.
        const NON_DMA: u8 = 1;
        self.timers = [p[1], p[2] >> 1];
        self.output = if p[2] & NON_DMA == 0 { self.output | bits::DMA } else { self.output & !bits::DMA };
        self.finish(cx, &[], false);
    }
    fn dump_registers(&mut self, cx: &mut Cx<'_>) {
        let track = |d: &Option<super::media::Drive>| d.as_ref().map_or(0, |d| d.track);
        let [a, b] = self.drives.each_ref().map(track);
        let dma = self.timers[1] << 1 | u8::from(self.output & bits::DMA != 0);
        let lock = u8::from(self.locked) << 7 | self.perpendicular << 2;
        let result =
            [a, b, 0, 0, self.timers[0], dma, self.last_sector, lock, self.configuration, self.precompensation];
        self.finish(cx, &result, false);
    }
}
