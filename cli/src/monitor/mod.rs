//! The human monitor (QEMU's HMP, docs/system/monitor): commands as lines of text, answered with text.
//!
//! [`HumanMonitor`] is the commands without a terminal: QMP's `human-monitor-command` makes one for each line. [`Terminal`] is one at a prompt. What a
//! command *does* is a function of [`Control`], which QMP calls as well; here is how it is written and shown.

mod blocks;
mod chardevs;
mod command;
mod completion;
mod cpu;
mod devices;
mod disassemble;
mod display;
mod expression;
mod grammar;
mod info;
mod line;
mod logging;
mod memory;
mod objects;
mod output;
mod ports;
mod qemu_io;
mod run_state;
mod scanner;
mod table;
mod terminal;
#[cfg(test)]
mod tests;

pub(crate) use terminal::Terminal;

use crate::control::{self, Control};
use crate::machine::Machine;
use crate::x86::state::X86State;
use grammar::Format;
use output::{Failure, Output};
use std::sync::Arc;

/// A monitor: the machine's control, and what one line leaves for the next.
pub(crate) struct HumanMonitor {
    control: Arc<Control>,
    /// The CPU that commands are about which say no other.
    cpu: usize,
    /// How values were shown last.
    format: Format,
}

impl HumanMonitor {
    /// A monitor whose CPU is the first one.
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self { control, cpu: 0, format: Format::default() }
    }
    /// Makes its CPU another one.
    ///
    /// # Errors
    /// There is no such CPU.
    pub(crate) fn select_cpu(&mut self, index: u64) -> control::Result<()> {
        let present = self.control.cpus_fast()?;
        let found = present.into_iter().find(|cpu| u64::try_from(cpu.cpu_index) == Ok(index));
        let found = found.and_then(|cpu| usize::try_from(cpu.cpu_index).ok());
        self.cpu = found.ok_or_else(|| control::Error::generic("invalid CPU index"))?;
        Ok(())
    }
    /// Carries out a line; the text to show, complete with line ends, and without a prompt.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let mut out = Output::default();
        let result = command::run(self, line, &mut out);
        out.finish(result)
    }

    fn machine(&self) -> Result<Arc<Machine>, Failure> {
        Ok(self.control.machine()?)
    }
    /// Registers of a CPU, or of the selected one.
    fn registers(&self, cpu: Option<usize>) -> Result<X86State, Failure> {
        let state = self.machine()?.with_vcpu(cpu.unwrap_or(self.cpu), |v| v.get_state());
        state.ok_or_else(|| Failure::plain(NO_CPU))?.map_err(Failure::command)
    }
    /// A register, for expressions.
    fn register(&self, name: &str) -> Result<u64, String> {
        let state = self.registers(None).map_err(|_| "no cpu defined".to_owned())?;
        cpu::register(&state, name).ok_or_else(|| "unknown register".to_owned())
    }
}

const NO_CPU: &str = "No CPU available";
