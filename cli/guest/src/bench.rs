//! Small benches, timed by the TSC.

use crate::text::Bytes;
use crate::{digest, interrupts, port, ring0, time};
use core::arch::asm;
use core::hint::black_box;

/// What one bench counts.
enum Unit {
    /// Instructions: reported as millions of them in a second.
    Instructions,
    /// Bytes: reported as MiB in a second.
    Bytes,
    /// Operations: reported as ns for each.
    Operations,
}

/// Name, unit, and a function that does `n` rounds and returns how many units that were.
const BENCHES: [(&str, Unit, fn(u64) -> u64); 11] = [
    ("integer loop, ring 3", Unit::Instructions, |n| {
        // SAFETY: arithmetic on registers, which runs in any ring.
        unsafe { ring0::ten_instruction_loop(n * 1000, 0, 0) };
        n * 10_000
    }),
    ("integer loop, ring 0", Unit::Instructions, |n| {
        // SAFETY: the same in ring 0.
        unsafe { ring0::call(ring0::ten_instruction_loop, n * 100, 0, 0) };
        n * 1000
    }),
    ("sieve of 64 Ki numbers", Unit::Operations, |n| {
        for _ in 0..n {
            black_box(sieve());
        }
        n
    }),
    ("crc32", Unit::Bytes, |n| over_buffer(n, |buffer| digest::crc32(buffer).into())),
    ("md5", Unit::Bytes, |n| over_buffer(n, |buffer| digest::md5(buffer)[0].into())),
    ("memcpy, rep movsb", Unit::Bytes, |n| over_buffer(n, copy)),
    ("loads, one after another", Unit::Operations, |n| chase(n * 1000)),
    ("port in (80h)", Unit::Operations, |n| {
        for _ in 0..n {
            black_box(port::in8(0x80));
        }
        n
    }),
    ("call to ring 0 and back", Unit::Operations, |n| {
        for _ in 0..n {
            // SAFETY: does nothing.
            unsafe { ring0::call(ring0::nothing, 0, 0, 0) };
        }
        n
    }),
    ("page fault and recovery", Unit::Operations, |n| {
        let nowhere = crate::paging::address(200);
        for _ in 0..n {
            // SAFETY: the page is never mapped; the fault is caught.
            let fault = unsafe { catch!("mov eax, [{at}]"; at = in(reg) nowhere, out("rax") _) };
            black_box(fault.is_some());
        }
        n
    }),
    ("cpuid", Unit::Operations, |n| {
        for _ in 0..n {
            black_box(crate::cpu::cpuid(0, 0));
        }
        n
    }),
];

const BUFFER: usize = 64 << 10;

/// Runs every bench for about 50 ms, or longer if one round takes longer.
pub fn run(stop: &mut dyn FnMut() -> bool) {
    interrupts::off();
    for (name, unit, bench) in BENCHES {
        if stop() {
            println!("stopped");
            return;
        }
        let (mut rounds, mut units, mut ns) = (1, 0, 0);
        while ns < 50_000_000 && rounds < 1 << 40 {
            let since = time::Since::now();
            units = bench(rounds);
            ns = since.ns().max(1);
            // Aim at 60 ms, and at most eight times as much at once.
            rounds = (rounds * 60_000_000 / ns).clamp(rounds + 1, rounds * 8);
        }
        print!("  {name:26}");
        match unit {
            Unit::Instructions => {
                println!("{:>9}.{} million instructions/s", units * 1000 / ns, units * 10_000 / ns % 10);
            }
            Unit::Bytes => {
                println!("{:>9} MiB/s", (u128::from(units) * 1_000_000_000 / u128::from(ns)) >> 20);
            }
            Unit::Operations => println!("{:>9}.{} ns", ns / units, ns * 10 / units % 10),
        }
    }
    println!("  buffers of {}; a round trip to ring 0 is part of every port access", Bytes(BUFFER as u64));
}

/// Counts the primes below 65536.
fn sieve() -> u32 {
    let mut composite = [0u64; 1024];
    let mut primes = 0;
    for i in 2..65536usize {
        if composite[i / 64] >> (i % 64) & 1 == 0 {
            primes += 1;
            for multiple in (i * i..65536).step_by(i) {
                composite[multiple / 64] |= 1 << (multiple % 64);
            }
        }
    }
    primes
}

/// Lets `work` look at a buffer `n` times.
fn over_buffer(n: u64, work: fn(&[u8; BUFFER]) -> u64) -> u64 {
    let buffer = [0x5a; BUFFER];
    for _ in 0..n {
        black_box(work(black_box(&buffer)));
    }
    n * BUFFER as u64
}

fn copy(from: &[u8; BUFFER]) -> u64 {
    let mut to = core::mem::MaybeUninit::<[u8; BUFFER]>::uninit();
    // SAFETY: both buffers are of that length.
    unsafe {
        asm!("rep movsb", inout("rsi") from.as_ptr() => _, inout("rdi") to.as_mut_ptr() => _, inout("rcx") BUFFER => _);
    }
    black_box(&to);
    0
}

/// Loads whose address is what the last one loaded.
fn chase(n: u64) -> u64 {
    let mut slot = 0u64;
    slot = &raw mut slot as u64;
    // SAFETY: the slot points to itself.
    unsafe { asm!("2: mov {p}, [{p}]", "dec {n}", "jnz 2b", p = inout(reg) slot => _, n = inout(reg) n => _) };
    n
}
