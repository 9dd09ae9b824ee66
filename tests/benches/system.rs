//! What an operating system asks of a CPU, operation by operation, on Gearbox's software CPU and on QEMU's.
//!
//! `cargo bench -p gearbox-tests --bench system`, or `... -- int syscall` for some of the rows.

use gearbox_tests::peer::{Peers, Work, geometric_mean, wanted};

const WORKS: [Work; 12] = [
    Work { name: "int-iret", rounds: 500_000 },
    Work { name: "syscall-sysret", rounds: 1_000_000 },
    Work { name: "cr3", rounds: 50_000 },
    Work { name: "page-fault", rounds: 200_000 },
    Work { name: "port-out", rounds: 3_000_000 },
    Work { name: "movs-4k", rounds: 20_000 },
    Work { name: "stos-4k", rounds: 20_000 },
    Work { name: "movs-24", rounds: 2_000_000 },
    Work { name: "stos-24", rounds: 2_000_000 },
    Work { name: "self-modifying", rounds: 50_000 },
    Work { name: "self-ipi", rounds: 200_000 },
    Work { name: "timer", rounds: 20_000 },
];

fn main() {
    let works: Vec<_> = WORKS.iter().filter(|w| wanted(w.name)).collect();
    let Some(peers) = Peers::new() else { return };
    println!("{:18} {:>11} {:>11} {:>7}", "", "gearbox", "qemu", "speed");
    let mut ratios = Vec::new();
    for work in works {
        let t = peers.time(work);
        let each = |seconds: f64| seconds * 1e9 / work.rounds as f64;
        println!("{:18} {:8.0} ns {:8.0} ns {:7.2}", work.name, each(t.gearbox), each(t.qemu), t.ratio());
        ratios.push(t.ratio());
    }
    println!("{:18} {:>23} {:7.2}", "geometric mean", "", geometric_mean(&ratios));
}
