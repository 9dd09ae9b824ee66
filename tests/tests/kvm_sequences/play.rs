//! Plays a case on both accelerators, and counts what came of its steps.

use super::case::{Case, Reg, Step};
use super::compare::{Difference, carried, differences, normal};
use super::gaps::{Facts, GAPS};
use super::generate::{IDTS, bits, idt};
use super::machine::{Ending, LANDING, Machine, Pair, STOP};
use gearbox_core::x86::state::{Seg, X86State, rflags};
use gearbox_tests::states::{CODE, CODE32, CODE64, HANDLERS, MODES, TABLES, interrupt_table, start};
use std::fmt::Write as _;

/// Plays on CPUs of each vendor that this KVM can be.
pub struct Player {
    pairs: Vec<Pair>,
    /// Indices of the [`MODES`] that KVM has.
    pub modes: Vec<usize>,
    /// Bits of CR4 that CPUID gives both.
    pub cr4: u64,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The same on both.
    Same,
    Differs(Vec<Difference>),
    /// It differs by a known fault of KVM.
    Gap(&'static str),
    /// KVM cannot execute it.
    Cannot(String),
    /// It halts, goes on and on, or leads where no instruction can be placed: there is nothing to compare.
    Nowhere,
}

/// A case as it went.
#[derive(Default)]
pub struct Played {
    pub steps: Vec<(Step, Verdict)>,
    /// Before each of them.
    states: Vec<X86State>,
}

/// What makes two failures alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    kind: String,
    bits: u32,
    fields: Vec<String>,
}

impl Failure {
    /// What failures are grouped by.
    pub fn key(&self) -> (&str, u32, Option<&str>) {
        (&self.kind, self.bits, self.fields.first().map(|f| f.split(' ').next().unwrap_or_default()))
    }
    /// The same kind of step in code of the same width, and the same field differs first.
    pub fn like(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Played {
    pub fn failure(&self) -> Option<Failure> {
        let (step, Verdict::Differs(list)) = self.steps.last()? else { return None };
        Some(Failure {
            kind: step.kind.clone(),
            bits: bits(self.states.last()?),
            fields: list.iter().map(|d| d.field.clone()).collect(),
        })
    }
}

impl Player {
    pub fn new() -> Option<Self> {
        let host = Pair::new(None)?;
        let mut player = Self { cr4: host.cr4, modes: Vec::new(), pairs: Vec::new() };
        if !host.complete {
            // What a vendor's processors do otherwise is up to the emulator then.
            player.pairs.extend(Pair::new(Some(!host.intel)));
        }
        player.pairs.push(host);
        let nop = Step { kind: "nop".into(), code: vec![0x90], ..Step::default() };
        player.modes = (0..MODES.len())
            .filter(|mode| {
                let case = Case { intel: player.vendors()[0], mode: *mode, ring: 0, steps: vec![nop.clone()] };
                player.replay(&case).steps.iter().all(|(_, verdict)| *verdict == Verdict::Same)
            })
            .collect();
        Some(player)
    }
    /// Which vendors it has: Intel, or not.
    pub fn vendors(&self) -> Vec<bool> {
        self.pairs.iter().map(|p| p.intel).collect()
    }
    /// Plays the steps of a case.
    pub fn replay(&mut self, case: &Case) -> Played {
        self.play(case, |_, n| case.steps.get(n as usize).cloned())
    }

    /// Plays what `next` gives for a state and the number of steps before it.
    pub fn play(&mut self, case: &Case, mut next: impl FnMut(&X86State, u64) -> Option<Step>) -> Played {
        let vendor = self.pairs.iter_mut().find(|p| p.intel == case.intel);
        let pair = vendor.expect("a KVM that executes ring 0 is compared as the host's vendor only");
        let mut state = begin(pair, case);
        let mut played = Played::default();
        let mut aligned = false;
        while let Some(step) = next(&state, played.steps.len() as u64) {
            let (verdict, after) = pair.step(&state, &step, aligned);
            aligned = verdict == Verdict::Same;
            let last = matches!(verdict, Verdict::Differs(_));
            played.states.push(state);
            played.steps.push((step, verdict));
            match after {
                Some(s) if !last => state = carried(&s),
                _ => break,
            }
        }
        played
    }

    /// A case with all that helps to understand it.
    pub fn describe(&mut self, case: &Case) -> String {
        let played = self.replay(case);
        let mut text = format!(
            "\nGEARBOX_ORACLE_CASE='{}' cargo test -p gearbox-tests --test kvm_sequences replay -- --nocapture\n",
            case.to_text()
        );
        for ((step, verdict), before) in played.steps.iter().zip(&played.states) {
            let _ = writeln!(
                text,
                "  {:x}:{:x} ring {} {}",
                before.seg(Seg::Cs).selector,
                before.rip,
                super::generate::ring(before),
                disassembly(&step.code, bits(before), before.rip)
            );
            match verdict {
                Verdict::Differs(list) => {
                    for d in list {
                        let _ = writeln!(text, "    {}: kvm {}, tcg {}", d.field, d.kvm, d.tcg);
                    }
                }
                other => drop(writeln!(text, "    {other:?}")),
            }
        }
        if let (Some(before), Some((step, Verdict::Differs(_)))) =
            (played.states.get(played.steps.len() - 1), played.steps.last())
        {
            let mut before = before.clone();
            step.sets.iter().for_each(|(reg, v)| reg.set(&mut before, *v));
            let list: Vec<_> = normal(&before).iter().map(|(n, v)| format!("{n} {v}")).collect();
            let _ = writeln!(text, "    before: {}", list.join(", "));
        }
        text
    }
}

fn disassembly(code: &[u8], bits: u32, ip: u64) -> String {
    use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
    let i = Decoder::with_ip(bits, code, ip, DecoderOptions::NONE).decode();
    let mut text = String::new();
    IntelFormatter::new().format(&i, &mut text);
    text
}

/// Puts both in the state in which a case starts.
fn begin(pair: &Pair, case: &Case) -> X86State {
    let mut state = None;
    for machine in [&pair.kvm, &pair.tcg] {
        machine.clear();
        state = Some(start(case.mode(), case.ring, machine.memory()));
        interrupt_table(IDTS[0], true, CODE64, &|at, bytes| machine.write(at, bytes));
        interrupt_table(IDTS[1], false, CODE32, &|at, bytes| machine.write(at, bytes));
        (0..256).for_each(|v| machine.write(4 * v, &(HANDLERS as u32 + 16 * v as u32).to_le_bytes()));
    }
    let mut state = state.expect("two machines");
    state.idtr.base = idt(&state);
    if case.ring == 3 {
        // As every system has it; and where ring 3 is executed by the host's processor, it cannot be off.
        state.rflags |= rflags::IF;
    }
    let sysenter = [(0x174, 0xa0), (0x175, 0x9f00), (0x176, CODE + 0x1800)];
    let syscall = [
        (0xc000_0081, 0x00b0_00a0 << 32 | (CODE + 0x1900)),
        (0xc000_0082, CODE + 0x1a00),
        (0xc000_0083, CODE + 0x1b00),
    ];
    state.msrs = sysenter.into_iter().chain(syscall).chain([(0xc000_0084, 0x4700), (0xc000_0102, 0x1_9000)]).collect();
    state.msrs.insert(0x277, 0x0007_0406_0007_0406);
    carried(&state)
}

impl Pair {
    /// One step from `state`: what came of it, and the software CPU's state after it, from which a case goes on. `aligned` tells that this is where
    /// KVM's CPU is as well.
    fn step(&mut self, state: &X86State, step: &Step, aligned: bool) -> (Verdict, Option<Box<X86State>>) {
        let mut before = state.clone();
        step.sets.iter().for_each(|(reg, v)| reg.set(&mut before, *v));
        if !aligned {
            self.kvm.write(0, &self.tcg.ram());
        }
        for machine in [&self.kvm, &self.tcg] {
            // Where earlier steps were.
            machine.write(HANDLERS, &STOP.repeat(0x800));
            machine.write(CODE, &LANDING.repeat(0x200));
            step.pokes.iter().for_each(|(at, bytes)| machine.write(*at, bytes));
        }
        if self.tcg.load(&before).is_err() {
            return (Verdict::Nowhere, None);
        }
        let Some(at) = place(&mut self.tcg, &before, step.code.len() as u64) else {
            return (Verdict::Nowhere, None);
        };
        let code = [&step.code[..], &LANDING[..3]].concat();
        self.kvm.write(at, &code);
        self.tcg.write(at, &code);
        if !aligned || step.pokes.iter().any(|(at, _)| *at >= TABLES) {
            self.kvm.forget_translations();
        }
        let tcg = self.tcg.run(step.intr);
        if tcg == Ending::Endless {
            return (Verdict::Nowhere, None);
        }
        // What KVM refuses to be in, or takes and forgets.
        let odd = !aligned || step.sets.iter().any(|(reg, _)| !matches!(reg, Reg::Gpr(_)));
        let refused = self.kvm.load(&before).err().or_else(|| odd.then(|| self.kvm.lacks(&before)).flatten());
        let kvm = refused.map_or_else(|| self.kvm.run(step.intr), Ending::Cannot);
        let verdict = match &kvm {
            Ending::Cannot(why) => Verdict::Cannot(why.clone()),
            _ => self.verdict(step, &before, &kvm, &tcg),
        };
        match tcg {
            Ending::Stopped(s) => (verdict, Some(s)),
            _ => (verdict, None),
        }
    }

    fn verdict(&self, step: &Step, before: &X86State, kvm: &Ending, tcg: &Ending) -> Verdict {
        let list = differences((kvm, &self.kvm.ram()), (tcg, &self.tcg.ram()));
        if list.is_empty() {
            return Verdict::Same;
        }
        let facts = Facts::new(step, before, (kvm, tcg), &list, self.intel);
        let mut known = GAPS.iter().filter(|g| !(g.emulated && self.complete));
        match known.find(|g| (g.applies)(&facts)) {
            Some(gap) => Verdict::Gap(gap.name),
            None => Verdict::Differs(list),
        }
    }
}

/// The physical address where the CPU's next instructions are, if there is room for `len` bytes and a [`STOP`].
fn place(tcg: &mut Machine, s: &X86State, len: u64) -> Option<u64> {
    let linear = s.seg(Seg::Cs).base.wrapping_add(s.rip);
    let linear = if bits(s) == 64 { s.rip } else { linear & 0xffff_ffff };
    let (first, last) = (tcg.translate(linear)?, tcg.translate(linear.checked_add(len + 2)?)?);
    let low = last < 0x1_f000 && first >= 0x6000;
    (low && last == first + len + 2).then_some(first)
}
