//! Finding out whether there is a KVM, and leaving nothing of it.

use super::*;

fn options(device: &str) -> Options {
    Options::parse("kvm", Kvm.options(), &[("device".to_owned(), Some(device.to_owned()))]).unwrap()
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

#[test]
fn the_probe_is_quick_and_leaves_nothing() {
    if kvm().is_none() {
        return;
    }
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let request = Request::default();
    let before = open_files();
    // The best of some, by the clock or by the time of this thread: on a busy host, time goes by in which nothing of this happens.
    let (mut best, mut best_busy) = (Duration::MAX, Duration::MAX);
    for _ in 0..10 {
        let (started, busy) = (Instant::now(), thread_time());
        let probe = Kvm.probe(&request, &Options::default());
        assert!(matches!(probe, Probe::Ready(_)), "{probe:?}");
        best = best.min(started.elapsed());
        best_busy = best_busy.min(thread_time() - busy);
    }
    println!("the probe takes {best:?}, of which it is busy {best_busy:?}");
    assert!(best.min(best_busy) < Duration::from_millis(20));
    // Other tests of this process come and go.
    assert!(open_files() < before + 40);
    let many = Kvm.probe(&Request { cpus: 4096, ..Request::default() }, &Options::default());
    assert!(matches!(many, Probe::Unfit(reason) if reason.text.contains("4096 vCPUs")));
}

#[test]
fn each_kind_of_missing_kvm_has_its_reason() {
    let absent = |device: &str| match Kvm.probe(&Request::default(), &options(device)) {
        Probe::Absent(reason) => reason,
        other => panic!("{device}: {other:?}"),
    };
    let missing = absent("/nonexistent/kvm");
    assert_eq!(missing.text, "there is no /nonexistent/kvm");
    assert!(missing.hint.is_some());
    assert_eq!(absent("/dev/null").text, "/dev/null is not a KVM device");
    assert!(absent("/").text.starts_with("cannot open /"));
    let Err(OpenError::Unusable(reason)) = Kvm.open(&Request::default(), &options("/dev/null")) else {
        panic!("opened /dev/null")
    };
    assert_eq!(reason.text, "/dev/null is not a KVM device");
}

#[test]
fn an_unreadable_node_says_what_helps() {
    use std::os::unix::fs::PermissionsExt;
    let node = std::env::temp_dir().join(format!("gearbox-unreadable-{}", std::process::id()));
    std::fs::write(&node, "").unwrap();
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o000)).unwrap();
    let options = options(node.to_str().unwrap());
    // Nothing is unreadable to the superuser: this thread alone looks with the eyes of "nobody".
    let probe = std::thread::spawn(move || {
        // SAFETY: changes the identity of file accesses of this thread, and no memory.
        unsafe { libc::setfsuid(65534) };
        Kvm.probe(&Request::default(), &options)
    });
    let probe = probe.join().unwrap();
    std::fs::remove_file(&node).unwrap();
    let Probe::Absent(reason) = probe else { panic!("{probe:?}") };
    assert!(reason.text.starts_with("no permission to open"), "{reason}");
    assert!(reason.hint.unwrap().contains("group kvm"));
}

#[test]
fn starts_and_kills_leave_no_file() {
    let vm_files = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|f| std::fs::read_link(f.ok()?.path()).ok());
        links.filter(|l| l.to_string_lossy().contains("kvm-vcpu:7")).count()
    };
    for _ in 0..20 {
        let Some(g) = Guest::new(&[0xeb, 0xfe]) else { return };
        let mut config = g.config("qemu64", 0);
        (config.apic_id, config.bsp) = (7, false);
        let mut vcpu = g.vm.kvm_vcpu(&config).unwrap();
        vcpu.set_state(&X86State { activity: Activity::Active, ..real_mode(0x1000) }).unwrap();
        vcpu.handle().kick();
        assert_eq!(vcpu.run(&Bus::default(), Limit::default()), VcpuExit::Kicked);
        assert_eq!(vm_files(), 1);
        let handle = vcpu.handle();
        drop((vcpu, g));
        assert_eq!(vm_files(), 0);
        // A handle that outlives its vCPU is harmless.
        handle.kick();
    }
}
