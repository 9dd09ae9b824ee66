//! The x87's transcendental instructions (SDM vol. 1, 8.3.7 and 8.3.8).

use super::Fpu;
use super::f80::F80;
use super::host;
use super::soft::flag::ALL;
use super::stack::CONDITIONS;

/// A transcendental instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// F2XM1.
    Exp2MinusOne,
    /// FYL2X.
    YLog2,
    /// FYL2XP1.
    YLog2Plus1,
    /// FPTAN.
    Tangent,
    /// FPATAN.
    Arctangent,
    /// FSIN.
    Sine,
    /// FCOS.
    Cosine,
    /// FSINCOS.
    SineCosine,
}

impl Function {
    /// Takes ST(1) too, and pops.
    pub(super) fn is_binary(self) -> bool {
        matches!(self, Self::YLog2 | Self::YLog2Plus1 | Self::Arctangent)
    }
    /// Pushes a second result.
    pub(super) fn pushes(self) -> bool {
        matches!(self, Self::Tangent | Self::SineCosine)
    }
}

impl Fpu {
    /// Executes a transcendental instruction.
    pub(super) fn transcendental(&mut self, f: Function) {
        self.clear_c2();
        let second = if f.is_binary() { self.st(1) } else { Some(F80::ZERO) };
        let (Some(a), Some(b)) = (self.st(0), second) else {
            if self.underflow() {
                self.indefinite(f);
            }
            return;
        };
        if f.pushes() && !self.is_empty(7) {
            if self.overflow() {
                self.indefinite(f);
            }
            return;
        }
        let e = host::evaluate(f, a, b, self.fcw);
        if !self.may_proceed(u32::from(e.status) & ALL) {
            return;
        }
        match e.pushed {
            -1 => {
                self.set_st(1, e.st[0]);
                self.pop();
            }
            0 => self.set_st(0, e.st[0]),
            _ => {
                self.set_st(0, e.st[1]);
                self.rotate(-1);
                self.set_st(0, e.st[0]);
            }
        }
        self.set_conditions(e.status & CONDITIONS);
        self.raise(u32::from(e.status) & ALL);
    }
    /// The masked response to a stack fault.
    fn indefinite(&mut self, f: Function) {
        if f.is_binary() {
            self.pop();
        }
        self.set_st(0, F80::INDEFINITE);
        if f.pushes() {
            self.rotate(-1);
            self.set_st(0, F80::INDEFINITE);
        }
    }
}
