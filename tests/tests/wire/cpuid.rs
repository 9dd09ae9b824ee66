//! CPUID as a guest sees it: each leaf and subleaf of a CPU model, written to the debug console by a guest that does nothing else.

use super::reading::Readings;
use gearbox_core::x86::cpu_features::{CpuidReg, WORDS};
use gearbox_core::x86::cpuid::CpuidLeaf;
use gearbox_tests::small::{DEBUG_EXIT, DEBUGCON, assemble};
use iced_x86::code_asm::{CodeAssembler, al, dword_ptr, dx, eax, ebp, ebx, ecx, edi, edx, esi};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the kernel is loaded, and a record of its own: leaf, subleaf and four registers.
const LOAD: u32 = 0x10_0000;
const RECORD: u32 = 0x11_0000;
const RECORD_SIZE: usize = 24;
const SUBLEAF: u32 = RECORD + 4;
/// Most leaves of a range and subleaves of a leaf that are looked at.
const LEAVES: u32 = 0x20;
const SUBLEAVES: u32 = 16;
/// First leaves of the ranges: basic, hypervisor, extended, and what one vendor had besides.
const RANGES: [u32; 4] = [0, 0x4000_0000, 0x8000_0000, 0xc000_0000];

/// A multiboot kernel that tells every leaf of every range, and the one behind its last.
fn kernel() -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const ADDRESSES: u32 = 1 << 16;
    let header = [MAGIC, ADDRESSES, 0u32.wrapping_sub(MAGIC + ADDRESSES), LOAD, LOAD, 0, 0, LOAD + 32];
    let code = assemble(32, u64::from(LOAD) + 32, |a| {
        RANGES.iter().for_each(|&first| range(a, first));
        a.mov(edx, DEBUG_EXIT).unwrap();
        a.mov(al, 0).unwrap();
        a.out(dx, al).unwrap();
        let mut forever = a.create_label();
        a.set_label(&mut forever).unwrap();
        a.jmp(forever).unwrap();
    });
    [header.into_iter().flat_map(u32::to_le_bytes).collect(), code].concat()
}

fn range(a: &mut CodeAssembler, first: u32) {
    let [mut not_below, mut not_above, mut leaf, mut subleaf] = std::array::from_fn(|_| a.create_label());
    a.mov(eax, first).unwrap();
    a.xor(ecx, ecx).unwrap();
    a.cpuid().unwrap();
    // EDI is the last leaf to look at, EBP the one looked at.
    a.mov(ebp, first).unwrap();
    a.mov(edi, eax).unwrap();
    a.cmp(edi, ebp).unwrap();
    a.jae(not_below).unwrap();
    a.mov(edi, ebp).unwrap();
    a.set_label(&mut not_below).unwrap();
    a.lea(eax, ebp + LEAVES).unwrap();
    a.cmp(edi, eax).unwrap();
    a.jbe(not_above).unwrap();
    a.mov(edi, eax).unwrap();
    a.set_label(&mut not_above).unwrap();
    a.inc(edi).unwrap();

    a.set_label(&mut leaf).unwrap();
    a.mov(dword_ptr(RECORD), ebp).unwrap();
    a.mov(dword_ptr(SUBLEAF), 0).unwrap();
    a.set_label(&mut subleaf).unwrap();
    a.mov(eax, ebp).unwrap();
    a.mov(ecx, dword_ptr(SUBLEAF)).unwrap();
    a.cpuid().unwrap();
    for (n, register) in (2..).zip([eax, ebx, ecx, edx]) {
        a.mov(dword_ptr(RECORD + 4 * n), register).unwrap();
    }
    a.mov(esi, RECORD).unwrap();
    a.mov(ecx, RECORD_SIZE as u32).unwrap();
    a.mov(edx, DEBUGCON).unwrap();
    a.rep().outsb().unwrap();
    a.inc(dword_ptr(SUBLEAF)).unwrap();
    a.cmp(dword_ptr(SUBLEAF), SUBLEAVES).unwrap();
    a.jb(subleaf).unwrap();
    a.inc(ebp).unwrap();
    a.cmp(ebp, edi).unwrap();
    a.jbe(leaf).unwrap();
}

/// The leaves that a guest of `program` sees with this `-cpu` and these arguments.
fn leaves(program: &Path, cpu: &str, more: &[&str]) -> Vec<CpuidLeaf> {
    let directory = tempfile::tempdir().expect("a directory");
    let [image, output] = ["kernel", "output"].map(|name| directory.path().join(name));
    std::fs::write(&image, kernel()).expect("the kernel");
    let console = format!("file,id=console,path={}", output.display());
    let status = Command::new(program)
        .args(["-machine", "pc", "-accel", "tcg", "-m", "32", "-nodefaults", "-display", "none", "-cpu", cpu])
        .args(["-chardev", &console, "-device", "isa-debugcon,iobase=0xe9,chardev=console"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel"])
        .arg(&image)
        .args(more)
        .stderr(Stdio::null())
        .status()
        .expect("an emulator");
    assert_eq!(status.code(), Some(1), "{} -cpu {cpu}", program.display());
    let records = std::fs::read(&output).expect("what the guest wrote");
    let record = |bytes: &[u8]| {
        let word = |n: usize| u32::from_le_bytes(bytes[4 * n..4 * n + 4].try_into().expect("four bytes"));
        CpuidLeaf { function: word(0), index: Some(word(1)), eax: word(2), ebx: word(3), ecx: word(4), edx: word(5) }
    };
    records.chunks_exact(RECORD_SIZE).map(record).collect()
}

/// Notes what this `-cpu` gives a guest of `program`: features by their names, all other bits that are set by leaf and register.
pub fn survey(program: &Path, cpu: &str, more: &[&str], readings: &mut Readings) {
    const REGISTERS: [CpuidReg; 4] = [CpuidReg::Eax, CpuidReg::Ebx, CpuidReg::Ecx, CpuidReg::Edx];
    let leaves = leaves(program, cpu, more);
    let last = |range: u32| leaves.iter().find(|l| l.function == range).map_or(0, |l| l.eax);
    let of = |function: u32| leaves.iter().filter(move |l| l.function == function);
    let values = |function: u32| -> Vec<_> { of(function).map(|l| REGISTERS.map(|r| r.of(l))).collect() };
    for of_leaf in leaves.chunk_by(|a, b| a.function == b.function) {
        let function = of_leaf[0].function;
        if function > last(function & 0xf000_0000) {
            let repeats = values(function) == values(last(0));
            readings
                .note(format!("cpuid {cpu} behind {function:x}"), format!("repeats the last basic leaf: {repeats}"));
            continue;
        }
        let same = |l: &CpuidLeaf| CpuidLeaf { index: of_leaf[0].index, ..*l } == of_leaf[0];
        let subleaves = if of_leaf.iter().all(same) { &of_leaf[..1] } else { of_leaf };
        for l in subleaves {
            let place = match l.index {
                Some(index) if subleaves.len() > 1 => format!("{function:x}.{index:x}"),
                _ => format!("{function:x}"),
            };
            for register in REGISTERS {
                let mut value = register.of(l);
                let here = |index: Option<u32>| index.unwrap_or(0) == l.index.unwrap_or(0);
                let word = WORDS.iter().find(|w| w.function == function && here(w.index) && w.reg == register);
                for (bit, name) in word.into_iter().flat_map(|w| w.bits) {
                    if value >> bit & 1 != 0 {
                        readings.note(format!("cpuid {cpu} feature {name}"), "on");
                    }
                    value &= !(1 << bit);
                }
                if value != 0 {
                    readings.number(format!("cpuid {cpu} {place} {}", register.name()), value);
                }
            }
        }
    }
}
