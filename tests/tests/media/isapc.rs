//! The board without PCI: its own SeaBIOS, disks behind ISA cards, a 486.

use super::*;
use gearbox::testing::VmBuilder;
use gearbox_core::machine::machine_types;
use gearbox_tests::media::grub_disk;

/// The machine with a display.
fn isapc() -> VmBuilder {
    let machine = machine_types().iter().find(|m| m.name() == "isapc").expect("the machine");
    Vm::of(*machine).accel("tcg").args(["-vga", "std", "-bios", "bios.bin"])
}

/// From the master boot record of a disk that only the CPU moves data from, to what GRUB's configuration says.
#[test]
fn grub_starts_from_a_disk_without_dma() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = "echo ISA at work\nsleep 1000\n";
    let disk = grub_disk(directory.path(), &Contents { files: Vec::new(), config });
    let Some(disk) = disk.filter(|_| has_seabios()) else { return };
    let mut vm = isapc().args(["-hda", text(&disk)]).start().expect("a machine");
    vm.expect_screen("ISA at work", BOOT).expect("what GRUB says");
    // SeaBIOS writes to its own image, which is as new after a reset.
    vm.qmp("system_reset", serde_json::json!({})).expect("a reset");
    vm.expect_screen("SeaBIOS", PATIENCE).expect("its name");
    vm.expect_screen("ISA at work", BOOT).expect("what GRUB says again");
}

/// From a floppy by the 8257, and from a CD by packets.
#[test]
fn seabios_tries_what_is_there() {
    if !has_seabios() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let cd = directory.path().join("empty.iso");
    std::fs::write(&cd, [0; 1 << 16]).expect("a file");
    let vm = isapc().args(["-boot", "order=ad", "-cdrom", text(&cd)]).start().expect("a machine");
    vm.expect_screen(r"Booting from Floppy\.\.\.\s+Boot failed: could not read the boot disk", PATIENCE)
        .expect("a try");
    vm.expect_screen(r"Booting from DVD/CD\.\.\.\s+Boot failed", PATIENCE).expect("another one");
}
