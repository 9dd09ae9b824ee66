//! The second tier: hot blocks as code of the host, where that is x86-64.
//!
//! Blocks begin interpreted. One that was entered often is translated: in a new list of its ops, those that translated code takes over have an entry into it as
//! their handler. So translated code and handlers go on to each other as handlers do among themselves, and whatever translation does not know, or finds it cannot
//! finish (a TLB miss, a page fault, code that is written to), is done by the interpreter, on the same state, from the same instruction on.
//!
//! | module | what it is |
//! |---|---|
//! | `asm`, `memory` | host instructions; where they lie |
//! | `translate`, `straight`, `bits`, `modify`, `system`, `flow` | a block; its instructions; those that change memory; those for the system; how it ends |
//! | `registers` | guest registers in host registers, within a block |
//! | `pending` | flags that nobody asked for yet |
//! | `thunks` | pieces of code that all blocks share |

mod asm;
mod bits;
mod flow;
mod memory;
mod modify;
mod pending;
mod registers;
mod straight;
mod system;
mod thunks;
mod translate;

pub(crate) use pending::Pending;
pub(crate) use translate::Translated;

use crate::block::{Block, Exit};
use crate::ops::hot;
use asm::Asm;
use memory::CodeMemory;
use thunks::Thunks;

/// How often a block is interpreted before it is translated: below about a hundred, translation costs more than it saves.
pub(crate) const HOT: u32 = if cfg!(test) { 3 } else { 64 };

/// The translator of one CPU, and its code.
pub(crate) struct Jit {
    memory: CodeMemory,
    thunks: Thunks,
    /// Bytes that the thunks take.
    fixed: usize,
    /// There was no room for a block.
    full: bool,
    hot: u32,
}

impl Jit {
    /// Code can be translated for this kind of host.
    pub(crate) const SUPPORTED: bool = true;
    /// A translator without code, of blocks that have been entered `hot` times.
    ///
    /// # Errors
    /// The host allows no executable memory.
    pub(crate) fn new(hot: u32) -> std::io::Result<Self> {
        let mut memory = CodeMemory::new()?;
        let mut a = Asm::new(memory.next());
        let thunks = Thunks::emit(&mut a);
        memory.add(&a.into_code());
        let fixed = memory.used();
        Ok(Self { memory, thunks, fixed, full: false, hot })
    }
    /// Entries after which a block is translated.
    pub(crate) fn hot(&self) -> u32 {
        self.hot
    }
    /// Where translated code goes on with a block that is not translated.
    pub(crate) fn interpret(&self) -> usize {
        self.thunks.interpret
    }
    /// There is no room for more: everything is to be forgotten.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }
    /// Forgets all code. None of it may be executing, or be found from now on.
    pub(crate) fn clear(&mut self) {
        self.memory.truncate(self.fixed);
        self.full = false;
    }
    /// Has a block's exit lead to `to`.
    pub(crate) fn connect(&mut self, exit: Exit, to: usize) {
        if exit.site != 0 {
            self.memory.redirect(exit.site, to);
        }
    }
    /// The block that was entered at `native` is dead. Whoever still knows of it comes to the run loop.
    pub(crate) fn retire(&mut self, native: usize) {
        if native != self.thunks.interpret {
            self.memory.replace(native, self.thunks.out);
        }
    }
    /// Translates `block`, which stays where it is. `None` if there is nothing to gain, or no room.
    pub(crate) fn translate(&mut self, block: &Block) -> Option<Translated> {
        if self.full {
            return None;
        }
        let ops = hot::lower_each(&block.insns, block.mode);
        let translated = translate::translate(block, ops, self.thunks, self.memory.next())?;
        if !self.memory.add(&translated.code) {
            self.full = true;
            return None;
        }
        Some(translated)
    }
}
