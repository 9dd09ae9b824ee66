//! The embedded guest's source keeps the house rules. It is no package, so `cargo fmt` and `cargo clippy` pass it by.

use std::path::Path;
use std::process::{Command, Output};

/// Runs a tool of the tool chain in `cli/`; `None`, with a line that says so, if it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Option<Output> {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cli");
    let output = Command::new(tool).args(arguments).env("CARGO_PKG_VERSION", "0").current_dir(cli).output();
    if output.is_err() {
        println!("skipped: {tool} is not installed");
    }
    output.ok()
}

fn assert_silent(output: &Output) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).join("\n");
    assert!(output.status.success(), "{text}");
}

#[test]
fn source_is_formatted() {
    let arguments = ["--check", "--edition", "2024", "guest/src/main.rs"];
    run("rustfmt", &arguments).iter().for_each(assert_silent);
}

#[test]
fn source_is_free_of_lints() {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        println!("skipped: the guest's assembler is for x86-64");
        return;
    }
    let flags = include_str!("../../cli/guest/rustc.args").lines();
    let out = tempfile::tempdir().expect("a temporary directory");
    let metadata = format!("--out-dir={}", out.path().display());
    let arguments: Vec<&str> = flags.chain(["--emit=metadata", &metadata, "-Dwarnings"]).collect();
    run("clippy-driver", &arguments).iter().for_each(assert_silent);
}
