//! The commands of a CD-ROM drive: the few of ATA, and those that come in packets (SFF-8020i; MMC-3, clause 6).

use super::drive::{Drive, Kind, PACKET, Phase, Purpose, Transfer};
use super::registers::{command, reason, status};
use super::sense::Sense;
use gearbox_core::backend::block::{IoError, MediumEvent, Request};
use serde::{Deserialize, Serialize};

/// User data of a sector.
const SECTOR: u64 = 2048;
/// A whole sector as READ CD gives it.
const RAW: u64 = 2352;
/// Sectors of 80 minutes: a medium with more is a DVD.
const MOST_OF_CD: u64 = 80 * 60 * 75;

/// Packet commands.
#[rustfmt::skip]
mod packet {
    pub(super) const TEST_UNIT_READY: u8 = 0x00;
    pub(super) const REQUEST_SENSE: u8 = 0x03;
    pub(super) const INQUIRY: u8 = 0x12;
    pub(super) const START_STOP_UNIT: u8 = 0x1b;
    pub(super) const PREVENT_ALLOW: u8 = 0x1e;
    pub(super) const READ_CAPACITY: u8 = 0x25;
    pub(super) const READ_10: u8 = 0x28;
    pub(super) const SEEK_10: u8 = 0x2b;
    pub(super) const READ_TOC: u8 = 0x43;
    pub(super) const GET_CONFIGURATION: u8 = 0x46;
    pub(super) const GET_EVENT_STATUS: u8 = 0x4a;
    pub(super) const READ_DISC_INFORMATION: u8 = 0x51;
    pub(super) const MODE_SENSE_10: u8 = 0x5a;
    pub(super) const READ_12: u8 = 0xa8;
    pub(super) const SET_CD_SPEED: u8 = 0xbb;
    pub(super) const MECHANISM_STATUS: u8 = 0xbd;
    pub(super) const READ_CD: u8 = 0xbe;
}
/// Those that are carried out even if the medium has changed.
const ALWAYS: [u8; 4] = [packet::REQUEST_SENSE, packet::INQUIRY, packet::GET_CONFIGURATION, packet::GET_EVENT_STATUS];
/// Those that need a medium.
const NEED_MEDIUM: [u8; 8] = [
    packet::TEST_UNIT_READY,
    packet::READ_CAPACITY,
    packet::READ_10,
    packet::SEEK_10,
    packet::READ_TOC,
    packet::READ_DISC_INFORMATION,
    packet::READ_12,
    packet::READ_CD,
];
/// Those without data, which say nothing about the length of a block.
const NO_DATA: [u8; 5] =
    [packet::TEST_UNIT_READY, packet::START_STOP_UNIT, packet::PREVENT_ALLOW, packet::SEEK_10, packet::SET_CD_SPEED];

/// What the drive has to tell of a change of its medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Change {
    #[default]
    None,
    /// First that there was none,
    Removed,
    /// then that there is a new one. So those notice it who do not ask for events.
    Inserted,
}

/// What a CD-ROM drive has besides its registers.
#[derive(Serialize, Deserialize)]
pub(super) struct Cdrom {
    sense: Sense,
    change: Change,
    /// Events that nobody has asked for yet.
    new_medium: bool,
    eject_request: bool,
    /// Data go by the bus master.
    dma: bool,
    /// The read that is under way: its first sector, and bytes of a sector.
    first: u64,
    frame: u64,
}

impl Default for Cdrom {
    fn default() -> Self {
        Self {
            sense: Sense::default(),
            change: Change::None,
            new_medium: false,
            eject_request: false,
            dma: false,
            first: 0,
            frame: SECTOR,
        }
    }
}

impl Cdrom {
    /// Can a drive be like this?
    pub(super) fn is_sound(&self) -> bool {
        self.first <= u64::from(u32::MAX) && [SECTOR, RAW].contains(&self.frame)
    }
    pub(super) fn reset(&mut self) {
        (self.sense, self.change) = (Sense::default(), Change::None);
        (self.new_medium, self.eject_request) = (false, false);
    }
    /// The request for up to `bytes` from `at` of the read that is under way, in whole sectors.
    pub(super) fn fetch(&self, at: u64, bytes: usize) -> Option<Request> {
        let sectors = bytes as u64 / self.frame;
        let first = self.first + at / self.frame;
        (sectors > 0).then(|| Request::read(0, first * SECTOR, (sectors * SECTOR) as usize))
    }
    /// Makes whole sectors of user data, if they were asked for (ECMA-130, 14: mode 1). There is no error correction.
    pub(super) fn frame(&self, at: u64, data: &mut Vec<u8>) {
        const SYNC: [u8; 12] = [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        const MODE_1: u8 = 1;
        if self.frame != RAW {
            return;
        }
        let first = self.first + at / RAW;
        let sectors = data.chunks(SECTOR as usize).zip(first..).flat_map(|(user, lba)| {
            let header = msf(lba).map(|n| (n / 10) << 4 | (n % 10));
            let mut sector = [&SYNC[..], &header, &[MODE_1], user].concat();
            sector.resize(RAW as usize, 0);
            sector
        });
        *data = sectors.collect();
    }
}

/// A sector's address in minutes, seconds and frames.
fn msf(lba: u64) -> [u8; 3] {
    let n = lba + 150;
    [(n / 75 / 60) as u8, (n / 75 % 60) as u8, (n % 75) as u8]
}

fn big_endian(b: &[u8]) -> u64 {
    b.iter().fold(0, |n, &b| n << 8 | u64::from(b))
}

impl Drive {
    fn cdrom(&mut self) -> Option<&mut Cdrom> {
        if let Kind::Cdrom(cdrom) = &mut self.kind { Some(cdrom) } else { None }
    }
    /// Sectors of the medium, if there is one and the tray is closed.
    fn medium(&self) -> Option<u64> {
        let backend = self.backend.as_ref().filter(|b| !b.tray_open())?;
        backend.medium().map(|m| m.size() / SECTOR).filter(|n| *n > 0)
    }
    pub(super) fn medium_event(&mut self, event: MediumEvent) {
        let Some(cdrom) = self.cdrom() else { return };
        match event {
            MediumEvent::Changed { loaded } => {
                cdrom.change = if loaded { Change::Removed } else { Change::None };
                cdrom.new_medium = loaded;
                cdrom.eject_request = false;
            }
            MediumEvent::EjectRequest { .. } => cdrom.eject_request = true,
            MediumEvent::Resized => {}
        }
    }

    pub(super) fn cdrom_command(&mut self, code: u8) {
        match code {
            command::PACKET => {
                let dma = self.regs.feature.now & 1 != 0;
                if let Some(cdrom) = self.cdrom() {
                    cdrom.dma = dma;
                }
                (self.buffer, self.at) = (vec![0; PACKET], 0);
                self.phase = Phase::Packet;
                self.regs.status = status::READY | status::DRQ;
                self.regs.count.now = self.regs.count.now & !7 | reason::CD;
            }
            command::DEVICE_RESET => {
                self.stop();
                self.signature();
            }
            command::IDENTIFY_PACKET => {
                let words = self.identify_cdrom();
                self.reply(words);
            }
            // By what these leave in the registers drivers know that this is no disk (8.15.5.2).
            command::IDENTIFY | command::READ_SECTORS => {
                self.signature();
                self.abort();
            }
            code => self.common_command(code),
        }
    }

    /// A packet command is done.
    pub(super) fn packet_done(&mut self) {
        self.done();
        self.regs.count.now = self.regs.count.now & !7 | reason::IO | reason::CD;
    }
    fn refuse(&mut self, sense: Sense) {
        self.stop();
        if let Some(cdrom) = self.cdrom() {
            cdrom.sense = sense;
        }
        self.regs.error = sense.key << 4;
        self.regs.status = status::DRDY | status::ERR;
        self.regs.count.now = self.regs.count.now & !7 | reason::IO | reason::CD;
        self.interrupt = true;
    }
    pub(super) fn packet_failed(&mut self, error: &IoError) {
        self.refuse(match error {
            IoError::NoMedium => Sense::NO_MEDIUM,
            IoError::OutOfRange => Sense::OUT_OF_RANGE,
            _ => Sense::UNREADABLE,
        });
    }

    /// The packet is there.
    pub(super) fn packet(&mut self) {
        let bytes = std::mem::take(&mut self.buffer);
        self.at = 0;
        let Ok(p) = <[u8; PACKET]>::try_from(bytes) else { return };
        self.phase = Phase::Idle;
        let limit = u16::from_le_bytes([self.regs.lba_mid.now, self.regs.lba_high.now]);
        let medium = self.medium();
        let Some(cdrom) = self.cdrom() else { return };
        let always = ALWAYS.contains(&p[0]);
        if cdrom.sense.is_attention() && !always {
            let sense = cdrom.sense;
            return self.refuse(sense);
        }
        if !always && medium.is_some() && cdrom.change != Change::None {
            let (sense, next) = match cdrom.change {
                Change::Removed => (Sense::NO_MEDIUM, Change::Inserted),
                _ => (Sense::MEDIUM_CHANGED, Change::None),
            };
            cdrom.change = next;
            return self.refuse(sense);
        }
        if NEED_MEDIUM.contains(&p[0]) && medium.is_none() {
            return self.refuse(Sense::NO_MEDIUM);
        }
        if !cdrom.dma && limit == 0 && !NO_DATA.contains(&p[0]) {
            return self.abort();
        }
        if p[0] != packet::REQUEST_SENSE && !cdrom.sense.is_attention() {
            cdrom.sense = Sense::default();
        }
        self.carry_out(p, medium.unwrap_or(0));
    }
    fn carry_out(&mut self, p: [u8; PACKET], total: u64) {
        match p[0] {
            packet::TEST_UNIT_READY | packet::SET_CD_SPEED => self.packet_done(),
            packet::REQUEST_SENSE => self.request_sense(p[4]),
            packet::INQUIRY => self.inquiry(&p),
            packet::START_STOP_UNIT => self.start_stop(p[4]),
            packet::PREVENT_ALLOW => {
                if let Some(backend) = &self.backend {
                    backend.set_locked(p[4] & 1 != 0);
                }
                self.packet_done();
            }
            packet::READ_CAPACITY => {
                let mut reply = ((total - 1) as u32).to_be_bytes().to_vec();
                reply.extend((SECTOR as u32).to_be_bytes());
                self.packet_reply(reply, 8);
            }
            packet::SEEK_10 => match big_endian(&p[2..6]) < total {
                true => self.packet_done(),
                false => self.refuse(Sense::OUT_OF_RANGE),
            },
            packet::READ_10 => self.read(big_endian(&p[2..6]), big_endian(&p[7..9]), SECTOR, total),
            packet::READ_12 => self.read(big_endian(&p[2..6]), big_endian(&p[6..10]), SECTOR, total),
            packet::READ_CD => match p[9] & 0xf8 {
                0 => self.packet_done(),
                0x10 => self.read(big_endian(&p[2..6]), big_endian(&p[6..9]), SECTOR, total),
                0xf8 => self.read(big_endian(&p[2..6]), big_endian(&p[6..9]), RAW, total),
                _ => self.refuse(Sense::INVALID_FIELD),
            },
            packet::READ_TOC => match toc(&p, total) {
                Some(reply) => self.packet_reply(reply, big_endian(&p[7..9])),
                None => self.refuse(Sense::INVALID_FIELD),
            },
            packet::GET_CONFIGURATION => self.get_configuration(&p),
            packet::GET_EVENT_STATUS => self.get_event_status(&p),
            packet::READ_DISC_INFORMATION => match p[1] & 7 {
                // A complete disc with one session of one track.
                0 => {
                    let mut reply = vec![0, 32, 0x0e, 1, 1, 1, 1, 0x20];
                    reply.resize(34, 0);
                    self.packet_reply(reply, big_endian(&p[7..9]));
                }
                _ => self.refuse(Sense::INVALID_FIELD),
            },
            packet::MODE_SENSE_10 => self.mode_sense(&p),
            packet::MECHANISM_STATUS => self.packet_reply(vec![0, 0, 0, 0, 0, 1, 0, 0], big_endian(&p[8..10])),
            _ => self.refuse(Sense::UNKNOWN_COMMAND),
        }
    }

    /// Sends a reply, or as much of it as the host wants.
    fn packet_reply(&mut self, mut data: Vec<u8>, most: u64) {
        data.truncate(most as usize);
        if data.is_empty() {
            return self.packet_done();
        }
        let left = data.len() as u64;
        self.buffer = data;
        self.send(Purpose::Reply, left);
    }
    fn send(&mut self, purpose: Purpose, left: u64) {
        let dma = self.cdrom().is_some_and(|c| c.dma);
        let limit = u16::from_le_bytes([self.regs.lba_mid.now, self.regs.lba_high.now]);
        // An odd limit is for the last block only, and 0xffff stands for 0xfffe.
        let block = usize::from(limit & !1).max(1);
        let block = if limit == 1 { 1 } else { block };
        self.begin(Transfer { purpose, write: false, dma, packet: true, ext: false, at: 0, left, block });
    }
    fn read(&mut self, first: u64, count: u64, frame: u64, total: u64) {
        if first.checked_add(count).is_none_or(|end| end > total) {
            return self.refuse(Sense::OUT_OF_RANGE);
        }
        if count == 0 {
            return self.packet_done();
        }
        if let Some(cdrom) = self.cdrom() {
            (cdrom.first, cdrom.frame) = (first, frame);
        }
        self.send(Purpose::Medium, count * frame);
    }

    fn request_sense(&mut self, most: u8) {
        let Some(cdrom) = self.cdrom() else { return };
        let sense = std::mem::take(&mut cdrom.sense);
        self.packet_reply(sense.bytes(), most.into());
    }
    /// Standard data, or the pages with the names of the drive (SPC-2, 8.4).
    fn inquiry(&mut self, p: &[u8; PACKET]) {
        const CDROM: u8 = 5;
        let (evpd, page, most) = (p[1] & 1 != 0, p[2], big_endian(&p[3..5]));
        let serial = self.identity.serial.clone();
        let padded = |text: &str, n: usize| text.bytes().chain(std::iter::repeat(b' ')).take(n).collect::<Vec<_>>();
        let reply = match (evpd, page) {
            (false, 0) => {
                let version = self.identity.version.clone();
                // Removable; no standard in particular; the format of SFF-8020i.
                let head = vec![CDROM, 0x80, 0x00, 0x21, 31, 0, 0, 0];
                [head, padded("QEMU", 8), padded("QEMU DVD-ROM", 16), padded(&version, 4)].concat()
            }
            (true, 0x00) => vec![CDROM, 0x00, 0, 2, 0x00, 0x83],
            (true, 0x83) => {
                let id = padded(&serial, 20);
                [vec![CDROM, 0x83, 0, 24, 0x02, 0x00, 0, 20], id].concat()
            }
            _ => return self.refuse(Sense::INVALID_FIELD),
        };
        self.packet_reply(reply, most);
    }
    fn start_stop(&mut self, flags: u8) {
        let (start, load_eject, power) = (flags & 1 != 0, flags & 2 != 0, flags & 0xf0 != 0);
        let Some(backend) = self.backend.clone().filter(|_| load_eject && !power) else { return self.packet_done() };
        if !start && !backend.tray_open() && backend.locked() {
            return self.refuse(Sense::locked(backend.medium().is_some()));
        }
        self.tray = Some(!start);
        self.packet_done();
    }
    /// Features (MMC-3, 5.3): the profiles, the core, the removable medium.
    fn get_configuration(&mut self, p: &[u8; PACKET]) {
        const DVD_ROM: u16 = 0x10;
        const CD_ROM: u16 = 0x08;
        let (kind, first, most) = (p[1] & 3, big_endian(&p[2..4]) as u16, big_endian(&p[7..9]));
        if kind == 3 {
            return self.refuse(Sense::INVALID_FIELD);
        }
        let current = self.medium().map_or(0, |n| if n > MOST_OF_CD { DVD_ROM } else { CD_ROM });
        let profile = |n: u16| [n.to_be_bytes()[0], n.to_be_bytes()[1], u8::from(n == current), 0];
        // (feature, version with persistent and current, data)
        let features = [
            (0u16, 0x03, [profile(DVD_ROM), profile(CD_ROM)].concat()),
            (1, 0x0b, vec![0, 0, 0, 2, 1, 0, 0, 0]), // ATAPI
            (3, 0x03, vec![0x39, 0, 0, 0]),          // a tray that ejects, loads and locks
        ];
        let mut reply = vec![0; 6];
        reply.extend(current.to_be_bytes());
        let wanted = |feature: u16| if kind == 2 { feature == first } else { feature >= first };
        for (feature, flags, data) in features.iter().filter(|f| wanted(f.0)) {
            reply.extend(feature.to_be_bytes());
            reply.extend([*flags, data.len() as u8]);
            reply.extend(data);
        }
        let length = (reply.len() - 4) as u32;
        reply[..4].copy_from_slice(&length.to_be_bytes());
        self.packet_reply(reply, most);
    }
    /// Events of the medium, for those who poll (MMC-3, 6.7).
    fn get_event_status(&mut self, p: &[u8; PACKET]) {
        const MEDIA: u8 = 4;
        let (polled, classes, most) = (p[1] & 1 != 0, p[4], big_endian(&p[7..9]));
        if !polled {
            return self.refuse(Sense::INVALID_FIELD);
        }
        if classes & 1 << MEDIA == 0 {
            // No event available.
            return self.packet_reply(vec![0, 2, 0x80, 1 << MEDIA], most);
        }
        let tray = self.backend.as_ref().is_some_and(|b| b.tray_open());
        let medium = self.medium().is_some();
        let Some(cdrom) = self.cdrom() else { return };
        let event = if std::mem::take(&mut cdrom.new_medium) {
            2
        } else if std::mem::take(&mut cdrom.eject_request) {
            1
        } else {
            0
        };
        let state = u8::from(tray) | u8::from(medium) << 1;
        self.packet_reply(vec![0, 6, MEDIA, 1 << MEDIA, event, state, 0, 0], most);
    }
    /// Mode pages (MMC-3, 5.5).
    fn mode_sense(&mut self, p: &[u8; PACKET]) {
        /// Kilobytes per second at four times the speed.
        const SPEED: [u8; 2] = 706u16.to_be_bytes();
        const SAVED: u8 = 3;
        const CHANGEABLE: u8 = 1;
        let (control, page, most) = (p[2] >> 6, p[2] & 0x3f, big_endian(&p[7..9]));
        if control == SAVED {
            return self.refuse(Sense::NOT_SAVED);
        }
        let locked = self.backend.as_ref().is_some_and(|b| b.locked());
        // A tray that ejects, and locks.
        let tray = 0x29 | u8::from(locked) << 1;
        let mut data = match page {
            0x01 => vec![0x01, 6, 0, 5, 0, 0, 0, 0],
            0x0e => vec![0x0e, 14, 4, 0, 0, 0, 0, 0, 1, 0xff, 2, 0xff, 0, 0, 0, 0],
            0x2a => vec![
                0x2a, 20, 0x3b, 0, 0x70, 0x60, tray, 0, SPEED[0], SPEED[1], 0, 2, 2, 0, SPEED[0], SPEED[1], 0, 0, 0, 0,
                0, 0,
            ],
            _ => return self.refuse(Sense::INVALID_FIELD),
        };
        if control == CHANGEABLE {
            // Nothing is.
            data[2..].fill(0);
        }
        let medium_type = if self.medium().is_some() { 0x01 } else { 0x70 };
        let mut reply = ((data.len() + 6) as u16).to_be_bytes().to_vec();
        reply.extend([medium_type, 0, 0, 0, 0, 0]);
        reply.extend(data);
        self.packet_reply(reply, most);
    }
}

/// The table of contents of a disc with one track of data (MMC-3, 6.26).
fn toc(p: &[u8; PACKET], total: u64) -> Option<Vec<u8>> {
    /// Adr 1, data track, digital copy prohibited.
    const DATA: u8 = 0x14;
    const LEAD_OUT: u8 = 0xaa;
    let (in_msf, track) = (p[1] & 2 != 0, p[6]);
    // Older drives have the format in the last byte.
    let format = if p[2] & 0x0f != 0 { p[2] & 0x0f } else { p[9] >> 6 };
    let address = |lba: u64| match in_msf {
        true => {
            let [m, s, f] = msf(lba);
            [0, m, s, f]
        }
        false => (lba as u32).to_be_bytes(),
    };
    let mut reply = vec![0, 0, 1, 1];
    match format {
        0 => {
            if track > 1 && track != LEAD_OUT {
                return None;
            }
            if track <= 1 {
                reply.extend([0, DATA, 1, 0]);
                reply.extend(address(0));
            }
            reply.extend([0, DATA | 2, LEAD_OUT, 0]);
            reply.extend(address(total));
        }
        // The one session begins with track 1.
        1 => {
            reply.extend([0, DATA, 1, 0]);
            reply.extend(address(0));
        }
        2 => {
            // (point, minutes, seconds, frames)
            let points = [(0xa0, [1, 0, 0]), (0xa1, [1, 0, 0]), (0xa2, msf(total)), (1, msf(0))];
            for (point, at) in points {
                reply.extend([1, DATA, 0, point, 0, 0, 0, 0]);
                reply.extend(at);
            }
        }
        _ => return None,
    }
    let length = (reply.len() - 2) as u16;
    reply[..2].copy_from_slice(&length.to_be_bytes());
    Some(reply)
}
