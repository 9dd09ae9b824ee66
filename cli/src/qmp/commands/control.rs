//! The emulator itself, and its run state.

use crate::qmp::client::Capability;
use crate::qmp::command::{Command, commands};
use crate::qmp::introspect;
use crate::qmp::types::accel::{AcceleratorInfo, KvmInfo, ReplayInfo};
use crate::qmp::types::control::{
    AddfdInfo, CommandInfo, FdsetInfo, NameInfo, PanicAction, RebootAction, ShutdownAction, StatusInfo, UuidInfo,
    VersionInfo, WatchdogAction,
};
use crate::qmp::types::introspect::SchemaInfo;

/// See the module.
pub(super) static COMMANDS: &[Command] = commands! {
    /// Ends the negotiation, and enables capabilities.
    "qmp_capabilities"(enable: Option<Vec<Capability>>) [preconfig] =
        |call| call.client.negotiate(enable.as_deref().unwrap_or_default());
    /// Which version of the protocol is spoken, by whom.
    "query-version"() -> VersionInfo [preconfig] = |_| Ok(crate::qmp::version());
    /// The commands that there are.
    "query-commands"() -> Vec<CommandInfo> [preconfig] = |_| Ok(super::list());
    /// The schema: commands, events, and their types.
    "query-qmp-schema"() -> Vec<SchemaInfo> [preconfig] = |_| Ok(introspect::schema().to_vec());
    /// The machine's name.
    "query-name"() -> NameInfo [preconfig] = |call| Ok(call.control.name());
    /// The machine's UUID.
    "query-uuid"() -> UuidInfo [preconfig] = |call| Ok(call.control.uuid());
    /// What the machine is doing.
    "query-status"() -> StatusInfo [preconfig] = |call| Ok(call.control.status());
    /// Whether KVM runs the machine, or could.
    "query-kvm"() -> KvmInfo = |call| Ok(call.control.kvm());
    /// How many instructions have been executed, where they are counted.
    "query-replay"() -> ReplayInfo = |call| call.control.replay();
    /// Each accelerator: whether it works here, whether it runs the machine, and why not.
    "query-accelerators"() -> Vec<AcceleratorInfo> [preconfig] = |call| Ok(call.control.accelerators());
    /// Has the machine made, which `--preconfig` put off.
    "x-exit-preconfig"() [preconfig] = |call| call.control.exit_preconfig();
    /// Ends the emulator.
    "quit"() [preconfig] = |call| { call.control.quit(); Ok(()) };
    /// Stops the machine.
    "stop"() = |call| call.control.stop();
    /// Lets it run.
    "cont"() = |call| call.control.cont();
    /// Resets it.
    "system_reset"() = |call| call.control.system_reset();
    /// Presses its power button.
    "system_powerdown"() = |call| call.control.system_powerdown();
    /// Wakes it from sleep.
    "system_wakeup"() = |call| call.control.system_wakeup();
    /// Sends a non-maskable interrupt to its CPUs.
    "inject-nmi"() = |call| call.control.inject_nmi();
    /// Says what happens on a reset, a shutdown, a panic of the guest, and when a watchdog expires.
    "set-action"(
        reboot: Option<RebootAction>,
        shutdown: Option<ShutdownAction>,
        panic: Option<PanicAction>,
        watchdog: Option<WatchdogAction>,
    ) [preconfig] = |call| call.control.set_action(reboot, shutdown, panic, watchdog);
    /// Says what happens when a watchdog expires.
    "watchdog-set-action"(action: WatchdogAction) =
        |call| call.control.set_action(None, None, None, Some(action));
    /// Gives a name to the descriptor that comes with it.
    "getfd"(fdname: String) = |call| call.client.name_fd(fdname);
    /// Closes a descriptor by its name.
    "closefd"(fdname: String) = |call| call.client.take_named_fd(&fdname).map(drop);
    /// Adds the descriptor that comes with it to a set.
    "add-fd"(fdset_id = "fdset-id": Option<i64>, opaque: Option<String>) -> AddfdInfo =
        |call| call.control.fdsets().add(call.client.take_fd()?, fdset_id, opaque);
    /// Closes one descriptor of a set, or all.
    "remove-fd"(fdset_id = "fdset-id": i64, fd: Option<i64>) = |call| call.control.fdsets().remove(fdset_id, fd);
    /// The sets of descriptors.
    "query-fdsets"() -> Vec<FdsetInfo> = |call| Ok(call.control.fdsets().list());
};
