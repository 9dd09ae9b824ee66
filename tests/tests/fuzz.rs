//! A moment of each fuzz program, from a seed that is always the same. The programs themselves run as long as one likes.

use gearbox_tests::fuzz::{Target, campaign, cpu::Cpu, qmp::Qmp, qtest::Qtest};
use std::time::Duration;

fn a_moment(target: &dyn Target) {
    if let Err(failure) = campaign(target, Duration::from_secs(1), 1, &|_| ()) {
        panic!("{failure}");
    }
}

#[test]
fn random_code_and_tables() {
    a_moment(&Cpu);
}

#[test]
fn random_commands_of_qtest() {
    a_moment(&Qtest);
}

#[test]
fn random_messages_of_qmp() {
    a_moment(&Qmp::default());
}
