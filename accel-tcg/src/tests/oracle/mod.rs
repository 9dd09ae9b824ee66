//! The host CPU as the oracle: random instructions in random states, executed by the host in a child process and by the interpreter, and
//! compared: registers, flags, x87, SSE and AVX state, memory, and the exception, with its error code and address.
//!
//! | module | what it is |
//! |---|---|
//! | [`case`] | an instruction with its state before and after |
//! | [`scope`] | what is compared, and why the rest is not |
//! | [`generate`], [`values`] | cases |
//! | [`native`], [`interpreter`] | the two that execute them |
//! | [`compare`] | what has to be equal |
//! | [`shrink`] | from a failure to a small one |
//!
//! `GEARBOX_ORACLE_CASES` sets how many cases run (by default some for every code), `GEARBOX_ORACLE_SECONDS` for how long, `GEARBOX_ORACLE_SEED`
//! the seed, `GEARBOX_ORACLE_ONLY` a part of the names of the codes to run, `GEARBOX_ORACLE_SHOW` how many failures are reported at length, `GEARBOX_ORACLE_CASE` the case that `oracle_replay` runs.

mod case;
mod compare;
mod generate;
mod interpreter;
mod native;
mod scope;
mod shrink;
mod values;

use case::{Case, Ending, Outcome};
use compare::{NAMES, Verdict};
use gearbox_core::x86::state::FpuState;
use generate::Generator;
use iced_x86::Code;
use interpreter::{How, Interpreter};
use native::{BATCH, Died, Host};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::flags::ARITH;

/// Cases of each form in the suite.
const IN_THE_SUITE: u64 = 24;
/// Failures that are reported at length.
const SHOWN: usize = 12;

/// Both sides.
struct Oracle {
    host: Host,
    here: Interpreter,
    outcome: Box<Outcome>,
}

impl Oracle {
    /// `None`, said, where the host cannot be one.
    fn new() -> Option<Self> {
        match Host::new() {
            Ok(host) => Some(Self { host, here: Interpreter::new(), outcome: Box::new(Outcome::new()) }),
            Err(why) => {
                eprintln!("skipped: {why}");
                None
            }
        }
    }
    /// What differs for the case that the host has executed as number `n`.
    fn judge(&mut self, n: usize, how: How) -> Vec<String> {
        let s = self.host.shared();
        let (case, native) = (&s.cases[n], &s.outcomes[n]);
        let got = self.here.run(case, how, &mut self.outcome);
        let i = self.here.decode(case);
        let want = native::ending(case, native);
        Verdict { case, i: &i, want: (want, native), got: (got, &self.outcome) }.differences()
    }
    /// What differs for one case.
    fn differences(&mut self, case: &Case, how: How) -> Vec<String> {
        self.host.shared().cases[0] = case.clone();
        match self.host.run(1) {
            Ok(()) => self.judge(0, how),
            Err(Died { why, .. }) => vec![format!("the child died: {why}")],
        }
    }
    /// The same with what the instruction is and what it starts from.
    fn describe(&mut self, case: &Case, how: How) -> String {
        let d = self.differences(case, how);
        let i = self.here.decode(case);
        let bytes: Vec<_> = case.code().iter().map(|b| format!("{b:02x}")).collect();
        let mut text = format!("{how:?}: {i} ({:?}, {} bits, {})\n", i.code(), case.bits, bytes.join(" "));
        for line in &d {
            text += &format!("    {line}\n");
        }
        let regs = case.gpr.iter().zip(NAMES).filter(|(v, _)| **v != 0).map(|(v, n)| format!("{n}={v:x} "));
        text += &format!("  from {}flags={:x}", regs.collect::<String>(), case.rflags);
        let (at, patch) = case.patch();
        if !patch.is_empty() {
            text += &format!(" [{:x}]={:02x?}", case::ARENA + at as u64, &patch[..patch.len().min(32)]);
        }
        let f = FpuState::from_xsave(&case.fpu);
        text += &format!("\n  fcw={:x} fsw={:x} ftw={:x} mxcsr={:x}", f.fcw, f.fsw, f.ftw, f.mxcsr);
        let used = (0..i.op_count()).map(|n| i.op_register(n));
        for r in used {
            let n = r.number();
            if r.is_xmm() || r.is_ymm() {
                text += &format!(" {r:?}={:032x}:{:032x}", f.ymm_hi[n & 15], f.xmm[n & 15]);
            } else if r.is_st() || r.is_mm() {
                text += &format!(" {r:?}={:020x}", f.st[n & 7]);
            }
        }
        text + &format!(
            "\n  again: GEARBOX_ORACLE_CASE={} cargo test -p gearbox-accel-tcg --lib oracle_replay\n",
            case.to_text()
        )
    }
}

/// Cases and failures by code.
#[derive(Default)]
struct Report {
    cases: BTreeMap<String, (u64, u64)>,
    total: u64,
    failures: Vec<String>,
}

impl Report {
    fn count(&mut self, code: Code, failed: bool) -> u64 {
        let e = self.cases.entry(format!("{code:?}")).or_default();
        e.0 += 1;
        e.1 += u64::from(failed);
        self.total += 1;
        e.1
    }
}

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|v| v.parse().ok())
}

/// Runs until there were `cases`, or the time is over.
fn explore(modes: &[u32], cases: Option<u64>, seconds: Option<u64>) {
    let Some(mut oracle) = Oracle::new() else { return };
    let seed = env("GEARBOX_ORACLE_SEED").unwrap_or(1);
    let only = std::env::var("GEARBOX_ORACLE_ONLY").unwrap_or_default();
    let mut generator = Generator::new(oracle.here.isa(), seed, &only, modes);
    if generator.forms.is_empty() {
        assert!(!only.is_empty(), "no forms");
        return;
    }
    let began = Instant::now();
    let wanted = cases.unwrap_or(IN_THE_SUITE * generator.forms.len() as u64);
    let mut report = Report::default();
    let mut codes = [Code::INVALID; BATCH];
    let mut failed_cases = Vec::new();
    let shown = env("GEARBOX_ORACLE_SHOW").map_or(SHOWN, |n| n as usize);
    while seconds.map_or(report.total < wanted, |s| began.elapsed() < Duration::from_secs(s)) {
        for (n, code) in codes.iter_mut().enumerate() {
            (oracle.host.shared().cases[n], *code) = generator.case();
        }
        if let Err(Died { case, why }) = oracle.host.run(BATCH) {
            let case = oracle.host.shared().cases[case.min(BATCH - 1)].clone();
            report.failures.push(format!("the child died, {why}: {}", oracle.describe(&case, How::Step)));
            assert!(report.failures.len() < shown, "{}", report.failures.join("\n"));
            continue;
        }
        for (n, &code) in codes.iter().enumerate() {
            let how = if n % 2 == 0 { How::Block } else { How::Step };
            let failed = !oracle.judge(n, how).is_empty();
            if report.count(code, failed) == 1 && failed {
                failed_cases.push((Box::new(oracle.host.shared().cases[n].clone()), how));
            }
        }
        for (case, how) in failed_cases.drain(..) {
            if report.failures.len() < shown {
                let code = oracle.here.decode(&case).code();
                let small = shrink::shrink(&case, |c| {
                    let i = oracle.here.decode(c);
                    let same = i.code() == code && (i.is_invalid() || i.len() == c.len as usize);
                    same && !oracle.differences(c, how).is_empty()
                });
                report.failures.push(oracle.describe(&small, how));
            }
        }
    }
    conclude(&report, &generator, modes, began.elapsed());
}

fn conclude(report: &Report, generator: &Generator, modes: &[u32], took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "{} cases of {} codes in {seconds:.1} s ({:.0} a second), modes {modes:?}",
        report.total,
        report.cases.len(),
        report.total as f64 / seconds
    );
    let missed: std::collections::BTreeSet<_> =
        generator.forms.iter().map(|f| format!("{:?}", f.code)).filter(|c| !report.cases.contains_key(c)).collect();
    if !missed.is_empty() {
        println!("never met: {}", missed.iter().cloned().collect::<Vec<_>>().join(" "));
    }
    if std::env::var_os("GEARBOX_ORACLE_COUNTS").is_some() {
        report.cases.iter().for_each(|(code, (n, _))| println!("{n:8} {code}"));
    }
    let bad: Vec<_> = report.cases.iter().filter(|(_, (_, failed))| *failed > 0).collect();
    let list: Vec<_> = bad.iter().map(|(code, (n, failed))| format!("{code}: {failed} of {n}")).collect();
    assert!(
        report.failures.is_empty() && bad.is_empty(),
        "{}\n{} codes differ:\n{}",
        report.failures.join("\n"),
        bad.len(),
        list.join("\n")
    );
}

#[test]
fn oracle_64_bit_code() {
    explore(&[64], env("GEARBOX_ORACLE_CASES"), None);
}
#[test]
fn oracle_32_bit_code() {
    explore(&[32], env("GEARBOX_ORACLE_CASES"), None);
}
mod long {
    /// Both modes for `GEARBOX_ORACLE_SECONDS` (ten minutes), or `GEARBOX_ORACLE_CASES`.
    #[test]
    fn oracle() {
        let cases = super::env("GEARBOX_ORACLE_CASES");
        let seconds = super::env("GEARBOX_ORACLE_SECONDS").or(cases.is_none().then_some(600));
        super::explore(&[64, 32], cases, seconds);
    }
}
/// The case that a failure printed.
#[test]
fn oracle_replay() {
    let Ok(text) = std::env::var("GEARBOX_ORACLE_CASE") else { return };
    let case = Case::from_text(&text).expect("GEARBOX_ORACLE_CASE is what a failure printed");
    let Some(mut oracle) = Oracle::new() else { return };
    for how in [How::Block, How::Step] {
        let text = oracle.describe(&case, how);
        assert!(oracle.differences(&case, how).is_empty(), "{text}");
        println!("{text}");
    }
}

/// The oracle sees what it is there to see.
#[test]
fn oracle_notices() {
    let Some(mut oracle) = Oracle::new() else { return };
    let mut case = Case::new();
    // add rax, rcx
    case.set_code(&[0x48, 0x01, 0xc8]);
    case.gpr[..2].copy_from_slice(&[7, 8]);
    assert!(oracle.differences(&case, How::Block).is_empty());
    // The same on other operands than the host's.
    oracle.host.shared().cases[0].gpr[1] = 9;
    let d = oracle.judge(0, How::Block);
    assert!(d.iter().any(|l| l == "rax: host f, here 10") && d.len() >= 2, "{d:?}");
    let end = oracle.here.run(&case, How::Step, &mut oracle.outcome);
    assert_eq!(end, Ending::Done { rip: case.next() });
    // mov [rax], al, where nothing is mapped
    case.set_code(&[0x88, 0x00]);
    assert!(oracle.differences(&case, How::Block).is_empty());
    let end = native::ending(&case, &oracle.host.shared().outcomes[0]);
    assert_eq!(end, Ending::Exception { vector: 14, error_code: 6, cr2: 7, rip: case.start() });
}
