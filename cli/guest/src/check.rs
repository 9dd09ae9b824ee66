//! The self-check: one line for each thing that is tried.

/// Ends a check as failed.
macro_rules! fail {
    ($($arg:tt)*) => { return Err($crate::check::Stop::Failed(text!($($arg)*))) };
}

/// Ends a check as failed unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($arg:tt)*) => { if !$condition { fail!($($arg)*) } };
}

/// Ends a check as failed unless two numbers are equal.
macro_rules! ensure_eq {
    ($got:expr, $want:expr, $what:literal) => {{
        let (got, want) = ($got, $want);
        ensure!(got == want, "{} is {:#x}, expected {:#x}", $what, got, want);
    }};
}

mod cpu;
mod devices;
mod exceptions;
mod interrupts;
mod memory;
mod paging;
mod timers;

use crate::accelerator::Accelerator;
use crate::memory::Memory;
use crate::text::Text;

/// What the checks look at.
pub struct Subject {
    /// Who runs the guest.
    pub accelerator: Accelerator,
    /// Guest-physical memory.
    pub memory: Memory,
}

/// Why a check did not come to its end.
pub enum Stop {
    /// There is nothing to check here.
    Absent(&'static str),
    /// It failed; the text says how.
    Failed(Text),
}

/// The result of a check: a remark, often empty.
pub type Verdict = Result<Text, Stop>;

/// All passed, without a remark.
fn passed() -> Verdict {
    Ok(Text::new())
}

const CHECKS: [(&str, fn(&Subject) -> Verdict); 33] = [
    ("accelerator", |subject| subject.accelerator.check()),
    ("cpu: integer arithmetic", |_| cpu::integers()),
    ("cpu: flags", |_| cpu::flags()),
    ("cpu: bit instructions", |_| cpu::bits()),
    ("cpu: string instructions", |_| cpu::strings()),
    ("cpu: atomic instructions", |_| cpu::atomics()),
    ("cpu: CRC-32 and MD5", |_| cpu::digests()),
    ("cpu: x87", |_| cpu::x87()),
    ("cpu: SSE2", |_| cpu::sse2()),
    ("cpu: self-modifying code", |_| cpu::self_modifying_code()),
    ("cpu: exceptions", |_| exceptions::exceptions()),
    ("cpu: page faults", |_| exceptions::page_faults()),
    ("cpu: single step", |_| exceptions::single_step()),
    ("cpu: paging", |_| paging::paging()),
    ("memory: A20 gate", |_| memory::a20()),
    ("memory: patterns", |subject| memory::patterns(&subject.memory)),
    ("memory: address lines", |subject| memory::address_lines(&subject.memory)),
    ("acpi: table sums", |_| devices::acpi_sums()),
    ("pci: configuration space", |_| devices::pci_configuration()),
    ("timer: ACPI PM timer", |_| timers::pm_timer()),
    ("timer: 8254 channel 2", |_| timers::channel_2()),
    ("timer: HPET", |_| timers::hpet()),
    ("timer: RTC time of day", |_| timers::rtc_time()),
    ("interrupt: 8254 by 8259A", |_| interrupts::pit_by_pic()),
    ("interrupt: masking", |_| interrupts::masking()),
    ("interrupt: HLT wake-up", |_| interrupts::halt()),
    ("interrupt: RTC periodic", |_| interrupts::rtc_periodic()),
    ("interrupt: local APIC timer", |_| interrupts::local_apic_timer()),
    ("interrupt: local APIC to itself", |_| interrupts::self_ipi()),
    ("interrupt: 8254 by I/O APIC", |_| interrupts::pit_by_io_apic()),
    ("serial: 16550A", |_| devices::serial()),
    ("8042: self-test", |_| devices::keyboard_controller()),
    ("fw_cfg: ports and DMA", |_| devices::fw_cfg()),
];

/// How many checks passed and failed; absent ones are in neither.
#[derive(Clone, Copy, Default)]
pub struct Score {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
}

impl Score {
    /// Prints the line that sums up.
    pub fn report(&self) {
        let all = self.passed + self.failed;
        match self.failed {
            0 => println!("gearbox guest: all {all} checks passed"),
            failed => println!("gearbox guest: {failed} of {all} checks failed"),
        }
    }
}

/// Runs all checks and prints a line for each.
pub fn run(subject: &Subject) -> Score {
    let mut score = Score::default();
    for (name, check) in CHECKS {
        print!("check: {name} ... ");
        match check(subject) {
            Ok(remark) => {
                score.passed += 1;
                match remark.as_str() {
                    "" => println!("ok"),
                    remark => println!("ok ({remark})"),
                }
            }
            Err(Stop::Absent(why)) => println!("absent ({why})"),
            Err(Stop::Failed(why)) => {
                score.failed += 1;
                println!("FAILED: {why}");
            }
        }
    }
    score
}
