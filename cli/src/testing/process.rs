//! A machine in another process, started as QEMU's libqtest starts one.

use super::{Qmp, QmpError, Qtest};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a process may take for one answer, on a host that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Output of a process that is kept.
const MOST_OUTPUT: usize = 1 << 20;

/// Why a process is not there, or not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The host.
    #[error("{what}: {source}")]
    Host {
        /// What was attempted.
        what: String,
        /// The host's reason.
        source: io::Error,
    },
    /// It ended before it connected.
    #[error("{program} ended with {status}\n{said}")]
    Ended {
        /// Path of the program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// It does not connect, or does not end.
    #[error("{program} did not {what} within {after:?}\n{said}")]
    Late {
        /// Path of the program.
        program: String,
        /// What it was to do.
        what: &'static str,
        /// The time that it had.
        after: Duration,
        /// What it said.
        said: String,
    },
    /// Its QMP.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

fn host(what: impl Into<String>) -> impl FnOnce(io::Error) -> ProcessError {
    let what = what.into();
    move |source| ProcessError::Host { what, source }
}

/// What is done with the machine's CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cpus {
    /// There are none: `-accel qtest`.
    None,
    /// They do not start, for a program without that accelerator: `-accel tcg -S`.
    Stopped,
    /// The arguments say.
    AsAsked,
}

/// A program that speaks QEMU's protocols.
///
/// ```no_run
/// use gearbox::testing::{Io, Program};
/// use serde_json::json;
///
/// let mut machine = Program::gearbox()?.start(["-m", "64"])?;
/// machine.qtest().outb(0x70, 0x0a);
/// assert_eq!(machine.qtest().inb(0x71), 0x26);
/// assert_eq!(machine.qmp().execute("query-status", json!({}))?["status"], "running");
/// assert!(machine.end()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    cpus: Cpus,
}

impl Program {
    /// The program at `path`. Its machines have no CPU: it is started with `-accel qtest` after all other arguments.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), cpus: Cpus::None }
    }
    /// Gearbox itself: what the environment variable `GEARBOX` names, or else the binary beside the running test or example.
    ///
    /// # Errors
    /// There is none; `cargo build` makes it.
    pub fn gearbox() -> Result<Self, ProcessError> {
        if let Some(path) = std::env::var_os("GEARBOX") {
            return Ok(Self::at(path));
        }
        let mut dir = std::env::current_exe().map_err(host("the path of the running program"))?;
        while dir.pop() {
            // Tests are in `deps`, examples in `examples`, both beside the binary.
            if dir.file_name().is_some_and(|name| name != "deps" && name != "examples") {
                break;
            }
        }
        let path = dir.join("gearbox");
        match path.is_file() {
            true => Ok(Self::at(path)),
            false => Err(host(path.display().to_string())(io::ErrorKind::NotFound.into())),
        }
    }
    /// The `qemu-system-x86_64` of the host, if it has one. As distributions build it without the qtest accelerator, its CPUs are stopped instead: its
    /// clock stands still, and the commands that move it are refused.
    pub fn qemu() -> Option<Self> {
        let path = Path::new("/usr/bin/qemu-system-x86_64");
        path.is_file().then(|| Self { cpus: Cpus::Stopped, ..Self::at(path) })
    }
    /// Its CPUs run as the arguments say.
    #[must_use]
    pub fn with_cpus(self) -> Self {
        Self { cpus: Cpus::AsAsked, ..self }
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it with these arguments among libqtest's own, waits until it has connected to both sockets, and negotiates QMP.
    ///
    /// # Errors
    /// It ends at once, as for an argument that it cannot honour, or does not connect.
    pub fn start<T: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = T>) -> Result<Process, ProcessError> {
        let dir = tempfile::Builder::new().prefix("gearbox-").tempdir().map_err(host("a folder for sockets"))?;
        let listen = |name: &str| {
            let path = dir.path().join(name);
            let listener = UnixListener::bind(&path).map_err(host(path.display().to_string()))?;
            listener.set_nonblocking(true).map_err(host("a socket"))?;
            Ok::<_, ProcessError>((listener, path))
        };
        let ((qtest, qtest_path), (qmp, qmp_path)) = (listen("qtest.sock")?, listen("qmp.sock")?);
        let joined = |head: &str, path: &Path, tail: &str| {
            let mut word = OsString::from(head);
            word.push(path);
            word.push(tail);
            word
        };
        let mut command = Command::new(&self.path);
        command.arg("-qtest").arg(joined("unix:", &qtest_path, "")).args(["-qtest-log", "/dev/null"]);
        command.arg("-chardev").arg(joined("socket,path=", &qmp_path, ",id=char0"));
        command.args(["-mon", "chardev=char0,mode=control", "-display", "none"]).args(arguments);
        command.args(match self.cpus {
            Cpus::None => &["-accel", "qtest"][..],
            Cpus::Stopped => &["-accel", "tcg", "-S"],
            Cpus::AsAsked => &[],
        });
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(host(self.path.display().to_string()))?;
        let mut running = Running::new(child, &self.path);
        let qtest = running.accept(&qtest)?;
        let qmp = running.accept(&qmp)?;
        qtest.set_read_timeout(Some(PATIENCE)).map_err(host("a socket"))?;
        let mut qmp = Qmp::new(qmp, PATIENCE)?;
        qmp.negotiate(&[])?;
        Ok(Process { qtest: Qtest::new(qtest), qmp, running, _dir: dir })
    }
}

/// A machine in another process. When this is dropped the process is killed and its sockets are removed.
pub struct Process {
    qtest: Qtest,
    qmp: Qmp,
    running: Running,
    _dir: TempDir,
}

impl Process {
    /// Its ports and memory.
    pub fn qtest(&mut self) -> &mut Qtest {
        &mut self.qtest
    }
    /// Its control.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }
    /// Its process id.
    pub fn id(&self) -> u32 {
        self.running.child.id()
    }
    /// What it has said on standard output and error.
    pub fn said(&self) -> String {
        self.running.said()
    }
    /// Waits for its end.
    ///
    /// # Errors
    /// It goes on for longer than `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        self.running.wait(timeout)
    }
    /// Ends it as libqtest does: SIGTERM, and it exits.
    ///
    /// # Errors
    /// It does not.
    pub fn end(mut self) -> Result<ExitStatus, ProcessError> {
        if let Some(pid) = Pid::from_raw(self.id().cast_signed()) {
            kill_process(pid, Signal::TERM).map_err(|e| host("SIGTERM")(e.into()))?;
        }
        self.wait(PATIENCE)
    }
}

/// A child whose output is collected, and which is killed in the end.
struct Running {
    child: Child,
    path: String,
    output: Vec<Arc<parking_lot::Mutex<Vec<u8>>>>,
}

impl Running {
    fn new(mut child: Child, path: &Path) -> Self {
        let out = child.stdout.take().map(collect);
        let err = child.stderr.take().map(collect);
        Self { child, path: path.display().to_string(), output: out.into_iter().chain(err).collect() }
    }
    fn said(&self) -> String {
        self.output.iter().map(|o| String::from_utf8_lossy(&o.lock()).into_owned()).collect()
    }
    fn late(&self, what: &'static str, after: Duration) -> ProcessError {
        ProcessError::Late { program: self.path.clone(), what, after, said: self.said() }
    }
    /// Does `f` again and again until it gives something.
    fn until<T>(
        &mut self,
        what: &'static str,
        timeout: Duration,
        mut f: impl FnMut(&mut Self) -> Result<Option<T>, ProcessError>,
    ) -> Result<T, ProcessError> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(found) = f(self)? {
                return Ok(found);
            }
            if Instant::now() >= end {
                return Err(self.late(what, timeout));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream, ProcessError> {
        self.until("connect", PATIENCE, |this| match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(host("a socket"))?;
                Ok(Some(stream))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => match this.child.try_wait().map_err(host("waiting"))? {
                None => Ok(None),
                Some(status) => {
                    // The threads that collect its last words have a moment for it.
                    std::thread::sleep(Duration::from_millis(20));
                    Err(ProcessError::Ended { program: this.path.clone(), status, said: this.said() })
                }
            },
            Err(e) => Err(host("a socket")(e)),
        })
    }
    fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        self.until("end", timeout, |this| this.child.try_wait().map_err(host("waiting")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects what comes from a pipe, on a thread that ends with it.
fn collect(mut from: impl Read + Send + 'static) -> Arc<parking_lot::Mutex<Vec<u8>>> {
    let kept = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let ours = kept.clone();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            let mut kept = ours.lock();
            let room = MOST_OUTPUT - kept.len();
            kept.extend_from_slice(&piece[..n.min(room)]);
        }
    });
    kept
}
