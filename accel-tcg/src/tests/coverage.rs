//! The table of `docs/isa-coverage.md`: for each of iced's instruction codes whether it is executed, #UD because CPUID does not offer it, or
//! left out for a reason. `GEARBOX_BLESS=1 cargo test -p gearbox-accel-tcg isa_coverage` writes it anew.

use crate::isa::Isa;
use iced_x86::{Code, CpuidFeature, Instruction, OpCodeOperandKind, OpKind, Register};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Why processors of this engine lack the instructions of a feature.
fn absent(f: CpuidFeature) -> Option<&'static str> {
    use CpuidFeature::*;
    Some(match f {
        INTEL8086_ONLY | INTEL286_ONLY | INTEL386_ONLY | INTEL386_A0_ONLY | INTEL486_A_ONLY | UMOV | MOV_TR
        | FPU287XL_ONLY | FPU387SL_ONLY => "only on processors or steppings older than any CPU model",
        IA64 => "leaves IA-32 on Itanium",
        KNC => "only on Knights Corner",
        D3NOW | D3NOWEXT | FMA4 | XOP | TBM | LWP => "withdrawn by AMD",
        CYRIX_D3NOW | CYRIX_DDI | CYRIX_DMI | CYRIX_EMMI | CYRIX_FPU | CYRIX_SHR | CYRIX_SMINT | CYRIX_SMINT_0F7E
        | CYRIX_SMM | CL1INVMB => "only on Cyrix's and Geode's processors",
        CENTAUR_AIS | PADLOCK_ACE | PADLOCK_GMI | PADLOCK_PHE | PADLOCK_PMM | PADLOCK_RNG | PADLOCK_UNDOC => {
            "only on VIA's processors"
        }
        HLE | RTM | HLE_or_RTM | TSXLDTRK => "TSX is reported absent; its prefixes are ignored",
        CET_SS => "CET is reported absent; RDSSP does nothing",
        CET_IBT => "CET is reported absent; ENDBR does nothing",
        MPX | PCOMMIT => "withdrawn by Intel",
        VMX | INVEPT | INVVPID | SVM | SKINIT | SKINIT_or_SVM | SEV_ES | SEV_SNP | RMPQUERY | TDX => {
            "no nested virtualization"
        }
        SMX | SGX1 | OSS | PCONFIG | TSE | KL | AESKLE | WIDE_KL => {
            "trusted execution and key storage are not modelled"
        }
        AVX512F | AVX512BW | AVX512CD | AVX512DQ | AVX512ER | AVX512PF | AVX512VL | AVX512_4FMAPS | AVX512_4VNNIW
        | AVX512_BF16 | AVX512_BITALG | AVX512_FP16 | AVX512_IFMA | AVX512_VBMI | AVX512_VBMI2 | AVX512_VNNI
        | AVX512_VP2INTERSECT | AVX512_VPOPCNTDQ => {
            "AVX-512 is not implemented; models that have it are reported without it"
        }
        AMX_TILE | AMX_INT8 | AMX_BF16 | AMX_FP16 | AMX_COMPLEX => "AMX is not implemented; no CPU model needs it",
        AVX_VNNI | AVX_IFMA | AVX_NE_CONVERT | AVX_VNNI_INT8 | AVX_VNNI_INT16 | SHA512 | SM3 | SM4 | CMPCCXADD
        | RAO_INT | PREFETCHITI | FRED | LKGS | UINTR | HRESET | MSRLIST | WRMSRNS | UDBG | ENQCMD | PTWRITE
        | WAITPKG => "newer than any CPU model",
        MCOMMIT | RDPRU | INVLPGB | MONITORX => "AMD's extensions for its own servers; no CPU model needs them",
        SSE4A | GFNI | VAES | VPCLMULQDQ | PKU | MONITOR | INVPCID | CLDEMOTE => "not offered by this accelerator",
        _ => return None,
    })
}

/// Why a code is nothing to be executed.
fn no_instruction(code: Code) -> Option<&'static str> {
    let name = format!("{code:?}");
    Some(match code {
        Code::INVALID => "what the decoder calls invalid; #UD",
        _ if name.starts_with("Declare") || code == Code::Zero_bytes => "an assembler's directive",
        _ if code.op_code().fwait() => "WAIT and an instruction of its own",
        _ => return None,
    })
}

/// An instruction of that code, with operands of the right kind where executors look at the kind.
fn example(code: Code) -> Instruction {
    let mut i = Instruction::new();
    i.set_code(code);
    for (n, kind) in (0..).zip(code.op_code().op_kinds()) {
        let name = format!("{kind:?}");
        let register = |r: Register| (OpKind::Register, r);
        let (kind, r) = match *kind {
            OpCodeOperandKind::br16_1 | OpCodeOperandKind::br16_2 => (OpKind::NearBranch16, Register::None),
            OpCodeOperandKind::br32_1 | OpCodeOperandKind::br32_4 => (OpKind::NearBranch32, Register::None),
            OpCodeOperandKind::br64_1 | OpCodeOperandKind::br64_4 => (OpKind::NearBranch64, Register::None),
            OpCodeOperandKind::mem | OpCodeOperandKind::mem_offs => (OpKind::Memory, Register::None),
            _ if name.starts_with("imm") => (OpKind::Immediate8, Register::None),
            _ if name.starts_with("xmm") => register(Register::XMM0),
            _ if name.starts_with("ymm") => register(Register::YMM0),
            _ if name.starts_with("mm") => register(Register::MM0),
            _ if name.starts_with("st") => register(Register::ST0),
            _ if name.starts_with("cr") => register(Register::CR0),
            _ if name.starts_with("dr") => register(Register::DR0),
            OpCodeOperandKind::seg_reg => register(Register::ES),
            _ if name.starts_with("seg") => (OpKind::MemorySegRSI, Register::None),
            OpCodeOperandKind::es
            | OpCodeOperandKind::cs
            | OpCodeOperandKind::ss
            | OpCodeOperandKind::ds
            | OpCodeOperandKind::fs
            | OpCodeOperandKind::gs => register(Register::ES),
            _ => register(Register::RAX),
        };
        i.set_op_kind(n, kind);
        if kind == OpKind::Register {
            i.set_op_register(n, r);
        }
    }
    i
}

/// What happens to a code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Executed,
    Undefined(&'static str),
    LeftOut(&'static str),
}

fn fate(isa: &Isa, code: Code) -> Option<Fate> {
    if let Some(why) = no_instruction(code) {
        return Some(Fate::LeftOut(why));
    }
    if !isa.has_code(code) {
        return code.cpuid_features().iter().find_map(|f| absent(*f)).map(Fate::Undefined);
    }
    crate::ops::executor(&example(code)).map(|_| Fate::Executed)
}

/// The document; `Err` lists the codes without a fate.
fn document() -> Result<String, Vec<Code>> {
    let isa = Isa::new(&crate::accel::offered_cpuid());
    let mut groups: BTreeMap<Fate, BTreeMap<String, BTreeMap<String, usize>>> = BTreeMap::new();
    let mut holes = Vec::new();
    for code in Code::values() {
        let Some(fate) = fate(&isa, code) else {
            holes.push(code);
            continue;
        };
        let needs: Vec<_> = code.cpuid_features().iter().map(|f| format!("{f:?}")).collect();
        let mnemonic = format!("{:?}", code.mnemonic()).to_uppercase();
        *groups.entry(fate).or_default().entry(needs.join(" + ")).or_default().entry(mnemonic).or_default() += 1;
    }
    if !holes.is_empty() {
        return Err(holes);
    }
    let count = |want: fn(&Fate) -> bool| -> usize {
        groups.iter().filter(|(f, _)| want(f)).flat_map(|(_, g)| g.values()).flat_map(BTreeMap::values).sum()
    };
    let (executed, undefined, left) = (
        count(|f| *f == Fate::Executed),
        count(|f| matches!(f, Fate::Undefined(_))),
        count(|f| matches!(f, Fate::LeftOut(_))),
    );
    let mut d = format!(
        "# Instruction set of the software CPU\n\n\
        Of the {} instruction codes of iced-x86, {executed} are executed with `-cpu max`, {undefined} are #UD because CPUID does not \
        offer them, and {left} are nothing to be executed. Smaller CPU models have fewer: what their CPUID does not show is #UD too \
        (`accel-tcg/src/isa.rs`).\n\n\
        Generated: `GEARBOX_BLESS=1 cargo test -p gearbox-accel-tcg isa_coverage` writes this file, and the same test without the \
        variable fails when it is out of date. Features are iced's names; a number says how many codes a mnemonic has.\n",
        executed + undefined + left
    );
    for (fate, features) in &groups {
        let title = match fate {
            Fate::Executed => "Executed".to_owned(),
            Fate::Undefined(why) => format!("#UD by CPUID: {why}"),
            Fate::LeftOut(why) => format!("Left out: {why}"),
        };
        let _ = write!(d, "\n## {title}\n\n| CPUID | instructions |\n|---|---|\n");
        for (needs, mnemonics) in features {
            let list: Vec<_> =
                mnemonics.iter().map(|(m, n)| if *n == 1 { m.clone() } else { format!("{m} ({n})") }).collect();
            let _ = writeln!(d, "| {needs} | {} |", list.join(", "));
        }
    }
    Ok(d)
}

#[test]
fn isa_coverage() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/isa-coverage.md");
    let now = document().unwrap_or_else(|holes| panic!("neither executed nor left out for a reason: {holes:?}"));
    if std::env::var_os("GEARBOX_BLESS").is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let then = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        then == now,
        "docs/isa-coverage.md is out of date: GEARBOX_BLESS=1 cargo test -p gearbox-accel-tcg isa_coverage"
    );
}
