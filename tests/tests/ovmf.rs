//! OVMF (package ovmf) in flash chips, on the software CPU: to the UEFI shell, where a variable is set that outlives the machine.

use gearbox::testing::{Expect, Vm};
use gearbox_core::backend::firmware::FirmwarePath;
use gearbox_tests::linux::{self, Kernel, init, on_tcg, write_initrd};
use gearbox_tests::process::Process;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The builds: firmware, and variables as they are at first.
const SMALL: [&str; 2] = ["OVMF_CODE.fd", "OVMF_VARS.fd"];
const LARGE: [&str; 2] = ["OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"];
const BANNER: &str = "UEFI Interactive Shell v2";
const PROMPT: &str = "Shell> ";
/// Of a namespace of our own: in that of UEFI, OVMF takes only what UEFI names.
const VARIABLE: &str = "Gearbox -guid 6b0c2f5e-4d1e-4b7a-9a51-2f6f4c9d3e10";

/// Copies of both images, which can be written; says that it skips where there are none.
fn images(directory: &Path, names: [&str; 2]) -> Option<[PathBuf; 2]> {
    let copies = names.map(|name| {
        let copy = directory.join(name);
        let found = FirmwarePath::default().find(name);
        found.map(|path| std::fs::copy(path, &copy).map(|_| copy).expect("a copy"))
    });
    match copies {
        [Some(code), Some(vars)] => Some([code, vars]),
        _ => {
            eprintln!("skipped: no {} (package ovmf)", names.join(" and "));
            None
        }
    }
}

/// The options for them.
fn flash(images: &[PathBuf; 2]) -> [String; 4] {
    let [code, vars] = images.each_ref().map(|image| image.display());
    let drive = |rest: String| ["-drive".to_owned(), format!("if=pflash,format=raw,{rest}")];
    let [a, b] = [drive(format!("readonly=on,file={code}")), drive(format!("file={vars}"))];
    let ([a, code], [b, vars]) = (a, b);
    [a, code, b, vars]
}

/// A machine in the shell.
fn shell(images: &[PathBuf; 2], patience: Duration) -> Vm {
    let vm = Vm::pc().accel("tcg").memory(256 << 20).args(flash(images)).args(["-vga", "std"]).serial(Expect);
    let mut vm = vm.start().expect("a machine");
    vm.expect(BANNER, patience).expect("the shell");
    vm.send("\x1b").expect("a key");
    vm.expect(PROMPT, patience).expect("its prompt");
    vm
}

fn to_the_shell_and_back(names: [&str; 2], patience: Duration) {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(images) = images(directory.path(), names) else { return };
    let mut vm = shell(&images, patience);
    // The same is drawn: black, grey, and yellow for the prompt.
    let picture = vm.picture().expect("a picture");
    let colours: BTreeSet<_> = picture.rgb.chunks(3).collect();
    println!("{}x{}, {} colours", picture.width, picture.height, colours.len());
    assert!(vm.text_screen().is_none() && picture.width >= 640 && colours.len() >= 3);
    // The value is bytes as they are written.
    vm.send(&format!("setvar {VARIABLE} -bs -rt -nv =CAFE42\r")).expect("keys");
    vm.expect(PROMPT, patience).expect("the next prompt");
    vm.send("reset -s\r").expect("keys");
    vm.wait(patience).expect("its end");
    drop(vm);

    let mut vm = shell(&images, patience);
    vm.send(&format!("setvar {VARIABLE}\r")).expect("keys");
    vm.expect("CA FE 42", patience).expect("the variable");
}

#[test]
fn a_firmware_that_is_one_image_reaches_the_shell() {
    const IMAGE: &str = "OVMF.fd";
    if FirmwarePath::default().find(IMAGE).is_none() {
        eprintln!("skipped: no {IMAGE} (package ovmf)");
        return;
    }
    let vm = Vm::pc().accel("tcg").memory(256 << 20).args(["-bios", IMAGE]).serial(Expect);
    let mut vm = vm.start().expect("a machine");
    vm.expect(BANNER, Duration::from_secs(120)).expect("the shell");
}

/// Each takes longer than a test should in a build without optimisations.
mod long {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(200);

    #[test]
    fn variables_outlive_the_machine() {
        to_the_shell_and_back(SMALL, PATIENCE);
    }

    #[test]
    fn variables_outlive_the_machine_in_the_large_build() {
        to_the_shell_and_back(LARGE, PATIENCE);
    }

    /// OVMF has its own place for the power management ports, which Linux must find in the tables.
    #[test]
    fn linux_turns_acpi_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let Some(images) = images(directory.path(), SMALL) else { return };
        let (Some(kernel), Some(busybox)) = (Kernel::Cloud.image(), Kernel::Cloud.busybox()) else { return };
        let initrd = directory.path().join("initrd");
        write_initrd(&initrd, &busybox, &init("")).expect("an initrd");
        let flash = flash(&images);
        let machine = on_tcg(&kernel, &initrd);
        let mut p = Process::gearbox(&machine.into_iter().chain(flash.iter().map(String::as_str)).collect::<Vec<_>>());
        p.expect("ACPI: PM-Timer IO Port: 0xb008", PATIENCE);
        p.expect(linux::PROMPT, PATIENCE);
        p.send("cat /sys/firmware/acpi/interrupts/sci\n");
        p.expect(linux::PROMPT, PATIENCE);
        let log = p.stdout();
        for line in
            ["Unable to enable ACPI", "AcpiEnable failed", "Interpreter disabled", "ACPI Error", "ACPI BIOS Error"]
        {
            assert!(!log.contains(line), "{line}: {log}");
        }
    }
}
