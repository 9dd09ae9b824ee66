//! `query-command-line-options`, from the definition of the options.

use super::{Control, Error, Result};
use crate::args::Options;
use crate::qmp::types::control::{CommandLineOptionInfo, CommandLineParameterInfo, CommandLineParameterType};

impl Control {
    /// `query-command-line-options`: those that take parameters.
    ///
    /// # Errors
    /// There is no such option.
    pub fn command_line_options(option: Option<&str>) -> Result<Vec<CommandLineOptionInfo>> {
        let describe = |o: crate::args::OptionInfo| {
            let parameters = parameters(o.value.as_deref().unwrap_or_default());
            Some(CommandLineOptionInfo { option: o.names.first()?.clone(), parameters })
        };
        let all = Options::known().into_iter().filter(|o| o.value.is_some()).filter_map(describe);
        let wanted: Vec<_> = all.filter(|o| option.is_none_or(|name| o.option == name)).collect();
        match option {
            Some(name) if wanted.is_empty() => Err(Error::generic(format!("invalid option name: {name}"))),
            _ => Ok(wanted),
        }
    }
}

/// The parameters in a usage such as `[cpus=]N[,sockets=N]`.
fn parameters(usage: &str) -> Vec<CommandLineParameterInfo> {
    let words = usage.split(|c: char| !(c.is_ascii_alphanumeric() || "=-_.".contains(c)));
    let names = words.filter_map(|word| word.split_once('=').map(|(name, _)| name));
    let lower = |name: &&str| !name.is_empty() && !name.contains(|c: char| c.is_ascii_uppercase());
    names
        .filter(lower)
        .map(|name| CommandLineParameterInfo {
            name: name.to_owned(),
            ty: CommandLineParameterType::String,
            help: None,
            default: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_those_of_the_usage() {
        let names = |option| {
            let found = Control::command_line_options(Some(option)).unwrap().remove(0);
            found.parameters.into_iter().map(|p| p.name).collect::<Vec<_>>().join(" ")
        };
        assert!(names("smp").starts_with("cpus"), "{}", names("smp"));
        assert_eq!(names("mon"), "chardev mode pretty");
        assert!(Control::command_line_options(Some("smmp")).is_err());
        assert!(Control::command_line_options(None).unwrap().len() > 10);
    }
}
