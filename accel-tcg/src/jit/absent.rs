//! No second tier: nothing is translated for this kind of host.

use crate::block::{Block, Exit, Op};
use std::io;

/// Never reached.
pub(crate) const HOT: u32 = u32::MAX;

/// Flags are never pending.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pending;

/// A translator, of which there is none.
pub(crate) enum Jit {}

/// Never made.
pub(crate) struct Translated {
    pub ops: Vec<Op>,
    pub native: usize,
    pub exits: [Exit; 2],
}

impl Jit {
    pub(crate) const SUPPORTED: bool = false;
    pub(crate) fn new(_hot: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
    pub(crate) fn hot(&self) -> u32 {
        match *self {}
    }
    pub(crate) fn interpret(&self) -> usize {
        match *self {}
    }
    pub(crate) fn is_full(&self) -> bool {
        match *self {}
    }
    pub(crate) fn clear(&mut self) {
        match *self {}
    }
    pub(crate) fn connect(&mut self, Exit { site: _site, .. }: Exit, _to: usize) {
        match *self {}
    }
    pub(crate) fn retire(&mut self, _native: usize) {
        match *self {}
    }
    pub(crate) fn translate(&mut self, _block: &Block) -> Option<Translated> {
        match *self {}
    }
}
