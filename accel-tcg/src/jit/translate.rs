//! One block.

use super::asm::{Alu, Asm, Fixup, Mem, RAX, RCX, RDI, RDX, RSI, Reg, at, cc, sum};
use super::pending::Operation;
use super::registers::Registers;
use super::thunks::{A, B, BUDGET, KIND, RIP, Thunks, tlb_entry};
use crate::block::{Block, Exit, Op};
use crate::cpu::{Cpu, Mode, slot};
use crate::decode::ends_block;
use crate::mem::tlb::{OFFSET, TlbEntry};
use crate::ops::hot::{self, ZERO};
use iced_x86::{Instruction, Mnemonic, RflagsBits};
use std::mem::offset_of;

/// What comes out.
pub(crate) struct Translated {
    pub ops: Vec<Op>,
    /// [`Block::native`].
    pub native: usize,
    pub exits: [Exit; 2],
    pub(super) code: Vec<u8>,
}

/// What is known of the guest's flags.
#[derive(Clone, Copy, Debug)]
pub(super) enum Flags {
    Unknown,
    /// They are those of an operation whose operands are pending.
    Of {
        /// Op that did it.
        by: usize,
        operation: Operation,
        size: u8,
        /// The host's flags are still the same.
        host: bool,
    },
}

/// Where [`Translator::reach`] leaves the memory operand.
pub(super) const REACHED: Mem = at(RAX, 0);

/// The second operand of arithmetic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Second {
    Reg(Reg),
    Imm(i32),
}

/// A jump to what the block is linked to.
pub(super) struct Departure {
    pub jump: Fixup,
    pub way: usize,
    /// The op that does it.
    pub op: usize,
    /// How far RIP has gone.
    pub delta: i32,
}

/// Out of the straight path, with the number of the op.
#[derive(Clone, Copy)]
enum Stub {
    Slow,
    SlowEnd,
    Handler,
}

/// What became of an op.
#[derive(Clone, Copy, Default)]
struct Fate {
    /// Where its code begins; 0 if the handler does it.
    code: usize,
    /// Guest registers that its code takes from host registers.
    registers: u16,
    /// It may go the slow way.
    slow: bool,
    /// The interpreter must not go on with its code, which relies on what only translated code leaves.
    closed: bool,
}

pub(super) struct Translator {
    pub a: Asm,
    pub thunks: Thunks,
    pub ops: Vec<Op>,
    /// Flags that nothing can see, by instruction.
    pub dead: Vec<bool>,
    pub mode: Mode,
    /// Offset in its page of the block.
    pub start: i32,
    /// Bytes of an address, of the instruction pointer and of the stack pointer.
    pub width: u8,
    pub registers: Registers,
    pub flags: Flags,
    /// The block's address.
    pub block: usize,
    pub departures: Vec<Departure>,
    fates: Vec<Fate>,
    stubs: Vec<(Fixup, Stub, usize)>,
}

/// Translates a block, of which `ops` are those of the interpreter, one for each instruction but for idle ones, to code that will lie at `base`.
pub(super) fn translate(block: &Block, ops: Vec<Op>, thunks: Thunks, base: usize) -> Option<Translated> {
    let (insns, mode, count) = (&block.insns, block.mode, ops.len());
    let mut t = Translator {
        a: Asm::new(base),
        thunks,
        dead: hot::dead_flags(insns),
        mode,
        start: (block.host as u64 & OFFSET) as i32,
        width: if mode.is_64() { 8 } else { 4 },
        registers: Registers::of(&ops),
        flags: Flags::Unknown,
        block: std::ptr::from_ref(block) as usize,
        departures: Vec::new(),
        fates: vec![Fate::default(); count],
        stubs: Vec::new(),
        ops,
    };
    // The interpreter, which has done this, comes in behind.
    let length = block.count as i32;
    t.a.alu_imm(Alu::Sub, 8, at(RDI, BUDGET), length);
    let over = t.a.jcc(cc::S);
    let body = t.a.here();
    let mut gain = false;
    for k in 0..count {
        let i = &insns[usize::from(t.ops[k].ord)];
        t.fates[k] = Fate { code: t.a.here(), registers: t.registers.snapshot(), ..Fate::default() };
        let last = k + 1 == count;
        let done =
            if last { t.end(k, i, ends_block(i)) } else { t.lowered(k) && t.straight(k, i) || t.unlowered(k, i) };
        gain |= done;
        if !done {
            t.by_handler(k, i);
        }
    }
    if !gain {
        return None;
    }
    t.a.land(over);
    t.a.alu_imm(Alu::Add, 8, at(RDI, BUDGET), length);
    t.a.jmp_to(thunks.out);
    t.enter_in_the_middle();
    let exits = t.emit_exits();
    t.emit_stubs();
    // In front of the others: the way in.
    t.ops.insert(0, Op { run: handler_at(body).unwrap_or(hot::slow), ..t.ops[0] });
    Some(Translated { ops: t.ops, native: base, exits, code: t.a.into_code() })
}

impl Translator {
    /// The interpreter has a handler of its own for op `k`, with operands filled in.
    pub(super) fn lowered(&self, k: usize) -> bool {
        let run = self.ops[k].run as usize;
        run != hot::slow as *const () as usize && run != hot::slow_end as *const () as usize
    }
    pub(super) fn op(&self, k: usize) -> Op {
        self.ops[k]
    }
    /// Nothing sees the flags that op `k` leaves.
    pub(super) fn flags_dead(&self, k: usize) -> bool {
        self.dead[usize::from(self.ops[k].ord)]
    }

    /// Translates op `k`, which is `i`, where the interpreter's handler cannot be taken for a model, or is none.
    fn unlowered(&mut self, k: usize, i: &Instruction) -> bool {
        let mut op = self.op(k);
        if hot::operands(i, &mut op, self.mode).is_none() {
            return false;
        }
        let before = std::mem::replace(&mut self.ops[k], op);
        let done = self.modify_memory(k, i) || self.bits(k, i) || self.system(k, i);
        if !done {
            self.ops[k] = before;
        }
        done
    }

    // ---- ways out

    /// Leaves op `k` to its handler.
    fn by_handler(&mut self, k: usize, i: &Instruction) {
        self.fates[k].code = 0;
        let f = self.a.jmp();
        self.stubs.push((f, Stub::Handler, k));
        self.registers.spoil_all();
        const ARITH: u32 =
            RflagsBits::CF | RflagsBits::PF | RflagsBits::AF | RflagsBits::ZF | RflagsBits::SF | RflagsBits::OF;
        // A rotation through CF all the way round is said to leave the flags, but what OF is then is the interpreter's choice.
        let round = matches!(i.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr);
        if round || i.rflags_modified() & ARITH != 0 {
            self.flags = Flags::Unknown;
        }
        self.host_flags_gone();
    }
    /// On `cc`, op `k`, the last one, is left to its handler.
    pub(super) fn handler_if(&mut self, cc: u8, k: usize) {
        let f = self.a.jcc(cc);
        self.stubs.push((f, Stub::Handler, k));
    }
    pub(super) fn slow_if(&mut self, cc: u8, k: usize) {
        let f = self.a.jcc(cc);
        let stub = if k + 1 == self.ops.len() { Stub::SlowEnd } else { Stub::Slow };
        self.stubs.push((f, stub, k));
        self.fates[k].slow = true;
    }
    /// Handlers of ops go on with the code of the next one.
    fn enter_in_the_middle(&mut self) {
        let count = self.ops.len();
        let mut interpreted = self.fates[0].code == 0;
        // The last op is left to its handler: it is entered in many places.
        for k in 1..count.saturating_sub(1) {
            let (fate, before) = (self.fates[k], self.fates[k - 1]);
            let entered = interpreted || before.slow;
            let code = if !entered || fate.closed || fate.code == 0 { 0 } else { self.reloading(fate) };
            interpreted = entered && code == 0 || fate.code == 0;
            self.ops[k].run = handler_at(code).unwrap_or(self.ops[k].run);
        }
    }
    /// The code of an op behind loads of what it expects in host registers.
    fn reloading(&mut self, fate: Fate) -> usize {
        if fate.registers == 0 {
            return fate.code;
        }
        let here = self.a.here();
        for n in (0..16).filter(|n| fate.registers >> n & 1 != 0) {
            if let Some(home) = self.registers.home(n) {
                self.a.load(8, home, at(RDI, usize::from(n) * 8));
            }
        }
        self.a.jmp_to(fate.code);
        here
    }
    /// Where exits lead while they are not connected: to the interpreter of the block that is linked, or to the handler, which links it.
    fn emit_exits(&mut self) -> [Exit; 2] {
        let mut exits = [Exit::default(); 2];
        for Departure { jump, way, op, delta } in std::mem::take(&mut self.departures) {
            exits[way] = Exit { site: self.a.address(jump), unlinked: self.a.here() };
            self.a.land(jump);
            self.a.constant(RCX, self.link(way));
            self.a.load(8, RAX, at(RCX, 0));
            self.a.test(8, RAX, RAX);
            let none = self.a.jcc(cc::E);
            self.a.jmp_by(at(RAX, offset_of!(Block, native)));
            self.a.land(none);
            self.a.alu_imm(Alu::Sub, self.width, at(RDI, RIP), delta);
            let f = self.a.jmp();
            self.stubs.push((f, Stub::Handler, op));
        }
        exits
    }
    /// Address of one of the block's links.
    pub(super) fn link(&self, way: usize) -> u64 {
        (self.block + offset_of!(Block, links) + way * size_of::<*const Block>()) as u64
    }
    fn emit_stubs(&mut self) {
        let mut tails = [None; 3];
        for (f, stub, k) in std::mem::take(&mut self.stubs) {
            self.a.land(f);
            self.a.constant(RSI, ((k + 1) * size_of::<Op>()) as u64);
            let tail = &mut tails[stub as usize];
            if let Some(tail) = *tail {
                self.a.jmp_to(tail);
                continue;
            }
            *tail = Some(self.a.here());
            self.a.constant(RAX, self.block as u64);
            self.a.jmp_to(match stub {
                Stub::Slow => self.thunks.slow,
                Stub::SlowEnd => self.thunks.slow_end,
                Stub::Handler => self.thunks.handler,
            });
        }
    }

    // ---- registers

    /// A register by its offset, in a host register: its home, or `scratch`. Bits beyond `size` may be any in a home, and are zero in `scratch`.
    pub(super) fn read(&mut self, offset: u8, size: u8, scratch: Reg) -> Reg {
        let n = offset >> 3;
        if offset & 7 == 0
            && let Some(home) = self.registers.home(n)
        {
            if !self.registers.is_valid(n) {
                self.a.load(8, home, at(RDI, usize::from(offset)));
                self.registers.set_valid(n);
            }
            return home;
        }
        self.a.load(size, scratch, at(RDI, usize::from(offset)));
        scratch
    }
    /// The host register in which a register is to be changed: its home, or `scratch`, with the old value.
    pub(super) fn modify(&mut self, offset: u8, size: u8, scratch: Reg) -> Reg {
        let r = self.read(offset, size, scratch);
        if size >= 4 || r == scratch {
            return r;
        }
        self.a.zero_extend(size, scratch, r);
        scratch
    }
    /// Where a new value of a register is to be made.
    pub(super) fn target(&self, offset: u8, size: u8, scratch: Reg) -> Reg {
        if size < 4 { scratch } else { self.registers.home(offset >> 3).unwrap_or(scratch) }
    }
    /// Sets a register to `from`. What is no home holds zeroes beyond 32 bits, if that is the size; a home that is not this register's own may hold anything.
    pub(super) fn write(&mut self, offset: u8, size: u8, from: Reg) {
        let (n, place) = (offset >> 3, at(RDI, usize::from(offset)));
        if size < 4 {
            self.a.store(size, place, from);
            return self.registers.spoil(n);
        }
        match self.registers.home(n) {
            Some(home) => {
                if home != from {
                    self.a.mov(size, home, from);
                }
                self.registers.set_valid(n);
                self.a.store(8, place, home);
            }
            None if size == 4 && ![RAX, RCX, RDX].contains(&from) => {
                self.a.mov(4, RDX, from);
                self.a.store(8, place, RDX);
            }
            None => self.a.store(8, place, from),
        }
    }

    // ---- memory

    /// Puts the linear address of the memory operand into RAX.
    pub(super) fn address(&mut self, op: &Op) {
        let width = self.width;
        let base = match op.base {
            ZERO => None,
            base if base == slot::RIP as u8 * 8 => {
                self.a.load(8, RAX, at(RDI, RIP));
                Some(RAX)
            }
            base => Some(self.read(base, 8, RAX)),
        };
        let index = (op.index != ZERO).then(|| (self.read(op.index, 8, RCX), op.scale));
        match (base, index) {
            (None, None) => {
                let v = if width == 8 { op.disp as i64 as u64 } else { u64::from(op.disp as u32) };
                self.a.constant(RAX, v);
            }
            (Some(base), None) if op.disp == 0 => self.a.mov(width, RAX, base),
            _ => self.a.lea(width, RAX, sum(base, index, op.disp)),
        }
        if op.seg != ZERO {
            self.a.alu(Alu::Add, 8, RAX, at(RDI, usize::from(op.seg)));
        }
    }
    /// Turns the linear address in RAX into a host address, for an access of op `k`, which goes the slow way if that cannot be. Changes RCX and RDX.
    pub(super) fn check(&mut self, k: usize, size: u8, write: bool) {
        let array = if write { offset_of!(Cpu, tlb_write) } else { offset_of!(Cpu, tlb_read) };
        tlb_entry(&mut self.a, array);
        if size == 1 {
            self.a.mov(8, RDX, RAX);
        } else {
            self.a.lea(8, RDX, at(RAX, usize::from(size) - 1));
        }
        self.a.alu_imm(Alu::And, 8, RDX, !(OFFSET as i32));
        self.a.alu(Alu::Cmp, 8, RDX, at(RCX, offset_of!(TlbEntry, tag)));
        self.slow_if(cc::NE, k);
        self.a.alu(Alu::Add, 8, RAX, at(RCX, offset_of!(TlbEntry, addend)));
        self.host_flags_gone();
    }
    /// Puts the host address of op `k`'s memory operand into RAX. Changes RCX and RDX.
    pub(super) fn reach(&mut self, k: usize, size: u8, write: bool) {
        let op = self.op(k);
        self.address(&op);
        self.check(k, size, write);
    }

    // ---- flags

    pub(super) fn host_flags_gone(&mut self) {
        if let Flags::Of { host, .. } = &mut self.flags {
            *host = false;
        }
    }
    /// The flags are from now on those of `operation` by op `k`, whose result the host's flags show too.
    pub(super) fn flags_of(&mut self, k: usize, operation: Operation, size: u8) {
        self.flags = Flags::Of { by: k, operation, size, host: true };
    }
    /// The flags are not known, and nothing will ask before they are set.
    pub(super) fn flags_lost(&mut self) {
        self.flags = Flags::Unknown;
    }
    /// Stores the operands of an operation. Changes no flags of the host.
    pub(super) fn pend(&mut self, operation: Operation, size: u8, a: Reg, b: Second) {
        self.a.store(8, at(RDI, A), a);
        match b {
            Second::Reg(b) => self.a.store(8, at(RDI, B), b),
            Second::Imm(b) => self.a.store_imm(8, at(RDI, B), b),
        }
        self.a.store_imm(4, at(RDI, KIND), operation.of_size(size).into());
    }
    /// The same of an operation whose flags follow from its result.
    pub(super) fn pend_result(&mut self, size: u8, result: Reg) {
        self.a.store(8, at(RDI, A), result);
        self.a.store_imm(4, at(RDI, KIND), Operation::Logic.of_size(size).into());
    }
    /// Can [`Translator::condition`] be had for `cc`?
    pub(super) fn can_test(&self, cc: u8) -> bool {
        match self.flags {
            Flags::Unknown => false,
            Flags::Of { operation, host, .. } => match operation {
                Operation::Add | Operation::Sub | Operation::Logic => true,
                // Overflow and carry are all that a multiplication defines; a shift by more than one does not define overflow.
                Operation::Imul => host && cc >> 1 <= 1,
                Operation::Shl | Operation::Shr | Operation::Sar => host && (cc >> 1 == 1 || cc >> 1 == 2),
                Operation::Inc | Operation::Dec => host && cc >> 1 != 1 && cc >> 1 != 3,
                Operation::Host => host,
                Operation::Bit => host && cc >> 1 == 1,
            },
        }
    }
    /// Brings the guest's flags into the host's, for op `k`. Changes RAX.
    pub(super) fn condition(&mut self, k: usize) {
        let Flags::Of { by, operation, size, host } = self.flags else { return };
        if !host {
            self.a.load(size, RAX, at(RDI, A));
            match operation {
                Operation::Add => self.a.alu(Alu::Add, size, RAX, at(RDI, B)),
                Operation::Sub => self.a.alu(Alu::Cmp, size, RAX, at(RDI, B)),
                _ => self.a.test(size, RAX, RAX),
            }
        }
        self.flags = Flags::Of { by, operation, size, host: true };
        // Who comes from the interpreter has neither the host's flags nor, if `by` was done there, the operands.
        if host || self.fates[by].slow {
            self.fates[by + 1..=k].iter_mut().for_each(|fate| fate.closed = true);
        }
    }
}

fn handler_at(code: usize) -> Option<crate::block::Handler> {
    // SAFETY: translated code is entered as a handler is: by the same convention, with the CPU and the op.
    (code != 0).then(|| unsafe { std::mem::transmute::<usize, crate::block::Handler>(code) })
}
