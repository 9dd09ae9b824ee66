//! CPUID leaves.

use super::cpu_features::{FeatureSet, Word};

pub use super::cpu_model::CpuModel;

/// One CPUID leaf (SDM vol. 2, CPUID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidLeaf {
    /// EAX on input.
    pub function: u32,
    /// ECX on input, where the leaf looks at it.
    pub index: Option<u32>,
    /// Registers on output.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// A set of CPUID leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuidSet {
    leaves: Vec<CpuidLeaf>,
}

impl CpuidSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }
    /// All leaves.
    pub fn leaves(&self) -> &[CpuidLeaf] {
        &self.leaves
    }
    /// The leaf itself, if it is in the set.
    pub fn get(&self, function: u32, index: u32) -> Option<&CpuidLeaf> {
        self.leaves.iter().find(|l| l.function == function && l.index.is_none_or(|i| i == index))
    }
    /// The leaf, to change.
    pub fn get_mut(&mut self, function: u32, index: u32) -> Option<&mut CpuidLeaf> {
        self.leaves.iter_mut().find(|l| l.function == function && l.index.is_none_or(|i| i == index))
    }
    /// Adds or replaces a leaf.
    pub fn set(&mut self, leaf: CpuidLeaf) {
        self.leaves.retain(|l| !(l.function == leaf.function && l.index == leaf.index));
        self.leaves.push(leaf);
        self.leaves.sort_by_key(|l| (l.function, l.index));
    }
    /// The leaf that CPUID shows for a function: one above the highest basic or extended one shows the highest basic leaf, as on Intel
    /// processors (SDM vol. 2, CPUID, "Input EAX > maximum").
    pub fn shown(&self, function: u32) -> u32 {
        let range = function & 0xf000_0000;
        let known = self.get(range, 0).is_some_and(|l| l.eax >= function);
        if known { function } else { self.get(0, 0).map_or(function, |l| l.eax) }
    }
    /// What CPUID returns as (EAX, EBX, ECX, EDX). A leaf that is absent gives zeros.
    pub fn query(&self, function: u32, index: u32) -> (u32, u32, u32, u32) {
        self.subleaf(self.shown(function), index)
    }
    fn subleaf(&self, function: u32, index: u32) -> (u32, u32, u32, u32) {
        const TOPOLOGY: u32 = 0xb;
        match (self.get(function, index), function) {
            (Some(l), _) => (l.eax, l.ebx, l.ecx, l.edx),
            // Behind the last level there is the input and the x2APIC id (SDM vol. 2, CPUID, leaf 0BH).
            (None, TOPOLOGY) => self.get(TOPOLOGY, 0).map_or((0, 0, 0, 0), |l| (0, 0, index & 0xff, l.edx)),
            (None, _) => (0, 0, 0, 0),
        }
    }
    /// The vendor string of leaf 0 (`0`), of the extended leaves (`0x8000_0000`) or of the hypervisor (`0x4000_0000`).
    pub fn vendor(&self, function: u32) -> Option<[u8; 12]> {
        let l = self.get(function, 0)?;
        let order = if function == Self::HYPERVISOR { [l.ebx, l.ecx, l.edx] } else { [l.ebx, l.edx, l.ecx] };
        let mut v = [0; 12];
        for (bytes, reg) in v.chunks_exact_mut(4).zip(order) {
            bytes.copy_from_slice(&reg.to_le_bytes());
        }
        Some(v)
    }
    /// Sets the first leaf of a range: the highest leaf in EAX, and a vendor string. Hypervisors keep it in EBX, ECX, EDX; processors in
    /// EBX, EDX, ECX.
    pub fn set_vendor(&mut self, function: u32, highest: u32, vendor: &[u8; 12]) {
        let at = |i: usize| u32::from_le_bytes([vendor[i], vendor[i + 1], vendor[i + 2], vendor[i + 3]]);
        let (ecx, edx) = if function == Self::HYPERVISOR { (at(4), at(8)) } else { (at(8), at(4)) };
        self.set(CpuidLeaf { function, index: None, eax: highest, ebx: at(0), ecx, edx });
    }
    /// Sets the brand string, leaves 0x80000002 to 0x80000004: at most 48 bytes, the rest is cut.
    pub fn set_brand(&mut self, text: &str) {
        let mut bytes = [0; 48];
        let n = text.len().min(48);
        bytes[..n].copy_from_slice(&text.as_bytes()[..n]);
        for (function, part) in (0x8000_0002..).zip(bytes.chunks_exact(16)) {
            let at = |i: usize| u32::from_le_bytes([part[i], part[i + 1], part[i + 2], part[i + 3]]);
            self.set(CpuidLeaf { function, index: None, eax: at(0), ebx: at(4), ecx: at(8), edx: at(12) });
        }
    }
    /// The brand string, without trailing zeros.
    pub fn brand(&self) -> String {
        let leaves = (0x8000_0002..=0x8000_0004).filter_map(|f| self.get(f, 0));
        let bytes: Vec<u8> = leaves.flat_map(|l| [l.eax, l.ebx, l.ecx, l.edx]).flat_map(u32::to_le_bytes).collect();
        String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned()
    }
    /// The features that the leaves show.
    pub fn features(&self) -> FeatureSet {
        FeatureSet::of(self)
    }
    /// Writes every feature word that is not empty, or whose leaf is there, and leaves other registers alone.
    pub fn set_features(&mut self, features: &FeatureSet) {
        for w in Word::all() {
            let (info, bits) = (w.info(), features.word(w));
            let index = info.index.unwrap_or(0);
            if self.get(info.function, index).is_none() {
                if bits == 0 {
                    continue;
                }
                self.set(CpuidLeaf { function: info.function, index: info.index, ..CpuidLeaf::default() });
            }
            if let Some(leaf) = self.get_mut(info.function, index) {
                *info.reg.of_mut(leaf) = bits;
            }
        }
    }
    /// The first hypervisor leaf.
    pub const HYPERVISOR: u32 = 0x4000_0000;
    /// CPUID.1:EAX: family, model and stepping.
    pub fn signature(&self) -> u32 {
        self.get(1, 0).map_or(0, |l| l.eax)
    }
}
