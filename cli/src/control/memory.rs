//! The guest's memory into files: `memsave` and `pmemsave`.

use super::{Control, Error, Result};
use crate::machine::Machine;
use std::fs::File;
use std::io::{BufWriter, Write};

/// Bytes that are read at once: no page of the guest is smaller.
const PAGE: u64 = 4096;

impl Control {
    /// `pmemsave`: physical memory. What is no RAM reads as all ones.
    ///
    /// # Errors
    /// The machine has no such addresses, or the file cannot be written.
    pub fn pmemsave(&self, from: u64, size: u64, path: &str) -> Result<()> {
        self.save(from, size, path, |_, at| Ok(at))
    }
    /// `memsave`: memory as a CPU sees it.
    ///
    /// # Errors
    /// There is no such CPU, something there is not mapped, or the file cannot be written.
    pub fn memsave(&self, from: u64, size: u64, path: &str, cpu: Option<i64>) -> Result<()> {
        let machine = self.machine()?;
        let cpu = usize::try_from(cpu.unwrap_or(0)).ok().filter(|n| *n < machine.vcpu_count());
        let cpu = cpu.ok_or_else(|| Error::generic("Parameter 'cpu-index' expects a CPU number"))?;
        let unmapped = || Error::generic(format!("Invalid addr {from:#018x}/size {size} specified"));
        self.save(from, size, path, move |machine, at| {
            machine.with_vcpu(cpu, move |v| v.translate(at)).flatten().ok_or_else(unmapped)
        })
    }

    fn save(&self, from: u64, size: u64, path: &str, translate: impl Fn(&Machine, u64) -> Result<u64>) -> Result<()> {
        let machine = self.machine()?;
        // Nothing is beyond the RAM and the hole below 4 GiB; a larger size would only fill the host's disk.
        if size > self.facts.ram_size.saturating_add(1 << 32) || from.checked_add(size).is_none() {
            return Err(Error::generic("Parameter 'size' expects no more than the machine's memory"));
        }
        let wrong = |e: std::io::Error| Error::generic(format!("could not write '{path}': {e}"));
        let mut file = BufWriter::new(File::create(path).map_err(wrong)?);
        let (mut at, end) = (from, from + size);
        while at < end {
            let n = (PAGE - at % PAGE).min(end - at);
            let mut bytes = [0xff; PAGE as usize];
            let page = &mut bytes[..n as usize];
            if machine.board().memory().read(translate(&machine, at)?, page).is_err() {
                page.fill(0xff);
            }
            file.write_all(page).map_err(wrong)?;
            at += n;
        }
        file.flush().map_err(wrong)
    }
}
