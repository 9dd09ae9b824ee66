//! `-icount`: machine time as a count of instructions. What is asked for; the accelerator that can count does it.

/// How many ns an instruction takes, as a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// So many.
    Fixed(u8),
    /// As many as keep the machine near the host's time.
    Auto,
}

/// How instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icount {
    /// Their length.
    pub shift: Shift,
    /// While all CPUs are halted, time passes as on the host; otherwise it jumps to the next timer.
    pub sleep: bool,
    /// A machine that is ahead of the host waits for it.
    pub align: bool,
}

/// Why `-icount` cannot be what was asked for. The texts are QEMU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IcountError {
    /// No number, or one out of range.
    #[error("icount: Invalid shift value")]
    Shift,
    /// There is nothing to align.
    #[error("Please specify shift option when using align")]
    AlignAlone,
    /// Waiting for the host contradicts not waiting.
    #[error("align=on and sleep=off are incompatible")]
    AlignWithoutSleep,
    /// The machine follows the host already.
    #[error("shift=auto and align=on are incompatible")]
    AlignAuto,
    /// There is no host time to follow.
    #[error("shift=auto and sleep=off are incompatible")]
    AutoWithoutSleep,
}

impl Icount {
    /// The largest shift.
    pub const MAX_SHIFT: u8 = 10;

    /// From the options' values.
    ///
    /// # Errors
    /// They are wrong, or contradict each other.
    pub fn new(shift: Option<&str>, sleep: Option<bool>, align: Option<bool>) -> Result<Self, IcountError> {
        let Some(text) = shift else {
            return Err(if align.is_some() { IcountError::AlignAlone } else { IcountError::Shift });
        };
        let (sleep, align) = (sleep.unwrap_or(true), align.unwrap_or(false));
        if align && !sleep {
            return Err(IcountError::AlignWithoutSleep);
        }
        let shift = match text {
            "auto" if align => return Err(IcountError::AlignAuto),
            "auto" if !sleep => return Err(IcountError::AutoWithoutSleep),
            "auto" => Shift::Auto,
            n => Shift::Fixed(n.parse().ok().filter(|n| *n <= Self::MAX_SHIFT).ok_or(IcountError::Shift)?),
        };
        Ok(Self { shift, sleep, align })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let new = |shift, sleep, align| Icount::new(shift, sleep, align).map_err(|e| e.to_string());
        let fixed = Icount { shift: Shift::Fixed(7), sleep: true, align: false };
        assert_eq!(new(Some("7"), None, None), Ok(fixed));
        assert_eq!(new(Some("auto"), Some(true), None), Ok(Icount { shift: Shift::Auto, ..fixed }));
        assert_eq!(new(Some("0"), Some(false), None), Ok(Icount { shift: Shift::Fixed(0), sleep: false, ..fixed }));
        for (shift, sleep, align, says) in [
            (Some("11"), None, None, "Invalid shift"),
            (Some("-1"), None, None, "Invalid shift"),
            (None, None, Some(true), "specify shift"),
            (Some("1"), Some(false), Some(true), "align=on and sleep=off"),
            (Some("auto"), None, Some(true), "shift=auto and align=on"),
            (Some("auto"), Some(false), None, "shift=auto and sleep=off"),
        ] {
            let error = new(shift, sleep, align).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
