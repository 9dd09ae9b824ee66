//! Control registers: MOV CR, LMSW, SMSW, CLTS, XGETBV, XSETBV, and the mode changes that they cause (SDM vol. 3, 2.5, 4.1 and 10.9).

use super::descriptor::system;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use gearbox_core::x86::state::{Seg, cr0, cr4, efer, gpr};
use iced_x86::{Code, Instruction, OpKind, Register};

pub(super) fn executor(code: Code) -> Option<Executor> {
    use Code::*;
    Some(match code {
        Mov_r32_cr | Mov_r64_cr => mov_from,
        Mov_cr_r32 | Mov_cr_r64 => mov_to,
        Smsw_rm16 | Smsw_r32m16 | Smsw_r64m16 => smsw,
        Lmsw_rm16 | Lmsw_r32m16 | Lmsw_r64m16 => lmsw,
        Clts => clts,
        Xgetbv => xgetbv,
        Xsetbv => xsetbv,
        Rdpkru => rdpkru,
        Wrpkru => wrpkru,
        _ => return None,
    })
}

/// The bits of CR0 that exist; ET is always set.
pub(super) const CR0_KNOWN: u64 =
    cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::ET | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD | cr0::PG;

/// The bit of a value for CR3 that asks to keep the translations of its PCID.
const CR3_NO_FLUSH: u64 = 1 << 63;
const CR4_PAGING: u64 =
    cr4::PSE | cr4::PAE | cr4::PGE | cr4::PCIDE | cr4::SMEP | cr4::SMAP | cr4::PKE | cr4::PKS | cr4::LA57;
const CR0_PAGING: u64 = cr0::PG | cr0::WP;

/// Which CPUID bit (function, register, bit) makes which bit of CR4 exist. What stands at no feature is always there.
const CR4_FEATURES: [(u64, Option<Feature>); 19] = [
    (cr4::VME | cr4::PVI, Some(Feature(1, EDX, 1))),
    (cr4::TSD, Some(Feature(1, EDX, 4))),
    (cr4::DE, Some(Feature(1, EDX, 2))),
    (cr4::PSE, Some(Feature(1, EDX, 3))),
    (cr4::PAE, Some(Feature(1, EDX, 6))),
    (cr4::MCE, Some(Feature(1, EDX, 7))),
    (cr4::PGE, Some(Feature(1, EDX, 13))),
    (cr4::PCE, None),
    (cr4::OSFXSR, Some(Feature(1, EDX, 24))),
    (cr4::OSXMMEXCPT, Some(Feature(1, EDX, 25))),
    (cr4::UMIP, Some(Feature(7, ECX, 2))),
    (cr4::FSGSBASE, Some(Feature(7, EBX, 0))),
    (cr4::PCIDE, Some(Feature(1, ECX, 17))),
    (cr4::OSXSAVE, Some(Feature(1, ECX, 26))),
    (cr4::SMEP, Some(Feature(7, EBX, 7))),
    (cr4::SMAP, Some(Feature(7, EBX, 20))),
    (cr4::LA57, Some(Feature(7, ECX, 16))),
    (cr4::PKE, Some(Feature(7, ECX, 3))),
    (cr4::PKS, Some(Feature(7, ECX, 31))),
];
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// A CPUID feature bit: function, output register, bit.
#[derive(Clone, Copy)]
pub(super) struct Feature(pub u32, pub usize, pub u32);

impl Cpu {
    pub(super) fn has(&self, f: Feature) -> bool {
        self.cpuid.get(f.0, 0).is_some_and(|l| [l.eax, l.ebx, l.ecx, l.edx][f.1] >> f.2 & 1 != 0)
    }
    /// The bits that this CPU has in CR4.
    fn cr4_known(&self) -> u64 {
        CR4_FEATURES.iter().filter(|(_, f)| f.is_none_or(|f| self.has(f))).map(|(bit, _)| bit).sum()
    }
    /// Are all bits of a value for CR4 there?
    pub(super) fn cr4_is_known(&self, value: u64) -> bool {
        value & !self.cr4_known() == 0
    }
    /// The bits of a physical address above MAXPHYADDR.
    pub(super) fn beyond_physical(&self) -> u64 {
        u64::MAX.checked_shl(self.phys_bits).unwrap_or(0)
    }
    /// PAE paging, with its four page-directory pointers in registers.
    fn pae_paging(&self) -> bool {
        self.cr0 & cr0::PG != 0 && self.cr4 & cr4::PAE != 0 && !self.long_mode()
    }

    /// Writes CR0.
    pub(crate) fn set_cr0(&mut self, value: u64) -> Exec {
        if value >> 32 != 0 {
            return Err(Fault::GP0);
        }
        let new = value & CR0_KNOWN | cr0::ET;
        let on = |bit: u64| new & bit != 0;
        if (on(cr0::PG) && !on(cr0::PE)) || (on(cr0::NW) && !on(cr0::CD)) {
            return Err(Fault::GP0);
        }
        let changed = self.cr0 ^ new;
        let mut new_efer = self.efer;
        if changed & cr0::PG != 0 {
            if on(cr0::PG) {
                self.check_paging_on()?;
                if self.efer & efer::LME != 0 {
                    new_efer |= efer::LMA;
                }
            } else {
                if self.code64() || self.cr4 & cr4::PCIDE != 0 {
                    return Err(Fault::GP0);
                }
                new_efer &= !efer::LMA;
            }
        } else if changed & (cr0::CD | cr0::NW) != 0 && self.pae_paging() {
            self.pdpte = self.read_pdptes(self.cr3)?;
        }
        self.cr0 = new;
        self.efer = new_efer;
        if changed & CR0_PAGING != 0 {
            self.flush_tlb(true);
        }
        self.update_mode();
        Ok(())
    }
    fn check_paging_on(&mut self) -> Exec {
        if self.efer & efer::LME != 0 {
            let tr = self.segment(Seg::Tr);
            let small_tss = !tr.unusable() && tr.typ() & !system::BUSY == system::TSS16;
            if self.cr4 & cr4::PAE == 0 || self.segment(Seg::Cs).l() || small_tss {
                return Err(Fault::GP0);
            }
        } else if self.cr4 & cr4::PAE != 0 {
            self.pdpte = self.read_pdptes(self.cr3)?;
        }
        Ok(())
    }

    /// Reads the page-directory-pointer registers of PAE paging (SDM vol. 3, 4.4.1).
    fn read_pdptes(&mut self, cr3: u64) -> Exec<[u64; 4]> {
        let reserved = 0x1e6 | self.beyond_physical();
        let mut entries = [0; 4];
        for (k, e) in entries.iter_mut().enumerate() {
            *e = self.phys_load::<u64>((cr3 & 0xffff_ffe0) + 8 * k as u64)?;
            if *e & 1 != 0 && *e & reserved != 0 {
                return Err(Fault::GP0);
            }
        }
        Ok(entries)
    }

    /// Writes CR3.
    pub(crate) fn set_cr3(&mut self, value: u64) -> Exec {
        let pcid = self.cr4 & cr4::PCIDE != 0;
        let value = if pcid { value & !CR3_NO_FLUSH } else { value };
        if self.long_mode() && value & self.beyond_physical() != 0 {
            return Err(Fault::GP0);
        }
        if self.pae_paging() {
            self.pdpte = self.read_pdptes(value)?;
        }
        self.cr3 = value;
        // Translations carry no PCID here, so that every load forgets them; that is allowed at any time.
        self.flush_tlb(false);
        Ok(())
    }

    /// Writes CR4.
    pub(crate) fn set_cr4(&mut self, value: u64) -> Exec {
        if value & !self.cr4_known() != 0 {
            return Err(Fault::GP0);
        }
        let changed = self.cr4 ^ value;
        if self.long_mode() && changed & (cr4::PAE | cr4::LA57) != 0 {
            return Err(Fault::GP0);
        }
        if changed & value & cr4::PCIDE != 0 && (!self.long_mode() || self.cr3 & 0xfff != 0) {
            return Err(Fault::GP0);
        }
        let reload = cr4::PAE | cr4::PGE | cr4::PSE | cr4::SMEP;
        let pae_after = self.cr0 & cr0::PG != 0 && value & cr4::PAE != 0 && !self.long_mode();
        if pae_after && changed & reload != 0 {
            self.pdpte = self.read_pdptes(self.cr3)?;
        }
        self.cr4 = value;
        if changed & CR4_PAGING != 0 {
            self.flush_tlb(true);
        }
        self.update_mode();
        Ok(())
    }
}

/// The number of a control register that exists, or #UD.
fn number(r: Register) -> Exec<u32> {
    match r {
        Register::CR0 => Ok(0),
        Register::CR2 => Ok(2),
        Register::CR3 => Ok(3),
        Register::CR4 => Ok(4),
        Register::CR8 => Ok(8),
        _ => Err(Fault::UD),
    }
}

fn mov_from(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let n = number(i.op1_register())?;
    cpu.require_ring0()?;
    let value = match n {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        4 => cpu.cr4,
        _ => cpu.lapic_cr8(),
    };
    cpu.set_reg(i.op0_register(), value);
    Ok(())
}

fn mov_to(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let n = number(i.op0_register())?;
    cpu.require_ring0()?;
    let value = cpu.reg(i.op1_register());
    match n {
        0 => cpu.set_cr0(value),
        2 => {
            cpu.cr2 = value;
            Ok(())
        }
        3 => cpu.set_cr3(value),
        4 => cpu.set_cr4(value),
        _ if value > 15 => Err(Fault::GP0),
        _ => {
            cpu.set_lapic_cr8(value);
            Ok(())
        }
    }
}

fn smsw(cpu: &mut Cpu, i: &Instruction) -> Exec {
    cpu.check_umip()?;
    if i.op0_kind() == OpKind::Memory {
        return cpu.write_mem(i, cpu.cr0 as u16);
    }
    cpu.set_reg(i.op0_register(), cpu.cr0);
    Ok(())
}

fn lmsw(cpu: &mut Cpu, i: &Instruction) -> Exec {
    cpu.require_ring0()?;
    let value = u64::from(cpu.read_op::<u16>(i, 0)?);
    // PE, MP, EM, TS; PE can only be set.
    cpu.set_cr0(cpu.cr0 & !0xe | value & 0xf)
}

fn clts(cpu: &mut Cpu, _: &Instruction) -> Exec {
    cpu.require_ring0()?;
    cpu.cr0 &= !cr0::TS;
    cpu.update_mode();
    Ok(())
}

fn xgetbv(cpu: &mut Cpu, _: &Instruction) -> Exec {
    if cpu.cr4 & cr4::OSXSAVE == 0 {
        return Err(Fault::UD);
    }
    let value = match cpu.gpr(gpr::RCX) as u32 {
        0 => cpu.xcr0,
        // Which of them are not in their initial state.
        1 if cpu.has_xgetbv1() => cpu.xcr0 & cpu.xstate_in_use(),
        _ => return Err(Fault::GP0),
    };
    cpu.set_gpr_low(gpr::RAX, value as u32);
    cpu.set_gpr_low(gpr::RDX, (value >> 32) as u32);
    Ok(())
}

fn xsetbv(cpu: &mut Cpu, _: &Instruction) -> Exec {
    if cpu.cr4 & cr4::OSXSAVE == 0 {
        return Err(Fault::UD);
    }
    cpu.require_ring0()?;
    const X87: u64 = 1;
    const SSE: u64 = 2;
    const AVX: u64 = 4;
    let value = cpu.edx_eax();
    let known = cpu.cpuid.get(0xd, 0).map_or(X87, |l| u64::from(l.edx) << 32 | u64::from(l.eax));
    let avx_without_sse = value & AVX != 0 && value & SSE == 0;
    if cpu.gpr(gpr::RCX) as u32 != 0 || value & !known != 0 || value & X87 == 0 || avx_without_sse {
        return Err(Fault::GP0);
    }
    cpu.xcr0 = value;
    cpu.leave_block = true;
    Ok(())
}

/// RDPKRU and WRPKRU exist where the system has turned protection keys on; ECX must be 0 (SDM vol. 2).
fn check_pkru(cpu: &Cpu) -> Exec {
    if cpu.cr4 & cr4::PKE == 0 {
        return Err(Fault::UD);
    }
    if cpu.gpr(gpr::RCX) as u32 != 0 { Err(Fault::GP0) } else { Ok(()) }
}

fn rdpkru(cpu: &mut Cpu, _: &Instruction) -> Exec {
    check_pkru(cpu)?;
    cpu.set_gpr_low(gpr::RAX, cpu.pkru);
    cpu.set_gpr_low(gpr::RDX, 0u32);
    Ok(())
}

fn wrpkru(cpu: &mut Cpu, _: &Instruction) -> Exec {
    check_pkru(cpu)?;
    if cpu.gpr(gpr::RDX) as u32 != 0 {
        return Err(Fault::GP0);
    }
    cpu.set_pkru(cpu.gpr(gpr::RAX) as u32);
    Ok(())
}

impl Cpu {
    /// #GP(0) unless the privilege level is 0 (real mode has it).
    pub(crate) fn require_ring0(&self) -> Exec {
        if self.cpl == 0 { Ok(()) } else { Err(Fault::GP0) }
    }
    /// User-mode instruction prevention: SGDT, SIDT, SLDT, STR and SMSW are #GP(0) above ring 0.
    pub(crate) fn check_umip(&self) -> Exec {
        if self.cr4 & cr4::UMIP != 0 && self.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
    }
    /// EDX:EAX.
    pub(crate) fn edx_eax(&self) -> u64 {
        self.gpr(gpr::RDX) << 32 | self.gpr(gpr::RAX) & 0xffff_ffff
    }
}
