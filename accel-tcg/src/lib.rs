//! The software CPU ("tcg"): iced-x86 decodes, this crate executes. Runs on any host.
//!
//! | module | what it is |
//! |---|---|
//! | `cpu`, `flags` | the state of one CPU; lazy arithmetic flags |
//! | `mem` | segments, paging, software TLB, physical memory |
//! | `block`, `decode`, `isa` | decoded code: blocks of ops, their cache and their end; which instructions the CPU model has |
//! | `jit` | hot blocks as code of the host |
//! | `ops` | integer instructions: checked executors, and hot handlers that call one another in tail position |
//! | `sys` | privileged instructions, control transfers, exceptions and interrupts |
//! | `fpu` | x87, MMX, SSE |
//! | `engine`, `apic`, `handle` | the run loop; its local APIC; what other threads may do |
//! | `icount` | the clock that counts instructions |
//! | `peers`, `exclusive` | the vCPUs of one VM; one of them alone |
//! | `vcpu`, `state`, `accel` | the accelerator's face: VM and vCPU, saved state, registry and CPUID |

mod accel;
mod apic;
mod block;
mod cpu;
mod decode;
mod engine;
mod exclusive;
mod fault;
mod flags;
pub(crate) mod fpu;
mod handle;
mod icount;
mod int;
mod isa;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod jit;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "jit/absent.rs"]
mod jit;
mod mem;
mod ops;
mod peers;
mod state;
pub(crate) mod sys;
mod vcpu;

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
