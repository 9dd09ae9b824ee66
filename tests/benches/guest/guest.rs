//! The guest of the benches: boots by PVH into 64-bit mode, ring 0, does `rounds` of the work that its command line names
//! ("sieve 300"), writes a checksum to COM1 and ends the machine through `isa-debug-exit`.
//!
//! It keeps no time: the host compares the CPU time of whole runs with that of the work "nothing".

#![no_std]
#![no_main]

mod compute;
#[path = "../../../cli/guest/src/digest.rs"]
mod digest;
mod fractal;
mod machine;
mod rings;
mod runtime;
mod sha256;
mod system;
mod vm;

/// Does so many rounds; the result depends on all of them.
type Work = fn(u64) -> u64;

/// All works by name.
const WORKS: &[(&str, Work)] = &[
    ("nothing", |_| 0),
    ("sieve", compute::sieve),
    ("md5", compute::md5),
    ("crc32", compute::crc32),
    ("fib", compute::fib),
    ("bytecode", vm::bytecode),
    ("quicksort", compute::quicksort),
    ("chase", compute::chase),
    ("matrix", compute::matrix),
    ("sha256", sha256::sha256),
    ("mandelbrot-sse2", fractal::sse2),
    ("mandelbrot-x87", fractal::x87),
    ("int-iret", rings::int_iret),
    ("syscall-sysret", rings::syscall_sysret),
    ("cr3", system::cr3),
    ("page-fault", system::page_fault),
    ("port-out", system::port_out),
    ("movs-4k", system::movs_4k),
    ("stos-4k", system::stos_4k),
    ("movs-24", system::movs_24),
    ("stos-24", system::stos_24),
    ("self-modifying", system::self_modifying),
    ("self-ipi", system::self_ipi),
    ("timer", system::timer),
];

/// Called by `entry.s` with the command line.
#[unsafe(no_mangle)]
extern "C" fn start(line: *const u8) -> ! {
    machine::set_up();
    // SAFETY: PVH passes a string that ends with NUL (Xen's start_info.h).
    let line = unsafe { core::slice::from_raw_parts(line, (0..256).take_while(|&n| *line.add(n) != 0).count()) };
    let mut words = line.split(|&b| b == b' ').filter(|w| !w.is_empty());
    let (name, rounds) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let rounds = rounds.iter().fold(0, |n: u64, d| n.wrapping_mul(10).wrapping_add(u64::from(d.wrapping_sub(b'0'))));
    let Some((_, work)) = WORKS.iter().find(|w| w.0.as_bytes() == name) else {
        machine::write("no such work: ");
        name.iter().for_each(|&b| machine::write_byte(b));
        machine::end(2)
    };
    let sum = work(rounds);
    machine::write("checksum ");
    (0..16).rev().for_each(|n| machine::write_byte(b"0123456789abcdef"[(sum >> (4 * n)) as usize & 15]));
    machine::write("\n");
    machine::end(1)
}
