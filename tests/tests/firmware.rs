//! Firmware from packages: SeaBIOS to its boot menu on the software CPU, judged by what it shows.

use gearbox::testing::{ExpectError, Program, Vm};
use gearbox_core::backend::display::Picture;
use gearbox_core::backend::firmware::FirmwarePath;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const BIOS: &str = "bios-256k.bin";
/// What it says while it waits for a key, which is long enough here to look.
const MENU_KEY: &str = "Press ESC for boot menu";
const MENU: [&str; 6] = ["-bios", BIOS, "-vga", "std", "-boot", "menu=on,splash-time=30000"];

/// Says that it skips where SeaBIOS or its VGA BIOS is missing.
fn has_seabios() -> bool {
    let path = FirmwarePath::default();
    let missing = [BIOS, "vgabios-stdvga.bin"].into_iter().find(|name| path.find(name).is_none());
    if let Some(name) = missing {
        eprintln!("skipped: no {name} (package seabios)");
    }
    missing.is_none()
}

/// Reads a pixmap as `screendump` writes it.
fn read_ppm(path: &Path) -> Picture {
    let bytes = std::fs::read(path).expect("a picture");
    let mut parts = bytes.splitn(4, |&b| b == b'\n');
    let mut line = || std::str::from_utf8(parts.next().expect("a line")).expect("text").to_owned();
    assert_eq!(line(), "P6");
    let size: Vec<u32> = line().split(' ').map(|n| n.parse().expect("a number")).collect();
    assert_eq!(line(), "255");
    Picture { width: size[0], height: size[1], rgb: parts.next().expect("pixels").to_vec() }
}

#[test]
fn seabios_offers_what_it_can_boot_from() {
    if !has_seabios() {
        return;
    }
    let mut vm = Vm::pc().accel("tcg").args(MENU).start().expect("a machine");
    let version = vm.expect_screen(r"SeaBIOS \(version (\S+)\)", PATIENCE).expect("its name");
    println!("SeaBIOS {}", &version[1]);
    vm.expect_screen(MENU_KEY, PATIENCE).expect("the question");
    vm.send_keys(&["esc"]).expect("a key");
    vm.expect_screen(r"Select boot device:", PATIENCE).expect("the menu");
    // Nothing is there to select. It goes on without a choice, but takes this key for a mistake until the menu has been there for 1.5 s.
    let end = Instant::now() + PATIENCE;
    loop {
        vm.send_keys(&["esc"]).expect("a key");
        match vm.expect_screen(r"No bootable device\.", Duration::from_secs(1)) {
            Err(ExpectError::Late { .. }) if Instant::now() < end => {}
            found => break drop(found.expect("the end")),
        }
    }
}

#[test]
fn items_of_the_user_reach_seabios() {
    if !has_seabios() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // A ROM that says a word by the BIOS and returns: its checksum makes the bytes add up to nothing.
    let mut rom = vec![0; 512];
    let code = [0x55, 0xaa, 1, 0xb8, b'!', 0x0e, 0xbb, 7, 0, 0xcd, 0x10, 0xcd, 0x10, 0xcd, 0x10, 0xcb];
    rom[..code.len()].copy_from_slice(&code);
    rom[511] = rom.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
    let file = directory.path().join("three.rom");
    std::fs::write(&file, rom).expect("a file");
    let rom = file.to_str().expect("a path in UTF-8");
    let vm = Vm::pc().accel("tcg").args(MENU[..4].to_vec()).args(["-option-rom", rom]).start().expect("a machine");
    vm.expect_screen("!!!", PATIENCE).expect("what the ROM says");
}

/// The same screen, pixel by pixel, but for where QEMU's cursor may be in the dark half of its blinking.
#[test]
fn the_picture_is_that_of_qemu() {
    if !has_seabios() {
        return;
    }
    let Some(qemu) = Program::qemu() else {
        eprintln!("skipped: no qemu-system-x86_64 (package qemu-system-x86)");
        return;
    };
    let vm = Vm::pc().accel("tcg").args(MENU).start().expect("a machine");
    vm.expect_screen(MENU_KEY, PATIENCE).expect("the question");
    let ours = vm.picture().expect("a picture");
    let (column, line) = vm.text_screen().and_then(|t| t.cursor).expect("a cursor");

    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("screen.ppm");
    let arguments = ["-nodefaults", "-net", "none"].into_iter().chain(MENU);
    let mut peer = qemu.with_cpus().start(arguments.chain(["-accel", "tcg"])).expect("QEMU");
    let end = Instant::now() + PATIENCE;
    let differences = loop {
        peer.qmp().execute("screendump", json!({ "filename": file })).expect("a picture");
        let theirs = read_ppm(&file);
        let under_cursor = |x: u32, y: u32| x / 9 == column && y / 16 == line;
        let same_size = (ours.width, ours.height) == (theirs.width, theirs.height);
        let all = (0..ours.height).flat_map(|y| (0..ours.width).map(move |x| (x, y)));
        let differ = |&(x, y): &(u32, u32)| !under_cursor(x, y) && ours.pixel(x, y) != theirs.pixel(x, y);
        let count = if same_size { all.filter(differ).count() } else { usize::MAX };
        if count == 0 || Instant::now() > end {
            break count;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(differences, 0, "pixels differ from QEMU's");
}
