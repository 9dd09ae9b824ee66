# Between ring 0 and ring 3, and handlers that do no more than they must.

.pushsection .text.rings, "ax"
.code64
# in_ring3(code, rounds): runs `code` in ring 3 with the rounds in RDI, until it executes INT 81h.
.globl in_ring3
in_ring3:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + kernel_stack], rsp
    push 0x18 | 3
    push offset user_stack_top
    push 0x2                    # RFLAGS: nothing set
    push 0x20 | 3
    push rdi
    mov rdi, rsi
    iretq
.globl leave_ring3
leave_ring3:
    mov rsp, [rip + kernel_stack]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

.globl user_int
user_int:
    int 0x80
    dec rdi
    jnz user_int
    int 0x81
.globl user_syscall
user_syscall:
    syscall
    dec rdi
    jnz user_syscall
    int 0x81

.globl only_iret
only_iret:
    iretq
.globl only_sysret
only_sysret:
    sysretq

# #PF: makes the page at 1 GiB present.
.globl make_present
make_present:
    or dword ptr [rip + window], 1
    add rsp, 8                  # the error code
    iretq

# Counts an interrupt of the local APIC.
.globl count_interrupt
count_interrupt:
    push rax
    inc qword ptr [rip + interrupts]
    mov eax, 0xfee000b0         # EOI
    mov dword ptr [rax], 0
    pop rax
    iretq
.popsection

.pushsection .bss.rings, "aw", @nobits
.balign 8
kernel_stack:
    .skip 8
.globl interrupts
interrupts:
    .skip 8
.popsection
