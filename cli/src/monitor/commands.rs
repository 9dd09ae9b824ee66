//! The monitor's commands, by QEMU's names.

use crate::args::unknown;
use crate::board::SystemRequest;
use crate::machine::{Machine, RunState, ShutdownCause};
use std::fmt::Write;

/// What commands work on.
pub(super) struct Context<'a> {
    pub(super) machine: &'a Machine,
    pub(super) facts: &'a Facts,
}

/// What is known of a machine without asking it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// `-name`.
    pub(crate) name: Option<String>,
    /// `-uuid`.
    pub(crate) uuid: [u8; 16],
    /// Name and description of the accelerator.
    pub(crate) accel: String,
    /// Why those that were preferred do not run it.
    pub(crate) rejected: Vec<String>,
}

/// Text to show, or what is wrong with the command.
type Answer = Result<String, String>;

struct Command {
    names: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    run: fn(&Context<'_>, &str) -> Answer,
}

const fn command(
    names: &'static [&'static str],
    arguments: &'static str,
    help: &'static str,
    run: fn(&Context<'_>, &str) -> Answer,
) -> Command {
    Command { names, arguments, help, run }
}

static COMMANDS: &[Command] = &[
    command(&["help", "?"], "[COMMAND]", "show this", |_, about| help(COMMANDS, about)),
    command(&["info"], "[TOPIC]", "show something about the machine; without a topic, what there is", info),
    command(&["stop", "s"], "", "stop the machine", |cx, _| {
        cx.machine.stop();
        done()
    }),
    command(&["cont", "c"], "", "let it run", cont),
    command(&["system_reset"], "", "reset it", |cx, _| request(cx, SystemRequest::Reset(ShutdownCause::HostQmpSystemReset))),
    command(&["system_powerdown"], "", "press its power button", |cx, _| request(cx, SystemRequest::Powerdown)),
    command(&["nmi"], "", "send a non-maskable interrupt to its CPUs", |cx, _| request(cx, SystemRequest::Nmi)),
    command(&["quit", "q"], "", "end the emulator", |cx, _| request(cx, SystemRequest::Quit(ShutdownCause::HostQmpQuit))),
];

static TOPICS: &[Command] = &[
    command(&["accel"], "", "which accelerator runs it, and why not another", info_accel),
    command(&["cpus"], "", "its CPUs", info_cpus),
    command(&["kvm"], "", "whether KVM runs it", |cx, _| {
        let enabled = if cx.facts.accel.starts_with("kvm:") { "enabled" } else { "disabled" };
        Ok(format!("kvm support: {enabled}\n"))
    }),
    command(&["name"], "", "its name", |cx, _| {
        Ok(cx.facts.name.as_ref().map_or_else(String::new, |n| format!("{n}\n")))
    }),
    command(&["qtree"], "", "its devices", info_qtree),
    command(&["registers"], "[-a | CPU]", "registers of CPU 0, of one CPU, or of all", info_registers),
    command(&["status"], "", "whether it runs", info_status),
    command(&["uuid"], "", "its UUID", |cx, _| Ok(format!("{}\n", uuid::Uuid::from_bytes(cx.facts.uuid)))),
    command(&["version"], "", "the emulator's version", |_, _| Ok(format!("{}\n", env!("CARGO_PKG_VERSION")))),
];

/// QEMU's commands that are not here.
const MISSING: &str = "block_resize boot_set change chardev-add chardev-remove commit cpu delvm device_add device_del \
    drive_add dump-guest-memory eject expire_password gdbserver gpa2hva gva2gpa hostfwd_add i loadvm log logfile memsave migrate \
    mouse_move netdev_add o object_add p pmemsave print qom-get qom-list qom-set quit_after replay_break ringbuf_read \
    savevm screendump sendkey set_link singlestep snapshot_blkdev sum trace-event watchdog_action wavcapture x xp";

/// Runs a line; the text to show, or what is wrong with it.
pub(super) fn run(cx: &Context<'_>, line: &str) -> String {
    dispatch(cx, COMMANDS, "command", line).unwrap_or_else(|reason| format!("{reason}\n"))
}

fn dispatch(cx: &Context<'_>, table: &[Command], what: &str, line: &str) -> Answer {
    let line = line.trim();
    let (name, arguments) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if name.is_empty() {
        return done();
    }
    match table.iter().find(|c| c.names.contains(&name)) {
        Some(c) if c.arguments.is_empty() && !arguments.is_empty() => Err(format!("{name}: takes no arguments")),
        Some(c) => (c.run)(cx, arguments.trim()),
        None => {
            // `x/10i` has its format behind a slash.
            let bare = name.split('/').next().unwrap_or(name);
            Err(if MISSING.split_whitespace().any(|m| m == bare) {
                format!("{name}: not implemented yet")
            } else {
                unknown(what, name, table.iter().map(|c| c.names[0]))
            })
        }
    }
}

fn done() -> Answer {
    Ok(String::new())
}

fn request(cx: &Context<'_>, request: SystemRequest) -> Answer {
    cx.machine.board().request(request);
    done()
}

fn help(table: &[Command], about: &str) -> Answer {
    let mut text = String::new();
    for c in table.iter().filter(|c| about.is_empty() || c.names.contains(&about)) {
        let usage = format!("{} {}", c.names.join("|"), c.arguments);
        let _ = writeln!(text, "{usage:<24} {}", c.help);
    }
    if text.is_empty() { Err(unknown("command", about, table.iter().map(|c| c.names[0]))) } else { Ok(text) }
}

fn info(cx: &Context<'_>, topic: &str) -> Answer {
    if topic.is_empty() { help(TOPICS, "") } else { dispatch(cx, TOPICS, "topic", topic) }
}

fn cont(cx: &Context<'_>, _: &str) -> Answer {
    match cx.machine.state() {
        RunState::Shutdown | RunState::InternalError => {
            Err("the machine has ended; system_reset starts it anew".to_owned())
        }
        _ => {
            cx.machine.cont();
            done()
        }
    }
}

fn info_status(cx: &Context<'_>, _: &str) -> Answer {
    Ok(match cx.machine.state() {
        RunState::Running => "VM status: running\n".to_owned(),
        other => format!("VM status: paused ({})\n", other.name()),
    })
}

fn info_accel(cx: &Context<'_>, _: &str) -> Answer {
    let rejected: String = cx.facts.rejected.iter().map(|r| format!("not {r}\n")).collect();
    Ok(format!("{}\n{rejected}", cx.facts.accel))
}

fn info_cpus(cx: &Context<'_>, _: &str) -> Answer {
    Ok((0..cx.machine.vcpu_count()).map(|n| format!("CPU #{n}\n")).collect())
}

fn info_qtree(cx: &Context<'_>, _: &str) -> Answer {
    Ok(cx.machine.board().with(|s| s.devices().map(|(_, path, kind)| format!("{kind:<20} {path}\n")).collect()))
}

fn info_registers(cx: &Context<'_>, which: &str) -> Answer {
    let count = cx.machine.vcpu_count();
    let cpus = match which {
        "" => 0..count.min(1),
        "-a" => 0..count,
        n => match n.parse() {
            Ok(n) if n < count => n..n + 1,
            _ => return Err(format!("no CPU '{n}'; there are {count}")),
        },
    };
    Ok(cpus.map(|n| format!("CPU#{n}\n{}\n", cx.machine.dump(n))).collect())
}
