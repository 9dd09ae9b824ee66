//! RAM and the way to it.

use super::{Stop, Verdict, passed};
use crate::memory::Memory;
use crate::text::Bytes;
use crate::{interrupts, paging, port};
use core::arch::asm;
use core::ops::Range;

/// Fills `range` with a quadword and reads it back, with string instructions; the address of the first wrong one.
fn fill_and_compare(range: &Range<u64>, pattern: u64) -> Option<u64> {
    let count = (range.end - range.start) / 8;
    let (mut at, mut left) = (range.start, count);
    // SAFETY: the caller gives free RAM that is mapped to itself.
    unsafe {
        asm!("rep stosq", inout("rdi") range.start => _, inout("rcx") count => _, in("rax") pattern, options(nostack));
        // CMP sets ZF, for the case that nothing is compared.
        asm!("cmp eax, eax", "repe scasq", "setne cl", "movzx ecx, cl",
            inout("rdi") at, inout("rcx") left, in("rax") pattern, options(nostack));
    }
    at -= 8;
    (left != 0).then_some(at)
}

/// Patterns over a block of free RAM.
pub fn patterns(memory: &Memory) -> Verdict {
    const SIZE: u64 = 512 << 10;
    let Some(block) = memory.free_block(SIZE) else { return Err(Stop::Absent("no free RAM of 512 KiB")) };
    for pattern in [0xaaaa_aaaa_5555_5555, 0x5555_5555_aaaa_aaaa, 0] {
        if let Some(at) = fill_and_compare(&block, pattern) {
            fail!("at {at:#x} a pattern of {pattern:#x} was not kept");
        }
    }
    Ok(text!("{} at {:#x}", Bytes(SIZE), block.start))
}

/// Writes a different quadword at each power of two in the free RAM, and at the end of each range of RAM, and then
/// reads them all back: an address line that is stuck or crossed makes two of them the same place.
pub fn address_lines(memory: &Memory) -> Verdict {
    const MARK: u64 = 0x6765_6172_626f_7800;
    let places = || {
        let powers = (20..46).map(|bit| 1u64 << bit);
        let ends = memory.ram().map(|ram| (ram.end & !4095).wrapping_sub(4096));
        powers.chain(ends).filter(|&place| {
            let page = place..place + 4096;
            memory.is_free(&page) && memory.ram().any(|ram| ram.start <= page.start && page.end <= ram.end)
        })
    };
    let mut highest = 0;
    for place in places() {
        // SAFETY: `places` are free RAM, and `reach` maps them.
        unsafe { (paging::reach(place) as *mut u64).write_volatile(MARK ^ place) };
        highest = highest.max(place);
    }
    for place in places() {
        // SAFETY: as above.
        let got = unsafe { (paging::reach(place) as *const u64).read_volatile() };
        ensure!(got == MARK ^ place, "at {place:#x} there is {got:#x}, written was {:#x}", MARK ^ place);
    }
    Ok(text!("up to {highest:#x}"))
}

/// With the gate open, odd megabytes are their own; with it closed by port 92h, they are the even ones below them
/// (where the machine has the gate; accelerators that cannot mask the line leave it open). The guest itself lies in
/// an even one.
pub fn a20() -> Verdict {
    const PORT_92: u16 = 0x92;
    let low = 0x7000 as *mut u32;
    let high = 0x10_7000 as *mut u32;
    // SAFETY: conventional RAM, and RAM a megabyte above it; both are put back, and nothing else runs meanwhile.
    let (apart, folded) = unsafe {
        let interrupts = interrupts::off();
        let saved = (low.read_volatile(), high.read_volatile());
        high.write_volatile(0x2020_2020);
        low.write_volatile(0x1010_1010);
        let apart = high.read_volatile() == 0x2020_2020;
        let mut folded = None;
        let gate = port::in8(PORT_92);
        if gate != 0xff {
            let gate = gate & !3;
            port::out8(PORT_92, gate | 2);
            port::out8(PORT_92, gate);
            folded = Some(high.read_volatile() == 0x1010_1010);
            port::out8(PORT_92, gate | 2);
        }
        let open_again = high.read_volatile() == 0x2020_2020;
        high.write_volatile(saved.1);
        low.write_volatile(saved.0);
        if interrupts {
            interrupts::on();
        }
        (apart && open_again, folded)
    };
    ensure!(apart, "1 MiB and 0 are the same place although the gate is open");
    match folded {
        Some(true) => passed(),
        Some(false) => Ok(text!("always open")),
        None => Ok(text!("no port 92h")),
    }
}
