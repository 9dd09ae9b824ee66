//! One body of behaviour tests, run on every accelerator that has a CPU: the results must be equal.

use gearbox_core::machine::{Outcome, ShutdownCause};
use gearbox_tests::accel::{WITH_CPU, executes_ring_0, open};
use gearbox_tests::small::{CODE_SELECTOR, DEBUG_EXIT, DEBUGCON, Mode, SmallGuest, assemble};
use iced_x86::code_asm::*;

/// How a handler returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    /// IRET.
    Iret,
    /// By popping the frame piece by piece, where ring 0 is emulated without IRET.
    ByHand,
}

/// Runs the guest on each accelerator and expects `text` on the debug console, then exit status `(0 << 1) | 1` by the guest's choice.
fn check(what: &str, text: &str, guest: impl Fn(Return) -> SmallGuest) {
    for accel in WITH_CPU {
        check_on(accel, what, text, &guest);
    }
}

fn check_on(accel: &str, what: &str, text: &str, guest: impl Fn(Return) -> SmallGuest) {
    let Some(opened) = open(accel, 1) else { return };
    let by = if executes_ring_0(&opened) { Return::Iret } else { Return::ByHand };
    let (wrote, outcome) = guest(by).run(opened.vm);
    assert_eq!(wrote, text, "{what} on {accel}: {outcome:?}");
    let end = Outcome { status: 1, cause: ShutdownCause::GuestExit, detail: None };
    assert_eq!(outcome, end, "{what} on {accel}");
}

/// The same in every mode.
fn check_modes(what: &str, text: &str, guest: impl Fn(Mode, Return) -> SmallGuest) {
    for mode in Mode::ALL {
        check(&format!("{what} in {mode:?} mode"), text, |by| guest(mode, by));
    }
}

fn put(a: &mut CodeAssembler, c: char) {
    a.mov(al, c as i32).unwrap();
    a.out(DEBUGCON, al).unwrap();
}

fn finish(a: &mut CodeAssembler) {
    a.mov(al, 0).unwrap();
    a.out(DEBUG_EXIT, al).unwrap();
    let mut forever = a.create_label();
    a.set_label(&mut forever).unwrap();
    a.hlt().unwrap();
    a.jmp(forever).unwrap();
}

fn outb(a: &mut CodeAssembler, port: u32, value: u32) {
    a.mov(al, value as i32).unwrap();
    if port < 0x100 {
        a.out(port, al).unwrap();
    } else {
        a.mov(dx, port as i32).unwrap();
        a.out(dx, al).unwrap();
    }
}

/// Return from a handler without an error code (or one that is popped already). By hand, RBX (EBX) and the flags are lost.
fn leave(a: &mut CodeAssembler, by: Return) {
    match (a.bitness(), by) {
        (16, _) => a.iret().unwrap(),
        (32, Return::Iret) => a.iretd().unwrap(),
        (_, Return::Iret) => a.iretq().unwrap(),
        (32, Return::ByHand) => {
            a.pop(ebx).unwrap();
            a.add(esp, 8).unwrap();
            a.jmp(ebx).unwrap();
        }
        (_, Return::ByHand) => {
            a.pop(rbx).unwrap();
            a.mov(rsp, ptr(rsp + 16)).unwrap();
            a.jmp(rbx).unwrap();
        }
    }
}

/// Remaps the 8259A pair to vectors 20h and 28h with only IRQ 0 open.
fn program_pic(a: &mut CodeAssembler) {
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x20),
        (0x21, 0x04),
        (0x21, 0x01),
        (0xa0, 0x11),
        (0xa1, 0x28),
        (0xa1, 0x02),
        (0xa1, 0x01),
        (0x21, 0xfe),
        (0xa1, 0xff),
    ] {
        outb(a, port, value);
    }
}

/// PIT channel 0, rate generator, about 1 kHz.
fn program_pit(a: &mut CodeAssembler) {
    for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
        outb(a, port, value);
    }
}

#[test]
fn port_io_of_every_width() {
    check_modes("port I/O", "ABCU", |mode, _| {
        SmallGuest::new(mode, |a| {
            put(a, 'A');
            // A word to a byte-wide port goes to two ports: 0xE9 takes its half.
            a.mov(ax, 'B' as i32 | 0x1200).unwrap();
            a.out(DEBUGCON, ax).unwrap();
            // REP OUTSB of one byte.
            a.mov(edx, DEBUGCON as i32).unwrap();
            a.mov(esi, 0x9000).unwrap();
            a.mov(ecx, 1).unwrap();
            a.cld().unwrap();
            a.rep().outsb().unwrap();
            // The scratch register of COM1 keeps what is written.
            a.mov(dx, 0x3ff).unwrap();
            a.mov(al, 'U' as i32).unwrap();
            a.out(dx, al).unwrap();
            a.mov(al, 0).unwrap();
            a.in_(al, dx).unwrap();
            a.out(DEBUGCON, al).unwrap();
            finish(a);
        })
        .piece(0x9000, b"C".to_vec())
    });
}

#[test]
fn port_without_a_device_reads_ones() {
    check_modes("absent port", "y", |mode, _| {
        SmallGuest::new(mode, |a| {
            let mut bad = a.create_label();
            a.mov(dx, 0x2345).unwrap();
            a.xor(eax, eax).unwrap();
            a.in_(eax, dx).unwrap();
            a.cmp(eax, -1).unwrap();
            a.jne(bad).unwrap();
            put(a, 'y');
            a.set_label(&mut bad).unwrap();
            finish(a);
        })
    });
}

#[test]
fn mmio_reaches_the_io_apic() {
    for mode in [Mode::Protected, Mode::Long] {
        check(&format!("MMIO in {mode:?} mode"), "v23", |_| {
            SmallGuest::new(mode, |a| {
                a.mov(ebx, 0xfec0_0000u32).unwrap();
                let (index, data) =
                    if mode == Mode::Long { (ptr(rbx), ptr(rbx + 16)) } else { (ptr(ebx), ptr(ebx + 16)) };
                put(a, 'v');
                a.mov(dword_ptr(index), 1).unwrap();
                a.mov(eax, data).unwrap();
                // Bits 16..24: number of the last entry, 23.
                a.shr(eax, 16).unwrap();
                a.mov(cl, 10).unwrap();
                a.div(cl).unwrap();
                a.add(ax, 0x3030).unwrap();
                a.out(DEBUGCON, al).unwrap();
                a.mov(al, ah).unwrap();
                a.out(DEBUGCON, al).unwrap();
                finish(a);
            })
        });
    }
}

#[test]
fn pit_interrupts_wake_from_hlt() {
    check_modes("PIT and HLT", "iiiii.", |mode, by| {
        SmallGuest::new(mode, |a| {
            program_pic(a);
            program_pit(a);
            a.mov(ebp, 5).unwrap();
            let mut more = a.create_label();
            a.set_label(&mut more).unwrap();
            a.sti().unwrap();
            a.hlt().unwrap();
            a.cli().unwrap();
            a.dec(ebp).unwrap();
            a.jnz(more).unwrap();
            put(a, '.');
            finish(a);
        })
        .handler(0x20, move |a| {
            put(a, 'i');
            outb(a, 0x20, 0x20);
            leave(a, by);
        })
    });
}

#[test]
fn exceptions_are_delivered_and_returned_from() {
    check_modes("exceptions", "D6!", |mode, by| {
        // #DE and #UD leave the instruction pointer at the instruction; the handlers step over it (both are two bytes).
        let skip = |a: &mut CodeAssembler, n: i32| match a.bitness() {
            16 => {
                a.mov(bp, sp).unwrap();
                a.add(word_ptr(bp), n).unwrap();
            }
            32 => a.add(dword_ptr(esp), n).unwrap(),
            _ => a.add(qword_ptr(rsp), n).unwrap(),
        };
        SmallGuest::new(mode, |a| {
            a.xor(ecx, ecx).unwrap();
            a.div(cl).unwrap();
            a.ud2().unwrap();
            put(a, '!');
            finish(a);
        })
        .handler(0, move |a| {
            put(a, 'D');
            skip(a, 2);
            leave(a, by);
        })
        .handler(6, move |a| {
            put(a, '6');
            skip(a, 2);
            leave(a, by);
        })
    });
}

#[test]
fn software_interrupts_return_behind_themselves() {
    let guest = |mode| {
        SmallGuest::new(mode, |a| {
            a.int3().unwrap();
            a.int(0x40).unwrap();
            put(a, '!');
            finish(a);
        })
        .handler(3, |a| {
            put(a, 'T');
            leave(a, Return::Iret);
        })
        .handler(0x40, |a| {
            put(a, 'i');
            leave(a, Return::Iret);
        })
    };
    for accel in WITH_CPU {
        let Some(opened) = open(accel, 1) else { continue };
        for mode in Mode::ALL {
            if mode != Mode::Real && !executes_ring_0(&opened) {
                eprintln!(
                    "skipped on {accel}: this host emulates ring 0, and INT in {mode:?} mode is not part of that"
                );
            } else {
                check_on(accel, &format!("software interrupts in {mode:?} mode"), "Ti!", |_| guest(mode));
            }
        }
    }
}

#[test]
fn general_protection_carries_the_selector() {
    for mode in [Mode::Protected, Mode::Long] {
        check(&format!("#GP in {mode:?} mode"), "Gx.", |by| {
            SmallGuest::new(mode, |a| {
                // Beyond the limit of the GDT: #GP(selector).
                a.mov(eax, 0x78).unwrap();
                a.mov(ds, eax).unwrap();
                put(a, '.');
                finish(a);
            })
            .handler(13, move |a| {
                put(a, 'G');
                let mut bad = a.create_label();
                // MOV DS, EAX is two bytes; the error code lies below the return address.
                match mode {
                    Mode::Long => {
                        a.pop(rax).unwrap();
                        a.add(qword_ptr(rsp), 2).unwrap();
                    }
                    _ => {
                        a.pop(eax).unwrap();
                        a.add(dword_ptr(esp), 2).unwrap();
                    }
                }
                a.cmp(eax, 0x78).unwrap();
                a.jne(bad).unwrap();
                put(a, 'x');
                a.set_label(&mut bad).unwrap();
                leave(a, by);
            })
        });
    }
}

#[test]
fn page_fault_gives_address_and_error_code() {
    check("#PF in long mode", "P2a.", |by| {
        SmallGuest::new(Mode::Long, |a| {
            // The second GiB is not mapped; a write to it gives error code 2.
            a.mov(rbx, 0x4000_1234u64).unwrap();
            a.mov(byte_ptr(rbx), cl).unwrap();
            put(a, '.');
            finish(a);
        })
        .handler(14, move |a| {
            put(a, 'P');
            a.pop(rax).unwrap();
            a.add(al, '0' as i32).unwrap();
            a.out(DEBUGCON, al).unwrap();
            let mut bad = a.create_label();
            a.mov(rax, cr2).unwrap();
            a.cmp(rax, rbx).unwrap();
            a.jne(bad).unwrap();
            put(a, 'a');
            a.set_label(&mut bad).unwrap();
            a.add(qword_ptr(rsp), 2).unwrap();
            leave(a, by);
        })
    });
}

/// A program that resets once by `how`; a byte of CMOS tells the second start from the first.
fn resetting(mode: Mode, how: impl FnOnce(&mut CodeAssembler)) -> SmallGuest {
    SmallGuest::new(mode, |a| {
        let mut second = a.create_label();
        outb(a, 0x70, 0x40);
        a.in_(al, 0x71u32).unwrap();
        a.cmp(al, 0x5a).unwrap();
        a.je(second).unwrap();
        put(a, '1');
        outb(a, 0x71, 0x5a);
        how(a);
        let mut wait = a.create_label();
        a.set_label(&mut wait).unwrap();
        a.hlt().unwrap();
        a.jmp(wait).unwrap();
        a.set_label(&mut second).unwrap();
        put(a, '2');
        finish(a);
    })
}

#[test]
fn reset_control_register() {
    check_modes("port CF9h", "12", |mode, _| {
        resetting(mode, |a| {
            outb(a, 0xcf9, 2);
            outb(a, 0xcf9, 6);
        })
    });
}

#[test]
fn keyboard_controller_reset_pulse() {
    check_modes("8042 pulse", "12", |mode, _| resetting(mode, |a| outb(a, 0x64, 0xfe)));
}

#[test]
fn triple_fault_resets() {
    // A table without room for any vector.
    let triple_fault = |a: &mut CodeAssembler| {
        match a.bitness() {
            16 => {
                a.mov(bx, 0x9000).unwrap();
                a.lidt(ptr(bx)).unwrap();
            }
            32 => {
                a.mov(ebx, 0x9000).unwrap();
                a.lidt(ptr(ebx)).unwrap();
            }
            _ => {
                a.mov(rbx, 0x9000u64).unwrap();
                a.lidt(ptr(rbx)).unwrap();
            }
        }
        a.ud2().unwrap();
    };
    for mode in [Mode::Protected, Mode::Long] {
        check(&format!("triple fault in {mode:?} mode"), "12", |_| resetting(mode, triple_fault));
    }
    // KVM's emulation of real mode does not look at the limit of the vector table.
    check_on("tcg", "triple fault in Real mode", "12", |_| resetting(Mode::Real, triple_fault));
}

#[test]
fn far_jump_from_real_to_protected_mode() {
    check("mode switch", "r3p", |_| {
        let protected = 0xa000u64;
        SmallGuest::new(Mode::Real, |a| {
            put(a, 'r');
            a.mov(bx, 0x9000).unwrap();
            a.lgdt(ptr(bx)).unwrap();
            a.mov(eax, cr0).unwrap();
            a.or(al, 1).unwrap();
            a.mov(cr0, eax).unwrap();
            // JMP FAR 8:0000A000 with a 32-bit offset.
            a.db(&[0x66, 0xea, 0x00, 0xa0, 0x00, 0x00]).unwrap();
            a.db(&CODE_SELECTOR.to_le_bytes()).unwrap();
        })
        .piece(0x9000, [&23u16.to_le_bytes()[..], &0x9100u32.to_le_bytes()].concat())
        .piece(0x9100, [0, 0x00cf_9b00_0000_ffffu64, 0x00cf_9300_0000_ffff].map(u64::to_le_bytes).concat())
        .piece(
            protected,
            assemble(32, protected, |a| {
                put(a, '3');
                a.mov(eax, 0x10).unwrap();
                a.mov(ds, eax).unwrap();
                a.mov(ss, eax).unwrap();
                a.mov(byte_ptr(0x10_0000), 'p' as i32).unwrap();
                a.mov(al, byte_ptr(0x10_0000)).unwrap();
                a.out(DEBUGCON, al).unwrap();
                finish(a);
            }),
        )
    });
}

#[test]
fn application_processor_starts_by_sipi() {
    let guest = || {
        // The AP starts in real mode at 0x9000, and sets a flag.
        let ap = assemble(16, 0, |a| {
            a.xor(ax, ax).unwrap();
            a.mov(ds, ax).unwrap();
            a.mov(byte_ptr(0x500), 1).unwrap();
            let mut forever = a.create_label();
            a.set_label(&mut forever).unwrap();
            a.cli().unwrap();
            a.hlt().unwrap();
            a.jmp(forever).unwrap();
        });
        SmallGuest::new(Mode::Protected, |a| {
            put(a, 'b');
            a.mov(ebx, 0xfee0_0000u32).unwrap();
            // Software-enable the APIC; INIT, then SIPI with vector 9, to all but itself.
            a.mov(dword_ptr(ebx + 0xf0), 0x1ff).unwrap();
            a.mov(dword_ptr(ebx + 0x300), 0xc_4500).unwrap();
            a.mov(dword_ptr(ebx + 0x300), 0xc_4609).unwrap();
            let mut wait = a.create_label();
            a.set_label(&mut wait).unwrap();
            a.pause().unwrap();
            a.cmp(byte_ptr(0x500), 1).unwrap();
            a.jne(wait).unwrap();
            put(a, 'a');
            finish(a);
        })
        .piece(0x9000, ap)
        .cpus(2)
    };
    // The software CPU refuses a second processor for now, with an error that says so.
    if let Some(opened) = open("kvm", 2) {
        let (wrote, outcome) = guest().run(opened.vm);
        assert_eq!((wrote.as_str(), outcome.cause), ("ba", ShutdownCause::GuestExit));
    }
}
