//! What `info` shows, one file for each subject.

mod block;
mod cpus;
mod interrupts;
mod lapic;
mod machine;
mod memory;
mod mtree;
mod paging;
mod pci;
mod qom_tree;
mod qtree;
mod roms;

use super::command::{Command, command};
use super::grammar::Kind::{Flag, Int, Word};
use super::grammar::{Source, arg};
use crate::board::{BoardState, Device, DeviceId};

/// The topics.
#[rustfmt::skip]
pub(super) static TOPICS: &[Command] = &[
    command(&["accel"], &[], "", "show which accelerator runs the machine, and why not another", machine::accel),
    command(&["balloon"], &[], "", "show balloon information", memory::balloon),
    command(&["block"], &[arg("nodes", Flag('n')), arg("verbose", Flag('v')), arg("device", Word).optional().from(Source::Drive)], "[-n] [-v] [device]", "show info of one block device or all block devices (-n: show named nodes; -v: show details)", block::block),
    command(&["blockstats"], &[], "", "show block device statistics", block::stats),
    command(&["chardev"], &[], "", "show the character devices", machine::chardevs),
    command(&["cpus"], &[], "", "show infos for each CPU", cpus::cpus),
    command(&["hotpluggable-cpus"], &[], "", "Show information about hotpluggable CPUs", memory::hotpluggable_cpus),
    command(&["ioapic"], &[], "", "show I/O APIC state", interrupts::ioapic),
    command(&["irq"], &[], "", "show the interrupts statistics (if available)", interrupts::irq),
    command(&["kvm"], &[], "", "show KVM information", machine::kvm),
    command(&["lapic"], &[arg("apic-id", Int).optional()], "[apic-id]", "show local apic state (apic-id: local apic to read, default is which of current CPU)", lapic::lapic),
    command(&["mem"], &[], "", "show the active virtual memory mappings", paging::mem),
    command(&["memdev"], &[], "", "show memory backends", memory::memdev),
    command(&["memory_size_summary"], &[], "", "show the amount of initially allocated and present hotpluggable (if enabled) memory in bytes.", memory::memory_size_summary),
    command(&["mtree"], &[arg("flat", Flag('f')), arg("owner", Flag('o')), arg("disabled", Flag('D'))], "[-f][-o][-D]", "show memory tree (-f: dump flat view for address spaces;-o: dump region owners;-D: dump disabled regions)", mtree::mtree),
    command(&["name"], &[], "", "show the current VM name", machine::name),
    command(&["numa"], &[], "", "show NUMA information", memory::numa),
    command(&["pci"], &[], "", "show PCI info", pci::pci),
    command(&["pic"], &[], "", "show PIC state", interrupts::pic),
    command(&["qom-tree"], &[arg("path", Word).optional().from(Source::ObjectPath)], "[path]", "show QOM composition tree", qom_tree::qom_tree),
    command(&["qtree"], &[], "", "show device tree", qtree::qtree),
    command(&["registers"], &[arg("all", Flag('a')), arg("vcpu", Int).optional()], "[-a|vcpu]", "show the cpu registers (-a: show register info for all cpus; vcpu: specific vCPU to query; show the current CPU's registers if no argument is specified)", cpus::registers),
    command(&["roms"], &[], "", "show roms", roms::roms),
    command(&["status"], &[], "", "show the current VM status (running|paused)", machine::status),
    command(&["tlb"], &[], "", "show virtual to physical memory mappings", paging::tlb),
    command(&["uuid"], &[], "", "show the current VM UUID", machine::uuid),
    command(&["version"], &[], "", "show the version of the emulator", machine::version),
];

/// The devices of a board that are of one type.
fn devices_of(board: &BoardState, type_name: &str) -> Vec<DeviceId> {
    board.devices().filter(|(.., t)| *t == type_name).map(|(id, ..)| id).collect()
}

/// The first device of a type.
fn device_of<'b, D: Device>(board: &'b mut BoardState, type_name: &str) -> Option<&'b mut D> {
    let id = *devices_of(board, type_name).first()?;
    board.device(id)
}
