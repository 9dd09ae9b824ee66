//! What `-help`, `-version` and the `help` of single options show.

use crate::accel::{Accelerator, Probe, Request, Speed, table};
use crate::args::consoles::CHARDEV_TYPES;
use crate::args::logging::ITEMS;
use crate::args::{Available, DISPLAYS, Help, Options, Problem, VGA, blockdev, drives, selection, unknown, user_types};
use crate::failure::Failure;
use crate::machine::MachineType;
use crate::object::{Category, TypeInfo, types};
use crate::x86::cpu_features::Feature;
use crate::x86::cpu_model::CpuModel;
use std::io::{ErrorKind, Write};

/// Width of a line.
const WIDTH: usize = 100;

/// Prints it on standard output.
///
/// # Errors
/// Nothing of that name, or standard output is closed.
pub(crate) fn show(topic: &Help, available: Available<'_>) -> Result<(), Failure> {
    let text = match topic {
        Help::Options => options(),
        Help::Version => format!("gearbox {}\n", env!("CARGO_PKG_VERSION")),
        Help::Accelerators => accelerators(available.accelerators),
        Help::Accelerator(name) => accelerator(name, available.accelerators)?,
        Help::Machines => machines(available.machines),
        Help::Machine(name) => machine(name, available.machines)?,
        Help::Cpus => cpus(),
        Help::Devices => devices(),
        Help::Device(name) => device_or_failure(name)?,
        Help::Objects => objects(),
        Help::Object(name) => object(name)?,
        Help::Adapters => rows(VGA.iter().map(|(name, what)| (name.to_string(), what.to_string()))),
        Help::Displays => rows(DISPLAYS.iter().map(|(name, what)| (name.to_string(), what.to_string()))),
        Help::Drives => rows(drives::keys()),
        Help::Blockdevs => rows(blockdev::drivers().into_iter()),
        Help::Chardevs => rows(CHARDEV_TYPES.iter().map(|(name, options)| (name.to_string(), options.to_string()))),
        Help::LogItems => rows(ITEMS.iter().map(|(name, what, _)| (name.to_string(), what.to_string()))),
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever reads has seen enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Failure::line(format!("standard output: {e}"))),
    }
}

/// `-help`: all options, by topic.
fn options() -> String {
    let mut text = String::from(
        "usage: gearbox [OPTION [VALUE]]...\n\n\
         Runs a PC on whichever accelerator the host has. Without -kernel it boots a small guest of its own.\n\
         Options are QEMU's, with one dash or two.\n",
    );
    let mut topic = String::new();
    for option in Options::known() {
        if option.topic != topic {
            topic.clone_from(&option.topic);
            text += &format!("\n{topic}\n");
        }
        let names: Vec<_> = option.names.iter().map(|n| format!("-{n}")).collect();
        text += format!("  {} {}", names.join(" or "), option.value.unwrap_or_default()).trim_end();
        text += "\n";
        text += &wrapped(&option.help, 8);
    }
    let status = "Exit status: 0 when the guest powers off, or resets under -no-reboot; (v << 1) | 1 when it writes v to isa-debug-exit; \
        1 for an error.";
    text + "\n" + &wrapped(status, 0)
}

/// Words in lines of [`WIDTH`], indented.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent + line.len() + 1 + word.len() > WIDTH {
            lines += &format!("{:indent$}{line}\n", "");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &format!("{:indent$}{line}\n", "")
}

/// A property in the form of QEMU's lists, with what is to be said of its value.
fn property(name: &str, kind: &str, description: &str, value: Option<String>) -> (String, String) {
    let value = value.map(|v| format!(" ({v})")).unwrap_or_default();
    (format!("  {name}=<{kind}>"), format!("- {description}{value}"))
}

/// Names and what they are, in two columns.
fn rows(rows: impl Iterator<Item = (String, String)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter().map(|(name, what)| format!("{name:width$}  {what}").trim_end().to_owned() + "\n").collect()
}

fn accelerators(registry: &[&'static dyn Accelerator]) -> String {
    let rows = rows(table(registry, &Request::default()).into_iter().map(|row| {
        let state = match row.probe {
            Probe::Ready(Speed::Full) => "works here".to_owned(),
            Probe::Ready(Speed::Slow { mips }) => {
                format!("works here, slowly: about {mips} million instructions a second in the guest's kernel")
            }
            Probe::Absent(reason) => format!("is not there: {reason}"),
            Probe::Unfit(reason) => format!("cannot run a machine: {reason}"),
        };
        let choice = if row.priority.is_none() { "; only when named" } else { "" };
        (row.name.to_owned(), format!("{}; {state}{choice}", row.description))
    }));
    format!("Accelerators, the best automatic choice first:\n{rows}")
}

fn accelerator(name: &str, registry: &[&'static dyn Accelerator]) -> Result<String, Failure> {
    let name = name.strip_prefix("accel=").unwrap_or(name);
    let found = registry
        .iter()
        .find(|a| a.name() == name)
        .ok_or_else(|| not_there("accel", name, unknown("accelerator", name, registry.iter().map(|a| a.name()))))?;
    let options = found.options();
    let list = rows(options.iter().map(|o| property(o.key, o.values, o.help, Some(format!("default: {}", o.default)))));
    let title = if options.is_empty() { "has no options" } else { "options:" };
    Ok(format!("{name}: {}\n{name}-accel {title}\n{list}", found.description()))
}

fn machines(all: &[&'static dyn MachineType]) -> String {
    rows(all.iter().map(|m| {
        let alias = m.alias().map_or_else(String::new, |a| format!(" (alias {a})"));
        let default = if m.is_default() { " (default)" } else { "" };
        (m.name().to_owned(), format!("{}{alias}{default}", m.description()))
    }))
}

fn machine(name: &str, all: &[&'static dyn MachineType]) -> Result<String, Failure> {
    let name = name.strip_prefix("type=").unwrap_or(name);
    let found = all
        .iter()
        .find(|m| m.name() == name || m.alias() == Some(name))
        .ok_or_else(|| not_there("machine", name, unknown("machine", name, all.iter().map(|m| m.name()))))?;
    let all = selection::properties(*found).into_iter().map(|(p, only)| {
        let value =
            only.map_or_else(|| p.default.map(|d| format!("default: {d}")), |only| Some(format!("always {only}")));
        property(p.name, p.kind, p.description, value)
    });
    Ok(format!("{}-machine options:\n{}", found.name(), rows(all)))
}

fn cpus() -> String {
    let models = rows(CpuModel::known().map(|(name, about)| (name.to_owned(), about.to_owned())));
    let features: Vec<_> = Feature::all().map(|f| f.name).collect();
    format!("CPU models:\n{models}\nFeatures:\n{}", wrapped(&features.join(" "), 2))
}

fn not_there(option: &str, value: &str, reason: String) -> Failure {
    Failure::line(Problem::new(option, value, reason))
}

/// The devices that users can create, in the form of QEMU's `-device help`.
pub(crate) fn devices() -> String {
    let line = |t: &TypeInfo| {
        let bus = types().bus_of(t.name).map(|b| format!(", bus {b}")).unwrap_or_default();
        format!("name \"{}\"{bus}, desc \"{}\"\n", t.name, t.description)
    };
    let of = |category: Category| -> String {
        let all = types().user_creatable().filter(|t| t.device.is_some_and(|d| d.category == category));
        format!("{} devices:\n{}", category.name(), all.map(line).collect::<String>())
    };
    Category::ALL.map(of).join("\n")
}

/// The properties of a type.
fn properties(found: &TypeInfo) -> String {
    let all = found.properties().into_iter().map(|p| {
        let default = p.default.filter(|d| !d.is_null()).map(|d| format!("default: {d}"));
        property(p.name, p.kind, p.description, default)
    });
    format!("{} options:\n{}", found.name, rows(all))
}

/// The objects that users can create.
fn objects() -> String {
    let all = user_types().map(|t| (format!("  {}", t.name), t.description.to_owned()));
    format!("List of user creatable objects:\n{}", rows(all))
}

fn object(name: &str) -> Result<String, Failure> {
    let name = name.strip_prefix("qom-type=").unwrap_or(name);
    let found = user_types().find(|t| t.name == name);
    let missing = || not_there("object", name, unknown("object", name, user_types().map(|t| t.name)));
    found.map(properties).ok_or_else(missing)
}

/// The properties of one of them, in the form of QEMU's `-device NAME,help`; `None` if there is no such device.
pub(crate) fn device(name: &str) -> Option<String> {
    let found = types().user_creatable().find(|t| t.name == name)?;
    Some(properties(found))
}

fn device_or_failure(name: &str) -> Result<String, Failure> {
    let name = name.strip_prefix("driver=").unwrap_or(name);
    let known = types().user_creatable().map(|t| t.name);
    device(name).ok_or_else(|| not_there("device", name, unknown("device", name, known)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{accelerators as registry, machine_types};

    #[test]
    fn options_are_shown_by_topic_and_fit_the_width() {
        let text = options();
        for part in
            ["\nMachine\n", "\nBoot\n", "  -machine or -M ", "  -accel NAME", "  -no-reboot\n", "  -help or -h\n"]
        {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        for topic in ["Machine", "Boot", "Running"] {
            assert_eq!(text.matches(&format!("\n{topic}\n")).count(), 1, "{topic}");
        }
        assert!(text.lines().all(|l| l.len() <= WIDTH), "{text}");
    }

    #[test]
    fn accelerators_are_shown_with_their_state() {
        let text = accelerators(&registry());
        for name in ["kvm", "tcg", "qtest"] {
            assert!(text.lines().any(|l| l.starts_with(name)), "{text}");
        }
        assert!(text.lines().any(|l| l.starts_with("tcg") && l.contains("works here")), "{text}");
        assert!(accelerator("kvm", &registry()).unwrap().contains("device=<PATH>"));
        assert!(accelerator("kmv", &registry()).is_err());
    }

    #[test]
    fn every_machine_model_and_device_is_shown() {
        assert!(machines(machine_types()).contains("(default)"));
        assert!(cpus().contains("qemu64") && cpus().contains("sse4.2"));
        assert!(devices().contains("name \"isa-debug-exit\", bus ISA, desc"));
        let disks = devices().split_once("\nStorage devices:\n").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        assert!(disks.starts_with("name \"floppy\"") && devices().starts_with("Controller/Bridge/Hub devices:\nname"));
        assert!(device("isa-debug-exit").unwrap().contains("iobase=<uint16>"));
        assert!(device_or_failure("isa-debugexit").is_err());
    }

    #[test]
    fn words_are_wrapped() {
        assert_eq!(wrapped("a b", 2), "  a b\n");
        assert!(wrapped(&"word ".repeat(60), 4).lines().all(|l| l.len() <= WIDTH && l.starts_with("    word")));
    }
}
