//! `-display curses`: the guest's text screen in the terminal, with the keyboard going to the guest; and the consoles beside it.
//!
//! Alt (or Esc) and a digit choose what is seen: 1 the screen, 2 the monitor, 3 the first serial port. `frame` is what the terminal shows, `keys` what
//! its keys mean, `console` a console that is not the guest's screen.

mod console;
mod frame;
mod keys;

use crate::machine::{Machine, RunState};
use console::VirtualConsole;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::{cursor, event, execute, queue, terminal};
use frame::Frame;
use gearbox_core::backend::input::InputEvent;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two looks at what is shown.
const LOOK: Duration = Duration::from_millis(50);
/// Time between two looks at how large a picture is that is no text.
const SLOW_LOOK: Duration = Duration::from_secs(1);

/// The consoles beside the screen, by their labels, in the order of their digits.
#[derive(Default)]
pub(crate) struct Consoles(Vec<(String, Arc<VirtualConsole>)>);

impl Consoles {
    /// Adds one. The monitor comes first.
    pub(crate) fn add(&mut self, label: &str) -> Arc<VirtualConsole> {
        let console = Arc::new(VirtualConsole::default());
        let at = if label == "monitor" { 0 } else { self.0.len() };
        self.0.insert(at, (label.to_owned(), console.clone()));
        console
    }
}

/// Can there be a view?
///
/// # Errors
/// Why not.
pub(crate) fn check() -> Result<(), &'static str> {
    match (io::stdin().is_terminal(), io::stdout().is_terminal()) {
        (true, true) => Ok(()),
        _ => Err("standard input and output are no terminal"),
    }
}

/// The view, on a thread of its own until it is dropped.
pub(crate) struct View {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl View {
    /// Starts it. The terminal must be in raw mode.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub(crate) fn start(machine: &Arc<Machine>, consoles: Consoles) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut state = State {
            machine: Arc::downgrade(machine),
            consoles,
            shown: 0,
            last: Frame::default(),
            graphics: None,
            over: over.clone(),
        };
        let thread = std::thread::Builder::new().name("curses".into()).spawn(move || {
            if let Err(e) = state.run() {
                tracing::error!("the terminal cannot be used any more: {e}");
            }
        })?;
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    machine: Weak<Machine>,
    consoles: Consoles,
    /// 0 for the screen, or the number of a console, from 1 on.
    shown: usize,
    /// What the terminal shows.
    last: Frame,
    /// Size of a picture that is no text, and when that was looked up.
    graphics: Option<(Instant, String)>,
    over: Arc<AtomicBool>,
}

impl State {
    fn run(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        execute!(out, terminal::EnterAlternateScreen, terminal::Clear(terminal::ClearType::All))?;
        let result = self.serve(&mut out);
        execute!(out, cursor::Show, terminal::LeaveAlternateScreen)?;
        result
    }
    fn serve(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut next = Instant::now();
        while !self.over.load(Ordering::Acquire) {
            if event::poll(next.saturating_duration_since(Instant::now()))? {
                match event::read()? {
                    Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key),
                    Event::Resize(..) => self.last = Frame::default(),
                    _ => {}
                }
            }
            if Instant::now() >= next {
                self.draw(out)?;
                next = Instant::now() + LOOK;
            }
        }
        Ok(())
    }
    fn draw(&mut self, out: &mut impl Write) -> io::Result<()> {
        // A terminal that does not say is of the usual size.
        let size = terminal::size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or((80, 25));
        let frame = match self.shown.checked_sub(1).and_then(|n| self.consoles.0.get(n)) {
            Some((_, console)) => console.frame(size),
            None => self.screen(size),
        };
        if self.last.size() != frame.size() {
            queue!(out, terminal::Clear(terminal::ClearType::All))?;
        }
        frame.draw(&self.last, out)?;
        out.flush()?;
        self.last = frame;
        Ok(())
    }
    fn screen(&mut self, size: (u16, u16)) -> Frame {
        let Some(machine) = self.machine.upgrade() else { return Frame::message(size, "the machine has ended") };
        let board = machine.board();
        let Some(display) = board.with(|s| s.displays().first().copied()) else {
            return Frame::message(size, "the machine has no display");
        };
        if let Some(text) = board.with(|s| s.text_screen(display)) {
            self.graphics = None;
            return Frame::of_screen(size, &text);
        }
        let looked = self.graphics.take().filter(|(at, _)| at.elapsed() < SLOW_LOOK);
        let (at, text) = looked.unwrap_or_else(|| {
            let picture = board.with(|s| s.picture(display)).unwrap_or_default();
            (Instant::now(), format!("{} x {} Graphic mode", picture.width, picture.height))
        });
        let frame = Frame::message(size, &text);
        self.graphics = Some((at, text));
        frame
    }
    fn key(&mut self, key: KeyEvent) {
        if let (KeyCode::Char(digit @ '1'..='9'), true) = (key.code, key.modifiers.contains(KeyModifiers::ALT)) {
            let n = usize::from(digit as u8 - b'1');
            if n <= self.consoles.0.len() {
                self.shown = n;
                self.last = Frame::default();
            }
            return;
        }
        match self.shown.checked_sub(1).and_then(|n| self.consoles.0.get(n)) {
            Some((_, console)) => console.type_in(&keys::bytes(key)),
            None => self.press(key),
        }
    }
    /// Presses a key of the guest's keyboard, and releases it. Nobody is at the keyboard of a machine that stands still.
    fn press(&self, key: KeyEvent) {
        let Some(machine) = self.machine.upgrade().filter(|m| m.state() == RunState::Running) else { return };
        let pressed = keys::pressed(key);
        let down = pressed.iter().map(|key| InputEvent::Key(*key, true));
        let up = pressed.iter().rev().map(|key| InputEvent::Key(*key, false));
        machine.board().with(|s| {
            down.chain(up).for_each(|event| {
                s.input(event);
            });
        });
    }
}
