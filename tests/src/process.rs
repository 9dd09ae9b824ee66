//! The `gearbox` binary as a user runs it: a process with its terminal or pipes, read with patience and a time limit.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The binary beside the running test, built if it is not there.
///
/// # Panics
/// It cannot be built.
pub fn gearbox() -> PathBuf {
    let mut dir = std::env::current_exe().expect("own path");
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    let path = dir.join("gearbox");
    if !path.exists() {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "-p", "gearbox"]);
        if dir.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo").success(), "cargo build -p gearbox");
    }
    path
}

/// A running emulator, its output collected by threads.
pub struct Process {
    child: Child,
    out: Arc<Stream>,
    err: Arc<Stream>,
    /// How much of the output earlier calls of [`Process::expect`] have consumed.
    seen: usize,
}

#[derive(Default)]
struct Stream {
    text: Mutex<(Vec<u8>, bool)>,
    more: Condvar,
}

impl Stream {
    fn collect(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let this = Arc::new(Self::default());
        let theirs = this.clone();
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            loop {
                let n = from.read(&mut buf).unwrap_or(0);
                let mut t = theirs.text.lock().expect("no panic");
                t.0.extend_from_slice(&buf[..n]);
                t.1 |= n == 0;
                theirs.more.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        this
    }
}

impl Process {
    /// Starts `command` with pipes for its three streams.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let out = Stream::collect(child.stdout.take().expect("a pipe"));
        let err = Stream::collect(child.stderr.take().expect("a pipe"));
        Self { child, out, err, seen: 0 }
    }
    /// Starts gearbox with these arguments.
    pub fn gearbox(args: &[&str]) -> Self {
        Self::start(Command::new(gearbox()).args(args))
    }
    /// Waits until `text` comes after what was expected before; returns what came before it.
    ///
    /// # Panics
    /// It does not come within `timeout`, or the process ends first; with all output.
    pub fn expect(&mut self, text: &str, timeout: Duration) -> String {
        let end = Instant::now() + timeout;
        let mut t = self.out.text.lock().expect("no panic");
        loop {
            let rest = &t.0[self.seen..];
            if let Some(at) = rest.windows(text.len()).position(|w| w == text.as_bytes()) {
                let before = String::from_utf8_lossy(&rest[..at]).into_owned();
                self.seen += at + text.len();
                return before;
            }
            let left = end.saturating_duration_since(Instant::now());
            if t.1 || left.is_zero() {
                let all = String::from_utf8_lossy(&t.0).into_owned();
                let why = if t.1 { "the output ended" } else { "too late" };
                panic!("expected {text:?}: {why}\n--- stdout\n{all}\n--- stderr\n{}", self.stderr());
            }
            t = self.out.more.wait_timeout(t, left).expect("no panic").0;
        }
    }
    /// Types.
    ///
    /// # Panics
    /// The process no longer reads.
    pub fn send(&mut self, text: &str) {
        self.child.stdin.as_mut().expect("a pipe").write_all(text.as_bytes()).expect("a reader");
    }
    /// All output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.out.text.lock().expect("no panic").0).into_owned()
    }
    /// All error output so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.err.text.lock().expect("no panic").0).into_owned()
    }
    /// For how long it has computed: user and system time of proc(5)'s `stat`.
    ///
    /// # Panics
    /// The process is gone.
    pub fn computed(&self) -> Duration {
        /// What the kernel counts in for programs, on every processor that we run on.
        const USER_HZ: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("a process");
        // After the name, which may hold anything: state is the first field, user and system time are the 12th and 13th.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|f| f.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 1000 / USER_HZ)
    }
    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
    /// Waits for the end.
    ///
    /// # Panics
    /// It does not end within `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                for s in [&self.out, &self.err] {
                    let t = s.text.lock().expect("no panic");
                    drop(s.more.wait_timeout_while(t, Duration::from_secs(5), |t| !t.1));
                }
                return status;
            }
            assert!(
                Instant::now() < end,
                "still running\n--- stdout\n{}\n--- stderr\n{}",
                self.stdout(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
