//! What boards have in common that are compatible with the PC/AT: the ISA half of the schematic, and beside it RAM, ROMs, what firmware is told, drives,
//! and what is done in place of firmware.

pub(super) mod boot_order;
pub(super) mod direct;
pub(super) mod drives;
pub(super) mod firmware;
pub(super) mod fw_cfg;
mod kernel;
pub(super) mod memory;
pub(super) mod numa;

use crate::boot;
use crate::devices::a20::A20;
use crate::devices::floppy::{self, IsaFdc};
use crate::devices::i8042::I8042;
use crate::devices::i8254::Pit;
use crate::devices::i8257::Dma;
use crate::devices::i8259::{Pic, PicPins};
use crate::devices::mc146818::Rtc;
use crate::devices::parallel::{LPT, Parallel};
use crate::devices::port92::Port92;
use crate::devices::serial::{COM, Serial};
use gearbox_core::board::{BoardState, DeviceId, ISA_IRQS, Line};
use gearbox_core::machine::{BuildError, MachineConfig, MachineProperty};
use memory::Layout;

/// The input through which the second interrupt controller reaches the first.
pub(super) const CASCADE: u8 = 2;
/// ISA interrupts of the 8254 and of the clock chip.
pub(super) const TIMER_IRQ: u8 = 0;
pub(super) const CLOCK_IRQ: u8 = 8;
const KEYBOARD_IRQ: u8 = 1;
const MOUSE_IRQ: u8 = 12;
/// Where devices are that have no better place.
pub(super) const UNATTACHED: &str = "/machine/unattached/device[*]";
/// Where devices are that users ask for, and do not name.
const ANONYMOUS: &str = "/machine/peripheral-anon/device[*]";

/// What the rest of a board connects to its ISA half.
pub(super) struct IsaHalf {
    /// The interrupt controllers.
    pub(super) pic: PicPins,
    /// Output of the 8254's counter 0, which interrupts as [`TIMER_IRQ`] unless something takes its place.
    pub(super) timer: Line,
    /// Output of the clock chip, which interrupts as [`CLOCK_IRQ`] unless something takes its place.
    pub(super) clock: Line,
    /// The clock chip.
    pub(super) rtc: DeviceId,
    /// The floppy controller.
    pub(super) fdc: DeviceId,
}

/// The schematic of the ISA half, on a board with a bus for it. The board starts with `cpus` processors.
///
/// # Errors
/// What cannot be realized, and a boot order that firmware has no words for.
pub(super) fn realize(
    config: &MachineConfig,
    layout: Layout,
    cpus: u16,
    s: &mut BoardState,
) -> Result<IsaHalf, BuildError> {
    let a20 = s.realize(UNATTACHED, A20)?;
    let pic = s.realize(UNATTACHED, Pic)?;
    irqs().for_each(|irq| s.feed_isa_irq(irq, pic.irq.get(irq.into())));

    let [bytes, words] = Dma::PC;
    let dma = s.realize(UNATTACHED, bytes)?;
    s.realize(UNATTACHED, words)?;
    let fdc = s.realize(UNATTACHED, IsaFdc { dma: dma.pins.clone() })?;
    s.connect(dma.ready[floppy::DMA], fdc.ready.get(0));

    let pit = s.realize(UNATTACHED, Pit)?;
    let [first, later] = boot_order::cmos(&config.boot)?;
    let memory = cmos(cpus, layout).into_iter().chain(first).collect();
    let rtc = s.realize(UNATTACHED, Rtc { config: config.rtc, memory, memory_at_reset: later.to_vec() })?;

    let keyboard = s.realize(UNATTACHED, I8042)?;
    let port92 = s.realize(UNATTACHED, Port92)?;
    s.connect(keyboard.a20, a20.enable.get(0));
    s.connect(port92.a20, a20.enable.get(1));
    s.connect_isa_irq(keyboard.irq_keyboard, KEYBOARD_IRQ);
    s.connect_isa_irq(keyboard.irq_mouse, MOUSE_IRQ);

    for (n, chardev) in (0..).zip(&config.serials).filter(|(_, c)| c.is_some()) {
        s.realize(UNATTACHED, Serial::com(n, chardev.clone()))?;
    }
    for (n, chardev) in (0..).zip(&config.parallels).filter_map(|(n, c)| Some((n, c.as_ref()?))) {
        s.realize(UNATTACHED, Parallel { index: Some(n), chardev: chardev.clone(), ..Parallel::default() })?;
    }
    Ok(IsaHalf { pic: pic.pins, timer: pit.out0, clock: rtc.irq, rtc: rtc.id, fdc: fdc.id })
}

/// The interrupts that cards can have, which lead to the controllers.
pub(super) fn irqs() -> impl Iterator<Item = u8> {
    (0..ISA_IRQS as u8).filter(|&irq| irq != CASCADE)
}

/// Refuses what no such board can be that has these properties, and kernels that cannot be started on it: by firmware, if there is some.
pub(super) fn check(config: &MachineConfig, properties: &[MachineProperty], firmware: bool) -> Vec<BuildError> {
    let mut wrong = config.check_properties(properties);
    let mut refuse = |option, value: String, reason: String| wrong.push(BuildError::Option { option, value, reason });
    let possible = (memory::LEAST..=memory::MOST).contains(&config.ram_size) && config.ram_size.is_multiple_of(4096);
    if !possible {
        refuse("m", config.ram_size.to_string(), "1 MiB to 64 GiB in whole pages are possible".into());
    }
    if config.serials.len() > COM.len() {
        refuse("serial", config.serials.len().to_string(), format!("the machine has {} serial ports", COM.len()));
    }
    if config.parallels.len() > LPT.len() {
        refuse("parallel", config.parallels.len().to_string(), format!("the machine has {} parallel ports", LPT.len()));
    }
    if let Some(kernel) = config.kernel.as_ref().filter(|_| possible) {
        let layout = Layout::new(config.ram_size);
        let fine = if firmware { kernel::check(kernel, layout) } else { boot::check(kernel, &layout.map()) };
        wrong.extend(fine.err().map(BuildError::from));
    }
    wrong
}

/// One error of several.
pub(super) fn together(mut wrong: Vec<BuildError>) -> Result<(), BuildError> {
    match wrong.len() {
        0 => Ok(()),
        1 => Err(wrong.remove(0)),
        _ => Err(BuildError::Several(wrong)),
    }
}

/// Contents of CMOS RAM (QEMU's `pc_cmos_init`).
fn cmos(cpus: u16, layout: Layout) -> Vec<(u8, u8)> {
    /// Equipment: FPU, PS/2 mouse.
    const EQUIPMENT: u8 = 0x02 | 0x04;
    let mut bytes = layout.cmos();
    bytes.push((0x14, EQUIPMENT));
    bytes.push((0x5f, cpus.saturating_sub(1) as u8));
    bytes
}
