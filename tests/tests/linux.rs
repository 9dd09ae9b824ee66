//! Debian's kernels with busybox on the software CPU, as a user runs them.

use gearbox_tests::linux::{Kernel, PROMPT, Shell, busybox, init, kernel, on_tcg, write_initrd};
use gearbox_tests::process::Process;
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(200);
const SHORT: Duration = Duration::from_secs(120);

/// Boots to a shell prompt; `None` where the guest's parts are missing.
fn boot(dir: &std::path::Path) -> Option<Process> {
    let (kernel, busybox) = (kernel()?, busybox()?);
    let initrd = dir.join("initrd");
    write_initrd(&initrd, &busybox, &init("")).expect("an initrd");
    let mut p = Process::gearbox(&on_tcg(&kernel, &initrd));
    p.expect(PROMPT, BOOT);
    Some(p)
}

#[test]
fn boots_to_a_shell_that_computes_and_powers_off() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut p) = boot(dir.path()) else { return };
    p.send("uname -a\n");
    p.expect("uname -a", SHORT);
    assert!(p.expect(PROMPT, SHORT).contains("x86_64 GNU/Linux"));

    p.send("dd if=/dev/zero bs=1M count=64 2>/dev/null | md5sum\n");
    p.expect("7f614da9329cd3aebf59b91aadc30bf0", SHORT);
    p.expect(PROMPT, SHORT);

    // 4 KiB pasted at once: every keystroke arrives, in order. The terminal's line limit is 4095, so it goes in lines.
    let line: String = ('a'..='z').chain('0'..='9').cycle().take(63).collect();
    let paste: String = (0..64).map(|_| format!("{line}\n")).collect();
    assert_eq!(paste.len(), 4096);
    p.send("cat > /tmp/paste\n");
    p.send(&paste);
    p.send("\x04");
    p.send("wc -c < /tmp/paste; sort -u /tmp/paste | wc -l\n");
    p.expect("4096\r\n1\r\n", SHORT);
    p.expect(PROMPT, SHORT);

    p.send("poweroff -f\n");
    assert_eq!(p.wait(SHORT).code(), Some(0), "{}", p.stderr());
}

#[test]
fn reboot_ends_it_cleanly_under_no_reboot() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut p) = boot(dir.path()) else { return };
    p.send("reboot -f\n");
    assert_eq!(p.wait(SHORT).code(), Some(0), "{}", p.stderr());
}

/// Boots, computes, forks, and finds nothing in the log that should not be there.
fn works(kernel: Kernel) {
    let Some(mut guest) = Shell::boot(kernel, &[]) else { return };
    assert_eq!(guest.run("uname -m").trim(), kernel.machine());
    assert!(
        guest
            .run("dd if=/dev/zero bs=1M count=16 2>/dev/null | md5sum")
            .starts_with("2c7ab85a893283e98c931e9511add182")
    );
    // Each is waited for: a child that ends later interrupts the shell's write(), which then loses a letter of its echo.
    assert_eq!(guest.run("n=0; while [ $n -lt 100 ]; do (:); n=$((n+1)); done; echo $n").trim(), "100");
    assert!(guest.run("cat /proc/cpuinfo").contains("QEMU Virtual CPU version 2.5+"));
    assert_eq!(guest.complaints(), [""; 0]);
    guest.power_off();
}

#[test]
fn the_i686_kernel_works() {
    works(Kernel::I686);
}

/// Each CPU model as the kernel sees it, with what the kernel makes use of: what its own code, its page tables and its checks need of the model is
/// executed.
#[test]
fn cpu_models_are_what_they_say() {
    const MODELS: [(&str, &str, &[&str]); 3] = [
        ("core2duo", "T7700", &["ssse3", "cx16"]),
        ("Haswell", "Haswell", &["avx2", "fma", "pcid", "invpcid", "tsc_deadline_timer", "xsaveopt"]),
        ("max", "", &["avx2", "pku", "ospke", "la57", "sha_ni", "gfni", "vaes", "xsaves", "umip"]),
    ];
    for (model, name, flags) in MODELS {
        let Some(mut guest) = Shell::boot(Kernel::Cloud, &["-cpu", model, "-m", "256"]) else { return };
        let cpuinfo = guest.run("cat /proc/cpuinfo");
        let field = |key: &str| {
            let line =
                cpuinfo.lines().find(|l| l.starts_with(key)).unwrap_or_else(|| panic!("{model}: no {key}: {cpuinfo}"));
            line.split_once(": ").map_or("", |(_, value)| value)
        };
        assert!(field("model name").contains(name), "{cpuinfo}");
        let there: Vec<_> = field("flags").split(' ').collect();
        flags.iter().for_each(|f| assert!(there.contains(f), "{model} without {f}: {there:?}"));
        assert_eq!(guest.complaints(), [""; 0], "{model}");
        guest.power_off();
    }
}

/// Minutes each.
mod long {
    use super::*;

    #[test]
    fn the_i686_pae_kernel_works() {
        works(Kernel::I686Pae);
    }

    #[test]
    fn the_generic_kernel_works() {
        works(Kernel::Generic);
    }

    #[test]
    fn the_cloud_kernel_works() {
        works(Kernel::Cloud);
    }

    /// A guest that waits takes less than 2 % of a host's core.
    #[test]
    fn an_idle_guest_leaves_the_host_alone() {
        const WATCHED: Duration = Duration::from_secs(20);
        let Some(mut guest) = Shell::boot(Kernel::Cloud, &["-smp", "2"]) else { return };
        // Until the kernel has done what it does after boot.
        std::thread::sleep(Duration::from_secs(10));
        let before = guest.process().computed();
        std::thread::sleep(WATCHED);
        let used = guest.process().computed() - before;
        assert!(used < WATCHED / 50, "{used:?} in {WATCHED:?}");
        println!("idle: {:.2} % of a core", 100.0 * used.as_secs_f64() / WATCHED.as_secs_f64());
        guest.power_off();
    }
}
