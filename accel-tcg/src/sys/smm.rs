//! System management mode: SMI, the state save map, RSM (SDM vol. 3, chapter 32; APM vol. 2, chapter 10).
//!
//! As on QEMU, a CPU with long mode saves its state in AMD's 64-bit map whoever its vendor is, and one without in the P6's. SMBASE can be
//! moved, a halted CPU may be sent back to HLT; I/O instructions are not restarted, and the revision says so.

use super::descriptor::{Selector, null_stack};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use gearbox_core::vm::VcpuExit;
use gearbox_core::x86::state::{Activity, DescriptorTable, Seg, Segment, cr0, cr4, efer, rflags};
use iced_x86::{Code, Instruction};

pub(super) fn executor(code: Code) -> Option<Executor> {
    (code == Code::Rsm).then_some(rsm as Executor)
}

/// From SMBASE: where the handler begins, and where the map is that offsets count from.
const HANDLER: u64 = 0x8000;
const MAP: u64 = 0x8000;
/// SMBASE can be moved; no restart of I/O instructions.
const REVISION: u32 = 0x0002_0000;
/// Added to it for the 64-bit map.
const REVISION_64: u32 = 0x64;
const REVISION_AT: u64 = 0x7efc;

/// Six segment registers in the order of both maps.
const SEGMENTS: [Seg; 6] = [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs];

/// Where a segment register is: selector, attributes, limit, base.
struct SegmentAt {
    selector: u64,
    attr: u64,
    limit: u64,
    base: u64,
}

/// A state save map. `word` is the width of its registers and bases.
struct Map {
    word: u64,
    /// RAX, RCX, ... are one after the other, each `word` bytes lower (64-bit) or higher (32-bit).
    gpr: fn(usize) -> u64,
    registers: usize,
    rip: u64,
    rflags: u64,
    cr0: u64,
    cr3: u64,
    cr4: u64,
    dr6: u64,
    dr7: u64,
    efer: Option<u64>,
    smbase: u64,
    auto_halt: u64,
    /// Base and limit.
    gdt: (u64, u64),
    idt: (u64, u64),
    segment: fn(usize) -> SegmentAt,
}

/// APM vol. 2, table 10-1.
const MAP64: Map = Map {
    word: 8,
    gpr: |n| 0x7ff8 - 8 * n as u64,
    registers: 16,
    rip: 0x7f78,
    rflags: 0x7f70,
    cr0: 0x7f58,
    cr3: 0x7f50,
    cr4: 0x7f48,
    dr6: 0x7f68,
    dr7: 0x7f60,
    efer: Some(0x7ed0),
    smbase: 0x7f00,
    auto_halt: 0x7ec9,
    gdt: (0x7e68, 0x7e64),
    idt: (0x7e88, 0x7e84),
    segment: |n| {
        // ES to GS, then with a table register in between: LDTR and TR.
        let at = 0x7e00 + 16 * [0, 1, 2, 3, 4, 5, 7, 9][n];
        SegmentAt { selector: at, attr: at + 2, limit: at + 4, base: at + 8 }
    },
};

/// SDM vol. 3, table 32-1; the hidden parts, on which it is silent, are where QEMU has them.
const MAP32: Map = Map {
    word: 4,
    gpr: |n| 0x7fd0 + 4 * n as u64,
    registers: 8,
    rip: 0x7ff0,
    rflags: 0x7ff4,
    cr0: 0x7ffc,
    cr3: 0x7ff8,
    cr4: 0x7f14,
    dr6: 0x7fcc,
    dr7: 0x7fc8,
    efer: None,
    smbase: 0x7ef8,
    auto_halt: 0x7f02,
    gdt: (0x7f74, 0x7f70),
    idt: (0x7f58, 0x7f54),
    segment: |n| {
        let hidden = [0x7f84, 0x7f90, 0x7f9c, 0x7f2c, 0x7f38, 0x7f44, 0x7f78, 0x7f5c][n];
        let selector = if n < 6 { 0x7fa8 + 4 * n as u64 } else { [0x7fc0, 0x7fc4][n - 6] };
        SegmentAt { selector, attr: hidden, limit: hidden + 4, base: hidden + 8 }
    },
};

/// Attributes as the maps hold them. A segment that is not usable is not present.
fn saved_attr(s: &Segment) -> u16 {
    let kept = if s.unusable() { 0x60 } else { 0xf0ff };
    s.attr as u16 & kept
}

/// The two halves of the map: what is written, and what is read back.
struct Area<'a> {
    cpu: &'a mut Cpu,
    base: u64,
    map: &'static Map,
}

impl Area<'_> {
    fn put16(&mut self, at: u64, v: u16) -> Exec {
        self.cpu.phys_store(self.base + at, v)
    }
    fn put32(&mut self, at: u64, v: u32) -> Exec {
        self.cpu.phys_store(self.base + at, v)
    }
    fn put(&mut self, at: u64, v: u64) -> Exec {
        if self.map.word == 8 { self.cpu.phys_store(self.base + at, v) } else { self.put32(at, v as u32) }
    }
    fn get16(&mut self, at: u64) -> Exec<u16> {
        self.cpu.phys_load(self.base + at)
    }
    fn get32(&mut self, at: u64) -> Exec<u32> {
        self.cpu.phys_load(self.base + at)
    }
    fn get(&mut self, at: u64) -> Exec<u64> {
        if self.map.word == 8 { self.cpu.phys_load(self.base + at) } else { self.get32(at).map(u64::from) }
    }

    fn save_segment(&mut self, n: usize, s: Segment) -> Exec {
        let at = (self.map.segment)(n);
        if self.map.word == 8 {
            self.put16(at.selector, s.selector)?;
            self.put16(at.attr, saved_attr(&s))?;
        } else {
            self.put32(at.selector, s.selector.into())?;
            self.put32(at.attr, saved_attr(&s).into())?;
        }
        self.put32(at.limit, s.limit)?;
        self.put(at.base, s.base)
    }
    fn load_segment(&mut self, n: usize) -> Exec<Segment> {
        let at = (self.map.segment)(n);
        let attr = u32::from(self.get16(at.attr)?) & 0xf0ff;
        let (selector, base) = (self.get16(at.selector)?, self.get(at.base)?);
        let s = Segment { selector, base, limit: self.get32(at.limit)?, attr };
        if s.present() {
            return Ok(s);
        }
        let rpl = s.dpl();
        Ok(Segment { base, limit: s.limit, selector, ..null_stack(Selector(rpl.into())) })
    }

    /// `halted`: the CPU was in HLT.
    fn save(&mut self, halted: bool) -> Exec {
        let m = self.map;
        for n in 0..m.registers {
            let v = self.cpu.gpr(n);
            self.put((m.gpr)(n), v)?;
        }
        let c = &*self.cpu;
        let (rip, flags, cr3, efer, smbase) = (c.rip, c.rflags(), c.cr3, c.efer, c.smm.base);
        let small = [(m.rflags, flags), (m.cr0, c.cr0), (m.cr4, c.cr4), (m.dr6, c.dr[4]), (m.dr7, c.dr[5])];
        let (gdt, idt) = (c.gdtr, c.idtr);
        small.into_iter().try_for_each(|(at, v)| self.put32(at, v as u32))?;
        self.put(m.rip, rip)?;
        self.put(m.cr3, cr3)?;
        if let Some(at) = m.efer {
            self.put(at, efer)?;
        }
        for ((base, limit), t) in [(m.gdt, gdt), (m.idt, idt)] {
            self.put(base, t.base)?;
            self.put32(limit, t.limit.into())?;
        }
        for (n, s) in (0..).zip(SEGMENTS.into_iter().chain([Seg::Ldtr, Seg::Tr])) {
            let s = *self.cpu.segment(s);
            self.save_segment(n, s)?;
        }
        self.put32(m.smbase, smbase)?;
        self.cpu.phys_store(self.base + m.auto_halt, u8::from(halted))?;
        self.put32(REVISION_AT, REVISION | if m.word == 8 { REVISION_64 } else { 0 })
    }

    /// Loads everything. `false`: it is no state that the processor can be in, and the CPU shuts down.
    fn load(&mut self) -> Exec<bool> {
        let m = self.map;
        let new_efer = m.efer.map_or(Ok(0), |at| self.get(at))?;
        let (new_cr0, new_cr4) = (u64::from(self.get32(m.cr0)?), u64::from(self.get32(m.cr4)?));
        let new_cr3 = self.get(m.cr3)?;
        let flags = u64::from(self.get32(m.rflags)?);
        let on = |bit: u64| new_cr0 & bit != 0;
        let valid = (on(cr0::PE) || !on(cr0::PG))
            && (on(cr0::CD) || !on(cr0::NW))
            && self.cpu.cr4_is_known(new_cr4)
            && !(on(cr0::PG) && new_efer & efer::LME != 0 && new_cr4 & cr4::PAE == 0);
        if !valid {
            return Ok(false);
        }
        for n in 0..m.registers {
            let v = self.get((m.gpr)(n))?;
            self.cpu.set_gpr(n, v);
        }
        let rip = self.get(m.rip)?;
        let (dr6, dr7) = (self.get32(m.dr6)?, self.get32(m.dr7)?);
        let mut tables = [DescriptorTable::default(); 2];
        for ((base, limit), t) in [m.gdt, m.idt].into_iter().zip(&mut tables) {
            *t = DescriptorTable { base: self.get(base)?, limit: self.get32(limit)? as u16 };
        }
        let mut segments = [Segment::default(); 8];
        for (n, s) in segments.iter_mut().enumerate() {
            *s = self.load_segment(n)?;
        }
        let smbase = self.get32(m.smbase)?;

        let c = &mut *self.cpu;
        c.cr0 = new_cr0 & super::control::CR0_KNOWN | cr0::ET;
        c.cr3 = new_cr3;
        c.cr4 = new_cr4;
        // LMA is LME and PG.
        let lma = if on(cr0::PG) && new_efer & efer::LME != 0 { efer::LMA } else { 0 };
        c.efer = new_efer & c.efer_known() & !efer::LMA | lma;
        (c.dr[4], c.dr[5]) = super::debug::with_fixed(dr6.into(), dr7.into());
        c.rip = rip;
        [c.gdtr, c.idtr] = tables;
        c.set_rflags(flags & 0x3f_7fd7);
        for (s, v) in SEGMENTS.into_iter().chain([Seg::Ldtr, Seg::Tr]).zip(segments) {
            c.set_seg(s, v);
        }
        let ring = match (c.protected(), c.v86()) {
            (false, _) => 0,
            (_, true) => 3,
            _ => c.segment(Seg::Ss).dpl(),
        };
        c.set_cpl(ring);
        c.smm.base = smbase;
        Ok(true)
    }
}

impl Cpu {
    fn smm_area(&mut self) -> Area<'_> {
        let long = self.cpuid.get(0x8000_0001, 0).is_some_and(|l| l.edx & 1 << 29 != 0);
        let base = u64::from(self.smm.base) + MAP;
        Area { map: if long { &MAP64 } else { &MAP32 }, cpu: self, base }
    }

    /// Takes an SMI between two instructions.
    ///
    /// # Errors
    /// Only the engine's.
    pub(crate) fn enter_smm(&mut self) -> Exec {
        let halted = self.activity == Activity::Halted;
        self.set_in_smm(true);
        self.smm_area().save(halted)?;
        self.activity = Activity::Active;
        self.smm.nmi_was_masked = std::mem::replace(&mut self.events.nmi_masked, true);
        // SDM vol. 3, table 32-4.
        self.cr0 &= !(cr0::PE | cr0::EM | cr0::TS | cr0::PG);
        self.cr4 = 0;
        self.efer = 0;
        self.dr[super::debug::DR7] = 0x400;
        self.set_rflags(rflags::FIXED1);
        let flat = Segment { selector: 0, base: 0, limit: u32::MAX, attr: 0x8093 };
        for s in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            self.set_seg(s, flat);
        }
        let base = self.smm.base;
        self.set_seg(Seg::Cs, Segment { selector: (base >> 4) as u16, base: base.into(), ..flat });
        self.set_cpl(0);
        self.rip = HANDLER;
        self.flush_tlb(true);
        Ok(())
    }
    /// In system management mode SMRAM is there, and translations made outside do not count.
    fn set_in_smm(&mut self, on: bool) {
        self.smm.active = on;
        self.flush_tlb(true);
    }
}

fn rsm(cpu: &mut Cpu, _: &Instruction) -> Exec {
    if !cpu.smm.active {
        return Err(Fault::UD);
    }
    let mut area = cpu.smm_area();
    let map = area.map;
    // The handler may send a CPU back that was in HLT.
    let back_to_halt = area.cpu.phys_load::<u8>(area.base + map.auto_halt)? & 1 != 0;
    if !area.load()? {
        cpu.activity = Activity::Shutdown;
        return Err(Fault::Exit(Box::new(VcpuExit::TripleFault)));
    }
    cpu.set_in_smm(false);
    cpu.load_pdptes_quietly();
    cpu.events.nmi_masked = cpu.smm.nmi_was_masked;
    cpu.activity = if back_to_halt { Activity::Halted } else { Activity::Active };
    cpu.update_mode();
    Ok(())
}
