//! `-boot`.

use super::{Problem, Properties};
use gearbox_core::machine::BootOrder;

/// All `-boot` options together, and the file of the picture that firmware shows.
///
/// # Errors
/// What is unknown, or not there.
pub fn order(arguments: &[String], floppy_check: bool) -> Result<(BootOrder, Option<String>), Problem> {
    let mut splash = None;
    let mut boot = BootOrder { floppy_check, ..BootOrder::default() };
    for text in arguments {
        let mut p = Properties::parse("boot", text, Some("order"));
        let letters = |key: &str, p: &mut Properties| -> Result<Option<String>, Problem> {
            let letters = p.take(key)?;
            match letters.as_deref().and_then(misspelt) {
                Some(reason) => Err(p.problem(reason)),
                None => Ok(letters),
            }
        };
        boot.order = letters("order", &mut p)?.unwrap_or(boot.order);
        boot.once = letters("once", &mut p)?.or(boot.once);
        boot.menu = p.take_switch("menu")?.unwrap_or(boot.menu);
        boot.strict = p.take_switch("strict")?.unwrap_or(boot.strict);
        if let Some(text) = p.take("splash-time")? {
            boot.splash_time = Some(milliseconds(&p, "splash-time", &text)?);
        }
        if let Some(text) = p.take("reboot-timeout")? {
            // -1 stands for never.
            boot.reboot_timeout = (text != "-1").then(|| milliseconds(&p, "reboot-timeout", &text)).transpose()?;
        }
        splash = p.take("splash")?.or(splash);
        p.end(&["order", "once", "menu", "splash", "splash-time", "reboot-timeout", "strict"])?;
    }
    Ok((boot, splash))
}

fn milliseconds(p: &Properties, key: &str, text: &str) -> Result<u16, Problem> {
    text.parse().map_err(|_| p.problem(format!("{key} is not between 0 and 65535 ms")))
}

/// Letters are those of drives, each once.
fn misspelt(letters: &str) -> Option<String> {
    let wrong = letters.chars().find(|c| !('a'..='p').contains(c));
    let twice = letters.char_indices().find(|&(n, c)| letters[..n].contains(c));
    match (wrong, twice) {
        (Some(c), _) => Some(format!("Invalid boot device '{c}'")),
        (_, Some((_, c))) => Some(format!("Boot device '{c}' was given twice")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(texts: &[&str]) -> Result<BootOrder, String> {
        let texts: Vec<_> = texts.iter().map(|t| (*t).to_owned()).collect();
        order(&texts, true).map(|(boot, _)| boot).map_err(|p| p.reason)
    }

    #[test]
    fn the_last_of_each_counts() {
        let boot = parsed(&["once=d", "order=nda", "menu=on,splash-time=500"]).unwrap();
        assert_eq!((boot.once.as_deref(), boot.order.as_str(), boot.menu), (Some("d"), "nda", true));
        assert_eq!(boot.splash_time, Some(500));
        assert_eq!(parsed(&["reboot-timeout=5,reboot-timeout=-1"]).unwrap().reboot_timeout, None);
        assert_eq!(parsed(&["c"]).unwrap().order, "c");
        assert_eq!(parsed(&["order="]).unwrap().order, "");
        assert_eq!(parsed(&["reboot-timeout=9", "c"]).unwrap().reboot_timeout, Some(9));
        assert_eq!(parsed(&["reboot-timeout=9", "reboot-timeout=-1"]).unwrap().reboot_timeout, None);
    }

    #[test]
    fn mistakes() {
        for (text, reason) in [
            ("order=z", "Invalid boot device 'z'"),
            ("once=cc", "Boot device 'c' was given twice"),
            ("reboot-timeout=70000", "reboot-timeout is not between 0 and 65535 ms"),
        ] {
            assert_eq!(parsed(&[text]).unwrap_err(), reason);
        }
    }
}
