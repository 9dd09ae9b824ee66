//! Who runs the guest: by CPUID, and by the command line that Gearbox gives.

use crate::check::Verdict;
use crate::cpu;
use crate::text::Text;

/// Hypervisor signatures at CPUID leaf 40000000h.
const SIGNATURES: [(&str, &str); 7] = [
    ("KVMKVMKVM", "kvm"),
    ("TCGTCGTCGTCG", "tcg"),
    ("Microsoft Hv", "hyperv"),
    ("VMwareVMware", "vmware"),
    ("XenVMMXenVMM", "xen"),
    ("bhyve bhyve ", "bhyve"),
    ("___ NVMM ___", "nvmm"),
];

/// What both sources say.
pub struct Accelerator {
    signature: Option<Text>,
    named: Option<&'static str>,
}

impl Accelerator {
    /// Asks both.
    pub fn find(command_line: &'static str) -> Accelerator {
        Accelerator { signature: cpu::hypervisor(), named: option(command_line, "accel") }
    }

    /// The accelerator whose signature CPUID shows.
    fn by_cpuid(&self) -> Option<&'static str> {
        let signature = self.signature.as_ref()?.as_str();
        SIGNATURES.iter().find(|(text, _)| *text == signature).map(|(_, name)| *name)
    }

    /// Prints both.
    pub fn report(&self) {
        let name = self.named.or(self.by_cpuid()).unwrap_or("unknown");
        print!("accelerator: {name} (");
        match &self.signature {
            Some(signature) => print!("CPUID says \"{signature}\""),
            None => print!("CPUID shows no hypervisor"),
        }
        match self.named {
            Some(named) => println!(", the command line accel={named})"),
            None => println!(", the command line nothing)"),
        }
    }

    /// The two sources do not contradict each other.
    pub fn check(&self) -> Verdict {
        if let (Some(named), Some(found)) = (self.named, self.by_cpuid()) {
            ensure!(named == found, "the command line says {named}, CPUID says {found}");
        }
        Ok(text!("{}", self.named.or(self.by_cpuid()).unwrap_or("unknown")))
    }
}

/// The value of `key=value` on the command line.
pub fn option(command_line: &'static str, key: &str) -> Option<&'static str> {
    command_line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}
