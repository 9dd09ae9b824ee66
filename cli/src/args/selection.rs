//! Which machine, and on which accelerators.

use super::{Options, Problem, Properties, unknown};
use gearbox_core::accel::{Accelerator, Candidate, Choice};
use gearbox_core::machine::MachineType;

/// Properties of QEMU's machines whose value is what it is, unless the machine itself knows better: asking for that is granted.
const FIXED: &[(&str, &str)] = &[
    ("acpi", "on"),
    ("i8042", "on"),
    ("mem-merge", "off"),
    ("nvdimm", "off"),
    ("pit", "on"),
    ("smm", "off"),
    ("usb", "off"),
    ("vmport", "off"),
];

/// Properties of QEMU's machines that are not here at all.
const MISSING: &str = "confidential-guest-support dt-compatible dump-guest-core dumpdtb firmware igd-passthru kvm-shadow-mem \
    max-fw-size max-ram-below-4g memory-encryption oem-id oem-table-id pcspk-audiodev phandle-start sata \
    smbus suppress-vmdesc x-south-bridge";

/// A machine, and properties that it takes.
pub struct SelectedMachine {
    /// The machine.
    pub machine: &'static dyn MachineType,
    /// Properties for it, in the order given.
    pub properties: Vec<(String, String)>,
    /// `accel=`.
    pub accel: Option<String>,
    /// `memory-backend=`.
    pub memory_backend: Option<String>,
    /// `smp.KEY=`, as `-smp` has them.
    pub smp: Vec<String>,
    /// `hmat=`.
    pub hmat: bool,
    /// `graphics=`.
    pub graphics: Option<bool>,
    /// `fd-bootchk=`.
    pub floppy_check: Option<bool>,
    /// `kernel-irqchip=`, which is the accelerator's business.
    pub kernel_irqchip: Option<String>,
}

/// All `-machine` options together.
pub fn machine(o: &Options, machines: &[&'static dyn MachineType]) -> Result<SelectedMachine, Problem> {
    let default = machines.iter().copied().find(|m| m.is_default()).or(machines.first().copied());
    let mut found = SelectedMachine {
        machine: default.ok_or_else(|| Problem::word("-machine", "no machine is built into this program"))?,
        properties: Vec::new(),
        accel: None,
        kernel_irqchip: None,
        memory_backend: None,
        floppy_check: None,
        graphics: None,
        hmat: false,
        smp: Vec::new(),
    };
    let mut last = None;
    for text in &o.machine {
        let mut p = Properties::parse("machine", text, Some("type"));
        if let Some(name) = p.take("type")? {
            let named = |m: &&&'static dyn MachineType| m.name() == name || m.alias() == Some(&*name);
            let names = || machines.iter().flat_map(|m| std::iter::once(m.name()).chain(m.alias()));
            found.machine = *machines
                .iter()
                .find(named)
                .ok_or_else(|| Problem::new("machine", &**text, unknown("machine", &name, names())))?;
        }
        found.accel = p.take("accel")?.or(found.accel);
        found.memory_backend = p.take("memory-backend")?.or(found.memory_backend);
        found.hmat = p.take_switch("hmat")?.unwrap_or(found.hmat);
        found.graphics = p.take_switch("graphics")?.or(found.graphics);
        found.floppy_check = p.take_switch("fd-bootchk")?.or(found.floppy_check);
        found.kernel_irqchip = p.take("kernel-irqchip")?.or(found.kernel_irqchip);
        found.properties.extend(p.rest());
        last = Some(text);
    }
    if o.no_hpet && found.machine.properties().iter().any(|p| p.0 == "hpet") {
        found.properties.push(("hpet".to_owned(), "off".to_owned()));
    }
    let text = last.map_or("", String::as_str);
    // Only now is it known which machine they are for.
    let known = found.machine.properties();
    for (key, value) in std::mem::take(&mut found.properties) {
        if let Some(smp) = key.strip_prefix("smp.") {
            found.smp.push(format!("{smp}={value}"));
            continue;
        }
        if known.iter().any(|k| k.0 == key) {
            found.properties.push((key, value));
            continue;
        }
        let reason = match FIXED.iter().find(|(fixed, _)| *fixed == key) {
            Some((_, only)) if *only == value => continue,
            Some((_, only)) => format!("'{key}={value}' is not implemented yet; it is '{only}'"),
            None if MISSING.split_whitespace().any(|m| m == key) => format!("'{key}' is not implemented yet"),
            None => unknown("property", &key, known.iter().map(|k| k.0).chain(["accel", "kernel-irqchip"])),
        };
        return Err(Problem::new("machine", text, reason));
    }
    Ok(found)
}

/// The accelerators to try, in every spelling.
pub fn accelerators(
    o: &Options,
    machine: Option<&SelectedMachine>,
    registry: &[&'static dyn Accelerator],
) -> Result<Choice, Problem> {
    let property = machine.and_then(|m| m.accel.as_deref());
    if let (Some(property), true) = (property, o.enable_kvm || !o.accel.is_empty()) {
        return Err(Problem::new(
            "machine",
            format!("accel={property}"),
            "-accel names the accelerator already; use one of the two",
        ));
    }
    let given = o.enable_kvm.then_some("kvm").into_iter().map(|kvm| ("enable-kvm", kvm));
    let given = given.chain(o.accel.iter().map(|a| ("accel", a.as_str())));
    let given = given.chain(property.map(|p| ("machine", p)));
    let given: Vec<_> = match given.collect::<Vec<_>>() {
        none if none.is_empty() && o.qtest.is_some() => vec![("accel", "qtest")],
        given => given,
    };
    let mut candidates = Vec::new();
    for (option, text) in given {
        match Choice::parse([text], registry) {
            Ok(Choice::Named(list)) => candidates.extend(list),
            Ok(Choice::Automatic) => {}
            Err(e) => return Err(Problem::new(option, text, e)),
        }
    }
    if let Some(value) = machine.and_then(|m| m.kernel_irqchip.as_deref()) {
        give_irqchip(&mut candidates, value, registry)?;
    }
    Ok(if candidates.is_empty() { Choice::Automatic } else { Choice::Named(candidates) })
}

/// `-machine kernel-irqchip=` is an option of those accelerators that know it.
fn give_irqchip(list: &mut [Candidate], value: &str, registry: &[&'static dyn Accelerator]) -> Result<(), Problem> {
    const KEY: &str = "kernel-irqchip";
    let knows = |c: &&mut Candidate| {
        registry.iter().any(|a| a.name() == c.name && a.options().iter().any(|option| option.key == KEY))
    };
    let mut takers = list.iter_mut().filter(knows).peekable();
    if takers.peek().is_none() {
        let reason = "belongs to an accelerator that is named: -accel kvm,kernel-irqchip=...";
        return Err(Problem::new("machine", format!("{KEY}={value}"), reason));
    }
    for taker in takers {
        if !taker.options.iter().any(|(key, _)| key == KEY) {
            taker.options.push((KEY.to_owned(), Some(value.to_owned())));
        }
    }
    Ok(())
}
