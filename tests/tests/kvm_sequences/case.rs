//! A sequence: where it starts and its steps, as values and as the text that replays it.
//!
//! `VENDOR MODE RING / KIND intr REGISTER=VALUE.. @ADDRESS=BYTES.. CODE / ..`, all numbers in hexadecimal. Spaces in the name of a kind are underscores.

use gearbox_core::x86::state::X86State;
use gearbox_tests::states::{MODES, Mode};
use std::fmt::Write as _;

/// A register that a step changes before its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reg {
    Gpr(u8),
    Rflags,
    Cr0,
    Cr2,
    Cr4,
    Efer,
    Dr(u8),
    Msr(u32),
}

impl Reg {
    fn text(self) -> String {
        match self {
            Self::Gpr(n) => format!("gpr{n}"),
            Self::Rflags => "rflags".into(),
            Self::Cr0 => "cr0".into(),
            Self::Cr2 => "cr2".into(),
            Self::Cr4 => "cr4".into(),
            Self::Efer => "efer".into(),
            Self::Dr(n) => format!("dr{n}"),
            Self::Msr(n) => format!("msr{n:x}"),
        }
    }
    fn parse(text: &str) -> Option<Self> {
        let number = |prefix: &str| text.strip_prefix(prefix)?.parse::<u8>().ok();
        Some(match text {
            "rflags" => Self::Rflags,
            "cr0" => Self::Cr0,
            "cr2" => Self::Cr2,
            "cr4" => Self::Cr4,
            "efer" => Self::Efer,
            _ => match (number("gpr"), number("dr")) {
                (Some(n @ 0..16), _) => Self::Gpr(n),
                (_, Some(n @ 0..6)) => Self::Dr(n),
                _ => Self::Msr(u32::from_str_radix(text.strip_prefix("msr")?, 16).ok()?),
            },
        })
    }
    /// Sets it.
    pub fn set(self, s: &mut X86State, v: u64) {
        match self {
            Self::Gpr(n) => s.gpr[usize::from(n)] = v,
            Self::Rflags => s.rflags = v,
            Self::Cr0 => s.cr0 = v,
            Self::Cr2 => s.cr2 = v,
            Self::Cr4 => s.cr4 = v,
            Self::Efer => s.efer = v,
            Self::Dr(n) => s.dr[usize::from(n)] = v,
            Self::Msr(n) => drop(s.msrs.insert(n, v)),
        }
    }
}

/// One instruction, placed where the CPU is, and what is changed before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Of which kind it is, for the report.
    pub kind: String,
    /// INTR is up: an interrupt comes as soon as it may.
    pub intr: bool,
    pub sets: Vec<(Reg, u64)>,
    /// Physical addresses and what is written there.
    pub pokes: Vec<(u64, Vec<u8>)>,
    pub code: Vec<u8>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The CPU says that it is Intel's, not AMD's.
    pub intel: bool,
    /// Index in [`MODES`].
    pub mode: usize,
    pub ring: u8,
    pub steps: Vec<Step>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let pair = |c: &[u8]| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(pair).collect()).flatten()
}

impl Step {
    fn to_text(&self) -> String {
        let mut text = self.kind.replace(' ', "_");
        if self.intr {
            text += " intr";
        }
        for (reg, v) in &self.sets {
            let _ = write!(text, " {}={v:x}", reg.text());
        }
        for (at, data) in &self.pokes {
            let _ = write!(text, " @{at:x}={}", hex(data));
        }
        text + " " + &hex(&self.code)
    }
    fn from_text(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split_whitespace().collect();
        let ([kind, changes @ ..], code) = words.split_last().map(|(code, rest)| (rest, code))? else { return None };
        let mut step = Self { kind: kind.replace('_', " "), code: bytes(code)?, ..Self::default() };
        for change in changes {
            if *change == "intr" {
                step.intr = true;
                continue;
            }
            let (name, value) = change.split_once('=')?;
            match name.strip_prefix('@') {
                Some(at) => step.pokes.push((u64::from_str_radix(at, 16).ok()?, bytes(value)?)),
                None => step.sets.push((Reg::parse(name)?, u64::from_str_radix(value, 16).ok()?)),
            }
        }
        Some(step)
    }
}

impl Case {
    /// Where it starts.
    pub fn mode(&self) -> &'static Mode {
        &MODES[self.mode]
    }
    /// The text that [`Case::from_text`] reads.
    pub fn to_text(&self) -> String {
        let vendor = if self.intel { "intel" } else { "amd" };
        let start = format!("{vendor} {} {}", self.mode().name, self.ring);
        self.steps.iter().fold(start, |text, step| text + " / " + &step.to_text())
    }
    /// From text.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let start: Vec<_> = parts.next()?.split_whitespace().collect();
        let [vendor @ ("intel" | "amd"), mode, ring] = start[..] else { return None };
        Some(Self {
            intel: vendor == "intel",
            mode: MODES.iter().position(|m| m.name == mode)?,
            ring: ring.parse().ok().filter(|r| *r < 4)?,
            steps: parts.map(Step::from_text).collect::<Option<_>>()?,
        })
    }
}

#[test]
fn text_and_back() {
    let step = Step {
        kind: "mov to cr".into(),
        intr: true,
        sets: vec![(Reg::Gpr(3), 0x1234), (Reg::Msr(0xc000_0081), 7), (Reg::Dr(5), 0x400), (Reg::Rflags, 2)],
        pokes: vec![(0x8000, vec![1, 0, 0xff])],
        code: vec![0x0f, 0x22, 0xc3],
    };
    let case = Case { intel: true, mode: 3, ring: 0, steps: vec![step.clone(), step] };
    assert_eq!(Case::from_text(&case.to_text()), Some(case));
    for bad in ["", "amd long", "arm long 0", "amd long 0 / x", "amd long 0 / x gpr3=5 0f2", "amd long 0 / x y=5 90"] {
        assert_eq!(Case::from_text(bad), None, "{bad}");
    }
}
