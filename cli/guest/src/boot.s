# From the PVH entry point (32-bit protected mode, flat segments, paging off, EBX = hvm_start_info) to Rust in ring 3.
# Everything here is addressed absolutely below 4 GiB.

.set KERNEL_CODE, 0x08
.set KERNEL_DATA, 0x10
.set USER_DATA, 0x18 | 3        # order fixed by SYSRET: data before code
.set USER_CODE, 0x20 | 3
.set TASK_STATE, 0x28

.pushsection .note.pvh, "a", @note
    .balign 4
    .long 4                     # size of the name
    .long 4                     # size of the description
    .long 18                    # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start
.popsection

.pushsection .text.boot, "ax"
.code32
.globl pvh_start
pvh_start:
    cli
    cld
    mov esp, offset gate_stack_top
    mov ebp, ebx                # CPUID overwrites EBX

    mov eax, 0x80000000
    cpuid
    cmp eax, 0x80000001
    jb no_long_mode
    mov eax, 0x80000001
    cpuid
    test edx, 1 << 29           # LM
    jz no_long_mode

    mov eax, 0x620              # CR4: PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov esi, edx
    mov ecx, 0xc0000080         # EFER
    rdmsr
    or eax, 0x100               # LME
    test esi, 1 << 20           # NX
    jz 1f
    or eax, 0x800               # NXE
1:  wrmsr
    mov eax, 0x80010023         # CR0: PG, WP, NE, MP, PE
    mov cr0, eax
    lgdt [gdt_register]
    .byte 0xea                  # JMP ptr16:32, which the assembler has no Intel syntax for
    .long long_mode
    .word KERNEL_CODE

no_long_mode:
    mov esi, offset no_long_mode_text
2:  mov edx, 0x3fd              # COM1, line status
    mov ecx, 100000
3:  in al, dx
    test al, 0x20               # THRE
    loopz 3b
    mov al, [esi]
    test al, al
    jz 4f
    mov edx, 0x3f8
    out dx, al
    inc esi
    jmp 2b
4:  mov al, 3                   # power::Ending::Broken
    out 0xf4, al
5:  hlt
    jmp 5b
no_long_mode_text:
    .asciz "gearbox guest: this CPU has no long mode\n"

.code64
long_mode:
    mov eax, KERNEL_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    xor eax, eax
    mov fs, eax
    mov gs, eax
    mov rsp, offset gate_stack_top

    # The interrupt gates: DPL 3, so that the one software gate (INT3) may be used; IST for NMI and double fault.
    mov rsi, offset gate_stubs
    mov edi, offset idt
    xor ecx, ecx
6:  mov eax, esi
    mov [rdi], ax
    mov word ptr [rdi + 2], KERNEL_CODE
    mov word ptr [rdi + 4], 0xee00
    shr eax, 16
    mov [rdi + 6], ax
    add esi, 16
    add edi, 16
    inc cl
    jnz 6b
    mov byte ptr [idt + 2 * 16 + 4], 1
    mov byte ptr [idt + 8 * 16 + 4], 2
    lidt [idt_register]

    mov eax, offset task_state
    mov [gdt + TASK_STATE + 2], ax
    shr eax, 16
    mov [gdt + TASK_STATE + 4], al
    mov [gdt + TASK_STATE + 7], ah
    mov eax, TASK_STATE
    ltr ax

    mov edi, ebp                # hvm_start_info, the argument of start()
    push USER_DATA
    push offset user_stack_top - 8
    push 0x2                    # RFLAGS: nothing set
    push USER_CODE
    push offset {start}
    iretq
.popsection

.pushsection .data.boot, "aw"
.balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # 64-bit code, DPL 0
    .quad 0x00cf93000000ffff    # data, DPL 0
    .quad 0x00cff3000000ffff    # data, DPL 3
    .quad 0x00affb000000ffff    # 64-bit code, DPL 3
    .quad 0x0000890000000067    # 64-bit TSS; the base is filled in above
    .quad 0
gdt_register:
    .word 7 * 8 - 1
    .long gdt
    .long 0
.balign 8
idt_register:
    .word 256 * 16 - 1
    .quad idt
.balign 8
    .long 0                     # so that RSP0 is aligned
task_state:
    .long 0
    .quad gate_stack_top        # RSP0
    .quad 0, 0, 0               # RSP1, RSP2, reserved
    .quad nmi_stack_top         # IST1
    .quad fault_stack_top       # IST2
    .quad 0, 0, 0, 0, 0, 0      # IST3..IST7, reserved
    .word 0, 104                # no I/O permission map

# The first 4 GiB are mapped to themselves in pages of 2 MiB, open to ring 3; the window of paging.rs is at 256 GiB.
.balign 4096
pml4:
    .quad pdpt + 7
    .fill 511, 8, 0
pdpt:
    .quad pd + 7, pd + 0x1007, pd + 0x2007, pd + 0x3007
    .fill 252, 8, 0
    .quad window_pd + 7
    .fill 255, 8, 0
pd:
    .set address, 0
    .rept 2048
    .quad address + 0x87
    .set address, address + 0x200000
    .endr
window_pd:
    .quad {window} + 7
    .fill 511, 8, 0
.popsection

.pushsection .bss.boot, "aw", @nobits
.balign 4096
idt:
    .skip 256 * 16
    .skip 8192
gate_stack_top:
    .skip 4096
nmi_stack_top:
    .skip 4096
fault_stack_top:
    .skip 262144
user_stack_top:
    .skip 16384
.globl crash_stack_top
crash_stack_top:
.popsection
