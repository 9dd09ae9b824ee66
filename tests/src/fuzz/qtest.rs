//! Random commands of qtest at every device that a PC can have, in process.

use super::Target;
use super::board::device_types;
use crate::random::Random;
use std::fmt::Write as _;

/// The target.
pub struct Qtest;

/// Steps of a case.
const STEPS: usize = 300;

/// Where the devices of a PC have ports: first and last.
const PORTS: &[(u16, u16)] = &[
    (0x00, 0x0f),
    (0x20, 0x21),
    (0x40, 0x43),
    (0x60, 0x64),
    (0x70, 0x71),
    (0x80, 0x9f),
    (0xa0, 0xa1),
    (0xb2, 0xb3),
    (0xc0, 0xdf),
    (0xe9, 0xe9),
    (0x2e8, 0x2ff),
    (0x378, 0x37f),
    (0x3e8, 0x3ff),
    (0x4d0, 0x4d1),
    (0x500, 0x51f),
    (0x600, 0x63f),
    (0xcf8, 0xcff),
    (0xae00, 0xae1f),
    (0xaf00, 0xaf1f),
    (0xafe0, 0xafe3),
    (0xc000, 0xc0ff),
];

/// Where there is something in memory, or could be: first address and length.
const MEMORY: &[(u64, u64)] = &[
    (0, 0x1000),
    (0xa_0000, 0x6_0000),
    (0xff_fff0, 0x20),
    (0x7ff_fff0, 0x20),
    (0xc000_0000, 0x1_0000),
    (0xfebf_0000, 0x1_0000),
    (0xfec0_0000, 0x100),
    (0xfed0_0000, 0x400),
    (0xfee0_0000, 0x400),
    (0xffff_fff0, 0x20),
    (0x1_0000_0000, 0x100),
    (u64::MAX - 0xf, 0x10),
];

const WORDS: &[&str] = &[
    "ioapic",
    "/machine",
    "/machine/i440fx",
    "/machine/i440fx/ioapic",
    "/machine/unattached/device[3]",
    "/machine/unattached/device[7]",
    "/",
    "",
    "nothing",
    "unnamed-gpio-in",
    "a20",
];

fn port(r: &mut Random) -> u16 {
    if r.one_in(10) {
        return r.number() as u16;
    }
    let &(first, last) = r.pick(PORTS);
    first + r.below(u64::from(last - first) + 1) as u16
}
fn address(r: &mut Random) -> u64 {
    if r.one_in(10) {
        return r.interesting();
    }
    let &(first, length) = r.pick(MEMORY);
    first + r.below(length)
}
fn step(r: &mut Random, devices: &[&str]) -> String {
    let width = *r.pick(&['b', 'w', 'l']);
    let wide = *r.pick(&['b', 'w', 'l', 'q']);
    let size = match r.below(20) {
        0 => r.interesting(),
        _ => r.below(70),
    };
    match r.below(100) {
        0..20 => format!("in{width} {:#x}", port(r)),
        20..60 => format!("out{width} {:#x} {:#x}", port(r), r.interesting()),
        // A configuration register of some function.
        60..70 => {
            let at = 1 << 31 | r.below(8) << 11 | r.below(4) << 8 | r.below(64) << 2;
            format!("outl 0xcf8 {at:#x}\nout{width} {:#x} {:#x}", 0xcfc + r.below(4), r.interesting())
        }
        70..75 => format!("read{wide} {:#x}", address(r)),
        75..82 => format!("write{wide} {:#x} {:#x}", address(r), r.interesting()),
        82 => format!("read {:#x} {size}", address(r)),
        83 => {
            let mut line = format!("write {:#x} {size} 0x", address(r));
            (0..r.below(40)).for_each(|_| {
                let _ = write!(line, "{:02x}", r.below(256));
            });
            line
        }
        84 => format!("memset {:#x} {} {}", address(r), r.below(0x2000), r.below(256)),
        85 => format!("b64read {:#x} {size}", address(r)),
        86..91 => {
            let most = 1 << r.below(28);
            format!("clock_step {}", r.below(most))
        }
        91 => "clock_step".into(),
        92 => format!("clock_set {}", r.below(1 << 30)),
        93 => format!("irq_intercept_{} {}", r.pick(&["in", "out"]), r.pick(WORDS)),
        94 => format!("set_irq_in {} {} {} {}", r.pick(WORDS), r.pick(WORDS), r.below(40), r.below(3)),
        95 => format!("!add {}", r.pick(devices)),
        96 => format!("!del d{}", r.below(8)),
        97 => "!reset".into(),
        _ => r.text(60).replace('\n', " "),
    }
}

impl Target for Qtest {
    fn generate(&self, random: &mut Random) -> Vec<String> {
        let devices = device_types();
        let words = ["-serial", "null", "-serial", "null", "-parallel", "null"].map(|word| format!("!word {word}"));
        let board = words.into_iter().chain(["!all".to_owned()]);
        let steps: Vec<String> = (0..STEPS).map(|_| step(random, &devices)).collect();
        board.chain(steps.iter().flat_map(|s| s.lines()).map(str::to_owned)).collect()
    }
}
