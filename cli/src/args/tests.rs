//! Command lines, and what they mean.

use super::*;
use gearbox_core::accel::Candidate;

fn parsed(line: &str) -> Result<Command, String> {
    let accelerators = crate::accelerators();
    let available = Available { accelerators: &accelerators, machines: crate::machine_types() };
    parse(line.split(' ').filter(|w| !w.is_empty()).map(str::to_owned), available).map_err(|r| r.problems.to_string())
}
fn config(line: &str) -> Config {
    match parsed(line) {
        Ok(Command::Run(config)) => *config,
        Ok(Command::Help(help)) => panic!("{line}: {help:?}"),
        Err(e) => panic!("{line}: {e}"),
    }
}
fn problems(line: &str) -> String {
    match parsed(line) {
        Ok(_) => panic!("{line}: nothing wrong"),
        Err(e) => e,
    }
}
fn named(choice: &Choice) -> Vec<(&str, Vec<(&str, &str)>)> {
    let Choice::Named(list) = choice else { return Vec::new() };
    let options = |c: &'_ Candidate| -> Vec<(String, String)> {
        c.options.iter().map(|(k, v)| (k.clone(), v.clone().unwrap_or_default())).collect()
    };
    list.iter().map(|c| (c.name.as_str(), options(c).leak().iter().map(|(k, v)| (&**k, &**v)).collect())).collect()
}

#[test]
fn nothing_given_is_a_pc_of_128_mib_with_a_console() {
    let c = config("");
    assert_eq!(c.accel, Choice::Automatic);
    assert_eq!((c.machine.name(), c.machine.alias()), ("pc-i440fx-7.2", Some("pc")));
    assert_eq!((c.ram_size, c.topology.total(), c.cpu.name.as_str(), c.cpu_given), (128 << 20, 1, "qemu64", false));
    assert!(c.kernel.is_none() && c.consoles.serials[0].is_stdio() && !c.stopped);
    assert_eq!(c.policy, Policy::default());
}

#[test]
fn a_kernel_as_qemu_is_given_one() {
    let c = config(
        "-accel tcg -m 512 -nographic -no-reboot -kernel vmlinuz -initrd rd -append console=ttyS0 -smp 2 -cpu max -S",
    );
    assert_eq!(named(&c.accel), [("tcg", vec![])]);
    let files = KernelFiles { kernel: "vmlinuz".into(), initrd: Some("rd".into()), cmdline: "console=ttyS0".into() };
    assert_eq!(c.kernel, Some(files));
    assert_eq!((c.ram_size, c.topology.total(), c.cpu_given, c.stopped), (512 << 20, 2, true, true));
    assert_eq!(c.policy, Policy { reboot: RebootAction::Shutdown, ..Policy::default() });
    assert_eq!(
        config("-action reboot=shutdown,shutdown=pause").policy,
        Policy { reboot: RebootAction::Shutdown, shutdown: ShutdownAction::Pause, ..Policy::default() }
    );
}

#[test]
fn accelerators_in_every_spelling() {
    for line in [
        "-accel kvm -accel tcg",
        "-accel kvm:tcg",
        "-machine pc,accel=kvm:tcg",
        "-M accel=kvm:tcg",
        "-enable-kvm -accel tcg",
    ] {
        assert_eq!(named(&config(line).accel), [("kvm", vec![]), ("tcg", vec![])], "{line}");
    }
    for line in ["-machine kernel-irqchip=split -accel kvm -accel tcg", "-accel kvm,kernel-irqchip=split -accel tcg"] {
        let expected = [("kvm", vec![("kernel-irqchip", "split")]), ("tcg", vec![])];
        assert_eq!(named(&config(line).accel), expected, "{line}");
    }
    assert_eq!(named(&config("-qtest unix:/x").accel), [("qtest", vec![])]);
    assert_eq!(named(&config("-qtest unix:/x -accel tcg").accel), [("tcg", vec![])]);
}

#[test]
fn what_cannot_be_is_refused_with_what_was_close() {
    for (line, expected) in [
        ("-accel kmv", "-accel kmv: invalid accelerator 'kmv'; did you mean 'kvm'?"),
        (
            "-accel kvm,devise=/x",
            "-accel kvm,devise=/x: accelerator 'kvm' has no option 'devise'; did you mean 'device'?",
        ),
        (
            "-machine accel=kvm -accel tcg",
            "-machine accel=kvm: -accel names the accelerator already; use one of the two",
        ),
        (
            "-machine kernel-irqchip=on",
            "-machine kernel-irqchip=on: belongs to an accelerator that is named: -accel kvm,kernel-irqchip=...",
        ),
        ("-machine q35", "-machine q35: unknown machine 'q35'; 'help' in its place lists what there is"),
        ("-machine pc,vmprot=off", "-machine pc,vmprot=off: unknown property 'vmprot'; did you mean 'vmport'?"),
        ("-machine pc,hpet=maybe", "-machine pc,hpet=maybe: 'hpet' takes on|off, not 'maybe'"),
        ("-machine smm=no", "-machine smm=no: 'smm' takes on|off|auto, not 'no'"),
        ("-machine pc,smbus=off", "-machine pc,smbus=off: 'smbus' is not implemented yet"),
        ("-cpu qemu46", "-cpu qemu46: unknown CPU model 'qemu46'; did you mean 'qemu64'?"),
        ("-cpu max,+sse5", "-cpu max,+sse5: unknown CPU feature or property 'sse5'; did you mean 'sse'?"),
        ("-smp 256", "-smp 256: machine 'pc-i440fx-7.2' has at most 255 CPUs"),
        (
            "-device isa-debugexit",
            "-device isa-debugexit: unknown device 'isa-debugexit'; did you mean 'isa-debug-exit'?",
        ),
        ("-device", "-device: needs a value: -device TYPE[,PROPERTY=VALUE...]|help"),
        ("-append x", "-append x: belongs to a kernel; give one with -kernel"),
        ("-display gtk", "-display gtk: there is no such display; there are 'curses' and 'none'"),
        ("-nic user", "-nic user: there is no network; only 'none' is implemented yet"),
        ("-action reboot=stop", "-action reboot=stop: 'reboot' takes reset, shutdown, not 'stop'"),
        ("-d in_asm", "-d in_asm: unknown item 'in_asm'; there are: guest_errors"),
        ("-qtest-log x", "-qtest-log x: there is no qtest server; -qtest starts one"),
        (
            "-serial stdio -monitor stdio",
            "-monitor stdio: standard input and output are in use already; share them with -chardev stdio,id=ID,mux=on",
        ),
    ] {
        assert_eq!(problems(line), expected, "{line}");
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let told =
        problems("-m 0 -smp 0 -cpu x86 -serial nowhere -rtc base=never -uuid ? -device foo -display sdl -initrd x");
    assert_eq!(told.lines().count(), 9, "{told}");
}

#[test]
fn consoles_and_devices_come_through() {
    let c = config(
        "-serial file:a -serial pty -chardev stdio,id=c,mux=on -serial chardev:c -monitor chardev:c -debugcon chardev:c -device isa-serial,chardev=c,id=s",
    );
    assert_eq!(c.consoles.serials.len(), 3);
    assert_eq!(c.consoles.monitor, Some(Target::Id("c".into())));
    let expected = [("chardev", "c"), ("id", "s")].map(|(k, v)| (k.to_owned(), v.into()));
    assert_eq!(c.devices, [DeviceArg { type_name: "isa-serial".into(), properties: expected.to_vec() }]);
    assert!(config("-machine pc,usb=off,vmport=off").properties.is_empty());
    assert_eq!(config("-machine hpet=no").properties, [("hpet".to_owned(), "off".to_owned())]);
    let smp = config("-machine isapc,smp.cpus=1,graphics=off,hmat=on,fd-bootchk=off -machine hmat=off");
    assert!((smp.cpus, smp.nographic, smp.boot.floppy_check) == (1, true, false));
    assert!(config("-nodefaults").consoles.serials.is_empty());
    assert_eq!(config("-vga none -net none -parallel none -display none -no-user-config").consoles.monitor, None);
}

#[test]
fn help_wins_over_everything_but_words_that_are_not_understood() {
    let help = |line| match parsed(line) {
        Ok(Command::Help(help)) => help,
        _ => panic!("{line}: no help"),
    };
    for (line, expected) in [
        ("-help", Help::Options),
        ("-m 0 --help", Help::Options),
        ("-version -m 0", Help::Version),
        ("-accel help", Help::Accelerators),
        ("-accel ?", Help::Accelerators),
        ("-accel kvm,help", Help::Accelerator("kvm".into())),
        ("-M help", Help::Machines),
        ("-machine pc,help", Help::Machine("pc".into())),
        ("-cpu help", Help::Cpus),
        ("-device help", Help::Devices),
        ("-device isa-serial,help", Help::Device("isa-serial".into())),
        ("-object help", Help::Objects),
        ("-object memory-backend-ram,help", Help::Object("memory-backend-ram".into())),
        ("-vga help", Help::Adapters),
        ("-chardev help", Help::Chardevs),
        ("-d help", Help::LogItems),
    ] {
        assert_eq!(help(line), expected, "{line}");
    }
    assert!(problems("-help -frobnicate").starts_with("-frobnicate"));
}
