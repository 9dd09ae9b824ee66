//! Keys and mice in the hands of a client: `send-key`, `input-send-event`, and the monitor's mouse.

use super::{Control, Error, Result};
use crate::machine::{Machine, RunState};
use crate::qmp::types::ui::{InputAction, InputAxis, InputButton, InputEvent, KeyName, KeyValue, key_of_number};
use gearbox_core::backend::input::{InputEvent as Event, Key};
use parking_lot::Mutex;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

/// How long `send-key` holds keys down if it is not said, in ms.
const HOLD: i64 = 100;
/// The longest time that it holds them.
const MOST_HOLD: i64 = 60_000;
/// Events that wait for their time; more are refused.
const MOST_WAITING: usize = 1024;

/// Events that wait, in the hands of a thread, and the mouse's buttons.
#[derive(Default)]
pub(super) struct Inputs {
    waiting: Mutex<Option<SyncSender<Delayed>>>,
    buttons: Mutex<u8>,
}

/// An event, and how long the next one waits after it.
struct Delayed {
    machine: Weak<Machine>,
    event: Event,
    pause: Duration,
}

impl Inputs {
    /// Has events take place one after the other.
    fn queue(&self, machine: &Arc<Machine>, events: impl Iterator<Item = Event>, pause: Duration) -> Result<()> {
        let mut waiting = self.waiting.lock();
        for event in events {
            let to = match &*waiting {
                Some(to) => to.clone(),
                None => {
                    let to = start().map_err(|e| Error::generic(format!("no thread for keys: {e}")))?;
                    waiting.insert(to).clone()
                }
            };
            let delayed = Delayed { machine: Arc::downgrade(machine), event, pause };
            match to.try_send(delayed) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => return Err(Error::generic("too many keys wait for their time")),
                Err(TrySendError::Disconnected(_)) => return Err(Error::generic("the thread for keys has ended")),
            }
        }
        Ok(())
    }
}

/// The thread that waits. It ends with the control.
fn start() -> std::io::Result<SyncSender<Delayed>> {
    let (to, from) = sync_channel::<Delayed>(MOST_WAITING);
    thread::Builder::new().name("keys".into()).spawn(move || {
        for Delayed { machine, event, pause } in from {
            let Some(machine) = machine.upgrade() else { continue };
            give(&machine, event);
            drop(machine);
            thread::sleep(pause);
        }
    })?;
    Ok(to)
}

/// Tells the device. Nobody is at the keyboard of a machine that stands still.
fn give(machine: &Machine, event: Event) -> bool {
    machine.state() == RunState::Running && machine.board().with(|s| s.input(event))
}

/// The key that a client means.
fn key(value: &KeyValue) -> Result<Key> {
    match &value.by {
        KeyName::Qcode(code) => Ok(code.data.key()),
        KeyName::Number(number) => {
            let number = u8::try_from(number.data).ok().filter(|n| *n != 0);
            number.map(key_of_number).ok_or_else(|| Error::generic("Parameter 'data' expects a key number"))
        }
    }
}

impl Control {
    /// `send-key`: presses keys one after the other, each for a time, then releases them in reverse. The command does not wait for that.
    ///
    /// # Errors
    /// A number that is no key's, a time that is none, or too many keys.
    pub fn send_key(&self, keys: &[KeyValue], hold: Option<i64>) -> Result<()> {
        let hold = hold.unwrap_or(HOLD);
        if !(0..=MOST_HOLD).contains(&hold) {
            return Err(Error::generic("Parameter 'hold-time' expects 0 to 60000 ms"));
        }
        let keys: Vec<_> = keys.iter().map(key).collect::<Result<_>>()?;
        let down = keys.iter().map(|&key| Event::Key(key, true));
        let up = keys.iter().rev().map(|&key| Event::Key(key, false));
        self.inputs.queue(&self.machine()?, down.chain(up), Duration::from_millis(hold.cast_unsigned()))
    }
    /// `input-send-event`: all at once.
    ///
    /// # Errors
    /// Nothing takes one of the events; none has taken place then.
    pub fn input_send_event(&self, device: Option<&str>, events: &[InputEvent]) -> Result<()> {
        if let Some(name) = device {
            // Displays have no keyboards of their own.
            return Err(Error::device_not_found(name));
        }
        let machine = self.machine()?;
        let mut buttons = self.inputs.buttons.lock();
        let (mut pressed, mut moved, mut wheel) = (*buttons, [0i64; 2], 0);
        let mut keys = Vec::new();
        let mut mouse = false;
        for event in events {
            match &event.kind {
                InputAction::Key(e) => keys.push(Event::Key(key(&e.data.key)?, e.data.down)),
                InputAction::Btn(e) => {
                    mouse = true;
                    match (button_bit(e.data.button), e.data.down) {
                        (Some(bit), true) => pressed |= bit,
                        (Some(bit), false) => pressed &= !bit,
                        (None, true) => wheel += if e.data.button == InputButton::WheelUp { -1 } else { 1 },
                        (None, false) => {}
                    }
                }
                InputAction::Rel(e) => {
                    mouse = true;
                    let axis = usize::from(e.data.axis == InputAxis::Y);
                    moved[axis] = e.data.value.saturating_add(moved[axis]);
                }
                InputAction::Abs(_) => return Err(Error::generic("Input handler not found for event type abs")),
            }
        }
        *buttons = pressed;
        drop(buttons);
        for event in keys {
            give(&machine, event);
        }
        if mouse {
            give(&machine, moved_mouse(moved, wheel, pressed));
        }
        Ok(())
    }
    /// `mouse_move` and `mouse_button` of the monitor: movements down and to the right, and the state of the left, middle and right buttons in
    /// bits 0 to 2.
    ///
    /// # Errors
    /// There is no machine.
    pub fn mouse(&self, moved: [i64; 3], state: Option<u8>) -> Result<()> {
        let machine = self.machine()?;
        let mut buttons = self.inputs.buttons.lock();
        if let Some(state) = state {
            *buttons = *buttons & !7 | state & 1 | (state & 2) << 1 | (state & 4) >> 1;
        }
        let pressed = *buttons;
        drop(buttons);
        give(&machine, moved_mouse([moved[0], moved[1]], moved[2], pressed));
        Ok(())
    }
}

/// A button's bit as a mouse has it: left, right, middle, side, extra; the wheel has none.
fn button_bit(button: InputButton) -> Option<u8> {
    match button {
        InputButton::Left => Some(1),
        InputButton::Right => Some(2),
        InputButton::Middle => Some(4),
        InputButton::Side => Some(8),
        InputButton::Extra => Some(16),
        InputButton::WheelUp | InputButton::WheelDown => None,
    }
}

fn moved_mouse([right, down]: [i64; 2], wheel: i64, buttons: u8) -> Event {
    let small = |v: i64| v.clamp(-0x1_0000, 0x1_0000) as i32;
    Event::Mouse { right: small(right), up: -small(down), wheel: small(wheel), buttons }
}
