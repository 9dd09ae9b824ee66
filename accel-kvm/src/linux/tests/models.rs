//! `-cpu` against KVM: every model that core knows is taken by KVM, and a guest sees exactly the leaves that core made.
//!
//! A KVM that emulates ring 0 may show a guest its own processor's features whatever it was given. There everything else is compared.

use super::*;
use gearbox_core::x86::cpu_features::{Feature, Word};
use gearbox_core::x86::cpuid::{CpuidLeaf, CpuidSet};

/// CPUID for each pair (function, index) at 2000h, BP of them, to 3000h.
const CPUID_CODE: [u8; 41] = [
    0xbe, 0, 0x20, 0xbf, 0, 0x30, // mov si, 2000h; mov di, 3000h
    0x66, 0x8b, 0x04, 0x66, 0x8b, 0x4c, 0x04, 0x0f, 0xa2, // l: mov eax, [si]; mov ecx, [si+4]; cpuid
    0x66, 0x89, 0x05, 0x66, 0x89, 0x5d, 4, // mov [di], eax; mov [di+4], ebx
    0x66, 0x89, 0x4d, 8, 0x66, 0x89, 0x55, 12, // mov [di+8], ecx; mov [di+12], edx
    0x83, 0xc6, 8, 0x83, 0xc7, 16, 0x4d, // add si, 8; add di, 16; dec bp
    0x75, 0xdf, // jnz l
    0xe6, 0xf4,
];

/// What a guest of this model sees of `leaves`.
fn seen_by_guest(g: &Guest, config: &VcpuConfig, leaves: &[CpuidLeaf]) -> Vec<CpuidLeaf> {
    for (i, l) in (0..).zip(leaves) {
        let input = u64::from(l.index.unwrap_or(0)) << 32 | u64::from(l.function);
        g.memory.load(0x2000 + 8 * i, &input.to_le_bytes()).unwrap();
    }
    let mut vcpu = g.vm.kvm_vcpu(config).unwrap();
    let mut s = real_mode(0x1000);
    s.gpr[gpr::RBP] = leaves.len() as u64;
    vcpu.set_state(&s).unwrap();
    run_to_stop(&mut vcpu, &Bus::default());
    let dword = |at: u64| u32::from_le_bytes(g.read(at));
    let output = |(i, l): (u64, &CpuidLeaf)| {
        let [eax, ebx, ecx, edx] = std::array::from_fn(|r| dword(0x3000 + 16 * i + 4 * r as u64));
        CpuidLeaf { eax, ebx, ecx, edx, ..*l }
    };
    (0..).zip(leaves).map(output).collect()
}

/// What KVM holds for a vCPU of this model.
fn held_by_kvm(config: &VcpuConfig) -> CpuidSet {
    let vm = kvm().expect("there was one just now");
    crate::linux::cpuid::get(&vm.kvm_vcpu(config).unwrap().fd).unwrap()
}

/// Does KVM leave out features that a model leaves out?
fn host_obeys(g: &Guest) -> bool {
    let obeys = !held_by_kvm(&g.config("max,-sse2", 0)).features().has_name("sse2");
    if !obeys {
        println!("skipped the comparison of features: this KVM shows those of its own processor");
    }
    obeys
}

/// Takes out what follows the state of the processor: OSXSAVE, OSPKE, and the sizes of the XSAVE area in use.
fn constant_part(mut l: CpuidLeaf) -> CpuidLeaf {
    match (l.function, l.index) {
        (1, _) => l.ecx &= !(1 << 27),
        (7, Some(0)) => l.ecx &= !(1 << 4),
        (0xd, Some(0 | 1)) => l.ebx = 0,
        _ => {}
    }
    l
}

/// Does this leaf show features?
fn has_features(l: &CpuidLeaf) -> bool {
    Word::all().any(|w| w.info().function == l.function)
}

#[test]
fn guests_see_the_leaves_that_core_made() {
    for (name, _) in CpuModel::known() {
        let Some(g) = Guest::new(&CPUID_CODE) else { return };
        let config = g.config(name, 0);
        let leaves = config.cpuid.leaves();
        assert!(leaves.len() < 128);
        let obeys = host_obeys(&g);
        let held = held_by_kvm(&config);
        let seen = seen_by_guest(&g, &config, leaves);
        for (seen, made) in seen.into_iter().zip(leaves).filter(|(_, l)| obeys || !has_features(l)) {
            assert_eq!(constant_part(seen), constant_part(*made), "{name}");
            let held = held.get(made.function, made.index.unwrap_or(0)).copied().unwrap_or_default();
            assert_eq!(constant_part(held), constant_part(*made), "{name}");
        }
    }
}

#[test]
fn changes_reach_the_guest() {
    let Some(g) = Guest::new(&CPUID_CODE) else { return };
    let config = g.config("max,-cx16,-sse2,vendor=GearboxTests,model-id=A CPU,kvm=off,phys-bits=36", 0);
    let mut seen = CpuidSet::new();
    seen_by_guest(&g, &config, config.cpuid.leaves()).into_iter().for_each(|l| seen.set(l));
    assert_eq!(seen.vendor(0).as_ref(), Some(b"GearboxTests"));
    assert_eq!(seen.brand(), "A CPU");
    assert_eq!(seen.get(CpuidSet::HYPERVISOR, 0), None);
    assert_eq!(seen.get(0x8000_0008, 0).unwrap().eax & 0xff, 36);
    if host_obeys(&g) {
        assert!(!seen.features().has_name("cx16") && !seen.features().has_name("sse2"));
    }
}

#[test]
fn what_kvm_lacks_is_missing_by_name() {
    let Some(vm) = kvm() else { return };
    let offered = vm.cpuid().features();
    let Some(absent) = Feature::all().find(|f| !offered.has(*f) && f.name != "ht") else { return };
    let model = CpuModel::parse(&format!("host,+{}", absent.name)).unwrap();
    let cpu = model.realize(vm.cpuid(), &Topology::default(), 0).unwrap();
    assert!(cpu.missing.iter().any(|m| m.feature == absent && m.by_name), "{absent}");
    assert!(!cpu.cpuid.features().has(absent));
}

#[test]
fn the_offer_holds_nothing_that_a_state_cannot_carry() {
    let Some(vm) = kvm() else { return };
    let offered = vm.cpuid();
    for name in ["vmx", "svm", "avx512f", "avx512vl", "pku", "amx-tile", "intel-pt"] {
        assert!(!offered.features().has_name(name), "{name}");
    }
    assert_eq!(offered.get(0xd, 0).map_or(0, |l| l.eax & !7), 0);
    for name in ["x2apic", "hypervisor", "lm", "tsc"] {
        assert!(offered.features().has_name(name), "{name}");
    }
    assert!(!offered.brand().is_empty());
    assert_eq!(offered.vendor(CpuidSet::HYPERVISOR).as_ref(), Some(b"KVMKVMKVM\0\0\0"));
}
