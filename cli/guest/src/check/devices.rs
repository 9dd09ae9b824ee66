//! Devices that are neither memory nor timer.

use super::{Stop, Verdict, passed};
use crate::devices::{fw_cfg, i8042, pic, uart};
use crate::interrupts::{self, PIC_BASE, count};
use crate::pci::Function;
use crate::{acpi, pci, port, serial, time};

/// Every table, and the root pointer, sums up to zero.
pub fn acpi_sums() -> Verdict {
    let Some(acpi) = acpi::get() else { return Err(Stop::Absent("no ACPI tables")) };
    ensure!(acpi.rsdp_sum_is_right, "the root pointer's sum is wrong");
    if let Some(table) = acpi.tables().find(|table| !table.sum_is_right()) {
        fail!("the sum of {} is wrong", table.signature());
    }
    Ok(text!("{} tables", acpi.tables().count()))
}

/// Accesses of all widths agree, there is a host bridge, and an empty slot reads all ones.
pub fn pci_configuration() -> Verdict {
    if !pci::present() {
        return Err(Stop::Absent("no configuration mechanism #1"));
    }
    let bridge = Function { bus: 0, device: 0, function: 0 };
    ensure!(bridge.id().is_some(), "nothing at 00:00.0");
    ensure!(bridge.class() == (6, 0), "00:00.0 is no host bridge");
    for f in pci::functions() {
        for register in [0x00, 0x08, 0x0c, 0x3c] {
            let whole = f.read32(register).to_le_bytes();
            let halves = [f.read16(register), f.read16(register + 2)].map(u16::to_le_bytes);
            let bytes = [0, 1, 2, 3].map(|i| f.read8(register + i));
            ensure!(halves.as_flattened() == whole && bytes == whole, "{f} register {register:#x} differs by width");
        }
    }
    let nobody = Function { bus: 255, device: 31, function: 7 };
    ensure_eq!(nobody.read32(0), u32::MAX, "an empty slot");
    Ok(text!("{} functions", pci::functions().count()))
}

/// Loopback of data and modem lines, on COM2 if there is one, and the transmitter's interrupt on COM1.
pub fn serial() -> Verdict {
    serial::drain();
    let base = uart::PORTS[1];
    let (base, is_console) = match uart::identify(base) {
        Some(_) => (base, false),
        None => (uart::PORTS[0], true),
    };
    let before = port::in8(base + uart::MCR);
    let verdict = loopback(base);
    port::out8(base + uart::MCR, before);
    verdict?;
    let interrupts = transmit_interrupt();
    serial::init();
    interrupts?;
    Ok(text!("loopback on COM{}, interrupt on COM1", if is_console { 1 } else { 2 }))
}

fn loopback(base: u16) -> Result<(), Stop> {
    port::out8(base + uart::IER, 0);
    port::out8(base + uart::LCR, 0x03);
    port::out8(base + uart::FCR, 0x07);
    // DTR, RTS, OUT1, OUT2 come back as DSR, CTS, RI, DCD.
    for (out, back) in [(0x0, 0x00), (0x1, 0x20), (0x2, 0x10), (0x4, 0x40), (0x8, 0x80), (0xf, 0xf0)] {
        port::out8(base + uart::MCR, uart::MCR_LOOP | out);
        let lines = port::in8(base + uart::MSR) & 0xf0;
        ensure!(lines == back, "modem lines {out:x} come back as {lines:#x}, expected {back:#x}");
    }
    let text = *b"Gearbox\x00\xff";
    for byte in text {
        ensure!(time::wait_ms(100, || port::in8(base + uart::LSR) & uart::LSR_THRE != 0), "the transmitter stays full");
        port::out8(base, byte);
    }
    for expected in text {
        // What the host has typed meanwhile may lie in between on the console.
        let received = (0..20).any(|_| {
            time::wait_ms(50, || port::in8(base + uart::LSR) & uart::LSR_DATA != 0) && port::in8(base) == expected
        });
        ensure!(received, "byte {expected:#x} did not come back");
    }
    Ok(())
}

fn transmit_interrupt() -> Result<(), Stop> {
    const IRQ: u32 = 4;
    let base = uart::PORTS[0];
    let vector = PIC_BASE + IRQ;
    serial::drain();
    pic::init();
    pic::unmask(IRQ);
    let before = count(vector);
    interrupts::on();
    port::out8(base + uart::IER, uart::IER_TRANSMIT);
    let arrived = time::wait_ms(1000, || count(vector) != before);
    interrupts::off();
    let cause = port::in8(base + uart::IIR) & 0x0f;
    let after = port::in8(base + uart::IIR) & 0x0f;
    port::out8(base + uart::IER, 0);
    pic::init();
    ensure!(arrived, "no interrupt from the empty transmitter");
    ensure!(cause == 0x02, "the cause is {cause:#x}, expected the empty transmitter, 0x2");
    ensure!(after == 0x01, "the cause stays {after:#x} after it was read");
    Ok(())
}

/// The controller's self-test, its command byte, and the keyboard's echo.
pub fn keyboard_controller() -> Verdict {
    if !i8042::present() {
        return Err(Stop::Absent("no 8042"));
    }
    match i8042::ask(0xaa) {
        Some(0x55) => (),
        Some(other) => fail!("the self-test answers {other:#x}"),
        None => fail!("the self-test does not answer"),
    }
    ensure!(i8042::ask(0x20).is_some(), "the command byte cannot be read");
    i8042::command(0xae);
    i8042::flush();
    i8042::send(0xee);
    let echo = i8042::receive();
    i8042::flush();
    match echo {
        Some(0xee) => Ok(text!("with a keyboard")),
        Some(other) => fail!("the keyboard's echo is {other:#x}"),
        None => Ok(text!("without a keyboard")),
    }
}

/// The data port and DMA give the same.
pub fn fw_cfg() -> Verdict {
    if !fw_cfg::present() {
        return Err(Stop::Absent("no fw_cfg"));
    }
    if !fw_cfg::has_dma() {
        return Ok(text!("ports only"));
    }
    let (mut by_port, mut by_dma) = ([0u8; 512], [0xa5u8; 512]);
    fw_cfg::read(fw_cfg::DIRECTORY, &mut by_port);
    if let Err(control) = fw_cfg::read_by_dma(fw_cfg::DIRECTORY, &mut by_dma) {
        fail!("DMA ends with control word {control:#x}");
    }
    ensure!(by_port == by_dma, "the data port and DMA give different directories");
    // An item that does not exist reads as zeros, by its whole length.
    let mut nothing = [0xffu8; 16];
    fw_cfg::read(0x3fff, &mut nothing);
    ensure!(nothing == [0; 16], "an unknown item reads {nothing:x?}");
    passed()
}
