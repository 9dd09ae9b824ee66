//! Model-specific registers (SDM vol. 4; AMD's from the BIOS and Kernel Developer's Guides): one table, and what stands behind it.

use super::control::Feature;
use super::cpuid::Vendor;
use crate::cpu::{Cpu, TSC_HZ};
use crate::fault::{Exec, Fault};
use crate::fpu::xsave::{IA32_XSS, SUPERVISOR};
use crate::state::IA32_PKRS;
use gearbox_core::clock::ticks_to_ns;
use gearbox_core::x86::lapic::Lapic;
use gearbox_core::x86::state::{Seg, cr0, efer};
use std::ops::RangeInclusive;

/// Which CPUs have a register.
enum Has {
    All,
    Intel,
    Amd,
    Feature(Feature),
}

/// What a register does.
enum Kind {
    /// Has a place of its own, or effects.
    Special(fn(&mut Cpu, u32) -> Exec<u64>, fn(&mut Cpu, u32, u64) -> Exec),
    /// Keeps what is written. `writable` bits only, or #GP(0).
    Stored { reset: u64, writable: u64 },
    /// Keeps what is written if the check passes.
    Checked { reset: u64, valid: fn(&Cpu, u32, u64) -> bool },
    /// Always this value; a write of anything is dropped.
    Fixed(u64),
    /// Always this value; a write is #GP(0).
    ReadOnly(u64),
}

struct Msr(RangeInclusive<u32>, Has, Kind);

mod index {
    pub(super) const TSC: u32 = 0x10;
    pub(super) const APIC_BASE: u32 = 0x1b;
    pub(super) const TSC_ADJUST: u32 = 0x3b;
    pub(super) const SYSENTER_CS: u32 = 0x174;
    pub(super) const SYSENTER_ESP: u32 = 0x175;
    pub(super) const SYSENTER_EIP: u32 = 0x176;
    pub(super) const DEBUGCTL: u32 = 0x1d9;
    pub(super) const TSC_DEADLINE: u32 = 0x6e0;
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const STAR: u32 = 0xc000_0081;
    pub(super) const LSTAR: u32 = 0xc000_0082;
    pub(super) const CSTAR: u32 = 0xc000_0083;
    pub(super) const SFMASK: u32 = 0xc000_0084;
    pub(super) const FS_BASE: u32 = 0xc000_0100;
    pub(super) const GS_BASE: u32 = 0xc000_0101;
    pub(super) const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub(super) const TSC_AUX: u32 = 0xc000_0103;
}
use index::*;

const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;
const HAS_TSC_ADJUST: Feature = Feature(7, EBX, 1);
const HAS_TSC_DEADLINE: Feature = Feature(1, ECX, 24);
const HAS_PKS: Feature = Feature(7, ECX, 31);
const HAS_X2APIC: Feature = Feature(1, ECX, 21);
const HAS_MTRR: Feature = Feature(1, EDX, 12);
const HAS_PAT: Feature = Feature(1, EDX, 16);
const HAS_SEP: Feature = Feature(1, EDX, 11);
const HAS_MCA: Feature = Feature(1, EDX, 14);
const HAS_APIC: Feature = Feature(1, EDX, 9);
const HAS_LM: Feature = Feature(0x8000_0001, EDX, 29);
const HAS_NX: Feature = Feature(0x8000_0001, EDX, 20);
const HAS_FFXSR: Feature = Feature(0x8000_0001, EDX, 25);
const HAS_RDTSCP: Feature = Feature(0x8000_0001, EDX, 27);

/// IA32_DEBUGCTL: TF traps taken branches only.
const BTF: u64 = 1 << 1;
/// Machine-check banks, as QEMU's CPUs have.
const MCA_BANKS: u32 = 10;
/// IA32_MCG_CAP: MCG_CTL is present, software error recovery.
const MCG_CAP: u64 = 1 << 24 | 1 << 8 | MCA_BANKS as u64;
/// Eight variable ranges, fixed ranges, write-combining.
const MTRR_CAP: u64 = 0x508;
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
const ALL: u64 = u64::MAX;

/// Every register, sorted by nothing: the few hundred rows of a linear search are not felt beside a trap into a kernel, and the ones that
/// kernels write all the time stand first.
static TABLE: &[Msr] = {
    use Has::*;
    use Kind::*;
    const fn stored(reset: u64, writable: u64) -> Kind {
        Stored { reset, writable }
    }
    &[
        Msr(
            FS_BASE..=FS_BASE,
            Feature(HAS_LM),
            Special(|c, _| Ok(c.segment(Seg::Fs).base), |c, _, v| c.set_base_msr(Seg::Fs, v)),
        ),
        Msr(
            GS_BASE..=GS_BASE,
            Feature(HAS_LM),
            Special(|c, _| Ok(c.segment(Seg::Gs).base), |c, _, v| c.set_base_msr(Seg::Gs, v)),
        ),
        Msr(
            KERNEL_GS_BASE..=KERNEL_GS_BASE,
            Feature(HAS_LM),
            Special(
                |c, _| Ok(c.msr.kernel_gs_base),
                |c, _, v| {
                    c.msr.kernel_gs_base = c.canonical_or_gp(v)?;
                    Ok(())
                },
            ),
        ),
        Msr(0x800..=0x8ff, Feature(HAS_X2APIC), Special(Cpu::read_x2apic, Cpu::write_x2apic)),
        Msr(
            TSC_DEADLINE..=TSC_DEADLINE,
            Feature(HAS_TSC_DEADLINE),
            Special(|c, _| Ok(c.lapic.lock().tsc_deadline()), Cpu::set_tsc_deadline),
        ),
        Msr(
            TSC..=TSC,
            All,
            Special(
                |c, _| Ok(c.tsc()),
                |c, _, v| {
                    // What moves the counter shows in IA32_TSC_ADJUST (SDM vol. 3, 18.17.3).
                    let by = v.wrapping_sub(c.tsc());
                    let adjust = c.stored(TSC_ADJUST, 0).wrapping_add(by);
                    c.msr.other.insert(TSC_ADJUST, adjust);
                    c.shift_tsc(by);
                    Ok(())
                },
            ),
        ),
        Msr(
            TSC_ADJUST..=TSC_ADJUST,
            Feature(HAS_TSC_ADJUST),
            Special(
                |c, _| Ok(c.stored(TSC_ADJUST, 0)),
                |c, _, v| {
                    let old = c.stored(TSC_ADJUST, 0);
                    c.shift_tsc(v.wrapping_sub(old));
                    c.msr.other.insert(TSC_ADJUST, v);
                    Ok(())
                },
            ),
        ),
        Msr(
            APIC_BASE..=APIC_BASE,
            Feature(HAS_APIC),
            Special(|c, _| Ok(c.apic_base()), |c, _, v| c.set_apic_base(v).map_err(|_| Fault::GP0)),
        ),
        // System calls.
        Msr(EFER..=EFER, All, Special(|c, _| Ok(c.efer), Cpu::set_efer)),
        Msr(
            STAR..=STAR,
            All,
            Special(
                |c, _| Ok(c.msr.star),
                |c, _, v| {
                    c.msr.star = v;
                    Ok(())
                },
            ),
        ),
        Msr(
            LSTAR..=LSTAR,
            Feature(HAS_LM),
            Special(
                |c, _| Ok(c.msr.lstar),
                |c, _, v| {
                    c.msr.lstar = c.canonical_or_gp(v)?;
                    Ok(())
                },
            ),
        ),
        Msr(
            CSTAR..=CSTAR,
            Feature(HAS_LM),
            Special(
                |c, _| Ok(c.msr.cstar),
                |c, _, v| {
                    c.msr.cstar = c.canonical_or_gp(v)?;
                    Ok(())
                },
            ),
        ),
        Msr(
            SFMASK..=SFMASK,
            Feature(HAS_LM),
            Special(
                |c, _| Ok(c.msr.sfmask),
                |c, _, v| {
                    c.msr.sfmask = v & 0xffff_ffff;
                    Ok(())
                },
            ),
        ),
        Msr(
            TSC_AUX..=TSC_AUX,
            Feature(HAS_RDTSCP),
            Special(
                |c, _| Ok(c.msr.tsc_aux),
                |c, _, v| {
                    if v >> 32 != 0 {
                        return Err(Fault::GP0);
                    }
                    c.msr.tsc_aux = v;
                    Ok(())
                },
            ),
        ),
        Msr(
            SYSENTER_CS..=SYSENTER_CS,
            Feature(HAS_SEP),
            Special(
                |c, _| Ok(c.msr.sysenter_cs),
                |c, _, v| {
                    c.msr.sysenter_cs = v & 0xffff_ffff;
                    Ok(())
                },
            ),
        ),
        Msr(
            SYSENTER_ESP..=SYSENTER_ESP,
            Feature(HAS_SEP),
            Special(
                |c, _| Ok(c.msr.sysenter_esp),
                |c, _, v| {
                    c.msr.sysenter_esp = c.canonical_or_gp(v)?;
                    Ok(())
                },
            ),
        ),
        Msr(
            SYSENTER_EIP..=SYSENTER_EIP,
            Feature(HAS_SEP),
            Special(
                |c, _| Ok(c.msr.sysenter_eip),
                |c, _, v| {
                    c.msr.sysenter_eip = c.canonical_or_gp(v)?;
                    Ok(())
                },
            ),
        ),
        Msr(
            IA32_PKRS..=IA32_PKRS,
            Feature(HAS_PKS),
            Special(
                |c, _| Ok(c.pkrs.into()),
                |c, _, v| {
                    c.set_pkrs(u32::try_from(v).map_err(|_| Fault::GP0)?);
                    Ok(())
                },
            ),
        ),
        // Memory types: kept for the guest, without effect, as all memory is coherent here.
        Msr(0xfe..=0xfe, Feature(HAS_MTRR), ReadOnly(MTRR_CAP)),
        Msr(0x200..=0x20f, Feature(HAS_MTRR), Checked { reset: 0, valid: valid_variable_mtrr }),
        Msr(0x250..=0x250, Feature(HAS_MTRR), Checked { reset: 0, valid: valid_fixed_mtrr }),
        Msr(0x258..=0x259, Feature(HAS_MTRR), Checked { reset: 0, valid: valid_fixed_mtrr }),
        Msr(0x268..=0x26f, Feature(HAS_MTRR), Checked { reset: 0, valid: valid_fixed_mtrr }),
        Msr(0x2ff..=0x2ff, Feature(HAS_MTRR), Checked { reset: 0, valid: valid_default_mtrr }),
        Msr(0x277..=0x277, Feature(HAS_PAT), Checked { reset: PAT_RESET, valid: valid_pat }),
        // Machine check: no bank ever reports anything.
        Msr(0x179..=0x179, Feature(HAS_MCA), ReadOnly(MCG_CAP)),
        Msr(0x17a..=0x17a, Feature(HAS_MCA), stored(0, 7)),
        Msr(0x17b..=0x17b, Feature(HAS_MCA), Checked { reset: ALL, valid: |_, _, v| v == 0 || v == ALL }),
        Msr(0x400..=0x400 + 4 * MCA_BANKS - 1, Feature(HAS_MCA), Special(Cpu::read_mca_bank, Cpu::write_mca_bank)),
        // Supervisor components of XSAVES.
        Msr(IA32_XSS..=IA32_XSS, All, Special(Cpu::read_xss, Cpu::write_xss)),
        // The revision of the microcode reads as QEMU's.
        Msr(0x79..=0x79, Intel, Fixed(0)),
        Msr(0x8b..=0x8b, Intel, Fixed(1 << 32)),
        Msr(0x8b..=0x8b, Amd, ReadOnly(0x0100_0065)),
        Msr(0x17..=0x17, Intel, ReadOnly(0)),
        Msr(0x2a..=0x2a, Intel, Fixed(0)),
        // Locked, VMX off.
        Msr(0x3a..=0x3a, Intel, ReadOnly(1)),
        // A ratio of 4 and a performance state, as QEMU's.
        Msr(0x198..=0x198, Intel, ReadOnly(4 << 40 | 1000)),
        Msr(0x199..=0x199, Intel, stored(0, ALL)),
        // Fast strings.
        Msr(0x1a0..=0x1a0, All, stored(1, 0x0000_0004_00c5_1889)),
        // Single-stepping by branches, but no branch records.
        Msr(DEBUGCTL..=DEBUGCTL, All, stored(0, BTF)),
        // AMD's event selects and counters, which every processor since the K7 has, and Xen clears: nothing is counted, as on KVM without a PMU.
        Msr(0xc001_0000..=0xc001_0007, Amd, Fixed(0)),
        // AMD: system configuration, hardware configuration, top of memory, northbridge, MMCONFIG, errata lists, pending messages.
        Msr(0xc001_0010..=0xc001_0010, Amd, stored(0, 0xffff_ffff)),
        Msr(0xc001_0015..=0xc001_0015, Amd, stored(0, 0xffff_ffff)),
        Msr(0xc001_001a..=0xc001_001a, Amd, stored(0, ALL)),
        Msr(0xc001_001d..=0xc001_001d, Amd, stored(0, ALL)),
        Msr(0xc001_001f..=0xc001_001f, Amd, stored(0, ALL)),
        Msr(0xc001_0055..=0xc001_0055, Amd, stored(0, 0xffff_ffff)),
        Msr(0xc001_0058..=0xc001_0058, Amd, stored(0, ALL)),
        Msr(0xc001_0140..=0xc001_0141, Amd, ReadOnly(0)),
        // Configuration of units that are not modelled (load-store, caches, decoder), among them the feature masks.
        Msr(0xc001_1000..=0xc001_103f, Amd, stored(0, ALL)),
    ]
};

/// How many unknown registers are reported.
const MAX_REPORTS: usize = 64;

impl Has {
    fn on(&self, cpu: &Cpu) -> bool {
        match self {
            Self::All => true,
            Self::Intel => cpu.vendor() == Vendor::Intel,
            Self::Amd => cpu.vendor() == Vendor::Amd,
            Self::Feature(f) => cpu.has(*f),
        }
    }
}

fn find(cpu: &Cpu, index: u32) -> Option<&'static Kind> {
    TABLE.iter().find(|m| m.0.contains(&index) && m.1.on(cpu)).map(|m| &m.2)
}

fn is_memory_type(t: u64) -> bool {
    matches!(t, 0 | 1 | 4 | 5 | 6)
}
fn valid_fixed_mtrr(_: &Cpu, _: u32, v: u64) -> bool {
    v.to_le_bytes().iter().all(|&t| is_memory_type(t.into()))
}
fn valid_variable_mtrr(cpu: &Cpu, index: u32, v: u64) -> bool {
    let base_register = index & 1 == 0;
    let low = v & 0xfff;
    let low_is_good = if base_register { is_memory_type(low) } else { low & !(1 << 11) == 0 };
    low_is_good && v & cpu.beyond_physical() == 0
}
fn valid_default_mtrr(_: &Cpu, _: u32, v: u64) -> bool {
    v & !0xcff == 0 && is_memory_type(v & 0xff)
}
fn valid_pat(_: &Cpu, _: u32, v: u64) -> bool {
    // UC- exists here beside the types of the MTRRs.
    v.to_le_bytes().iter().all(|&t| is_memory_type(t.into()) || t == 7)
}

impl Cpu {
    /// RDMSR, after the check of the privilege level.
    pub(crate) fn read_msr(&mut self, index: u32) -> Exec<u64> {
        match find(self, index) {
            Some(Kind::Special(read, _)) => read(self, index),
            Some(Kind::Stored { reset, .. } | Kind::Checked { reset, .. }) => Ok(self.stored(index, *reset)),
            Some(Kind::Fixed(v) | Kind::ReadOnly(v)) => Ok(*v),
            None => Err(self.unknown_msr(index, None)),
        }
    }
    /// WRMSR, after the check of the privilege level.
    pub(crate) fn write_msr(&mut self, index: u32, value: u64) -> Exec {
        let good = match find(self, index) {
            Some(Kind::Special(_, write)) => return write(self, index, value),
            Some(Kind::Fixed(_)) => return Ok(()),
            Some(Kind::Stored { writable, .. }) => value & !writable == 0,
            Some(Kind::Checked { valid, .. }) => valid(self, index, value),
            Some(Kind::ReadOnly(_)) => false,
            None => return Err(self.unknown_msr(index, Some(value))),
        };
        if !good {
            return Err(Fault::GP0);
        }
        self.msr.other.insert(index, value);
        Ok(())
    }
    /// TF traps taken branches only.
    pub(super) fn steps_branches(&self) -> bool {
        self.stored(DEBUGCTL, 0) & BTF != 0
    }
    /// A debug exception ends single-stepping by branches (SDM vol. 3, 18.4.4).
    pub(super) fn end_branch_steps(&mut self) {
        self.msr.other.remove(&DEBUGCTL);
    }
    fn stored(&self, index: u32, reset: u64) -> u64 {
        self.msr.other.get(&index).copied().unwrap_or(reset)
    }
    /// #GP(0) for a register that is not there, said once for each of the first few.
    fn unknown_msr(&mut self, index: u32, written: Option<u64>) -> Fault {
        if self.msr.unknown.len() < MAX_REPORTS && self.msr.unknown.insert(index) {
            match written {
                Some(v) => tracing::info!(target: "guest_error", "WRMSR {index:#x} = {v:#x}: no such register; #GP"),
                None => tracing::info!(target: "guest_error", "RDMSR {index:#x}: no such register; #GP"),
            }
        }
        Fault::GP0
    }

    fn canonical_or_gp(&self, v: u64) -> Exec<u64> {
        if self.canonical_base(v) { Ok(v) } else { Err(Fault::GP0) }
    }
    fn set_base_msr(&mut self, s: Seg, v: u64) -> Exec {
        let v = self.canonical_or_gp(v)?;
        self.set_seg_base(s, v);
        Ok(())
    }

    /// The bits that this CPU has in IA32_EFER.
    pub(super) fn efer_known(&self) -> u64 {
        let optional = [(HAS_LM, efer::LME | efer::LMA), (HAS_NX, efer::NXE), (HAS_FFXSR, efer::FFXSR)];
        efer::SCE | optional.iter().filter(|(f, _)| self.has(*f)).map(|(_, bits)| bits).sum::<u64>()
    }
    fn set_efer(&mut self, _: u32, v: u64) -> Exec {
        let changed = self.efer ^ v;
        if v & !self.efer_known() != 0 || (changed & efer::LME != 0 && self.cr0 & cr0::PG != 0) {
            return Err(Fault::GP0);
        }
        // LMA follows CR0.PG alone.
        self.efer = v & !efer::LMA | self.efer & efer::LMA;
        if changed & efer::NXE != 0 {
            self.flush_tlb(true);
        }
        self.update_mode();
        Ok(())
    }

    /// Moves the counter; a deadline stays at its value, and so comes at another time.
    fn shift_tsc(&mut self, by: u64) {
        self.tsc_offset = self.tsc_offset.wrapping_add(by);
        let deadline = self.lapic.lock().tsc_deadline();
        if deadline != 0 {
            self.arm_tsc_deadline(deadline);
        }
    }
    fn set_tsc_deadline(&mut self, _: u32, v: u64) -> Exec {
        self.arm_tsc_deadline(v);
        Ok(())
    }
    fn arm_tsc_deadline(&mut self, v: u64) {
        let ahead = v.saturating_sub(self.tsc());
        let due = self.now().saturating_add(ticks_to_ns(ahead, TSC_HZ));
        self.lapic.lock().set_tsc_deadline(v, due);
        self.lapic_effect(None);
    }

    fn read_x2apic(&mut self, index: u32) -> Exec<u64> {
        debug_assert!(Lapic::is_x2apic_msr(index));
        let now = self.now();
        self.lapic.lock().read_msr(index, now).map_err(|_| Fault::GP0)
    }
    fn write_x2apic(&mut self, index: u32, v: u64) -> Exec {
        let now = self.now();
        let effect = self.lapic.lock().write_msr(index, v, now).map_err(|_| Fault::GP0)?;
        self.lapic_effect(effect);
        Ok(())
    }

    fn read_xss(&mut self, index: u32) -> Exec<u64> {
        if self.has_xsaves() { Ok(self.xss()) } else { Err(self.unknown_msr(index, None)) }
    }
    fn write_xss(&mut self, index: u32, v: u64) -> Exec {
        if !self.has_xsaves() {
            return Err(self.unknown_msr(index, Some(v)));
        }
        if v & !SUPERVISOR != 0 {
            return Err(Fault::GP0);
        }
        self.msr.other.insert(index, v);
        Ok(())
    }

    /// IA32_MCi_CTL, STATUS, ADDR, MISC.
    fn read_mca_bank(&mut self, index: u32) -> Exec<u64> {
        Ok(self.stored(index, if index & 3 == 0 { ALL } else { 0 }))
    }
    fn write_mca_bank(&mut self, index: u32, v: u64) -> Exec {
        if index & 3 == 0 {
            self.msr.other.insert(index, v);
        } else if v != 0 {
            return Err(Fault::GP0);
        }
        Ok(())
    }
}
