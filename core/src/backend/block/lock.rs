//! Locks that keep two processes from using one image in ways that do not go together. They are QEMU's (`block/file-posix.c`), so that QEMU, its tools
//! and Gearbox respect one another.
//!
//! Each permission has two bytes of the file, far inside what an image of any size has. A shared lock on the first says "I do this", one on the second
//! "nobody else may". Only shared locks are ever taken; whether somebody holds the counterpart is asked for. They are locks of open file
//! descriptions (`F_OFD_SETLK`, fcntl(2)), which end with the descriptor.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Byte of "I do this" for permission 0.
const HELD: i64 = 100;
/// Byte of "nobody else may" for permission 0.
const REFUSED: i64 = 200;

/// A permission: its number and its name in QEMU's messages.
type Permission = (i64, &'static str);
const CONSISTENT_READ: Permission = (0, "consistent read");
const WRITE: Permission = (1, "write");
const RESIZE: Permission = (3, "resize");

/// Locks on an image, held until it is dropped.
#[derive(Debug)]
pub(super) struct ImageLock(#[expect(dead_code, reason = "it is the descriptor that holds the locks")] File);

impl ImageLock {
    /// Locks the image at `path` for reading, and for writing if `write`, against those who would write to it. Nothing is locked where the host's file
    /// system has no locks.
    ///
    /// # Errors
    /// In words for the user.
    pub(super) fn take(path: &Path, write: bool) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let held: &[_] = if write { &[CONSISTENT_READ, WRITE, RESIZE] } else { &[CONSISTENT_READ] };
        let refused = [WRITE, RESIZE];
        let locks = held.iter().map(|p| (HELD, p)).chain(refused.iter().map(|p| (REFUSED, p)));
        for (base, (bit, _)) in locks {
            match fcntl(&file, libc::F_OFD_SETLK, libc::F_RDLCK, base + bit) {
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOLCK) || e.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Self(file));
                }
                Err(e) => return Err(format!("Failed to lock byte {}: {e}", base + bit)),
            }
        }
        let conflicts = held.iter().map(|p| (REFUSED, p)).chain(refused.iter().map(|p| (HELD, p)));
        for (base, (bit, name)) in conflicts {
            let found = fcntl(&file, libc::F_OFD_GETLK, libc::F_WRLCK, base + bit);
            if found.is_ok_and(|kind| kind != libc::F_UNLCK) {
                let file = path.display();
                return Err(format!("Failed to get \"{name}\" lock\nIs another process using the image [{file}]?"));
            }
        }
        Ok(Self(file))
    }
}

/// Sets or asks for a lock on one byte; returns the kind of lock that is in the way.
fn fcntl(file: &File, command: i32, kind: i32, byte: i64) -> io::Result<i32> {
    let mut lock = libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        // Has to be zero for locks of open file descriptions.
        l_pid: 0,
    };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the kernel reads and writes a `flock` at the address of one.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(i32::from(lock.l_type)),
    }
}
