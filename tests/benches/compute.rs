//! Computing guests on Gearbox's software CPU and on QEMU's.
//!
//! `cargo bench -p gearbox-tests --bench compute`, or `... -- sieve md5` for some of the rows.

use gearbox_tests::peer::{Peers, Work, geometric_mean, wanted};

const WORKS: [Work; 11] = [
    Work { name: "sieve", rounds: 250 },
    Work { name: "md5", rounds: 500 },
    Work { name: "crc32", rounds: 800 },
    Work { name: "fib", rounds: 700 },
    Work { name: "bytecode", rounds: 300 },
    Work { name: "quicksort", rounds: 150 },
    Work { name: "chase", rounds: 250 },
    Work { name: "matrix", rounds: 120 },
    Work { name: "sha256", rounds: 600 },
    Work { name: "mandelbrot-sse2", rounds: 60 },
    Work { name: "mandelbrot-x87", rounds: 15 },
];

fn main() {
    let works: Vec<_> = WORKS.iter().filter(|w| wanted(w.name)).collect();
    let Some(peers) = Peers::new() else { return };
    println!("{:18} {:>10} {:>10} {:>7}", "", "gearbox", "qemu", "speed");
    let mut ratios = Vec::new();
    for work in works {
        let t = peers.time(work);
        println!("{:18} {:8.0} ms {:7.0} ms {:7.2}", work.name, t.gearbox * 1e3, t.qemu * 1e3, t.ratio());
        ratios.push(t.ratio());
    }
    println!("{:18} {:>21} {:7.2}", "geometric mean", "", geometric_mean(&ratios));
}
