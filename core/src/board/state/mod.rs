//! The saved state of a board: a section for each device, by its path.
//!
//! A device says by [`Device::state`](super::Device::state) what of it is saved. The board adds what it keeps for the device: levels of lines, timers, the PCI
//! configuration space, what firmware has written to its files, and drives. RAM and CPUs are not the board's, and images are the user's.
//!
//! A state may come from anywhere. All of it is understood and looked at before anything is changed. What it says can be strange, as what a guest does can be.

mod saved;
#[cfg(test)]
mod tests;
mod wiring;

pub use saved::{DeviceState, Fields, Saved, Slice};
use wiring::Wiring;

use super::{Board, BoardState, DeviceId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of all but the sections' contents.
const FORMAT: u32 = 1;

/// Machine time in ns that no machine reaches: sums of it and of what a device waits for do not overflow.
const MOST_TIME: u64 = 1 << 62;

/// The state of all devices of a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    format: u32,
    /// Machine time in ns.
    clock: u64,
    /// In the order in which the devices were realized.
    pub sections: Vec<Section>,
}

/// The state of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its path.
    pub device: String,
    /// Its type.
    pub type_name: String,
    /// Version of its state; 0 if it has none.
    pub version: u32,
    /// Its state.
    pub bytes: Vec<u8>,
    /// What the board keeps for it.
    wiring: Wiring,
}

/// What is wrong with a device's section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It was written by something that knows more.
    #[error("its state has version {found}, and {known} is the last that is known here")]
    Version {
        /// That of the section.
        found: u32,
        /// That of the device.
        known: u32,
    },
    /// It cannot be read, or not be written.
    #[error("its state makes no sense: {0}")]
    Bytes(#[from] postcard::Error),
    /// Something is left.
    #[error("its state is {0} bytes too long")]
    TooLong(usize),
    /// The device cannot work with them.
    #[error("its state has values that it cannot have")]
    Values,
    /// Another device is there.
    #[error("it is a '{here}', and was a '{saved}'")]
    Type {
        /// The device's type.
        here: &'static str,
        /// The section's.
        saved: String,
    },
    /// The board keeps other things for this device.
    #[error("it has other {0}")]
    Wiring(&'static str),
    /// A drive does something.
    #[error("a request to its drive is under way")]
    Busy,
}

/// Why a state was not saved, or not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A device.
    #[error("{device}: {reason}")]
    Device {
        /// Its path.
        device: String,
        /// Why.
        reason: Invalid,
    },
    /// A device is not in the state.
    #[error("{0}: the saved state does not have it")]
    Missing(String),
    /// A device is not on the board.
    #[error("{0}: the saved state has it, and the machine does not")]
    Unknown(String),
    /// A device is there twice.
    #[error("{0}: the saved state has it twice")]
    Twice(String),
    /// The state was saved in another way.
    #[error("the saved state has format {0}, and {FORMAT} is the only one that is known here")]
    Format(u32),
    /// It was saved at a time that no machine reaches.
    #[error("the saved state is of machine time {0} ns")]
    Clock(u64),
    /// It is no state.
    #[error("this is no saved state: {0}")]
    Bytes(postcard::Error),
}

impl StateError {
    fn of(device: &str) -> impl Fn(Invalid) -> Self {
        let device = device.to_owned();
        move |reason| Self::Device { device: device.clone(), reason }
    }
}

impl SavedState {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data, and memory for it")
    }
    /// From bytes.
    ///
    /// # Errors
    /// They are no state.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (format, _) = postcard::take_from_bytes(bytes).map_err(StateError::Bytes)?;
        if format != FORMAT {
            return Err(StateError::Format(format));
        }
        let (state, rest) = postcard::take_from_bytes(bytes).map_err(StateError::Bytes)?;
        rest.is_empty().then_some(state).ok_or(StateError::Bytes(postcard::Error::DeserializeBadEncoding))
    }
    /// Machine time in ns when it was saved.
    pub fn clock(&self) -> u64 {
        self.clock
    }
    /// The section of a device.
    pub fn section(&self, device: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.device == device)
    }
}

impl Board {
    /// Saves the state of all devices, when the drives have done what they were asked. The vCPUs have to be stopped, and the board not locked by the caller.
    ///
    /// # Errors
    /// A device that cannot be saved.
    pub fn save(&self) -> Result<SavedState, StateError> {
        let blocks = self.with(|s| s.blocks().clone());
        blocks.drain();
        self.with(BoardState::save)
    }
    /// Gives all devices a state that a board of the same devices has had. The vCPUs have to be stopped, and RAM to be as it was.
    ///
    /// # Errors
    /// Why it cannot be. Nothing has been changed then.
    pub fn load(&self, state: &SavedState) -> Result<(), StateError> {
        self.with(|s| s.load(state))
    }
}

impl BoardState {
    fn save(&mut self) -> Result<SavedState, StateError> {
        self.settle();
        let mut sections = Vec::new();
        for (n, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let error = StateError::of(&slot.path);
            let wiring = Wiring::save(&self.fabric, DeviceId(n as u32)).map_err(&error)?;
            let (version, bytes) = slot.device.state().write().map_err(error)?;
            sections.push(Section {
                device: slot.path.clone(),
                type_name: slot.type_name.to_owned(),
                version,
                bytes,
                wiring,
            });
        }
        Ok(SavedState { format: FORMAT, clock: self.fabric.now(), sections })
    }
    fn load(&mut self, state: &SavedState) -> Result<(), StateError> {
        let mut sections: BTreeMap<&str, &Section> = BTreeMap::new();
        for section in &state.sections {
            if sections.insert(&section.device, section).is_some() {
                return Err(StateError::Twice(section.device.clone()));
            }
        }
        let (mut puts, mut wirings) = (Vec::new(), Vec::new());
        for (n, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let missing = || StateError::Missing(slot.path.clone());
            let section = sections.remove(slot.path.as_str()).ok_or_else(missing)?;
            let (device, error) = (DeviceId(n as u32), StateError::of(&slot.path));
            if section.type_name != slot.type_name {
                return Err(error(Invalid::Type { here: slot.type_name, saved: section.type_name.clone() }));
            }
            section.wiring.check(&self.fabric, device).map_err(&error)?;
            puts.push(slot.device.state().read(section.version, &section.bytes).map_err(error)?);
            wirings.push((device, &section.wiring));
        }
        if let Some(unknown) = sections.keys().next() {
            return Err(StateError::Unknown((*unknown).to_owned()));
        }
        if state.clock > MOST_TIME {
            return Err(StateError::Clock(state.clock));
        }
        puts.into_iter().for_each(|put| put());
        self.fabric.set_time(state.clock);
        self.fabric.lines.drop_changes();
        for (device, wiring) in &wirings {
            wiring.load(&mut self.fabric, *device);
        }
        self.fabric.isa.count(self.fabric.lines.asserted_irqs());
        for (device, _) in wirings {
            self.try_call(device, |d, cx| d.loaded(cx));
        }
        self.settle();
        Ok(())
    }
}
