//! Executes single instructions on the host's processor, from and to a given state.

use super::oracle::MEM_LEN;
use gearbox_core::x86::state::FpuState;
use std::sync::Once;

/// The image of the x87, SSE and AVX state.
pub(super) type Image = [u8; FpuState::XSAVE_SIZE];

/// What an instruction starts from and what it leaves. The offsets are known to the assembly below.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct State {
    /// XSAVE image.
    pub image: Image,
    /// General registers by number; those that the test does not use stay zero.
    pub gpr: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// The instruction raised #XM.
    pub raised: bool,
}

impl State {
    pub(super) fn new(fpu: &FpuState, rflags: u64) -> Self {
        Self { image: fpu.to_xsave(), gpr: [0; 16], rflags, raised: false }
    }
    /// For a failure's report: everything, by name.
    pub(super) fn list(&self) -> Vec<(String, String)> {
        let f = FpuState::from_xsave(&self.image);
        let mut l: Vec<(String, String)> = [
            ("fcw", u128::from(f.fcw)),
            ("fsw", f.fsw.into()),
            ("ftw", f.ftw.into()),
            ("mxcsr", f.mxcsr.into()),
            ("rflags", (self.rflags & 0x8d5).into()),
            ("raised", self.raised.into()),
        ]
        .map(|(n, v)| (n.into(), format!("{v:x}")))
        .into();
        l.extend(
            f.st.iter().enumerate().map(|(n, v)| (format!("st{n}"), format!("{:04x}:{:016x}", v >> 64, *v as u64))),
        );
        let ymm = f.ymm_hi.iter().zip(&f.xmm).enumerate();
        l.extend(ymm.map(|(n, (high, low))| (format!("mm{n}"), format!("{high:032x}:{low:032x}"))));
        l.extend(self.gpr.iter().enumerate().map(|(n, v)| (format!("gpr{n}"), format!("{v:x}"))));
        l
    }
}

#[repr(C, align(4096))]
struct Memory([u8; MEM_LEN]);

/// One page for code, and memory for an operand.
pub(super) struct Native {
    code: *mut u8,
    memory: Box<Memory>,
}

const PAGE: usize = 4096;

impl Native {
    pub(super) fn new() -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(catch_sigfpe);
        // SAFETY: a fresh anonymous mapping.
        let code = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(code, libc::MAP_FAILED, "no executable page: {}", std::io::Error::last_os_error());
        Self { code: code.cast(), memory: Box::new(Memory([0; MEM_LEN])) }
    }
    /// The memory operand.
    pub(super) fn memory(&mut self) -> &mut [u8; MEM_LEN] {
        &mut self.memory.0
    }
    /// Its address.
    pub(super) fn memory_address(&self) -> u64 {
        self.memory.0.as_ptr() as u64
    }
    /// Executes the instruction in `bytes` from `start`.
    pub(super) fn run(&mut self, bytes: &[u8], start: &State) -> State {
        let mut s = start.clone();
        assert!(bytes.len() < PAGE);
        // SAFETY: the page is ours; the code is one instruction and a return. It touches the registers that are saved or listed here and
        // the operand's memory. Control words are put back to the ABI's values and the x87 stack emptied.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.code, bytes.len());
            self.code.add(bytes.len()).write(0xc3);
            let mxcsr: u32 = 0x1f80;
            std::arch::asm!(
                "push rbx",
                "push rbp",
                "mov eax, 7",
                "xor edx, edx",
                "xrstor64 [r12]",
                "push qword ptr [r12 + 960]",
                "popfq",
                "mov rax, [r12 + 832]",
                "mov rcx, [r12 + 840]",
                "mov rdx, [r12 + 848]",
                "mov rbx, [r12 + 856]",
                "mov rsi, [r12 + 880]",
                "mov rdi, [r12 + 888]",
                "call r13",
                "mov [r12 + 832], rax",
                "mov [r12 + 840], rcx",
                "mov [r12 + 848], rdx",
                "mov [r12 + 856], rbx",
                "mov [r12 + 880], rsi",
                "mov [r12 + 888], rdi",
                "pushfq",
                "pop qword ptr [r12 + 960]",
                "mov eax, 7",
                "xor edx, edx",
                "xsave64 [r12]",
                "vzeroupper",
                "fninit",
                "ldmxcsr [r14]",
                "pop rbp",
                "pop rbx",
                in("r12") &raw mut s,
                in("r13") self.code,
                in("r14") &mxcsr,
                out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r15") _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _,
                out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _,
                out("xmm14") _, out("xmm15") _,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
        s
    }
}

/// Lets an instruction that raises #XM (or finds #MF pending) be skipped, and notes it in the [`State`] that R12 points to.
fn catch_sigfpe() {
    extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel passes a ucontext; SIGFPE comes only from the instruction called in `Native::run`, where R12 holds the
        // state and the stack's top the address to go on at.
        unsafe {
            let g = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
            let state = g[libc::REG_R12 as usize] as *mut State;
            (*state).raised = true;
            g[libc::REG_RIP as usize] = (g[libc::REG_RSP as usize] as *const i64).read();
            g[libc::REG_RSP as usize] += 8;
        }
    }
    // SAFETY: an all-zero sigaction is valid, the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut a: libc::sigaction = std::mem::zeroed();
        a.sa_sigaction = handler as *const () as usize;
        a.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
        assert_eq!(libc::sigaction(libc::SIGFPE, &a, std::ptr::null_mut()), 0);
    }
}
