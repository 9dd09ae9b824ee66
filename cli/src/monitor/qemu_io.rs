//! `qemu-io`: what tests ask of an image. Of the program's commands there are those for breakpoints (`blkdebug`) and the size.

use super::HumanMonitor;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::backend::block::{Debug, DebugEvent, Node};
use std::fmt::Write;

/// A command: its name, its arguments, and what it does; `Err` says why not.
type Command = (&'static str, &'static [&'static str], fn(&Node, &[&str], &mut Output) -> Result<(), String>);

static COMMANDS: &[Command] = &[
    ("break", &["EVENT", "TAG"], |node, words, _| {
        let event = DebugEvent::from_name(words[0]);
        let refused = |reason: &str| format!("Could not set a breakpoint: {reason}");
        let event = event.ok_or_else(|| refused(&format!("there is no event '{}'", words[0])))?;
        debug(node).map(|d| d.set_breakpoint(event, words[1])).map_err(refused)
    }),
    ("remove_break", &["TAG"], |node, words, _| {
        let removed = debug(node).and_then(|d| found(d.remove_breakpoint(words[0])));
        removed.map_err(|reason| format!("Could not remove breakpoint {}: {reason}", words[0]))
    }),
    ("resume", &["TAG"], |node, words, _| {
        let resumed = debug(node).and_then(|d| found(d.resume(words[0])));
        resumed.map_err(|reason| format!("Could not resume request: {reason}"))
    }),
    ("length", &[], |node, _, out| {
        let _ = writeln!(out, "{}", node.size());
        Ok(())
    }),
];

fn debug(node: &Node) -> Result<&Debug, &'static str> {
    node.debug().ok_or("Operation not supported")
}

fn found(found: bool) -> Result<(), &'static str> {
    if found { Ok(()) } else { Err("No such file or directory") }
}

/// Carries out a command on an image.
pub(super) fn run(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let node = m.control.image(arguments.word("device"), arguments.flag("qdev"))?;
    let words: Vec<_> = arguments.word("command").split_whitespace().collect();
    let Some((name, words)) = words.split_first() else { return Ok(()) };
    let Some((_, takes, act)) = COMMANDS.iter().find(|(known, ..)| known == name) else {
        let known: Vec<_> = COMMANDS.iter().map(|(known, ..)| *known).collect();
        return Err(Failure::plain(format!("command \"{name}\" not found; there are {}", known.join(", "))));
    };
    if words.len() != takes.len() {
        return Err(Failure::plain(format!(
            "bad argument count {} to {name}, which takes: {}",
            words.len(),
            takes.join(" ")
        )));
    }
    act(&node, words, out).map_err(Failure::plain)
}

#[cfg(test)]
mod tests {
    use crate::testing::Vm;
    use serde_json::json;

    fn disk() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        file
    }
    fn status(vm: &mut Vm) -> u8 {
        let text = vm.monitor("i/bx 0x1f7").unwrap();
        u8::from_str_radix(text.trim().rsplit("0x").next().unwrap(), 16).unwrap()
    }
    /// FLUSH CACHE.
    fn flush(vm: &mut Vm) {
        vm.monitor("o/bx 0x1f7 0xe7").unwrap();
    }
    fn settled(vm: &mut Vm) -> u8 {
        const BUSY: u8 = 0x80;
        loop {
            match status(vm) {
                busy if busy & BUSY != 0 => std::thread::yield_now(),
                done => return done,
            }
        }
    }

    #[test]
    fn a_flush_waits_at_a_breakpoint() {
        let file = disk();
        let drive = format!("file=blkdebug::{},format=raw", file.path().display());
        let mut vm = Vm::pc().accel("qtest").args(["-drive", &drive]).start().unwrap();
        let io = |vm: &mut Vm, command: &str| vm.monitor(&format!("qemu-io ide0-hd0 \"{command}\"")).unwrap();
        assert_eq!(io(&mut vm, "break flush_to_os A"), "");
        flush(&mut vm);
        for _ in 0..10 {
            assert_eq!(status(&mut vm), 0xd0, "busy and ready");
        }
        assert_eq!((io(&mut vm, "resume A"), settled(&mut vm)), (String::new(), 0x50));
        assert_eq!(io(&mut vm, "resume A").trim(), "Could not resume request: No such file or directory");
        // A reset does not wait for anybody.
        io(&mut vm, "break flush_to_disk B");
        flush(&mut vm);
        vm.qmp("system_reset", json!({})).unwrap();
        assert_eq!(settled(&mut vm) & 0x80, 0);
        assert_eq!(io(&mut vm, "length").trim(), "1048576");
        for (command, told) in [
            ("break flush A", "Could not set a breakpoint: there is no event 'flush'"),
            ("break flush_to_os", "bad argument count 1 to break, which takes: EVENT TAG"),
            ("read 0 512", "command \"read\" not found; there are break, remove_break, resume, length"),
        ] {
            assert_eq!(io(&mut vm, command).trim(), told);
        }
    }

    #[test]
    fn a_flush_fails_once() {
        let file = disk();
        let image = json!({"driver": "file", "filename": file.path().to_str().unwrap()});
        let error = json!([{"event": "flush_to_disk", "once": true}]);
        let node = json!({"driver": "blkdebug", "node-name": "n", "image": image, "inject-error": error}).to_string();
        let device = "ide-hd,drive=n,bus=ide.0";
        let mut vm = Vm::pc().accel("qtest").args(["-blockdev", &node, "-device", device]).start().unwrap();
        flush(&mut vm);
        assert_eq!(settled(&mut vm), 0x41, "an error");
        flush(&mut vm);
        assert_eq!(settled(&mut vm), 0x50);
        let nodes = vm.qmp("query-named-block-nodes", json!({})).unwrap();
        assert_eq!((&nodes[0]["drv"], &nodes[0]["image"]["virtual-size"]), (&json!("blkdebug"), &json!(1 << 20)));
        drop(vm);

        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), "[inject-error]\nevent = \"flush_to_disk\"\nonce = \"on\"\n").unwrap();
        let name = format!("blkdebug:{}:{}", config.path().display(), file.path().display());
        // The drive says what is to happen, or the device.
        for (drive, device) in [(",werror=stop", ""), ("", ",werror=stop")] {
            let drive = format!("if=none,id=d,file={name},format=raw{drive}");
            let device = format!("ide-hd,drive=d,bus=ide.0{device}");
            let mut vm = Vm::pc().accel("qtest").args(["-drive", &drive, "-device", &device]).start().unwrap();
            flush(&mut vm);
            while vm.qmp("query-status", json!({})).unwrap()["status"] != "io-error" {
                std::thread::yield_now();
            }
            vm.qmp("cont", json!({})).unwrap();
            assert_eq!(settled(&mut vm), 0x50);
        }
    }

    #[test]
    fn a_disk_of_nothing() {
        let drive = "if=none,id=d,file=null-co://,file.read-zeroes=on,format=raw,size=1440k";
        let floppy = "floppy,drive=d,unit=0";
        let mut vm = Vm::pc().accel("qtest").args(["-drive", drive, "-device", floppy]).start().unwrap();
        let drives = vm.qmp("query-block", json!({})).unwrap();
        let image = &drives[0]["inserted"]["image"];
        let expected = json!({"filename": "null-co://", "format": "raw", "virtual-size": 1_474_560, "actual-size": 0});
        assert_eq!(image, &expected);
        let node = json!({"driver": "null-co", "node-name": "n", "size": 4096});
        vm.qmp("blockdev-add", node).unwrap();
        assert_eq!(vm.monitor("qemu-io n length").unwrap().trim(), "4096");
        vm.qmp("blockdev-del", json!({"node-name": "n"})).unwrap();
        assert!(vm.monitor("qemu-io n length").unwrap().contains("Cannot find device='n' nor node-name='n'"));
    }
}
