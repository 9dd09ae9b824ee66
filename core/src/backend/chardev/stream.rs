//! The engine of every back end that has a descriptor: bounded queues for both directions, and a thread that moves bytes between them and
//! a [`Port`].

use super::connection::Connection;
use super::port::{End, Port, Waiting};
use super::wake::Wake;
use super::{CharBackend, Received};
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Input that is kept for the guest. When it is full, nothing more is read from the host.
const INPUT: usize = 4 << 10;
/// Output that is kept for the host. When it is full, [`CharBackend::write`] takes no more.
const OUTPUT: usize = 16 << 10;
/// How much is moved in one system call.
const CHUNK: usize = 4 << 10;
/// How long [`CharBackend::flush`] waits for a host that does not take the output.
const FLUSH: Duration = Duration::from_secs(1);

type Ready = Arc<dyn Fn() + Send + Sync>;

/// A character back end on a descriptor.
pub struct Stream {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queues: Mutex<Queues>,
    /// The output queue became empty.
    drained: Condvar,
    wake: Wake,
    ready: Mutex<Option<Ready>>,
    has_connections: bool,
}

#[derive(Default)]
struct Queues {
    input: VecDeque<u8>,
    connection: Connection,
    output: VecDeque<u8>,
    /// A write was refused, and its writer waits to hear of room.
    refused: bool,
    /// The device must hear of input or of room.
    news: bool,
    quit: bool,
}

impl Stream {
    /// Starts the thread, named after `label`, that serves `port`.
    pub(super) fn start(label: &str, port: impl Port + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queues: Mutex::default(),
            drained: Condvar::new(),
            wake: Wake::new()?,
            ready: Mutex::new(None),
            has_connections: port.has_connections(),
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name(label.to_owned()).spawn(move || theirs.serve(port))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }
}

impl CharBackend for Stream {
    fn read(&self, buf: &mut [u8]) -> usize {
        self.shared.take_input(&mut self.shared.queues.lock(), buf)
    }
    fn has_connections(&self) -> bool {
        self.shared.has_connections
    }
    fn receive(&self, buf: &mut [u8]) -> Received {
        let mut q = self.shared.queues.lock();
        if q.connection.tell_begin() {
            return Received::Connected;
        }
        match self.shared.take_input(&mut q, buf) {
            0 if q.input.is_empty() && q.connection.tell_end() => {
                // The next one is let in.
                self.shared.wake.notify();
                Received::Disconnected
            }
            0 => Received::Nothing,
            n => Received::Bytes(n),
        }
    }
    fn take_fds(&self) -> Vec<OwnedFd> {
        self.shared.queues.lock().connection.take_fds()
    }
    fn write(&self, data: &[u8]) -> usize {
        let mut q = self.shared.queues.lock();
        let n = data.len().min(OUTPUT - q.output.len());
        q.refused |= n < data.len();
        let was_empty = q.output.is_empty();
        q.output.extend(&data[..n]);
        if was_empty && n > 0 {
            self.shared.wake.notify();
        }
        n
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        *self.shared.ready.lock() = Some(ready.into());
        // Input may have come before anybody listened.
        self.call_again();
    }
    fn call_again(&self) {
        self.shared.queues.lock().news = true;
        self.shared.wake.notify();
    }
    fn flush(&self) {
        let deadline = Instant::now() + FLUSH;
        let mut q = self.shared.queues.lock();
        while !q.output.is_empty() && !self.shared.drained.wait_until(&mut q, deadline).timed_out() {}
    }
    fn close(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        // The last reference may go away inside a callback on our own thread, which then ends by itself.
        let ours = thread.thread().id() == std::thread::current().id();
        if !ours {
            self.flush();
        }
        self.shared.queues.lock().quit = true;
        self.shared.wake.notify();
        if !ours {
            let _ = thread.join();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

/// Moves bytes from a queue to a slice.
pub(super) fn take(queue: &mut VecDeque<u8>, buf: &mut [u8]) -> usize {
    let n = buf.len().min(queue.len());
    for (to, from) in buf.iter_mut().zip(queue.drain(..n)) {
        *to = from;
    }
    n
}

/// Which descriptors have something to do.
#[derive(Default)]
struct Events {
    input: bool,
    output: bool,
    newcomer: bool,
}

impl Shared {
    fn take_input(&self, q: &mut Queues, buf: &mut [u8]) -> usize {
        let most = q.connection.until_fds().min(buf.len());
        let was_full = q.input.len() >= INPUT || q.connection.is_full();
        let n = take(&mut q.input, &mut buf[..most]);
        q.connection.taken(n);
        if was_full && n > 0 {
            self.wake.notify();
        }
        n
    }

    /// The life of the thread.
    fn serve(&self, mut port: impl Port) {
        let mut chunk = vec![0; CHUNK];
        loop {
            let connected = self.has_connections && port.input().is_some();
            let mut q = self.queues.lock();
            if q.quit {
                return;
            }
            q.news |= q.connection.is(connected);
            let tell = std::mem::take(&mut q.news);
            let room = if q.connection.is_full() { 0 } else { INPUT.saturating_sub(q.input.len()) };
            let (pending, open) = (!q.output.is_empty(), q.connection.may_begin());
            drop(q);
            if tell {
                self.tell();
            } else if pending && port.output().is_none() {
                self.sent(OUTPUT);
            } else {
                let events = self.wait(&port, room > 0, pending, open);
                if events.newcomer {
                    port.look();
                }
                if events.output {
                    self.send(&mut port, &mut chunk);
                }
                if events.input {
                    self.receive(&mut port, &mut chunk[..room.min(CHUNK)]);
                }
            }
        }
    }

    fn tell(&self) {
        let ready = self.ready.lock().clone();
        if let Some(ready) = ready {
            ready();
        }
    }

    fn wait(&self, port: &impl Port, input: bool, output: bool, newcomers: bool) -> Events {
        let input = port.input().filter(|_| input);
        let output = port.output().filter(|_| output);
        let (newcomer, timeout) = match port.waiting() {
            _ if !newcomers => (None, None),
            Waiting::No => (None, None),
            Waiting::Readable(fd) => (Some(fd), None),
            Waiting::Look(every) => (None, Timespec::try_from(every).ok()),
        };
        let polled = [
            (Some(self.wake.fd()), PollFlags::IN),
            (input, PollFlags::IN),
            (output, PollFlags::OUT),
            (newcomer, PollFlags::IN),
        ];
        let mut fds: Vec<_> =
            polled.iter().filter_map(|(fd, flags)| Some(PollFd::from_borrowed_fd((*fd)?, *flags))).collect();
        let count = poll(&mut fds, timeout.as_ref());
        // An error or a hang-up counts: the read or write that follows finds out which.
        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |polled: bool| polled && happened.next().unwrap_or(false);
        if next(true) {
            self.wake.clear();
        }
        let (input, output, newcomer) = (next(input.is_some()), next(output.is_some()), next(newcomer.is_some()));
        Events { input, output, newcomer: newcomer || (timeout.is_some() && count == Ok(0)) }
    }

    fn send(&self, port: &mut impl Port, chunk: &mut [u8]) {
        let n = {
            let q = self.queues.lock();
            let n = q.output.len().min(chunk.len());
            chunk.iter_mut().zip(&q.output).for_each(|(to, from)| *to = *from);
            n
        };
        match port.write(&chunk[..n]) {
            Ok(n) => self.sent(n),
            Err(e) if transient(&e) => {}
            Err(e) => {
                tracing::debug!("output of a character device ended: {e}");
                port.lost(End::Output);
            }
        }
    }

    /// Forgets the first `n` bytes of output, which the host has taken.
    fn sent(&self, n: usize) {
        let mut q = self.queues.lock();
        let n = n.min(q.output.len());
        q.output.drain(..n);
        if q.output.len() <= OUTPUT / 2 && std::mem::take(&mut q.refused) {
            q.news = true;
        }
        if q.output.is_empty() {
            self.drained.notify_all();
        }
    }

    fn receive(&self, port: &mut impl Port, chunk: &mut [u8]) {
        match port.read(chunk) {
            Ok(0) => port.lost(End::Input),
            Ok(n) => {
                let fds = port.take_fds();
                let mut q = self.queues.lock();
                let before = q.input.len();
                q.connection.received(before, fds);
                q.input.extend(&chunk[..n]);
                q.news = true;
            }
            Err(e) if transient(&e) => {}
            Err(e) => {
                tracing::debug!("input of a character device ended: {e}");
                port.lost(End::Input);
            }
        }
    }
}

fn transient(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::super::{ChardevSpec, SocketAddress, SocketRole};
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn until(what: &str, mut f: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !f() {
            assert!(Instant::now() < end, "{what} did not happen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    fn read_exactly(c: &dyn CharBackend, n: usize) -> Vec<u8> {
        let mut got = vec![0; n];
        let mut have = 0;
        until("input", || {
            have += c.read(&mut got[have..]);
            have == n
        });
        got
    }
    fn write_all(c: &dyn CharBackend, data: &[u8]) {
        let mut sent = 0;
        until("room", || {
            sent += c.write(&data[sent..]);
            sent == data.len()
        });
    }
    fn pattern(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i % 251) as u8).collect()
    }

    struct Directory(PathBuf);
    impl Directory {
        fn new() -> Self {
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let n = NUMBER.fetch_add(1, Ordering::Relaxed);
            let dir = std::env::temp_dir().join(format!("gearbox-stream-{}-{n}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
        fn server(&self, wait: bool) -> (PathBuf, ChardevSpec) {
            let path = self.0.join("socket");
            (
                path.clone(),
                ChardevSpec::Socket { address: SocketAddress::Unix(path), role: SocketRole::Server { wait } },
            )
        }
    }
    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn bytes_go_both_ways_and_a_slow_guest_loses_none() {
        let dir = Directory::new();
        let (path, spec) = dir.server(false);
        let c = spec.open("test").unwrap().backend;
        let mut peer = UnixStream::connect(&path).unwrap();
        let typed = pattern(50 * INPUT);
        let expected = typed.clone();
        let mut other = peer.try_clone().unwrap();
        let typist = std::thread::spawn(move || other.write_all(&typed).unwrap());
        assert_eq!(read_exactly(&*c, expected.len()), expected);
        typist.join().unwrap();
        write_all(&*c, b"answer");
        let mut answer = [0; 6];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[test]
    fn a_full_queue_takes_what_fits_and_tells_of_room() {
        let dir = Directory::new();
        let (path, spec) = dir.server(false);
        let c = spec.open("test").unwrap().backend;
        let told = Arc::new(AtomicUsize::new(0));
        let count = told.clone();
        c.on_ready(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        let mut peer = UnixStream::connect(&path).unwrap();
        peer.write_all(b"hello").unwrap();
        assert_eq!(read_exactly(&*c, 5), b"hello");
        // Nobody reads at the other end: in the end no more is taken.
        let data = pattern(4 << 20);
        let mut sent = 0;
        let mut still = Instant::now();
        while still.elapsed() < Duration::from_millis(200) {
            let n = c.write(&data[sent..]);
            sent += n;
            if n > 0 {
                still = Instant::now();
            }
        }
        assert!((OUTPUT..data.len()).contains(&sent), "{sent}");
        let before = told.load(Ordering::Relaxed);
        let mut got = vec![0; sent];
        peer.read_exact(&mut got).unwrap();
        assert!(got == data[..sent]);
        until("word of room", || told.load(Ordering::Relaxed) > before);
    }

    #[test]
    fn a_server_takes_one_client_after_the_other_and_removes_its_socket() {
        let dir = Directory::new();
        let (path, spec) = dir.server(false);
        let c = spec.open("test").unwrap().backend;
        assert_eq!(c.write(b"into the void"), 13);
        c.flush();
        for word in [b"one", b"two"] {
            let mut peer = UnixStream::connect(&path).unwrap();
            peer.write_all(word).unwrap();
            assert_eq!(read_exactly(&*c, 3), word);
        }
        drop(c);
        assert!(!path.exists());
        std::fs::write(&path, "no socket").unwrap();
        assert!(spec.open("test").is_err(), "a file of somebody else is not removed");
    }

    #[test]
    fn a_server_that_waits_has_its_client_when_it_is_made() {
        let dir = Directory::new();
        let (path, spec) = dir.server(true);
        let client = std::thread::spawn(move || {
            until("connection", || UnixStream::connect(&path).is_ok_and(|mut s| s.write_all(b"x").is_ok()));
        });
        let c = spec.open("test").unwrap().backend;
        assert_eq!(read_exactly(&*c, 1), b"x");
        client.join().unwrap();
    }

    #[test]
    fn a_pty_answers_whoever_opens_it() {
        let open = ChardevSpec::Pty.open("test").unwrap();
        let (c, path) = (open.backend, open.pty.unwrap());
        assert_eq!(c.write(b"nobody is there"), 15);
        c.flush();
        let mut slave = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        slave.write_all(b"key\r").unwrap();
        assert_eq!(read_exactly(&*c, 4), b"key\r");
        write_all(&*c, b"a\nb");
        let mut got = [0; 3];
        slave.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"a\nb");
    }

    #[test]
    fn a_file_has_all_output_once_the_back_end_is_gone() {
        let dir = Directory::new();
        let path = dir.0.join("log");
        std::fs::write(&path, "old").unwrap();
        let data = pattern(3 * OUTPUT);
        for (append, expected) in [(false, data.clone()), (true, [data.clone(), data.clone()].concat())] {
            let c = ChardevSpec::File { path: path.clone(), append }.open("test").unwrap().backend;
            write_all(&*c, &data);
            drop(c);
            assert!(std::fs::read(&path).unwrap() == expected);
        }
    }

    #[test]
    fn after_close_nothing_is_under_way() {
        let dir = Directory::new();
        let (path, spec) = dir.server(false);
        let c = spec.open("test").unwrap().backend;
        let busy = Arc::new(AtomicUsize::new(0));
        let count = busy.clone();
        c.on_ready(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            count.fetch_sub(1, Ordering::SeqCst);
        }));
        UnixStream::connect(&path).unwrap().write_all(b"x").unwrap();
        until("a call", || busy.load(Ordering::SeqCst) == 1);
        c.close();
        assert_eq!(busy.load(Ordering::SeqCst), 0);
        assert!(!path.exists());
        c.close();
    }

    #[test]
    fn the_ready_function_may_drop_the_last_reference() {
        let dir = Directory::new();
        let (path, spec) = dir.server(false);
        let c = spec.open("test").unwrap().backend;
        let held = Arc::new(Mutex::new(None));
        let (mine, calls) = (held.clone(), Arc::new(AtomicUsize::new(0)));
        let count = calls.clone();
        c.on_ready(Box::new(move || {
            if mine.lock().take().is_some() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }));
        *held.lock() = Some(c);
        UnixStream::connect(&path).unwrap().write_all(b"x").unwrap();
        until("the end", || calls.load(Ordering::Relaxed) == 1 && !path.exists());
    }
}
