//! AML for the processors, which can come and go: a device object for each that there can be, methods that look after them, and the handler of
//! the general-purpose event that tells the operating system (ACPI 6.4, 6.3 and 8.4). The registers are those of
//! [`crate::devices::cpu_hotplug`].

use super::aml::{
    Raw, acquire, call, device, dword_field, field, hid, list, method, mutex, name, notification, notify, path, ports,
    raw, region, release, resources, store,
};
use super::{Processor, fixed};
use crate::devices::cpu_hotplug::{GPE, LEN, command, port};
use acpi_tables::aml::{
    Arg, BufferData, Else, Equal, FieldAccessType, FieldEntry, FieldUpdateRule, If, Local, ONE, Return, While, ZERO,
};

const LOCK: &str = "\\_SB_.CPUS.CPLK";
const SELECTOR: &str = "\\_SB_.CPUS.CSEL";
const COMMAND: &str = "\\_SB_.CPUS.CCMD";
const DATA: &str = "\\_SB_.CPUS.CDAT";
/// Present, functioning, decoding, shown.
const PRESENT: u8 = 0x0f;

/// Name of a processor's device object.
pub(super) fn processor_name(uid: u32) -> String {
    format!("C{uid:03X}")
}

/// The container of the processors, for the scope of the system bus.
pub(super) fn container(base: u16, processors: &[Processor]) -> Raw {
    let mut terms = vec![
        name("_HID", &"ACPI0010"),
        name("_CID", &acpi_tables::aml::EISAName::new("PNP0A05")),
        registers(base),
        status(),
        eject(),
        report(),
        scan(),
        tell(processors.len()),
    ];
    terms.extend((0..).zip(processors).map(|(uid, p)| processor(uid, *p)));
    list(&[holder(base), device("CPUS", &terms)])
}

/// The handler of the event.
pub(super) fn event_handler() -> Raw {
    method(&format!("\\_GPE._E{GPE:02X}"), 0, &[&call("\\_SB_.CPUS.CSCN", &[])])
}

/// A device object that holds the ports of the registers, and has them take the place of the bitmap.
fn holder(base: u16) -> Raw {
    device(
        "CPHR",
        &[
            hid("PNP0A06"),
            name("_UID", &"CPU hot-plug"),
            resources("_CRS", &[&ports(base, LEN)]),
            method("_INI", 0, &[&store(SELECTOR, &ZERO)]),
        ],
    )
}

/// The registers, under the names by which the methods know them.
fn registers(base: u16) -> Raw {
    let flags = [*b"CENA", *b"CINS", *b"CREM", *b"CEJE"].map(|flag| FieldEntry::Named(flag, 1));
    let mut bytes = vec![FieldEntry::Reserved(port::FLAGS as usize * 8)];
    bytes.extend(flags);
    bytes.extend([FieldEntry::Reserved(4), FieldEntry::Named(*b"CCMD", 8)]);
    list(&[
        mutex("CPLK"),
        region("CPHO", base, LEN),
        // Flags that are not meant must be written as 0.
        field("CPHO", FieldAccessType::Byte, FieldUpdateRule::WriteAsZeroes, bytes),
        dword_field("CPHO", &[("CSEL", port::SELECTOR), ("CDAT", port::DATA)]),
    ])
}

/// `CSTA`: `_STA` of a processor.
fn status() -> Raw {
    let present = raw(&If::new(&Equal::new(&path("CENA"), &ONE), vec![&store(&Local(0), &PRESENT)]));
    method(
        "CSTA",
        1,
        &[
            &acquire(LOCK),
            &store(SELECTOR, &Arg(0)),
            &store(&Local(0), &ZERO),
            &present,
            &release(LOCK),
            &Return::new(&Local(0)),
        ],
    )
}

/// `CEJ0`: gives a processor up.
fn eject() -> Raw {
    method("CEJ0", 1, &[&acquire(LOCK), &store(SELECTOR, &Arg(0)), &store("CEJE", &ONE), &release(LOCK)])
}

/// `COST`: `_OST` of a processor: what it is about, and how it went.
fn report() -> Raw {
    let part = |register: u8, arg: u8| list(&[store(COMMAND, &register), store(DATA, &Arg(arg))]);
    method(
        "COST",
        3,
        &[
            &acquire(LOCK),
            &store(SELECTOR, &Arg(0)),
            &part(command::OST_EVENT, 1),
            &part(command::OST_STATUS, 2),
            &release(LOCK),
        ],
    )
}

/// `CTFY`: sends notification `Arg1` to processor `Arg0`.
fn tell(processors: usize) -> Raw {
    let tell = (0..processors as u32).map(|uid| {
        let notify = notify(&path(&processor_name(uid)), &Arg(1));
        raw(&If::new(&Equal::new(&Arg(0), &uid), vec![&notify]))
    });
    method("CTFY", 2, &[&list(&tell.collect::<Vec<_>>())])
}

/// `CSCN`: tells of every processor that has come or is to go. Telling clears the flag, so that the scan ends.
fn scan() -> Raw {
    let (more, uid) = (Local(0), Local(1));
    let when = |flag: &str, notification: u8| {
        let told = list(&[call("CTFY", &[&uid, &notification]), store(flag, &ONE), store(&more, &ONE)]);
        raw(&If::new(&Equal::new(&path(flag), &ONE), vec![&told]))
    };
    let come = when("CINS", notification::DEVICE_CHECK);
    let going = raw(&Else::new(vec![&when("CREM", notification::EJECT_REQUEST)]));
    let step =
        list(&[store(&more, &ZERO), store(COMMAND, &command::NEXT_EVENT), store(&uid, &path(DATA)), come, going]);
    method(
        "CSCN",
        0,
        &[
            &acquire(LOCK),
            &store(SELECTOR, &ZERO),
            &store(&more, &ONE),
            &raw(&While::new(&Equal::new(&more, &ONE), vec![&step])),
            &release(LOCK),
        ],
    )
}

fn processor(uid: u32, p: Processor) -> Raw {
    // Once it is there, it is enabled.
    let entry = fixed::local_apic(uid, Processor { present: true, ..p });
    let mut terms = vec![
        name("_HID", &"ACPI0007"),
        name("_UID", &uid),
        method("_STA", 0, &[&Return::new(&call("CSTA", &[&uid]))]),
        name("_MAT", &BufferData::new(entry)),
        method("_OST", 3, &[&call("COST", &[&uid, &Arg(0), &Arg(1)])]),
    ];
    // The bootstrap processor stays.
    if uid != 0 {
        terms.push(method("_EJ0", 1, &[&call("CEJ0", &[&uid])]));
    }
    device(&processor_name(uid), &terms)
}
