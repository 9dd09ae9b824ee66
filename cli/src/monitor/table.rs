//! The commands, with QEMU's names and arguments (QEMU, docs/system/monitor).

use super::command::{Command, command, help, run_info};
use super::grammar::Kind::{Format, Int, Long, Rest, Word};
use super::grammar::{Source, arg};
use super::{memory, ports, run_state};

/// All of them but `info`'s topics.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Command] = &[
    command(&["cont", "c"], &[], "", "resume emulation", run_state::cont),
    command(&["cpu"], &[arg("index", Int)], "index", "set the default CPU", run_state::cpu),
    command(&["gva2gpa"], &[arg("addr", Long)], "addr", "print the guest physical address corresponding to a guest virtual address", memory::gva2gpa),
    command(&["help", "?"], &[arg("name", Rest).optional().from(Source::Command)], "[cmd]", "show the help", help),
    command(&["i"], &[arg("format", Format), arg("addr", Int)], "/fmt addr", "I/O port read", ports::read),
    command(&["info"], &[arg("topic", Rest).optional().from(Source::Topic)], "[subcommand]", "show various information about the system state", run_info),
    command(&["nmi"], &[], "", "inject an NMI", run_state::nmi),
    command(&["o"], &[arg("format", Format), arg("addr", Int), arg("value", Int)], "/fmt addr value", "I/O port write", ports::write),
    command(&["print", "p"], &[arg("format", Format), arg("value", Long)], "/fmt expr", "print expression value (use $reg for CPU register access)", memory::print),
    command(&["quit", "q"], &[], "", "quit the emulator", run_state::quit),
    command(&["stop", "s"], &[], "", "stop emulation", run_state::stop),
    command(&["sum"], &[arg("addr", Int), arg("size", Int)], "addr size", "compute the checksum of a memory region", memory::sum),
    command(&["system_powerdown"], &[], "", "send system power down event", run_state::system_powerdown),
    command(&["system_reset"], &[], "", "reset the system", run_state::system_reset),
    command(&["system_wakeup"], &[], "", "wakeup guest from suspend", run_state::system_wakeup),
    command(&["watchdog_action"], &[arg("action", Word).from(Source::WatchdogAction)], "[reset|shutdown|poweroff|pause|debug|none]", "change watchdog action", run_state::watchdog_action),
    command(&["x"], &[arg("format", Format), arg("addr", Long)], "/fmt addr", "virtual memory dump starting at 'addr'", memory::dump_virtual),
    command(&["xp"], &[arg("format", Format), arg("addr", Long)], "/fmt addr", "physical memory dump starting at 'addr'", memory::dump_physical),
];

/// QEMU's commands that come with the things that they are about.
pub(super) const MISSING: &str = "block_resize change commit delvm drive_add drive_del dump-guest-memory eject \
    expire_password gdbserver gpa2hpa gpa2hva hostfwd_add hostfwd_remove loadvm migrate mouse_button mouse_move mouse_set \
    netdev_add netdev_del qemu-io quit_after replay_break ringbuf_read ringbuf_write savevm screendump sendkey set_link \
    set_password singlestep snapshot_blkdev stopcapture sync-profile trace-event wavcapture";
