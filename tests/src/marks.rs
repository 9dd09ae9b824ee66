//! Shell commands that a guest times itself, for benches: it marks beginning and end of each on its console, with its own clock.

use crate::peer::cpu_time;
use crate::process::Process;
use std::path::PathBuf;
use std::time::Duration;

/// Seconds that something took.
#[derive(Clone, Copy, Debug)]
pub struct Seconds {
    /// CPU time of the process.
    pub cpu: f64,
    /// By the guest's clock.
    pub guest: f64,
}

impl Seconds {
    /// The least of two runs, each clock for itself.
    pub fn least(self, other: Self) -> Self {
        Self { cpu: self.cpu.min(other.cpu), guest: self.guest.min(other.guest) }
    }
}

/// Lines of a script that run a command between its marks.
pub fn marked(name: &str, command: &str) -> String {
    format!(
        "read from _ < /proc/uptime; echo \"{name} begins\"; {command}\n\
         read to _ < /proc/uptime; echo \"{name} ends $from $to.\"\n"
    )
}

/// Waits for the marks of a command.
///
/// # Panics
/// They do not come.
pub fn time(guest: &mut Process, name: &str, patience: Duration) -> Seconds {
    guest.expect(&format!("{name} begins"), patience);
    let before = cpu_time(guest.id());
    guest.expect(&format!("{name} ends "), patience);
    let cpu = cpu_time(guest.id()) - before;
    let clock = guest.expect(".\r\n", patience);
    let [from, to] = [0, 1].map(|n| clock.split(' ').nth(n).and_then(|t| t.parse::<f64>().ok()).expect("seconds"));
    // The guest's clock ticks every 10 ms.
    Seconds { cpu, guest: (to - from).max(0.01) }
}

/// The fastest of several rounds, in which two programs (each with its accelerator) take turns: each one's rows.
pub fn fastest(
    rounds: usize,
    programs: [(PathBuf, &str); 2],
    mut measure: impl FnMut(&std::path::Path, &str) -> Vec<Seconds>,
) -> [Vec<Seconds>; 2] {
    let mut best = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (best, (program, accelerator)) in best.iter_mut().zip(&programs) {
            let rows = measure(program, accelerator);
            *best = if best.is_empty() {
                rows
            } else {
                best.iter().zip(rows).map(|(b, row): (&Seconds, _)| b.least(row)).collect()
            };
        }
    }
    best
}

/// The head of a table of both programs by both clocks.
pub fn head() {
    println!(
        "{:22} {:>10} {:>10} {:>7}   {:>10} {:>10} {:>7}",
        "", "gearbox", "qemu", "speed", "gearbox", "qemu", "speed"
    );
}
