//! What the word before the cursor may become.

use super::HumanMonitor;
use super::command::{Command, find};
use super::grammar::{Kind, Source};
use super::{info, table};
use crate::args::logging::ITEMS;
use crate::event::WatchdogAction;
use crate::object::types;

/// Words that can stand in place of the one that is being typed.
pub(super) struct Completion {
    /// Length of what is typed of the word.
    typed: usize,
    /// The words, in order.
    pub(super) words: Vec<String>,
}

impl Completion {
    /// What can be added for certain: the rest of the only word, or as much as all of them share.
    pub(super) fn certain(&self) -> String {
        match &self.words[..] {
            [] => String::new(),
            [only] if only.ends_with(['=', '/']) => only[self.typed..].to_owned(),
            [only] => format!("{} ", &only[self.typed..]),
            [first, rest @ ..] => {
                let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
                let n = rest.iter().map(|w| shared(first, w)).min().unwrap_or_default();
                first.get(self.typed..n).unwrap_or_default().to_owned()
            }
        }
    }
}

/// Completes a line up to the cursor.
pub(super) fn complete(monitor: &HumanMonitor, line: &str) -> Completion {
    let word = line.rsplit(char::is_whitespace).next().unwrap_or_default();
    let before: Vec<_> = line[..line.len() - word.len()].split_whitespace().collect();
    let mut words = candidates(monitor, &before, word);
    words.retain(|w| w.starts_with(word) && w.is_ascii());
    words.sort();
    words.dedup();
    Completion { typed: word.len(), words }
}

fn names(table: &'static [Command]) -> Vec<String> {
    table.iter().flat_map(|c| c.names).map(|n| (*n).to_owned()).collect()
}

fn candidates(monitor: &HumanMonitor, before: &[&str], word: &str) -> Vec<String> {
    let (commands, words) = match before {
        ["info", words @ ..] => (info::TOPICS, words),
        words => (table::COMMANDS, words),
    };
    let Some((name, arguments)) = words.split_first() else { return names(commands) };
    let name = name.split('/').next().unwrap_or(name);
    let Some(command) = find(commands, name) else { return Vec::new() };
    let formatted = command.arguments.iter().any(|a| a.kind == Kind::Format);
    let given = arguments.iter().filter(|a| !(a.starts_with('-') || (formatted && a.starts_with('/')))).count();
    let mut positional = command.arguments.iter().filter(|a| !matches!(a.kind, Kind::Flag(_) | Kind::Format));
    match positional.nth(given) {
        Some(argument) => from_source(monitor, argument.source, arguments, word),
        // `help info TOPIC`
        None if arguments == ["info"] => names(info::TOPICS),
        None => Vec::new(),
    }
}

fn from_source(monitor: &HumanMonitor, source: Source, before: &[&str], word: &str) -> Vec<String> {
    let control = &monitor.control;
    match source {
        Source::Nothing => Vec::new(),
        Source::Command => names(table::COMMANDS),
        Source::Topic => names(info::TOPICS),
        Source::WatchdogAction => WatchdogAction::ALL.iter().map(|a| a.name().to_owned()).collect(),
        Source::DeviceType => device_types(word),
        Source::ObjectType => types().all().filter(|t| t.user.is_some()).map(|t| t.name.to_owned()).collect(),
        Source::DeviceId => children(monitor, "/machine/peripheral"),
        Source::ObjectId => children(monitor, "/objects"),
        Source::ObjectPath => {
            let parent = word.rfind('/').map_or("", |at| &word[..=at]);
            let path = if parent.is_empty() { "/" } else { parent };
            children(monitor, path).into_iter().map(|name| format!("{path}{name}")).collect()
        }
        Source::Property => {
            let listed = before.last().and_then(|path| control.qom_list(path).ok());
            listed.unwrap_or_default().into_iter().map(|p| p.name).collect()
        }
        Source::LogItem => ITEMS.iter().map(|i| i.0).chain(["none", "all"]).map(str::to_owned).collect(),
        Source::Drive => {
            let all = control.block_devices().into_iter();
            all.map(|d| if d.device.is_empty() { d.qdev.unwrap_or_default() } else { d.device }).collect()
        }
        Source::Chardev => control.chardevs().into_iter().map(|c| c.label).collect(),
    }
}

/// Names of the parts of an object.
fn children(monitor: &HumanMonitor, path: &str) -> Vec<String> {
    let Ok(machine) = monitor.control.machine() else { return Vec::new() };
    machine.board().with(|s| {
        let node = s.objects.resolve(path).ok();
        node.map(|n| s.objects.children(n).map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
    })
}

/// Types of devices; and behind a type, its properties.
fn device_types(word: &str) -> Vec<String> {
    let known = types().user_creatable();
    let Some(comma) = word.rfind(',') else { return known.map(|t| t.name.to_owned()).collect() };
    let kept = &word[..=comma];
    let type_name = word.split(',').next().unwrap_or_default();
    let properties = types().lineage(type_name).flat_map(|t| t.properties()).map(|p| p.name);
    properties.chain(["id", "bus"]).map(|name| format!("{kept}{name}=")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Vm;

    fn words(vm: &Vm, line: &str) -> (Vec<String>, String) {
        let c = complete(&HumanMonitor::new(vm.control().clone()), line);
        let certain = c.certain();
        (c.words, certain)
    }

    #[test]
    fn commands_topics_types_and_paths() {
        let vm = Vm::pc().accel("qtest").device("pci-testdev,id=mine").start().unwrap();
        let words = |line| words(&vm, line);
        assert_eq!(words("device_del m").1, "ine ");
        assert_eq!(words("qom-list /machine/i44").1, "0fx ");
        assert_eq!(words("qom-get /machine/i440fx ty").1, "pe ");
        assert_eq!(words("qui"), (vec!["quit".into()], "t ".into()));
        assert_eq!(words("system_").1, "");
        assert_eq!(words("sys").1, "tem_");
        assert_eq!(words("info regi").1, "sters ");
        assert_eq!(words("help info sta").1, "tus ");
        assert_eq!(words("device_add pci-test").1, "dev ");
        assert!(words("device_add isa-serial,ioba").1.starts_with("se="));
        assert_eq!(words("device_add isa-serial,iobase=1,id").1, "=");
        assert_eq!(words("watchdog_action pa").1, "use ");
        for nothing in ["nosuch ", "info nosuch x", "quit ", "x/4 ", "qom-list /nosuch/"] {
            assert_eq!(words(nothing), (vec![], String::new()), "{nothing}");
        }
    }
}
