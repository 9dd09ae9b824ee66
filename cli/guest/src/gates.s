# The only code that runs in ring 0: what the interrupt gates lead to. See ring0.rs.

.set USER_DATA_SEL, 0x18 | 3
.set USER_CODE_SEL, 0x20 | 3

.pushsection .text.gates, "ax"

# One stub of 16 bytes for each vector. They leave on the stack: vector, error code, RIP, CS, RFLAGS, RSP, SS.
.balign 16
.globl gate_stubs
gate_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if vector == 3
        jmp supervisor_call
    .else
        # Bit n is set if exception n pushes an error code itself.
        .if (vector >= 32) || ((0x60227d00 >> (vector & 31)) & 1) == 0
            push 0
        .endif
        push vector
        jmp gate
    .endif
    .set vector, vector + 1
.endr

# INT3: calls the function in RAX at ring 0, with interrupts off.
supervisor_call:
    cld
    call rax
    iretq

gate:
    push rax
    mov eax, [rsp + 8]
    cmp eax, 32
    jb exception

    inc dword ptr [{counts} + rax * 4]
    cmp eax, {pic_end}
    jae 2f
    # A non-specific EOI is right even for a spurious request: handlers do not nest, so nothing else is in service.
    cmp eax, {pic_slave}
    mov al, 0x20
    jb 1f
    out 0xa0, al
1:  out 0x20, al
    jmp 3f
2:  cmp eax, {spurious}
    je 3f
    mov rax, [{lapic_eoi}]
    mov dword ptr [rax], 0
3:  pop rax
    add rsp, 16
    iretq

# Writes the fault down, then continues in ring 3 at the place that the program named for it, or else in crashed().
exception:
    mov [{fault}], rax
    mov rax, [rsp + 16]
    mov [{fault} + 8], rax      # error code
    mov rax, [rsp + 24]
    mov [{fault} + 16], rax     # RIP
    mov rax, [rsp + 32]
    mov [{fault} + 24], rax     # CS
    mov rax, [rsp + 40]
    mov [{fault} + 32], rax     # RFLAGS
    mov rax, [rsp + 48]
    mov [{fault} + 40], rax     # RSP
    mov rax, cr2
    mov [{fault} + 48], rax
    mov rax, [rsp]
    mov [{fault} + 56], rax
    mov [{fault} + 64], rbx
    mov [{fault} + 72], rcx
    mov [{fault} + 80], rdx
    mov [{fault} + 88], rsi
    mov [{fault} + 96], rdi
    mov [{fault} + 104], rbp
    and dword ptr [rsp + 40], ~0x10100  # RF, TF
    mov qword ptr [rsp + 32], USER_CODE_SEL
    mov qword ptr [rsp + 56], USER_DATA_SEL
    mov rax, [{recovery}]
    test rax, rax
    jz 4f
    mov [rsp + 24], rax
    mov rax, [{recovery} + 8]
    mov [rsp + 48], rax
    mov qword ptr [{recovery}], 0
    jmp 3b

4:  cmp byte ptr [crashing], 0
    jne 5f
    mov byte ptr [crashing], 1
    mov rax, offset {crashed}
    mov [rsp + 24], rax
    mov rax, offset crash_stack_top - 8
    mov [rsp + 48], rax
    and dword ptr [rsp + 40], ~0x200    # IF
    jmp 3b

5:  mov al, 3                   # power::Ending::Broken: the report of a crash crashed
    out 0xf4, al
6:  cli
    hlt
    jmp 6b
.popsection

.pushsection .bss.gates, "aw", @nobits
crashing: .skip 8
.popsection
