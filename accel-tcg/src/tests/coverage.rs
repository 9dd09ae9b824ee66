//! Every instruction of the features that CPUID offers has an executor.

use iced_x86::{Code, CpuidFeature, Instruction, OpCodeOperandKind, OpKind, Register};

/// What the processor has, in iced's terms.
const OFFERED: &[CpuidFeature] = {
    use CpuidFeature::*;
    &[
        INTEL8086,
        INTEL186,
        INTEL286,
        INTEL386,
        INTEL486,
        X64,
        CMOV,
        RDPMC,
        CPUID,
        MSR,
        TSC,
        CX8,
        CMPXCHG16B,
        FPU,
        FPU287,
        FPU387,
        MMX,
        SSE,
        SSE2,
        SSE3,
        SSSE3,
        SSE4_1,
        SSE4_2,
        SSE4A,
        AVX,
        AVX2,
        FMA,
        F16C,
        AES,
        VAES,
        PCLMULQDQ,
        VPCLMULQDQ,
        SHA,
        GFNI,
        XSAVE,
        XSAVEOPT,
        XSAVEC,
        XSAVES,
        FXSR,
        POPCNT,
        LZCNT,
        BMI1,
        BMI2,
        ADX,
        MOVBE,
        RDRAND,
        RDTSCP,
        SYSCALL,
        SEP,
        CLFSH,
        PAUSE,
        MULTIBYTENOP,
        SMAP,
        FSGSBASE,
    ]
};

/// Codes that are never decoded in the default mode of the decoder, or stay out: these give #UD.
fn left_out(code: Code) -> bool {
    let name = format!("{code:?}");
    name.starts_with("Declare") || name.starts_with("Reservednop") || matches!(code, Code::INVALID | Code::Zero_bytes)
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

#[test]
fn what_is_offered_is_executed() {
    let mut missing = Vec::new();
    for code in Code::values() {
        let needs = code.cpuid_features();
        if needs.is_empty() || !needs.iter().all(|f| OFFERED.contains(f)) || left_out(code) {
            continue;
        }
        if crate::ops::executor(&example(code)).is_none() {
            missing.push(code);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
