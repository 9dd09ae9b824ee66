//! The XSAVE family (SDM vol. 1, chapter 13): which state components there are, how their area is laid out, and the instructions.

use super::image::{self, Legacy, MXCSR_INIT, XMM_OFFSET, check_mxcsr, legacy_of, u64_at};
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::Access;
use gearbox_core::x86::cpuid::{CpuidLeaf, CpuidSet};
use gearbox_core::x86::state::{cr0, cr4, gpr};
use iced_x86::{Instruction, Mnemonic};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Xsave => |c, i| save(c, i, false, Form::Plain),
        Xsave64 => |c, i| save(c, i, true, Form::Plain),
        Xsaveopt => |c, i| save(c, i, false, Form::Optimised),
        Xsaveopt64 => |c, i| save(c, i, true, Form::Optimised),
        Xsavec => |c, i| save(c, i, false, Form::Compacted),
        Xsavec64 => |c, i| save(c, i, true, Form::Compacted),
        Xsaves => |c, i| save(c, i, false, Form::Supervisor),
        Xsaves64 => |c, i| save(c, i, true, Form::Supervisor),
        Xrstor => |c, i| restore(c, i, false, Form::Plain),
        Xrstor64 => |c, i| restore(c, i, true, Form::Plain),
        Xrstors => |c, i| restore(c, i, false, Form::Supervisor),
        Xrstors64 => |c, i| restore(c, i, true, Form::Supervisor),
        _ => return None,
    })
}

// ---- components

/// State component 0: x87 (and MMX), in the legacy region.
const X87: u64 = 1 << 0;
/// State component 1: XMM registers, in the legacy region; MXCSR goes with it and with AVX's.
const SSE: u64 = 1 << 1;
/// State component 2: the upper halves of the YMM registers.
const AVX: u64 = 1 << 2;
/// State component 9: PKRU.
const PKRU: u64 = 1 << 9;

/// A state component after the header of the area.
struct Component {
    /// Its bit in XCR0 or IA32_XSS.
    bit: u64,
    /// Its bit is one of IA32_XSS.
    supervisor: bool,
    /// Where it is in the standard format.
    offset: usize,
    len: usize,
    /// In the compacted format it begins at a multiple of 64.
    aligned: bool,
    /// Is it other than its initial state (XINUSE)?
    in_use: fn(&Cpu) -> bool,
    /// Writes it into its part of an area; what is left alone is not stored.
    save: fn(&Cpu, &mut [u8]) -> usize,
    /// Takes it over from its part of an area.
    load: fn(&mut Cpu, &[u8]),
    /// Gives it its initial state.
    reset: fn(&mut Cpu),
}

/// All of them, by bit.
const COMPONENTS: &[Component] = &[
    Component {
        bit: AVX,
        supervisor: false,
        offset: AREA_MIN,
        len: 256,
        aligned: false,
        in_use: |c| is_live(&c.fpu.ymm_hi[..c.vector_count()]),
        save: |c, out| {
            let n = c.vector_count();
            image::store_vectors(&c.fpu.ymm_hi[..n], out);
            16 * n
        },
        load: |c, data| {
            let n = c.vector_count();
            image::load_vectors(&mut c.fpu.ymm_hi[..n], data);
        },
        reset: |c| {
            let n = c.vector_count();
            c.fpu.ymm_hi[..n].fill(Vec128::default());
        },
    },
    Component {
        bit: PKRU,
        supervisor: false,
        // Where processors with AVX-512 have it, and QEMU.
        offset: 0xa80,
        len: 8,
        aligned: false,
        in_use: |c| c.pkru != 0,
        save: |c, out| {
            out.copy_from_slice(&u64::from(c.pkru).to_le_bytes());
            out.len()
        },
        load: |c, data| c.set_pkru(u64_at(data, 0) as u32),
        reset: |c| c.set_pkru(0),
    },
];

/// The longest component.
const LONGEST: usize = 256;

const fn union(supervisor: bool) -> u64 {
    let (mut bits, mut n) = (0, 0);
    while n < COMPONENTS.len() {
        if COMPONENTS[n].supervisor == supervisor {
            bits |= COMPONENTS[n].bit;
        }
        n += 1;
    }
    bits
}
/// What XCR0 may enable.
const USER: u64 = X87 | SSE | union(false);
/// What IA32_XSS may enable.
pub(crate) const SUPERVISOR: u64 = union(true);

/// IA32_XSS.
pub(crate) const IA32_XSS: u32 = 0xda0;

fn is_live(r: &[Vec128]) -> bool {
    r.iter().any(|v| *v != Vec128::default())
}

/// Bytes of an area in the standard format with these components (CPUID.0DH.0:EBX for those of XCR0).
pub(crate) fn standard_len(components: u64) -> usize {
    let ends = COMPONENTS.iter().filter(|c| components & c.bit != 0).map(|c| c.offset + c.len);
    ends.fold(AREA_MIN, usize::max)
}
/// The components of a compacted area, with where they begin; and where it ends (CPUID.0DH.1:EBX for those of XCR0 and IA32_XSS).
fn compacted(components: u64) -> (impl Iterator<Item = (&'static Component, usize)>, usize) {
    let place = move |end: &mut usize, c: &'static Component| {
        let start = if c.aligned { end.next_multiple_of(64) } else { *end };
        *end = start + c.len;
        (c, start)
    };
    let there = move || COMPONENTS.iter().filter(move |c| components & c.bit != 0);
    let mut end = AREA_MIN;
    there().for_each(|c| {
        place(&mut end, c);
    });
    (there().scan(AREA_MIN, move |end, c| Some(place(end, c))), end)
}
/// Bytes of a compacted area with these components.
pub(crate) fn compacted_len(components: u64) -> usize {
    compacted(components).1
}

/// Offers leaf 0DH: what XCR0 may enable, and where the components are. Features of subleaf 1 are offered by name.
pub(crate) fn offer(set: &mut CpuidSet) {
    let max = standard_len(USER) as u32;
    set.set(CpuidLeaf {
        function: 0xd,
        index: Some(0),
        eax: USER as u32,
        ebx: AREA_MIN as u32,
        ecx: max,
        edx: (USER >> 32) as u32,
    });
    for c in COMPONENTS {
        let index = Some(c.bit.trailing_zeros());
        let flags = u32::from(c.supervisor) | u32::from(c.aligned) << 1;
        let offset = if c.supervisor { 0 } else { c.offset as u32 };
        set.set(CpuidLeaf { function: 0xd, index, eax: c.len as u32, ebx: offset, ecx: flags, edx: 0 });
    }
}

impl Cpu {
    /// XGETBV takes ECX = 1.
    pub(crate) fn has_xgetbv1(&self) -> bool {
        features(self) >> 2 & 1 != 0
    }
    /// There are XSAVES, XRSTORS and IA32_XSS.
    pub(crate) fn has_xsaves(&self) -> bool {
        has(self, Form::Supervisor)
    }
    /// IA32_XSS.
    pub(crate) fn xss(&self) -> u64 {
        self.msr.other.get(&IA32_XSS).copied().unwrap_or(0)
    }
    /// Components that are not in their initial state (XINUSE).
    pub(crate) fn xstate_in_use(&self) -> u64 {
        let bit = |v: bool, b: u64| if v { b } else { 0 };
        let rest: u64 = COMPONENTS.iter().map(|c| bit((c.in_use)(self), c.bit)).sum();
        bit(!self.fpu.x87_is_initial(), X87) | bit(is_live(&self.fpu.xmm[..self.vector_count()]), SSE) | rest
    }
}

// ---- the area

const HEADER: usize = 512;
const HEADER_LEN: usize = 64;
/// Bytes of the legacy region and the header, which every area has.
const AREA_MIN: usize = HEADER + HEADER_LEN;
/// XCOMP_BV: the compacted format.
const COMPACTED: u64 = 1 << 63;

/// Which of the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// XSAVE, which writes every component asked for, and XRSTOR.
    Plain,
    /// XSAVEOPT: leaves out those in their initial state.
    Optimised,
    /// XSAVEC: the same, in the compacted format.
    Compacted,
    /// XSAVES and XRSTORS: the same at CPL 0, with the components of IA32_XSS.
    Supervisor,
}

impl Form {
    fn is_compacted(self) -> bool {
        matches!(self, Self::Compacted | Self::Supervisor)
    }
    /// Its bit in CPUID.(EAX=0Dh, ECX=1):EAX; XSAVE itself is announced by OSXSAVE.
    fn cpuid_bit(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Optimised => 1 << 0,
            Self::Compacted => 1 << 1,
            Self::Supervisor => 1 << 3,
        }
    }
}

/// CPUID.0DH.1:EAX.
fn features(c: &Cpu) -> u32 {
    c.cpuid.get(0xd, 1).map_or(0, |l| l.eax)
}
fn has(c: &Cpu, form: Form) -> bool {
    features(c) & form.cpuid_bit() == form.cpuid_bit()
}
/// The checks common to the family.
fn check(c: &Cpu, form: Form) -> Exec {
    if c.cr4 & cr4::OSXSAVE == 0 || !has(c, form) {
        return Err(Fault::UD);
    }
    if c.cr0 & cr0::TS != 0 {
        return Err(Fault::NM);
    }
    if form == Form::Supervisor && c.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
}
/// The components that are enabled for `form`.
fn enabled(c: &Cpu, form: Form) -> u64 {
    let supervisor = if form == Form::Supervisor { c.xss() & SUPERVISOR } else { 0 };
    c.xcr0 & USER | supervisor
}
/// The requested components (RFBM): those of EDX:EAX that are enabled.
fn requested(c: &Cpu, form: Form) -> u64 {
    (c.gpr(gpr::RDX) << 32 | c.gpr(gpr::RAX) & 0xffff_ffff) & enabled(c, form)
}
/// The operand's linear address, aligned to 64 bytes.
fn area_address(c: &mut Cpu, i: &Instruction, len: usize, a: Access) -> Exec<u64> {
    let lin = c.operand_linear(i, len, a)?;
    if lin & 63 == 0 { Ok(lin) } else { Err(Fault::GP0) }
}

fn save(c: &mut Cpu, i: &Instruction, wide: bool, form: Form) -> Exec {
    check(c, form)?;
    let wanted = requested(c, form);
    let mut used = c.xstate_in_use();
    if form.is_compacted() && c.fpu.mxcsr != MXCSR_INIT {
        used |= SSE;
    }
    let written = if form == Form::Plain { wanted } else { wanted & used };
    let len = if form.is_compacted() { compacted_len(wanted) } else { standard_len(wanted) };
    let lin = area_address(c, i, len, Access::Write)?;
    let p = c.privilege();
    c.check_write(lin, len, p)?;

    let mut image: Legacy = [0; 416];
    let n = c.vector_count();
    let at = |offset: usize| lin.wrapping_add(offset as u64);
    if written & X87 != 0 {
        c.fpu.store_x87(wide, &mut image);
        c.store_bytes(lin, &image[..24], p)?;
        c.store_bytes(at(32), &image[32..XMM_OFFSET], p)?;
    }
    let mxcsr_goes_with = if form.is_compacted() { written & SSE } else { wanted & (SSE | AVX) };
    if mxcsr_goes_with != 0 {
        c.fpu.store_mxcsr(&mut image);
        c.store_bytes(at(24), &image[24..32], p)?;
    }
    if written & SSE != 0 {
        image::store_vectors(&c.fpu.xmm[..n], &mut image[XMM_OFFSET..]);
        c.store_bytes(at(XMM_OFFSET), &image[XMM_OFFSET..XMM_OFFSET + 16 * n], p)?;
    }
    let mut store = |component: &Component, offset: usize| {
        let mut data = [0; LONGEST];
        let len = (component.save)(c, &mut data[..component.len]);
        c.store_bytes(at(offset), &data[..len], p)
    };
    if form.is_compacted() {
        for (component, offset) in compacted(wanted).0.filter(|(c, _)| written & c.bit != 0) {
            store(component, offset)?;
        }
        c.store(at(HEADER), wanted & used, p)?;
        c.store(at(HEADER + 8), wanted | COMPACTED, p)
    } else {
        for component in COMPONENTS.iter().filter(|c| written & c.bit != 0) {
            store(component, component.offset)?;
        }
        let old: u64 = c.load(at(HEADER), p)?;
        c.store(at(HEADER), old & !wanted | wanted & used, p)
    }
}

fn restore(c: &mut Cpu, i: &Instruction, wide: bool, form: Form) -> Exec {
    check(c, form)?;
    let (wanted, enabled) = (requested(c, form), enabled(c, form));
    let lin = area_address(c, i, AREA_MIN, Access::Read)?;
    let p = c.privilege();
    let mut area = [0; AREA_MIN];
    c.load_bytes(lin, &mut area, p)?;

    let header = &area[HEADER..];
    let (present, layout) = (u64_at(header, 0), u64_at(header, 8));
    let is_compacted = layout & COMPACTED != 0;
    let bad = if is_compacted {
        let reserved = header[16..].iter().any(|&b| b != 0);
        reserved || !has(c, Form::Compacted) || layout & !(COMPACTED | enabled) != 0 || present & !layout != 0
    } else {
        let reserved = header[8..24].iter().any(|&b| b != 0);
        reserved || form == Form::Supervisor || present & !enabled != 0
    };
    if bad {
        return Err(Fault::GP0);
    }
    let load = |bit: u64| wanted & present & bit != 0;
    let reset = |bit: u64| wanted & !present & bit != 0;
    // All of memory is read before anything changes.
    let mut data = [[0; LONGEST]; COMPONENTS.len()];
    let mut read = |component: &Component, offset: usize, data: &mut [u8; LONGEST]| {
        let at = lin.wrapping_add(offset as u64);
        c.load_bytes(at, &mut data[..component.len], p)
    };
    for (component, data) in COMPONENTS.iter().zip(&mut data).filter(|(c, _)| load(c.bit)) {
        let place = compacted(layout).0.find(|(c, _)| c.bit == component.bit).map(|(_, at)| at);
        read(component, if is_compacted { place.unwrap_or(AREA_MIN) } else { component.offset }, data)?;
    }
    let legacy = legacy_of(&area);
    // In the standard format MXCSR comes from memory whatever the header says.
    let mxcsr_loaded = if is_compacted { load(SSE) } else { wanted & (SSE | AVX) != 0 };
    if mxcsr_loaded {
        check_mxcsr(image::mxcsr_of(legacy))?;
        c.fpu.mxcsr = image::mxcsr_of(legacy);
    } else if is_compacted && reset(SSE) {
        c.fpu.mxcsr = MXCSR_INIT;
    }
    let n = c.vector_count();
    if load(X87) {
        c.fpu.load_x87(wide, legacy);
    } else if reset(X87) {
        c.fpu.reset_x87();
    }
    if load(SSE) {
        image::load_vectors(&mut c.fpu.xmm[..n], &legacy[XMM_OFFSET..]);
    } else if reset(SSE) {
        c.fpu.xmm[..n].fill(Vec128::default());
    }
    for (component, data) in COMPONENTS.iter().zip(&data) {
        if load(component.bit) {
            (component.load)(c, &data[..component.len]);
        } else if reset(component.bit) {
            (component.reset)(c);
        }
    }
    Ok(())
}
