//! Sets of descriptors that clients passed (`add-fd`), for files named `/dev/fdset/ID`.

use super::{Error, Result};
use crate::qmp::types::control::{AddfdInfo, FdsetFdInfo, FdsetInfo};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};

/// The sets, by number.
#[derive(Default)]
pub struct FdSets(Mutex<BTreeMap<i64, Vec<Entry>>>);

struct Entry {
    fd: OwnedFd,
    opaque: Option<String>,
}

impl FdSets {
    /// Most descriptors in all sets together.
    const MOST: usize = 1024;

    /// Adds a descriptor to a set, or to a new one.
    ///
    /// # Errors
    /// There are too many, or the number is no set's.
    pub fn add(&self, fd: OwnedFd, set: Option<i64>, opaque: Option<String>) -> Result<AddfdInfo> {
        let mut sets = self.0.lock();
        if sets.values().map(Vec::len).sum::<usize>() >= Self::MOST {
            return Err(Error::generic("There are too many file descriptors; remove-fd removes some"));
        }
        let free = || (0..).find(|n| !sets.contains_key(n)).unwrap_or_default();
        let fdset_id = match set {
            Some(n) if n < 0 => return Err(Error::generic("Parameter 'fdset-id' expects a non-negative value")),
            Some(n) => n,
            None => free(),
        };
        let number = i64::from(fd.as_raw_fd());
        sets.entry(fdset_id).or_default().push(Entry { fd, opaque });
        Ok(AddfdInfo { fdset_id, fd: number })
    }
    /// Closes one descriptor of a set, or all of them.
    ///
    /// # Errors
    /// There is no such set or descriptor.
    pub fn remove(&self, set: i64, fd: Option<i64>) -> Result<()> {
        let unknown = || {
            let fd = fd.map(|fd| format!(", fd:{fd}")).unwrap_or_default();
            Error::generic(format!("File descriptor named 'fdset-id:{set}{fd}' not found"))
        };
        let mut sets = self.0.lock();
        let entries = sets.get_mut(&set).ok_or_else(unknown)?;
        let before = entries.len();
        entries.retain(|e| fd.is_some_and(|fd| i64::from(e.fd.as_raw_fd()) != fd));
        if entries.len() == before {
            return Err(unknown());
        }
        if entries.is_empty() {
            sets.remove(&set);
        }
        Ok(())
    }
    /// All of them.
    pub fn list(&self) -> Vec<FdsetInfo> {
        let info = |e: &Entry| FdsetFdInfo { fd: e.fd.as_raw_fd().into(), opaque: e.opaque.clone() };
        let sets = self.0.lock();
        sets.iter().map(|(&id, fds)| FdsetInfo { fdset_id: id, fds: fds.iter().map(info).collect() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_made_filled_and_emptied() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let sets = FdSets::default();
        let first = sets.add(null(), None, Some("ro".into())).unwrap();
        assert_eq!(first.fdset_id, 0);
        assert_eq!(sets.add(null(), Some(0), None).unwrap().fdset_id, 0);
        assert_eq!(sets.add(null(), None, None).unwrap().fdset_id, 1);
        assert!(sets.add(null(), Some(-1), None).is_err());
        assert_eq!(sets.list()[0].fds.len(), 2);
        sets.remove(0, Some(first.fd)).unwrap();
        assert_eq!(sets.list()[0].fds.len(), 1);
        assert!(sets.remove(0, Some(first.fd)).is_err() && sets.remove(7, None).is_err());
        sets.remove(0, None).unwrap();
        assert_eq!(sets.list().len(), 1);
    }
}
