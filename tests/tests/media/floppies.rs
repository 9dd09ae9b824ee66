//! Floppies, read through the 82078.

use super::*;
use gearbox_tests::linux::fetched;

/// memtest86+ has a boot sector of its own, which reads the rest track by track.
#[test]
fn memtest_loads_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(memtest) = fetched("memtest86+x64.bin").filter(|_| has_seabios()) else { return };
    let floppy = directory.path().join("floppy.img");
    std::fs::copy(memtest, &floppy).expect("a copy");
    std::fs::File::options().write(true).open(&floppy).and_then(|f| f.set_len(1440 << 10)).expect("a floppy");
    let vm =
        Vm::pc().accel("tcg").memory(32 << 20).args(["-vga", "std", "-bios", "bios-256k.bin", "-fda", text(&floppy)]);
    let vm = vm.start().expect("a machine");
    vm.expect_screen(r"Memtest86\+ v\d", PATIENCE).expect("its name");
    vm.expect_screen("Status: Testing", PATIENCE).expect("that it runs");
}

/// Without a medium the first drive is there, as SeaBIOS finds out.
#[test]
fn an_empty_drive_is_not_booted_from() {
    if !has_seabios() {
        return;
    }
    let vm = Vm::pc().accel("tcg").args(["-vga", "std", "-bios", "bios-256k.bin", "-boot", "a"]);
    let vm = vm.start().expect("a machine");
    vm.expect_screen(r"Booting from Floppy\.\.\.\s+Boot failed: could not read the boot disk", PATIENCE)
        .expect("a try");
}
