//! Bytes to tokens: RFC 8259 with QEMU's extension of single-quoted strings, cut at any byte.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{`
    OpenBrace,
    /// `}`
    CloseBrace,
    /// `[`
    OpenBracket,
    /// `]`
    CloseBracket,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// A string, with its quotes.
    Text,
    /// A number without fraction and exponent.
    Integer,
    /// Another number.
    Float,
    /// Lower-case letters.
    Keyword,
    /// Bytes that begin no token, or end none.
    Stray,
}

/// Where in a token the lexer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between two tokens.
    #[default]
    Start,
    /// After a mistake: everything up to a byte at which a client is likely to begin anew is skipped.
    Recovery,
    Text {
        quote: u8,
        escaped: bool,
    },
    Sign,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Keyword,
}

/// What a byte does in a state.
enum Step {
    /// It belongs to the token, which goes on.
    Into(State),
    /// It is the last byte of the token.
    Last(Kind),
    /// The token ended before it.
    Before(Kind),
    /// It belongs to no token.
    Skip,
    /// A known-good state is reached before it.
    Resume,
    /// A mistake.
    Wrong,
}

impl State {
    fn step(self, byte: u8) -> Step {
        match self {
            Self::Start => start(byte),
            Self::Recovery => match byte {
                b'\t' => Step::Skip,
                0..=0x1f | 0xfe | 0xff | b'[' | b']' | b'{' | b'}' | b':' | b',' => Step::Resume,
                _ => Step::Skip,
            },
            Self::Text { quote, escaped } => match byte {
                0..=0x1f | 0xfe | 0xff => Step::Wrong,
                _ if escaped => Step::Into(Self::Text { quote, escaped: false }),
                b'\\' => Step::Into(Self::Text { quote, escaped: true }),
                b if b == quote => Step::Last(Kind::Text),
                _ => Step::Into(self),
            },
            Self::Sign => match byte {
                b'0' => Step::Into(Self::Zero),
                b'1'..=b'9' => Step::Into(Self::Digits),
                _ => Step::Wrong,
            },
            Self::Zero => match byte {
                b'0'..=b'9' => Step::Wrong,
                b'.' => Step::Into(Self::Point),
                _ => Step::Before(Kind::Integer),
            },
            Self::Digits => match byte {
                b'0'..=b'9' => Step::Into(self),
                b'e' | b'E' => Step::Into(Self::Exponent),
                b'.' => Step::Into(Self::Point),
                _ => Step::Before(Kind::Integer),
            },
            Self::Point => digit(byte, Self::Fraction),
            Self::Fraction => match byte {
                b'0'..=b'9' => Step::Into(self),
                b'e' | b'E' => Step::Into(Self::Exponent),
                _ => Step::Before(Kind::Float),
            },
            Self::Exponent => match byte {
                b'+' | b'-' => Step::Into(Self::ExponentSign),
                _ => digit(byte, Self::ExponentDigits),
            },
            Self::ExponentSign => digit(byte, Self::ExponentDigits),
            Self::ExponentDigits => match byte {
                b'0'..=b'9' => Step::Into(self),
                _ => Step::Before(Kind::Float),
            },
            Self::Keyword => match byte {
                b'a'..=b'z' => Step::Into(self),
                _ => Step::Before(Kind::Keyword),
            },
        }
    }
}

fn start(byte: u8) -> Step {
    match byte {
        b' ' | b'\t' | b'\r' | b'\n' => Step::Skip,
        b'{' => Step::Last(Kind::OpenBrace),
        b'}' => Step::Last(Kind::CloseBrace),
        b'[' => Step::Last(Kind::OpenBracket),
        b']' => Step::Last(Kind::CloseBracket),
        b':' => Step::Last(Kind::Colon),
        b',' => Step::Last(Kind::Comma),
        b'"' | b'\'' => Step::Into(State::Text { quote: byte, escaped: false }),
        b'-' => Step::Into(State::Sign),
        b'0' => Step::Into(State::Zero),
        b'1'..=b'9' => Step::Into(State::Digits),
        b'a'..=b'z' => Step::Into(State::Keyword),
        _ => Step::Wrong,
    }
}

fn digit(byte: u8, then: State) -> Step {
    if byte.is_ascii_digit() { Step::Into(then) } else { Step::Wrong }
}

/// The lexer: a state and the token so far.
#[derive(Default)]
pub(super) struct Lexer {
    state: State,
    token: Vec<u8>,
}

impl Lexer {
    /// Takes bytes from the front of `input` until a token is complete; its text is in [`Lexer::text`] until the next call. `None` when the input is used
    /// up first, or when the token has grown beyond `most` bytes (see [`Lexer::size`]).
    pub(super) fn next(&mut self, input: &mut &[u8], most: usize) -> Option<Kind> {
        if matches!(self.state, State::Start | State::Recovery) {
            self.forget();
        }
        while let Some((&byte, rest)) = input.split_first() {
            let step = self.state.step(byte);
            if !matches!(step, Step::Before(_) | Step::Resume) {
                *input = rest;
            }
            match step {
                Step::Into(state) => {
                    self.state = state;
                    self.token.push(byte);
                    if self.token.len() > most {
                        return None;
                    }
                }
                Step::Last(kind) => {
                    self.token.push(byte);
                    self.state = State::Start;
                    return Some(kind);
                }
                Step::Before(kind) => {
                    self.state = State::Start;
                    return Some(kind);
                }
                Step::Wrong => {
                    self.token.push(byte);
                    self.state = State::Recovery;
                    return Some(Kind::Stray);
                }
                Step::Skip => {}
                Step::Resume => self.state = State::Start,
            }
        }
        None
    }

    /// The token that [`Lexer::next`] has given.
    pub(super) fn text(&self) -> &[u8] {
        &self.token
    }
    /// Bytes of the token that is not complete yet.
    pub(super) fn size(&self) -> usize {
        self.token.len()
    }
    /// Starts anew.
    pub(super) fn reset(&mut self) {
        self.state = State::Start;
        self.forget();
    }
    /// Forgets the token, and its memory where that was much.
    fn forget(&mut self) {
        const KEPT: usize = 64 << 10;
        self.token.clear();
        self.token.shrink_to(KEPT);
    }
}
