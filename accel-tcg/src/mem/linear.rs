//! Linear addresses. Values of any [`Plain`] type and byte slices, at any alignment, across pages; all or nothing where a fault is
//! possible.

use super::Access;
use super::tlb::{OFFSET, Privilege, TlbEntry};
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use crate::int::Plain;

/// Where the bytes of one page are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Host address.
    Host(*mut u8),
    /// Physical address, to be reached through [`super::phys`].
    Phys(u64),
}

impl Cpu {
    /// Translates one address, filling the TLB.
    pub(super) fn place(&mut self, linear: u64, a: Access, p: Privilege) -> Exec<Place> {
        let hit = match self.tlb.lookup(p, a, linear) {
            Some((e, _)) if e.tag & TlbEntry::SLOW == 0 => {
                return Ok(Place::Host(linear.wrapping_add(e.addend) as *mut u8));
            }
            // A page that held code when the entry was made may have lost it.
            Some((_, phys)) if a == Access::Write && self.direct_page(phys).write.is_some() => None,
            Some((_, phys)) => Some(phys),
            None => None,
        };
        if let Some(phys) = hit {
            return Ok(Place::Phys(phys));
        }
        let m = self.walk(linear, a, p)?;
        let direct = self.direct_page(m.phys);
        let host = match a {
            Access::Read | Access::Execute => direct.read,
            Access::Write => direct.write,
        };
        self.tlb.insert(p, a, linear, host, m);
        Ok(match host {
            Some(h) => Place::Host((h | (linear & OFFSET) as usize) as *mut u8),
            None => Place::Phys(m.phys | linear & OFFSET),
        })
    }
    /// Cuts a linear address to 32 bits outside 64-bit mode.
    #[inline(always)]
    pub(super) fn wrap(&self, linear: u64) -> u64 {
        if self.long_mode() { linear } else { linear & 0xffff_ffff }
    }

    /// Reads bytes. Nothing is read from a device when a page faults.
    pub(crate) fn load_bytes(&mut self, linear: u64, data: &mut [u8], p: Privilege) -> Exec {
        self.check(linear, data.len(), Access::Read, p)?;
        self.pieces(linear, data.len(), Access::Read, p, |cpu, place, from, n| match place {
            Place::Host(h) => {
                // SAFETY: a TLB entry points to a whole page of a RAM block that stays mapped.
                unsafe { std::ptr::copy_nonoverlapping(h, data[from..from + n].as_mut_ptr(), n) };
                Ok(())
            }
            Place::Phys(a) => cpu.phys_read(a, &mut data[from..from + n]),
        })
    }
    /// Writes bytes. Nothing is written when a page faults.
    pub(crate) fn store_bytes(&mut self, linear: u64, data: &[u8], p: Privilege) -> Exec {
        self.check(linear, data.len(), Access::Write, p)?;
        self.pieces(linear, data.len(), Access::Write, p, |cpu, place, from, n| match place {
            Place::Host(h) => {
                // SAFETY: a TLB entry points to a whole page of a RAM block that stays mapped.
                unsafe { std::ptr::copy_nonoverlapping(data[from..from + n].as_ptr(), h, n) };
                Ok(())
            }
            Place::Phys(a) => cpu.phys_write(a, &data[from..from + n]),
        })
    }
    /// Faults as an access to these bytes would, and does nothing else.
    pub(crate) fn check(&mut self, linear: u64, len: usize, a: Access, p: Privilege) -> Exec {
        if (linear & OFFSET) as usize + len > 0x1000 {
            return self.pieces(linear, len, a, p, |_, _, _, _| Ok(()));
        }
        Ok(())
    }
    fn pieces(
        &mut self,
        linear: u64,
        len: usize,
        a: Access,
        p: Privilege,
        mut f: impl FnMut(&mut Self, Place, usize, usize) -> Exec,
    ) -> Exec {
        let mut done = 0;
        while done < len {
            let at = self.wrap(linear.wrapping_add(done as u64));
            let n = (len - done).min(0x1000 - (at & OFFSET) as usize);
            let place = self.place(at, a, p)?;
            f(self, place, done, n)?;
            done += n;
        }
        Ok(())
    }

    /// #AC(0) for a misaligned access of user code that asked for it (SDM vol. 3, 7.15, "Alignment Check Exception").
    #[inline(always)]
    pub(crate) fn check_alignment(&self, linear: u64, size: usize, p: Privilege) -> Exec {
        // Sixteen bytes are the most that have to be aligned.
        let mask = size.min(16) as u64 - 1;
        if self.align_check && p == Privilege::User && size.is_power_of_two() && linear & mask != 0 {
            return Err(Fault::coded(vector::AC, 0));
        }
        Ok(())
    }
    /// Reads a value.
    pub(crate) fn load<T: Plain>(&mut self, linear: u64, p: Privilege) -> Exec<T> {
        self.check_alignment(linear, T::SIZE, p)?;
        self.load_any(linear, p)
    }
    /// Reads a value whose alignment is not checked.
    pub(crate) fn load_any<T: Plain>(&mut self, linear: u64, p: Privilege) -> Exec<T> {
        if (linear & OFFSET) as usize + T::SIZE <= 0x1000 {
            let linear = self.wrap(linear);
            return match self.place(linear, Access::Read, p)? {
                // SAFETY: a TLB entry points to a whole page of a RAM block that stays mapped.
                Place::Host(h) => Ok(unsafe { h.cast::<T>().read_unaligned() }.le()),
                Place::Phys(a) => self.phys_load(a),
            };
        }
        let mut v = T::default();
        // SAFETY: `Plain` types are any bytes.
        let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut v).cast::<u8>(), T::SIZE) };
        self.load_bytes(linear, bytes, p)?;
        Ok(v.le())
    }
    /// Writes a value.
    pub(crate) fn store<T: Plain>(&mut self, linear: u64, v: T, p: Privilege) -> Exec {
        self.check_alignment(linear, T::SIZE, p)?;
        self.store_any(linear, v, p)
    }
    /// Writes a value whose alignment is not checked.
    pub(crate) fn store_any<T: Plain>(&mut self, linear: u64, v: T, p: Privilege) -> Exec {
        let v = v.le();
        if (linear & OFFSET) as usize + T::SIZE <= 0x1000 {
            let linear = self.wrap(linear);
            return match self.place(linear, Access::Write, p)? {
                Place::Host(h) => {
                    // SAFETY: a TLB entry points to a whole page of a RAM block that stays mapped.
                    unsafe { h.cast::<T>().write_unaligned(v) };
                    Ok(())
                }
                Place::Phys(a) => self.phys_store(a, v),
            };
        }
        // SAFETY: `Plain` types have no padding.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const v).cast::<u8>(), T::SIZE) };
        self.store_bytes(linear, bytes, p)
    }
    /// Faults as a store of `len` bytes would: the first half of a read-modify-write.
    pub(crate) fn check_write(&mut self, linear: u64, len: usize, p: Privilege) -> Exec {
        self.pieces(linear, len, Access::Write, p, |_, _, _, _| Ok(()))
    }
    /// The page that `linear` lies in, for a fetch: its host address, or `None` when it is no plain memory, and its physical address.
    pub(crate) fn fetch_page(&mut self, linear: u64) -> Exec<(Option<usize>, u64)> {
        // A fault gives CR2 the address of the byte, not of its page.
        let (p, linear) = (self.privilege(), self.wrap(linear));
        let page = linear & !OFFSET;
        Ok(match self.place(linear, Access::Execute, p)? {
            Place::Host(h) => {
                let phys = self.tlb.lookup(p, Access::Execute, page).map_or(0, |(_, phys)| phys);
                (Some(h as usize & !(OFFSET as usize)), phys)
            }
            Place::Phys(a) => (None, a & !OFFSET),
        })
    }
    /// Host memory of up to `len` bytes from `linear` on, if they lie in one page of plain memory: for bulk copies.
    pub(crate) fn host_span(&mut self, linear: u64, len: usize, a: Access) -> Exec<Option<*mut u8>> {
        if (linear & OFFSET) as usize + len > 0x1000 {
            return Ok(None);
        }
        let p = self.privilege();
        Ok(match self.place(self.wrap(linear), a, p)? {
            Place::Host(h) => Some(h),
            Place::Phys(_) => None,
        })
    }
}
