//! QEMU's options that Gearbox does not have yet: they are refused by name, so that nobody believes that they did something.

/// What such an option would need.
struct Missing {
    /// Why, and what to do instead.
    hint: &'static str,
    /// Options with a value.
    with_value: &'static str,
    /// Options without one.
    flags: &'static str,
}

static MISSING: &[Missing] = &[
    Missing { hint: "there is no such drive", with_value: "mtdblock sd iscsi", flags: "" },
    Missing { hint: "there are no file systems of the host", with_value: "fsdev virtfs", flags: "" },
    Missing { hint: "there is no network", with_value: "netdev", flags: "" },
    Missing { hint: "there is no USB", with_value: "usbdevice", flags: "usb" },
    Missing { hint: "there is no sound", with_value: "audio audiodev soundhw", flags: "audio-help" },
    Missing {
        hint: "there is no display; use -nographic",
        with_value: "spice rotate vnc k g",
        flags: "portrait full-screen alt-grab ctrl-grab no-quit sdl win2k-hack",
    },
    Missing { hint: "there is no debug stub", with_value: "gdb", flags: "s" },
    Missing { hint: "the machine always has ACPI", with_value: "", flags: "no-acpi" },
    Missing {
        hint: "memory is what -object memory-backend-ram or memory-backend-file makes it",
        with_value: "mem-path overcommit",
        flags: "mem-prealloc",
    },
    Missing {
        hint: "there are no snapshots and no migration",
        with_value: "loadvm incoming dump-vmstate",
        flags: "only-migratable",
    },
    Missing {
        hint: "the process stays in the foreground",
        with_value: "pidfile chroot runas sandbox",
        flags: "daemonize async-teardown",
    },
    Missing {
        hint: "put all options on the command line",
        with_value: "writeconfig add-fd compat",
        flags: "nodefconfig",
    },
    Missing { hint: "use -d and -D", with_value: "trace dfilter plugin msg", flags: "singlestep enable-sync-profile" },
    Missing { hint: "the escape key is Ctrl-A", with_value: "echr", flags: "" },
    Missing { hint: "there is no such device", with_value: "tpmdev watchdog", flags: "" },
    Missing { hint: "there is no Xen accelerator", with_value: "xen-domid", flags: "xen-attach xen-domid-restrict" },
    Missing { hint: "nothing here is random by a seed", with_value: "seed", flags: "" },
    Missing { hint: "use -accel", with_value: "", flags: "enable-hax no-kvm" },
];

/// Looks an option up: what to do instead, and whether a value follows it.
pub fn find(name: &str) -> Option<(&'static str, bool)> {
    let among = |list: &str| list.split_whitespace().any(|n| n == name);
    MISSING.iter().find_map(|m| match (among(m.with_value), among(m.flags)) {
        (true, _) => Some((m.hint, true)),
        (_, true) => Some((m.hint, false)),
        _ => None,
    })
}
