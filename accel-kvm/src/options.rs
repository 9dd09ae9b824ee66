//! The options of `-accel kvm`.

use gearbox_core::accel::{OpenError, OptionSpec, Options};
use std::path::PathBuf;

/// What may stand after `-accel kvm,`.
pub(crate) const SPECS: &[OptionSpec] = &[
    OptionSpec {
        key: "kernel-irqchip",
        values: "split",
        default: "split",
        help: "which interrupt controllers the kernel models: with split, the local APICs only",
    },
    OptionSpec { key: "device", values: "PATH", default: "/dev/kvm", help: "the KVM device node" },
];

/// Options, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KvmOptions {
    /// The device node.
    pub device: PathBuf,
}

impl KvmOptions {
    /// Reads the values.
    ///
    /// # Errors
    /// A value that cannot be honoured.
    pub(crate) fn parse(options: &Options) -> Result<Self, OpenError> {
        match options.get("kernel-irqchip") {
            None | Some("split") => {}
            Some(value @ ("on" | "off")) => {
                return Err(refuse("kernel-irqchip", format!("'{value}' is not supported here; use 'split'")));
            }
            Some(value) => return Err(refuse("kernel-irqchip", format!("expected 'split', not '{value}'"))),
        }
        let device = options.get("device").unwrap_or("/dev/kvm");
        if device.is_empty() || device.contains('\0') {
            return Err(refuse("device", "expected the path of a device node".into()));
        }
        Ok(Self { device: device.into() })
    }
}

fn refuse(key: &str, reason: String) -> OpenError {
    OpenError::Option { key: key.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<KvmOptions, String> {
        let raw: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
        let options = Options::parse("kvm", SPECS, &raw).map_err(|e| e.to_string())?;
        KvmOptions::parse(&options).map_err(|e| e.to_string())
    }

    #[test]
    fn only_split_is_honoured_and_others_name_it() {
        assert!(parse(&[("kernel-irqchip", "split")]).is_ok());
        for value in ["on", "off", "maybe"] {
            let refused = parse(&[("kernel-irqchip", value)]).unwrap_err();
            assert!(refused.contains("kernel-irqchip") && refused.contains("'split'") && refused.contains(value));
        }
    }

    #[test]
    fn the_device_can_be_pointed_elsewhere() {
        assert_eq!(parse(&[]).unwrap().device, PathBuf::from("/dev/kvm"));
        assert_eq!(parse(&[("device", "/x")]).unwrap().device, PathBuf::from("/x"));
        assert!(parse(&[("device", "")]).is_err());
        assert!(parse(&[("devise", "/x")]).unwrap_err().contains("did you mean 'device'"));
    }
}
