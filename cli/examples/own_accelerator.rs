//! An accelerator in one file: it lets tcg execute the guest and counts which ports that touches. Everything that knows accelerators by name knows this one:
//! `-accel help`, `-accel ports`, [`VmBuilder::accel`](gearbox::testing::VmBuilder::accel).
//!
//! `cargo run --example own_accelerator`

use gearbox::accel::{AccelEntry, Accelerator, OpenError, OptionSpec, Options, Probe, Request, registered};
use gearbox::clock::ClockSource;
use gearbox::guest;
use gearbox::mem::MemoryListener;
use gearbox::testing::{Expect, Vm as Guest};
use gearbox::vm::{CpuBus, Limit, MsiSink, Threading, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmError};
use gearbox::x86::cpuid::CpuidSet;
use gearbox::x86::state::X86State;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Accesses by port. The example has one machine; an accelerator for many would count in its virtual machine.
static COUNTS: Mutex<BTreeMap<u16, u64>> = Mutex::new(BTreeMap::new());

fn count(port: u16) {
    *COUNTS.lock().expect("no panic while it is held").entry(port).or_default() += 1;
}

// ANCHOR: accelerator
struct Ports;

inventory::submit! { AccelEntry(&Ports) }

impl Ports {
    /// The accelerator that does the work.
    fn below() -> &'static dyn Accelerator {
        registered().into_iter().find(|a| a.name() == "tcg").expect("tcg is linked in")
    }
}

impl Accelerator for Ports {
    fn name(&self) -> &'static str {
        "ports"
    }
    fn description(&self) -> &'static str {
        "tcg, and counts which ports the guest touches"
    }
    fn auto_priority(&self) -> Option<u8> {
        None // It must be named.
    }
    fn options(&self) -> &'static [OptionSpec] {
        Self::below().options()
    }
    fn probe(&self, request: &Request, options: &Options) -> Probe {
        Self::below().probe(request, options)
    }
    fn open(&self, request: &Request, options: &Options) -> Result<Box<dyn Vm>, OpenError> {
        Ok(Box::new(PortsVm(Self::below().open(request, options)?)))
    }
}

struct PortsVm(Box<dyn Vm>);

impl Vm for PortsVm {
    fn create_vcpu(&self, id: u32, config: &VcpuConfig) -> Result<Box<dyn Vcpu>, VmError> {
        Ok(Box::new(PortsVcpu(self.0.create_vcpu(id, config)?)))
    }
    fn threading(&self) -> Threading {
        self.0.threading()
    }
    fn clock(&self) -> Arc<dyn ClockSource> {
        self.0.clock()
    }
    fn memory_listener(&self) -> Option<Arc<dyn MemoryListener>> {
        self.0.memory_listener()
    }
    fn cpuid(&self) -> &CpuidSet {
        self.0.cpuid()
    }
    fn msi(&self) -> Arc<dyn MsiSink> {
        self.0.msi()
    }
}

struct PortsVcpu(Box<dyn Vcpu>);

impl Vcpu for PortsVcpu {
    /// Guest I/O is a call in the middle of the instruction, so a bus in between sees all of it.
    fn run(&mut self, bus: &dyn CpuBus, limit: Limit) -> VcpuExit {
        self.0.run(&PortsBus(bus), limit)
    }
    fn handle(&self) -> Arc<dyn VcpuHandle> {
        self.0.handle()
    }
    fn get_state(&mut self) -> Result<X86State, VmError> {
        self.0.get_state()
    }
    fn set_state(&mut self, state: &X86State) -> Result<(), VmError> {
        self.0.set_state(state)
    }
    fn translate(&mut self, linear: u64) -> Option<u64> {
        self.0.translate(linear)
    }
}

struct PortsBus<'a>(&'a dyn CpuBus);

impl CpuBus for PortsBus<'_> {
    fn pio_in(&self, port: u16, size: u8) -> u32 {
        count(port);
        self.0.pio_in(port, size)
    }
    fn pio_out(&self, port: u16, size: u8, value: u32) {
        count(port);
        self.0.pio_out(port, size, value);
    }
    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        self.0.mmio_read(addr, data);
    }
    fn mmio_write(&self, addr: u64, data: &[u8]) {
        self.0.mmio_write(addr, data);
    }
    fn ack_interrupt(&self) -> Option<u8> {
        self.0.ack_interrupt()
    }
    fn eoi(&self, vector: u8) {
        self.0.eoi(vector);
    }
    fn deadline(&self) -> Option<u64> {
        self.0.deadline()
    }
    fn settle_timers(&self) {
        self.0.settle_timers();
    }
}
// ANCHOR_END: accelerator

/// What runs.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: use
    let mut vm = Guest::pc()
        .accel("ports")
        .kernel(guest::embedded()?)
        .append(&guest::command_line("tcg", true))
        .serial(Expect)
        .start()?;
    vm.expect("gearbox> ", Duration::from_secs(60))?;
    assert_eq!(vm.accel(), "ports");
    // ANCHOR_END: use
    drop(vm);

    let counts = COUNTS.lock().expect("no panic while it is held");
    let serial = counts.get(&0x3f8).copied().unwrap_or_default();
    assert!(serial > 100, "the guest talks on its serial port");
    let mut busiest: Vec<_> = counts.iter().collect();
    busiest.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    busiest.iter().take(5).for_each(|(port, n)| println!("port {port:#06x}: {n} accesses"));
    Ok(())
}
