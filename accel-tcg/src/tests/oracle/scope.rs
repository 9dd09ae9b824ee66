//! Which instructions are compared with the host, and why others are not.

use crate::isa::Isa;
use iced_x86::{Code, EncodingKind, FlowControl, Instruction, Mnemonic};

/// Why a code is not compared, for those that the host and the interpreter have.
pub(super) fn left_out(code: Code) -> Option<&'static str> {
    use Mnemonic::*;
    let info = code.op_code();
    Some(match code.mnemonic() {
        Rdtsc | Rdtscp | Rdpmc | Rdrand | Rdseed | Rdpid => "its result is never the same",
        Cpuid => "the host's CPUID is not the model's",
        Syscall | Sysenter => "the host's kernel takes it",
        Vmmcall | Vmcall => "the host's hypervisor takes it",
        Sgdt | Sidt | Sldt | Str | Smsw => "the host's kernel has tables of its own",
        Rdfsbase | Wrfsbase | Wrgsbase => "the process that executes it needs FS",
        Lfs | Lgs | Lss | Lds | Les => "the host's descriptors are its kernel's (`sys::tests`)",
        Lar | Lsl | Verr | Verw | Lldt | Ltr | Arpl => "the host's descriptors are its kernel's (`sys::tests`)",
        Iret | Iretd | Iretq | Retf => "the host's descriptors are its kernel's (`sys::tests`)",
        Xsave | Xsave64 | Xsaveopt | Xsaveopt64 | Xsavec | Xsavec64 | Xsaves | Xsaves64 | Xrstor | Xrstor64
        | Xrstors | Xrstors64 => "its image shows what the host's kernel enabled and tracks (`fpu::tests`)",
        Xgetbv | Xsetbv => "XCR0 is the host's kernel's",
        Monitorx | Mwaitx | Monitor | Mwait => "it waits",
        Sysexit | Sysexitq => "hypervisors emulate it, and give #GP where AMD's processors have #UD",
        _ if far(code) => "the host's descriptors are its kernel's (`sys::tests`)",
        Mov | Pop | Push if moves_segment(code) => "the host's descriptors are its kernel's (`sys::tests`)",
        _ if info.fwait() => "two instructions for the processor",
        _ => return None,
    })
}
fn far(code: Code) -> bool {
    code.is_jmp_far() || code.is_call_far() || code.is_jmp_far_indirect() || code.is_call_far_indirect()
}
fn moves_segment(code: Code) -> bool {
    let info = code.op_code();
    use iced_x86::OpCodeOperandKind as K;
    info.op_kinds().iter().any(|k| matches!(k, K::seg_reg | K::es | K::cs | K::ss | K::ds | K::fs | K::gs))
}

/// Does alignment checking see its operand as a whole? That of images differs between processors.
pub(super) fn checks_alignment(m: Mnemonic) -> bool {
    use Mnemonic::*;
    !matches!(m, Fnsave | Frstor | Fldenv | Fnstenv | Fxsave | Fxsave64 | Fxrstor | Fxrstor64)
}

/// Is the code one that `bits`-bit code of this processor can have, and that a random instruction can be made of?
pub(super) fn exists(isa: &Isa, code: Code, bits: u32) -> bool {
    let info = code.op_code();
    let name = format!("{code:?}");
    info.is_instruction()
        && if bits == 64 { info.mode64() } else { info.mode32() }
        && !matches!(info.encoding(), EncodingKind::EVEX | EncodingKind::MVEX | EncodingKind::XOP)
        && isa.has_code(code)
        && !name.starts_with("Declare")
        && !matches!(code, Code::INVALID | Code::Zero_bytes)
}

/// May it transfer control, so that it has to be stepped?
pub(super) fn transfers(i: &Instruction) -> bool {
    use FlowControl::*;
    matches!(i.flow_control(), UnconditionalBranch | IndirectBranch | ConditionalBranch | Return | Call | IndirectCall)
}
