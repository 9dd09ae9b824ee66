//! The architectural state of one x86 CPU, neutral between accelerators.
//!
//! Everything here is named and laid out after the Intel SDM (volume 3, chapters 2, 3 and 13), not after any
//! accelerator's ioctl or cache: what one accelerator writes, any other must be able to load.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// RFLAGS bits (SDM vol. 1, 3.4.3).
pub mod rflags {
    #![allow(missing_docs)]
    pub const CF: u64 = 1 << 0;
    pub const FIXED1: u64 = 1 << 1;
    pub const PF: u64 = 1 << 2;
    pub const AF: u64 = 1 << 4;
    pub const ZF: u64 = 1 << 6;
    pub const SF: u64 = 1 << 7;
    pub const TF: u64 = 1 << 8;
    pub const IF: u64 = 1 << 9;
    pub const DF: u64 = 1 << 10;
    pub const OF: u64 = 1 << 11;
    pub const IOPL: u64 = 3 << 12;
    pub const NT: u64 = 1 << 14;
    pub const RF: u64 = 1 << 16;
    pub const VM: u64 = 1 << 17;
    pub const AC: u64 = 1 << 18;
    pub const VIF: u64 = 1 << 19;
    pub const VIP: u64 = 1 << 20;
    pub const ID: u64 = 1 << 21;
    /// All of them, without what is fixed.
    pub const DEFINED: u64 = 0x3f_7fd5;
}

/// CR0 bits (SDM vol. 3, 2.5).
pub mod cr0 {
    #![allow(missing_docs)]
    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
}

/// CR4 bits (SDM vol. 3, 2.5).
pub mod cr4 {
    #![allow(missing_docs)]
    pub const VME: u64 = 1 << 0;
    pub const PVI: u64 = 1 << 1;
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const LA57: u64 = 1 << 12;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
    pub const PKE: u64 = 1 << 22;
    pub const PKS: u64 = 1 << 24;
}

/// IA32_EFER bits (SDM vol. 3, 2.2.1; SVME and FFXSR from the AMD APM vol. 2, 3.1.7).
pub mod efer {
    #![allow(missing_docs)]
    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
    pub const SVME: u64 = 1 << 12;
    pub const FFXSR: u64 = 1 << 14;
}

/// Indices of general-purpose registers in [`X86State::gpr`], in encoding order.
pub mod gpr {
    #![allow(missing_docs)]
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

/// A segment register with its hidden part (SDM vol. 3, 3.4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The visible selector.
    pub selector: u16,
    /// Base address.
    pub base: u64,
    /// Limit in bytes, granularity already applied (inclusive).
    pub limit: u32,
    /// Access rights as in bits 8..24 of the descriptor's high dword, shifted down by 8: type (0..3), S (4), DPL (5..6), P (7),
    /// AVL (12), L (13), D/B (14), G (15); and [`Segment::UNUSABLE`].
    pub attr: u32,
}

impl Segment {
    /// The register holds a null selector, or was never loaded (SDM vol. 3, 24.4.1 uses the same bit).
    pub const UNUSABLE: u32 = 1 << 16;

    /// A segment as a real-mode load leaves it: base = selector × 16, 64 KiB, present, writable and accessed data.
    pub fn real(selector: u16) -> Self {
        Self { selector, base: u64::from(selector) << 4, limit: 0xffff, attr: 0x93 }
    }
    /// Type field (4 bits).
    pub fn typ(&self) -> u8 {
        (self.attr & 15) as u8
    }
    /// S: true for code and data, false for system segments.
    pub fn s(&self) -> bool {
        self.attr & 1 << 4 != 0
    }
    /// Descriptor privilege level.
    pub fn dpl(&self) -> u8 {
        (self.attr >> 5 & 3) as u8
    }
    /// Present.
    pub fn present(&self) -> bool {
        self.attr & 1 << 7 != 0
    }
    /// L: 64-bit code segment.
    pub fn l(&self) -> bool {
        self.attr & 1 << 13 != 0
    }
    /// D/B: 32-bit default size.
    pub fn db(&self) -> bool {
        self.attr & 1 << 14 != 0
    }
    /// G: granularity as loaded (the limit here is already in bytes).
    pub fn g(&self) -> bool {
        self.attr & 1 << 15 != 0
    }
    /// Not loaded with a usable descriptor.
    pub fn unusable(&self) -> bool {
        self.attr & Self::UNUSABLE != 0
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorTable {
    /// Linear base address.
    pub base: u64,
    /// Limit in bytes (inclusive).
    pub limit: u16,
}

/// Indices of segment registers in [`X86State::seg`], in encoding order, then LDTR and TR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(usize)]
#[allow(missing_docs)]
pub enum Seg {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

/// x87, SSE and AVX registers. [`FpuState::to_xsave`] gives the standard-format XSAVE image (SDM vol. 1, 13.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FpuState {
    /// Control word.
    pub fcw: u16,
    /// Status word, TOP included.
    pub fsw: u16,
    /// Abridged tag word, one bit per *physical* register, 1 = not empty (FXSAVE form).
    pub ftw: u8,
    /// Last opcode (11 bits).
    pub fop: u16,
    /// Last instruction pointer.
    pub fip: u64,
    /// Last data pointer.
    pub fdp: u64,
    /// Stack registers ST(0)..ST(7), 80 bits each in the low bits (FXSAVE order).
    pub st: [u128; 8],
    /// SSE control and status.
    pub mxcsr: u32,
    /// XMM0..15.
    pub xmm: [u128; 16],
    /// High halves of YMM0..15.
    pub ymm_hi: [u128; 16],
}

impl Default for FpuState {
    /// The state after RESET (SDM vol. 3, table 10-1).
    fn default() -> Self {
        Self {
            fcw: 0x40,
            fsw: 0,
            ftw: 0xff,
            fop: 0,
            fip: 0,
            fdp: 0,
            st: [0; 8],
            mxcsr: 0x1f80,
            xmm: [0; 16],
            ymm_hi: [0; 16],
        }
    }
}

impl FpuState {
    /// Bytes of the standard-format XSAVE image with x87, SSE and AVX components.
    pub const XSAVE_SIZE: usize = 832;

    /// The standard-format XSAVE image: legacy region, header, AVX component at offset 576.
    pub fn to_xsave(&self) -> [u8; Self::XSAVE_SIZE] {
        let mut b = [0u8; Self::XSAVE_SIZE];
        b[0..2].copy_from_slice(&self.fcw.to_le_bytes());
        b[2..4].copy_from_slice(&self.fsw.to_le_bytes());
        b[4] = self.ftw;
        b[6..8].copy_from_slice(&self.fop.to_le_bytes());
        b[8..16].copy_from_slice(&self.fip.to_le_bytes());
        b[16..24].copy_from_slice(&self.fdp.to_le_bytes());
        b[24..28].copy_from_slice(&self.mxcsr.to_le_bytes());
        b[28..32].copy_from_slice(&0xffffu32.to_le_bytes());
        for (i, st) in self.st.iter().enumerate() {
            b[32 + 16 * i..42 + 16 * i].copy_from_slice(&st.to_le_bytes()[..10]);
        }
        for i in 0..16 {
            b[160 + 16 * i..176 + 16 * i].copy_from_slice(&self.xmm[i].to_le_bytes());
            b[576 + 16 * i..592 + 16 * i].copy_from_slice(&self.ymm_hi[i].to_le_bytes());
        }
        b[512] = 7;
        b
    }

    /// Reads an image as written by [`FpuState::to_xsave`]. Components whose XSTATE_BV bit is clear take their initial values.
    /// A shorter image (FXSAVE's 512 bytes) is read as x87 and SSE.
    pub fn from_xsave(b: &[u8]) -> Self {
        let bv = if b.len() >= 520 { b[512] } else { 3 };
        let u16_at = |o: usize| u16::from_le_bytes([b[o], b[o + 1]]);
        let u64_at = |o: usize| u64::from_le_bytes(b[o..o + 8].try_into().expect("8 bytes"));
        let u128_at = |o: usize| u128::from_le_bytes(b[o..o + 16].try_into().expect("16 bytes"));
        let mut s = Self { fcw: 0x37f, ftw: 0, ..Self::default() };
        if bv & 1 != 0 {
            s.fcw = u16_at(0);
            s.fsw = u16_at(2);
            s.ftw = b[4];
            s.fop = u16_at(6);
            s.fip = u64_at(8);
            s.fdp = u64_at(16);
            for i in 0..8 {
                s.st[i] = u128_at(32 + 16 * i) & ((1 << 80) - 1);
            }
        }
        if bv & 6 != 0 {
            s.mxcsr = u32::from_le_bytes(b[24..28].try_into().expect("4 bytes"));
        }
        if bv & 2 != 0 {
            for i in 0..16 {
                s.xmm[i] = u128_at(160 + 16 * i);
            }
        }
        if bv & 4 != 0 && b.len() >= Self::XSAVE_SIZE {
            for i in 0..16 {
                s.ymm_hi[i] = u128_at(576 + 16 * i);
            }
        }
        s
    }
}

/// What the CPU is doing (the multiprocessor states of SDM vol. 3, 9.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Executing instructions.
    #[default]
    Active,
    /// In HLT until an interrupt, NMI, SMI or INIT.
    Halted,
    /// An application processor that waits for a SIPI.
    WaitForSipi,
    /// After a triple fault.
    Shutdown,
}

/// An exception that is being or waits to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingException {
    /// Vector, 0..31.
    pub vector: u8,
    /// Error code, for the vectors that have one.
    pub error_code: Option<u32>,
}

/// Events between two instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEvents {
    /// Exception taken but not yet delivered.
    pub exception: Option<PendingException>,
    /// External interrupt acknowledged but not yet delivered.
    pub interrupt: Option<u8>,
    /// NMI arrived and not yet delivered.
    pub nmi_pending: bool,
    /// NMIs are blocked until IRET.
    pub nmi_masked: bool,
    /// Blocked for one instruction by STI.
    pub sti_shadow: bool,
    /// Blocked for one instruction by MOV SS or POP SS.
    pub mov_ss_shadow: bool,
}

/// System management mode (SDM vol. 3, chapter 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmmState {
    /// The CPU is in it.
    pub active: bool,
    /// SMBASE.
    pub base: u32,
    /// An SMI has arrived and is not yet taken.
    pub pending: bool,
    /// NMIs were masked when the CPU entered, and will be after RSM.
    pub nmi_was_masked: bool,
}

impl Default for SmmState {
    /// The state after RESET.
    fn default() -> Self {
        Self { active: false, base: 0x3_0000, pending: false, nmi_was_masked: false }
    }
}

/// One saved form of the local APIC for every accelerator: the 4 KiB register page (SDM vol. 3, table 11-1), one dword every
/// 16 bytes, of which the first 1 KiB is architectural.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LapicState {
    /// Register dwords by offset / 16.
    pub regs: Vec<u32>,
}

impl LapicState {
    /// Number of 16-byte register slots.
    pub const SLOTS: usize = 64;
}

impl Default for LapicState {
    fn default() -> Self {
        Self { regs: vec![0; Self::SLOTS] }
    }
}

/// The whole architectural state of one CPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct X86State {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8..R15.
    pub gpr: [u64; 16],
    /// Instruction pointer (offset in CS).
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR, indexed by [`Seg`].
    pub seg: [Segment; 8],
    /// GDTR.
    pub gdtr: DescriptorTable,
    /// IDTR.
    pub idtr: DescriptorTable,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// CR8 (the task priority; also in the local APIC).
    pub cr8: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// XCR0.
    pub xcr0: u64,
    /// Protection key rights for user pages.
    pub pkru: u32,
    /// DR0..DR3, DR6, DR7.
    pub dr: [u64; 6],
    /// x87, SSE, AVX.
    pub fpu: FpuState,
    /// IA32_APIC_BASE.
    pub apic_base: u64,
    /// IA32_TIME_STAMP_COUNTER.
    pub tsc: u64,
    /// Every other MSR that the accelerator keeps, by index.
    pub msrs: BTreeMap<u32, u64>,
    /// Local APIC registers, where the CPU has one.
    pub lapic: Option<LapicState>,
    /// Pending and blocked events.
    pub events: PendingEvents,
    /// Running, halted, waiting, shut down.
    pub activity: Activity,
    /// System management mode.
    pub smm: SmmState,
}

impl X86State {
    /// The state after RESET (SDM vol. 3, table 10-1), for the bootstrap processor when `bsp`. `signature` is CPUID.1:EAX, which
    /// RESET leaves in EDX. An application processor waits for its SIPI.
    pub fn reset(bsp: bool, signature: u32) -> Self {
        let mut seg = [Segment::real(0); 8];
        seg[Seg::Cs as usize] = Segment { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, attr: 0x9b };
        seg[Seg::Ldtr as usize] = Segment { selector: 0, base: 0, limit: 0xffff, attr: 0x82 };
        seg[Seg::Tr as usize] = Segment { selector: 0, base: 0, limit: 0xffff, attr: 0x8b };
        let mut gpr = [0; 16];
        gpr[gpr::RDX] = u64::from(signature);
        Self {
            gpr,
            rip: 0xfff0,
            rflags: rflags::FIXED1,
            seg,
            gdtr: DescriptorTable { base: 0, limit: 0xffff },
            idtr: DescriptorTable { base: 0, limit: 0xffff },
            cr0: cr0::CD | cr0::NW | cr0::ET,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            cr8: 0,
            efer: 0,
            xcr0: 1,
            pkru: 0,
            dr: [0, 0, 0, 0, 0xffff_0ff0, 0x400],
            fpu: FpuState::default(),
            apic_base: 0xfee0_0000 | 1 << 11 | u64::from(bsp) << 8,
            tsc: 0,
            msrs: BTreeMap::new(),
            lapic: None,
            events: PendingEvents::default(),
            activity: if bsp { Activity::Active } else { Activity::WaitForSipi },
            smm: SmmState::default(),
        }
    }

    /// The segment register `s`.
    pub fn seg(&self, s: Seg) -> &Segment {
        &self.seg[s as usize]
    }

    /// The segment register `s`, to change.
    pub fn seg_mut(&mut self, s: Seg) -> &mut Segment {
        &mut self.seg[s as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xsave_image_round_trips() {
        let mut f = FpuState {
            fcw: 0x37f,
            fsw: 0x3800,
            ftw: 0x80,
            fop: 0x123,
            fip: 0x1000,
            fdp: 0x2000,
            ..FpuState::default()
        };
        f.st[0] = 0x3fff_8000_0000_0000_0000;
        f.xmm[15] = 1 << 127 | 5;
        f.ymm_hi[3] = 7;
        assert_eq!(FpuState::from_xsave(&f.to_xsave()), f);
    }

    #[test]
    fn reset_vector_is_top_of_4g() {
        let s = X86State::reset(true, 0x663);
        assert_eq!(s.seg(Seg::Cs).base + s.rip, 0xffff_fff0);
        assert_eq!(s.gpr[gpr::RDX], 0x663);
    }
}
