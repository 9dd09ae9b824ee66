//! Arithmetic on the command line, such as `$pc + 8`, as QEMU's monitor has it.
//!
//! From loosest to tightest: `+ -`, then `& | ^`, then `* / %`, then the signs `+ - ~`. Numbers are C's, `'a'` is a character, `$name` a register. Values
//! are 64 bits wide and wrap.

use super::scanner::Scanner;

/// Deepest nesting of parentheses and signs.
const DEEPEST: u32 = 64;

/// Looks a register up by name.
pub(super) type Registers<'a> = &'a dyn Fn(&str) -> Result<u64, String>;

/// Takes an expression from `scanner`.
///
/// # Errors
/// It is none; in QEMU's words.
pub(super) fn parse(scanner: &mut Scanner<'_>, registers: Registers<'_>) -> Result<i64, String> {
    scanner.skip_spaces();
    Parser { scanner, registers, depth: 0 }.binary(&LEVELS)
}

type Operator = (char, fn(i64, i64) -> Option<i64>);

/// Binary operators, the loosest first. `None` is a division by zero.
const LEVELS: [&[Operator]; 3] = [
    &[('+', |a, b| Some(a.wrapping_add(b))), ('-', |a, b| Some(a.wrapping_sub(b)))],
    &[('&', |a, b| Some(a & b)), ('|', |a, b| Some(a | b)), ('^', |a, b| Some(a ^ b))],
    &[
        ('*', |a, b| Some(a.wrapping_mul(b))),
        ('/', |a, b| (b != 0).then(|| a.wrapping_div(b))),
        ('%', |a, b| (b != 0).then(|| a.wrapping_rem(b))),
    ],
];

struct Parser<'s, 'a, 'r> {
    scanner: &'s mut Scanner<'a>,
    registers: Registers<'r>,
    depth: u32,
}

impl Parser<'_, '_, '_> {
    fn binary(&mut self, levels: &[&[Operator]]) -> Result<i64, String> {
        let Some((operators, tighter)) = levels.split_first() else { return self.unary() };
        let mut value = self.binary(tighter)?;
        while let Some((c, apply)) = operators.iter().find(|(c, _)| self.scanner.peek() == Some(*c)) {
            self.pass(*c);
            let right = self.binary(tighter)?;
            value = apply(value, right).ok_or("division by zero")?;
        }
        Ok(value)
    }

    fn pass(&mut self, c: char) {
        self.scanner.eat(c);
        self.scanner.skip_spaces();
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("expression too deep".to_owned());
        }
        let value = match self.scanner.peek() {
            Some('+') => self.signed('+', |v| v),
            Some('-') => self.signed('-', i64::wrapping_neg),
            Some('~') => self.signed('~', |v| !v),
            Some('(') => self.parenthesized(),
            Some('\'') => self.character(),
            Some('$') => self.register(),
            Some('0'..='9') => self.number(),
            Some(c) => Err(format!("invalid char '{c}' in expression")),
            None => Err("unexpected end of expression".to_owned()),
        }?;
        self.depth -= 1;
        self.scanner.skip_spaces();
        Ok(value)
    }

    fn signed(&mut self, sign: char, apply: fn(i64) -> i64) -> Result<i64, String> {
        self.pass(sign);
        self.unary().map(apply)
    }

    fn parenthesized(&mut self) -> Result<i64, String> {
        self.pass('(');
        let value = self.binary(&LEVELS)?;
        if self.scanner.eat(')') { Ok(value) } else { Err("')' expected".to_owned()) }
    }

    fn character(&mut self) -> Result<i64, String> {
        self.scanner.eat('\'');
        let c = self.scanner.next().ok_or("character constant expected")?;
        if self.scanner.eat('\'') { Ok(u32::from(c).into()) } else { Err("missing terminating ' character".to_owned()) }
    }

    fn register(&mut self) -> Result<i64, String> {
        self.scanner.eat('$');
        let name = self.scanner.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        (self.registers)(name).map(u64::cast_signed)
    }

    /// A number as `strtoull` with base 0 takes it.
    fn number(&mut self) -> Result<i64, String> {
        let rest = self.scanner.rest().as_bytes();
        let hex = matches!(rest, [b'0', b'x' | b'X', digit, ..] if digit.is_ascii_hexdigit());
        let radix = match rest {
            _ if hex => 16,
            [b'0', ..] => 8,
            _ => 10,
        };
        if hex {
            self.scanner.next();
            self.scanner.next();
        }
        let digits = self.scanner.take_while(|c| c.is_digit(radix));
        u64::from_str_radix(digits, radix).map(u64::cast_signed).map_err(|_| "number too large".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<i64, String> {
        let registers = |name: &str| if name == "pc" { Ok(0xffff_fff0) } else { Err("unknown register".to_owned()) };
        let mut scanner = Scanner::new(text);
        let v = parse(&mut scanner, &registers)?;
        if scanner.at_end() { Ok(v) } else { Err(format!("rest {:?}", scanner.rest())) }
    }

    #[test]
    fn as_qemu_computes() {
        for (text, expected) in [
            ("$pc + 8", 0xffff_fff8),
            ("(1+2)*3", 9),
            ("010", 8),
            ("0xFf", 255),
            ("'a'", 97),
            ("~1", -2),
            ("5&6|8^1", 13),
            ("2 + 3 & 1", 3),
            ("7 % 4 * 2", 6),
            ("0 - 5", -5),
            ("18446744073709551615", -1),
            ("0x7fffffffffffffff + 1", i64::MIN),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, expected) in [
            ("", "unexpected end of expression"),
            ("1 +", "unexpected end of expression"),
            ("1/0", "division by zero"),
            ("1%0", "division by zero"),
            ("(1", "')' expected"),
            ("$nosuch", "unknown register"),
            ("x", "invalid char 'x' in expression"),
            ("99999999999999999999", "number too large"),
            ("'a", "missing terminating ' character"),
            ("'", "character constant expected"),
            ("0x", "rest \"x\""),
            ("08", "rest \"8\""),
        ] {
            assert_eq!(value(text), Err(expected.to_owned()), "{text}");
        }
        assert_eq!(value("0x8000000000000000 / -1"), Ok(i64::MIN), "no overflow");
        assert_eq!(value(&"(".repeat(100_000)), Err("expression too deep".to_owned()));
        assert_eq!(value(&"-".repeat(100_000)), Err("expression too deep".to_owned()));
    }
}
