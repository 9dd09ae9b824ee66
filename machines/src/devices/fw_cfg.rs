//! QEMU's firmware configuration device: named items that the board hands to firmware and operating system, by ports or by DMA.
//!
//! Source: QEMU, docs/specs/fw_cfg.

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, FirmwareFile, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{TypeEntry, TypeInfo};
use gearbox_core::pci::PciBus;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys of the items that are no files.
pub mod key {
    #![allow(missing_docs)]
    pub const SIGNATURE: u16 = 0x00;
    pub const ID: u16 = 0x01;
    pub const UUID: u16 = 0x02;
    pub const RAM_SIZE: u16 = 0x03;
    pub const NOGRAPHIC: u16 = 0x04;
    pub const NB_CPUS: u16 = 0x05;
    pub const KERNEL_ADDR: u16 = 0x07;
    pub const KERNEL_SIZE: u16 = 0x08;
    pub const INITRD_ADDR: u16 = 0x0a;
    pub const INITRD_SIZE: u16 = 0x0b;
    pub const BOOT_MENU: u16 = 0x0e;
    pub const MAX_CPUS: u16 = 0x0f;
    pub const KERNEL_DATA: u16 = 0x11;
    pub const INITRD_DATA: u16 = 0x12;
    pub const CMDLINE_ADDR: u16 = 0x13;
    pub const CMDLINE_SIZE: u16 = 0x14;
    pub const CMDLINE_DATA: u16 = 0x15;
    pub const SETUP_ADDR: u16 = 0x16;
    pub const SETUP_SIZE: u16 = 0x17;
    pub const SETUP_DATA: u16 = 0x18;
    pub const FILE_DIR: u16 = 0x19;
    pub const FILE_FIRST: u16 = 0x20;
    /// Set in keys of items that belong to one architecture.
    pub const ARCH_LOCAL: u16 = 0x8000;
    pub const SMBIOS_ENTRIES: u16 = ARCH_LOCAL | 1;
    pub const IRQ0_OVERRIDE: u16 = ARCH_LOCAL | 2;
    pub const HPET: u16 = ARCH_LOCAL | 4;
}

/// Selector port (a word) and data port (bytes, from offset 1 on).
const PORT: u16 = 0x510;
/// DMA address port: two doublewords, most significant first, each big-endian.
const DMA_PORT: u16 = 0x514;
/// What the DMA address port reads as.
const DMA_SIGNATURE: u64 = u64::from_be_bytes(*b"QEMU CFG");
/// Revision item: the traditional interface, and DMA.
const FEATURES: u32 = 1 | 2;

/// Bits of the control field of a DMA descriptor.
mod dma {
    pub(super) const ERROR: u32 = 1 << 0;
    pub(super) const READ: u32 = 1 << 1;
    pub(super) const SKIP: u32 = 1 << 2;
    pub(super) const SELECT: u32 = 1 << 3;
    pub(super) const WRITE: u32 = 1 << 4;
}

/// Why an item cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// A file of this name exists.
    #[error("fw_cfg file '{0}' is there already")]
    Duplicate(String),
    /// 1 to 55 bytes are allowed.
    #[error("fw_cfg file name '{0}' is empty or longer than 55 bytes")]
    Name(String),
    /// The directory is full.
    #[error("there is no room for fw_cfg file '{0}'")]
    Full(String),
}

/// The items: a [`FwCfg`] to be, and what a [`FwCfgDevice`] serves.
#[derive(Clone, Default)]
pub struct FwCfg {
    plain: BTreeMap<u16, Arc<[u8]>>,
    /// By name: keys are given in the order of names, as QEMU does.
    files: BTreeMap<String, Arc<[u8]>>,
    /// What the boot order is made from, if there is one.
    boot: Option<BootList>,
    /// Those of the files that tell how firmware has set the board up, and who makes them.
    description: Option<(Vec<&'static str>, Describe)>,
}

/// Files with their names.
pub type Files = Vec<(&'static str, Vec<u8>)>;
/// Makes files of the board's state as firmware has made it.
pub type Describe = Arc<dyn Fn(&PciBus) -> Files + Send + Sync>;

/// What firmware is told to boot from, besides the devices that have a boot index.
#[derive(Clone, Debug, Default)]
pub struct BootList {
    /// ROMs with a boot index, by their Open Firmware paths.
    pub roms: Vec<(i32, String)>,
    /// It tries nothing else.
    pub strict: bool,
}

impl BootList {
    /// The item: one path in a line, in order, and a final zero; empty if there is none.
    fn item(&self, devices: &[(i32, &str)]) -> Vec<u8> {
        let roms = self.roms.iter().map(|(index, path)| (*index, path.as_str()));
        let mut all: Vec<_> = devices.iter().copied().chain(roms).collect();
        all.sort_by_key(|(index, _)| *index);
        let halt = (self.strict && !all.is_empty()).then_some("HALT");
        let lines: Vec<_> = all.into_iter().map(|(_, path)| path).chain(halt).collect();
        let mut text = lines.join("\n").into_bytes();
        if !text.is_empty() {
            text.push(0);
        }
        text
    }
}

/// What the board's devices have for firmware.
#[derive(Default)]
struct FromDevices<'a> {
    files: &'a [FirmwareFile],
    order: Vec<(i32, &'a str)>,
}

impl<'a> FromDevices<'a> {
    fn of(cx: &'a Cx<'_>) -> Self {
        Self { files: cx.firmware_files(), order: cx.boot_order().collect() }
    }
}

impl FwCfg {
    /// The file that is the boot order.
    const BOOT_ORDER: &'static str = "bootorder";
    /// Most files.
    const MOST_FILES: usize = 4096;
    /// Bytes of a name in the directory, the final zero included.
    const NAME_SIZE: usize = 56;

    /// No items but the signature and the revision.
    pub fn new() -> Self {
        let mut items = Self::default();
        items.set(key::SIGNATURE, *b"QEMU");
        items.set(key::ID, FEATURES.to_le_bytes());
        items
    }
    /// With these files, whose names must be valid.
    ///
    /// # Panics
    /// One is empty or longer than 55 bytes: an error in a board file.
    pub fn with_files(files: BTreeMap<String, Arc<[u8]>>) -> Self {
        assert!(files.keys().all(|n| !n.is_empty() && n.len() < Self::NAME_SIZE), "names of files fit the directory");
        Self { files, ..Self::new() }
    }
    /// Sets an item that is no file.
    pub fn set(&mut self, key: u16, bytes: impl Into<Arc<[u8]>>) {
        self.plain.insert(key, bytes.into());
    }
    /// An item that is no file.
    pub fn plain(&self, key: u16) -> Option<&[u8]> {
        self.plain.get(&key).map(|bytes| &**bytes)
    }
    /// Adds a file.
    ///
    /// # Errors
    /// The name is taken or none, or there are too many files.
    pub fn add_file(&mut self, name: &str, bytes: impl Into<Arc<[u8]>>) -> Result<(), ItemError> {
        if name.is_empty() || name.len() >= Self::NAME_SIZE {
            return Err(ItemError::Name(name.into()));
        }
        if self.files.contains_key(name) || (self.boot.is_some() && name == Self::BOOT_ORDER) {
            return Err(ItemError::Duplicate(name.into()));
        }
        if self.files.len() >= Self::MOST_FILES {
            return Err(ItemError::Full(name.into()));
        }
        self.files.insert(name.into(), bytes.into());
        Ok(())
    }
    /// Adds the files that `describe` has made. They are made anew when firmware selects one of them for the first time after a reset: it has set the board
    /// up by then, and knows their sizes, which stay (QEMU's `acpi_build_update`).
    ///
    /// # Errors
    /// As [`FwCfg::add_file`].
    pub fn add_description(&mut self, made: Files, describe: Describe) -> Result<(), ItemError> {
        let names = made.iter().map(|(name, _)| *name).collect();
        self.description = Some((names, describe));
        made.into_iter().try_for_each(|(name, bytes)| self.add_file(name, bytes))
    }
    /// Makes them anew if the key is that of one of them; says whether it is.
    fn describe(&mut self, key: u16, devices: &FromDevices<'_>, bus: &PciBus) -> bool {
        let Some((names, describe)) = &self.description else { return false };
        let number = key.checked_sub(key::FILE_FIRST).map(usize::from);
        let selected = number.and_then(|n| self.files(devices).into_keys().nth(n));
        if !selected.is_some_and(|name| names.contains(&name)) {
            return false;
        }
        let made = describe(bus).into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into()));
        self.files.extend(made);
        true
    }
    /// What firmware has seen of how it set the board up.
    fn saved(&mut self) -> Saved<'_> {
        let Self { plain: _, files, boot: _, description } = self;
        let names: Vec<&str> = description.iter().flat_map(|(names, _)| names.iter().copied()).collect();
        let made: Vec<Vec<u8>> = names.iter().filter_map(|name| files.get(*name)).map(|bytes| bytes.to_vec()).collect();
        let count = made.len();
        let put = move |made: Vec<Vec<u8>>| {
            files.extend(names.iter().map(|name| (*name).to_owned()).zip(made.into_iter().map(Into::into)));
        };
        Saved::via(made, move |made| made.len() == count, put)
    }
    /// Adds the file `bootorder`, which is made anew whenever firmware looks at it.
    pub fn set_boot_list(&mut self, list: BootList) {
        self.boot = Some(list);
    }
    /// All files, with those that devices have.
    fn files<'a>(&'a self, devices: &FromDevices<'a>) -> BTreeMap<&'a str, Item> {
        let plain = |bytes| Item { bytes, writable: None };
        let own = self.files.iter().map(|(name, bytes)| (name.as_str(), plain(bytes.clone())));
        let theirs = devices.files.iter();
        let theirs = theirs.map(|f| (f.name, Item { bytes: f.bytes.clone(), writable: f.writable.then_some(f.name) }));
        let order = self.boot.as_ref().map(|list| (Self::BOOT_ORDER, plain(list.item(&devices.order).into())));
        theirs.chain(own).chain(order).collect()
    }
    /// The item of a key.
    fn item(&self, key: u16, devices: &FromDevices<'_>) -> Item {
        let plain = |bytes| Item { bytes, writable: None };
        if key == key::FILE_DIR {
            return plain(directory(&self.files(devices)).into());
        }
        let file = key.checked_sub(key::FILE_FIRST).and_then(|n| self.files(devices).into_values().nth(n.into()));
        self.plain.get(&key).cloned().map(plain).or(file).unwrap_or_default()
    }
}

/// What a key stands for.
#[derive(Clone, Default)]
struct Item {
    bytes: Arc<[u8]>,
    /// A device's file to which firmware may write.
    writable: Option<&'static str>,
}

/// The directory: a big-endian count, then size, key, a reserved word and the name of each file.
fn directory(files: &BTreeMap<&str, Item>) -> Vec<u8> {
    let mut dir = (files.len() as u32).to_be_bytes().to_vec();
    for ((name, item), key) in files.iter().zip(key::FILE_FIRST..) {
        dir.extend((item.bytes.len() as u32).to_be_bytes());
        dir.extend(key.to_be_bytes());
        dir.extend([0; 2]);
        let mut field = [0; FwCfg::NAME_SIZE];
        field.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        dir.extend(field);
    }
    dir
}

/// The firmware configuration device.
pub struct FwCfgDevice {
    items: FwCfg,
    /// The item of the key that was selected last.
    key: u16,
    selected: Item,
    offset: usize,
    /// Firmware has seen how it set the board up, since the last reset.
    described: bool,
    /// DMA descriptor address as far as written.
    dma_high: u32,
}

const PORTS: u32 = 0;
const DMA: u32 = 1;

impl DeviceSpec for FwCfg {
    type Device = FwCfgDevice;
    type Pins = ();
    const TYPE: &'static str = "fw_cfg_io";

    fn realize(self, r: &mut Realize<'_>) -> Result<(FwCfgDevice, ()), RealizeError> {
        r.ports_wide(PORTS, "fwcfg", PORT, 2, 2);
        r.ports_wide(DMA, "fwcfg.dma", DMA_PORT, 8, 4);
        let selected = self.item(key::SIGNATURE, &FromDevices::default());
        Ok((FwCfgDevice { items: self, key: key::SIGNATURE, selected, offset: 0, described: false, dma_high: 0 }, ()))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<FwCfg>("fw_cfg", "firmware configuration")) }

impl FwCfgDevice {
    /// The items, to add to (firmware reads the directory anew whenever it selects it).
    pub fn items(&mut self) -> &mut FwCfg {
        &mut self.items
    }
    fn select(&mut self, cx: &Cx<'_>, key: u16) {
        self.described = self.described || self.items.describe(key, &FromDevices::of(cx), cx.pci_bus());
        (self.key, self.offset) = (key, 0);
        self.selected = self.items.item(key, &FromDevices::of(cx));
    }
    fn next_byte(&mut self) -> u8 {
        let byte = self.selected.bytes.get(self.offset).copied().unwrap_or(0);
        self.offset = self.offset.saturating_add(1);
        byte
    }

    /// Carries out the DMA descriptor at `addr`: control, length, address, all big-endian.
    fn transfer(&mut self, cx: &mut Cx<'_>, addr: u64) {
        let mut d = [0; 16];
        if cx.dma_read(addr, &mut d).is_err() {
            return;
        }
        let word = |n: usize| u32::from_be_bytes([d[n], d[n + 1], d[n + 2], d[n + 3]]);
        let (control, length) = (word(0), word(4));
        let target = u64::from(word(8)) << 32 | u64::from(word(12));
        if control & dma::SELECT != 0 {
            self.select(cx, (control >> 16) as u16);
        }
        let done = if control & dma::READ != 0 {
            self.copy_out(cx, target, length)
        } else if control & dma::WRITE != 0 {
            self.copy_in(cx, target, length)
        } else {
            if control & dma::SKIP != 0 {
                self.offset = self.offset.saturating_add(length as usize);
            }
            true
        };
        let status = if done { 0 } else { dma::ERROR };
        // The descriptor has just been read; if its page has become ROM since, nobody is left to tell.
        let _ = cx.dma_write(addr, &status.to_be_bytes());
    }
    /// Copies `length` bytes of the item to guest memory, zeros after its end.
    fn copy_out(&mut self, cx: &mut Cx<'_>, mut target: u64, length: u32) -> bool {
        const ZEROS: [u8; 4096] = [0; 4096];
        let item = self.selected.bytes.clone();
        let mut left = length as usize;
        while left > 0 {
            let rest = item.get(self.offset..).filter(|r| !r.is_empty()).unwrap_or(&ZEROS);
            let piece = &rest[..rest.len().min(left)];
            if cx.dma_write(target, piece).is_err() {
                return false;
            }
            self.offset = self.offset.saturating_add(piece.len());
            target = target.wrapping_add(piece.len() as u64);
            left -= piece.len();
        }
        true
    }
}

impl FwCfgDevice {
    /// Copies `length` bytes from guest memory to a device's file, which must have room for them.
    fn copy_in(&mut self, cx: &mut Cx<'_>, from: u64, length: u32) -> bool {
        let end = self.offset.checked_add(length as usize).filter(|&end| end <= self.selected.bytes.len());
        let (Some(name), Some(end)) = (self.selected.writable, end) else {
            cx.guest_error(format_args!("DMA write of {length} bytes to an item that does not take them"));
            return false;
        };
        let mut data = vec![0; length as usize];
        let done = cx.dma_read(from, &mut data).is_ok() && cx.write_firmware_file(name, self.offset, &data);
        if done {
            self.offset = end;
        }
        done
    }
}

impl Device for FwCfgDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { items, key, selected: _, offset, described, dma_high } = self;
        Saved::of((key, offset, described, dma_high)).and(items.saved()).version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        self.selected = self.items.item(self.key, &FromDevices::of(cx));
    }
    fn read(&mut self, _: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        match (region, size) {
            (PORTS, 1) => self.next_byte().into(),
            (PORTS, _) => 0,
            // The signature is big-endian: its first byte has the lowest address.
            _ => DMA_SIGNATURE.swap_bytes() >> (8 * (offset & 7)),
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        match (region, offset, size) {
            (PORTS, 0, 2) => self.select(cx, value as u16),
            (DMA, 0, 4) => self.dma_high = (value as u32).swap_bytes(),
            (DMA, 4, 4) => {
                let addr = u64::from(self.dma_high) << 32 | u64::from((value as u32).swap_bytes());
                self.dma_high = 0;
                self.transfer(cx, addr);
            }
            (PORTS, 1, 1) => cx.guest_error(format_args!("write to the data port, which is read-only")),
            _ => {}
        }
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        (self.dma_high, self.described) = (0, false);
        self.select(cx, key::SIGNATURE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    fn bench() -> Bench {
        let mut items = FwCfg::new();
        items.set(key::RAM_SIZE, (512u64 << 20).to_le_bytes());
        items.add_file("etc/b", *b"world").unwrap();
        items.add_file("etc/a", *b"hello").unwrap();
        let mut b = Bench::with_ram(0x10000);
        b.realize(items).unwrap();
        b
    }
    fn item<const N: usize>(b: &mut Bench, key: u16) -> [u8; N] {
        b.outw(0x510, key);
        std::array::from_fn(|_| b.inb(0x511))
    }
    /// Runs a descriptor at 0x100 and gives its control field afterwards.
    fn dma(b: &mut Bench, control: u32, length: u32, address: u64) -> u32 {
        let mut d = control.to_be_bytes().to_vec();
        d.extend(length.to_be_bytes());
        d.extend(address.to_be_bytes());
        b.write(0x100, &d);
        b.outl(0x518, 0x100u32.swap_bytes());
        b.readl(0x100).swap_bytes()
    }

    #[test]
    fn items_and_files_by_the_ports() {
        let mut b = bench();
        assert_eq!(item(&mut b, 0), *b"QEMU\0");
        assert_eq!(item(&mut b, 1), [3, 0, 0, 0]);
        assert_eq!(item(&mut b, 3), (512u64 << 20).to_le_bytes());
        assert_eq!(item(&mut b, 0x20), *b"hello\0\0");
        assert_eq!(item(&mut b, 0x21), *b"world");
        assert_eq!(item(&mut b, 0x22), [0]);
        let dir: [u8; 132] = item(&mut b, 0x19);
        assert_eq!(dir[..18], *b"\0\0\0\x02\0\0\0\x05\0\x20\0\0etc/a\0");
        assert_eq!(dir[68..82], *b"\0\0\0\x05\0\x21\0\0etc/b\0");
    }

    #[test]
    fn descriptions_are_made_anew_once_after_each_reset() {
        let mut items = FwCfg::new();
        items.add_file("etc/a", *b"a").unwrap();
        let times = std::sync::atomic::AtomicU8::new(0);
        let describe =
            move |_: &PciBus| vec![("etc/b", vec![times.fetch_add(1, std::sync::atomic::Ordering::Relaxed)])];
        items.add_description(vec![("etc/b", vec![9])], Arc::new(describe)).unwrap();
        let mut b = Bench::with_ram(0x10000);
        b.realize(items).unwrap();
        assert_eq!((item(&mut b, 0x20), item(&mut b, 0x21), item(&mut b, 0x21)), (*b"a", [0], [0]));
        b.reset();
        assert_eq!((item(&mut b, 0x20), item(&mut b, 0x21)), (*b"a", [1]));
    }

    #[test]
    fn names_are_checked() {
        let mut items = FwCfg::new();
        assert_eq!(items.add_file(&"x".repeat(56), []), Err(ItemError::Name("x".repeat(56))));
        items.add_file(&"x".repeat(55), []).unwrap();
        assert!(matches!(items.add_file(&"x".repeat(55), []), Err(ItemError::Duplicate(_))));
    }

    #[test]
    fn dma_reads_skips_and_refuses() {
        let mut b = bench();
        assert_eq!((b.inl(0x514), b.inl(0x518)), (0x554d_4551, 0x4746_4320));
        b.write(0x200, &[0xee; 16]);
        assert_eq!(dma(&mut b, 0x0020_0000 | dma::SELECT | dma::SKIP, 1, 0), 0);
        assert_eq!(dma(&mut b, dma::READ, 6, 0x200), 0);
        let mut got = [0; 8];
        b.read(0x200, &mut got);
        assert_eq!(got, *b"ello\0\0\xee\xee");
        assert_eq!(dma(&mut b, dma::WRITE, 1, 0x200), dma::ERROR);
        assert_eq!(dma(&mut b, dma::READ, 0xffff_ffff, 0x8000), dma::ERROR, "runs out of RAM");
        b.outl(0x514, 0x1u32.swap_bytes());
        b.outl(0x518, 0);
        assert_eq!(dma(&mut b, 0, 0, 0), 0, "still alive after a descriptor outside of RAM");
    }

    /// A device with a file that firmware reads, and one that it writes.
    struct Answers;
    impl Device for Answers {
        fn state(&mut self) -> DeviceState<'_> {
            DeviceState::none()
        }
    }
    impl DeviceSpec for Answers {
        type Device = Answers;
        type Pins = ();
        const TYPE: &'static str = "test-answers";
        fn realize(self, r: &mut Realize<'_>) -> Result<(Answers, ()), RealizeError> {
            r.firmware_file("etc/aa", *b"from a device", false);
            r.firmware_file("etc/address", [0; 8], true);
            Ok((Answers, ()))
        }
    }

    /// A device to boot from.
    struct Disk(i32);
    impl DeviceSpec for Disk {
        type Device = Answers;
        type Pins = ();
        const TYPE: &'static str = "test-disk";
        fn realize(self, r: &mut Realize<'_>) -> Result<(Answers, ()), RealizeError> {
            r.boot_device(Some(self.0), format!("/disk@{}", self.0));
            Ok((Answers, ()))
        }
    }

    #[test]
    fn the_boot_order_is_that_of_the_devices_there_are() {
        let mut items = FwCfg::new();
        items.set_boot_list(BootList { roms: vec![(3, "/rom@x".into())], strict: true });
        assert!(matches!(items.add_file("bootorder", []), Err(ItemError::Duplicate(_))));
        let mut b = Bench::new();
        b.realize(items).unwrap();
        assert_eq!(item(&mut b, 0x20), *b"/rom@x\nHALT\0\0");
        let last = b.realize(Disk(7)).unwrap();
        b.realize(Disk(0)).unwrap();
        assert!(b.realize(Disk(0)).unwrap_err().to_string().contains("bootindex 0 has already been used"));
        assert_eq!(item(&mut b, 0x20), *b"/disk@0\n/rom@x\n/disk@7\nHALT\0");
        b.with(|s| s.unrealize(last.id));
        assert_eq!(item(&mut b, 0x20), *b"/disk@0\n/rom@x\nHALT\0");
        assert!(BootList { strict: true, ..BootList::default() }.item(&[]).is_empty());
    }

    #[test]
    fn files_of_devices_and_what_firmware_answers() {
        let mut b = bench();
        let device = b.realize(Answers).unwrap();
        let dir: [u8; 4] = item(&mut b, 0x19);
        assert_eq!(dir, 4u32.to_be_bytes());
        assert_eq!((item(&mut b, 0x20), item(&mut b, 0x21)), (*b"hello\0", *b"from a device\0"));
        b.write(0x200, b"\x11\x22\x33\x44");
        assert_eq!(dma(&mut b, 0x0022_0000 | dma::SELECT | dma::SKIP, 4, 0), 0);
        assert_eq!(dma(&mut b, dma::WRITE, 4, 0x200), 0);
        assert_eq!(item(&mut b, 0x22), *b"\0\0\0\0\x11\x22\x33\x44");
        for (select, length) in [(0x22, 9), (0x22, u32::MAX), (0x21, 1), (0x20, 1)] {
            assert_eq!(dma(&mut b, select << 16 | dma::SELECT | dma::WRITE, length, 0x200), dma::ERROR);
        }
        b.with(|s| s.unrealize(device.id));
        let dir: [u8; 4] = item(&mut b, 0x19);
        assert_eq!(dir, 2u32.to_be_bytes());
    }
}
