//! The prompt of GRUB: what is typed on the keyboard is on the screen, pixel by pixel.

use super::*;
use gearbox_core::backend::display::Picture;
use gearbox_tests::media::grub_cd;
use serde_json::json;

/// The picture that is expected. With `GEARBOX_PICTURES=write` the test makes it anew.
const STORED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/grub-prompt.png");

/// A picture in a PNG file with three bytes for a pixel.
fn read_png(path: &Path) -> Picture {
    let file = std::io::BufReader::new(std::fs::File::open(path).expect("a picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG file");
    let (width, height) = reader.info().size();
    assert_eq!(reader.output_color_type(), (png::ColorType::Rgb, png::BitDepth::Eight));
    let mut picture = Picture::new(width, height);
    reader.next_frame(&mut picture.rgb).expect("its pixels");
    picture
}

/// Presses keys, by their names in QMP, one after the other; those with `shift-` before them together with it.
fn press(vm: &mut Vm, keys: &[&str]) {
    for key in keys {
        let keys: Vec<_> = key.split('-').collect();
        vm.send_keys(&keys).expect("a key");
    }
}

#[test]
fn what_is_typed_is_on_the_screen() {
    let directory = tempfile::tempdir().expect("a directory");
    let cd = grub_cd(directory.path(), &Contents { files: Vec::new(), config: "" });
    let Some(cd) = cd.filter(|_| has_seabios()) else { return };
    let arguments = ["-bios", "bios-256k.bin", "-vga", "std", "-cdrom", text(&cd)];
    let mut vm = Vm::pc().accel("tcg").args(arguments).start().expect("a machine");
    vm.expect_screen("grub>", PATIENCE).expect("a prompt");
    // Nothing is left that tells GRUB's version.
    press(&mut vm, &["c", "l", "e", "a", "r", "ret"]);
    vm.expect_screen(r"^\s*grub>\s*$", PATIENCE).expect("a clear screen");
    press(&mut vm, &["e", "c", "h", "o", "spc", "shift-h", "e", "l", "l", "o", "minus"]);
    // Keys of send-key are held down for a while, one after the other; events come at once.
    vm.expect_screen("echo Hello-", PATIENCE).expect("what was typed");
    for key in ["4", "2", "ret"] {
        let event = |down| json!({ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": key } } });
        vm.qmp("input-send-event", json!({ "events": [event(true), event(false)] })).expect("an event");
    }
    vm.expect_screen(r"^\s*grub> echo Hello-42\s+Hello-42\s+grub>\s*$", PATIENCE).expect("what was typed");

    let dump = directory.path().join("screen.png");
    vm.qmp("screendump", json!({ "filename": dump, "format": "png" })).expect("a picture");
    if std::env::var("GEARBOX_PICTURES").is_ok_and(|v| v == "write") {
        std::fs::copy(&dump, STORED).expect("a file");
    }
    let (shown, stored) = (read_png(&dump), read_png(Path::new(STORED)));
    assert_eq!((shown.width, shown.height), (stored.width, stored.height));
    let all = (0..shown.height).flat_map(|y| (0..shown.width).map(move |x| (x, y)));
    let different: Vec<_> = all.filter(|&(x, y)| shown.pixel(x, y) != stored.pixel(x, y)).collect();
    assert!(different.is_empty(), "{} pixels differ from {STORED}, the first at {:?}", different.len(), different[0]);
}
