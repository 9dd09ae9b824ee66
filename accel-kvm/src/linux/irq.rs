//! Interrupts into the kernel's local APICs, with the 8259A pair and the I/O APIC outside (the "split" interrupt controller).

use super::vm::Shared;
use gearbox_core::vm::MsiSink;
use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_enable_cap, kvm_irq_routing_entry, kvm_msi,
};
use kvm_ioctls::VmFd;
use parking_lot::Mutex;
use std::sync::Arc;

/// Pins of the I/O APIC (82093AA).
const PINS: usize = 24;

/// Bit 15 of MSI data: the interrupt is level-triggered (SDM vol. 3, 11.11.2).
const LEVEL: u32 = 1 << 15;

/// Asks for local APICs only.
pub(super) fn enable_split(vm: &VmFd) -> Result<(), vmm_sys_util::errno::Error> {
    let mut cap = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
    cap.args[0] = PINS as u64;
    vm.enable_cap(&cap)
}

type Route = Option<(u64, u32)>;

/// The way of messages to the local APICs.
pub(super) struct KvmMsi {
    vm: Arc<Shared>,
    routes: Mutex<[Route; PINS]>,
}

impl KvmMsi {
    pub(super) fn new(vm: Arc<Shared>) -> Self {
        Self { vm, routes: Mutex::new([None; PINS]) }
    }
}

fn words(addr: u64) -> (u32, u32) {
    (addr as u32, (addr >> 32) as u32)
}

fn entry(pin: usize, (addr, data): (u64, u32)) -> kvm_irq_routing_entry {
    let mut e = kvm_irq_routing_entry { gsi: pin as u32, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    let (address_lo, address_hi) = words(addr);
    e.u.msi = kvm_bindings::kvm_irq_routing_msi { address_lo, address_hi, data, ..Default::default() };
    e
}

impl MsiSink for KvmMsi {
    fn send_msi(&self, addr: u64, data: u32) {
        let (address_lo, address_hi) = words(addr);
        if let Err(e) = self.vm.fd.signal_msi(kvm_msi { address_lo, address_hi, data, ..Default::default() }) {
            tracing::debug!(addr, data, "KVM_SIGNAL_MSI: {e}");
        }
    }

    /// KVM learns from its routing table the EOIs of which vectors to report. Only level-triggered ones matter, and one that is masked
    /// may stay: guests mask and unmask often, and a report too many does no harm.
    fn set_route(&self, pin: u32, msi: Option<(u64, u32)>) {
        let Some(new) = msi.filter(|(_, data)| data & LEVEL != 0) else { return };
        let mut routes = self.routes.lock();
        match routes.get_mut(pin as usize) {
            Some(old) if *old != Some(new) => *old = Some(new),
            _ => return,
        }
        let entries: Vec<_> = routes.iter().enumerate().filter_map(|(pin, r)| r.map(|r| entry(pin, r))).collect();
        let table = match KvmIrqRouting::from_entries(&entries) {
            Ok(table) => table,
            Err(e) => return tracing::error!("routing table: {e:?}"),
        };
        if let Err(e) = self.vm.fd.set_gsi_routing(&table) {
            tracing::error!("KVM_SET_GSI_ROUTING: {e}");
        }
    }
}
