//! One case: an instruction's bytes with everything that it can see, and what it leaves. Both are plain memory, so that processes can share
//! them; the text form of a case replays it.

use gearbox_core::x86::state::FpuState;

/// Where the code lies: two pages that may be read and executed. What follows is not mapped.
pub(super) const CODE: u64 = 0x1000_0000;
/// Bytes of code.
pub(super) const CODE_LEN: u64 = 0x2000;
/// What is around the instruction: breakpoints.
pub(super) const FILLER: u8 = 0xcc;
/// Where data lies: two pages that may be read and written, between pages that are not mapped.
pub(super) const ARENA: u64 = 0x1001_0000;
/// Bytes of data.
pub(super) const ARENA_LEN: usize = 0x2000;
/// A page that may only be read. It holds the same as the arena's first.
pub(super) const READ_ONLY: u64 = 0x1001_3000;
/// Base of GS in 64-bit code.
pub(super) const GS_BASE: u64 = ARENA + 0x800;
/// Bytes of the arena that a case may set.
pub(super) const PATCH: usize = 1088;

/// What the arena holds before the patch.
pub(super) fn template() -> Box<[u8; ARENA_LEN]> {
    let mut r = crate::random::Random(0x0123_4567_89ab_cdef);
    let mut t = Box::new([0; ARENA_LEN]);
    t.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&r.next().to_le_bytes()));
    t
}

/// An instruction and the state before it.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Case {
    /// XSAVE image: x87, SSE, AVX.
    pub fpu: [u8; FpuState::XSAVE_SIZE],
    /// General registers by number.
    pub gpr: [u64; 16],
    pub rflags: u64,
    /// The instruction and what follows it.
    pub bytes: [u8; 16],
    /// How long the instruction is.
    pub len: u32,
    /// Where in the code pages it lies.
    pub at: u32,
    /// 32 or 64.
    pub bits: u32,
    /// It may transfer control: a single-step trap ends it, for others a breakpoint behind it does.
    pub trap: u32,
    /// Offset in the arena of what the case sets there.
    pub patch_at: u32,
    pub patch_len: u32,
    pub patch: [u8; PATCH],
}

impl Case {
    pub(super) fn new() -> Self {
        Self {
            fpu: FpuState { fcw: 0x37f, ftw: 0, ..FpuState::default() }.to_xsave(),
            gpr: [0; 16],
            rflags: 2,
            bytes: [0xcc; 16],
            len: 0,
            at: 0x800,
            bits: 64,
            trap: 0,
            patch_at: 0,
            patch_len: 0,
            patch: [0; PATCH],
        }
    }
    /// The instruction.
    pub(super) fn code(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
    pub(super) fn set_code(&mut self, code: &[u8]) {
        self.bytes = [0xcc; 16];
        self.bytes[..code.len()].copy_from_slice(code);
        self.len = code.len() as u32;
    }
    /// Where it lies.
    pub(super) fn start(&self) -> u64 {
        CODE + u64::from(self.at)
    }
    /// What follows it.
    pub(super) fn next(&self) -> u64 {
        self.start() + u64::from(self.len)
    }
    /// The bytes to be put at [`Case::start`]: as many as fit into the pages.
    pub(super) fn placed(&self) -> &[u8] {
        &self.bytes[..16.min(CODE_LEN as usize - self.at as usize)]
    }
    /// What the case sets in the arena, and where.
    pub(super) fn patch(&self) -> (usize, &[u8]) {
        (self.patch_at as usize, &self.patch[..self.patch_len as usize])
    }
    /// Sets `bytes` in the arena at `at`, as far as they fit.
    pub(super) fn set_patch(&mut self, at: usize, bytes: &[u8]) {
        let n = bytes.len().min(PATCH).min(ARENA_LEN.saturating_sub(at));
        self.patch_at = at as u32;
        self.patch_len = n as u32;
        self.patch[..n].copy_from_slice(&bytes[..n]);
    }

    fn raw(&self) -> &[u8] {
        // SAFETY: plain integers; the fields leave no padding but at the end, which `PARTS` does not reach.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), PARTS) }
    }
    /// As text: hexadecimal digits, and `z` with the length of a run of zeros, in decimal, between dots.
    pub(super) fn to_text(&self) -> String {
        let raw = self.raw();
        let (mut text, mut at) = (String::new(), 0);
        while at < raw.len() {
            let zeros = raw[at..].iter().take_while(|b| **b == 0).count();
            if zeros > 2 {
                text += &format!("z{zeros}.");
                at += zeros;
            } else {
                text += &format!("{:02x}", raw[at]);
                at += 1;
            }
        }
        text
    }
    /// Reads what [`Case::to_text`] wrote.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let (mut raw, mut rest) = (Vec::with_capacity(PARTS), text.trim());
        while !rest.is_empty() {
            if let Some(run) = rest.strip_prefix('z') {
                let (n, after) = run.split_once('.')?;
                raw.resize(raw.len() + n.parse::<usize>().ok().filter(|n| *n <= PARTS)?, 0);
                rest = after;
            } else {
                raw.push(u8::from_str_radix(rest.get(..2)?, 16).ok()?);
                rest = &rest[2..];
            }
        }
        if raw.len() != PARTS {
            return None;
        }
        let mut case = Self::new();
        // SAFETY: as for `raw`; any integers are a case.
        unsafe { std::ptr::copy_nonoverlapping(raw.as_ptr(), (&raw mut case).cast::<u8>(), PARTS) };
        let sane = (1..=15).contains(&case.len)
            && u64::from(case.at) < CODE_LEN
            && case.patch_len as usize <= PATCH
            && case.patch_at as usize + case.patch_len as usize <= ARENA_LEN
            && matches!(case.bits, 32 | 64);
        sane.then_some(case)
    }
}

/// Bytes of a case without the padding at its end.
const PARTS: usize = FpuState::XSAVE_SIZE + 16 * 8 + 8 + 16 + 6 * 4 + PATCH;

/// The state after it.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Outcome {
    pub fpu: [u8; FpuState::XSAVE_SIZE],
    pub gpr: [u64; 16],
    pub rflags: u64,
    pub rip: u64,
    /// The exception that ended it.
    pub vector: u64,
    pub error_code: u64,
    pub cr2: u64,
    pub memory: [u8; ARENA_LEN],
}

impl Outcome {
    pub(super) fn new() -> Self {
        Self {
            fpu: [0; FpuState::XSAVE_SIZE],
            gpr: [0; 16],
            rflags: 0,
            rip: 0,
            vector: 0,
            error_code: 0,
            cr2: 0,
            memory: [0; ARENA_LEN],
        }
    }
}

/// How an instruction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It was completed, and this comes next.
    Done { rip: u64 },
    /// By an exception. Faults have the instruction's own address, traps that of the next.
    Exception { vector: u8, error_code: u64, cr2: u64, rip: u64 },
    /// The interpreter gave up.
    Internal(&'static str),
}

#[test]
fn text_and_back() {
    let mut c = Case::new();
    c.set_code(&[0x0f, 0xa2]);
    c.gpr[3] = 0x1234_0000_0000;
    c.set_patch(100, &[1, 0, 2, 0, 0, 0, 0, 3]);
    assert!(Case::from_text(&c.to_text()) == Some(c));
    for bad in ["", "00", "z4000.", "zz", "0"] {
        assert!(Case::from_text(bad).is_none(), "{bad}");
    }
}
