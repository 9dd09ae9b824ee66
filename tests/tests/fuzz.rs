//! A moment of each fuzz target, from a seed that is always the same. The program itself runs as long as one likes.

use gearbox_tests::fuzz::{TARGETS, campaign};
use std::time::Duration;

#[test]
fn a_moment_of_each_target() {
    for entry in TARGETS {
        match campaign(&*(entry.make)(), Duration::from_secs(1), 1, &|_| ()) {
            Ok(cases) => println!("{}: {cases} cases", entry.name),
            Err(failure) => panic!("{}: {failure}", entry.name),
        }
    }
}

/// Machines that have been put to work in different ways, each with a twin.
#[test]
fn saved_machines_go_on_like_their_twins() {
    let entry = TARGETS.iter().find(|t| t.name == "saved-state").expect("it is one of them");
    for seed in 0..24 {
        if let Err(failure) = campaign(&*(entry.make)(), Duration::ZERO, seed, &|_| ()) {
            panic!("{failure}");
        }
    }
}
