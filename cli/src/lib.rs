//! Gearbox runs a PC on whichever accelerator the host has.
//!
//! This crate is the program: the command line, the terminal, the monitor, and the embedded guest. It is also the door for embedders: it links every
//! accelerator and every machine, and gives the parts from which [`run`] is made under their own names.
//!
//! ```no_run
//! // What `gearbox -accel tcg -m 512 -kernel vmlinuz` does.
//! let status = gearbox::run(["-accel", "tcg", "-m", "512", "-kernel", "vmlinuz"]);
//! assert_eq!(status, 0);
//! ```
//!
//! A machine without the command line:
//!
//! ```no_run
//! use gearbox::accel::{Choice, Request, select};
//! use gearbox::machine::{Machine, MachineConfig, Policy};
//!
//! let selected = select(&gearbox::accelerators(), &Choice::Automatic, &Request::default())?;
//! let pc = gearbox::machine_types().iter().find(|m| m.is_default()).expect("there is a default machine");
//! let machine = Machine::new(selected.vm, *pc, &MachineConfig::default())?;
//! machine.cont();
//! let outcome = machine.control(Policy::default());
//! # let _ = outcome; Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use gearbox_accel_kvm as _;
use gearbox_accel_qtest as _;
use gearbox_accel_tcg as _;

pub use gearbox_core::{accel, backend, board, clock, event, machine, mem, object, vm, x86};

pub mod args;
mod assemble;
mod blkdebug;
mod blocks;
mod check;
pub mod control;
mod curses;
mod failure;
pub mod guest;
mod help;
mod img;
mod logging;
mod messages;
mod monitor;
pub mod qmp;
mod session;
mod signals;
mod sizes;
mod tables;
pub mod testing;

use accel::Accelerator;
use args::{Available, Command, Refused};
use failure::Failure;
use machine::MachineType;
use std::ffi::OsString;

/// All accelerators, the best automatic choice first.
pub fn accelerators() -> Vec<&'static dyn Accelerator> {
    accel::registered()
}

/// All machines.
pub fn machine_types() -> &'static [&'static dyn MachineType] {
    gearbox_machines::machine_types()
}

/// Does what the program does with these arguments (without its name), and returns its exit status: 0 when the guest powered off or the user ended
/// it, what the guest asked for through `isa-debug-exit`, and 1 for an error, which has been told on standard error.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> u8 {
    match try_run(arguments.into_iter().map(Into::into)) {
        Ok(status) => status,
        Err(failure) => {
            failure.report();
            1
        }
    }
}

fn try_run(arguments: impl Iterator<Item = OsString>) -> Result<u8, Failure> {
    let words: Vec<_> = arguments
        .map(|a| a.into_string().map_err(|a| Failure::line(format!("{}: not valid UTF-8", a.to_string_lossy()))))
        .collect::<Result<_, _>>()?;
    if let Some(("img", rest)) = words.split_first().map(|(first, rest)| (&**first, rest)) {
        return img::run(rest);
    }
    let accelerators = accelerators();
    let available = Available { accelerators: &accelerators, machines: machine_types() };
    match args::parse(words, available) {
        Ok(Command::Help(topic)) => help::show(&topic, available).map(|()| 0),
        Ok(Command::Run(mut config)) => {
            logging::start(&config).map_err(|e| {
                config.log_file = None;
                e.and(check::all(&config, &accelerators))
            })?;
            session::run(*config, &accelerators)
        }
        Err(Refused { problems, rest }) => {
            let besides = rest.map(|config| check::all(&config, &accelerators));
            Err(besides.into_iter().fold(problems.into(), Failure::and))
        }
    }
}
