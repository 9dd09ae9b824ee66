//! Debian's memtest86+ on the software CPU: its first tests pass, on the 32-bit and the 64-bit build.

use gearbox_tests::linux::fetched;
use gearbox_tests::process::Process;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(500);

/// Runs a build on a small machine until test 5 has begun, and leaves by its key.
fn passes_its_first_tests(image: &str, cpus: u32) {
    let Some(kernel) = fetched(image) else { return };
    let smp = cpus.to_string();
    let mut p = Process::gearbox(&[
        "-accel",
        "tcg",
        "-m",
        "96",
        "-smp",
        &smp,
        "-nographic",
        "-no-reboot",
        "-kernel",
        kernel.to_str().expect("a path in UTF-8"),
        "-append",
        "console=ttyS0,115200",
    ]);
    p.expect(&format!("CPU: {cpus} Cores {cpus} Threads"), PATIENCE);
    p.expect("Errors: 0", PATIENCE);
    // The screen is sent by what changed, now and then: with less memory than this a test is over before its name was sent.
    p.expect("#5  [Moving inversions, random pattern]", PATIENCE);
    let screen = p.stdout();
    let errors = screen.match_indices("Errors: ").map(|(at, word)| &screen[at + word.len()..]);
    errors.for_each(|count| assert!(count.starts_with("0 "), "{screen}"));
    p.send("\x1b");
    assert_eq!(p.wait(PATIENCE).code(), Some(0), "{}", p.stderr());
}

mod long {
    #[test]
    fn the_64_bit_build_on_four_cpus() {
        super::passes_its_first_tests("memtest86+x64.bin", 4);
    }

    #[test]
    fn the_32_bit_build_on_four_cpus() {
        super::passes_its_first_tests("memtest86+ia32.bin", 4);
    }
}

#[test]
fn the_64_bit_build_on_one_cpu() {
    passes_its_first_tests("memtest86+x64.bin", 1);
}

#[test]
fn the_32_bit_build_on_one_cpu() {
    passes_its_first_tests("memtest86+ia32.bin", 1);
}
