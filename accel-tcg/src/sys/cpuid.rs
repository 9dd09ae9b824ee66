//! CPUID: the configured leaves, with the bits that follow the CPU's state (SDM vol. 2, CPUID).

use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::fpu::xsave;
use gearbox_core::x86::cpuid::CpuidSet;
use gearbox_core::x86::lapic::apic_base;
use gearbox_core::x86::state::{cr4, gpr};
use iced_x86::{Code, Instruction};

pub(super) fn executor(code: Code) -> Option<Executor> {
    (code == Code::Cpuid).then_some(cpuid as Executor)
}

/// Who makes such processors; some instructions and registers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Intel,
    Amd,
}

impl Vendor {
    /// By the vendor string of leaf 0. Whoever is not Intel is taken for AMD-like.
    pub(crate) fn of(cpuid: &CpuidSet) -> Self {
        let intel = cpuid.get(0, 0).is_some_and(|l| l.ebx.to_le_bytes() == *b"Genu");
        if intel { Self::Intel } else { Self::Amd }
    }
}

impl Cpu {
    fn apic_enabled(&self) -> bool {
        self.apic_base() & apic_base::EN != 0
    }
    /// Whose processor this is.
    pub(crate) fn vendor(&self) -> Vendor {
        Vendor::of(&self.cpuid)
    }
}

/// CPUID.0DH.1:EAX: there is a compacted format.
const XSAVEC_OR_XSAVES: u32 = 1 << 1 | 1 << 3;

fn cpuid(cpu: &mut Cpu, _: &Instruction) -> Exec {
    let (function, index) = (cpu.cpuid.shown(cpu.gpr(gpr::RAX) as u32), cpu.gpr(gpr::RCX) as u32);
    let (eax, mut ebx, mut ecx, mut edx) = cpu.cpuid.query(function, index);
    let assign = |r: &mut u32, bit: u32, on: bool| *r = *r & !(1 << bit) | u32::from(on) << bit;
    match (function, index) {
        (1, _) => {
            assign(&mut ecx, 27, cpu.cr4 & cr4::OSXSAVE != 0);
            if !cpu.apic_enabled() {
                assign(&mut edx, 9, false);
            }
        }
        (7, 0) => assign(&mut ecx, 4, cpu.cr4 & cr4::PKE != 0),
        // The size of the XSAVE area for what is enabled now, in the standard and in the compacted format.
        (0xd, 0) if eax != 0 => ebx = xsave::standard_len(cpu.xcr0) as u32,
        (0xd, 1) if eax & XSAVEC_OR_XSAVES != 0 => ebx = xsave::compacted_len(cpu.xcr0 | cpu.xss()) as u32,
        // AMD processors repeat leaf 1's APIC bit.
        (0x8000_0001, _) if !cpu.apic_enabled() => assign(&mut edx, 9, false),
        _ => {}
    }
    for (r, v) in [(gpr::RAX, eax), (gpr::RBX, ebx), (gpr::RCX, ecx), (gpr::RDX, edx)] {
        cpu.set_gpr_low(r, v);
    }
    Ok(())
}
