//! The registers of drivers from version 1 on, in memory, and the capabilities that say where they are (4.1.4).

use super::pci::{NO_VECTOR, field};
use super::transport::{Action, Transport, status};
use gearbox_core::board::Cx;
use gearbox_core::pci::ConfigSpace;

/// Bytes that each of the structures has, and of all of them.
const EACH: u64 = 0x1000;
pub(super) const BYTES: u64 = 4 * EACH;
/// The base address register behind which they are.
pub(super) const BAR: u8 = 4;
/// Bytes of memory for each queue's notifications.
const NOTIFY_STEP: u32 = 4;
/// Vendor-specific capability (PCI Local Bus Specification 3.0, appendix H).
const ID: u8 = 9;

/// The structures in the order in which they lie (4.1.4, `cfg_type`).
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;
const ORDER: [u8; 4] = [COMMON, ISR, DEVICE, NOTIFY];
/// The window in the configuration space to them.
const WINDOW: u8 = 5;

/// Where the window is, and its fields.
const WINDOW_AT: u8 = 0x84;
mod window {
    use super::WINDOW_AT;
    pub(super) const BAR: u8 = WINDOW_AT + 4;
    pub(super) const OFFSET: u8 = WINDOW_AT + 8;
    pub(super) const LENGTH: u8 = WINDOW_AT + 12;
    pub(super) const DATA: u8 = WINDOW_AT + 16;
    pub(super) const END: u8 = WINDOW_AT + 20;
}

/// Fields of the common structure (4.1.4.3).
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub(super) const DEVICE_FEATURE: u64 = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub(super) const DRIVER_FEATURE: u64 = 0x0c;
    pub(super) const CONFIG_VECTOR: u64 = 0x10;
    pub(super) const NUM_QUEUES: u64 = 0x12;
    pub(super) const STATUS: u64 = 0x14;
    pub(super) const GENERATION: u64 = 0x15;
    pub(super) const QUEUE_SELECT: u64 = 0x16;
    pub(super) const QUEUE_SIZE: u64 = 0x18;
    pub(super) const QUEUE_VECTOR: u64 = 0x1a;
    pub(super) const QUEUE_ENABLE: u64 = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    pub(super) const QUEUE_DESCRIPTORS: u64 = 0x20;
    pub(super) const QUEUE_AVAILABLE: u64 = 0x28;
    pub(super) const QUEUE_USED: u64 = 0x30;
}

/// Puts the capabilities in a configuration space.
pub(super) fn add_capabilities(config: &mut ConfigSpace) {
    let body = |len: u8, kind: u8, offset: u32, length: u32| {
        let mut body = vec![len, kind, BAR, 0, 0, 0];
        body.extend(offset.to_le_bytes());
        body.extend(length.to_le_bytes());
        body
    };
    let mut at = 0x40;
    for (n, kind) in (0..).zip(ORDER) {
        let len = if kind == NOTIFY { 20 } else { 16 };
        let mut bytes = body(len, kind, n * EACH as u32, EACH as u32);
        if kind == NOTIFY {
            bytes.extend(NOTIFY_STEP.to_le_bytes());
        }
        config.add_capability(ID, at, &bytes);
        at += len;
    }
    let mut bytes = body(20, WINDOW, 0, 0);
    (bytes[2], at) = (0, WINDOW_AT);
    bytes.extend([0; 4]);
    config.add_capability(ID, at, &bytes);
    config.set_writable(window::BAR, &[0xff]);
    config.set_writable(window::OFFSET, &[0xff; 12]);
}

/// What the guest does at the window: which register, how many bytes, and the value if it is a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) offset: u64,
    pub(super) size: u8,
    /// What is stored; or whether the load takes effect, as it does when the guest has just said what it wants.
    pub(super) store: Option<u64>,
    pub(super) takes_effect: bool,
}

/// What a write of `len` bytes at `offset` of the configuration space does through the window, if it does anything.
pub(super) fn through_window(config: &ConfigSpace, offset: u8, len: u8) -> Option<Access> {
    let touches = |first: u8, last: u8| offset < last && offset.saturating_add(len) > first;
    let (at, size) = (u64::from(config.dword(window::OFFSET)), config.dword(window::LENGTH));
    let inside = at.checked_add(size.into()).is_some_and(|end| end <= BYTES);
    if config.byte(window::BAR) != BAR || !matches!(size, 1 | 2 | 4) || !inside || !at.is_multiple_of(size.into()) {
        return None;
    }
    let store = touches(window::DATA, window::END);
    let value = u64::from(config.value(window::DATA, size as u8));
    let takes_effect = touches(window::LENGTH, window::DATA);
    Some(Access { offset: at, size: size as u8, store: store.then_some(value), takes_effect })
}

/// Shows what a load through the window gives.
pub(super) fn show_in_window(config: &mut ConfigSpace, value: u64) {
    config.set(window::DATA, &(value as u32).to_le_bytes());
}

/// One half of a 64-bit number.
fn half(value: u64, high: bool) -> u64 {
    if high { value >> 32 } else { value & 0xffff_ffff }
}
fn set_half(value: &mut u64, high: bool, part: u64) {
    let shift = if high { 32 } else { 0 };
    *value = *value & !(0xffff_ffff << shift) | (part & 0xffff_ffff) << shift;
}

impl Transport {
    /// A load. With `peek`, nothing changes by it.
    pub(super) fn modern_read(
        &mut self,
        cx: &mut Cx<'_>,
        offset: u64,
        size: u8,
        config: impl FnOnce() -> Vec<u8>,
        peek: bool,
    ) -> u64 {
        match ORDER[(offset / EACH) as usize % ORDER.len()] {
            COMMON => self.common_read(offset % EACH),
            ISR if peek => self.isr.into(),
            ISR => self.take_isr(cx).into(),
            DEVICE => field(&config(), offset % EACH, size),
            _ => 0,
        }
    }
    pub(super) fn modern_write(&mut self, cx: &mut Cx<'_>, offset: u64, size: u8, value: u64) -> Option<Action> {
        let at = offset % EACH;
        match ORDER[(offset / EACH) as usize % ORDER.len()] {
            COMMON => self.common_write(cx, at, value),
            DEVICE => Some(Action::Config(at as usize, value.to_le_bytes()[..usize::from(size)].to_vec())),
            NOTIFY => Some(Action::Notify((at / u64::from(NOTIFY_STEP)) as u16)),
            _ => None,
        }
    }
    fn common_read(&self, offset: u64) -> u64 {
        let queue = self.queue();
        let ring = |address: Option<u64>, base: u64| half(address.unwrap_or(0), offset != base);
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select.into(),
            common::DEVICE_FEATURE if self.device_feature_select < 2 => {
                half(self.modern_offer(), self.device_feature_select == 1)
            }
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select.into(),
            common::DRIVER_FEATURE if self.driver_feature_select < 2 => {
                half(self.wanted, self.driver_feature_select == 1)
            }
            common::CONFIG_VECTOR => self.config_vector.into(),
            common::NUM_QUEUES => self.queues.len() as u64,
            common::STATUS => self.status.into(),
            common::GENERATION => self.generation.into(),
            common::QUEUE_SELECT => self.queue_select.into(),
            common::QUEUE_SIZE => queue.map_or(0, |q| q.size().into()),
            common::QUEUE_VECTOR => queue.map_or(NO_VECTOR, |q| q.vector).into(),
            common::QUEUE_ENABLE => queue.is_some_and(|q| q.is_enabled()).into(),
            common::QUEUE_NOTIFY_OFF => queue.map_or(0, |_| self.queue_select.into()),
            common::QUEUE_DESCRIPTORS | 0x24 => ring(queue.map(|q| q.wanted.descriptors), common::QUEUE_DESCRIPTORS),
            common::QUEUE_AVAILABLE | 0x2c => ring(queue.map(|q| q.wanted.available), common::QUEUE_AVAILABLE),
            common::QUEUE_USED | 0x34 => ring(queue.map(|q| q.wanted.used), common::QUEUE_USED),
            _ => 0,
        }
    }
    fn common_write(&mut self, cx: &mut Cx<'_>, offset: u64, value: u64) -> Option<Action> {
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select = value as u32,
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select = value as u32,
            common::DRIVER_FEATURE if self.driver_feature_select < 2 && self.status & status::FEATURES_OK == 0 => {
                set_half(&mut self.wanted, self.driver_feature_select == 1, value);
            }
            common::CONFIG_VECTOR => self.config_vector = self.checked_vector(value as u16),
            common::STATUS => return self.set_modern_status(cx, value as u8),
            common::QUEUE_SELECT => self.queue_select = value as u16,
            common::QUEUE_ENABLE if value == 1 && self.queue().is_some_and(|q| !q.is_enabled()) => {
                self.enable_queue(cx)
            }
            common::QUEUE_VECTOR => {
                let vector = self.checked_vector(value as u16);
                if let Some(queue) = self.queue_mut() {
                    queue.vector = vector;
                }
            }
            _ => self.set_up_queue(cx, offset, value),
        }
        None
    }
    /// Fields that say what a queue is to be, before it is enabled.
    fn set_up_queue(&mut self, cx: &Cx<'_>, offset: u64, value: u64) {
        let n = self.queue_select;
        let Some(queue) = self.queue_mut() else { return };
        if queue.is_enabled() {
            cx.guest_error(format_args!("queue {n} is set up while it is enabled"));
            return;
        }
        match offset {
            common::QUEUE_SIZE if !queue.set_size(value as u16) => {
                let most = queue.max_size();
                cx.guest_error(format_args!("queue {n} cannot have {value} elements: a power of two up to {most}"));
            }
            common::QUEUE_DESCRIPTORS | 0x24 => {
                set_half(&mut queue.wanted.descriptors, offset != common::QUEUE_DESCRIPTORS, value);
            }
            common::QUEUE_AVAILABLE | 0x2c => {
                set_half(&mut queue.wanted.available, offset != common::QUEUE_AVAILABLE, value);
            }
            common::QUEUE_USED | 0x34 => set_half(&mut queue.wanted.used, offset != common::QUEUE_USED, value),
            _ => {}
        }
    }
    fn set_modern_status(&mut self, cx: &mut Cx<'_>, value: u8) -> Option<Action> {
        if value == 0 {
            return Some(Action::Reset);
        }
        let new = value & !self.status;
        self.status = value | self.status & status::NEEDS_RESET;
        if new & status::FEATURES_OK != 0 && !self.accept_modern(cx) {
            self.status &= !status::FEATURES_OK;
        }
        (new & status::DRIVER_OK != 0).then_some(Action::Start)
    }
}
