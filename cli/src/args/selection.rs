//! Which machine, and on which accelerators.

use super::properties::switch;
use super::{Options, Problem, Properties, unknown};
use gearbox_core::accel::{Accelerator, Candidate, Choice};
use gearbox_core::machine::{MachineProperty, MachineType};

/// A property that machines have without knowing of it.
struct Common {
    property: MachineProperty,
    /// It is a group: members follow behind a dot.
    members: bool,
    take: fn(&mut SelectedMachine, key: &str, value: &str) -> Result<(), String>,
}

const fn common(
    (name, kind, default): (&'static str, &'static str, Option<&'static str>),
    description: &'static str,
    take: fn(&mut SelectedMachine, key: &str, value: &str) -> Result<(), String>,
) -> Common {
    Common { property: MachineProperty { name, kind, values: &[], default, description }, members: false, take }
}

static COMMON: &[Common] = &[
    common(("accel", "string", None), "Accelerator list, as NAME[:NAME...]", |m, _, v| {
        m.accel = Some(v.to_owned());
        Ok(())
    }),
    common(("fd-bootchk", "bool", Some("on")), "Look for a boot signature on floppies", |m, _, v| {
        switch(v).map(|on| m.floppy_check = Some(on))
    }),
    common(("graphics", "bool", Some("on")), "Set on/off to enable/disable graphics emulation", |m, _, v| {
        switch(v).map(|on| m.graphics = Some(on))
    }),
    common(
        ("hmat", "bool", Some("off")),
        "Set on/off to enable/disable ACPI Heterogeneous Memory Attribute Table",
        |m, _, v| switch(v).map(|on| m.hmat = on),
    ),
    common(("kernel-irqchip", "string", None), "As in -accel kvm,help", |m, _, v| {
        m.kernel_irqchip = Some(v.to_owned());
        Ok(())
    }),
    common(
        ("memory-backend", "string", None),
        "Set RAM backend: the id of an -object memory-backend-...",
        |m, _, v| {
            m.memory_backend = Some(v.to_owned());
            Ok(())
        },
    ),
    Common {
        members: true,
        ..common(
            ("smp", "SMPConfiguration", None),
            "CPU topology: smp.cpus=, smp.cores= and so on, as -smp has them",
            |m, key, v| {
                m.smp.push(format!("{key}={v}"));
                Ok(())
            },
        )
    },
];

/// A property of QEMU's machines whose value is what it is, unless the machine itself knows better: asking for that is granted.
struct Fixed {
    name: &'static str,
    kind: &'static str,
    value: &'static str,
    description: &'static str,
    /// Machines below this type have it.
    of: &'static str,
}

const fn fixed(
    of: &'static str,
    name: &'static str,
    kind: &'static str,
    value: &'static str,
    description: &'static str,
) -> Fixed {
    Fixed { name, kind, value, description, of }
}

const EVERY: &str = "machine";
const PC: &str = "generic-pc-machine";

static FIXED: &[Fixed] = &[
    fixed(PC, "acpi", "OnOffAuto", "on", "Enable ACPI"),
    fixed(PC, "i8042", "bool", "on", "Enable the keyboard controller"),
    fixed(EVERY, "mem-merge", "bool", "off", "Enable/disable memory merge support"),
    fixed(PC, "nvdimm", "bool", "off", "Set on/off to enable/disable NVDIMM instantiation"),
    fixed(PC, "pit", "OnOffAuto", "on", "Enable i8254 PIT"),
    fixed(PC, "smm", "OnOffAuto", "off", "Enable SMM"),
    fixed(EVERY, "usb", "bool", "off", "Set on/off to enable/disable usb"),
    fixed(PC, "vmport", "OnOffAuto", "off", "Enable vmport (pc & q35)"),
];

/// Those that a machine has and does not know itself.
fn fixed_of(machine: &'static dyn MachineType) -> impl Iterator<Item = &'static Fixed> {
    FIXED.iter().filter(move |f| {
        let own = machine.properties().iter().any(|p| p.name == f.name);
        !own && (f.of == EVERY || f.of == machine.parent_type())
    })
}

/// All properties that a machine takes, by name, and the one value that some can have.
pub fn properties(machine: &'static dyn MachineType) -> Vec<(MachineProperty, Option<&'static str>)> {
    let own = machine.properties().iter().chain(COMMON.iter().map(|c| &c.property)).map(|p| (*p, None));
    let fixed = fixed_of(machine).map(|f| {
        let Fixed { name, kind, value, description, .. } = *f;
        (MachineProperty { name, kind, values: &[], default: None, description }, Some(value))
    });
    let mut all: Vec<_> = own.chain(fixed).collect();
    all.sort_by_key(|(property, _)| property.name);
    all
}

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

/// The machine that it is without `-machine`.
pub fn default(machines: &[&'static dyn MachineType]) -> Option<&'static dyn MachineType> {
    machines.iter().copied().find(|m| m.is_default()).or(machines.first().copied())
}

/// All `-machine` options together.
pub fn machine(o: &Options, machines: &[&'static dyn MachineType]) -> Result<SelectedMachine, Problem> {
    let mut found = SelectedMachine {
        machine: default(machines).ok_or_else(|| Problem::word("-machine", "no machine is built into this program"))?,
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
        for (key, value) in p.rest() {
            let (group, member) = key.split_once('.').unwrap_or((&key, ""));
            match COMMON.iter().find(|c| c.property.name == group && c.members != member.is_empty()) {
                Some(common) => (common.take)(&mut found, member, &value)
                    .map_err(|reason| Problem::new("machine", &**text, format!("{key}: {reason}")))?,
                None => found.properties.push((key, value)),
            }
        }
        last = Some(text);
    }
    if o.no_hpet && found.machine.properties().iter().any(|p| p.name == "hpet") {
        found.properties.push(("hpet".to_owned(), "off".to_owned()));
    }
    let text = last.map_or("", String::as_str);
    // Only now is it known which machine they are for.
    let known = properties(found.machine);
    for (key, value) in std::mem::take(&mut found.properties) {
        let reason = match known.iter().find(|(property, _)| property.name == key) {
            Some((property, None)) => {
                // A switch has more words for what it is.
                let on = switch(&value).ok().filter(|_| property.kind == "bool");
                let value = on.map_or(value, |on| if on { "on" } else { "off" }.to_owned());
                match property.check(&value) {
                    Ok(()) => {
                        found.properties.push((key, value));
                        continue;
                    }
                    Err(reason) => reason,
                }
            }
            Some((_, Some(only))) if *only == value => continue,
            Some((_, Some(only))) => format!("'{key}={value}' is not implemented yet; it is '{only}'"),
            None if MISSING.split_whitespace().any(|m| m == key) => format!("'{key}' is not implemented yet"),
            None => unknown("property", &key, known.iter().map(|(property, _)| property.name)),
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
