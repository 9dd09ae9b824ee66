//! What a device gives to be saved, and takes back.

use super::Invalid;
use crate::pci::Msix;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::Serializer;

/// Places in a device whose values are saved: one by reference, several as a tuple of references, many as [`Slice`].
pub trait Fields<'a>: Serialize + 'a {
    /// The values.
    type Owned: DeserializeOwned + 'a;
    /// There is a place for each of them.
    fn fits(&self, _values: &Self::Owned) -> bool {
        true
    }
    /// Puts them there.
    fn put(self, values: Self::Owned);
}

impl<'a, T: Serialize + DeserializeOwned + 'a> Fields<'a> for &'a mut T {
    type Owned = T;
    fn put(self, value: T) {
        *self = value;
    }
}

/// A number of values that is fixed when the device is made.
pub struct Slice<'a, T>(pub &'a mut [T]);

impl<T: Serialize> Serialize for Slice<'_, T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'a, T: Serialize + DeserializeOwned + 'a> Fields<'a> for Slice<'a, T> {
    type Owned = Vec<T>;
    fn fits(&self, values: &Vec<T>) -> bool {
        values.len() == self.0.len()
    }
    fn put(self, values: Vec<T>) {
        self.0.iter_mut().zip(values).for_each(|(place, value)| *place = value);
    }
}

macro_rules! tuple {
    ($($name:ident $n:tt),*) => {
        impl<'a, $($name: Fields<'a>),*> Fields<'a> for ($($name,)*) {
            type Owned = ($($name::Owned,)*);
            fn fits(&self, values: &Self::Owned) -> bool {
                $(self.$n.fits(&values.$n))&&*
            }
            fn put(self, values: Self::Owned) {
                $(self.$n.put(values.$n);)*
            }
        }
    };
}
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);

/// Puts values in their places.
type Put<'a> = Box<dyn FnOnce() + 'a>;

/// Some of a device's values: how they are written and read.
trait Part<'a> {
    fn write(&self, out: Vec<u8>) -> Result<Vec<u8>, Invalid>;
    /// Reads what a device of that version has written, from the front of `bytes`.
    fn read(self: Box<Self>, version: u32, bytes: &mut &[u8]) -> Result<Put<'a>, Invalid>;
}

/// What bytes that were written at some time mean.
fn decode<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, Invalid> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    *bytes = rest;
    Ok(value)
}

/// Fields, what values they can have, and since when they are saved, with what they were before.
struct Places<'a, F: Fields<'a>, C> {
    fields: F,
    sound: C,
    since: Option<(u32, F::Owned)>,
}

impl<'a, F: Fields<'a>, C: FnOnce(&F::Owned) -> bool> Part<'a> for Places<'a, F, C> {
    fn write(&self, out: Vec<u8>) -> Result<Vec<u8>, Invalid> {
        Ok(postcard::to_extend(&self.fields, out)?)
    }
    fn read(self: Box<Self>, version: u32, bytes: &mut &[u8]) -> Result<Put<'a>, Invalid> {
        let Self { fields, sound, since } = *self;
        let values = match since {
            Some((since, before)) if version < since => before,
            _ => decode(bytes)?,
        };
        if !fields.fits(&values) || !sound(&values) {
            return Err(Invalid::Values);
        }
        Ok(Box::new(move || fields.put(values)))
    }
}

/// A value and what takes another one.
struct Via<T, P> {
    value: T,
    put: P,
}

impl<T: Serialize, P> Serialize for Via<T, P> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(s)
    }
}

impl<'a, T: Serialize + DeserializeOwned + 'a, P: FnOnce(T) + 'a> Fields<'a> for Via<T, P> {
    type Owned = T;
    fn put(self, value: T) {
        (self.put)(value);
    }
}

/// What of a device, or of a part of one, is saved. Whatever follows from its configuration is not, nor what it holds of the board and the host: lines,
/// timers and the like are the board's to save.
#[derive(Default)]
pub struct Saved<'a>(Vec<Box<dyn Part<'a> + 'a>>);

impl<'a> Saved<'a> {
    /// Nothing.
    pub fn nothing() -> Self {
        Self::default()
    }
    /// These fields, which work with all values of their types.
    pub fn of(fields: impl Fields<'a>) -> Self {
        Self::sound(fields, |_| true)
    }
    /// These fields. What is loaded may be anything that their types allow: `sound` says whether the device can work with it.
    pub fn sound<F: Fields<'a>>(fields: F, sound: impl FnOnce(&F::Owned) -> bool + 'a) -> Self {
        Self(vec![Box::new(Places { fields, sound, since: None })])
    }
    /// A value that is no field as it is: the one that it has now, whether one can be taken, and what takes it.
    pub fn via<T: Serialize + DeserializeOwned + 'a>(
        value: T,
        sound: impl FnOnce(&T) -> bool + 'a,
        put: impl FnOnce(T) + 'a,
    ) -> Self {
        Self::sound(Via { value, put }, sound)
    }
    /// The table of MSI-X, if there is one.
    pub fn msix(msix: Option<&'a mut Msix>) -> Self {
        msix.map_or_else(Self::nothing, Msix::saved)
    }
    /// And something more.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.0.extend(more.0);
        self
    }
    /// And what has been saved only since a version of the device; in a state that is older, it was `before`.
    #[must_use]
    pub fn since<F: Fields<'a>>(mut self, version: u32, fields: F, before: F::Owned) -> Self {
        self.0.push(Box::new(Places { fields, sound: |_: &F::Owned| true, since: Some((version, before)) }));
        self
    }
    /// This is all, of a device whose states have this version. It grows by one with each change of what is saved; states with earlier ones
    /// can still be read.
    pub fn version(self, version: u32) -> DeviceState<'a> {
        DeviceState { version, saved: self }
    }
}

/// The state of a device, by reference: what [`Device::state`](crate::board::Device::state) gives.
pub struct DeviceState<'a> {
    version: u32,
    saved: Saved<'a>,
}

impl<'a> DeviceState<'a> {
    /// The device has no state.
    pub fn none() -> Self {
        Saved::nothing().version(0)
    }
    /// The version and the bytes.
    pub(super) fn write(&self) -> Result<(u32, Vec<u8>), Invalid> {
        let bytes = self.saved.0.iter().try_fold(Vec::new(), |out, part| part.write(out))?;
        Ok((self.version, bytes))
    }
    /// Understands bytes that a device of that version has written. Nothing is changed before what it returns is called.
    pub(super) fn read(self, version: u32, mut bytes: &[u8]) -> Result<Put<'a>, Invalid> {
        if version > self.version || (version == 0) != (self.version == 0) {
            return Err(Invalid::Version { found: version, known: self.version });
        }
        let parts = self.saved.0.into_iter();
        let puts = parts.map(|part| part.read(version, &mut bytes)).collect::<Result<Vec<_>, _>>()?;
        if !bytes.is_empty() {
            return Err(Invalid::TooLong(bytes.len()));
        }
        Ok(Box::new(|| puts.into_iter().for_each(|put| put())))
    }
}
