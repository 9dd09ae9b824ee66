//! What can be said of a device before there is a board to plug it into.

use super::PlugError;
use super::plug::{class_of, id_of, set_all};
use crate::backend::block::BlockBackend;
use crate::backend::chardev::CharBackend;
use crate::backend::rng::Rng;
use crate::object::{Backends, Value};
use std::cell::Cell;
use std::sync::Arc;

/// Checks what [`BoardState::add_device`](super::BoardState::add_device) is to add, as far as no board is needed for it: what its properties name may be there or not.
///
/// # Errors
/// As there.
pub fn check_device(type_name: &str, properties: &[(String, Value)]) -> Result<(), PlugError> {
    let (_, _, mut spec) = class_of(type_name)?;
    id_of(properties)?;
    for property in properties {
        let somewhere = Somewhere::default();
        let set = set_all(&mut *spec, std::slice::from_ref(property), &somewhere);
        if !somewhere.asked.get() {
            set?;
        }
    }
    Ok(())
}

/// Back ends that may be there or not.
#[derive(Default)]
struct Somewhere {
    /// For one of them.
    asked: Cell<bool>,
}

impl Somewhere {
    fn none<T>(&self) -> Result<T, String> {
        self.asked.set(true);
        Err("nobody has looked".to_owned())
    }
}

impl Backends for Somewhere {
    fn chardev(&self, _: &str) -> Result<Arc<dyn CharBackend>, String> {
        self.none()
    }
    fn drive(&self, _: &str) -> Result<Arc<BlockBackend>, String> {
        self.none()
    }
    fn rng(&self, _: &str) -> Result<Arc<Rng>, String> {
        self.none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_ids_without_a_board() {
        let told = |name: &str, properties: &[(&str, &str)]| {
            let properties: Vec<_> = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
            check_device(name, &properties).map_err(|e| e.to_string())
        };
        assert_eq!(told("nothing", &[]), Err("'nothing' is not a valid device model name".to_owned()));
        assert_eq!(told("device", &[]), Err("Parameter 'driver' expects a pluggable device type".to_owned()));
    }
}
