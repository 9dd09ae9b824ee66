//! Lines of this program's own on standard error.

use std::fmt::Display;
use std::io::Write;

/// Tells the user something. Whoever has closed standard error does not want to hear it.
pub(crate) fn tell(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "gearbox: {text}");
}

/// Warns the user.
pub(crate) fn warn(text: impl Display) {
    tell(format_args!("warning: {text}"));
}
