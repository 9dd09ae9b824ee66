//! What a [`super::Stream`] reads from and writes to.

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A direction of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Host to guest.
    Input,
    /// Guest to host.
    Output,
}

/// How a port learns that somebody has connected.
pub(super) enum Waiting<'a> {
    /// Nobody will.
    No,
    /// By a descriptor that becomes readable.
    Readable(BorrowedFd<'a>),
    /// Only by looking from time to time.
    Look(Duration),
}

/// A source and a sink of bytes, with nobody there at times.
pub(super) trait Port: Send {
    /// What to read from, while there is something.
    fn input(&self) -> Option<BorrowedFd<'_>>;
    /// What to write to, while there is something. Without it output is dropped, as on a cable that is not plugged in.
    fn output(&self) -> Option<BorrowedFd<'_>>;
    /// An end of file or an error was met.
    fn lost(&mut self, end: End);
    /// Does the other side come and go?
    fn has_connections(&self) -> bool {
        false
    }
    /// Takes the descriptors that came with what was read last.
    fn take_fds(&mut self) -> Vec<OwnedFd> {
        Vec::new()
    }
    /// How to learn of a newcomer.
    fn waiting(&self) -> Waiting<'_> {
        Waiting::No
    }
    /// Somebody may have come.
    fn look(&mut self) {}

    /// Reads what there is, without waiting.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let fd = self.input().ok_or(io::ErrorKind::NotConnected)?;
        Ok(rustix::io::read(fd, buf)?)
    }
    /// Writes what fits, without waiting.
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let fd = self.output().ok_or(io::ErrorKind::NotConnected)?;
        Ok(rustix::io::write(fd, data)?)
    }
}

/// Two descriptors that are what they are: standard input and output, a file, a pair of named pipes.
pub(super) struct Files {
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
}

impl Files {
    /// Reads from the one and writes to the other.
    pub(super) fn new(input: Option<OwnedFd>, output: Option<OwnedFd>) -> Self {
        Self { input, output }
    }
    /// Standard input and output.
    pub(super) fn stdio() -> io::Result<Self> {
        Ok(Self::new(
            Some(nonblocking(io::stdin().as_fd(), End::Input)?),
            Some(nonblocking(io::stdout().as_fd(), End::Output)?),
        ))
    }
}

impl Port for Files {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(AsFd::as_fd)
    }
    fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }
    fn lost(&mut self, end: End) {
        match end {
            End::Input => self.input = None,
            End::Output => self.output = None,
        }
    }
}

/// A descriptor of our own for an inherited one. A terminal or pipe is opened anew where the host lets us, so that it can be non-blocking
/// without making it so for everybody who shares it; regular files do not block, and sockets are rare as standard streams.
fn nonblocking(fd: BorrowedFd<'_>, end: End) -> io::Result<OwnedFd> {
    let kind = FileType::from_raw_mode(fstat(fd)?.st_mode);
    if matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        let access = if end == End::Input { OFlags::RDONLY } else { OFlags::WRONLY };
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        if let Ok(own) = open(path, access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()) {
            return Ok(own);
        }
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 0)?)
}
