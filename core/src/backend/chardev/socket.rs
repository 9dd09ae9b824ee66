//! Ports whose other side comes and goes: sockets and pseudo-terminals.

use super::port::{End, Port, Waiting};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketFlags, accept_with, recvmsg, send,
};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A stream socket: connected once, or a server that takes one client after the other.
pub(super) struct Socket {
    listener: Option<OwnedFd>,
    /// How a client connects, and how often it tries.
    reconnect: Option<(Duration, Connect)>,
    connection: Option<OwnedFd>,
    /// Removed from the file system in the end.
    path: Option<PathBuf>,
    /// Descriptors that came with what was read last.
    fds: Vec<OwnedFd>,
}

/// Makes a connection.
pub(super) type Connect = Box<dyn Fn() -> Option<OwnedFd> + Send>;

/// Most descriptors that one message brings.
const FDS: usize = 16;

impl Socket {
    fn new(listener: Option<OwnedFd>, connection: Option<OwnedFd>) -> Self {
        Self { listener, reconnect: None, connection, path: None, fds: Vec::new() }
    }
    /// A client that connects by `connect`, now and `every` so often while it is not connected.
    pub(super) fn reconnecting(every: Duration, connect: Connect) -> Self {
        let mut this = Self::new(None, connect());
        this.reconnect = Some((every, connect));
        this
    }
    /// A connected socket.
    pub(super) fn client(connection: OwnedFd) -> Self {
        Self::new(None, Some(connection))
    }
    /// A listening socket; `path` is removed when it goes.
    pub(super) fn server(listener: OwnedFd, path: Option<&Path>) -> Self {
        let mut this = Self::new(Some(listener), None);
        this.path = path.map(Path::to_owned);
        this
    }
    /// Waits for the first client.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        if let Some(listener) = &self.listener {
            poll(&mut [PollFd::new(listener, PollFlags::IN)], None)?;
            self.connection = Some(accept_with(listener, SocketFlags::CLOEXEC)?);
        }
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Port for Socket {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(AsFd::as_fd)
    }
    fn output(&self) -> Option<BorrowedFd<'_>> {
        self.input()
    }
    fn lost(&mut self, _: End) {
        self.connection = None;
    }
    fn has_connections(&self) -> bool {
        true
    }
    fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.fds)
    }
    fn waiting(&self) -> Waiting<'_> {
        match (&self.connection, &self.listener) {
            (None, Some(listener)) => Waiting::Readable(listener.as_fd()),
            (None, None) => self.reconnect.as_ref().map_or(Waiting::No, |(every, _)| Waiting::Look(*every)),
            _ => Waiting::No,
        }
    }
    fn look(&mut self) {
        if let Some((_, connect)) = &self.reconnect {
            self.connection = connect();
        } else if let Some(listener) = &self.listener {
            self.connection = accept_with(listener, SocketFlags::CLOEXEC).ok();
        }
    }
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let fd = self.input().ok_or(io::ErrorKind::NotConnected)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(fd, &mut [IoSliceMut::new(buf)], &mut ancillary, flags)?;
        let messages = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        self.fds = messages.flatten().collect();
        Ok(received.bytes)
    }
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let fd = self.output().ok_or(io::ErrorKind::NotConnected)?;
        Ok(send(fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }
}

/// The master side of a pseudo-terminal.
pub(super) struct Pty {
    master: OwnedFd,
    /// Somebody has the slave side open.
    connected: bool,
}

impl Pty {
    /// How often to look for somebody who opens the slave side: there is nothing to wait on.
    const LOOK: Duration = Duration::from_millis(200);

    /// A new pseudo-terminal in raw mode, and the path of its slave side.
    pub(super) fn open() -> io::Result<(Self, PathBuf)> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let name = ptsname(&master, Vec::new())?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let slave = std::fs::OpenOptions::new().read(true).write(true).open(&path)?;
        let mut mode = tcgetattr(&slave)?;
        mode.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &mode)?;
        Ok((Self { master, connected: false }, path))
    }
}

impl Port for Pty {
    fn input(&self) -> Option<BorrowedFd<'_>> {
        self.connected.then(|| self.master.as_fd())
    }
    fn output(&self) -> Option<BorrowedFd<'_>> {
        self.input()
    }
    fn lost(&mut self, _: End) {
        self.connected = false;
    }
    fn has_connections(&self) -> bool {
        true
    }
    fn waiting(&self) -> Waiting<'_> {
        if self.connected { Waiting::No } else { Waiting::Look(Self::LOOK) }
    }
    fn look(&mut self) {
        let mut fds = [PollFd::new(&self.master, PollFlags::OUT)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        self.connected = polled.is_ok() && !fds[0].revents().contains(PollFlags::HUP);
    }
}
