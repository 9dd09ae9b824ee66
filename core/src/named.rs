//! Enumerations whose values have names, QEMU's and QMP's, by which users choose them.

/// Declares them: a variant is followed by its name.
macro_rules! named {
    ($($(#[$meta:meta])* pub enum $ty:ident { $($(#[$vmeta:meta])* $variant:ident = $name:literal),* $(,)? })*) => {$(
        $(#[$meta])*
        pub enum $ty { $($(#[$vmeta])* $variant),* }
        impl $ty {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// QEMU's name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
            /// By QEMU's name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|a| a.name() == name)
            }
        }
    )*};
}
pub(crate) use named;
