//! What is around the CPU: RAM, ROM and devices in several arrangements, and devices that answer with numbers made of the address.

use gearbox_core::board::DeviceId;
use gearbox_core::mem::{AddressSpace, IoTarget, MemTree, RamBlock, RegionId};
use gearbox_core::vm::{CpuBus, Vm};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of RAM at address 0.
pub(super) const RAM: u64 = 4 << 20;
/// Arrangements of memory: one for each set of the regions that lie over RAM.
pub(super) const MAPS: u64 = 1 << OVERLAYS as u64;
const OVERLAYS: usize = 4;

struct Tree {
    tree: MemTree,
    overlays: [RegionId; OVERLAYS],
}

/// The board.
pub(super) struct Board {
    pub(super) memory: Arc<AddressSpace>,
    tree: Mutex<Tree>,
}

impl Board {
    /// With the VGA window and ROM where a PC has them.
    pub(super) fn new() -> Self {
        let block = |name, size| RamBlock::new(name, size).expect("host memory");
        let (ram, rom) = (block("ram", RAM), block("rom", 0x1_0000));
        let device = IoTarget { device: DeviceId::nth(0), region: 0 };
        let mut tree = MemTree::new("memory", u64::MAX);
        let all = tree.ram(&ram, 0, RAM);
        tree.map(tree.root(), 0, all, 0);
        let vga = tree.io("vga", 0x2_0000, device);
        let bios = tree.rom(&rom, 0, 0x1_0000);
        // Half a page of a device in a page of RAM, and RAM that is seen a second time.
        let sliver = tree.io("sliver", 0x800, device);
        let mirror = tree.alias("mirror", all, 0x10_0000, 0x1000);
        let places = [(vga, 0xa_0000), (bios, 0xf_0000), (sliver, 0x8_0400), (mirror, 0x9000)];
        for (region, at) in places {
            tree.map(tree.root(), at, region, 1);
        }
        let board = Self {
            memory: Arc::new(AddressSpace::new()),
            tree: Mutex::new(Tree { tree, overlays: places.map(|(region, _)| region) }),
        };
        board.map(3);
        board
    }
    /// Puts the overlays in place whose bits are set.
    pub(super) fn map(&self, which: u64) {
        let mut t = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        let Tree { tree, overlays } = &mut *t;
        for (n, &region) in overlays.iter().enumerate() {
            tree.set_enabled(region, which >> n & 1 != 0);
        }
        self.memory.install(tree.render());
    }
    /// A message with delivery mode SMI to APIC 0.
    pub(super) fn send_smi(&self, vm: &dyn Vm) {
        vm.msi().send_msi(0xfee0_0000, 0x200);
    }
}

/// Any number, the same each time for the same address.
fn noise(at: u64) -> u64 {
    (at ^ at >> 7).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 13
}

impl CpuBus for Board {
    fn pio_in(&self, port: u16, _: u8) -> u32 {
        noise(port.into()) as u32
    }
    fn pio_out(&self, port: u16, _: u8, value: u32) {
        // The chipset's registers change the map in the middle of an instruction.
        if port & 0xf == 7 {
            self.map(u64::from(value) % MAPS);
        }
    }
    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        for (b, at) in data.iter_mut().zip(0..) {
            let at = addr.wrapping_add(at);
            *b = self.memory.read_array::<1>(at).map_or(noise(at) as u8, |[b]| b);
        }
    }
    fn mmio_write(&self, addr: u64, data: &[u8]) {
        for (b, at) in data.iter().zip(0..) {
            let _ = self.memory.write(addr.wrapping_add(at), &[*b]);
        }
    }
    fn ack_interrupt(&self) -> Option<u8> {
        Some(0x20)
    }
    fn eoi(&self, _: u8) {}
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn settle_timers(&self) {}
}
