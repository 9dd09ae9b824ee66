//! The memory map, and which RAM is free for tests.

use crate::boot::{self, MapEntry, StartInfo};
use crate::text::Bytes;
use core::ops::Range;

const RAM: u32 = 1;
const MIB: u64 = 1 << 20;

/// Guest-physical memory as the loader describes it.
pub struct Memory {
    map: &'static [MapEntry],
    used: [Range<u64>; 2],
}

impl Memory {
    /// The memory that the loader describes.
    pub fn new(info: &'static StartInfo) -> Memory {
        let loader = info as *const StartInfo as u64..info.loader_data_end();
        Memory { map: info.memory_map(), used: [boot::image(), loader] }
    }

    /// Prints the map.
    pub fn report(&self) {
        println!("memory: {} of RAM", Bytes(self.ram().map(|r| r.end - r.start).sum()));
        for entry in self.map {
            let kind = match entry.kind {
                RAM => "RAM",
                2 => "reserved",
                3 => "ACPI tables",
                4 => "ACPI non-volatile",
                5 => "unusable",
                7 => "persistent",
                _ => "other",
            };
            let last = entry.addr.wrapping_add(entry.size).wrapping_sub(1);
            println!("  {:012x}-{last:012x}  {kind:18} {:>10}", entry.addr, Bytes(entry.size));
        }
    }

    /// All ranges of RAM.
    pub fn ram(&self) -> impl Iterator<Item = Range<u64>> {
        let ram = self.map.iter().filter(|entry| entry.kind == RAM && entry.size > 0);
        ram.map(|entry| entry.addr..entry.addr.saturating_add(entry.size))
    }

    /// Whether a range of RAM overlaps nothing that is in use.
    pub fn is_free(&self, range: &Range<u64>) -> bool {
        range.start >= MIB && self.used.iter().all(|used| range.end <= used.start || used.end <= range.start)
    }

    /// Free RAM above 1 MiB and below 4 GiB of `size` bytes, aligned to a page.
    pub fn free_block(&self, size: u64) -> Option<Range<u64>> {
        self.ram()
            .flat_map(|ram| {
                // In each range: its beginning, and what follows each used part.
                let starts = [ram.start.max(MIB), self.used[0].end, self.used[1].end];
                starts.map(|start| (start.next_multiple_of(4096), ram.clone()))
            })
            .map(|(start, ram)| (start..start + size, ram))
            .find(|(block, ram)| ram.start <= block.start && block.end <= ram.end.min(1 << 32) && self.is_free(block))
            .map(|(block, _)| block)
    }
}
