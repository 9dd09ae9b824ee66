//! The house rules that a compiler does not hold.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Packages of this workspace that `folder` depends on, by the sections of its manifest that count when it is built into a program.
fn dependencies(folder: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
    let mut counts = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            counts = line.ends_with("dependencies]") && !line.contains("dev-dependencies");
        } else if counts && line.starts_with("gearbox") {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            found.push(line[..end].to_owned());
        }
    }
    found
}

#[test]
fn accelerators_and_machines_know_core_only() {
    for folder in ["accel-kvm", "accel-tcg", "accel-qtest", "machines"] {
        assert_eq!(dependencies(folder), ["gearbox-core"], "{folder}");
    }
    assert_eq!(dependencies("core"), [""; 0]);
}

#[test]
fn devices_do_not_know_boards() {
    let mut dirs = vec![root().join("machines/src/devices")];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("a source file");
                assert!(!text.contains("crate::boards"), "{} uses a board", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 10);
}

#[test]
fn every_accelerator_is_linked_in() {
    use gearbox_accel_kvm as _;
    use gearbox_accel_qtest as _;
    use gearbox_accel_tcg as _;
    let mut names: Vec<_> = gearbox_core::accel::registered().iter().map(|a| a.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["kvm", "qtest", "tcg"]);
}
