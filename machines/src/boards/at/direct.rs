//! What firmware does on every board before an operating system starts, for machines that boot a kernel without firmware.

use super::memory::{EBDA, Layout};
use crate::boot::{Blob, BootImage};
use crate::devices::parallel::ParallelDevice;
use crate::devices::serial::SerialDevice;
use gearbox_core::board::{Board, BoardState};
use gearbox_core::machine::{Boot, BootError};
use gearbox_core::mem::NotRam;
use gearbox_core::x86::state::X86State;

/// First port and interrupt of each serial port.
pub(in crate::boards) fn serials(s: &mut BoardState) -> Vec<(u16, u8)> {
    let ids: Vec<_> = s.devices().map(|(id, ..)| id).collect();
    ids.into_iter().filter_map(|id| s.device::<SerialDevice>(id)?.isa_resources()).collect()
}
/// First port and interrupt of each parallel port.
pub(in crate::boards) fn parallels(s: &mut BoardState) -> Vec<(u16, u8)> {
    let ids: Vec<_> = s.devices().map(|(id, ..)| id).collect();
    ids.into_iter().filter_map(|id| Some(s.device::<ParallelDevice>(id)?.isa_resources())).collect()
}

/// Direct boot, on a board whose chipset needs nothing.
pub(in crate::boards) struct DirectBoot {
    pub(in crate::boards) image: BootImage,
    /// The board's tables.
    pub(in crate::boards) tables: Vec<Blob>,
    pub(in crate::boards) layout: Layout,
    /// See [`serials`] and [`parallels`].
    pub(in crate::boards) serials: Vec<(u16, u8)>,
    pub(in crate::boards) parallels: Vec<(u16, u8)>,
}

impl Boot for DirectBoot {
    fn enter(&self, board: &Board, state: &mut X86State) -> Result<(), BootError> {
        let load = |b: &Blob| {
            load(board, b).map_err(|e| BootError { what: format!("loading {}", b.name), reason: e.to_string() })
        };
        load(&self.bios_data())?;
        self.tables.iter().chain(&self.image.blobs).try_for_each(load)?;
        memory_types(self.layout, state);
        virtual_wire(state);
        self.image.entry.apply(state);
        Ok(())
    }
}

impl DirectBoot {
    /// The BIOS data area: serial and parallel ports, EBDA segment, KiB of base memory.
    fn bios_data(&self) -> Blob {
        let mut area = [0; 0x20];
        for (at, bases) in [(0, self.serials.iter().take(4)), (8, self.parallels.iter().take(3))] {
            for (field, (base, _)) in area[at..].chunks_exact_mut(2).zip(bases) {
                field.copy_from_slice(&base.to_le_bytes());
            }
        }
        area[0x0e..0x10].copy_from_slice(&((EBDA >> 4) as u16).to_le_bytes());
        area[0x13..0x15].copy_from_slice(&((EBDA >> 10) as u16).to_le_bytes());
        Blob::new("the BIOS data area", 0x400, area)
    }
}

fn load(board: &Board, blob: &Blob) -> Result<(), NotRam> {
    static ZEROS: [u8; 65536] = [0; 65536];
    let memory = board.memory();
    memory.load(blob.addr, &blob.bytes)?;
    let mut at = blob.addr + blob.bytes.len() as u64;
    while at < blob.end() {
        let n = (blob.end() - at).min(ZEROS.len() as u64);
        memory.load(at, &ZEROS[..n as usize])?;
        at += n;
    }
    Ok(())
}

/// Memory type range registers (SDM vol. 3, 12.11): RAM write-back, the VGA window and the PCI hole uncached.
fn memory_types(layout: Layout, state: &mut X86State) {
    const PHYS_BASE0: u32 = 0x200;
    const PHYS_MASK0: u32 = 0x201;
    const FIX_64K: u32 = 0x250;
    const FIX_16K: [u32; 2] = [0x258, 0x259];
    const FIX_4K: std::ops::RangeInclusive<u32> = 0x268..=0x26f;
    const DEF_TYPE: u32 = 0x2ff;
    const WRITE_BACK: u64 = 0x0606_0606_0606_0606;
    const WRITE_PROTECT: u64 = 0x0505_0505_0505_0505;
    /// Enabled, fixed ranges enabled, write-back.
    const DEFAULT: u64 = 1 << 11 | 1 << 10 | 6;
    const VALID: u64 = 1 << 11;
    /// 40 physical address bits: every CPU model has as many.
    const ADDRESS_BITS: u64 = (1 << 40) - 1;
    let hole = u64::from(layout.hole().0);
    let mut set = |msr, value| state.msrs.insert(msr, value);
    set(FIX_64K, WRITE_BACK);
    set(FIX_16K[0], WRITE_BACK);
    set(FIX_16K[1], 0);
    FIX_4K.for_each(|msr| {
        set(msr, WRITE_PROTECT);
    });
    set(PHYS_BASE0, hole);
    set(PHYS_MASK0, (ADDRESS_BITS & !((1 << 32) - hole - 1)) | VALID);
    set(DEF_TYPE, DEFAULT);
}

/// Virtual wire mode (MultiProcessor Specification 1.4, 3.6.2.2): the local APIC on, the 8259A's output through its LINT0, NMI
/// through LINT1.
fn virtual_wire(state: &mut X86State) {
    const SPURIOUS: usize = 0xf;
    const LINT0: usize = 0x35;
    const LINT1: usize = 0x36;
    const ENABLED: u32 = 1 << 8 | 0xff;
    const EXT_INT: u32 = 7 << 8;
    const NMI: u32 = 4 << 8;
    if let Some(lapic) = &mut state.lapic {
        for (register, value) in [(SPURIOUS, ENABLED), (LINT0, EXT_INT), (LINT1, NMI)] {
            if let Some(r) = lapic.regs.get_mut(register) {
                *r = value;
            }
        }
    }
}
