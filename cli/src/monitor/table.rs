//! The commands, with QEMU's names and arguments (QEMU, docs/system/monitor).

use super::command::{Command, command, help, run_info};
use super::grammar::Kind::{File, Flag, Format, Int, Long, Option, Rest, Word};
use super::grammar::{Source, arg};
use super::{blocks, chardevs, devices, display, logging, memory, objects, ports, qemu_io, run_state};

/// All of them but `info`'s topics.
#[rustfmt::skip]
pub(super) static COMMANDS: &[Command] = &[
    command(&["balloon"], &[arg("value", Int)], "target", "request VM to change its memory allocation (in MB)", memory::balloon),
    command(&["block_resize"], &[arg("device", Word).from(Source::Drive), arg("size", Word)], "device size", "resize a block image", blocks::resize),
    command(&["change"], &[arg("device", Word).from(Source::Drive), arg("force", Flag('f')), arg("target", File), arg("arg", Word).optional(), arg("read-only-mode", Word).optional()], "device [-f] filename [format [read-only-mode]]", "change a removable medium, optional format, -f forces", blocks::change),
    command(&["chardev-add"], &[arg("args", Word)], "args", "add chardev", chardevs::add),
    command(&["chardev-change"], &[arg("id", Word).from(Source::Chardev), arg("args", Word)], "id args", "change chardev", chardevs::change),
    command(&["chardev-remove"], &[arg("id", Word).from(Source::Chardev)], "id", "remove chardev", chardevs::remove),
    command(&["cont", "c"], &[], "", "resume emulation", run_state::cont),
    command(&["cpu"], &[arg("index", Int)], "index", "set the default CPU", run_state::cpu),
    command(&["device_add"], &[arg("device", Rest).from(Source::DeviceType)], "driver[,prop=value][,...]", "add device, like -device on the command line", devices::device_add),
    command(&["device_del"], &[arg("id", Word).from(Source::DeviceId)], "device", "remove device", devices::device_del),
    command(&["drive_add"], &[arg("pci_addr", Word), arg("opts", Word)], "[[domain:]bus:]slot [file=file][,if=type][,bus=n][,unit=m][,media=d][,index=i][,...]", "add drive for a device to come", blocks::add),
    command(&["drive_del"], &[arg("id", Word).from(Source::Drive)], "device", "remove host block device", blocks::del),
    command(&["eject"], &[arg("force", Flag('f')), arg("device", Word).from(Source::Drive)], "[-f] device", "eject a removable medium (use -f to force it)", blocks::eject),
    command(&["gva2gpa"], &[arg("addr", Long)], "addr", "print the guest physical address corresponding to a guest virtual address", memory::gva2gpa),
    command(&["help", "?"], &[arg("name", Rest).optional().from(Source::Command)], "[cmd]", "show the help", help),
    command(&["i"], &[arg("format", Format), arg("addr", Int)], "/fmt addr", "I/O port read", ports::read),
    command(&["info"], &[arg("topic", Rest).optional().from(Source::Topic)], "[subcommand]", "show various information about the system state", run_info),
    command(&["log"], &[arg("items", Word).from(Source::LogItem)], "item1[,...]", "activate logging of the specified items", logging::log),
    command(&["logfile"], &[arg("filename", File)], "filename", "output logs to 'filename'", logging::logfile),
    command(&["memsave"], &[arg("addr", Long), arg("size", Int), arg("file", File)], "addr size file", "save to disk virtual memory dump starting at 'addr' of size 'size'", memory::memsave),
    command(&["mouse_button"], &[arg("button_state", Int)], "state", "change mouse button state (1=L, 2=M, 4=R)", display::mouse_button),
    command(&["mouse_move"], &[arg("dx_str", Word), arg("dy_str", Word), arg("dz_str", Word).optional()], "dx dy [dz]", "send mouse move events", display::mouse_move),
    command(&["nmi"], &[], "", "inject an NMI", run_state::nmi),
    command(&["o"], &[arg("format", Format), arg("addr", Int), arg("value", Int)], "/fmt addr value", "I/O port write", ports::write),
    command(&["object_add"], &[arg("object", Rest).from(Source::ObjectType)], "[qom-type=]type,id=str[,prop=value][,...]", "create QOM object", objects::object_add),
    command(&["object_del"], &[arg("id", Word).from(Source::ObjectId)], "id", "destroy QOM object", objects::object_del),
    command(&["pmemsave"], &[arg("addr", Long), arg("size", Int), arg("file", File)], "addr size file", "save to disk physical memory dump starting at 'addr' of size 'size'", memory::pmemsave),
    command(&["print", "p"], &[arg("format", Format), arg("value", Long)], "/fmt expr", "print expression value (use $reg for CPU register access)", memory::print),
    command(&["qom-get"], &[arg("path", Word).from(Source::ObjectPath), arg("property", Word).from(Source::Property)], "path property", "print QOM property", objects::qom_get),
    command(&["qom-list"], &[arg("path", Word).optional().from(Source::ObjectPath)], "path", "list QOM properties", objects::qom_list),
    command(&["qom-set"], &[arg("json", Flag('j')), arg("path", Word).from(Source::ObjectPath), arg("property", Word).from(Source::Property), arg("value", Rest)], "[-j] path property value", "set QOM property (-j: the value is JSON)", objects::qom_set),
    command(&["qemu-io"], &[arg("qdev", Flag('d')), arg("device", Word).from(Source::Drive), arg("command", Word)], "[-d] [device] \"[command]\"", "run a qemu-io command on a block device\n\t\t\t -d: [device] is a device ID rather than a drive ID or node name", qemu_io::run),
    command(&["quit", "q"], &[], "", "quit the emulator", run_state::quit),
    command(&["screendump"], &[arg("filename", File), arg("format", Option('f')), arg("device", Word).optional(), arg("head", Int).optional()], "filename [-f format] [device [head]]", "save screen from head 'head' of display device 'device' in specified format 'format' as image 'filename'; format is ppm (default) or png", display::screendump),
    command(&["sendkey"], &[arg("keys", Word), arg("hold-time", Int).optional()], "keys [hold_ms]", "send keys to the VM (e.g. 'sendkey ctrl-alt-f1', default hold time=100 ms)", display::sendkey),
    command(&["stop", "s"], &[], "", "stop emulation", run_state::stop),
    command(&["sum"], &[arg("addr", Int), arg("size", Int)], "addr size", "compute the checksum of a memory region", memory::sum),
    command(&["system_powerdown"], &[], "", "send system power down event", run_state::system_powerdown),
    command(&["system_reset"], &[], "", "reset the system", run_state::system_reset),
    command(&["system_wakeup"], &[], "", "wakeup guest from suspend", run_state::system_wakeup),
    command(&["watchdog_action"], &[arg("action", Word).from(Source::WatchdogAction)], "[reset|shutdown|poweroff|pause|debug|none]", "change watchdog action", run_state::watchdog_action),
    command(&["x"], &[arg("format", Format), arg("addr", Long)], "/fmt addr", "virtual memory dump starting at 'addr'", memory::dump_virtual),
    command(&["xp"], &[arg("format", Format), arg("addr", Long)], "/fmt addr", "physical memory dump starting at 'addr'", memory::dump_physical),
];

/// QEMU's commands that come with the things that they are about.
pub(super) const MISSING: &str = "announce_self block_job_cancel block_job_complete block_job_pause block_job_resume block_job_set_speed \
    block_set_io_throttle block_stream boot_set chardev-send-break client_migrate_info closefd \
    commit delvm drive_backup drive_mirror dump-guest-memory exit_preconfig \
    expire_password gdbserver getfd gpa2hpa gpa2hva hostfwd_add hostfwd_remove loadvm mce migrate migrate_cancel \
    migrate_continue migrate_incoming migrate_pause migrate_recover migrate_set_capability migrate_set_parameter \
    migrate_start_postcopy mouse_set nbd_server_add nbd_server_remove nbd_server_start \
    nbd_server_stop netdev_add netdev_del pcie_aer_inject_error replay_break replay_delete_break \
    replay_seek ringbuf_read ringbuf_write savevm set_link set_password singlestep \
    snapshot_blkdev snapshot_blkdev_internal snapshot_delete_blkdev_internal stopcapture sync-profile trace-event \
    wavcapture";

/// The same, of topics.
pub(super) const MISSING_TOPICS: &str = "block-jobs jit mice network opcount ramblock snapshots \
    trace-events usb usernet virtio vnc";
