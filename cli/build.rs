//! Compiles the embedded guest (`guest/`) with the same `rustc`, and leaves `guest.elf` in `OUT_DIR`, or the reason why
//! there is none in the environment variable `GEARBOX_GUEST_ABSENT`, for `src/guest.rs`.

use std::env;
use std::path::Path;
use std::process::{Command, exit};

/// What the guest is compiled for.
enum Target {
    /// The build host's own target: its `core` and its linker do for a freestanding program as well.
    Host(String),
    /// `x86_64-unknown-none`, on hosts of another kind that have it installed.
    Bare,
}

const BARE: &str = "x86_64-unknown-none";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(guest_embedded)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=guest");
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    match target(&rustc) {
        Some(target) => {
            compile(&rustc, &target);
            println!("cargo::rustc-cfg=guest_embedded");
        }
        None => println!(
            "cargo::rustc-env=GEARBOX_GUEST_ABSENT=this host's compiler cannot build it \
             (on another system than x86-64 Linux it needs `rustup target add {BARE}`)"
        ),
    }
}

/// The target to compile for, if there is one here.
fn target(rustc: &str) -> Option<Target> {
    let host = env::var("HOST").unwrap_or_default();
    if host.starts_with("x86_64-") && host.contains("-linux-") {
        return Some(Target::Host(host));
    }
    let library = Command::new(rustc).args(["--print=target-libdir", "--target", BARE]).output().ok()?;
    let library = String::from_utf8(library.stdout).ok()?;
    Path::new(library.trim()).is_dir().then_some(Target::Bare)
}

/// Compiles and links the guest. A failure is a mistake in the guest or in the tool chain, and ends the build.
fn compile(rustc: &str, target: &Target) {
    let out = Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("guest.elf");
    // `core` refers to a personality for unwinding, which a program that aborts never calls.
    let for_linker = ["-Tguest/guest.ld", "--build-id=none", "--defsym=rust_eh_personality=0"];
    let mut command = Command::new(rustc);
    command.arg("@guest/rustc.args").arg("-o").arg(out);
    match target {
        Target::Host(host) => {
            command.args(["--target", host]);
            if host.ends_with("musl") {
                // Without its own start files.
                command.arg("-Clink-self-contained=no");
            }
            if let Some(linker) = env::var_os("RUSTC_LINKER") {
                command.arg("-Clinker").arg(linker);
            }
            let driver = ["-nostartfiles", "-nostdlib", "-static", "-no-pie"].map(String::from);
            let passed_on = for_linker.map(|argument| format!("-Wl,{argument}"));
            command.args(driver.iter().chain(&passed_on).map(|argument| format!("-Clink-arg={argument}")));
        }
        Target::Bare => {
            command.args(["--target", BARE]).args(for_linker.map(|argument| format!("-Clink-arg={argument}")));
        }
    }
    match command.status() {
        Ok(status) if status.success() => (),
        Ok(status) => {
            println!("cargo::error=the embedded guest does not compile ({status}): {command:?}");
            exit(1);
        }
        Err(error) => {
            println!("cargo::error=cannot run {rustc} for the embedded guest: {error}");
            exit(1);
        }
    }
}
