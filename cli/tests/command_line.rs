//! The program's words: help, errors, the choice of an accelerator as its user sees it.

mod common;

use common::{Scratch, code, run};

/// Nothing but one line for each problem, as this program's, and status 1.
fn refused(arguments: &[&str]) -> String {
    let ended = run(arguments);
    assert_eq!(ended.status, Some(1), "{arguments:?}: {ended:?}");
    assert!(ended.out.is_empty(), "{arguments:?}: {}", ended.out);
    assert!(ended.err.lines().all(|l| l.starts_with("gearbox: ")), "{arguments:?}: {}", ended.err);
    ended.err
}

#[test]
fn help_and_lists_are_on_standard_output() {
    for (arguments, part) in [
        (&["-help"][..], "-accel NAME"),
        (&["--help"], "Machine\n"),
        (&["-h"], "-no-reboot"),
        (&["-version"], concat!("gearbox ", env!("CARGO_PKG_VERSION"))),
        (&["-accel", "help"], "tcg"),
        (&["-accel", "kvm,help"], "device=<PATH> "),
        (&["-accel", "tcg,help"], "(default: multi; single with -icount"),
        (&["-machine", "help"], "pc-i440fx-7.2"),
        (&["-M", "pc,help"], "pc-i440fx-7.2-machine options:\n  accel=<string> "),
        (&["-M", "isapc,help"], "- Enable ACPI (always on)"),
        (&["-object", "help"], "memory-backend-ram"),
        (&["-object", "memory-backend-ram,help"], "  size=<size> "),
        (&["-vga", "help"], "standard VGA"),
        (&["-display", "help"], "curses"),
        (&["-cpu", "help"], "qemu64"),
        (&["-device", "help"], "isa-debug-exit"),
        (&["-device", "isa-serial,help"], "  chardev=<str>"),
        (&["-chardev", "help"], "socket"),
        (&["-drive", "help"], "media=disk|cdrom"),
        (&["-blockdev", "help"], "qcow2"),
        (&["-d", "help"], "guest_errors"),
    ] {
        let ended = run(arguments);
        assert_eq!(ended.status, Some(0), "{arguments:?}: {ended:?}");
        assert!(ended.out.contains(part), "{arguments:?}: {}", ended.out);
        assert!(ended.err.is_empty(), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn mistakes_are_one_line_each_with_a_hint() {
    let told = refused(&["-m", "0", "-cpu", "qemu46", "-virtfs", "x", "-frobnicate"]);
    assert_eq!(
        told,
        "gearbox: -virtfs x: not implemented yet; there are no file systems of the host\n\
         gearbox: -frobnicate: unknown option; -help lists all\n\
         gearbox: -cpu qemu46: unknown CPU model 'qemu46'; did you mean 'qemu64'?\n\
         gearbox: -m 0: a PC needs at least 1M\n"
    );
}

#[test]
fn files_that_cannot_be_booted_are_named() {
    let s = Scratch::new("files");
    let told = refused(&["-accel", "tcg", "-kernel", "/nonexistent", "-initrd", "/neither"]);
    assert!(told.contains("-kernel /nonexistent: No such file"), "{told}");
    assert!(told.contains("-initrd /neither: No such file"), "{told}");
    let told = refused(&["-accel", "tcg", "-kernel", &s.file("junk", b"no kernel at all")]);
    assert!(told.contains("-kernel ") && told.contains("junk: "), "{told}");
    let told = refused(&["-accel", "tcg", "-m", "1", "-kernel", "/dev/zero"]);
    assert!(told.contains("larger than the machine's memory"), "{told}");
    let told = refused(&["-accel", "tcg", "-kernel", &s.file("empty", b"")]);
    assert!(told.contains("is empty"), "{told}");
}

#[test]
fn back_ends_that_the_host_refuses_are_named() {
    let told = refused(&["-accel", "tcg", "-serial", "file:/nonexistent/x", "-serial", "unix:/nonexistent/y"]);
    assert!(told.contains("-serial file:/nonexistent/x: No such file"), "{told}");
    assert!(told.contains("-serial unix:/nonexistent/y: No such file"), "{told}");
    let told = refused(&["-accel", "tcg", "-device", "isa-debug-exit,iobas=1"]);
    assert!(told.contains("did you mean 'iobase'?"), "{told}");
    let told = refused(&["-accel", "tcg", "-device", "isa-serial,chardev=nobody"]);
    assert!(told.contains("nobody"), "{told}");
    let told = refused(&["-accel", "tcg", "-chardev", "null,id=n", "-serial", "chardev:n", "-serial", "chardev:n"]);
    assert!(told.contains("mux=on"), "{told}");
}

/// Ways in which a KVM can be unusable, and what is said about it.
fn unusable_kvms(s: &Scratch) -> [(String, &'static str); 3] {
    [
        ("/nonexistent/kvm".to_owned(), "/nonexistent/kvm"),
        (s.file("plain", b"no device"), "plain"),
        ("/dev/null".to_owned(), "/dev/null"),
    ]
}

#[test]
fn a_list_falls_back_and_says_why_in_one_line() {
    let s = Scratch::new("fallback");
    let end = s.guest("end", &code::outb(0xf4, 0x10));
    for (node, part) in unusable_kvms(&s) {
        let kvm = format!("kvm,device={node}");
        let arguments = [
            "-accel",
            &kvm,
            "-accel",
            "tcg",
            "-display",
            "none",
            "-device",
            "isa-debug-exit,iobase=0xf4",
            "-kernel",
            &end,
        ];
        let ended = run(&arguments);
        assert_eq!(ended.status, Some(0x21), "{ended:?}");
        let warnings: Vec<_> = ended.err.lines().filter(|l| l.contains("warning")).collect();
        assert_eq!(warnings.len(), 1, "{}", ended.err);
        assert!(warnings[0].starts_with("gearbox: warning: falling back to tcg: kvm: "), "{}", warnings[0]);
        assert!(warnings[0].contains(part), "{}", warnings[0]);
    }
}

#[test]
fn a_single_accelerator_never_falls_back() {
    let s = Scratch::new("single");
    for (node, part) in unusable_kvms(&s) {
        let told = refused(&["-accel", &format!("kvm,device={node}")]);
        assert!(told.starts_with("gearbox: -accel kvm: ") && told.contains(part), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    let told = refused(&["-accel", "kvm,kernel-irqchip=maybe", "-accel", "tcg"]);
    assert!(told.contains("kernel-irqchip"), "a mistake is not hidden by a fallback: {told}");
    let told = refused(&["-accel", "tcg", "-cpu", "host"]);
    assert!(told.starts_with("gearbox: -cpu host: "), "{told}");
}

#[test]
fn features_that_are_asked_for_and_not_there_are_named() {
    let s = Scratch::new("features");
    let end = s.guest("end", &code::outb(0xf4, 0));
    let with = |cpu: &[&str]| {
        let rest = ["-accel", "tcg", "-display", "none", "-device", "isa-debug-exit,iobase=0xf4", "-kernel", &end];
        run(&[cpu, &rest].concat()).err
    };
    let told = with(&["-cpu", "qemu64,+svm,+avx512f"]);
    assert!(
        told.contains("gearbox: warning: TCG doesn't support requested feature: CPUID.07H:EBX.avx512f [bit 16]"),
        "{told}"
    );
    assert_eq!(with(&[]), "", "a model that nobody asked for is no reason to complain");
}

#[test]
fn everything_that_cannot_be_opened_is_told_together() {
    let (bios, blockdev) = ("none-such.bin", "qcow2,node-name=n,file.driver=file,file.filename=nope");
    let told =
        refused(&["-bios", bios, "-blockdev", blockdev, "-drive", "gone,if=none", "-cdrom", "c.iso", "-kernel", "k"]);
    let expected = [
        "-kernel k: No such file or directory (os error 2)",
        "-bios none-such.bin: no such file, here or in the firmware directories",
        "-blockdev qcow2,node-name=n,file.driver=file,file.filename=nope: Could not open 'nope': No such file or directory",
        "-drive gone,if=none: Could not open 'gone': No such file or directory",
        "-cdrom c.iso: Could not open 'c.iso': No such file or directory",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected.map(|line| format!("gearbox: {line}")));
}

/// Whatever is wrong with values, with the host's files and with devices comes in one run; what follows from something else does not come at all.
#[test]
fn problems_of_all_kinds_are_told_together_and_leave_no_trace() {
    let scratch = Scratch::new("together");
    let kept = scratch.file("kept", b"not lost");
    let log = format!("file:{kept}");
    let told = refused(
        &[
            &["-m", "lots", "-M", "pk", "-smp", "none", "-numa", "node,cpus=4", "-vga", "std"][..],
            &["-kernel", "/dev/zero", "-initrd", "/nowhere/rd", "-bios", "none-such.bin"],
            &["-drive", "if=none,id=d,format=raw,file=/nowhere/disk", "-drive", "/nowhere/a,format=vmdk"],
            &["-blockdev", "file,node-name=f,filename=/nowhere/f", "-blockdev", "raw,node-name=r,file=f"],
            &[
                "-chardev",
                "file,id=c,path=/nowhere/log",
                "-serial",
                "chardev:c",
                "-monitor",
                "chardev:c",
                "-serial",
                &log,
            ],
            &[
                "-chardev",
                "fiel,id=x",
                "-parallel",
                "chardev:x",
                "-qmp",
                "unix:/nowhere/qmp,server",
                "-D",
                "/nowhere/d",
            ],
            &["-device", "isa-foo", "-device", "virtio-blk-pci,drive=d,id=one", "-device", "isa-debug-exit,iobas=1"],
            &["-device", "isa-serial,chardev=c,irq=many", "-device", "pci-testdev,id=one"],
        ]
        .concat(),
    );
    let missing = "No such file or directory";
    let expected = [
        "-machine pk: unknown machine 'pk'; did you mean 'pc'?",
        "-smp none: 'cpus' takes a whole number, not 'none'",
        "-m lots: unknown suffix 'LOTS'; there are K, M and G",
        "-device isa-foo: unknown device 'isa-foo'; 'help' in its place lists what there is",
        "-chardev fiel,id=x: unknown type 'fiel'; did you mean 'file'?",
        "-drive /nowhere/a,format=vmdk: 'format' takes raw|qcow2|null-co|null-aio, not 'vmdk'",
        &format!("-initrd /nowhere/rd: {missing} (os error 2)"),
        "-bios none-such.bin: no such file, here or in the firmware directories",
        &format!("-blockdev file,node-name=f,filename=/nowhere/f: Could not open '/nowhere/f': {missing}"),
        &format!("-drive if=none,id=d,format=raw,file=/nowhere/disk: Could not open '/nowhere/disk': {missing}"),
        &format!("-D /nowhere/d: {missing} (os error 2)"),
        &format!("-chardev c: {missing} (os error 2)"),
        &format!("-qmp unix:/nowhere/qmp: {missing} (os error 2)"),
        "-device isa-debug-exit: Property 'isa-debug-exit.iobas' not found; did you mean 'iobase'?",
        "-device isa-serial: property 'irq': 'many' is not a number",
        "-device pci-testdev: Duplicate device ID 'one'",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected.map(|line| format!("gearbox: {line}")));
    assert_eq!(std::fs::read(&kept).unwrap(), b"not lost");
    // The same, where only what is opened last is wrong.
    let told =
        refused(
            &[
                &[
                    "-accel",
                    "tcg",
                    "-serial",
                    &log,
                    "-parallel",
                    "file:/nowhere/p",
                    "-device",
                    "isa-debug-exit,iobas=1",
                ][..],
                &["-qtest-log", "/nowhere/q", "-qtest", "null", "-bios", "none-such.bin"],
            ]
            .concat(),
        );
    assert_eq!(told.lines().count(), 4, "{told}");
    let waits = format!("unix:{kept}.sock,server");
    let told = refused(&["-accel", "tcg", "-serial", &waits, "-monitor", "file:/nowhere/m"]);
    assert!(told.starts_with("gearbox: -monitor file:/nowhere/m: ") && told.lines().count() == 1, "{told}");
    // Or what the machine is made of.
    let told = refused(&["-accel", "tcg", "-cpu", "host", "-device", "isa-debug-exit,iobas=1"]);
    assert!(told.starts_with("gearbox: -cpu host: ") && told.lines().count() == 2, "{told}");
    let kernel =
        ["-accel", "tcg", "-kernel", &kept, "-device", "isa-debug-exit,iobas=1", "-device", "pci-testdev,addr=1"];
    for firmware in [&[][..], &["-bios", &kept]] {
        let told = refused(&[&kernel[..], firmware].concat());
        assert!(told.starts_with(&format!("gearbox: -kernel {kept}: ")) && told.lines().count() == 2, "{told}");
    }
    assert_eq!(std::fs::read(&kept).unwrap(), b"not lost");
}

#[test]
fn drives_find_their_places_or_not() {
    let scratch = Scratch::new("places");
    let disk = scratch.file("disk", &[0; 4096]);
    let raw = format!("file={disk},format=raw,readonly=on");
    for (arguments, told) in [
        (["-drive", &format!("{raw},index=2"), "-cdrom", &disk].to_vec(), "drive with bus=1, unit=0 (index=2) exists"),
        (["-machine", "none", "-drive", &raw].to_vec(), "machine type does not support if=ide,bus=0,unit=0"),
        (["-drive", &format!("{raw},bus=7")].to_vec(), "machine type does not support if=ide,bus=7,unit=0"),
        (["-drive", &format!("{raw},unit=2")].to_vec(), "unit 2 too big (max is 1)"),
        (["-drive", &format!("{raw},if=none,id=d")[..], "-device", "ide-hd,drive=e"].to_vec(), "can't find value 'e'"),
        (["-drive", &format!("{raw},id=8")].to_vec(), "Invalid id: '8'"),
    ] {
        let all = [&["-accel", "qtest"], &arguments[..]].concat();
        let ended = run(&all);
        assert!(ended.status == Some(1) && ended.err.contains(told), "{all:?}: {}", ended.err);
    }
}

#[test]
fn images_are_made_shown_and_converted() {
    let scratch = Scratch::new("img");
    let content: Vec<u8> = (0..200_704_u32).map(|n| (n % 251) as u8).collect();
    let raw = scratch.file("raw", &content);
    let [empty, qcow2, back] = ["empty", "qcow2", "back"].map(|name| format!("{raw}.{name}"));
    for arguments in [
        ["create", "-f", "qcow2", &empty, "64M"].to_vec(),
        ["convert", "-f", "raw", "-O", "qcow2", &raw, &qcow2].to_vec(),
        ["convert", "-O", "raw", &qcow2, &back].to_vec(),
    ] {
        let ended = run(&[&["img"], &arguments[..]].concat());
        assert_eq!((ended.status, &*ended.err), (Some(0), ""), "{arguments:?}");
    }
    assert!(std::fs::read(&back).is_ok_and(|copy| copy == content));
    let shown = run(&["img", "info", &empty]);
    let told = refused(&["-accel", "qtest", "-drive", &format!("{qcow2},aio=io_uring")]);
    assert!(told.ends_with("': aio=io_uring is for raw images, not for qcow2; use aio=threads\n"), "{told}");
    assert!(shown.out.contains("file format: qcow2\nvirtual size: 64 MiB (67108864 bytes)\n"), "{shown:?}");
    assert!(refused(&["img", "check", &empty]).contains("qemu-img check"));
    assert!(refused(&["img", "info", &back.replace("back", "nope")]).contains("No such file or directory"));
}
