//! Which instructions a processor has, by its CPUID. Decided when an instruction is decoded, so that it costs nothing when one is executed:
//! what the processor does not have becomes an invalid opcode, or what an older processor makes of the same bytes.
//!
//! The instruction pages of SDM vol. 2 and AMD APM vol. 3 name the CPUID bit of each; iced names them by [`CpuidFeature`].

use crate::sys::Vendor;
use gearbox_core::x86::cpu_features::FeatureSet;
use gearbox_core::x86::cpuid::CpuidSet;
use iced_x86::{Code, CodeSize, CpuidFeature, Decoder, DecoderOptions, Instruction, Mnemonic, Register};

/// What a processor needs to have the instructions of a [`CpuidFeature`].
enum Needs {
    /// Nothing: the 80486 has them, or they are no-operations where they do nothing.
    Nothing,
    /// Any of these features, by QEMU's names.
    Any(&'static [&'static str]),
    /// To be a Pentium Pro or later; or to have one of these features.
    P6Or(&'static [&'static str]),
}
use Needs::{Any, Nothing, P6Or};

/// What is not listed, no processor that this program knows has.
#[rustfmt::skip]
const NEEDS: &[(CpuidFeature, Needs)] = {
    use CpuidFeature::*;
    &[
        (INTEL8086, Nothing), (INTEL186, Nothing), (INTEL286, Nothing), (INTEL386, Nothing), (INTEL486, Nothing),
        (CPUID, Nothing), (PAUSE, Nothing), (SMM, Nothing),
        (MULTIBYTENOP, P6Or(&[])), (RDPMC, P6Or(&["mmx"])),
        (X64, Any(&["lm"])), (SYSCALL, Any(&["syscall"])), (SEP, Any(&["sep"])), (MSR, Any(&["msr"])), (TSC, Any(&["tsc"])),
        (RDTSCP, Any(&["rdtscp"])), (RDPID, Any(&["rdpid"])), (CX8, Any(&["cx8"])), (CMPXCHG16B, Any(&["cx16"])),
        (CMOV, Any(&["cmov"])), (MOVBE, Any(&["movbe"])), (POPCNT, Any(&["popcnt"])), (LZCNT, Any(&["abm"])),
        (BMI1, Any(&["bmi1"])), (BMI2, Any(&["bmi2"])), (ADX, Any(&["adx"])), (TBM, Any(&["tbm"])), (LWP, Any(&["lwp"])),
        (RDRAND, Any(&["rdrand"])), (RDSEED, Any(&["rdseed"])), (FSGSBASE, Any(&["fsgsbase"])), (SMAP, Any(&["smap"])),
        (PKU, Any(&["pku"])), (INVPCID, Any(&["invpcid"])), (MONITOR, Any(&["monitor"])), (WAITPKG, Any(&["waitpkg"])),
        (SERIALIZE, Any(&["serialize"])), (MOVDIRI, Any(&["movdiri"])), (MOVDIR64B, Any(&["movdir64b"])),
        (CLFSH, Any(&["clflush"])), (CLFLUSHOPT, Any(&["clflushopt"])), (CLWB, Any(&["clwb"])), (CLZERO, Any(&["clzero"])),
        (CLDEMOTE, Any(&["cldemote"])), (PCOMMIT, Any(&["pcommit"])), (WBNOINVD, Any(&["wbnoinvd"])),
        // Every 64-bit processor takes these opcodes, those without the feature as no-operations.
        (PREFETCHW, Any(&["3dnowprefetch", "3dnow", "lm"])), (PREFETCHWT1, Any(&["3dnowprefetch", "3dnow", "lm"])),
        (HLE, Any(&["hle"])), (RTM, Any(&["rtm"])), (HLE_or_RTM, Any(&["hle", "rtm"])), (TSXLDTRK, Any(&["tsx-ldtrk"])),
        (MPX, Any(&["mpx"])), (SGX1, Any(&["sgx"])), (SMX, Any(&["smx"])), (SKINIT, Any(&["skinit"])),
        (VMX, Any(&["vmx"])), (INVEPT, Any(&["vmx"])), (INVVPID, Any(&["vmx"])),
        (SVM, Any(&["svm"])), (SKINIT_or_SVM, Any(&["skinit", "svm"])),
        (FPU, Any(&["fpu"])), (FPU287, Any(&["fpu"])), (FPU387, Any(&["fpu"])), (FXSR, Any(&["fxsr"])),
        (MMX, Any(&["mmx"])), (D3NOW, Any(&["3dnow"])), (D3NOWEXT, Any(&["3dnowext"])),
        (SSE, Any(&["sse"])), (SSE2, Any(&["sse2"])), (SSE3, Any(&["pni"])), (SSSE3, Any(&["ssse3"])), (SSE4_1, Any(&["sse4.1"])),
        (SSE4_2, Any(&["sse4.2"])), (SSE4A, Any(&["sse4a"])), (AES, Any(&["aes"])), (PCLMULQDQ, Any(&["pclmulqdq"])),
        (SHA, Any(&["sha-ni"])), (GFNI, Any(&["gfni"])), (XSAVE, Any(&["xsave"])), (XSAVEOPT, Any(&["xsaveopt"])),
        (XSAVEC, Any(&["xsavec"])), (XSAVES, Any(&["xsaves"])), (AVX, Any(&["avx"])), (AVX2, Any(&["avx2"])), (FMA, Any(&["fma"])),
        (FMA4, Any(&["fma4"])), (XOP, Any(&["xop"])), (F16C, Any(&["f16c"])), (VAES, Any(&["vaes"])), (AVX_VNNI, Any(&["avx-vnni"])),
        (VPCLMULQDQ, Any(&["vpclmulqdq"])), (AVX512F, Any(&["avx512f"])), (AVX512DQ, Any(&["avx512dq"])),
        (AVX512CD, Any(&["avx512cd"])), (AVX512ER, Any(&["avx512er"])), (AVX512PF, Any(&["avx512pf"])), (AVX512BW, Any(&["avx512bw"])),
        (AVX512VL, Any(&["avx512vl"])), (AVX512_IFMA, Any(&["avx512ifma"])), (AVX512_VBMI, Any(&["avx512vbmi"])),
        (AVX512_VBMI2, Any(&["avx512vbmi2"])), (AVX512_VNNI, Any(&["avx512vnni"])), (AVX512_BITALG, Any(&["avx512bitalg"])),
        (AVX512_VPOPCNTDQ, Any(&["avx512-vpopcntdq"])), (AVX512_4VNNIW, Any(&["avx512-4vnniw"])),
        (AVX512_4FMAPS, Any(&["avx512-4fmaps"])), (AVX512_VP2INTERSECT, Any(&["avx512-vp2intersect"])),
        (AVX512_BF16, Any(&["avx512-bf16"])), (AVX512_FP16, Any(&["avx512-fp16"])), (AMX_TILE, Any(&["amx-tile"])),
        (AMX_INT8, Any(&["amx-int8"])), (AMX_BF16, Any(&["amx-bf16"])),
        (PADLOCK_RNG, Any(&["xstore"])), (PADLOCK_ACE, Any(&["xcrypt"])), (PADLOCK_PHE, Any(&["phe"])), (PADLOCK_PMM, Any(&["pmm"])),
    ]
};

/// What processors without the first make of its bytes: the prefix that makes the difference is ignored, or the opcode is one of those
/// reserved for hints, which do nothing.
#[rustfmt::skip]
const WITHOUT: &[(Code, Code)] = {
    use Code::*;
    &[
        (Tzcnt_r16_rm16, Bsf_r16_rm16), (Tzcnt_r32_rm32, Bsf_r32_rm32), (Tzcnt_r64_rm64, Bsf_r64_rm64),
        (Lzcnt_r16_rm16, Bsr_r16_rm16), (Lzcnt_r32_rm32, Bsr_r32_rm32), (Lzcnt_r64_rm64, Bsr_r64_rm64),
        (Wbnoinvd, Wbinvd),
        (Prefetchnta_m8, Nop_rm32), (Prefetcht0_m8, Nop_rm32), (Prefetcht1_m8, Nop_rm32), (Prefetcht2_m8, Nop_rm32),
        (Prefetchit0_m8, Nop_rm32), (Prefetchit1_m8, Nop_rm32), (Cldemote_m8, Nop_rm32),
        (Endbr32, Nop_rm32), (Endbr64, Nop_rm32), (Rdsspd_r32, Nop_rm32), (Rdsspq_r64, Nop_rm32),
    ]
};

const WORDS: usize = 4;

/// The instruction set of one processor.
#[derive(Clone, Debug)]
pub(crate) struct Isa {
    /// A bit for each [`CpuidFeature`] that it has.
    has: [u64; WORDS],
    /// How its maker's processors decode.
    options: u32,
    /// LAHF and SAHF in 64-bit mode.
    lahf64: bool,
    /// LOCK MOV CR0 stands for MOV CR8 outside 64-bit mode too (AMD).
    cr8_by_lock: bool,
}

impl Isa {
    /// Of a processor that shows these leaves.
    pub(crate) fn new(cpuid: &CpuidSet) -> Self {
        let features = cpuid.features();
        let family = cpuid.signature() >> 8 & 0xf;
        let mut has = [0; WORDS];
        for (f, needs) in NEEDS {
            if needs.met(&features, family) {
                let (word, bit) = place(*f);
                has[word] |= bit;
            }
        }
        Self {
            has,
            options: match Vendor::of(cpuid) {
                Vendor::Amd => DecoderOptions::AMD,
                Vendor::Intel => DecoderOptions::NONE,
            },
            lahf64: features.has_name("lahf-lm"),
            cr8_by_lock: features.has_name("cr8legacy"),
        }
    }
    /// [`DecoderOptions`] for this processor's code.
    pub(crate) fn options(&self) -> u32 {
        self.options
    }
    /// Has it the instructions of that code?
    pub(crate) fn has_code(&self, code: Code) -> bool {
        code.cpuid_features().iter().all(|&f| {
            let (word, bit) = place(f);
            self.has[word] & bit != 0
        })
    }
    /// Makes of a decoded instruction what this processor makes of its bytes.
    pub(crate) fn admit(&self, mut i: Instruction, bytes: &[u8]) -> Instruction {
        // With REX.B it is no PAUSE, but XCHG of R8.
        if i.code() == Code::Pause && i.len() > 2 && i.code_size() == CodeSize::Code64 {
            i = Decoder::with_ip(64, bytes, i.ip(), self.options | DecoderOptions::NO_PAUSE).decode();
        }
        if !self.has_code(i.code()) {
            let other = WITHOUT.iter().find(|(code, _)| *code == i.code()).map(|(_, other)| *other);
            match other.filter(|&o| self.has_code(o)) {
                Some(o) => {
                    i.set_code(o);
                    i.set_has_rep_prefix(false);
                }
                None => return self.refuse(&i),
            }
        }
        let absent = match i.mnemonic() {
            Mnemonic::Lahf | Mnemonic::Sahf => i.code_size() == CodeSize::Code64 && !self.lahf64,
            // The decoder does not tell of the prefix, but there is no other way to CR8 outside 64-bit mode.
            Mnemonic::Mov if i.code_size() != CodeSize::Code64 => {
                !self.cr8_by_lock && [i.op0_register(), i.op1_register()].contains(&Register::CR8)
            }
            // AMD's processors have 0F 0D for memory only (APM vol. 3, PREFETCH).
            Mnemonic::Reservednop => self.options == DecoderOptions::AMD && is_0f0d(i.code()),
            _ => false,
        };
        if absent { self.refuse(&i) } else { i }
    }
    /// The invalid opcode of the same length.
    fn refuse(&self, i: &Instruction) -> Instruction {
        if i.code() != Code::INVALID {
            tracing::debug!(target: "guest_error", "this CPU has no {:?}, which is in the code: #UD if it is executed", i.code());
        }
        let mut bad = Instruction::default();
        bad.set_len(i.len());
        bad.set_next_ip(i.next_ip());
        bad.set_code_size(i.code_size());
        bad
    }
}

fn is_0f0d(code: Code) -> bool {
    matches!(code, Code::Reservednop_rm16_r16_0F0D | Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm64_r64_0F0D)
}

impl Needs {
    fn met(&self, features: &FeatureSet, family: u32) -> bool {
        let any = |names: &[&str]| names.iter().any(|n| features.has_name(n));
        match self {
            Nothing => true,
            Any(names) => any(names),
            P6Or(names) => family >= 6 || any(names),
        }
    }
}

/// Word and bit of a feature in [`Isa::has`].
fn place(f: CpuidFeature) -> (usize, u64) {
    let n = f as usize;
    (n / 64 % WORDS, 1 << (n % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_core::x86::cpu_model::CpuModel;
    use gearbox_core::x86::topology::Topology;

    /// The instruction set of a model on this accelerator.
    fn isa(model: &str) -> Isa {
        let model = CpuModel::parse(model).unwrap();
        Isa::new(&model.realize(&crate::accel::offered_cpuid(), &Topology::default(), 0).unwrap().cpuid)
    }
    fn decode(isa: &Isa, bits: u32, bytes: &[u8]) -> Code {
        let i = isa.admit(Decoder::with_ip(bits, bytes, 0, isa.options()).decode(), bytes);
        assert_eq!(i.len(), bytes.len(), "{bytes:02x?}");
        i.code()
    }

    #[test]
    fn every_feature_has_a_bit_and_every_name_is_known() {
        use gearbox_core::x86::cpu_features::Feature;
        assert!(CpuidFeature::values().all(|f| (f as usize) < 64 * WORDS));
        for (f, needs) in NEEDS {
            let (Any(names) | P6Or(names)) = needs else { continue };
            assert!(names.iter().all(|n| Feature::find(n).is_some()), "{f:?}");
            assert_eq!(NEEDS.iter().filter(|(g, _)| g == f).count(), 1, "{f:?}");
        }
    }

    #[test]
    fn instructions_by_model() {
        // What is first in each list has it, and so have all after it.
        let models = ["486", "pentium", "qemu64", "Nehalem", "Haswell", "EPYC", "max"];
        let have = |bits: u32, bytes: &[u8]| models.map(|m| decode(&isa(m), bits, bytes) != Code::INVALID);
        let since = |model: &str| {
            let first = models.iter().position(|m| *m == model).unwrap();
            std::array::from_fn(|n| n >= first)
        };
        for (what, bytes, first) in [
            ("cmpxchg [eax], ecx", &[0x0f, 0xb1, 0x08][..], "486"),
            ("pause", &[0xf3, 0x90], "486"),
            ("fsin", &[0xd9, 0xfe], "486"),
            ("rdtsc", &[0x0f, 0x31], "pentium"),
            ("cmpxchg8b [eax]", &[0x0f, 0xc7, 0x08], "pentium"),
            ("cmove eax, ecx", &[0x0f, 0x44, 0xc1], "qemu64"),
            ("nop [eax]", &[0x0f, 0x1f, 0x00], "qemu64"),
            ("endbr32", &[0xf3, 0x0f, 0x1e, 0xfb], "qemu64"),
            ("prefetchnta [eax]", &[0x0f, 0x18, 0x00], "qemu64"),
            ("sysenter", &[0x0f, 0x34], "qemu64"),
            ("movaps xmm0, xmm1", &[0x0f, 0x28, 0xc1], "qemu64"),
            ("lddqu xmm0, [eax]", &[0xf2, 0x0f, 0xf0, 0x00], "qemu64"),
            ("prefetchw [eax]", &[0x0f, 0x0d, 0x08], "qemu64"),
            ("popcnt eax, ecx", &[0xf3, 0x0f, 0xb8, 0xc1], "Nehalem"),
            ("crc32 eax, cl", &[0xf2, 0x0f, 0x38, 0xf0, 0xc1], "Nehalem"),
            ("pshufb xmm0, xmm1", &[0x66, 0x0f, 0x38, 0x00, 0xc1], "Nehalem"),
            ("movbe eax, [ecx]", &[0x0f, 0x38, 0xf0, 0x01], "Haswell"),
            ("andn eax, ecx, edx", &[0xc4, 0xe2, 0x70, 0xf2, 0xc2], "Haswell"),
            ("rdrand eax", &[0x0f, 0xc7, 0xf0], "Haswell"),
            ("rdseed eax", &[0x0f, 0xc7, 0xf8], "EPYC"),
            ("clflushopt [eax]", &[0x66, 0x0f, 0xae, 0x38], "EPYC"),
            ("stac", &[0x0f, 0x01, 0xcb], "EPYC"),
            ("serialize", &[0x0f, 0x01, 0xe8], "max"),
            ("movdiri [eax], ecx", &[0x0f, 0x38, 0xf9, 0x08], "max"),
        ] {
            assert_eq!(have(32, bytes), since(first), "{what}");
        }
        for (what, bytes) in [
            ("xbegin", &[0xc7, 0xf8, 0, 0, 0, 0][..]),
            ("xend", &[0x0f, 0x01, 0xd5]),
            ("incsspd eax", &[0xf3, 0x0f, 0xae, 0xe8]),
            ("femms", &[0x0f, 0x0e]),
            ("vmcall", &[0x0f, 0x01, 0xc1]),
            ("bndmk bnd0, [eax] is a no-operation; tpause is not", &[0x66, 0x0f, 0xae, 0xf0]),
        ] {
            assert_eq!(have(32, bytes), [false; 7], "{what}");
        }
    }

    #[test]
    fn old_processors_ignore_the_prefix() {
        let (old, new) = (isa("Nehalem"), isa("Haswell"));
        let tzcnt = [0xf3, 0x0f, 0xbc, 0xc1];
        let lzcnt = [0xf3, 0x0f, 0xbd, 0xc1];
        assert_eq!(decode(&old, 64, &tzcnt), Code::Bsf_r32_rm32);
        assert_eq!(decode(&new, 64, &tzcnt), Code::Tzcnt_r32_rm32);
        assert_eq!(decode(&old, 64, &lzcnt), Code::Bsr_r32_rm32);
        assert_eq!(decode(&new, 64, &lzcnt), Code::Lzcnt_r32_rm32);
        assert_eq!(decode(&old, 64, &[0xf3, 0x0f, 0x09]), Code::Wbinvd);
        assert_eq!(decode(&isa("max"), 64, &[0xf3, 0x0f, 0x09]), Code::Wbnoinvd);
        for hint in [0xc8, 0xfa, 0xfb] {
            assert_eq!(decode(&new, 64, &[0xf3, 0x0f, 0x1e, hint]), Code::Nop_rm32);
        }
    }

    #[test]
    fn makers_decode_differently() {
        let near16 = [0x66, 0xe9, 0, 0];
        assert_eq!(decode(&isa("EPYC"), 64, &near16), Code::Jmp_rel16);
        assert_eq!(decode(&isa("Haswell"), 64, &[0x66, 0xe9, 0, 0, 0, 0]), Code::Jmp_rel32_64);
        assert_eq!(decode(&isa("EPYC,+cr8legacy"), 32, &[0xf0, 0x0f, 0x20, 0xc0]), Code::Mov_r32_cr);
        assert_eq!(decode(&isa("EPYC,-cr8legacy"), 32, &[0xf0, 0x0f, 0x20, 0xc0]), Code::INVALID);
        assert_eq!(decode(&isa("Haswell"), 32, &[0xf0, 0x0f, 0x20, 0xc0]), Code::INVALID);
        assert_eq!(decode(&isa("max"), 64, &[0xf3, 0x49, 0x90]), Code::Xchg_r64_RAX);
        assert_eq!(decode(&isa("max"), 64, &[0xf3, 0x48, 0x90]), Code::Nopq);
        assert_eq!(decode(&isa("max,-lahf-lm"), 64, &[0x9f]), Code::INVALID);
        assert_eq!(decode(&isa("max,-lahf-lm"), 32, &[0x9f]), Code::Lahf);
        assert_eq!(decode(&isa("max"), 64, &[0x9f]), Code::Lahf);
    }
}
