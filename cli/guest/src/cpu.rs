//! What CPUID says of the processor. CPUID runs in ring 0: in ring 3 some hosts let the real processor's answer
//! through.

use crate::ring0;
use crate::text::{self, Text};
use crate::time;

/// EAX, EBX, ECX, EDX.
pub type Leaf = [u32; 4];

/// CPUID.
pub fn cpuid(leaf: u32, subleaf: u32) -> Leaf {
    let mut out = [0; 4];
    // SAFETY: the routine writes four words to `out`.
    unsafe { ring0::call(ring0::cpuid, leaf.into(), subleaf.into(), out.as_mut_ptr() as u64) };
    out
}

/// The leaf if the processor has it, else zeros.
fn leaf(number: u32, subleaf: u32) -> Leaf {
    let highest = cpuid(number & 0xffff_0000, 0)[0];
    if highest >= number && highest & 0xffff_0000 == number & 0xffff_0000 { cpuid(number, subleaf) } else { [0; 4] }
}

/// The characters in some registers, as CPUID packs them.
fn characters(registers: &[u32], out: &mut [u8]) {
    for (chunk, register) in out.chunks_mut(4).zip(registers) {
        chunk.copy_from_slice(&register.to_le_bytes()[..chunk.len()]);
    }
}

/// A CPU feature of those that the self-check looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// CMPXCHG16B.
    Cx16,
    /// POPCNT.
    Popcnt,
    /// Local APIC.
    Apic,
    /// Execute-disable.
    Nx,
}

/// Whether the processor has a feature.
pub fn has(feature: Feature) -> bool {
    let (number, register, bit) = match feature {
        Feature::Cx16 => (1, ECX, 13),
        Feature::Popcnt => (1, ECX, 23),
        Feature::Apic => (1, EDX, 9),
        Feature::Nx => (0x8000_0001, EDX, 20),
    };
    leaf(number, 0)[register] >> bit & 1 != 0
}

/// Signature of the hypervisor at leaf 40000000h, if the processor says that it has one.
pub fn hypervisor() -> Option<Text> {
    if cpuid(1, 0)[ECX] >> 31 == 0 {
        return None;
    }
    let mut name = [0; 12];
    characters(&cpuid(0x4000_0000, 0)[1..], &mut name);
    Some(text!("{}", text::until_zero(&name)))
}

const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// Leaf, register and the names of its bits from 0 on; `-` for a reserved bit or one that repeats another.
const FEATURES: [(u32, usize, &str); 6] = [
    (
        1,
        EDX,
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 psn clfsh - ds acpi mmx fxsr sse \
         sse2 ss htt tm - pbe",
    ),
    (
        1,
        ECX,
        "sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 - sdbg fma cx16 - pdcm - pcid dca sse4.1 sse4.2 \
         x2apic movbe popcnt tsc_deadline aes xsave osxsave avx f16c rdrand hypervisor",
    ),
    (
        7,
        EBX,
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f avx512dq rdseed adx smap \
         avx512ifma - clflushopt clwb - - - - sha avx512bw avx512vl",
    ),
    (7, ECX, "- - umip pku ospke - - - gfni vaes vpclmulqdq - - - - - la57 - - - - - rdpid"),
    (0x8000_0001, EDX, "- - - - - - - - - - - syscall - - - - - - - - nx - - - - - pdpe1gb rdtscp - lm - -"),
    (0x8000_0001, ECX, "lahf_lm - svm - - abm sse4a - 3dnowprefetch"),
];

/// Prints brand, signature, features, TSC and APIC.
pub fn report() {
    let mut brand = [0; 48];
    for (i, chunk) in brand.chunks_mut(16).enumerate() {
        characters(&leaf(0x8000_0002 + i as u32, 0), chunk);
    }
    let mut vendor = [0; 12];
    let [highest, b, c, d] = cpuid(0, 0);
    characters(&[b, d, c], &mut vendor);
    let brand = text::until_zero(&brand).trim();
    println!("cpu: {} ({})", if brand.is_empty() { "no brand string" } else { brand }, text::until_zero(&vendor));

    let [signature, b, ..] = cpuid(1, 0);
    let (family, model) = (signature >> 8 & 15, signature >> 4 & 15);
    println!(
        "  family {} model {} stepping {}, CPUID leaves to {highest:x} and {:x}, {} logical, APIC id {}",
        if family == 15 { family + (signature >> 20 & 255) } else { family },
        if matches!(family, 6 | 15) { model | signature >> 12 & 0xf0 } else { model },
        signature & 15,
        cpuid(0x8000_0000, 0)[0],
        (b >> 16 & 255).max(1),
        b >> 24,
    );
    let sizes = leaf(0x8000_0008, 0)[0];
    if sizes != 0 {
        println!("  {} bits physical, {} bits linear address", sizes & 255, sizes >> 8 & 255);
    }

    let mut column = usize::MAX;
    for (number, register, names) in FEATURES {
        let bits = leaf(number, 0)[register];
        for (bit, name) in names.split_whitespace().enumerate() {
            if name == "-" || bits >> bit & 1 == 0 {
                continue;
            }
            if column > 100 {
                print!("{}", if column == usize::MAX { "  features:" } else { "\n           " });
                column = 11;
            }
            print!(" {name}");
            column += name.len() + 1;
        }
    }
    println!();
    let invariant = leaf(0x8000_0007, 0)[EDX] >> 8 & 1 != 0;
    println!("  TSC {}{}", text::Hertz(time::tsc_hz()), if invariant { ", invariant" } else { "" });
    let (cr0, cr4) =
        // SAFETY: reading control registers changes nothing.
        unsafe { (ring0::call(ring0::read_cr0, 0, 0, 0), ring0::call(ring0::read_cr4, 0, 0, 0)) };
    println!("  CR0 {cr0:x}, CR4 {cr4:x}, EFER {:x}", read_msr(0xc000_0080));
}

/// RDMSR, for registers that every x86-64 processor has.
pub fn read_msr(number: u32) -> u64 {
    // SAFETY: reading changes nothing; an unknown register ends in the crash report.
    unsafe { ring0::call(ring0::read_msr, number.into(), 0, 0) }
}
