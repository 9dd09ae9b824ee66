//! A back end in memory, for unit tests.

use super::CharBackend;
use super::stream::take;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Default)]
pub(super) struct FakeChardev {
    input: Mutex<VecDeque<u8>>,
    output: Mutex<Vec<u8>>,
    ready: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl FakeChardev {
    pub(super) fn type_in(&self, keys: &[u8]) {
        self.input.lock().extend(keys);
        self.call_again();
    }
    pub(super) fn waiting(&self) -> usize {
        self.input.lock().len()
    }
    pub(super) fn output(&self) -> Vec<u8> {
        std::mem::take(&mut self.output.lock())
    }
}

impl CharBackend for FakeChardev {
    fn read(&self, buf: &mut [u8]) -> usize {
        take(&mut self.input.lock(), buf)
    }
    fn write(&self, data: &[u8]) -> usize {
        self.output.lock().extend(data);
        data.len()
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        *self.ready.lock() = Some(ready.into());
    }
    fn call_again(&self) {
        let ready = self.ready.lock().clone();
        if let Some(ready) = ready {
            ready();
        }
    }
}
