//! Commands as table entries, and finding the one that a line means.

use super::grammar::{Arg, Arguments};
use super::output::{Done, Failure, Output};
use super::scanner::Scanner;
use super::{HumanMonitor, info, table};
use std::fmt::Write;

/// What a command does.
pub(super) type Run = fn(&mut HumanMonitor, &Arguments, &mut Output) -> Done;

/// A command, or a topic of `info`.
pub(super) struct Command {
    /// Its names; the first is the usual one.
    pub(super) names: &'static [&'static str],
    pub(super) arguments: &'static [Arg],
    /// How the arguments are written, for `help`.
    pub(super) usage: &'static str,
    pub(super) help: &'static str,
    pub(super) run: Run,
}

/// An entry of a table.
pub(super) const fn command(
    names: &'static [&'static str],
    arguments: &'static [Arg],
    usage: &'static str,
    help: &'static str,
    run: Run,
) -> Command {
    Command { names, arguments, usage, help, run }
}

impl Command {
    /// Its names as `help` shows them.
    pub(super) fn title(&self) -> String {
        self.names.join("|")
    }
    fn describe(&self, prefix: &str, out: &mut Output) -> Done {
        Ok(writeln!(out, "{prefix}{} {} -- {}", self.title(), self.usage, self.help)?)
    }
}

/// The entry of that name.
pub(super) fn find(table: &'static [Command], name: &str) -> Option<&'static Command> {
    table.iter().find(|c| c.names.contains(&name))
}

/// Takes the name of a command: a format may follow it without a space (`x/10i`).
fn take_name<'a>(scanner: &mut Scanner<'a>) -> &'a str {
    scanner.skip_spaces();
    scanner.take_while(|c| !c.is_whitespace() && c != '/')
}

/// Carries out a line.
pub(super) fn run(monitor: &mut HumanMonitor, line: &str, out: &mut Output) -> Done {
    let mut scanner = Scanner::new(line);
    if scanner.at_end() {
        return Ok(());
    }
    let name = take_name(&mut scanner);
    let c = find(table::COMMANDS, name).ok_or_else(|| absent(name, name, table::MISSING))?;
    call(monitor, c, name, scanner.rest(), out)
}

const INFO: &str = "info";

/// `info`: one topic, or what there is.
pub(super) fn run_info(monitor: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let mut scanner = Scanner::new(arguments.word("topic"));
    let topic = take_name(&mut scanner);
    if topic.is_empty() {
        return list(info::TOPICS, INFO_PREFIX, out);
    }
    let given = format!("{INFO} {topic}");
    let c = find(info::TOPICS, topic).ok_or_else(|| absent(topic, &given, table::MISSING_TOPICS))?;
    call(monitor, c, &given, scanner.rest(), out)
}

const INFO_PREFIX: &str = "info ";

fn unknown(name: &str) -> Failure {
    Failure::Plain(format!("unknown command: '{name}'"))
}

/// Why there is no command of that name: it is one of those that are to come, or none.
fn absent(name: &str, given: &str, missing: &str) -> Failure {
    if missing.split_whitespace().any(|m| m == name) {
        Failure::Plain(format!("{given}: not implemented yet"))
    } else {
        unknown(given)
    }
}

fn call(monitor: &mut HumanMonitor, c: &Command, given: &str, rest: &str, out: &mut Output) -> Done {
    let mut format = monitor.format;
    let parsed = Arguments::parse(&c.title(), c.arguments, rest, &|name| monitor.register(name), &mut format);
    monitor.format = format;
    let arguments = parsed.map_err(|e| Failure::Plain(format!("{e}\nTry \"help {given}\" for more information")))?;
    (c.run)(monitor, &arguments, out)
}

/// `help`: every command, one of them, or what `info` can show.
pub(super) fn help(_: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let mut about = arguments.text("name").unwrap_or_default().split_whitespace();
    match (about.next(), about.next()) {
        (None, _) => list(table::COMMANDS, "", out),
        (Some(INFO), None) => list(info::TOPICS, INFO_PREFIX, out),
        (Some(INFO), Some(topic)) => {
            find(info::TOPICS, topic).ok_or_else(|| unknown(&format!("{INFO} {topic}")))?.describe(INFO_PREFIX, out)
        }
        (Some(name), _) => find(table::COMMANDS, name).ok_or_else(|| unknown(name))?.describe("", out),
    }
}

fn list(table: &'static [Command], prefix: &str, out: &mut Output) -> Done {
    let mut all: Vec<_> = table.iter().collect();
    all.sort_by_key(|c| c.names[0]);
    all.iter().try_for_each(|c| c.describe(prefix, out))
}
