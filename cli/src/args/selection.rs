//! Which machine, and on which accelerators.

use super::{Options, Problem, Properties, unknown};
use gearbox_core::accel::{Accelerator, Candidate, Choice};
use gearbox_core::machine::MachineType;

/// A machine, and properties that it takes.
pub struct SelectedMachine {
    /// The machine.
    pub machine: &'static dyn MachineType,
    /// Properties for it, in the order given.
    pub properties: Vec<(String, String)>,
    /// `accel=`.
    pub accel: Option<String>,
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
        found.kernel_irqchip = p.take("kernel-irqchip")?.or(found.kernel_irqchip);
        found.properties.extend(p.rest());
        last = Some(text);
    }
    // Only now is it known which machine they are for.
    let known = found.machine.properties();
    match (found.properties.iter().find(|(key, _)| !known.iter().any(|k| k.0 == key)), last) {
        (Some((key, _)), Some(text)) => {
            let all = known.iter().map(|k| k.0).chain(["accel", "kernel-irqchip"]);
            Err(Problem::new("machine", &**text, unknown("property", key, all)))
        }
        _ => Ok(found),
    }
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
