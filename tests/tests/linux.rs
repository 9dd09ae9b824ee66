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
    assert_eq!(guest.run("n=0; while [ $n -lt 100 ]; do (: &) ; n=$((n+1)); done; echo $n").trim(), "100");
    assert!(guest.run("cat /proc/cpuinfo").contains("QEMU Virtual CPU version 2.5+"));
    assert_eq!(guest.complaints(), [""; 0]);
    guest.power_off();
}

#[test]
fn the_i686_kernel_works() {
    works(Kernel::I686);
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
}
