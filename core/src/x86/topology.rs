//! How the logical processors of a machine are grouped, and the APIC ids that follow from it.

use super::cpu_object::CpuPlace;

/// Sockets, cores in a socket, threads in a core. None is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Processor packages.
    pub sockets: u32,
    /// Cores in each package.
    pub cores: u32,
    /// Threads of each core.
    pub threads: u32,
}

impl Default for Topology {
    /// One processor.
    fn default() -> Self {
        Self { sockets: 1, cores: 1, threads: 1 }
    }
}

/// Bits that number `n` things.
fn width(n: u32) -> u32 {
    n.max(1).next_power_of_two().trailing_zeros()
}

impl Topology {
    /// Logical processors in a package.
    pub fn package_threads(&self) -> u32 {
        self.cores.saturating_mul(self.threads)
    }
    /// Logical processors in all.
    pub fn total(&self) -> u32 {
        self.sockets.saturating_mul(self.package_threads())
    }
    /// Bits of the APIC id that number the threads of a core (CPUID.0BH, SMT level).
    pub fn smt_width(&self) -> u32 {
        width(self.threads)
    }
    /// Bits of the APIC id below the package number (CPUID.0BH, core level).
    pub fn package_width(&self) -> u32 {
        width(self.cores) + self.smt_width()
    }
    /// APIC id of the `index`th logical processor: threads fill cores, cores fill packages, each in a field of its own
    /// (SDM vol. 3, 9.9.1).
    pub fn apic_id(&self, index: u32) -> u32 {
        let (threads, cores) = (self.threads.max(1), self.cores.max(1));
        let (thread, core, package) = (index % threads, index / threads % cores, index / threads / cores);
        package << self.package_width() | core << self.smt_width() | thread
    }
    /// Where the processor with this APIC id sits. Its NUMA node is not known here.
    pub fn place(&self, apic_id: u32) -> CpuPlace {
        let field =
            |low: u32, width: u32| apic_id.checked_shr(low).unwrap_or(0) & !u32::MAX.checked_shl(width).unwrap_or(0);
        let (smt, package) = (self.smt_width(), self.package_width());
        CpuPlace {
            apic_id,
            socket: field(package, u32::BITS),
            core: field(smt, package - smt),
            thread: field(0, smt),
            node: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apic_ids_have_a_field_for_each_level() {
        let t = Topology { sockets: 2, cores: 3, threads: 2 };
        assert_eq!(t.total(), 12);
        assert_eq!((0..12).map(|i| t.apic_id(i)).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
        let flat = Topology { sockets: 4, ..Topology::default() };
        assert_eq!((0..4).map(|i| flat.apic_id(i)).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let place = t.place(13);
        assert_eq!((place.socket, place.core, place.thread), (1, 2, 1));
        assert_eq!((flat.place(3).socket, flat.place(3).core), (3, 0));
    }
}
