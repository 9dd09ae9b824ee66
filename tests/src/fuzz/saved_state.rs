//! Saved states of machines that other targets have put to work.
//!
//! - `!twin` loads the state of the machine into another one that is made the same; from there on both do the steps, and have to do the same.
//! - `!bend N` changes the machine's state by the random numbers of seed N, and loads it: that is refused, or the machine goes on with it.

use super::board::{Case, Parts};
use super::{Target, media, qtest, rom, virtqueue};
use crate::random::Random;
use gearbox_core::board::state::SavedState as State;
use gearbox_core::board::{Board, BoardState};
use std::collections::BTreeSet;

/// The target.
pub struct SavedState;

/// Those that put machines to work.
const OTHERS: [&dyn Target; 6] =
    [&qtest::Qtest, &media::Disk, &media::Iso, &media::Floppy, &rom::Flash, &virtqueue::Virtqueue];

impl Target for SavedState {
    fn generate(&self, random: &mut Random) -> Vec<String> {
        let mut steps = ["-rtc", "base=2024-02-29,clock=vm"].map(|word| format!("!word {word}")).to_vec();
        let other = random.pick(&OTHERS);
        steps.extend(other.generate(random));
        let first = steps.iter().rposition(|s| ["!word", "!file", "!bytes"].iter().any(|kind| s.starts_with(kind)));
        let mut at = first.map_or(0, |n| n + 1);
        // The numbers of a source are other ones each time, and temporary files have no copies.
        let alone = |s: &String| ["virtio-rng", "snapshot=on"].iter().any(|word| s.contains(word));
        let races = |s: &String| virtqueue::may_overwrite_queues(s);
        let twins = !steps.iter().any(|s| alone(s) || races(s)) && !random.one_in(3);
        while at < steps.len() {
            at += random.index((steps.len() - at).max(40)) + 1;
            let step = if twins { "!twin".to_owned() } else { format!("!bend {}", random.number()) };
            steps.insert(at.min(steps.len()), step);
            at += 1;
        }
        steps
    }
    fn run(&self, mut steps: &[String]) {
        let Some(case) = Case::begin(&mut steps) else { return };
        let mut pair = Pair { first: Recorded { case, log: Vec::new() }, second: None };
        steps.iter().for_each(|step| pair.step(step));
        pair.compare();
    }
}

/// What has changed what a machine is made of.
enum Change {
    Step(String),
    /// A device has gone.
    Gone(String),
}

/// A machine of which another one can be made.
struct Recorded {
    case: Case,
    log: Vec<Change>,
}

/// A machine, and one that has to do the same.
struct Pair {
    first: Recorded,
    second: Option<Case>,
}

fn paths(s: &BoardState) -> BTreeSet<String> {
    s.devices().map(|(_, path, _)| path.to_owned()).collect()
}

fn save(board: &Board) -> State {
    board.save().unwrap_or_else(|e| panic!("it cannot be saved: {e}"))
}

impl Recorded {
    fn step(&mut self, step: &str) -> Vec<String> {
        let devices = |case: &Case| case.bench.with(|s| paths(s));
        let before = devices(&self.case);
        let answers = self.case.step(step);
        if ["!all", "!add"].iter().any(|kind| step.starts_with(kind)) {
            self.log.push(Change::Step(step.to_owned()));
        }
        let now = devices(&self.case);
        self.log.extend(before.difference(&now).cloned().map(Change::Gone));
        answers
    }
    /// The same machine once more, with the same in its memory and on its media, and in the same state.
    fn twin(&self) -> Case {
        let parts: Parts = self.case.parts.copy();
        let mut twin = Case::of(parts).expect("a machine that has been made before");
        for change in &self.log {
            match change {
                Change::Step(step) => drop(twin.step(step)),
                Change::Gone(path) => twin.bench.with(|s| {
                    s.find(path).map(|id| s.unrealize(id));
                }),
            }
        }
        let taken = twin.bench.take_over(&self.case.bench);
        taken.unwrap_or_else(|e| panic!("the state of a machine that is the same: {e}"));
        twin
    }
}

impl Pair {
    fn step(&mut self, step: &str) {
        let word = step.split_once(' ').unwrap_or((step, ""));
        match word {
            ("!twin", _) => {
                self.compare();
                self.first.case.renew_session();
                self.second = Some(self.first.twin());
                self.compare();
            }
            ("!bend", seed) => {
                let random = &mut Random::new(seed.parse().expect("a number"));
                let board = self.first.case.bench.board();
                let state = save(board);
                bend(state, random).into_iter().for_each(|state| drop(board.load(&state)));
            }
            _ => {
                let first = self.first.step(step);
                if let Some(second) = &mut self.second {
                    self.first.case.step("!settle");
                    let answers = second.step(step);
                    second.step("!settle");
                    assert_eq!(first, answers, "after: {step}");
                    assert_eq!(self.first.case.bench.messages(), second.bench.messages(), "messages after: {step}");
                }
            }
        }
    }
    /// Both are in the same state.
    fn compare(&self) {
        if let Some(second) = &self.second {
            assert_same(&save(self.first.case.bench.board()), &save(second.bench.board()));
        }
    }
}

fn assert_same(one: &State, other: &State) {
    for (a, b) in one.sections.iter().zip(&other.sections) {
        assert_eq!(a, b, "{}", a.device);
    }
    assert_eq!(one.to_bytes(), other.to_bytes());
}

/// A state that is wrong somewhere, if it is one at all.
fn bend(mut state: State, r: &mut Random) -> Option<State> {
    let mutate = |bytes: &mut Vec<u8>, r: &mut Random| {
        for _ in 0..=r.below(3) {
            if bytes.is_empty() {
                return;
            }
            let at = r.index(bytes.len());
            match r.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, r.number() as u8),
                2 => drop(bytes.remove(at)),
                3 => bytes[at] = r.number() as u8,
                4 => bytes[at] = 0xff,
                _ => bytes[at] ^= 1 << r.below(8),
            }
        }
    };
    if r.one_in(4) {
        let mut bytes = state.to_bytes();
        mutate(&mut bytes, r);
        return State::from_bytes(&bytes).ok();
    }
    let with_state: Vec<_> = state.sections.iter_mut().filter(|s| !s.bytes.is_empty()).collect();
    let n = r.index(with_state.len());
    with_state.into_iter().nth(n).into_iter().for_each(|section| mutate(&mut section.bytes, r));
    Some(state)
}
