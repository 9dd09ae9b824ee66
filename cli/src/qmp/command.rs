//! What a command is, and how tables of them are declared.

use super::client::Client;
use super::qapi::Type;
use crate::control::{Control, Result};
use serde_json::Value;
use std::sync::Arc;

/// Whom a command is run for.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// What it works on.
    pub control: &'a Arc<Control>,
    /// Who asks.
    pub client: &'a Client,
}

/// When a command may be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    /// Out of band, while another command runs.
    pub oob: bool,
    /// Before there is a machine.
    pub preconfig: bool,
}

impl Availability {
    /// Neither out of band nor before there is a machine.
    pub const NORMAL: Self = Self { oob: false, preconfig: false };

    /// Out of band as well.
    pub const fn oob(self) -> Self {
        Self { oob: true, ..self }
    }
    /// Before there is a machine as well.
    pub const fn preconfig(self) -> Self {
        Self { preconfig: true, ..self }
    }
}

/// A command of QMP.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its arguments.
    pub arguments: fn() -> &'static Type,
    /// What it returns.
    pub returns: fn() -> &'static Type,
    /// When it may be run.
    pub availability: Availability,
    /// Reads the arguments and does it.
    pub run: fn(&Call<'_>, Value) -> Result<Value>,
}

/// Declares a table of commands: `/// What it does. "name"(argument: Type, other = "wire-name": Type) -> Type [oob, preconfig] = |call| result;`. A command
/// whose arguments are a type of its own has `{argument: Type}` instead.
macro_rules! commands {
    ($(
        $(#[doc = $doc:literal])*
        $name:literal $arguments:tt $(-> $returns:ty)? $([$($when:ident),*])? = |$call:pat_param| $body:expr;
    )*) => {
        &[$(
            $crate::qmp::command::Command {
                name: $name,
                about: concat!($($doc),*).trim_ascii(),
                arguments: || $crate::qmp::command::arguments!(@type $name $arguments),
                returns: $crate::qmp::command::returns!($($returns)?),
                availability: $crate::qmp::command::Availability::NORMAL $($(.$when())*)?,
                run: |call, value| {
                    $crate::qmp::command::arguments!(@read value $arguments);
                    let $call = call;
                    let result: $crate::control::Result<_> = $body;
                    result.map(|r| $crate::qmp::qapi::Qapi::encode(&r))
                },
            }
        ),*]
    };
}

/// The arguments of a command: their type, and how they are read.
macro_rules! arguments {
    (@type $name:literal ()) => {
        <$crate::qmp::qapi::Empty as $crate::qmp::qapi::Qapi>::ty()
    };
    (@type $name:literal { $argument:ident: $ty:ty }) => {
        <$ty as $crate::qmp::qapi::Qapi>::ty()
    };
    (@type $name:literal ( $($argument:ident $(= $wire:literal)? : $ty:ty),+ $(,)? )) => {{
        use $crate::qmp::qapi::{Kind, Member, Type};
        const MEMBERS: &[Member] = &[$( Member::of::<$ty>($crate::qmp::qapi::wire_name!($argument $($wire)?)) ),+];
        static TYPE: Type = Type {
            name: concat!($name, " arguments"),
            kind: Kind::Object { members: MEMBERS, variants: None },
        };
        &TYPE
    }};
    (@read $value:ident { $argument:ident: $ty:ty }) => {
        let $argument: $ty = $crate::qmp::qapi::Qapi::decode($value, &$crate::qmp::qapi::Path::Root)?;
    };
    (@read $value:ident ( $($argument:ident $(= $wire:literal)? : $ty:ty),* $(,)? )) => {
        #[allow(unused_mut)]
        let mut members = $crate::qmp::qapi::Members::new($value, &$crate::qmp::qapi::Path::Root)?;
        $( let $argument: $ty = members.take($crate::qmp::qapi::wire_name!($argument $($wire)?))?; )*
        members.end()?;
    };
}

/// What a command returns: nothing, if nothing is said.
macro_rules! returns {
    () => {
        <$crate::qmp::qapi::Empty as $crate::qmp::qapi::Qapi>::ty
    };
    ($ty:ty) => {
        <$ty as $crate::qmp::qapi::Qapi>::ty
    };
}

pub(crate) use {arguments, commands, returns};
