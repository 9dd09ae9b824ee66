//! The CPUs.

use crate::machine::Machine;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Failure, Output};
use crate::monitor::{HumanMonitor, cpu};
use gearbox_machines::devices::a20::A20Device;
use std::fmt::Write;

/// `info cpus`.
pub(super) fn cpus(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let machine = m.machine()?;
    for n in 0..machine.vcpu_count() {
        let mark = if n == m.cpu { '*' } else { ' ' };
        let thread = machine.with_vcpu(n, |_| rustix::thread::gettid().as_raw_nonzero());
        let thread = thread.map_or_else(|| "none".to_owned(), |id| id.to_string());
        writeln!(out, "{mark} CPU #{n}: thread_id={thread}")?;
    }
    Ok(())
}

/// `info registers`.
pub(super) fn registers(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let machine = m.machine()?;
    let cpus = match arguments.number("vcpu") {
        _ if arguments.flag("all") => 0..machine.vcpu_count(),
        None => m.cpu..m.cpu + 1,
        Some(given) => match usize::try_from(given) {
            Ok(n) if n < machine.vcpu_count() => n..n + 1,
            _ => return Err(Failure::Plain(format!("CPU#{given} not available"))),
        },
    };
    let a20 = a20(&machine);
    cpus.into_iter().try_for_each(|index| {
        let state = m.registers(Some(index))?;
        cpu::dump(&state, &cpu::Around { index, a20 }, out)
    })
}

/// Is address line 20 let through? It is where there is no gate.
fn a20(machine: &Machine) -> bool {
    machine.board().with(|s| super::device_of::<A20Device>(s, "a20-gate").is_none_or(|gate| gate.is_open()))
}
