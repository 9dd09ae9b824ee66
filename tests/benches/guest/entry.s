# From the PVH entry point (32-bit protected mode, flat segments, paging off, EBX = hvm_start_info) to Rust in 64-bit mode, ring 0.

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
    mov esp, offset stack_top
    mov eax, 0x6a0              # CR4: PAE, PGE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, offset pml4
    mov cr3, eax
    mov ecx, 0xc0000080         # EFER: LME, SCE
    rdmsr
    or eax, 0x101
    wrmsr
    mov eax, 0x80010033         # CR0: PG, WP, NE, ET, MP, PE
    mov cr0, eax
    lgdt [gdt_register]
    .byte 0xea                  # JMP ptr16:32, which the assembler has no Intel syntax for
    .long long_mode
    .word 0x08

.code64
long_mode:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov rsp, offset stack_top
    fninit
    mov eax, offset task_state
    mov [gdt + 0x28 + 2], ax
    shr eax, 16
    mov [gdt + 0x28 + 4], al
    mov [gdt + 0x28 + 7], ah
    mov eax, 0x28
    ltr ax
    mov edi, [rbx + 24]         # hvm_start_info.cmdline_paddr
    call start
.popsection

.pushsection .data.boot, "aw"
.balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # 08: 64-bit code, DPL 0
    .quad 0x00cf93000000ffff    # 10: data, DPL 0
    .quad 0x00cff3000000ffff    # 18: data, DPL 3
    .quad 0x00affb000000ffff    # 20: 64-bit code, DPL 3
    .quad 0x0000890000000067    # 28: 64-bit TSS; the base is filled in above
    .quad 0
gdt_register:
    .word 7 * 8 - 1
    .long gdt
    .long 0
.balign 8
    .long 0                     # so that RSP0 is aligned
.globl task_state
task_state:
    .long 0
    .quad gate_stack_top        # RSP0
    .fill 22, 4, 0
    .word 0, 104                # no I/O permission map

# The first GiB and the last of 4 GiB (APICs) are mapped to themselves in pages of 2 MiB, open to ring 3. 1 GiB is the window of
# `system.rs`: 4 KiB pages.
.balign 4096
pml4:
    .quad pdpt + 7
    .fill 511, 8, 0
pdpt:
    .quad low + 7, window_pd + 7, 0, high + 7
    .fill 508, 8, 0
low:
    .set address, 0x87
    .rept 512
    .quad address
    .set address, address + 0x200000
    .endr
high:
    .set address, 0xc0000097
    .rept 512
    .quad address
    .set address, address + 0x200000
    .endr
window_pd:
    .quad window + 7
    .fill 511, 8, 0
.globl window
window:
    .fill 512, 8, 0
.popsection

.pushsection .bss.boot, "aw", @nobits
.balign 4096
    .skip 8192
gate_stack_top:
    .skip 8192
.globl user_stack_top
user_stack_top:
    .skip 65536
stack_top:
.popsection
