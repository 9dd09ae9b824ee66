//! The CPUs.

use crate::machine::Machine;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Failure, Output};
use crate::monitor::{HumanMonitor, cpu};
use gearbox_machines::devices::a20::A20Device;
use std::fmt::Write;

/// `info cpus`.
pub(super) fn cpus(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    for cpu in m.control.cpus_fast()? {
        let mark = if usize::try_from(cpu.cpu_index) == Ok(m.cpu) { '*' } else { ' ' };
        writeln!(out, "{mark} CPU #{}: thread_id={}", cpu.cpu_index, cpu.thread_id)?;
    }
    Ok(())
}

/// `info registers`.
pub(super) fn registers(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let present: Vec<_> = m.control.cpus_fast()?.iter().filter_map(|c| usize::try_from(c.cpu_index).ok()).collect();
    let shown = match arguments.number("vcpu") {
        _ if arguments.flag("all") => present,
        None => vec![m.cpu],
        Some(given) => match usize::try_from(given) {
            Ok(n) if present.contains(&n) => vec![n],
            _ => return Err(Failure::Plain(format!("CPU#{given} not available"))),
        },
    };
    let machine = m.machine()?;
    let a20 = a20(&machine);
    shown.into_iter().try_for_each(|index| {
        let state = m.registers(Some(index))?;
        cpu::dump(&state, &cpu::Around { index, a20 }, out)
    })
}

/// Is address line 20 let through? It is where there is no gate.
fn a20(machine: &Machine) -> bool {
    machine.board().with(|s| super::device_of::<A20Device>(s, "a20-gate").is_none_or(|gate| gate.is_open()))
}
