//! Exceptions: the right vector, error code and return address, delivered from ring 3 to ring 0 and recovered from.

use super::{Verdict, passed};
use crate::cpu::{self, Feature};
use crate::interrupts::{EXCEPTIONS, Fault};
use crate::paging::flags::{NO_EXECUTE, PRESENT, USER, WRITE};
use crate::paging::{address, map};
use crate::ring0;

/// The fault is there, and is `vector`.
fn expect(fault: Option<Fault>, vector: u64, what: &str) -> Result<Fault, super::Stop> {
    let name = |vector: u64| EXCEPTIONS.get(vector as usize).copied().unwrap_or("?");
    match fault {
        None => fail!("{what} did not raise {}", name(vector)),
        Some(fault) if fault.vector != vector => {
            fail!("{what} raised {} instead of {}", name(fault.vector), name(vector))
        }
        Some(fault) => Ok(fault),
    }
}

/// Faults without a page in them.
pub fn exceptions() -> Verdict {
    let mut marker = 0u64;
    // SAFETY: each instruction does nothing but fault; `marker` and the other outputs are written before.
    unsafe {
        let division = catch!("xor edx, edx", "lea {marker}, [rip + 2f]", "2: div edx";
            marker = inout(reg) marker, inout("rax") 1u64 => _, out("rdx") _);
        let fault = expect(division, 0, "a division by zero")?;
        ensure_eq!(fault.rip, marker, "the address pushed for #DE");

        let overflow =
            catch!("mov edx, 7", "mov ecx, 7", "div ecx"; inout("rax") 0u64 => _, out("rdx") _, out("rcx") _);
        expect(overflow, 0, "a quotient of 33 bits")?;

        let undefined = catch!("lea {marker}, [rip + 2f]", "2: ud2"; marker = inout(reg) marker);
        let fault = expect(undefined, 6, "UD2")?;
        ensure_eq!(fault.rip, marker, "the address pushed for #UD");

        let privileged = catch!("mov {r}, cr3"; r = inout(reg) 0u64 => _);
        let fault = expect(privileged, 13, "reading CR3 in ring 3")?;
        ensure_eq!(fault.error, 0, "its error code");
        ensure_eq!(fault.cs & 3, 3, "the ring pushed");
        expect(catch!("hlt"), 13, "HLT in ring 3")?;

        let far = catch!("mov {r}, [{r}]"; r = inout(reg) 0x0000_8000_0000_0000u64 => _);
        expect(far, 13, "a non-canonical address")?;

        let selector = catch!("mov es, {r:e}"; r = in(reg) 0x0bad & !4u32);
        let fault = expect(selector, 13, "a selector beyond the GDT")?;
        ensure_eq!(fault.error, 0x0ba8, "its error code");
    }
    passed()
}

/// Page faults: CR2 and the error code (SDM vol. 3, 4.7).
pub fn page_faults() -> Verdict {
    const NOT_PRESENT: u64 = 0;
    const PROTECTION: u64 = 1;
    const WRITING: u64 = 2;
    const RING_3: u64 = 4;
    const FETCHING: u64 = 16;
    const SLOT: usize = 8;
    let at = address(SLOT) + 0x123;
    let physical = page_faults as *const () as u64;

    let error_of = |fault: Option<Fault>, what: &str| {
        let fault = expect(fault, 14, what)?;
        ensure!(fault.cr2 == at, "CR2 is {:#x} after {what}, expected {at:#x}", fault.cr2);
        Ok(fault.error)
    };
    // SAFETY: each access is to a page that forbids it; nothing is written.
    unsafe {
        map(SLOT, 0, 0);
        let read = catch!("mov {r:e}, [{at}]"; r = out(reg) _, at = in(reg) at);
        ensure_eq!(error_of(read, "a read of no page")?, NOT_PRESENT | RING_3, "the error code of a read of no page");
        let write = catch!("mov byte ptr [{at}], 0"; at = in(reg) at);
        ensure_eq!(
            error_of(write, "a write to no page")?,
            NOT_PRESENT | RING_3 | WRITING,
            "that of a write to no page"
        );

        map(SLOT, physical, PRESENT | USER);
        let write = catch!("mov byte ptr [{at}], 0"; at = in(reg) at);
        ensure_eq!(error_of(write, "a write to a read-only page")?, PROTECTION | RING_3 | WRITING, "that of a write");

        map(SLOT, physical, PRESENT);
        let read = catch!("mov {r:e}, [{at}]"; r = out(reg) _, at = in(reg) at);
        ensure_eq!(error_of(read, "a read of a supervisor page")?, PROTECTION | RING_3, "that of a read from ring 3");

        if cpu::has(Feature::Nx) {
            map(SLOT, physical, PRESENT | WRITE | USER | NO_EXECUTE);
            let fetch = catch!("jmp {at}"; at = in(reg) at);
            ensure_eq!(error_of(fetch, "a jump to no-execute")?, PROTECTION | RING_3 | FETCHING, "that of a jump");
        }

        // From ring 0 too, inside a call.
        map(SLOT, 0, 0);
        let read = catch!("mov rax, {routine}", "int3"; routine = in(reg) read_at as *const () as u64,
            in("rdi") at, out("rax") _);
        ensure_eq!(error_of(read, "a read of no page in ring 0")?, NOT_PRESENT, "that of a read from ring 0");
        let write = catch!("mov rax, {routine}", "int3"; routine = in(reg) write_at as *const () as u64,
            in("rdi") at, out("rax") _);
        ensure_eq!(error_of(write, "a write in ring 0")?, NOT_PRESENT | WRITING, "that of a write from ring 0");
        ring0::call(ring0::nothing, 0, 0, 0);
    }
    passed()
}

#[unsafe(naked)]
unsafe extern "C" fn read_at() {
    core::arch::naked_asm!("mov eax, [rdi]", "ret")
}

#[unsafe(naked)]
unsafe extern "C" fn write_at() {
    core::arch::naked_asm!("mov byte ptr [rdi], 0", "ret")
}

/// The trap flag: #DB after one instruction.
pub fn single_step() -> Verdict {
    let mut marker = 0u64;
    // SAFETY: the handler clears the trap flag again.
    unsafe {
        let step = catch!("lea {marker}, [rip + 2f]", "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "2: nop";
            marker = inout(reg) marker);
        let fault = expect(step, 1, "the trap flag")?;
        ensure_eq!(fault.rip, marker, "the address pushed for #DB");
    }
    passed()
}
