//! Virtio devices and Debian's drivers for them.

use gearbox::backend::block::{Aio, Format, ImageOptions, Node};
use gearbox::testing::Qmp;
use gearbox_tests::linux::{Kernel, Shell};
use gearbox_tests::media::{VIRTIO, VIRTIO_BLK};
use serde_json::json;
use std::io::{Read, Seek, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

fn boot(arguments: &[&str], drivers: &[&str]) -> Option<Shell> {
    Shell::boot_with(Kernel::Cloud, arguments, &[&VIRTIO, drivers].concat())
}
fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
/// The bytes that the guest is to read, and what `md5sum` says of them.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 512 * 7 + n % 509) as u8).collect()
}

#[test]
fn a_disk_and_random_numbers() {
    const MIB: usize = 1 << 20;
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("disk");
    std::fs::write(&image, pattern(4 * MIB)).expect("a disk");
    let ring = ImageOptions { format: Some(Format::Raw), aio: Aio::IoUring, ..ImageOptions::new(&image) };
    let ring = match Node::open("probe", "file", &ring) {
        Ok(_) => ",aio=io_uring,cache=none",
        Err(e) => {
            println!("skipped: aio=io_uring: {e}");
            ""
        }
    };
    for (flavour, host) in [("", ring), (",disable-modern=on", "")] {
        std::fs::write(&image, pattern(4 * MIB)).expect("a disk");
        let drive = format!("if=none,id=d,format=raw,file={}{host}", utf8(&image));
        let disk = format!("virtio-blk-pci,drive=d,serial=S0{flavour}");
        let rng = format!("virtio-rng-pci{flavour}");
        let arguments = ["-drive", &drive, "-device", &disk, "-device", &rng];
        let drivers = [VIRTIO_BLK, "drivers/char/hw_random/virtio-rng.ko"];
        let Some(mut guest) = boot(&arguments, &drivers) else { return };
        assert_eq!(guest.run("cat /sys/block/vda/size /sys/block/vda/serial").trim(), "8192\nS0");
        // The first MiB goes to the last, around the cache.
        guest.run("C='dd if=/dev/vda of=/dev/vda bs=64k count=16'");
        assert!(guest.run("$C seek=48 iflag=direct oflag=direct 2>&1").contains("16+0 records out"));
        guest.run("D='dd if=/dev/vda bs=1M count=1 iflag=direct'");
        let [first, old, new] = [0, 1, 3].map(|n| guest.run(&format!("$D skip={n} 2>/dev/null | md5sum")));
        assert!(first == new && first != old, "{first} {new} {old}");
        assert_eq!(guest.run("cat /sys/class/misc/hw_random/rng_current").trim(), "virtio_rng.0");
        assert_eq!(guest.run("dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c").trim(), "256");
        assert_eq!(guest.complaints(), [""; 0]);
        guest.power_off();
        let mut file = std::fs::File::open(&image).expect("the disk");
        let mut last = vec![0; MIB];
        file.seek(std::io::SeekFrom::Start(3 * MIB as u64)).expect("the last MiB");
        file.read_exact(&mut last).expect("the last MiB");
        assert!(last == pattern(MIB), "what the guest wrote is in the file");
    }
}

/// Direct boot numbers the buses, and opens the windows.
#[test]
fn a_disk_behind_bridges() {
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("disk");
    std::fs::write(&image, pattern(4 << 20)).expect("a disk");
    let drive = format!("if=none,id=d,format=raw,file={}", utf8(&image));
    let arguments = [
        "-device",
        "pci-bridge,id=b1,chassis_nr=1,addr=7",
        "-device",
        "pci-bridge,id=b2,chassis_nr=2,bus=b1,addr=5",
        "-drive",
        &drive,
        "-device",
        "virtio-blk-pci,drive=d,bus=b2,addr=3",
        "-device",
        "pci-serial,bus=b1,addr=2",
    ];
    let Some(mut guest) = boot(&arguments, &[VIRTIO_BLK]) else { return };
    let device = guest.run("readlink -f /sys/block/vda/device");
    assert_eq!(device.trim(), "/sys/devices/pci0000:00/0000:00:07.0/0000:01:05.0/0000:02:03.0/virtio0");
    let sum = guest.run("dd if=/dev/vda bs=1M iflag=direct 2>/dev/null | md5sum");
    let host = std::process::Command::new("md5sum").arg(&image).output().expect("md5sum").stdout;
    assert_eq!(sum.split(' ').next(), String::from_utf8_lossy(&host).split(' ').next());
    guest.run("dd if=/dev/zero of=/dev/vda bs=64k count=16 oflag=direct 2>/dev/null");
    assert_eq!(guest.complaints(), [""; 0]);
    guest.power_off();
    assert!(std::fs::read(&image).expect("the disk")[..1 << 20].iter().all(|&byte| byte == 0));
}

fn read_line(stream: &mut UnixStream) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while byte != [b'\n'] {
        stream.read_exact(&mut byte).expect("a byte in time");
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

#[test]
fn a_console_and_a_channel() {
    let directory = tempfile::tempdir().expect("a directory");
    let [console, channel] = ["console", "channel"].map(|name| directory.path().join(name));
    let [console_at, channel_at] = [&console, &channel].map(|path| UnixListener::bind(path).expect("a socket"));
    let chardev = |id: &str, path: &Path| format!("socket,id={id},path={}", utf8(path));
    let (one, two) = (chardev("c0", &console), chardev("c1", &channel));
    let arguments = [
        "-device",
        "virtio-serial-pci,id=vs,max_ports=4",
        "-chardev",
        &one,
        "-device",
        "virtconsole,chardev=c0",
        "-chardev",
        &two,
        "-device",
        "virtserialport,chardev=c1,name=org.test.echo,id=p1,bus=vs.0",
    ];
    let Some(mut guest) = boot(&arguments, &["drivers/char/virtio_console.ko"]) else { return };
    let accept = |listener: &UnixListener| {
        let stream = listener.accept().expect("gearbox connects").0;
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        stream
    };
    let (mut console, mut channel) = (accept(&console_at), accept(&channel_at));

    // A shell on the console.
    guest.run("(setsid sh -c 'exec sh < /dev/hvc0 > /dev/hvc0 2>&1' &)");
    console.write_all(b"echo $((6*7)) on $(tty)\n").expect("the console");
    while !read_line(&mut console).starts_with("42 on /dev/hvc0") {}

    // The channel under its name; what comes goes back, a megabyte of it.
    assert_eq!(guest.run("cat /sys/class/virtio-ports/vport*p1/name").trim(), "org.test.echo");
    guest.run("(cat <>/dev/vport0p1 >&0 &)");
    let data = pattern(1 << 20);
    let (sent, mut writer) = (data.clone(), channel.try_clone().expect("the socket"));
    let writing = std::thread::spawn(move || writer.write_all(&sent).expect("the channel"));
    let mut back = vec![0; data.len()];
    channel.read_exact(&mut back).expect("all of it comes back");
    writing.join().expect("no panic");
    assert!(back == data);
    assert_eq!(guest.complaints(), [""; 0]);
    guest.power_off();
}

#[test]
fn a_balloon_takes_memory_and_gives_it_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("qmp");
    let monitor = format!("unix:{},server=on,wait=off", utf8(&socket));
    let arguments = ["-device", "virtio-balloon-pci,id=b", "-qmp", &monitor];
    let Some(mut guest) = boot(&arguments, &["drivers/virtio/virtio_balloon.ko"]) else { return };
    let mut qmp = Qmp::new(UnixStream::connect(&socket).expect("a monitor"), PATIENCE).expect("a monitor");
    qmp.negotiate(&[]).expect("a monitor");
    let mut ask = |command: &str, arguments| qmp.execute(command, arguments).expect(command);
    let free = |guest: &mut Shell| -> u64 {
        let meminfo = guest.run("grep MemFree /proc/meminfo");
        meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    };
    let before = free(&mut guest);
    ask("qom-set", json!({"path": "/machine/peripheral/b", "property": "guest-stats-polling-interval", "value": 1}));
    for (target, taken) in [(384u64 << 20, true), (512 << 20, false)] {
        ask("balloon", json!({"value": target}));
        let end = std::time::Instant::now() + PATIENCE;
        while ask("query-balloon", json!({}))["actual"] != target {
            assert!(std::time::Instant::now() < end, "the guest does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(free(&mut guest) + (100 << 10) < before, taken);
    }
    // The guest tells once a second.
    let end = std::time::Instant::now() + PATIENCE;
    loop {
        let stats = ask("qom-get", json!({"path": "/machine/peripheral/b", "property": "guest-stats"}));
        if stats["stats"]["stat-total-memory"].as_u64().is_some_and(|n| n > 400 << 20 && n < 512 << 20) {
            break;
        }
        assert!(std::time::Instant::now() < end, "{stats}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(guest.run("md5sum < /bin/busybox | wc -c").trim(), "36");
    assert_eq!(guest.complaints(), [""; 0]);
    guest.power_off();
}
