//! The host's processor: a child process that executes cases and is replaced when it dies.
//!
//! A case needs no code of its own around it: returning from a signal handler loads all registers, control flags, the x87, SSE and AVX
//! state and the code segment (so that 32-bit code can be executed too), and the exception that the instruction ends with, its own or
//! that of the breakpoint behind it, brings everything back to the handler, which goes on with the next case. The child touches nothing
//! but its stack, the pages of [`super::case`] and the memory that it shares.

use super::case::{ARENA, ARENA_LEN, CODE, CODE_LEN, Case, Ending, FILLER, GS_BASE, Outcome, READ_ONLY, template};
use gearbox_core::x86::state::{FpuState, rflags};
use std::arch::{asm, global_asm};
use std::sync::atomic::{AtomicU32, Ordering};

/// Cases in one go.
pub(super) const BATCH: usize = 128;
/// What the child is given for a batch before it counts as hanging.
const PATIENCE_MS: i32 = 20_000;

/// What parent and child share.
#[repr(C)]
pub(super) struct Shared {
    count: AtomicU32,
    /// The case that is being executed.
    current: AtomicU32,
    pub cases: [Case; BATCH],
    pub outcomes: [Outcome; BATCH],
}

/// Why the child is gone.
#[derive(Debug)]
pub(super) struct Died {
    /// The case that did it.
    pub case: usize,
    pub why: String,
}

/// The child, from the parent's side.
pub(super) struct Host {
    shared: *mut Shared,
    template: Box<[u8; ARENA_LEN]>,
    child: Option<Child>,
}
struct Child {
    pid: libc::pid_t,
    to: libc::c_int,
    from: libc::c_int,
}

impl Host {
    /// `Err` says why there is none.
    pub(super) fn new() -> Result<Self, String> {
        // SAFETY: a fresh mapping; zero bytes are values of all that is in it.
        let shared = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), size_of::<Shared>(), libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if shared == libc::MAP_FAILED {
            return Err(format!("no shared memory: {}", std::io::Error::last_os_error()));
        }
        let mut host = Self { shared: shared.cast(), template: template(), child: None };
        let mut case = Case::new();
        case.set_code(&[0x90]);
        host.shared().cases[0] = case;
        match host.run(1) {
            Ok(()) => Ok(host),
            Err(d) => Err(format!("the host cannot execute a NOP in a child process: {}", d.why)),
        }
    }
    /// What is shared. The child does nothing unless [`Host::start`] was called and [`Host::finish`] was not.
    pub(super) fn shared(&mut self) -> &mut Shared {
        // SAFETY: mapped as long as `self` lives; see above.
        unsafe { &mut *self.shared }
    }
    /// Executes the first `n` cases.
    pub(super) fn run(&mut self, n: usize) -> Result<(), Died> {
        self.start(n)?;
        self.finish()
    }
    /// Lets the child begin with the first `n` cases.
    pub(super) fn start(&mut self, n: usize) -> Result<(), Died> {
        assert!(n <= BATCH);
        if self.child.is_none() {
            self.child = Some(self.fork().map_err(|why| Died { case: 0, why })?);
        }
        let Some(c) = &self.child else { unreachable!() };
        let to = c.to;
        let s = self.shared();
        s.count.store(n as u32, Ordering::SeqCst);
        s.current.store(0, Ordering::SeqCst);
        // SAFETY: a byte of this stack frame to a pipe of ours.
        if unsafe { libc::write(to, [1u8].as_ptr().cast(), 1) } == 1 {
            return Ok(());
        }
        Err(self.bury("it ended early".into()))
    }
    /// Waits until they are done.
    pub(super) fn finish(&mut self) -> Result<(), Died> {
        let Some(c) = &self.child else { return Ok(()) };
        let mut p = libc::pollfd { fd: c.from, events: libc::POLLIN, revents: 0 };
        let mut byte = [0u8];
        // SAFETY: valid pointers to one structure and one byte.
        let why = unsafe {
            match libc::poll(&raw mut p, 1, PATIENCE_MS) {
                1 if libc::read(c.from, byte.as_mut_ptr().cast(), 1) == 1 => return Ok(()),
                0 => "it hangs".to_owned(),
                _ => String::new(),
            }
        };
        Err(self.bury(why))
    }
    /// Ends the child. The next case gets a new one.
    fn bury(&mut self, why: String) -> Died {
        let case = self.shared().current.load(Ordering::SeqCst) as usize;
        let Some(c) = self.child.take() else { return Died { case, why } };
        let mut status = 0;
        // SAFETY: a child of ours that was not waited for, and descriptors that nothing else uses.
        unsafe {
            if !why.is_empty() {
                libc::kill(c.pid, libc::SIGKILL);
            }
            libc::waitpid(c.pid, &raw mut status, 0);
            libc::close(c.to);
            libc::close(c.from);
        }
        let why = if !why.is_empty() {
            why
        } else if libc::WIFSIGNALED(status) {
            format!("killed by signal {}", libc::WTERMSIG(status))
        } else {
            format!("exit status {}", libc::WEXITSTATUS(status))
        };
        Died { case, why }
    }
    fn fork(&self) -> Result<Child, String> {
        let (mut to, mut from) = ([0; 2], [0; 2]);
        // SAFETY: the arrays have room for two descriptors. The child calls nothing but system calls and the functions below, which
        // neither allocate nor lock.
        unsafe {
            if libc::pipe2(to.as_mut_ptr(), libc::O_CLOEXEC) != 0
                || libc::pipe2(from.as_mut_ptr(), libc::O_CLOEXEC) != 0
            {
                return Err(format!("no pipe: {}", std::io::Error::last_os_error()));
            }
            match libc::fork() {
                -1 => Err(format!("no child: {}", std::io::Error::last_os_error())),
                0 => {
                    libc::close(to[1]);
                    libc::close(from[0]);
                    child(self.shared, self.template.as_ptr(), to[0], from[1])
                }
                pid => {
                    libc::close(to[0]);
                    libc::close(from[1]);
                    Ok(Child { pid, to: to[1], from: from[0] })
                }
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.bury("no more cases".into());
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.shared.cast(), size_of::<Shared>()) };
    }
}

/// What the child's handler works with.
struct Runner {
    shared: *mut Shared,
    template: *const u8,
    running: bool,
    index: usize,
    /// The child's own registers while cases run.
    gregs: [i64; 23],
    fpu: [u8; FPU_FRAME],
}
/// Bytes of the signal frame's x87, SSE, AVX state that are put back.
const FPU_FRAME: usize = FpuState::XSAVE_SIZE;
static mut RUNNER: Runner = Runner {
    shared: std::ptr::null_mut(),
    template: std::ptr::null(),
    running: false,
    index: 0,
    gregs: [0; 23],
    fpu: [0; FPU_FRAME],
};

/// Exit status of a child that could not begin, and of one whose handler failed.
const NO_MEMORY: i32 = 2;
const NO_SIGNALS: i32 = 3;
const LOST: i32 = 4;

/// The life of the child.
///
/// # Safety
/// In a child process that nothing else uses.
unsafe fn child(shared: *mut Shared, template: *const u8, from: libc::c_int, to: libc::c_int) -> ! {
    // SAFETY: only this process is affected; addresses are checked to be free.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let map = |at: u64, len: usize, prot: i32| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            let p = libc::mmap(at as *mut libc::c_void, len, prot, flags, -1, 0);
            if p as u64 != at {
                libc::_exit(NO_MEMORY);
            }
        };
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        map(CODE, CODE_LEN as usize, rw | libc::PROT_EXEC);
        map(ARENA, ARENA_LEN, rw);
        map(READ_ONLY, 0x1000, rw);
        std::ptr::copy_nonoverlapping(template, READ_ONLY as *mut u8, 0x1000);
        libc::mprotect(READ_ONLY as *mut libc::c_void, 0x1000, libc::PROT_READ);
        const ARCH_SET_GS: libc::c_long = 0x1001;
        libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, GS_BASE);

        const STACK: usize = 1 << 16;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let stack = libc::mmap(std::ptr::null_mut(), STACK, rw, flags, -1, 0);
        let alternate = libc::stack_t { ss_sp: stack, ss_flags: 0, ss_size: STACK };
        if stack == libc::MAP_FAILED || libc::sigaltstack(&raw const alternate, std::ptr::null_mut()) != 0 {
            libc::_exit(NO_SIGNALS);
        }
        let mut a: libc::sigaction = std::mem::zeroed();
        a.sa_sigaction = gearbox_oracle_signal as *const () as usize;
        a.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        let signals = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGUSR1];
        for s in signals {
            if libc::sigaction(s, &raw const a, std::ptr::null_mut()) != 0 {
                libc::_exit(NO_SIGNALS);
            }
        }
        // The thread that forked may have blocked some.
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        let r = &raw mut RUNNER;
        (*r).shared = shared;
        (*r).template = template;
        let mut byte = [0u8];
        while libc::read(from, byte.as_mut_ptr().cast(), 1) == 1 {
            libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGUSR1);
            libc::write(to, byte.as_ptr().cast(), 1);
        }
        libc::_exit(0)
    }
}

global_asm!(
    // A signal leaves AC, NT, ID and the data segments as they were.
    ".globl gearbox_oracle_signal",
    "gearbox_oracle_signal:",
    "pushfq",
    "and qword ptr [rsp], ~0x244000",
    "popfq",
    "mov eax, 0x2b",
    "mov ds, eax",
    "mov es, eax",
    "jmp {}",
    sym on_signal,
);
unsafe extern "C" {
    fn gearbox_oracle_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void);
}

/// Where the general registers are in a signal frame, by number.
const GREG: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
/// Linux's selectors for user code and data.
pub(super) const CS64: u16 = 0x33;
pub(super) const CS32: u16 = 0x23;
pub(super) const DATA: u16 = 0x2b;

unsafe extern "C" fn on_signal(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a ucontext with an XSAVE image behind `fpregs`; `RUNNER` is this process's alone.
    unsafe {
        let runner = &raw mut RUNNER;
        let r = &mut *runner;
        let mc = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext;
        let fpu = mc.fpregs.cast::<u8>();
        let s = &mut *r.shared;
        if signal == libc::SIGUSR1 && !r.running {
            r.gregs = mc.gregs;
            std::ptr::copy_nonoverlapping(fpu, r.fpu.as_mut_ptr(), FPU_FRAME);
            r.running = true;
            r.index = 0;
        } else if r.running {
            record(&mut s.outcomes[r.index], &mc.gregs, fpu);
            r.index += 1;
        } else {
            libc::_exit(LOST);
        }
        if r.index < s.count.load(Ordering::SeqCst) as usize {
            s.current.store(r.index as u32, Ordering::SeqCst);
            prepare(&s.cases[r.index], &mut mc.gregs, fpu, r.template);
        } else {
            r.running = false;
            mc.gregs = r.gregs;
            std::ptr::copy_nonoverlapping(r.fpu.as_ptr(), fpu, FPU_FRAME);
        }
    }
}

/// Notes what a case left.
unsafe fn record(o: &mut Outcome, g: &[i64; 23], fpu: *const u8) {
    // SAFETY: the frame's image is as long as what is copied, and the arena is mapped.
    unsafe {
        std::ptr::copy_nonoverlapping(fpu, o.fpu.as_mut_ptr(), o.fpu.len());
        std::ptr::copy_nonoverlapping(ARENA as *const u8, o.memory.as_mut_ptr(), ARENA_LEN);
    }
    for (v, at) in o.gpr.iter_mut().zip(GREG) {
        *v = g[at as usize] as u64;
    }
    o.rflags = g[libc::REG_EFL as usize] as u64;
    o.rip = g[libc::REG_RIP as usize] as u64;
    o.vector = g[libc::REG_TRAPNO as usize] as u64;
    o.error_code = g[libc::REG_ERR as usize] as u64;
    o.cr2 = g[libc::REG_CR2 as usize] as u64;
}
/// Makes the return from the handler begin a case.
unsafe fn prepare(c: &Case, g: &mut [i64; 23], fpu: *mut u8, template: *const u8) {
    // SAFETY: the pages are mapped and a case stays inside; the frame's image keeps the bytes that are the kernel's (464..512).
    unsafe {
        std::ptr::copy_nonoverlapping(template, ARENA as *mut u8, ARENA_LEN);
        let (at, patch) = c.patch();
        std::ptr::copy_nonoverlapping(patch.as_ptr(), (ARENA as *mut u8).add(at), patch.len());
        let code = c.placed();
        std::ptr::write_bytes(CODE as *mut u8, FILLER, CODE_LEN as usize);
        std::ptr::copy_nonoverlapping(code.as_ptr(), c.start() as *mut u8, code.len());
        std::ptr::copy_nonoverlapping(c.fpu.as_ptr(), fpu, 464);
        std::ptr::copy_nonoverlapping(c.fpu.as_ptr().add(512), fpu.add(512), c.fpu.len() - 512);
        // Data segments for 32-bit code.
        asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) u32::from(DATA));
    }
    for (v, at) in c.gpr.iter().zip(GREG) {
        g[at as usize] = *v as i64;
    }
    let tf = if c.trap != 0 { rflags::TF } else { 0 };
    g[libc::REG_EFL as usize] = (c.rflags | tf) as i64;
    g[libc::REG_RIP as usize] = c.start() as i64;
    let cs = if c.bits == 32 { CS32 } else { CS64 };
    // CS, GS, FS, SS.
    g[libc::REG_CSGSFS as usize] = (u64::from(cs) | u64::from(DATA) << 48) as i64;
}

/// How the host ended a case.
pub(super) fn ending(c: &Case, o: &Outcome) -> Ending {
    let vector = o.vector as u8;
    let done = match vector {
        1 => c.trap != 0,
        // The breakpoint behind it.
        3 => o.rip == c.next() + 1,
        // Nothing is mapped behind it.
        14 => o.rip == c.next() && o.cr2 == o.rip && o.rip == CODE + CODE_LEN,
        _ => false,
    };
    if done {
        return Ending::Done { rip: if c.trap != 0 { o.rip } else { c.next() } };
    }
    let coded = matches!(vector, 10..=14 | 17);
    Ending::Exception {
        vector,
        error_code: if coded { o.error_code } else { 0 },
        cr2: if vector == 14 { o.cr2 } else { 0 },
        rip: o.rip,
    }
}
