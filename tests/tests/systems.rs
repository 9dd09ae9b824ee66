//! Systems of Debian's beside its kernels, on the software CPU: a hypervisor with Linux on top, and the installer.

use gearbox_tests::linux::{Kernel, PROMPT, fetched, init, write_initrd};
use gearbox_tests::process::Process;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(500);

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn boot(memory: &str, kernel: &Path, modules: &str, command_line: &str) -> Process {
    let machine = ["-accel", "tcg", "-m", memory, "-nographic", "-no-reboot"];
    Process::gearbox(&[&machine[..], &["-kernel", utf8(kernel), "-initrd", modules, "-append", command_line]].concat())
}

mod long {
    use super::*;

    /// Xen is a multiboot kernel; its first guest, and that guest's initial RAM file system, are modules.
    #[test]
    fn linux_is_the_first_guest_of_xen() {
        // The cloud kernel is not made for it.
        let kernel = Kernel::Generic;
        let (Some(xen), Some(linux), Some(busybox)) = (fetched("xen"), kernel.image(), kernel.busybox()) else {
            return;
        };
        let directory = tempfile::tempdir().expect("a directory");
        let initrd = directory.path().join("initrd");
        write_initrd(&initrd, &busybox, &init("")).expect("an initrd");
        let modules = format!("{} console=hvc0 panic=-1,{}", utf8(&linux), utf8(&initrd));
        let mut p = boot("1024", &xen, &modules, "console=com1 com1=115200,8n1 dom0_mem=512M noreboot=no");
        p.expect("(XEN) Xen version", PATIENCE);
        p.expect(PROMPT, PATIENCE);
        p.send("cat /sys/hypervisor/type /sys/hypervisor/uuid | tr '\\n' ' '\n");
        p.expect("xen 00000000-0000-0000-0000-000000000000 ", PATIENCE);
        p.send("md5sum /bin/busybox && reboot -f\n");
        p.expect("  /bin/busybox\r", PATIENCE);
        p.expect("(XEN) Hardware Dom0 ", PATIENCE);
        assert_eq!(p.wait(PATIENCE).code(), Some(0), "{}", p.stderr());
        assert!(!p.stdout().contains("Call Trace"), "{}", p.stdout());
    }

    #[test]
    fn the_i386_installer_asks_for_a_language() {
        let (Some(linux), Some(initrd)) = (fetched("installer-i386"), fetched("installer-i386.gz")) else { return };
        let mut p = boot("512", &linux, utf8(&initrd), "console=ttyS0 TERM=linux no_timer_check");
        p.expect("Select a language", PATIENCE);
        p.expect("English", PATIENCE);
    }
}
