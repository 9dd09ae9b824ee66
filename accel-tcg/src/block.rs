//! Decoded code: blocks keyed by (host address, mode), a jump cache by linear address in front, and what has to die when code is
//! overwritten.
//!
//! Host addresses stand for physical ones, so that one piece of RAM seen at two guest addresses is one piece of code, and a change of
//! the memory map leaves the blocks valid: RAM stays mapped, and its bytes did not change.

use crate::cpu::{Cpu, Mode};
use crate::fault::Exec;
use crate::jit::Jit;
use crate::ops::hot;
use gearbox_core::mem::{RamBlock, granules};
use iced_x86::Instruction;
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Executes one op and goes on to the next by calling it last.
pub(crate) type Handler = unsafe extern "C" fn(*mut Cpu, *const Op);
/// Executes one instruction of any kind.
pub(crate) type Executor = fn(&mut Cpu, &Instruction) -> Exec;

/// A decoded instruction for its handler. Registers are byte offsets into [`Cpu::regs`].
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Op {
    /// Executes it.
    pub run: Handler,
    /// Immediate, or for an op without a handler of its own the [`Executor`]'s address.
    pub imm: u64,
    /// Displacement; for a direct branch, from the block's start to the target.
    pub disp: i32,
    pub dst: u8,
    pub src: u8,
    pub base: u8,
    pub index: u8,
    /// Segment base.
    pub seg: u8,
    /// log2 of the index's factor.
    pub scale: u8,
    /// Number of the instruction in the block.
    pub ord: u8,
    /// Bytes of the instruction.
    pub len: u8,
    /// From the block's start to the instruction.
    pub off: u16,
    /// Spare operand of some handlers.
    pub aux: u16,
}

/// A jump of translated code that can be made to lead to another block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exit {
    /// Address of the jump's distance; 0 without such a jump.
    pub site: usize,
    /// Where it leads while the other block is not known, or not translated.
    pub unlinked: usize,
}

/// Straight-line code with one entry.
#[repr(C)]
pub(crate) struct Block {
    /// First op.
    pub start: *const Op,
    /// Instructions.
    pub count: i64,
    /// Blocks in the same page that follow: the branch's target, and the next instruction. Null until known.
    pub links: [*const Block; 2],
    /// Where translated code enters it: its own translation, or [`Jit::interpret`].
    pub native: usize,
    /// Where its translation goes on to what `links` lead to.
    pub exits: [Exit; 2],
    /// How often it was entered before it was translated.
    pub heat: Cell<u32>,
    /// Host address of the first byte; 0 when dead or never to be found by address.
    pub host: usize,
    pub mode: Mode,
    /// Bytes in the page of `host`.
    pub len: u16,
    /// Host address and bytes of the second page, for the single instruction that crosses into it.
    pub second: Option<(usize, u16)>,
    pub insns: Box<[Instruction]>,
    /// Their executors, once needed.
    pub executors: Box<[Cell<Option<Executor>>]>,
    ops: Box<[Op]>,
    incoming: Vec<*mut Block>,
}

impl Block {
    /// Makes a block out of what was decoded.
    pub(crate) fn new(ops: Vec<Op>, insns: Vec<Instruction>, host: usize, len: u16, mode: Mode) -> Box<Self> {
        let ops = ops.into_boxed_slice();
        Box::new(Self {
            start: ops.as_ptr(),
            count: insns.len() as i64,
            links: [std::ptr::null(); 2],
            native: 0,
            exits: [Exit::default(); 2],
            heat: Cell::new(0),
            host,
            mode,
            len,
            second: None,
            executors: insns.iter().map(|_| Cell::new(None)).collect(),
            insns: insns.into_boxed_slice(),
            ops,
            incoming: Vec::new(),
        })
    }
    fn overlaps(&self, start: usize, end: usize) -> bool {
        let hit = |h: usize, n: u16| h < end && start < h + n as usize;
        hit(self.host, self.len) || self.second.is_some_and(|(h, n)| hit(h, n))
    }
}

/// Multiplies: enough for addresses.
#[derive(Default)]
pub(crate) struct AddressHasher(u64);
impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u8(b));
    }
    fn write_u8(&mut self, v: u8) {
        self.write_usize(v as usize);
    }
    fn write_usize(&mut self, v: usize) {
        let x = (self.0 ^ v as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = x ^ x >> 32;
    }
}
type AddressMap<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

/// A page that holds decoded code.
struct CodePage {
    /// Which pieces of 128 bytes hold some.
    mask: u32,
    blocks: Vec<*mut Block>,
    /// Where the page is marked for other writers.
    ram: (Arc<RamBlock>, u64),
}

/// An entry of the jump cache.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct JumpEntry {
    pub linear: u64,
    /// Host address and mode of the block.
    pub key: u64,
    pub block: *const Block,
    /// [`Block::native`] when the entry was made: it may have been translated since.
    pub native: usize,
}

impl JumpEntry {
    const NONE: Self = Self { linear: 0, key: 0, block: std::ptr::null(), native: 0 };
    /// The mode's lowest bit in the key. User space ends below.
    pub(crate) const MODE: u32 = 56;
    /// No mode: the block crosses into another page, of which the key does not tell.
    const CROSSES: u64 = 1 << 63;
    fn new(linear: u64, block: &Block) -> Self {
        let crosses = if block.second.is_some() { Self::CROSSES } else { 0 };
        let key = block.host as u64 | u64::from(block.mode.0) << Self::MODE | crosses;
        Self { linear, key, block, native: block.native }
    }
}

/// Entries of the jump cache.
pub(crate) const JUMPS: usize = 65536;
/// Ops kept before everything is thrown away.
const MAX_OPS: usize = 1 << 20;
/// Dead blocks kept before they are freed.
const MAX_DEAD: usize = 1024;

/// Slot of a linear address in the jump cache. What is close in the code is close there.
#[inline(always)]
pub(crate) fn jump_slot(linear: u64) -> usize {
    ((linear as u16).rotate_right(2) ^ (linear >> 12) as u16).into()
}

/// All decoded code of one CPU.
pub(crate) struct Cache {
    pub(crate) jumps: Box<[JumpEntry; JUMPS]>,
    blocks: AddressMap<(usize, u8), *mut Block>,
    pages: AddressMap<usize, CodePage>,
    dead: Vec<*mut Block>,
    ops: usize,
    /// Translates, where that is wanted and can be.
    jit: Option<Jit>,
}

impl Cache {
    /// An empty one, whose blocks `jit` will translate.
    pub(crate) fn new(jit: Option<Jit>) -> Self {
        Self {
            jit,
            jumps: Box::new([JumpEntry::NONE; JUMPS]),
            blocks: AddressMap::default(),
            pages: AddressMap::default(),
            dead: Vec::new(),
            ops: 0,
        }
    }
    /// The block that starts at `host`.
    pub(crate) fn get(&self, host: usize, mode: Mode) -> Option<*const Block> {
        self.blocks.get(&(host, mode.0)).map(|&b| b.cast_const())
    }
    /// Does the page of `host` hold code?
    pub(crate) fn has_code(&self, host: usize) -> bool {
        self.pages.contains_key(&(host & !0xfff))
    }
    /// Adds the page at `host`, which is marked in `ram` already.
    pub(crate) fn add_page(&mut self, host: usize, ram: (Arc<RamBlock>, u64)) {
        self.pages.insert(host & !0xfff, CodePage { mask: 0, blocks: Vec::new(), ram });
    }
    /// Marks the bytes that are going to be decoded, in a page that was added, for other writers. They must be read (again) after this.
    pub(crate) fn announce(&self, host: usize, len: usize) {
        if let Some(CodePage { ram: (ram, offset), .. }) = self.pages.get(&(host & !0xfff)) {
            ram.widen_code(*offset, granules(host as u64, len));
        }
    }
    /// Entries after which a block is translated.
    pub(crate) fn hot(&self) -> u32 {
        self.jit.as_ref().map_or(u32::MAX, Jit::hot)
    }
    /// The ops of a new block, which counts how often it is entered if it may be translated.
    pub(crate) fn lower(&self, insns: &[Instruction], mode: Mode) -> Vec<Op> {
        let mut ops = hot::lower(insns, mode);
        if self.jit.is_some() && mode.flat() {
            ops.insert(0, Op { run: hot::warm, ..ops[0] });
        }
        ops
    }
    /// Translates a block that executes at `linear`, or has it interpreted from now on. Gives its first op.
    pub(crate) fn promote(&mut self, b: *const Block, linear: u64) -> *const Op {
        // SAFETY: the executing block, of which its handler knows nothing any more.
        let block = unsafe { &mut *b.cast_mut() };
        let Some(translated) = self.jit.as_mut().and_then(|jit| jit.translate(block)) else {
            block.start = &raw const block.ops[1];
            return block.start;
        };
        self.ops = self.ops + translated.ops.len() - block.ops.len();
        block.ops = translated.ops.into_boxed_slice();
        block.start = block.ops.as_ptr();
        (block.native, block.exits) = (translated.native, translated.exits);
        let (start, links) = (block.start, block.links);
        for from in block.incoming.clone() {
            self.connect(from, b);
        }
        links.into_iter().filter(|to| !to.is_null()).for_each(|to| self.connect(b, to));
        self.remember(linear, b);
        start
    }
    /// Has the jump cache know a living block at a linear address.
    pub(crate) fn remember(&mut self, linear: u64, block: *const Block) {
        // SAFETY: a block of this cache, not freed before it was taken out of the jump cache.
        self.jumps[jump_slot(linear)] = JumpEntry::new(linear, unsafe { &*block });
    }
    /// Has translated code of `from` jump to that of `to`, to which it is linked.
    fn connect(&mut self, from: *const Block, to: *const Block) {
        let Some(jit) = &mut self.jit else { return };
        // SAFETY: both are living blocks of this cache.
        let (from, to) = unsafe { (&*from, &*to) };
        if to.native == jit.interpret() {
            return;
        }
        for (link, exit) in from.links.iter().zip(from.exits) {
            if std::ptr::eq(*link, to) {
                jit.connect(exit, to.native);
            }
        }
    }
    /// Adds a block whose pages were announced.
    pub(crate) fn insert(&mut self, mut block: Box<Block>) -> *const Block {
        block.native = self.jit.as_ref().map_or(0, Jit::interpret);
        self.ops += block.ops.len();
        let (host, len, second, mode) = (block.host, block.len, block.second, block.mode);
        let b = Box::into_raw(block);
        for (h, n) in std::iter::once((host, len)).chain(second) {
            if let Some(p) = self.pages.get_mut(&(h & !0xfff)) {
                p.mask |= granules(h as u64, n as usize);
                p.blocks.push(b);
            }
        }
        self.blocks.insert((host, mode.0), b);
        b
    }
    /// Kills one block.
    pub(crate) fn remove(&mut self, block: *const Block) {
        self.kill(block.cast_mut());
    }
    /// Makes `from` go on directly to `to`, which lies in the same page and mode.
    pub(crate) fn link(&mut self, from: *const Block, way: usize, to: *const Block) {
        // SAFETY: both are blocks of this cache, alive or swept later; no reference to them is held.
        unsafe {
            (*from.cast_mut()).links[way & 1] = to;
            (*to.cast_mut()).incoming.push(from.cast_mut());
        }
        self.connect(from, to);
    }
    fn kill(&mut self, b: *mut Block) {
        // SAFETY: `b` is a block of this cache; freed only by `sweep`.
        let block = unsafe { &mut *b };
        self.blocks.remove(&(block.host, block.mode.0));
        for (h, _) in std::iter::once((block.host, block.len)).chain(block.second) {
            if let Some(p) = self.pages.get_mut(&(h & !0xfff)) {
                p.blocks.retain(|&x| x != b);
            }
        }
        for from in std::mem::take(&mut block.incoming) {
            // SAFETY: a block that dies leaves its targets' lists, so `from` is not freed.
            let (links, exits) = unsafe { (&mut (*from).links, (*from).exits) };
            for (l, exit) in links.iter_mut().zip(exits) {
                if std::ptr::eq(*l, b) {
                    *l = std::ptr::null();
                    if let Some(jit) = &mut self.jit {
                        jit.connect(exit, exit.unlinked);
                    }
                }
            }
        }
        if let Some(jit) = &mut self.jit {
            // Who still knows of it comes to the run loop.
            jit.retire(block.native);
        }
        for to in block.links.iter().filter(|l| !l.is_null()) {
            // SAFETY: links point to living blocks: a dying one takes itself out of those that lead to it.
            unsafe { (*to.cast_mut()).incoming.retain(|&x| x != b) };
        }
        block.links = [std::ptr::null(); 2];
        self.ops -= block.ops.len();
        block.host = 0;
        self.dead.push(b);
    }
    /// `len` bytes at `host`, all in one page, were written. True if a block died.
    pub(crate) fn written(&mut self, host: usize, len: usize) -> bool {
        let page = host & !0xfff;
        let Some(p) = self.pages.get_mut(&page) else { return false };
        if p.mask & granules(host as u64, len) == 0 {
            return false;
        }
        // SAFETY: listed blocks are alive.
        let hit: Vec<_> = p.blocks.iter().copied().filter(|&b| unsafe { (*b).overlaps(host, host + len) }).collect();
        if hit.is_empty() {
            return false;
        }
        hit.into_iter().for_each(|b| self.kill(b));
        self.tidy(page);
        true
    }
    /// Recomputes a page's mask; forgets the page when it holds no code any more.
    fn tidy(&mut self, page: usize) {
        let Some(p) = self.pages.get_mut(&page) else { return };
        p.mask = 0;
        for &b in &p.blocks {
            // SAFETY: listed blocks are alive.
            let b = unsafe { &*b };
            for (h, n) in std::iter::once((b.host, b.len)).chain(b.second) {
                if h & !0xfff == page {
                    p.mask |= granules(h as u64, n as usize);
                }
            }
        }
        if p.blocks.is_empty()
            && let Some(CodePage { ram: (ram, offset), .. }) = self.pages.remove(&page)
        {
            ram.clear_code(offset);
        }
    }
    /// `len` bytes at `host` were written, across pages perhaps.
    pub(crate) fn written_range(&mut self, host: usize, len: usize) {
        let end = host.saturating_add(len);
        let mut at = host;
        while at < end {
            let n = (end - at).min(0x1000 - (at & 0xfff));
            self.written(at, n);
            at += n;
        }
    }
    /// Kills everything.
    pub(crate) fn clear(&mut self) {
        let all: Vec<_> = self.blocks.values().copied().collect();
        all.into_iter().for_each(|b| self.kill(b));
        for (_, CodePage { ram: (ram, offset), .. }) in self.pages.drain() {
            ram.clear_code(offset);
        }
        self.free_dead();
        if let Some(jit) = &mut self.jit {
            jit.clear();
        }
    }
    /// Frees what is dead, and everything when it has become too much. No block may be executing.
    pub(crate) fn sweep(&mut self) {
        if self.ops > MAX_OPS || self.jit.as_ref().is_some_and(Jit::is_full) {
            self.clear();
        } else if self.dead.len() > MAX_DEAD {
            self.free_dead();
        }
    }
    fn free_dead(&mut self) {
        self.jumps.fill(JumpEntry::NONE);
        for b in self.dead.drain(..) {
            // SAFETY: made by `Box::into_raw`, unlinked from every list, and no jump cache entry is left.
            drop(unsafe { Box::from_raw(b) });
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.clear();
    }
}
