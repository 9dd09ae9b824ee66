//! Several CPUs, the same bodies on every accelerator that has them, and on the software CPU in both of its threading modes.

use gearbox_core::machine::{Outcome, ShutdownCause};
use gearbox_tests::accel::{executes_ring_0, open};
use gearbox_tests::small::{CODE_SELECTOR, DEBUG_EXIT, DEBUGCON, Mode, SmallGuest, assemble};
use iced_x86::code_asm::*;

const ACCELERATORS: [&str; 3] = ["kvm", "tcg,thread=multi", "tcg,thread=single"];

/// Real-mode code of a processor that starts; its page is the vector of the start-up IPI.
const TRAMPOLINE: u64 = 0x9000;
/// Pseudo-descriptors for it.
const GDT_POINTER: u64 = 0x9f00;
const IDT_POINTER: u64 = 0x9f10;
/// 64-bit code of a processor that has started.
const STARTED: u64 = 0xa000;
/// What every CPU then does, with its number in EDI.
const BODY: u64 = 0xb000;
/// Numbers of CPUs that have come, and that are done.
const READY: i32 = 0x500;
const DONE: i32 = 0x504;
/// What bodies work on.
const DATA: i32 = 0x40_0000;
const APIC: i32 = 0xfee0_0000u32 as i32;

fn put(a: &mut CodeAssembler, c: char) {
    a.mov(al, c as i32).unwrap();
    a.out(DEBUGCON, al).unwrap();
}
/// Waits until the dword at `at` is `value`.
fn wait_for(a: &mut CodeAssembler, at: i32, value: i32) {
    let mut again = a.create_label();
    let mut there = a.create_label();
    a.set_label(&mut again).unwrap();
    a.cmp(dword_ptr(at), value).unwrap();
    a.je(there).unwrap();
    a.pause().unwrap();
    a.jmp(again).unwrap();
    a.set_label(&mut there).unwrap();
}
/// Writes a register of the local APIC.
fn apic(a: &mut CodeAssembler, register: u32, value: u32) {
    a.mov(r15d, APIC).unwrap();
    a.mov(dword_ptr(r15 + register), value as i32).unwrap();
}
/// Enables the APIC, with logical id `1 << EDI`, and puts the CPU's number into EDI.
fn know_yourself(a: &mut CodeAssembler) {
    apic(a, 0xf0, 0x1ff);
    a.mov(edi, dword_ptr(r15 + 0x20)).unwrap();
    a.shr(edi, 24).unwrap();
    a.mov(ecx, edi).unwrap();
    a.mov(eax, 1 << 24).unwrap();
    a.shl(eax, cl).unwrap();
    a.mov(dword_ptr(r15 + 0xd0), eax).unwrap();
}

/// A guest whose CPUs all do `body` in 64-bit mode with interrupts off; the first one then does `judge`, which leaves 1 in EAX if all is well.
fn guest(cpus: u32, body: impl FnOnce(&mut CodeAssembler), judge: impl FnOnce(&mut CodeAssembler)) -> SmallGuest {
    let others = cpus as i32 - 1;
    let trampoline = assemble(16, 0, |a| {
        a.cli().unwrap();
        a.xor(ax, ax).unwrap();
        a.mov(ds, ax).unwrap();
        a.mov(bx, GDT_POINTER as i32).unwrap();
        a.lgdt(ptr(bx)).unwrap();
        a.mov(eax, 0x20).unwrap();
        a.mov(cr4, eax).unwrap();
        // The page tables of the first processor.
        a.mov(eax, 0x1_0000).unwrap();
        a.mov(cr3, eax).unwrap();
        a.mov(ecx, 0xc000_0080u32).unwrap();
        a.rdmsr().unwrap();
        a.or(eax, 0x100).unwrap();
        a.wrmsr().unwrap();
        a.mov(eax, cr0).unwrap();
        a.or(eax, 0x8000_0001u32 as i32).unwrap();
        a.mov(cr0, eax).unwrap();
        a.db(&[0x66, 0xea]).unwrap();
        a.db(&(STARTED as u32).to_le_bytes()).unwrap();
        a.db(&CODE_SELECTOR.to_le_bytes()).unwrap();
    });
    let started = assemble(64, STARTED, |a| {
        a.mov(eax, 0x10).unwrap();
        a.mov(ds, eax).unwrap();
        a.mov(es, eax).unwrap();
        a.mov(ss, eax).unwrap();
        a.mov(rbx, IDT_POINTER).unwrap();
        a.lidt(ptr(rbx)).unwrap();
        know_yourself(a);
        a.mov(eax, edi).unwrap();
        a.shl(eax, 12).unwrap();
        a.lea(esp, ptr(rax + 0x3_8000)).unwrap();
        a.lock().inc(dword_ptr(READY)).unwrap();
        wait_for(a, READY, others);
        a.mov(rax, BODY).unwrap();
        a.call(rax).unwrap();
        a.lock().inc(dword_ptr(DONE)).unwrap();
        // Others may not be done, and still send interrupts.
        let mut forever = a.create_label();
        a.set_label(&mut forever).unwrap();
        a.pause().unwrap();
        a.jmp(forever).unwrap();
    });
    let body = assemble(64, BODY, |a| {
        body(a);
        a.ret().unwrap();
    });
    SmallGuest::new(Mode::Long, |a| {
        know_yourself(a);
        // Nobody has programmed the 8259A pair, whose interrupts come by LINT0.
        apic(a, 0x350, 0x1_0000);
        apic(a, 0x300, 0xc_4500);
        apic(a, 0x300, 0xc_4600 | (TRAMPOLINE >> 12) as u32);
        wait_for(a, READY, others);
        a.mov(rax, BODY).unwrap();
        a.call(rax).unwrap();
        wait_for(a, DONE, others);
        let mut bad = a.create_label();
        judge(a);
        a.cmp(eax, 1).unwrap();
        a.jne(bad).unwrap();
        put(a, 'y');
        a.set_label(&mut bad).unwrap();
        put(a, '.');
        a.mov(al, 0).unwrap();
        a.out(DEBUG_EXIT, al).unwrap();
        a.hlt().unwrap();
    })
    .piece(TRAMPOLINE, trampoline)
    .piece(GDT_POINTER, [&23u16.to_le_bytes()[..], &0x1000u32.to_le_bytes()].concat())
    .piece(IDT_POINTER, [&0xfffu16.to_le_bytes()[..], &0x2000u64.to_le_bytes()].concat())
    .piece(STARTED, started)
    .piece(BODY, body)
    .cpus(cpus)
}

fn check(what: &str, make: impl Fn(u32) -> SmallGuest) {
    for accel in ACCELERATORS {
        for cpus in [2, 4] {
            let Some(opened) = open(accel, cpus) else { continue };
            if !executes_ring_0(&opened) {
                eprintln!("skipped on {accel}: this host emulates ring 0, which these guests spend their time in");
                continue;
            }
            let (wrote, outcome) = make(cpus).run(opened.vm);
            let end = Outcome { status: 1, cause: ShutdownCause::GuestExit, detail: None };
            assert_eq!((wrote.as_str(), outcome), ("y.", end), "{what} with {cpus} CPUs on {accel}");
        }
    }
}

/// Repeats `step` `n` times by R14.
fn times(a: &mut CodeAssembler, n: i32, step: impl FnOnce(&mut CodeAssembler)) {
    a.mov(r14d, n).unwrap();
    let mut again = a.create_label();
    a.set_label(&mut again).unwrap();
    // Two labels cannot stand before one instruction.
    a.nop().unwrap();
    step(a);
    a.dec(r14d).unwrap();
    a.jnz(again).unwrap();
}
/// EAX becomes 1 if the qwords at these places have these values.
fn all_are(a: &mut CodeAssembler, places: &[(i32, i32)]) {
    let mut bad = a.create_label();
    let mut end = a.create_label();
    for (at, value) in places {
        a.cmp(qword_ptr(*at), *value).unwrap();
        a.jne(bad).unwrap();
    }
    a.mov(eax, 1).unwrap();
    a.jmp(end).unwrap();
    a.set_label(&mut bad).unwrap();
    a.xor(eax, eax).unwrap();
    a.set_label(&mut end).unwrap();
}

#[test]
fn locked_counters_are_exact() {
    const N: i32 = 3000;
    check("LOCK", |cpus| {
        guest(
            cpus,
            |a| {
                times(a, N, |a| {
                    a.lock().inc(qword_ptr(DATA)).unwrap();
                    a.mov(ecx, 1).unwrap();
                    a.lock().xadd(qword_ptr(DATA + 0x40), rcx).unwrap();
                    // Two neighbours of different widths.
                    a.lock().add(byte_ptr(DATA + 0x80), 1).unwrap();
                    a.lock().add(word_ptr(DATA + 0x82), 1).unwrap();
                    let mut retry = a.create_label();
                    a.mov(eax, dword_ptr(DATA + 0xc0)).unwrap();
                    a.set_label(&mut retry).unwrap();
                    a.lea(ecx, ptr(rax + 1)).unwrap();
                    a.lock().cmpxchg(dword_ptr(DATA + 0xc0), ecx).unwrap();
                    a.jne(retry).unwrap();
                    let mut retry = a.create_label();
                    a.mov(eax, dword_ptr(DATA + 0x100)).unwrap();
                    a.mov(edx, dword_ptr(DATA + 0x104)).unwrap();
                    a.set_label(&mut retry).unwrap();
                    a.mov(ebx, eax).unwrap();
                    a.mov(ecx, edx).unwrap();
                    a.add(ebx, 1).unwrap();
                    a.adc(ecx, 0).unwrap();
                    a.lock().cmpxchg8b(qword_ptr(DATA + 0x100)).unwrap();
                    a.jne(retry).unwrap();
                    let mut retry = a.create_label();
                    a.mov(rax, qword_ptr(DATA + 0x140)).unwrap();
                    a.mov(rdx, qword_ptr(DATA + 0x148)).unwrap();
                    a.set_label(&mut retry).unwrap();
                    a.lea(rbx, ptr(rax + 1)).unwrap();
                    a.lea(rcx, ptr(rdx + 1)).unwrap();
                    a.lock().cmpxchg16b(xmmword_ptr(DATA + 0x140)).unwrap();
                    a.jne(retry).unwrap();
                });
            },
            move |a| {
                let total = N * cpus as i32;
                for (at, wide) in [(DATA + 0x80, false), (DATA + 0x82, true)] {
                    if wide {
                        a.movzx(ecx, word_ptr(at)).unwrap();
                    } else {
                        a.movzx(ecx, byte_ptr(at)).unwrap();
                    }
                    a.mov(qword_ptr(DATA + 0x800 + 8 * i32::from(wide)), rcx).unwrap();
                }
                let narrow = [(DATA + 0x800, total & 0xff), (DATA + 0x808, total & 0xffff)];
                let wide = [0, 0x40, 0xc0, 0x100, 0x140, 0x148].map(|at| (DATA + at, total));
                all_are(a, &[&narrow[..], &wide].concat());
            },
        )
    });
}

#[test]
fn misaligned_locked_accesses_are_exact() {
    const N: i32 = 300;
    // Inside a cache line, across lines, across pages; and all of them against aligned accesses to their halves.
    const PLACES: [i32; 3] = [DATA + 1, DATA + 0x3c, DATA + 0xffc];
    check("misaligned LOCK", |cpus| {
        guest(
            cpus,
            |a| {
                times(a, N, |a| {
                    for at in PLACES {
                        a.lock().inc(qword_ptr(at)).unwrap();
                    }
                    a.mov(rcx, 0x1_0000_0000u64).unwrap();
                    a.lock().xadd(qword_ptr(DATA + 0x3c), rcx).unwrap();
                    a.lock().dec(dword_ptr(DATA + 0x40)).unwrap();
                });
            },
            move |a| all_are(a, &PLACES.map(|at| (at, N * cpus as i32))),
        )
    });
}

#[test]
fn a_lock_by_xchg_protects_plain_accesses() {
    const N: i32 = 1000;
    check("XCHG lock", |cpus| {
        guest(
            cpus,
            |a| {
                times(a, N, |a| {
                    let mut retry = a.create_label();
                    let mut taken = a.create_label();
                    a.set_label(&mut retry).unwrap();
                    a.mov(eax, 1).unwrap();
                    a.xchg(dword_ptr(DATA), eax).unwrap();
                    a.test(eax, eax).unwrap();
                    a.jz(taken).unwrap();
                    a.pause().unwrap();
                    a.jmp(retry).unwrap();
                    a.set_label(&mut taken).unwrap();
                    a.inc(qword_ptr(DATA + 0x40)).unwrap();
                    a.add(qword_ptr(DATA + 0x1000), 2).unwrap();
                    a.mov(dword_ptr(DATA), 0).unwrap();
                });
            },
            move |a| {
                let total = N * cpus as i32;
                all_are(a, &[(DATA + 0x40, total), (DATA + 0x1000, 2 * total)]);
            },
        )
    });
}

/// The first CPU takes turns with all others: `lead`, then one after the other what each of them `follow`s with, `n` times. The number of the turn is
/// in R14 and at [`SEQUENCE`]; whoever finds something wrong sets [`WRONG`].
fn led(
    cpus: u32,
    n: i32,
    lead: impl FnOnce(&mut CodeAssembler),
    follow: impl FnOnce(&mut CodeAssembler),
) -> SmallGuest {
    let others = cpus as i32 - 1;
    guest(
        cpus,
        move |a| {
            let mut follower = a.create_label();
            let mut end = a.create_label();
            a.sti().unwrap();
            a.test(edi, edi).unwrap();
            a.jnz(follower).unwrap();
            let mut again = a.create_label();
            a.mov(r14d, 1).unwrap();
            a.set_label(&mut again).unwrap();
            a.nop().unwrap();
            lead(a);
            a.mov(dword_ptr(FOLLOWED), 0).unwrap();
            a.mov(dword_ptr(SEQUENCE), r14d).unwrap();
            wait_for(a, FOLLOWED, others);
            a.inc(r14d).unwrap();
            a.cmp(r14d, n).unwrap();
            a.jbe(again).unwrap();
            a.jmp(end).unwrap();
            a.set_label(&mut follower).unwrap();
            let mut again = a.create_label();
            let mut wait = a.create_label();
            let mut now = a.create_label();
            a.mov(r14d, 1).unwrap();
            a.set_label(&mut again).unwrap();
            a.nop().unwrap();
            a.set_label(&mut wait).unwrap();
            a.cmp(dword_ptr(SEQUENCE), r14d).unwrap();
            a.je(now).unwrap();
            a.pause().unwrap();
            a.jmp(wait).unwrap();
            a.set_label(&mut now).unwrap();
            follow(a);
            a.lock().inc(dword_ptr(FOLLOWED)).unwrap();
            a.inc(r14d).unwrap();
            a.cmp(r14d, n).unwrap();
            a.jbe(again).unwrap();
            a.set_label(&mut end).unwrap();
            a.cli().unwrap();
        },
        |a| all_are(a, &[(WRONG, 0)]),
    )
}
const SEQUENCE: i32 = DATA + 0x100;
const FOLLOWED: i32 = DATA + 0x140;
const WRONG: i32 = DATA + 0x180;
const ACKNOWLEDGED: i32 = DATA + 0x1c0;

/// Expects EAX to be R14D.
fn expect_sequence(a: &mut CodeAssembler) {
    let mut right = a.create_label();
    a.cmp(eax, r14d).unwrap();
    a.je(right).unwrap();
    a.mov(dword_ptr(WRONG), 1).unwrap();
    a.set_label(&mut right).unwrap();
}
/// A handler that does something with RAX and R15 saved, acknowledges to the APIC and counts at `at`.
fn handler(a: &mut CodeAssembler, at: i32, what: impl FnOnce(&mut CodeAssembler)) {
    a.push(rax).unwrap();
    a.push(r15).unwrap();
    what(a);
    apic(a, 0xb0, 0);
    a.lock().inc(dword_ptr(at)).unwrap();
    a.pop(r15).unwrap();
    a.pop(rax).unwrap();
    a.iretq().unwrap();
}
/// Sends vector 50h to all others, and waits until `n` have acknowledged.
fn interrupt_others(a: &mut CodeAssembler, n: i32) {
    a.mov(dword_ptr(ACKNOWLEDGED), 0).unwrap();
    apic(a, 0x300, 0xc_4050);
    wait_for(a, ACKNOWLEDGED, n);
}

/// A function that returns a number, which the first CPU changes. All CPUs execute other code of the same page meanwhile.
const FUNCTION: i32 = 0xb800;

fn write_function(a: &mut CodeAssembler) {
    a.mov(byte_ptr(FUNCTION), 0xb8).unwrap();
    a.mov(dword_ptr(FUNCTION + 1), r14d).unwrap();
    a.mov(byte_ptr(FUNCTION + 5), 0xc3).unwrap();
}
fn call_function(a: &mut CodeAssembler) {
    a.mov(eax, FUNCTION).unwrap();
    a.call(rax).unwrap();
    expect_sequence(a);
}

#[test]
fn changed_code_is_executed_after_a_serialising_instruction() {
    check("cross-modifying code", |cpus| {
        led(
            cpus,
            400,
            |a| {
                write_function(a);
                call_function(a);
            },
            |a| {
                // CPUID serialises (SDM vol. 3, 9.1.3).
                a.xor(eax, eax).unwrap();
                a.xor(ecx, ecx).unwrap();
                a.cpuid().unwrap();
                call_function(a);
            },
        )
    });
}

#[test]
fn changed_code_is_executed_after_an_interrupt() {
    check("cross-modifying code with IPIs", |cpus| {
        led(
            cpus,
            200,
            move |a| {
                write_function(a);
                interrupt_others(a, cpus as i32 - 1);
            },
            call_function,
        )
        .handler(0x50, |a| handler(a, ACKNOWLEDGED, |_| ()))
    });
}

#[test]
fn a_translation_is_gone_after_a_shoot_down() {
    /// The page directory entry of linear address 200 MiB.
    const ENTRY: i32 = 0x1_2000 + 100 * 8;
    const LINEAR: i32 = 200 << 20;
    check("TLB shoot-down", |cpus| {
        led(
            cpus,
            300,
            move |a| {
                // Two pages take turns; each has the number of its turn at its start.
                a.mov(eax, r14d).unwrap();
                a.and(eax, 1).unwrap();
                a.shl(eax, 21).unwrap();
                a.add(eax, 32 << 20).unwrap();
                a.mov(dword_ptr(rax), r14d).unwrap();
                a.or(eax, 0x83).unwrap();
                a.mov(qword_ptr(ENTRY), rax).unwrap();
                a.invlpg(byte_ptr(LINEAR)).unwrap();
                interrupt_others(a, cpus as i32 - 1);
            },
            |a| {
                a.mov(eax, dword_ptr(LINEAR)).unwrap();
                expect_sequence(a);
            },
        )
        .handler(0x50, |a| {
            handler(a, ACKNOWLEDGED, |a| {
                a.invlpg(byte_ptr(LINEAR)).unwrap();
            })
        })
    });
}

#[test]
fn interrupts_reach_every_destination_exactly() {
    /// What each CPU has been acknowledged, by its number.
    const COUNTS: i32 = DATA + 0x400;
    const N: i32 = 60;
    check("IPI storm", |cpus| {
        let all = (1i32 << cpus) - 1;
        let n = cpus as i32;
        let mut guest = guest(
            cpus,
            move |a| {
                a.sti().unwrap();
                // R12D: low half of ICR with this CPU's vector; R13D: how many acknowledgements there must have been.
                a.lea(r12d, ptr(rdi + 0x4040)).unwrap();
                a.xor(r13d, r13d).unwrap();
                times(a, N, |a| {
                    // Physical: the next CPU.
                    a.lea(eax, ptr(rdi + 1)).unwrap();
                    a.and(eax, n - 1).unwrap();
                    send(a, 0, 1);
                    // Logical: all, and all the others.
                    a.mov(eax, all).unwrap();
                    send(a, 0x800, n);
                    a.mov(ecx, edi).unwrap();
                    a.mov(eax, 1).unwrap();
                    a.shl(eax, cl).unwrap();
                    a.xor(eax, all).unwrap();
                    send(a, 0x800, n - 1);
                    // Lowest priority among all: one of them.
                    a.mov(eax, all).unwrap();
                    send(a, 0x900, 1);
                    // Shorthands.
                    for (short, reached) in [(1, 1), (2, n), (3, n - 1)] {
                        a.xor(eax, eax).unwrap();
                        send(a, short << 18, reached);
                    }
                });
            },
            move |a| {
                let per_cpu = N * (1 + n + (n - 1) + 1 + 1 + n + (n - 1));
                let counts: Vec<_> = (0..n).map(|cpu| (COUNTS + 8 * cpu, per_cpu)).collect();
                all_are(a, &counts);
            },
        );
        for cpu in 0..cpus {
            guest = guest.handler(0x40 + cpu as u8, move |a| handler(a, COUNTS + 8 * cpu as i32, |_| ()));
        }
        guest
    });

    /// Sends to EAX in ICR's upper half with these bits besides R12D, and waits for so many acknowledgements more.
    fn send(a: &mut CodeAssembler, bits: i32, reached: i32) {
        a.mov(r15d, APIC).unwrap();
        a.shl(eax, 24).unwrap();
        a.mov(dword_ptr(r15 + 0x310), eax).unwrap();
        a.mov(eax, r12d).unwrap();
        a.or(eax, bits).unwrap();
        a.mov(dword_ptr(r15 + 0x300), eax).unwrap();
        a.add(r13d, reached).unwrap();
        let mut again = a.create_label();
        let mut there = a.create_label();
        a.set_label(&mut again).unwrap();
        a.cmp(dword_ptr(rdi * 8 + COUNTS), r13d).unwrap();
        a.je(there).unwrap();
        a.pause().unwrap();
        a.jmp(again).unwrap();
        a.set_label(&mut there).unwrap();
    }
}

#[test]
fn time_stamps_agree() {
    check("TSC", |cpus| {
        led(
            cpus,
            100,
            |a| {
                a.rdtsc().unwrap();
                a.mov(dword_ptr(DATA + 0x200), eax).unwrap();
                a.mov(dword_ptr(DATA + 0x204), edx).unwrap();
            },
            |a| {
                // What the first CPU read before must be past.
                a.rdtsc().unwrap();
                a.shl(rdx, 32).unwrap();
                a.or(rax, rdx).unwrap();
                let mut right = a.create_label();
                a.cmp(rax, qword_ptr(DATA + 0x200)).unwrap();
                a.jae(right).unwrap();
                a.mov(dword_ptr(WRONG), 1).unwrap();
                a.set_label(&mut right).unwrap();
            },
        )
    });
}
