//! From the words of the command line to [`Options`].

use super::options::{OptionInfo, Options};
use super::{Problem, Problems, drives, readconfig, unimplemented};
use clap::Parser;
use gearbox_core::closest;
use std::collections::VecDeque;

/// Most files of options.
const MOST_FILES: u32 = 64;

/// Reads the words behind the program's name. QEMU's rules hold: one dash or two; a value is always the next word, whatever it looks like. `problems`
/// gets every word that is not understood, and every option that Gearbox does not have.
pub fn read(words: impl IntoIterator<Item = String>, problems: &mut Problems) -> Option<Options> {
    let known = Options::known();
    let mut normal = vec!["gearbox".to_owned()];
    let mut all_drives = Vec::new();
    let mut words: VecDeque<_> = words.into_iter().collect();
    // Files that name each other would never end.
    let mut files = 0;
    while let Some(word) = words.pop_front() {
        let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|n| !n.is_empty()) else {
            // A word of its own is a disk.
            all_drives.push(("hda", word));
            continue;
        };
        match known.iter().find(|o| o.names.iter().any(|n| n == name)) {
            Some(option) if option.value.is_none() => normal.push(format!("--{}", option.names[0])),
            Some(option) => match words.pop_front() {
                Some(file) if option.names[0] == "readconfig" && files < MOST_FILES => {
                    files += 1;
                    problems.value(readconfig::words(&file)).into_iter().rev().for_each(|w| words.push_front(w));
                }
                // With '=', a value may begin with a dash.
                Some(value) => {
                    normal.push(format!("--{}={value}", option.names[0]));
                    all_drives.extend(drives::option(&option.names[0]).map(|name| (name, value)));
                }
                None => problems.add(Problem::word(
                    &word,
                    format!("needs a value: -{name} {}", option.value.as_deref().unwrap_or_default()),
                )),
            },
            None => {
                let (reason, takes_value) = refuse(name, &known);
                // What follows an option that nobody knows is its value, if it looks like one.
                let value = words.pop_front_if(|next| takes_value.unwrap_or(!next.starts_with('-')));
                problems.add(Problem { value, ..Problem::word(&word, reason) });
            }
        }
    }
    match Options::try_parse_from(normal) {
        Ok(options) => Some(Options { drives: all_drives, ..options }),
        Err(e) => {
            problems.add(Problem::word(
                "the command line",
                e.render().to_string().trim().trim_start_matches("error: ").to_owned(),
            ));
            None
        }
    }
}

/// Why an option is not taken, and whether a value follows it if that is known.
fn refuse(name: &str, known: &[OptionInfo]) -> (String, Option<bool>) {
    if let Some((hint, takes_value)) = unimplemented::find(name) {
        return (format!("not implemented yet; {hint}"), Some(takes_value));
    }
    if name == "dtb" {
        return ("a PC has no device tree; its hardware is described by ACPI tables".to_owned(), Some(true));
    }
    let names = || known.iter().flat_map(|o| o.names.iter().map(String::as_str));
    if let Some((before, after)) = name.split_once('=')
        && names().any(|n| n == before)
    {
        return (format!("the value is a word of its own: -{before} {after}"), Some(false));
    }
    let reason = match closest(name, names()) {
        Some(close) => format!("unknown option; did you mean '-{close}'? -help lists all"),
        None => "unknown option; -help lists all".to_owned(),
    };
    (reason, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let mut problems = Problems::default();
        let options = read(line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned), &mut problems);
        problems.or(options).map(|o| o.expect("clap took it")).map_err(|p| p.to_string())
    }

    #[test]
    fn one_dash_or_two_and_the_last_one_counts() {
        let o = options(
            "-m 512 --m 1G -cpu max --cpu qemu64 -nographic --no-reboot -S -D a -M pc -machine none -append -x=1",
        )
        .unwrap();
        assert_eq!((o.m, o.cpu.as_deref()), (vec!["512".to_owned(), "1G".to_owned()], Some("qemu64")));
        assert!(o.nographic && o.no_reboot && o.stopped && !o.no_shutdown);
        assert_eq!((o.log_file.as_deref(), o.append.as_deref()), (Some("a"), Some("-x=1")));
        assert_eq!(o.machine, ["pc", "none"]);
        assert!(options("-h").unwrap().help && options("--help").unwrap().help);
    }

    #[test]
    fn drives_keep_their_order() {
        let o = options("-hdb b -drive a,if=none -cdrom c d").unwrap();
        let given = [("hdb", "b"), ("drive", "a,if=none"), ("cdrom", "c"), ("hda", "d")];
        assert_eq!(o.drives, given.map(|(option, value)| (option, value.to_owned())));
        assert_eq!(o.drive, ["a,if=none"]);
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_was_close() {
        for (line, text) in [
            ("-kernle x", "-kernle x: unknown option; did you mean '-kernel'? -help lists all"),
            ("--frobnicate -S", "--frobnicate: unknown option; -help lists all"),
            ("-smp=2", "-smp=2: the value is a word of its own: -smp 2"),
            ("-kernel", "-kernel: needs a value: -kernel FILE"),
            ("-fsdev local", "-fsdev local: not implemented yet; there are no file systems of the host"),
            ("-daemonize -S", "-daemonize: not implemented yet; the process stays in the foreground"),
            ("-dtb x", "-dtb x: a PC has no device tree; its hardware is described by ACPI tables"),
        ] {
            assert_eq!(options(line).unwrap_err(), text, "{line}");
        }
    }

    #[test]
    fn all_problems_are_told_together() {
        assert_eq!(options("-foo -virtfs x -cpu max -vnc :1").unwrap_err().lines().count(), 3);
    }

    #[test]
    fn no_option_is_both_there_and_missing() {
        for option in Options::known() {
            for name in &option.names {
                assert!(unimplemented::find(name).is_none(), "-{name}");
            }
            assert!(!option.help.is_empty() && !option.topic.is_empty());
        }
    }
}
