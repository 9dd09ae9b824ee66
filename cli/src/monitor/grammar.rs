//! What arguments a command takes, and taking them from a line. The kinds are those of QEMU's `args_type` strings (docs/devel/writing-monitor-commands).

use super::expression::{self, Registers};
use super::scanner::Scanner;

/// A kind of argument, with the letter by which QEMU knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word or quoted text (`s`).
    Word,
    /// A word that names a file (`F`).
    File,
    /// The rest of the line (`S`, and `O` for a list of properties).
    Rest,
    /// An expression whose value fits in 32 bits (`i`).
    Int,
    /// An expression (`l`).
    Long,
    /// A switch such as `-f` (`-`).
    Flag(char),
    /// A word after a switch such as `-f` (`-fs`).
    Option(char),
    /// How values are shown, such as `/8xw` (`/`).
    Format,
}

/// Where the completion of an argument comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Nothing,
    Command,
    Topic,
    DeviceType,
    DeviceId,
    ObjectType,
    ObjectId,
    ObjectPath,
    Property,
    Chardev,
    Drive,
    LogItem,
    WatchdogAction,
}

/// One argument of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arg {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) optional: bool,
    pub(super) source: Source,
}

/// An argument that must be given.
pub(super) const fn arg(name: &'static str, kind: Kind) -> Arg {
    Arg { name, kind, optional: false, source: Source::Nothing }
}

impl Arg {
    /// It may be left out.
    pub(super) const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
    /// It is completed from there.
    pub(super) const fn from(mut self, source: Source) -> Self {
        self.source = source;
        self
    }
}

/// How numbers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Hex,
    Unsigned,
    Decimal,
    Octal,
    Char,
    Instruction,
}

/// The value of a [`Kind::Format`] argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// How many values.
    pub(super) count: u64,
    pub(super) style: Style,
    /// Bytes of each value.
    pub(super) size: u8,
}

impl Default for Format {
    fn default() -> Self {
        Self { count: 1, style: Style::Hex, size: 4 }
    }
}

#[derive(Debug)]
enum Value {
    Text(String),
    Number(i64),
    Format(Format),
    Set,
}

/// The arguments of one call.
#[derive(Debug, Default)]
pub(super) struct Arguments(Vec<(&'static str, Value)>);

impl Arguments {
    /// Takes the arguments `grammar` from a line. `format` is how values were shown last, which is how they are shown if nothing else is said.
    ///
    /// # Errors
    /// What is wrong, in QEMU's words; `name` is the command's.
    pub(super) fn parse(
        name: &str,
        grammar: &[Arg],
        line: &str,
        registers: Registers<'_>,
        format: &mut Format,
    ) -> Result<Self, String> {
        let mut scanner = Scanner::new(line);
        let mut values = Vec::new();
        for a in grammar {
            let value = match a.kind {
                Kind::Flag(letter) => flag(&mut scanner, letter, name, grammar)?.then_some(Value::Set),
                Kind::Option(letter) if flag(&mut scanner, letter, name, grammar)? => {
                    let word = scanner.word().map_err(|e| format!("{name}: {e}"))?;
                    Some(Value::Text(word.ok_or_else(|| format!("{name}: -{letter} needs a value"))?))
                }
                Kind::Option(_) => None,
                Kind::Format => Some(Value::Format(take_format(&mut scanner, format)?)),
                Kind::Rest => Some(scanner.take_rest()).filter(|t| !t.is_empty()).map(|t| Value::Text(t.to_owned())),
                Kind::Word | Kind::File => scanner.word().map_err(|e| format!("{name}: {e}"))?.map(Value::Text),
                Kind::Int | Kind::Long if a.optional && scanner.at_end() => None,
                Kind::Int | Kind::Long => Some(Value::Number(number(&mut scanner, registers, a)?)),
            };
            let value = value.map(|v| (a.name, v));
            if value.is_none() && !a.optional && !matches!(a.kind, Kind::Flag(_) | Kind::Option(_)) {
                let what = if a.kind == Kind::File { "filename" } else { "string" };
                return Err(format!("{name}: {what} expected"));
            }
            values.extend(value);
        }
        if scanner.at_end() {
            Ok(Self(values))
        } else {
            Err(format!("{name}: extraneous characters at the end of line"))
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }
    /// A text, if it is given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.find(name).and_then(|v| if let Value::Text(t) = v { Some(t.as_str()) } else { None })
    }
    /// A text that the grammar requires.
    pub(super) fn word(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }
    /// A number, if it is given.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.find(name).and_then(|v| if let Value::Number(n) = v { Some(*n) } else { None })
    }
    /// An address or other number that the grammar requires.
    pub(super) fn unsigned(&self, name: &str) -> u64 {
        self.number(name).unwrap_or_default().cast_unsigned()
    }
    /// Is a switch given?
    pub(super) fn flag(&self, name: &str) -> bool {
        self.find(name).is_some()
    }
    /// How values are shown.
    pub(super) fn format(&self) -> Format {
        self.0.iter().find_map(|(_, v)| if let Value::Format(f) = v { Some(*f) } else { None }).unwrap_or_default()
    }
}

fn flag(scanner: &mut Scanner<'_>, letter: char, name: &str, grammar: &[Arg]) -> Result<bool, String> {
    scanner.skip_spaces();
    let mut ahead = *scanner;
    if !ahead.eat('-') {
        return Ok(false);
    }
    let Some(given) = ahead.next() else { return Ok(false) };
    if given == letter {
        *scanner = ahead;
        return Ok(true);
    }
    if grammar.iter().any(|a| [Kind::Flag(given), Kind::Option(given)].contains(&a.kind)) || given.is_ascii_digit() {
        return Ok(false);
    }
    Err(format!("{name}: unsupported option -{given}"))
}

fn number(scanner: &mut Scanner<'_>, registers: Registers<'_>, a: &Arg) -> Result<i64, String> {
    let n = expression::parse(scanner, registers)?;
    let fits = i32::try_from(n).is_ok() || u32::try_from(n).is_ok();
    if a.kind == Kind::Int && !fits {
        return Err(format!("'{}' has failed: integer is for 32-bit values", a.name));
    }
    Ok(n)
}

/// Most values of one command: more than any output has room for.
const MOST_VALUES: u64 = 1 << 32;

fn take_format(scanner: &mut Scanner<'_>, last: &mut Format) -> Result<Format, String> {
    scanner.skip_spaces();
    let mut format = Format { count: 1, ..*last };
    if !scanner.eat('/') {
        return Ok(format);
    }
    let digits = scanner.take_while(|c| c.is_ascii_digit());
    if !digits.is_empty() {
        format.count = digits.parse().unwrap_or(u64::MAX).min(MOST_VALUES);
    }
    for c in scanner.take_while(|c| !c.is_whitespace()).chars() {
        match c {
            'x' => format.style = Style::Hex,
            'u' => format.style = Style::Unsigned,
            'd' => format.style = Style::Decimal,
            'o' => format.style = Style::Octal,
            'c' => format.style = Style::Char,
            'i' => format.style = Style::Instruction,
            'b' => format.size = 1,
            'h' => format.size = 2,
            'w' => format.size = 4,
            'g' | 'L' => format.size = 8,
            c => return Err(format!("invalid char in format: '{c}'")),
        }
    }
    *last = format;
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: &[Arg] = &[
        arg("flat", Kind::Flag('f')),
        arg("owner", Kind::Flag('o')),
        arg("format", Kind::Format),
        arg("addr", Kind::Int),
        arg("file", Kind::File),
        arg("more", Kind::Word).optional(),
    ];

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse("test|t", GRAMMAR, line, &|_| Ok(7), &mut Format::default())
    }

    #[test]
    fn every_kind_is_taken() {
        let a = parse(" -o /3db 2 * ($r + 1)\"a b\" c ").unwrap();
        assert_eq!((a.flag("flat"), a.flag("owner"), a.unsigned("addr")), (false, true, 16));
        assert_eq!((a.word("file"), a.text("more")), ("a b", Some("c")));
        assert_eq!(a.format(), Format { count: 3, style: Style::Decimal, size: 1 });
        assert_eq!(parse("-f -1 x").unwrap().number("addr"), Some(-1));
        assert_eq!(parse("5 x").unwrap().text("more"), None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, expected) in [
            ("-x 1 f", "test|t: unsupported option -x"),
            ("/q 1 f", "invalid char in format: 'q'"),
            ("/x", "unexpected end of expression"),
            ("1", "test|t: filename expected"),
            ("1 f g h", "test|t: extraneous characters at the end of line"),
            ("0x100000000 f", "'addr' has failed: integer is for 32-bit values"),
            ("1 \"f", "test|t: unterminated string"),
        ] {
            assert_eq!(parse(line).unwrap_err(), expected, "{line}");
        }
    }

    #[test]
    fn the_last_format_stays() {
        let mut last = Format::default();
        let grammar = [arg("format", Kind::Format)];
        let mut take = |line| Arguments::parse("x", &grammar, line, &|_| Ok(0), &mut last).unwrap().format();
        assert_eq!(take("/99999999999999999999ob"), Format { count: MOST_VALUES, style: Style::Octal, size: 1 });
        assert_eq!(take(""), Format { count: 1, style: Style::Octal, size: 1 });
    }
}
