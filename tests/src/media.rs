//! Disks and CDs that boot, made of Debian's packages without root: boot loaders with a kernel and its initial RAM file system.

use crate::linux::Kernel;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a guest boots: its files by their paths on the medium, and the loader's configuration.
pub struct Contents<'a> {
    /// Paths on the medium, and the files of the host.
    pub files: Vec<(&'a str, PathBuf)>,
    /// The configuration.
    pub config: &'a str,
}

/// GRUB's configuration for the kernel and initial RAM file system of [`linux_files`].
pub const GRUB_CONFIG: &str = "set timeout=0\nmenuentry linux {\n linux /boot/vmlinuz console=ttyS0 panic=-1 no_timer_check\n initrd /boot/initrd\n}\n";

/// Where Debian's packages have their parts.
const GRUB: &str = "/usr/lib/grub/i386-pc";
const ISOLINUX: [&str; 2] = ["/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32"];

/// Says that it skips where one of these, each with its package, is missing.
fn has(needed: &[(&str, &str)]) -> bool {
    let directories = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/"];
    let missing = needed.iter().find(|(name, _)| !directories.iter().any(|d| Path::new(d).join(name).exists()));
    if let Some((name, package)) = missing {
        eprintln!("skipped: no {name} (package {package})");
    }
    missing.is_none()
}

/// Runs a program of a package.
///
/// # Panics
/// It fails; with what it said.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let output = output.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

impl Contents<'_> {
    /// Lays them out below a new directory, the configuration at `config`.
    fn lay_out(&self, root: &Path, config: &str) -> io::Result<()> {
        let place = |path: &str| -> io::Result<PathBuf> {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            Ok(path)
        };
        for (path, file) in &self.files {
            fs::copy(file, place(path)?)?;
        }
        fs::write(place(config)?, self.config)
    }
}

/// A CD that boots by GRUB (El Torito without emulation), as `grub-mkrescue` makes it.
///
/// # Panics
/// It cannot be made of what is there.
pub fn grub_cd(directory: &Path, contents: &Contents<'_>) -> Option<PathBuf> {
    let needed = [("grub-mkrescue", "grub-common"), ("xorriso", "xorriso"), ("mformat", "mtools")];
    if !has(&needed) || !has(&[(&format!("{GRUB}/cdboot.img"), "grub-pc-bin")]) {
        return None;
    }
    let (root, image) = (directory.join("grub-cd"), directory.join("grub.iso"));
    contents.lay_out(&root, "boot/grub/grub.cfg").expect("files");
    run("grub-mkrescue", &["-d", GRUB, "-o", text(&image), text(&root)]);
    Some(image)
}

/// A CD that boots by ISOLINUX.
///
/// # Panics
/// It cannot be made of what is there.
pub fn isolinux_cd(directory: &Path, contents: &Contents<'_>) -> Option<PathBuf> {
    let [loader, library] = ISOLINUX;
    if !has(&[("xorriso", "xorriso"), (loader, "isolinux"), (library, "syslinux-common")]) {
        return None;
    }
    let (root, image) = (directory.join("isolinux-cd"), directory.join("isolinux.iso"));
    contents.lay_out(&root, "isolinux/isolinux.cfg").expect("files");
    fs::copy(loader, root.join("isolinux/isolinux.bin")).expect("the loader");
    fs::copy(library, root.join("isolinux/ldlinux.c32")).expect("its library");
    let boots = ["-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot"];
    let table = ["-boot-load-size", "4", "-boot-info-table"];
    let arguments = [&["-as", "mkisofs", "-quiet", "-o", text(&image)], &boots[..], &table, &[text(&root)]].concat();
    run("xorriso", &arguments);
    Some(image)
}

/// Where the partition of a disk begins, in [`crate::linux::bookworm`] too, and how large it is, in bytes.
const PARTITION: (u64, u64) = (1 << 20, 63 << 20);

/// A disk with a master boot record, GRUB, and a file system with a journal in its only partition.
///
/// # Panics
/// It cannot be made of what is there.
pub fn grub_disk(directory: &Path, contents: &Contents<'_>) -> Option<PathBuf> {
    let boot = format!("{GRUB}/boot.img");
    if !has(&[("grub-mkimage", "grub-common"), ("mkfs.ext4", "e2fsprogs"), (&boot, "grub-pc-bin")]) {
        return None;
    }
    let (root, core) = (directory.join("grub-disk"), directory.join("core.img"));
    contents.lay_out(&root, "boot/grub/grub.cfg").expect("files");
    let modules = root.join("boot/grub/i386-pc");
    fs::create_dir_all(&modules).expect("a directory");
    for file in fs::read_dir(GRUB).expect("GRUB").flatten() {
        if file.path().extension().is_some_and(|e| e == "mod" || e == "lst") {
            fs::copy(file.path(), modules.join(file.file_name())).expect("a module");
        }
    }
    let prefix = "(hd0,msdos1)/boot/grub";
    run(
        "grub-mkimage",
        &["-O", "i386-pc", "-d", GRUB, "-p", prefix, "-o", text(&core), "biosdisk", "part_msdos", "ext2"],
    );
    let image = directory.join("disk.img");
    write_disk(&image, &fs::read(boot).expect("a boot sector"), &fs::read(core).expect("GRUB")).expect("a disk");
    // The file system goes where the partition is.
    let (start, size) = PARTITION;
    let (offset, blocks) = (format!("offset={start}"), format!("{}k", size >> 10));
    run("mkfs.ext4", &["-q", "-F", "-E", &offset, "-d", text(&root), text(&image), &blocks]);
    Some(image)
}

/// A copy of the partition of a raw or qcow2 disk of [`grub_disk`] or [`crate::linux::bookworm`], which a killed process may have had; says that it skips
/// where there is no `qemu-img`.
///
/// # Panics
/// The image is damaged.
pub fn partition(disk: &Path) -> Option<PathBuf> {
    if !has(&[("qemu-img", "qemu-utils")]) {
        return None;
    }
    let qcow2 = disk.extension().is_some_and(|e| e == "qcow2");
    if qcow2 {
        let checked = Command::new("qemu-img").args(["check", text(disk)]).output().expect("qemu-img");
        // 3: clusters that nobody uses, which cost space and nothing else.
        assert!(matches!(checked.status.code(), Some(0 | 3)), "{checked:?}");
    }
    let file = if qcow2 { "file.driver=qcow2,file.file.filename" } else { "file.driver=file,file.filename" };
    let source = format!("driver=raw,offset={},{file}={}", PARTITION.0, text(disk));
    let copy = disk.with_extension("partition");
    run("qemu-img", &["convert", "-O", "raw", "--image-opts", &source, text(&copy)]);
    Some(copy)
}

/// Wants `fsck` to find nothing wrong in a file system, once its journal has been replayed, for which e2fsck wants the partition alone.
///
/// # Panics
/// It does.
pub fn check_file_system(partition: &Path) {
    /// Nothing was wrong; or what was has been put right, such as a file that was open when it was removed.
    const REPAIRED: [i32; 2] = [0, 1];
    for (how, fine) in [(&["-p"][..], &REPAIRED[..]), (&["-f", "-n"], &REPAIRED[..1])] {
        let output = Command::new("/usr/sbin/e2fsck").args(how).arg(partition).output().expect("e2fsck");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code().is_some_and(|code| fine.contains(&code)), "{how:?}: {said}");
    }
}

/// A new qcow2 image over one that stays as it is; says that it skips where there is no `qemu-img`.
///
/// # Panics
/// It cannot be made.
pub fn overlay(directory: &Path, base: &Path) -> Option<PathBuf> {
    has(&[("qemu-img", "qemu-utils")]).then(|| {
        let image = directory.join("overlay.qcow2");
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", text(base), text(&image)]);
        image
    })
}

/// Writes the boot sector with a table of one active partition, and GRUB's core into the gap behind it, where the boot sector looks for it.
fn write_disk(image: &Path, boot: &[u8], core: &[u8]) -> io::Result<()> {
    const SECTOR: u64 = 512;
    /// What a boot sector has room for before the table of partitions.
    const CODE: usize = 440;
    const TABLE: u64 = 446;
    let mut file = fs::File::create(image)?;
    let (start, size) = PARTITION;
    file.set_len(start + size)?;
    file.write_all(&boot[..CODE])?;
    let sectors = [start, size].map(|bytes| ((bytes / SECTOR) as u32).to_le_bytes());
    // Active; the type is Linux; addresses by cylinder, head and sector are not used.
    let entry = [&[0x80, 0, 0, 0, 0x83, 0, 0, 0][..], &sectors.concat()].concat();
    file.write_all_at(&entry, TABLE)?;
    file.write_all_at(&[0x55, 0xaa], SECTOR - 2)?;
    file.write_all_at(core, SECTOR)
}

/// Modules of Debian's cloud kernel for the PIIX3's disks and CDs, in the order in which they need each other.
pub const IDE: [&str; 8] = [
    "drivers/scsi/scsi_common.ko",
    "drivers/scsi/scsi_mod.ko",
    "drivers/ata/libata.ko",
    "drivers/ata/ata_piix.ko",
    "drivers/scsi/sd_mod.ko",
    "drivers/cdrom/cdrom.ko",
    "drivers/scsi/sr_mod.ko",
    "fs/isofs/isofs.ko",
];
/// The same for virtio devices, which each need one more.
pub const VIRTIO: [&str; 5] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
];
/// That of virtio-blk.
pub const VIRTIO_BLK: &str = "drivers/block/virtio_blk.ko";

/// Debian's cloud kernel with an initial RAM file system that loads drivers, runs `commands` and leaves a shell; says that it skips where one of its parts is
/// missing.
///
/// # Panics
/// It cannot be written.
pub fn linux_with(directory: &Path, drivers: &[&str], commands: &str) -> Option<(PathBuf, PathBuf)> {
    Kernel::Cloud.with_modules(directory, drivers, commands)
}

/// The same with drivers for IDE.
///
/// # Panics
/// As there.
pub fn linux_with_ide(directory: &Path, commands: &str) -> Option<(PathBuf, PathBuf)> {
    linux_with(directory, &IDE, commands)
}

/// [`linux_with_ide`], to a shell, as files of a medium.
///
/// # Panics
/// As there.
pub fn linux_files(directory: &Path) -> Option<Vec<(&'static str, PathBuf)>> {
    let (kernel, initrd) = linux_with_ide(directory, "")?;
    Some(vec![("boot/vmlinuz", kernel), ("boot/initrd", initrd)])
}

/// A disk from which GRUB boots that.
///
/// # Panics
/// It cannot be made of what is there.
pub fn linux_disk(directory: &Path) -> Option<PathBuf> {
    grub_disk(directory, &Contents { files: linux_files(directory)?, config: GRUB_CONFIG })
}
