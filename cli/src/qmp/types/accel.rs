//! Accelerators: QEMU's `query-kvm`, and more of the same.

use crate::qmp::qapi::{qapi_enum, qapi_struct};

qapi_struct! {
    /// `query-kvm`.
    struct KvmInfo {
        /// KVM runs the machine.
        enabled: bool,
        /// It could.
        present: bool,
    }

    /// `query-replay`.
    struct ReplayInfo {
        /// Whether what happens is recorded, or replayed.
        mode: ReplayMode,
        /// Instructions that all CPUs have executed; 0 where they are not counted.
        icount: i64,
    }

    /// An accelerator, in `query-accelerators`.
    struct AcceleratorInfo {
        /// Its name, as in `-accel`.
        name: String,
        /// For people.
        description: String,
        /// It runs the machine.
        selected: bool,
        /// Whether it works here.
        state: AcceleratorState,
        /// The order in which accelerators are tried without a choice, the highest first; those without one are only taken when chosen.
        priority: Option<i64>,
        /// Why it does not work, or was not taken.
        reason: Option<String>,
        /// What to do about it.
        hint: Option<String>,
    }
}

qapi_enum! {
    /// Whether what happens is recorded, or replayed.
    enum ReplayMode {
        /// Neither.
        None = "none",
        /// Recorded.
        Record = "record",
        /// Replayed.
        Play = "play",
    }

    /// Whether an accelerator works here.
    enum AcceleratorState {
        /// It works.
        Ready = "ready",
        /// The host does not have it.
        Absent = "absent",
        /// The host has it, and it cannot be used.
        Unfit = "unfit",
    }
}
