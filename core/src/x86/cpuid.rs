//! CPUID leaves.

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
    /// What CPUID returns as (EAX, EBX, ECX, EDX). A function above the highest basic or extended one gives the highest basic leaf, as on
    /// Intel processors (SDM vol. 2, CPUID, "Input EAX > maximum"); an absent leaf below it gives zeros.
    pub fn query(&self, function: u32, index: u32) -> (u32, u32, u32, u32) {
        let regs = |l: &CpuidLeaf| (l.eax, l.ebx, l.ecx, l.edx);
        if let Some(l) = self.get(function, index) {
            return regs(l);
        }
        let range = function & 0xf000_0000;
        let known = self.get(range, 0).filter(|l| l.eax >= function).is_some();
        if known {
            return (0, 0, 0, 0);
        }
        self.get(0, 0).and_then(|l| self.get(l.eax, index)).map_or((0, 0, 0, 0), regs)
    }
    /// CPUID.1:EAX: family, model and stepping.
    pub fn signature(&self) -> u32 {
        self.get(1, 0).map_or(0, |l| l.eax)
    }
}

/// A CPU model: a name and the features asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// Name as in `-cpu`.
    pub name: String,
}
