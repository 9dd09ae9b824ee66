//! An assembler for the few host instructions that translated code is made of (SDM vol. 2, chapter 2).

/// A general register of the host, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reg(pub u8);

impl Reg {
    /// Without REX, its number means one of AH to BH as a byte.
    fn is_new_byte(self) -> bool {
        (4..8).contains(&self.0)
    }
}

pub(super) const RAX: Reg = Reg(0);
pub(super) const RCX: Reg = Reg(1);
pub(super) const RDX: Reg = Reg(2);
pub(super) const RSI: Reg = Reg(6);
pub(super) const RDI: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const R10: Reg = Reg(10);
pub(super) const R11: Reg = Reg(11);

/// A memory operand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mem {
    base: Option<Reg>,
    /// With log2 of its factor.
    index: Option<(Reg, u8)>,
    disp: i32,
}

/// An operand that is a register or memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Reg(Reg),
    Mem(Mem),
}

impl From<Reg> for Place {
    fn from(r: Reg) -> Self {
        Self::Reg(r)
    }
}
impl From<Mem> for Place {
    fn from(m: Mem) -> Self {
        Self::Mem(m)
    }
}

/// `[base + disp]`.
pub(super) const fn at(base: Reg, disp: usize) -> Mem {
    Mem { base: Some(base), index: None, disp: disp as i32 }
}
/// `[base + index << scale + disp]`.
pub(super) fn sum(base: Option<Reg>, index: Option<(Reg, u8)>, disp: i32) -> Mem {
    Mem { base, index, disp }
}

/// The arithmetic operations whose opcodes are made alike, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alu {
    Add = 0,
    Or = 1,
    Adc = 2,
    Sbb = 3,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotations, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shift {
    Rol = 0,
    Ror = 1,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// Tests of a bit, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitTest {
    Bt = 4,
    Bts = 5,
    Btr = 6,
    Btc = 7,
}

/// Where a jump's distance stands, to be filled in.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Fixup(usize);

/// Machine code on its way to where it will lie.
pub(super) struct Asm {
    code: Vec<u8>,
    /// Address of the first byte.
    base: usize,
}

impl Asm {
    pub(super) fn new(base: usize) -> Self {
        Self { code: Vec::with_capacity(1024), base }
    }
    pub(super) fn into_code(self) -> Vec<u8> {
        self.code
    }
    /// Address of the next byte.
    pub(super) fn here(&self) -> usize {
        self.base + self.code.len()
    }
    fn byte(&mut self, v: u8) {
        self.code.push(v);
    }
    fn dword(&mut self, v: i32) {
        self.code.extend(v.to_le_bytes());
    }
    /// Operand size prefix and REX, which has to be there to name SPL to DIL (`byte`).
    fn prefixes(&mut self, size: u8, byte: bool, reg: Reg, index: Reg, base: Reg) {
        if size == 2 {
            self.byte(0x66);
        }
        let rex = u8::from(size == 8) << 3 | (reg.0 >> 3) << 2 | (index.0 >> 3) << 1 | base.0 >> 3;
        if rex != 0 || byte {
            self.byte(0x40 | rex);
        }
    }
    /// An instruction with two operands, of which one is a register, or a part of the opcode in its place. `byte` says that a register among them is one of
    /// eight bits.
    fn op(&mut self, size: u8, byte: bool, opcode: &[u8], reg: Reg, place: impl Into<Place>) {
        let none = Reg(0);
        let field = (reg.0 & 7) << 3;
        let place = place.into();
        let byte = byte && (reg.is_new_byte() || matches!(place, Place::Reg(r) if r.is_new_byte()));
        let m = match place {
            Place::Reg(r) => {
                self.prefixes(size, byte, reg, none, r);
                self.code.extend(opcode);
                return self.byte(0xc0 | field | r.0 & 7);
            }
            Place::Mem(m) => m,
        };
        let (base, index) = (m.base.unwrap_or(none), m.index.map_or(none, |(r, _)| r));
        self.prefixes(size, byte, reg, index, base);
        self.code.extend(opcode);
        let Some(base) = m.base else {
            self.byte(field | 4);
            let (index, scale) = m.index.map_or((4, 0), |(r, s)| (r.0 & 7, s));
            self.byte(scale << 6 | index << 3 | 5);
            return self.dword(m.disp);
        };
        // Without a displacement, RBP and R13 as a base would mean something else.
        let mode = match m.disp {
            0 if base.0 & 7 != 5 => 0,
            d if i8::try_from(d).is_ok() => 0x40,
            _ => 0x80,
        };
        match m.index {
            Some((index, scale)) => {
                self.byte(mode | field | 4);
                self.byte(scale << 6 | (index.0 & 7) << 3 | base.0 & 7);
            }
            None if base.0 & 7 == 4 => {
                self.byte(mode | field | 4);
                self.byte(0x24);
            }
            None => self.byte(mode | field | base.0 & 7),
        }
        match mode {
            0 => {}
            0x40 => self.byte(m.disp as u8),
            _ => self.dword(m.disp),
        }
    }
    /// The same with an opcode whose lowest bit says whether the operands are bytes.
    fn sized(&mut self, size: u8, opcode: u8, reg: Reg, place: impl Into<Place>) {
        self.op(size, size == 1, &[opcode | u8::from(size != 1)], reg, place);
    }

    // ---- moves

    pub(super) fn mov(&mut self, size: u8, to: Reg, from: Reg) {
        self.op(size.max(4), false, &[0x8b], to, from);
    }
    /// Loads; less than 32 bits are zero-extended.
    pub(super) fn load(&mut self, size: u8, to: Reg, m: Mem) {
        match size {
            1 | 2 => self.zero_extend(size, to, m),
            _ => self.op(size, false, &[0x8b], to, m),
        }
    }
    /// Zero-extends `from` bytes.
    pub(super) fn zero_extend(&mut self, from: u8, to: Reg, place: impl Into<Place>) {
        match from {
            1 => self.op(4, true, &[0x0f, 0xb6], to, place),
            2 => self.op(4, false, &[0x0f, 0xb7], to, place),
            _ => self.op(4, false, &[0x8b], to, place),
        }
    }
    /// Sign-extends `from` bytes to `size`.
    pub(super) fn sign_extend(&mut self, from: u8, size: u8, to: Reg, place: impl Into<Place>) {
        match from {
            1 => self.op(size, true, &[0x0f, 0xbe], to, place),
            2 => self.op(size, false, &[0x0f, 0xbf], to, place),
            _ => self.op(size, false, &[0x63], to, place),
        }
    }
    pub(super) fn store(&mut self, size: u8, m: Mem, from: Reg) {
        self.sized(size, 0x88, from, m);
    }
    /// Stores an immediate; as 64 bits it is sign-extended.
    pub(super) fn store_imm(&mut self, size: u8, m: Mem, v: i32) {
        self.sized(size, 0xc6, Reg(0), m);
        self.imm(size, v);
    }
    fn imm(&mut self, size: u8, v: i32) {
        match size {
            1 => self.byte(v as u8),
            2 => self.code.extend((v as i16).to_le_bytes()),
            _ => self.dword(v),
        }
    }
    /// Any 64-bit constant, as short as it goes. The flags stay.
    pub(super) fn constant(&mut self, to: Reg, v: u64) {
        if let Ok(v) = u32::try_from(v) {
            self.prefixes(4, false, Reg(0), Reg(0), to);
            self.byte(0xb8 | to.0 & 7);
            self.dword(v as i32);
        } else if let Ok(v) = i32::try_from(v as i64) {
            self.op(8, false, &[0xc7], Reg(0), to);
            self.dword(v);
        } else {
            self.prefixes(8, false, Reg(0), Reg(0), to);
            self.byte(0xb8 | to.0 & 7);
            self.code.extend(v.to_le_bytes());
        }
    }
    pub(super) fn lea(&mut self, size: u8, to: Reg, m: Mem) {
        self.op(size, false, &[0x8d], to, m);
    }
    pub(super) fn bswap(&mut self, size: u8, r: Reg) {
        self.prefixes(size, false, Reg(0), Reg(0), r);
        self.byte(0x0f);
        self.byte(0xc8 | r.0 & 7);
    }

    // ---- arithmetic

    pub(super) fn alu(&mut self, op: Alu, size: u8, to: Reg, from: impl Into<Place>) {
        self.sized(size, (op as u8) << 3 | 2, to, from);
    }
    pub(super) fn alu_imm(&mut self, op: Alu, size: u8, to: impl Into<Place>, v: i32) {
        let field = Reg(op as u8);
        match i8::try_from(v) {
            Ok(v) if size != 1 => {
                self.op(size, false, &[0x83], field, to);
                self.byte(v as u8);
            }
            _ => {
                self.sized(size, 0x80, field, to);
                self.imm(size, v);
            }
        }
    }
    pub(super) fn test(&mut self, size: u8, a: Reg, b: Reg) {
        self.sized(size, 0x84, b, a);
    }
    pub(super) fn test_imm(&mut self, size: u8, a: Reg, v: i32) {
        self.sized(size, 0xf6, Reg(0), a);
        self.imm(size, v);
    }
    pub(super) fn inc(&mut self, size: u8, r: Reg) {
        self.sized(size, 0xfe, Reg(0), r);
    }
    pub(super) fn dec(&mut self, size: u8, r: Reg) {
        self.sized(size, 0xfe, Reg(1), r);
    }
    pub(super) fn not(&mut self, size: u8, r: Reg) {
        self.sized(size, 0xf6, Reg(2), r);
    }
    pub(super) fn neg(&mut self, size: u8, r: Reg) {
        self.sized(size, 0xf6, Reg(3), r);
    }
    pub(super) fn shift(&mut self, op: Shift, size: u8, r: Reg, n: u8) {
        self.sized(size, 0xc0, Reg(op as u8), r);
        self.byte(n);
    }
    /// By CL.
    pub(super) fn shift_cl(&mut self, op: Shift, size: u8, r: Reg) {
        self.sized(size, 0xd2, Reg(op as u8), r);
    }
    /// BSF or BSR.
    pub(super) fn scan(&mut self, up: bool, size: u8, to: Reg, from: Reg) {
        self.op(size, false, &[0x0f, if up { 0xbc } else { 0xbd }], to, from);
    }
    /// RDX:RAX becomes the product of RAX and `r`.
    pub(super) fn mul(&mut self, size: u8, r: Reg) {
        self.sized(size, 0xf6, Reg(4), r);
    }
    /// SHLD and SHRD by a constant.
    pub(super) fn double_shift(&mut self, left: bool, size: u8, to: Reg, from: Reg, n: u8) {
        self.op(size, false, &[0x0f, if left { 0xa4 } else { 0xac }], from, to);
        self.byte(n);
    }
    /// Of a bit of a register, or of memory, by its number.
    pub(super) fn bit_imm(&mut self, test: BitTest, size: u8, place: impl Into<Place>, n: u8) {
        self.op(size, false, &[0x0f, 0xba], Reg(test as u8), place);
        self.byte(n);
    }
    /// Of the bit of a register whose number the other one holds; only as many bits of it count as they have to. Of memory, they would all count.
    pub(super) fn bit(&mut self, test: BitTest, size: u8, place: impl Into<Place>, n: Reg) {
        self.op(size, false, &[0x0f, 0x83 | (test as u8) << 3], n, place);
    }
    pub(super) fn imul(&mut self, size: u8, to: Reg, from: Reg) {
        self.op(size, false, &[0x0f, 0xaf], to, from);
    }
    pub(super) fn imul_imm(&mut self, size: u8, to: Reg, from: Reg, v: i32) {
        self.op(size, false, &[0x69], to, from);
        self.imm(size, v);
    }
    pub(super) fn setcc(&mut self, cc: u8, to: impl Into<Place>) {
        self.op(4, true, &[0x0f, 0x90 | cc], Reg(0), to);
    }
    pub(super) fn cmov(&mut self, cc: u8, size: u8, to: Reg, from: Reg) {
        self.op(size, false, &[0x0f, 0x40 | cc], to, from);
    }

    // ---- of memory

    /// The next instruction has a LOCK prefix.
    pub(super) fn lock(&mut self) {
        self.byte(0xf0);
    }
    pub(super) fn alu_to(&mut self, op: Alu, size: u8, m: Mem, from: Reg) {
        self.sized(size, (op as u8) << 3, from, m);
    }
    /// `r` becomes what was there.
    pub(super) fn xadd(&mut self, size: u8, m: Mem, r: Reg) {
        self.op(size, size == 1, &[0x0f, 0xc0 | u8::from(size != 1)], r, m);
    }
    /// Compares with RAX, which becomes what was there.
    pub(super) fn cmpxchg(&mut self, size: u8, m: Mem, new: Reg) {
        self.op(size, size == 1, &[0x0f, 0xb0 | u8::from(size != 1)], new, m);
    }
    /// XCHG locks without being told to.
    pub(super) fn xchg(&mut self, size: u8, m: Mem, r: Reg) {
        self.sized(size, 0x86, r, m);
    }
    /// AH becomes SF, ZF, AF, PF and CF.
    pub(super) fn lahf(&mut self) {
        self.byte(0x9f);
    }

    pub(super) fn mfence(&mut self) {
        self.code.extend([0x0f, 0xae, 0xf0]);
    }

    // ---- control

    pub(super) fn jmp_by(&mut self, target: impl Into<Place>) {
        self.op(4, false, &[0xff], Reg(4), target);
    }
    pub(super) fn call_by(&mut self, r: Reg) {
        self.op(4, false, &[0xff], Reg(2), r);
    }
    pub(super) fn push(&mut self, r: Reg) {
        self.prefixes(4, false, Reg(0), Reg(0), r);
        self.byte(0x50 | r.0 & 7);
    }
    pub(super) fn pop(&mut self, r: Reg) {
        self.prefixes(4, false, Reg(0), Reg(0), r);
        self.byte(0x58 | r.0 & 7);
    }
    pub(super) fn ret(&mut self) {
        self.byte(0xc3);
    }
    /// To an address in the same code memory.
    pub(super) fn jmp_to(&mut self, target: usize) {
        let f = self.jmp();
        self.land_at(f, target);
    }
    pub(super) fn call_to(&mut self, target: usize) {
        self.byte(0xe8);
        let f = self.distance();
        self.land_at(f, target);
    }
    pub(super) fn jcc_to(&mut self, cc: u8, target: usize) {
        let f = self.jcc(cc);
        self.land_at(f, target);
    }
    pub(super) fn jmp(&mut self) -> Fixup {
        self.byte(0xe9);
        self.distance()
    }
    pub(super) fn jcc(&mut self, cc: u8) -> Fixup {
        self.byte(0x0f);
        self.byte(0x80 | cc);
        self.distance()
    }
    fn distance(&mut self) -> Fixup {
        let f = Fixup(self.code.len());
        self.dword(0);
        f
    }
    /// The jump goes to the next byte.
    pub(super) fn land(&mut self, f: Fixup) {
        self.land_at(f, self.here());
    }
    /// Where the distance of a jump will stand.
    pub(super) fn address(&self, f: Fixup) -> usize {
        self.base + f.0
    }
    fn land_at(&mut self, f: Fixup, target: usize) {
        let from = self.base + f.0 + 4;
        let distance = target.wrapping_sub(from) as i64 as i32;
        self.code[f.0..f.0 + 4].copy_from_slice(&distance.to_le_bytes());
    }
}

/// Conditions as Jcc, SETcc and CMOVcc encode them.
pub(super) mod cc {
    pub(crate) const B: u8 = 2;
    pub(crate) const E: u8 = 4;
    pub(crate) const NE: u8 = 5;
    pub(crate) const S: u8 = 8;
}
