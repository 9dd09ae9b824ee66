//! The qtest server (`-qtest`): a thread between a character back end and a board. It serves any board, whichever accelerator runs it.

use crate::Session;
use gearbox_core::backend::chardev::CharBackend;
use gearbox_core::board::Board;
use parking_lot::{Condvar, Mutex};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Wakes the server's thread.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_all();
    }
    fn wait(&self) {
        let mut rung = self.rung.lock();
        while !std::mem::take(&mut *rung) {
            self.changed.wait(&mut rung);
        }
    }
}

/// A running server. It ends when it is dropped; a client that goes does not end it.
pub struct Server {
    bell: Arc<Bell>,
    quit: Arc<AtomicBool>,
    join: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `board` on `backend`, logging to `log` if there is one (`-qtest-log`).
    ///
    /// # Errors
    /// The host has no thread for it.
    pub fn start(
        board: Arc<Board>,
        backend: Arc<dyn CharBackend>,
        log: Option<Box<dyn Write + Send>>,
    ) -> io::Result<Self> {
        let (bell, quit) = (Arc::new(Bell::default()), Arc::new(AtomicBool::new(false)));
        let ring = {
            let bell = bell.clone();
            move || bell.ring()
        };
        backend.on_ready(Box::new(ring.clone()));
        let mut session = Session::new(board).on_change(ring).cancelled_by(quit.clone());
        if let Some(log) = log {
            session = session.log(log);
        }
        let (b, q) = (bell.clone(), quit.clone());
        let join =
            std::thread::Builder::new().name("qtest".into()).spawn(move || serve(&mut session, &*backend, &b, &q))?;
        // Input may have come before there was anyone to be told.
        bell.ring();
        Ok(Self { bell, quit, join: Some(join) })
    }
}

fn serve(session: &mut Session, backend: &dyn CharBackend, bell: &Bell, quit: &AtomicBool) {
    let quitting = || quit.load(Ordering::Acquire);
    let mut out = |line: &str| {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let n = backend.write(rest);
            rest = &rest[n..];
            if n == 0 {
                // At the end a client gets the answer that it waits for, but nobody waits for a client.
                if quitting() {
                    return;
                }
                // Full: the bell rings when there is room. Input that rings it meanwhile is found below.
                bell.wait();
            }
        }
    };
    let mut buf = [0; 4096];
    while !quitting() {
        loop {
            match backend.read(&mut buf) {
                0 => break,
                n => session.feed(&buf[..n], &mut out),
            }
        }
        session.tell_changes(&mut out);
        // The ring of the end may have been heard while there was no room for output.
        if !quitting() {
            bell.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bench, BenchChardev};
    use std::time::{Duration, Instant};

    fn answers(client: &BenchChardev, lines: usize) -> String {
        let (start, mut text) = (Instant::now(), String::new());
        while text.lines().count() < lines && start.elapsed() < Duration::from_secs(10) {
            text.push_str(std::str::from_utf8(&client.output()).expect("text"));
            std::thread::sleep(Duration::from_millis(1));
        }
        text
    }

    #[test]
    fn it_serves_until_it_is_dropped() {
        let (bench, client) = (Bench::with_ram(0x1000), BenchChardev::new());
        client.type_in(b"endian");
        let server = Server::start(bench.board().clone(), client.clone(), None).unwrap();
        client.type_in(b"ness\nwritel 0 1\n");
        assert_eq!(answers(&client, 2), "OK little\nOK\n");
        client.type_in(b"readb 0\n");
        assert_eq!(answers(&client, 1), "OK 0x0000000000000001\n");
        drop(server);
        client.type_in(b"readb 0\n");
        assert_eq!(client.waiting(), 8);
    }

    #[test]
    fn it_speaks_over_a_socket_and_outlives_its_client() {
        use gearbox_core::backend::chardev::{ChardevSpec, SocketAddress, SocketRole};
        use std::io::{BufRead, BufReader};
        use std::os::unix::net::UnixListener;

        let path = std::env::temp_dir().join(format!("gearbox-qtest-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let spec = ChardevSpec::Socket {
            address: SocketAddress::Unix(path.clone()),
            role: SocketRole::Client { reconnect: None },
        };
        let backend = spec.open("qtest").unwrap().backend;
        let client = listener.accept().unwrap().0;
        std::fs::remove_file(path).unwrap();

        let bench = Bench::with_ram(0x1000);
        let server = Server::start(bench.board().clone(), backend, None).unwrap();
        for piece in ["wri", "tew 0x10 07", "77\nreadw", " 16\n"] {
            (&client).write_all(piece.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        let lines: Vec<_> = BufReader::new(&client).lines().take(2).map(Result::unwrap).collect();
        assert_eq!(lines, ["OK", "OK 0x00000000000001ff"]);
        drop(client);
        assert_eq!(bench.readw(0x10), 0o777);
        drop(server);
    }

    #[test]
    fn it_waits_for_a_client_that_does_not_read() {
        let (bench, client) = (Bench::with_ram(0x10000), BenchChardev::new());
        client.set_room(10);
        let server = Server::start(bench.board().clone(), client.clone(), None).unwrap();
        client.type_in(b"read 0 0x10000\nendianness\n");
        while client.waiting() > 0 {
            std::thread::yield_now();
        }
        client.set_room(1 << 20);
        let text = answers(&client, 2);
        assert_eq!(text.len(), 2 * 0x10000 + 6 + "OK little\n".len());
        client.set_room(0);
        client.type_in(b"endianness\n");
        drop(server);
    }
}
