//! `-qmp`, `-qmp-pretty` and `-mon`: monitors, for programs and for people.

use super::consoles::{Target, target};
use super::properties::unknown;
use super::{Problem, Properties};

/// A QMP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QmpServer {
    /// Where it serves.
    pub target: Target,
    /// Its replies are laid out for people.
    pub pretty: bool,
}

/// What `-mon` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// A monitor for people (`mode=readline`).
    Readline(Target),
    /// A QMP server (`mode=control`).
    Control(QmpServer),
}

/// `-qmp` and `-qmp-pretty`.
///
/// # Errors
/// As for any console.
pub fn server(option: &'static str, text: &str) -> Result<QmpServer, Problem> {
    Ok(QmpServer { target: target(option, text)?, pretty: option == "qmp-pretty" })
}

/// `-mon`.
///
/// # Errors
/// There is no back end, or an option is unknown or belongs to the other mode.
pub fn monitor(text: &str) -> Result<Monitor, Problem> {
    let mut p = Properties::parse("mon", text, Some("chardev"));
    let id = p.take("chardev")?.filter(|id| !id.is_empty());
    let target = Target::Id(id.ok_or_else(|| p.problem("needs the id of a -chardev: chardev=ID"))?);
    let mode = p.take("mode")?;
    let pretty = p.take_switch("pretty")?;
    let monitor = match (mode.as_deref(), pretty) {
        (None | Some("readline"), None) => Monitor::Readline(target),
        (None | Some("readline"), Some(_)) => {
            return Err(p.problem("'pretty' is for QMP; add 'mode=control'"));
        }
        (Some("control"), pretty) => Monitor::Control(QmpServer { target, pretty: pretty.unwrap_or(false) }),
        (Some(other), _) => return Err(p.problem(unknown("mode", other, ["readline", "control"].into_iter()))),
    };
    p.end(&["chardev", "mode", "pretty"])?;
    Ok(monitor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_core::backend::chardev::ChardevSpec;

    #[test]
    fn monitors_of_both_kinds() {
        let id = || Target::Id("c".into());
        let control = |pretty| Ok(Monitor::Control(QmpServer { target: id(), pretty }));
        for (text, expected) in [
            ("c", Ok(Monitor::Readline(id()))),
            ("chardev=c,mode=readline", Ok(Monitor::Readline(id()))),
            ("chardev=c,mode=control", control(false)),
            ("mode=control,chardev=c,pretty=on", control(true)),
            ("mode=control", Err("needs the id of a -chardev: chardev=ID")),
            ("c,pretty=on", Err("'pretty' is for QMP; add 'mode=control'")),
            ("c,mode=contrl", Err("unknown mode 'contrl'; did you mean 'control'?")),
        ] {
            assert_eq!(monitor(text).map_err(|p| p.reason), expected.map_err(str::to_owned), "{text}");
        }
        let pretty = server("qmp-pretty", "stdio").unwrap();
        assert_eq!(pretty, QmpServer { target: Target::new(ChardevSpec::Stdio), pretty: true });
        assert!(!server("qmp", "stdio").unwrap().pretty);
    }
}
