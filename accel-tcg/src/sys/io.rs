//! Permission to reach ports (SDM vol. 1, 19.5).

use super::descriptor::system;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use gearbox_core::x86::state::Seg;

/// May the program access `size` ports from `port` on? #GP(0) if not.
pub(crate) fn check_io(cpu: &mut Cpu, port: u16, size: u8) -> Exec {
    check_permission(cpu, port, size)?;
    cpu.watch_port(port, size);
    Ok(())
}

fn check_permission(cpu: &mut Cpu, port: u16, size: u8) -> Exec {
    if !cpu.protected() || (!cpu.v86() && cpu.cpl <= cpu.iopl()) {
        return Ok(());
    }
    let tr = *cpu.segment(Seg::Tr);
    let has_map = !tr.unusable() && tr.present() && tr.typ() & !system::BUSY == system::TSS32;
    if !has_map || tr.limit < 0x67 {
        return Err(Fault::GP0);
    }
    let map: u16 = cpu.system_read(tr.base.wrapping_add(0x66))?;
    let at = u64::from(map) + u64::from(port / 8);
    // Two bytes are read, so that four ports at any place are covered.
    if at + 1 > u64::from(tr.limit) {
        return Err(Fault::GP0);
    }
    let bits: u16 = cpu.system_read(tr.base.wrapping_add(at))?;
    let wanted = ((1u32 << size.min(4)) - 1) << (port & 7);
    if u32::from(bits) & wanted != 0 { Err(Fault::GP0) } else { Ok(()) }
}
