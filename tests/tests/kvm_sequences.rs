//! Privileged and mode-changing sequences, compared step by step between KVM and the software CPU: both execute one instruction from the same
//! state, and registers and memory must come out the same.

#[path = "kvm_sequences/case.rs"]
mod case;
#[path = "kvm_sequences/compare.rs"]
mod compare;
#[path = "kvm_sequences/gaps.rs"]
mod gaps;
#[path = "kvm_sequences/generate.rs"]
mod generate;
#[path = "kvm_sequences/kinds.rs"]
mod kinds;
#[path = "kvm_sequences/machine.rs"]
mod machine;
#[path = "kvm_sequences/play.rs"]
mod play;
#[path = "kvm_sequences/report.rs"]
mod report;
#[path = "kvm_sequences/shrink.rs"]
mod shrink;
#[path = "kvm_sequences/switches.rs"]
mod switches;

use case::Case;
use gearbox_tests::random::Random;
use generate::Generator;
use play::Player;
use report::Report;
use std::collections::BTreeMap;

/// Cases in the suite.
const CASES: u64 = 400;
/// Most steps of a case.
const STEPS: u64 = 16;
/// Different failures that are shrunk and shown.
const SHOWN: usize = 20;

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn sequences_do_the_same() {
    let Some(mut player) = Player::new() else { return };
    let cases = env("GEARBOX_ORACLE_CASES").unwrap_or(CASES);
    let seed = env("GEARBOX_ORACLE_SEED").unwrap_or(1);
    let (mut report, mut failures) = (Report::default(), BTreeMap::new());
    for n in 0..cases {
        let mut r = Random::new(seed.wrapping_mul(1 << 32).wrapping_add(n));
        let mut case = generate::start(&mut r, &player.vendors(), &player.modes);
        let steps = 1 + r.below(STEPS);
        let mut generator = Generator::new(r, player.cr4);
        let start = case.clone();
        let played = player.play(&start, |state, so_far| (so_far < steps).then(|| generator.step(&start, state)));
        report.add(&played);
        case.steps = played.steps.iter().map(|(step, _)| step.clone()).collect();
        if let Some(failure) = played.failure() {
            let key = format!("{:?}", failure.key());
            if let Some((count, _)) = failures.get_mut(&key) {
                *count += 1;
            } else if failures.len() < SHOWN {
                let small = shrink::shrink(&case, |c| player.replay(c).failure().is_some_and(|f| f.like(&failure)));
                failures.insert(key, (1, player.describe(&small)));
            }
        }
    }
    print!("{report}");
    let text: String = failures.values().map(|(n, text)| format!("\n{n} like this:{text}")).collect();
    assert!(failures.is_empty(), "KVM and the software CPU differ:\n{text}");
    report.check();
}

/// The case that a failure printed.
#[test]
fn replay() {
    let Ok(text) = std::env::var("GEARBOX_ORACLE_CASE") else { return };
    let case = Case::from_text(&text).expect("GEARBOX_ORACLE_CASE is what a failure printed");
    let Some(mut player) = Player::new() else { return };
    let text = player.describe(&case);
    println!("{text}");
    assert!(player.replay(&case).failure().is_none(), "the case differs");
}
