//! The examples run, and the guide shows what they say.

use gearbox::testing::Program;
use std::path::{Path, PathBuf};

#[path = "../../cli/examples/boot_sector.rs"]
mod boot_sector;
#[path = "../../cli/examples/device_unit_test.rs"]
mod device_unit_test;
#[path = "../../cli/examples/own_accelerator.rs"]
mod own_accelerator;
#[path = "../../cli/examples/own_board.rs"]
mod own_board;
#[path = "../../cli/examples/own_device.rs"]
mod own_device;
#[allow(dead_code)] // Its `main` looks at the command line.
#[path = "../../cli/examples/qmp_client.rs"]
mod qmp_client;
#[path = "../../cli/examples/serial_expect.rs"]
mod serial_expect;

macro_rules! run {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() -> Result<(), Box<dyn std::error::Error>> {
            self::$name::main()
        }
    )*};
}

run! { boot_sector device_unit_test own_accelerator own_board own_device serial_expect }

#[test]
fn a_client_of_gearbox() -> Result<(), Box<dyn std::error::Error>> {
    self::qmp_client::talk(&Program::at(gearbox_tests::process::gearbox()))
}

#[test]
fn a_client_of_qemu() -> Result<(), Box<dyn std::error::Error>> {
    match Program::qemu() {
        Some(qemu) => self::qmp_client::talk(&qemu),
        None => {
            println!("skipped: no qemu-system-x86_64 (package qemu-system-x86)");
            Ok(())
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The lines of an example between two anchors, without those of other anchors and without common indentation.
fn excerpt(example: &str, anchor: &str) -> String {
    let text = read(&root().join("cli/examples").join(example).with_extension("rs"));
    let (start, end) = (format!("// ANCHOR: {anchor}"), format!("// ANCHOR_END: {anchor}"));
    let lines: Vec<_> = text
        .lines()
        .skip_while(|l| l.trim() != start)
        .skip(1)
        .take_while(|l| l.trim() != end)
        .filter(|l| !l.trim_start().starts_with("// ANCHOR"))
        .collect();
    assert!(!lines.is_empty(), "{example} has no anchor '{anchor}'");
    let indented = lines.iter().filter(|l| !l.is_empty()).map(|l| l.len() - l.trim_start().len()).min().unwrap_or(0);
    lines.iter().map(|l| format!("{}\n", l.get(indented..).unwrap_or_default())).collect()
}

/// Each piece of code in the guide stands after a line `<!-- EXAMPLE ANCHOR -->`, and is what the example has there. `UPDATE_GUIDE=1` makes it so.
#[test]
fn the_guide_shows_the_examples() {
    const FENCE: &str = "```rust\n";
    let path = root().join("docs/guide.md");
    let guide = read(&path);
    let mut pieces = guide.split("<!-- ");
    let mut right = pieces.next().unwrap_or_default().to_owned();
    let mut shown = 0;
    for piece in pieces {
        let (name, rest) = piece.split_once(" -->\n").expect("a comment names an example and an anchor");
        let (example, anchor) = name.split_once(' ').expect("an example and an anchor");
        let code = rest.strip_prefix(FENCE).expect("code follows");
        let (_, after) = code.split_once("```\n").expect("code ends");
        right += &format!("<!-- {name} -->\n{FENCE}{}```\n{after}", excerpt(example, anchor));
        shown += 1;
    }
    assert!(shown >= 7, "all seven examples are shown");
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        std::fs::write(&path, &right).expect("the guide can be written");
    } else {
        assert!(guide == right, "docs/guide.md does not show what the examples say; UPDATE_GUIDE=1 makes it so");
    }
}
