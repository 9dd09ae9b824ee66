//! Power management function of the 82371AB (PIIX4): relocatable ACPI registers, the advanced power management ports, the system
//! control interrupt, soft-off, and the registers of PCI and CPU hot-plug that QEMU adds to it.
//!
//! Sources: Intel 82371AB (PIIX4) datasheet (290562), chapter 7; ACPI 6.4, chapter 4. Contents of the configuration space and the fixed
//! port of the general-purpose events are those of QEMU's `PIIX4_PM`, and so is where the SMBus host is before firmware moves it.

use super::QEMU_SUBSYSTEM;
use super::hotplug::{self as pci_hotplug, PciHotplug};
use super::smbus::{self, SmbusHost};
use crate::devices::cpu_hotplug::{self, CpuHotplug};
use crate::devices::pm::{GpeBlock, Pm1, event};
use gearbox_core::board::{
    Cx, Device, DeviceSpec, DeviceState, Hotplug, Line, Pin, Realize, RealizeError, ResetKind, Saved, SystemRequest,
    Timer,
};
use gearbox_core::event::{Event, ShutdownCause};
use gearbox_core::mem::RegionId;
use gearbox_core::object::{TypeEntry, TypeInfo, Value};
use gearbox_core::pci::{BusId, ConfigHeader, Devfn, IntxPin, PciBus, status};

/// Configuration registers beyond the standard header.
pub mod config {
    /// Base of the 64 power management ports; bit 0 reads 1.
    pub const PMBASE: u8 = 0x40;
    /// Device activity B: bit 1 of its highest byte makes writes to the APM control port raise an SMI.
    pub const DEVACTB: u8 = 0x58;
    /// Miscellaneous: bit 0 enables the ports at PMBASE.
    pub const PMREGMISC: u8 = 0x80;
    /// SMBus base.
    pub const SMBBASE: u8 = 0x90;
    /// SMBus host configuration: bit 0 enables its ports; bits 1 to 3 say which interrupt it has, 4 for that of ACPI.
    pub const SMBHSTCFG: u8 = 0xd2;
}

/// The address in PMBASE, and in the base of the SMBus.
const BASE_MASK: u16 = 0xffc0;

/// Offsets of the registers from PMBASE.
pub mod port {
    #![allow(missing_docs)]
    pub const PM1_EVENT: u16 = 0;
    pub const PM1_CONTROL: u16 = 4;
    pub const TIMER: u16 = 8;
}

/// The APM control port, to which an operating system writes to take over from firmware.
pub const APM_CONTROL: u16 = 0xb2;
/// In the highest byte of device activity B.
const APMC_ENABLE: u8 = 1 << 1;
/// Value that turns ACPI mode on.
pub const ACPI_ENABLE: u8 = 0xf1;
/// Value that turns ACPI mode off.
pub const ACPI_DISABLE: u8 = 0xf0;
/// First port of the general-purpose events.
pub const GPE0: u16 = 0xafe0;
/// Number of ports of the general-purpose events.
pub const GPE0_LEN: u8 = 4;
/// Where the SMBus host is at first, and its configuration: enabled, with the interrupt of ACPI.
const SMBUS: u16 = 0xb100;
const SMBUS_CONFIG: u8 = 0x09;
const SMBUS_INTERRUPT: u8 = 0x0e;
/// SLP_TYP of soft-off.
pub const SLEEP_S5: u8 = 0;

/// Where the function at `at` has its power management ports now.
pub fn base(bus: &PciBus, at: Devfn) -> u16 {
    let registers = u32::from(at.0) << 8 | u32::from(config::PMBASE);
    bus.config_read(registers, 2) as u16 & BASE_MASK
}

/// A [`Piix4PmDevice`] to be.
pub struct Piix4Pm {
    /// Its slot and function.
    pub at: Devfn,
    /// Which of the first two serial ports the board has: devices resource D reports them.
    pub serials: [bool; 2],
    /// There is a parallel port.
    pub parallel: bool,
    /// The CPUs that there can be: local APIC id, and whether it is there at the start.
    pub cpus: Vec<(u32, bool)>,
}

/// Pins.
pub struct Piix4PmPins {
    /// The system control interrupt, for IRQ 9.
    pub sci: Line,
    /// The system management interrupt, for the bootstrap processor.
    pub smi: Line,
    /// The power button: a pulse presses it.
    pub power_button: Pin,
}

/// Power management.
pub struct Piix4PmDevice {
    pm1: Pm1,
    gpe: GpeBlock,
    apm: [u8; 2],
    ports: RegionId,
    smbus: SmbusHost,
    smbus_ports: RegionId,
    pci: PciHotplug,
    cpus: CpuHotplug,
    /// Where the bitmap of CPUs is, and the register set that takes its place.
    cpu_regions: [RegionId; 2],
    sci: Line,
    smi: Line,
    timer: Timer,
}

const PM1_EVENT: u32 = 0;
const PM1_CONTROL: u32 = 1;
const PM_TIMER: u32 = 2;
const APM: u32 = 3;
const GPE: u32 = 4;
const PCI_HOTPLUG: u32 = 5;
const CPU_BITMAP: u32 = 6;
const CPU_REGISTERS: u32 = 7;
const SMBUS_HOST: u32 = 8;

impl DeviceSpec for Piix4Pm {
    type Device = Piix4PmDevice;
    type Pins = Piix4PmPins;
    const TYPE: &'static str = "PIIX4_PM";

    fn realize(self, r: &mut Realize<'_>) -> Result<(Piix4PmDevice, Piix4PmPins), RealizeError> {
        let header = ConfigHeader {
            vendor: 0x8086,
            device: 0x7113,
            class: 0x06_80_00,
            revision: 3,
            subsystem: QEMU_SUBSYSTEM,
            status: status::DEVSEL_MEDIUM | status::FAST_BACK,
            interrupt_pin: Some(IntxPin::A),
            ..ConfigHeader::default()
        };
        let c = r.pci_function(Some(self.at), &header);
        let [first, second] = self.serials;
        c.init(config::PMBASE, &[1]);
        c.init(config::SMBBASE, &(SMBUS | 1).to_le_bytes());
        c.init(config::SMBHSTCFG, &[SMBUS_CONFIG]);
        // Which legacy devices are decoded on the ISA side: parallel port, then keyboard and ROM, then serial ports.
        c.init(0x5f, &[0x10 | (u8::from(self.parallel) << 7)]);
        c.init(0x63, &[0x60]);
        c.init(0x67, &[(u8::from(first) * 0x08) | (u8::from(second) * 0x90)]);

        let event = r.port_region(PM1_EVENT, "acpi-evt", 4, 2);
        let control = r.port_region(PM1_CONTROL, "acpi-cnt", 2, 2);
        let timer = r.port_region(PM_TIMER, "acpi-tmr", 4, 4);
        r.ports(APM, "apm-io", APM_CONTROL, 2);
        r.ports(GPE, "acpi-gpe0", GPE0, GPE0_LEN.into());
        r.ports_wide(PCI_HOTPLUG, "acpi-pci-hotplug", pci_hotplug::BASE, pci_hotplug::LEN.into(), 4);
        let cpu_regions = [
            r.ports(CPU_BITMAP, "acpi-cpu-hotplug", cpu_hotplug::BASE, cpu_hotplug::BITMAP_LEN),
            r.port_region(CPU_REGISTERS, "acpi-cpu-hotplug", cpu_hotplug::LEN.into(), 4),
        ];
        let smbus_ports = r.port_region(SMBUS_HOST, "pm-smbus", smbus::PORTS, 1);
        r.handle_hotplug();
        let tree = r.port_tree();
        let ports = tree.container("piix4-pm", 64);
        tree.map(ports, port::PM1_EVENT.into(), event, 0);
        tree.map(ports, port::PM1_CONTROL.into(), control, 0);
        tree.map(ports, port::TIMER.into(), timer, 0);

        let sci = r.output("sci");
        let smi = r.output("smi");
        let power_button = r.inputs("power-button", 1).get(0);
        let timer = r.timer(0);
        let pm = Piix4PmDevice {
            pm1: Pm1::default(),
            gpe: GpeBlock::default(),
            apm: [0; 2],
            ports,
            smbus: SmbusHost::default(),
            smbus_ports,
            pci: PciHotplug::default(),
            cpus: CpuHotplug::new(self.cpus),
            cpu_regions,
            sci,
            smi,
            timer,
        };
        Ok((pm, Piix4PmPins { sci, smi, power_button }))
    }
}

inventory::submit! {
    TypeEntry(
        &TypeInfo::onboard::<Piix4Pm>("pci-device", "power management")
            .implements(&["acpi-device-interface", "conventional-pci-device", "hotplug-handler"]),
    )
}

impl Piix4PmDevice {
    /// Moves the ports to where PMBASE and PMREGMISC say, and those of the SMBus likewise.
    fn map_ports(&self, cx: &mut Cx<'_>) {
        let Some(c) = cx.config() else { return };
        let blocks =
            [(self.ports, config::PMBASE, config::PMREGMISC), (self.smbus_ports, config::SMBBASE, config::SMBHSTCFG)]
                .map(|(ports, base, enable)| (ports, (c.byte(enable) & 1 != 0).then_some(c.word(base) & BASE_MASK)));
        blocks.into_iter().for_each(|(ports, at)| cx.map_ports(ports, at));
    }
    /// Has the bitmap of CPUs, or the register set, at its place.
    fn map_cpu_registers(&self, cx: &mut Cx<'_>) {
        let [bitmap, registers] = self.cpu_regions;
        let at = |here: bool| here.then_some(cpu_hotplug::BASE);
        let modern = self.cpus.is_modern();
        cx.map_ports(bitmap, at(!modern));
        cx.map_ports(registers, at(modern));
    }
    /// Drives SCI and arms the timer for its next event.
    fn update(&self, cx: &mut Cx<'_>) {
        let now = cx.now();
        let routed = cx.config().is_some_and(|c| c.byte(config::SMBHSTCFG) & SMBUS_INTERRUPT == SMBUS_CONFIG - 1);
        cx.set(self.sci, self.pm1.sci(now) || self.gpe.sci() || routed && self.smbus.interrupts());
        match self.pm1.deadline(now) {
            Some(at) => cx.arm(self.timer, at),
            None => cx.disarm(self.timer),
        }
    }
    fn sleep(&self, cx: &mut Cx<'_>, sleep_type: u8) {
        match sleep_type {
            SLEEP_S5 => cx.request(SystemRequest::Shutdown(ShutdownCause::GuestShutdown)),
            other => cx.guest_error(format_args!("sleep type {other} is not one of the machine's")),
        }
    }
    fn apm_command(&mut self, cx: &mut Cx<'_>, command: u8) {
        match command {
            // As on QEMU, what firmware's handler would do for these two is done here.
            ACPI_ENABLE => self.pm1.set_sci_enable(true),
            ACPI_DISABLE => self.pm1.set_sci_enable(false),
            _ if cx.config().is_some_and(|c| c.byte(config::DEVACTB + 3) & APMC_ENABLE != 0) => {
                cx.set(self.smi, true);
                cx.set(self.smi, false);
            }
            _ => {}
        }
    }
    /// Takes everything that is in a slot off the board.
    fn eject_slot(cx: &mut Cx<'_>, bus: BusId, slot: u8) {
        (0..8).for_each(|function| cx.eject((bus, Devfn::new(slot, function))));
    }
    fn pci_request(&mut self, cx: &mut Cx<'_>, request: pci_hotplug::Request) {
        match request {
            pci_hotplug::Request::Eject(bus, slot) => Self::eject_slot(cx, bus, slot),
            pci_hotplug::Request::AcpiIndex(bus, slot) => self.pci.set_acpi_index(cx.pci().acpi_index(bus, slot)),
        }
    }
    fn cpu_request(&mut self, cx: &mut Cx<'_>, request: cpu_hotplug::Request) {
        match request {
            cpu_hotplug::Request::Switch => self.map_cpu_registers(cx),
            cpu_hotplug::Request::Eject(cpu) => {
                self.cpus.unplugged(cpu);
                cx.eject_cpu(cpu);
            }
            cpu_hotplug::Request::Status { cpu, event, status } => {
                let fields = [
                    ("slot", Value::from(cpu.to_string())),
                    ("slot-type", "CPU".into()),
                    ("source", event.into()),
                    ("status", status.into()),
                ];
                let info = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                cx.emit(&Event::AcpiDeviceOst { info });
            }
        }
    }
}

impl Device for Piix4PmDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self {
            pm1,
            gpe,
            apm,
            ports: _,
            smbus,
            smbus_ports: _,
            pci,
            cpus,
            cpu_regions: _,
            sci: _,
            smi: _,
            timer: _,
        } = self;
        Saved::of((pm1, gpe, apm)).and(pci.saved()).and(smbus.saved()).and(cpus.saved()).version(2)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        self.map_ports(cx);
        self.map_cpu_registers(cx);
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        let now = cx.now();
        match region {
            PM1_EVENT => self.pm1.read_event(now, offset).into(),
            PM1_CONTROL => (self.pm1.control() >> (8 * (offset & 1))).into(),
            PM_TIMER => (self.pm1.timer(now) >> (8 * (offset & 3))).into(),
            APM => self.apm[(offset & 1) as usize].into(),
            PCI_HOTPLUG => self.pci.read(offset, size).into(),
            CPU_BITMAP => self.cpus.read_bitmap(offset).into(),
            CPU_REGISTERS => self.cpus.read(offset).into(),
            SMBUS_HOST => self.smbus.read(offset).into(),
            _ => self.gpe.read(offset).into(),
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        match region {
            PM1_EVENT => self.pm1.write_event(cx.now(), offset, size, value),
            PM1_CONTROL => {
                if let Some(sleep_type) = self.pm1.write_control(offset, size, value) {
                    self.sleep(cx, sleep_type);
                }
            }
            PM_TIMER => {}
            SMBUS_HOST => self.smbus.write(offset, value as u8),
            APM => {
                self.apm[(offset & 1) as usize] = value as u8;
                if offset == 0 {
                    self.apm_command(cx, value as u8);
                }
            }
            PCI_HOTPLUG => {
                if let Some(request) = self.pci.write(offset, size, value as u32) {
                    self.pci_request(cx, request);
                }
            }
            CPU_BITMAP | CPU_REGISTERS => {
                let request = match region {
                    CPU_BITMAP => self.cpus.write_bitmap(offset, value as u8),
                    // An access across two registers reaches neither.
                    _ if offset.is_multiple_of(size.into()) => self.cpus.write(offset, value as u32),
                    _ => None,
                };
                if let Some(request) = request {
                    self.cpu_request(cx, request);
                }
            }
            _ => self.gpe.write(offset, value as u8),
        }
        self.update(cx);
    }
    fn hotplug(&mut self, cx: &mut Cx<'_>, event: Hotplug) {
        let gpe = match event {
            Hotplug::PciPlugged(at) => {
                self.pci.plugged(at);
                pci_hotplug::GPE
            }
            Hotplug::PciUnplugRequest(at) => {
                self.pci.unplug_requested(at);
                pci_hotplug::GPE
            }
            Hotplug::CpuPlugged(cpu) => {
                self.cpus.plugged(cpu);
                cpu_hotplug::GPE
            }
            Hotplug::CpuUnplugRequest(cpu) => {
                self.cpus.unplug_requested(cpu);
                cpu_hotplug::GPE
            }
        };
        self.gpe.raise(gpe);
        self.update(cx);
    }
    fn pin(&mut self, cx: &mut Cx<'_>, _: u32, level: bool) {
        if level {
            self.pm1.raise(event::POWER_BUTTON);
            self.update(cx);
        }
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _: u32) {
        self.update(cx);
    }
    fn config_written(&mut self, cx: &mut Cx<'_>, _: u8, _: u8) {
        self.map_ports(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        self.pm1 = Pm1::default();
        self.gpe = GpeBlock::default();
        self.apm = [0; 2];
        self.smbus = SmbusHost::default();
        let buses: Vec<_> = cx.pci().buses().collect();
        for bus in buses {
            let going = self.pci.reset(bus, cx.pci().fixed_slots(bus));
            (0..32).filter(|slot| going & 1 << slot != 0).for_each(|slot| Self::eject_slot(cx, bus, slot));
        }
        self.map_ports(cx);
        self.update(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::pm::TIMER_HZ;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::Realized;
    use gearbox_core::clock::ticks_to_ns;

    const AT: u32 = 11 << 8;

    fn bench() -> (Bench, Realized<Piix4PmPins>) {
        let mut b = Bench::new();
        let p = b
            .realize(Piix4Pm {
                at: Devfn::new(1, 3),
                serials: [true, false],
                parallel: false,
                cpus: vec![(0, true), (1, false)],
            })
            .unwrap();
        (b, p)
    }
    fn set_config(b: &Bench, register: u8, size: u8, value: u32) {
        b.with(|s| s.fabric.pci.config_write(AT | u32::from(register), size, value));
    }
    /// With its ports at 0x600.
    fn mapped() -> (Bench, Realized<Piix4PmPins>) {
        let (b, p) = bench();
        set_config(&b, config::PMBASE, 4, 0x601);
        set_config(&b, config::PMREGMISC, 1, 1);
        (b, p)
    }

    #[test]
    fn configuration_space_is_qemus() {
        let (b, _) = bench();
        let nonzero = [
            (0x00, 0x7113_8086),
            (0x04, 0x0280_0000),
            (0x08, 0x0680_0003),
            (0x2c, 0x1100_1af4),
            (0x3c, 0x0000_0100),
            (0x40, 0x0000_0001),
            (0x5c, 0x1000_0000),
            (0x60, 0x6000_0000),
            (0x64, 0x0800_0000),
            (0x90, 0x0000_b101),
            (0xd0, 0x0009_0000),
        ];
        for register in (0..256).step_by(4) {
            let expect = nonzero.iter().find(|(r, _)| *r == register).map_or(0, |(_, v)| *v);
            assert_eq!(b.with(|s| s.fabric.pci.config_read(AT | register, 4)), expect, "{register:#x}");
        }
    }

    #[test]
    fn the_smbus_is_where_it_is_put_and_interrupts() {
        let (mut b, p) = bench();
        b.outb(0xb103, 0x5a);
        assert_eq!((b.inb(0xb103), b.inb(0x703)), (0x5a, 0xff));
        set_config(&b, config::SMBBASE, 4, 0x701);
        assert_eq!((b.inb(0xb103), b.inb(0x703)), (0xff, 0x5a));
        // A byte of the first EEPROM, with an interrupt at the end.
        b.outb(0x704, 0xa1);
        b.outb(0x702, 0x45);
        assert_eq!((b.inb(0x700), b.level(p.sci)), (2, true));
        b.outb(0x700, 2);
        assert!(!b.level(p.sci));
        set_config(&b, config::SMBHSTCFG, 1, 8);
        assert_eq!(b.inb(0x703), 0xff);
    }

    #[test]
    fn ports_move_with_pmbase() {
        let (mut b, _) = mapped();
        assert_eq!(b.inl(0x608), 0);
        b.clock_step_ns(ticks_to_ns(1000, TIMER_HZ));
        assert_eq!(b.inl(0x608), 1000);
        assert_eq!(b.inb(0x60c), 0xff);
        assert_eq!(b.inl(0x603), 0xff00_0000, "control and a gap in one access");
        set_config(&b, config::PMBASE, 4, 0xffff_ffff);
        assert_eq!((b.inl(0x608), b.inl(0xffc8)), (0xffff_ffff, 1000));
        set_config(&b, config::PMREGMISC, 1, 0);
        assert_eq!(b.inl(0xffc8), 0xffff_ffff);
        set_config(&b, config::PMREGMISC, 1, 1);
        b.reset();
        assert_eq!(b.inl(0xffc8), 0xffff_ffff);
    }

    #[test]
    fn timer_overflow_raises_sci_until_cleared() {
        let (mut b, p) = mapped();
        b.outw(0x600, 1);
        b.outw(0x602, 1);
        assert!(!b.level(p.sci));
        b.clock_step_ns(ticks_to_ns(1 << 23, TIMER_HZ) - 1);
        assert!(!b.level(p.sci));
        b.clock_step_ns(1);
        assert!(b.level(p.sci));
        assert_eq!(b.inw(0x600), 1);
        b.outw(0x600, 1);
        assert!(!b.level(p.sci));
    }

    #[test]
    fn acpi_mode_by_the_apm_port() {
        let (mut b, _) = mapped();
        b.outb(0xb2, 0xf1);
        assert_eq!((b.inw(0x604), b.inw(0xb2)), (1, 0xf1));
        b.outb(0xb2, 0xf0);
        b.outb(0xb3, 0x77);
        assert_eq!((b.inw(0x604), b.inw(0xb2)), (0, 0x77f0));
    }

    #[test]
    fn soft_off_and_a_sleep_that_is_none() {
        let (mut b, _) = mapped();
        b.outw(0x604, 0x2400);
        assert_eq!(b.requests(), []);
        b.outw(0x604, 0x2001);
        assert_eq!(b.requests(), [SystemRequest::Shutdown(ShutdownCause::GuestShutdown)]);
        assert_eq!(b.inw(0x604), 1);
    }

    #[test]
    fn power_button() {
        let (mut b, p) = mapped();
        b.pulse(p.power_button);
        assert!(!b.level(p.sci), "nobody listens");
        b.outw(0x602, event::POWER_BUTTON);
        b.pulse(p.power_button);
        assert!(b.level(p.sci));
        assert_eq!(b.inw(0x600), event::POWER_BUTTON | event::TIMER);
    }

    fn add(b: &Bench, name: &str, properties: &[(&str, &str)], hotplug: bool) {
        let properties: Vec<_> = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        b.with(|s| s.add_device(name, &properties, hotplug)).unwrap();
    }
    /// With a bus for devices, and the event of PCI enabled.
    fn with_bus() -> (Bench, Realized<Piix4PmPins>) {
        let (mut b, p) = mapped();
        b.realize(crate::devices::pci::host::PciHost).unwrap();
        b.outl(0xafe0, 0x0002_0000);
        (b, p)
    }
    /// With a device on the bus that came while the machine ran.
    fn with_card() -> (Bench, Realized<Piix4PmPins>) {
        let (b, p) = with_bus();
        add(&b, "pci-serial", &[("id", "card"), ("addr", "4")], true);
        (b, p)
    }
    fn card(b: &Bench) -> u32 {
        b.with(|s| s.fabric.pci.config_read(4 << 11, 4))
    }

    #[test]
    fn a_card_comes_and_goes_by_way_of_the_guest() {
        let (mut b, p) = with_card();
        assert_eq!((b.level(p.sci), b.inw(0xafe0)), (true, 1 << 1));
        b.outb(0xafe0, 1 << 1);
        assert!(!b.level(p.sci));
        assert_eq!((b.inl(0xae00), b.inl(0xae00), b.inl(0xae04)), (1 << 4, 0, 0));

        b.with(|s| s.request_unplug("card")).unwrap();
        assert_eq!((b.level(p.sci), b.inl(0xae04), card(&b)), (true, 1 << 4, 0x0002_1b36));
        b.outl(0xae08, 1 << 4);
        assert_eq!((b.inl(0xae04), card(&b)), (0, u32::MAX));
    }

    #[test]
    fn a_card_behind_bridges_comes_and_goes() {
        let (mut b, p) = with_bus();
        add(&b, "pci-bridge", &[("id", "b1"), ("chassis_nr", "1"), ("addr", "5")], false);
        add(&b, "pci-bridge", &[("id", "b2"), ("chassis_nr", "2"), ("addr", "6"), ("bus", "b1")], false);
        b.reset();
        b.outl(0xafe0, 0x0002_0000);
        let on = |b: &Bench, bus| b.with(|s| s.fabric.pci.functions(BusId(bus)).count());
        add(&b, "pci-serial", &[("id", "card"), ("addr", "4"), ("bus", "b2")], true);
        b.outb(0xafe0, 1 << 1);
        b.outl(0xae10, 1);
        assert_eq!((b.inl(0xae00), b.inl(0xae0c), on(&b, 2)), (0, !(1 << 6), 1), "a bridge is on the bus between");
        b.outl(0xae10, 2);
        assert_eq!((b.inl(0xae00), b.inl(0xae00), b.inl(0xae0c)), (1 << 4, 0, u32::MAX));

        b.with(|s| s.request_unplug("card")).unwrap();
        b.outl(0xae10, 1);
        b.outl(0xae08, 1 << 4);
        assert_eq!((b.level(p.sci), on(&b, 2)), (true, 1), "another bus");
        b.outl(0xae10, 2);
        assert_eq!(b.inl(0xae04), 1 << 4);
        b.outl(0xae08, 1 << 4);
        assert_eq!((b.inl(0xae04), on(&b, 2)), (0, 0));
        for bus in [3, 255, 256] {
            b.outl(0xae10, bus);
            b.outl(0xae08, u32::MAX);
        }

        add(&b, "pci-serial", &[("id", "card"), ("bus", "b1")], true);
        b.with(|s| s.request_unplug("card")).unwrap();
        b.reset();
        assert_eq!(on(&b, 1), 1, "the bridge is left");
    }

    #[test]
    fn a_reset_takes_a_card_that_was_to_go() {
        let (mut b, _) = with_card();
        assert_eq!(b.inl(0xae0c), !0b10, "the function itself is soldered in");
        b.reset();
        assert_eq!(card(&b), 0x0002_1b36);
        b.with(|s| s.request_unplug("card")).unwrap();
        b.reset();
        assert_eq!((card(&b), b.inl(0xae04)), (u32::MAX, 0));
    }

    #[test]
    fn what_is_soldered_in_stays() {
        let (mut b, _) = with_card();
        b.outl(0xae08, 1 << 1);
        assert_eq!(b.with(|s| s.fabric.pci.config_read(AT, 4)), 0x7113_8086);
    }

    #[test]
    fn the_acpi_index_of_a_slot() {
        let (mut b, _) = with_card();
        add(&b, "pci-serial", &[("addr", "6"), ("acpi-index", "12")], true);
        b.outl(0xae14, 1 << 6);
        assert_eq!((b.inl(0xae14), b.inl(0xae14)), (12, 0));
        b.outl(0xae14, 1 << 4);
        assert_eq!(b.inl(0xae14), 0);
    }

    #[test]
    fn cpus_behind_the_bitmap_and_behind_the_registers() {
        let (mut b, p) = mapped();
        b.outb(0xafe2, 1 << 2);
        assert_eq!((b.inl(0xaf00), b.inb(0xaf1f), b.inb(0xaf20)), (1, 0, 0xff));
        b.outl(0xaf00, 0);
        assert_eq!((b.inl(0xaf00), b.inb(0xaf04), b.inb(0xaf0c)), (0, 1, 0xff), "QEMU's test for the register set");
        b.with(|s| s.tell_hotplug(Hotplug::CpuPlugged(1)));
        assert!(b.level(p.sci));
        b.outb(0xaf05, cpu_hotplug::command::NEXT_EVENT);
        assert_eq!((b.inl(0xaf08), b.inb(0xaf04)), (1, 3));
        b.outl(0xaf05, 3);
        assert_eq!(b.inl(0xaf08), 1, "not an aligned access");
        b.reset();
        assert_eq!((b.inl(0xaf00), b.inb(0xaf04)), (0, 3), "no way back to the bitmap");
    }
}
