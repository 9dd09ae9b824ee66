//! Which devices show something to people, and which hear what people do.

use super::{BoardState, DeviceId, Realize};
use crate::backend::display::{Picture, TextScreen};
use crate::backend::input::{InputEvent, InputKind};

/// The devices, in the order in which they came.
#[derive(Default)]
pub(super) struct Consoles {
    displays: Vec<DeviceId>,
    inputs: Vec<(InputKind, DeviceId)>,
}

impl Consoles {
    pub(super) fn forget(&mut self, device: DeviceId) {
        self.displays.retain(|d| *d != device);
        self.inputs.retain(|(_, d)| *d != device);
    }
}

impl Realize<'_> {
    /// The device shows something: [`super::Device::picture`].
    pub fn display(&mut self) {
        self.fabric.consoles.displays.push(self.id);
    }
    /// The device hears what people do: [`super::Device::input`]. Of several that take the same, the last one gets it.
    pub fn hear_input(&mut self, kind: InputKind) {
        self.fabric.consoles.inputs.push((kind, self.id));
    }
}

impl BoardState {
    /// The devices that show something.
    pub fn displays(&self) -> &[DeviceId] {
        &self.fabric.consoles.displays
    }
    /// What a device shows now.
    pub fn picture(&mut self, display: DeviceId) -> Option<Picture> {
        self.try_call(display, |d, cx| d.picture(cx)).flatten()
    }
    /// The same as characters, if it shows characters.
    pub fn text_screen(&mut self, display: DeviceId) -> Option<TextScreen> {
        self.try_call(display, |d, cx| d.text_screen(cx)).flatten()
    }
    /// Tells the device that takes it what somebody did; false if there is none.
    pub fn input(&mut self, event: InputEvent) -> bool {
        let takes = |(kind, device): &(InputKind, DeviceId)| (*kind == event.kind()).then_some(*device);
        let device = self.fabric.consoles.inputs.iter().rev().find_map(takes);
        device.and_then(|device| self.try_call(device, |d, cx| d.input(cx, event))).is_some()
    }
}
