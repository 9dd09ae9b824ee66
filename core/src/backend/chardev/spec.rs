//! Descriptions of back ends, and how one is made from its description.

use super::port::Files;
use super::socket::{Pty, Socket};
use super::{CharBackend, Null, Received, Stream};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The address of a stream socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketAddress {
    /// A path in the file system.
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
    /// A socket that the process was started with, by the number of its descriptor (`fd=`).
    Inherited(RawFd),
}

/// Which side of a stream socket a back end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketRole {
    /// It connects.
    Client {
        /// How long after the connection has gone, or could not be made, it tries again; not at all without.
        reconnect: Option<Duration>,
    },
    /// It listens, for one client after the other.
    Server {
        /// Nothing else happens before the first client is there.
        wait: bool,
    },
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(at) => write!(f, "tcp:{at}"),
            Self::Inherited(fd) => write!(f, "fd:{fd}"),
        }
    }
}

/// A character back end as asked for by `-serial` or `-chardev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChardevSpec {
    /// Nothing.
    Null,
    /// Standard input and output. There can be one.
    Stdio,
    /// Output into a file.
    File {
        /// The file.
        path: PathBuf,
        /// Keep what it contains.
        append: bool,
    },
    /// Named pipes `PATH.in` and `PATH.out`, or one of that name for both directions.
    Pipe {
        /// The path.
        path: PathBuf,
    },
    /// A new pseudo-terminal.
    Pty,
    /// A stream socket.
    Socket {
        /// Where.
        address: SocketAddress,
        /// As which side.
        role: SocketRole,
    },
}

/// A back end that has been made.
pub struct OpenChardev {
    /// The back end.
    pub backend: Arc<dyn CharBackend>,
    /// The path by which a new pseudo-terminal is reached.
    pub pty: Option<PathBuf>,
}

impl ChardevSpec {
    /// Makes the back end. Its thread is named after `label`.
    ///
    /// # Errors
    /// The host refused the file, the socket or the thread; standard input and output belong to another back end.
    pub fn open(&self, label: &str) -> io::Result<OpenChardev> {
        let mut pty = None;
        let stream = match self {
            Self::Null => return Ok(OpenChardev { backend: Arc::new(Null), pty }),
            Self::Stdio => return Ok(OpenChardev { backend: Arc::new(Stdio::open(label)?), pty }),
            Self::File { path, append } => {
                let file = OpenOptions::new().create(true).write(true).append(*append).truncate(!append).open(path)?;
                Stream::start(label, Files::new(None, Some(file.into())))
            }
            Self::Pipe { path } => Stream::start(label, open_pipe(path)?),
            Self::Pty => {
                let (port, path) = Pty::open()?;
                pty = Some(path);
                Stream::start(label, port)
            }
            Self::Socket { address, role: SocketRole::Client { reconnect: None } } => {
                Stream::start(label, Socket::client(connect(address)?))
            }
            Self::Socket { address, role: SocketRole::Client { reconnect: Some(every) } } => {
                let address = address.clone();
                Stream::start(label, Socket::reconnecting(*every, Box::new(move || connect(&address).ok())))
            }
            Self::Socket { address, role: SocketRole::Server { wait } } => {
                let mut socket = listen(address)?;
                if *wait {
                    socket.wait()?;
                }
                Stream::start(label, socket)
            }
        }?;
        Ok(OpenChardev { backend: Arc::new(stream), pty })
    }
    /// Whether [`ChardevSpec::open`] can succeed, as far as that can be seen without a trace of it.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self) -> io::Result<()> {
        match self {
            Self::File { path, .. } => can_create(path),
            Self::Pipe { path } => open_pipe(path).map(drop),
            Self::Socket { address: SocketAddress::Unix(path), role: SocketRole::Client { reconnect: None } } => {
                path.metadata().map(drop)
            }
            Self::Socket { address: SocketAddress::Unix(path), role: SocketRole::Server { .. } } => can_create(path),
            Self::Socket { address: SocketAddress::Inherited(fd), .. } => inherited(*fd).map(drop),
            Self::Null | Self::Stdio | Self::Pty | Self::Socket { .. } => Ok(()),
        }
    }
}

/// A file can be written to, or made.
fn can_create(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(there) if there.is_file() => OpenOptions::new().write(true).open(path).map(drop),
        Ok(there) if there.is_dir() => Err(rustix::io::Errno::ISDIR.into()),
        Ok(_) => Ok(()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Err(_) => {
            let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?)
        }
    }
}

fn open_pipe(path: &Path) -> io::Result<Files> {
    let with_suffix = |suffix| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // Read and write for each, as nobody need have the other end open yet.
    let open = |path: &Path| -> io::Result<File> {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path)
    };
    let (input, output) = match (open(&with_suffix(".in")), open(&with_suffix(".out"))) {
        (Ok(input), Ok(output)) => (input, output),
        _ => {
            let both = open(path)?;
            (both.try_clone()?, both)
        }
    };
    Ok(Files::new(Some(input.into()), Some(output.into())))
}

fn connect(address: &SocketAddress) -> io::Result<OwnedFd> {
    Ok(match address {
        SocketAddress::Unix(path) => UnixStream::connect(path)?.into(),
        SocketAddress::Tcp(at) => {
            let mut last = io::ErrorKind::AddrNotAvailable.into();
            let found = at
                .to_socket_addrs()?
                .find_map(|at| TcpStream::connect_timeout(&at, CONNECT).map_err(|e| last = e).ok());
            found.ok_or(last)?.into()
        }
        SocketAddress::Inherited(fd) => inherited(*fd)?,
    })
}

fn listen(address: &SocketAddress) -> io::Result<Socket> {
    Ok(match address {
        SocketAddress::Unix(path) => {
            // One that a process before us left behind must not be in the way; anything else there is not ours to remove.
            if path.symlink_metadata().is_ok_and(|m| m.file_type().is_socket()) {
                std::fs::remove_file(path)?;
            }
            Socket::server(UnixListener::bind(path)?.into(), Some(path))
        }
        SocketAddress::Tcp(at) => Socket::server(TcpListener::bind(at)?.into(), None),
        SocketAddress::Inherited(fd) => Socket::server(inherited(*fd)?, None),
    })
}

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// A descriptor of our own for a socket that the process was started with.
fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd <= 2 {
        return Err(io::Error::other("standard input, output and error are not for sockets"));
    }
    // SAFETY: it is borrowed for one system call, which fails cleanly if nothing is open under this number.
    let theirs = unsafe { BorrowedFd::borrow_raw(fd) };
    let ours = rustix::io::fcntl_dupfd_cloexec(theirs, 3)?;
    rustix::net::sockopt::socket_type(&ours)?;
    Ok(ours)
}

/// Standard input and output, which belong to one back end at a time.
struct Stdio(Stream);

static STDIO_TAKEN: AtomicBool = AtomicBool::new(false);

impl Stdio {
    fn open(label: &str) -> io::Result<Self> {
        if STDIO_TAKEN.swap(true, Ordering::AcqRel) {
            return Err(io::Error::other("standard input and output belong to another device"));
        }
        let stream = Files::stdio().and_then(|port| Stream::start(label, port));
        stream.map(Self).inspect_err(|_| STDIO_TAKEN.store(false, Ordering::Release))
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        STDIO_TAKEN.store(false, Ordering::Release);
    }
}

impl CharBackend for Stdio {
    fn read(&self, buf: &mut [u8]) -> usize {
        self.0.read(buf)
    }
    fn write(&self, data: &[u8]) -> usize {
        self.0.write(data)
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        self.0.on_ready(ready);
    }
    fn receive(&self, buf: &mut [u8]) -> Received {
        self.0.receive(buf)
    }
    fn take_fds(&self) -> Vec<OwnedFd> {
        self.0.take_fds()
    }
    fn call_again(&self) {
        self.0.call_again();
    }
    fn window_size(&self) -> Option<(u16, u16)> {
        rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| (size.ws_col, size.ws_row))
    }
    fn flush(&self) {
        self.0.flush();
    }
    fn close(&self) {
        self.0.close();
    }
}
