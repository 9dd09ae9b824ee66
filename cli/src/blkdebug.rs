//! Faults and breakpoints from how users ask for them: `blkdebug` (QEMU, docs/devel/testing/blkdebug).

use crate::args::readconfig::{Group, groups, read};
use crate::backend::block::{DebugEvent, DebugOptions, InjectError, IoType, SetState};
use crate::qmp::qapi::{Path as At, Qapi, keyval};
use crate::qmp::types::blockdev::{BlkdebugEvent, BlkdebugIOType, BlkdebugInjectErrorOptions, BlkdebugSetStateOptions};
use std::path::Path;

/// What a file says, in groups `[inject-error]` and `[set-state]`.
///
/// # Errors
/// It cannot be read, or is not understood.
pub(crate) fn config(path: &Path) -> Result<DebugOptions, String> {
    let wrong = |line: usize, reason: String| format!("{}: line {line}: {reason}", path.display());
    let text = read(path).map_err(|e| format!("Could not read blkdebug config file: {}: {e}", path.display()))?;
    let mut options = DebugOptions::default();
    for Group { line, name, pairs, .. } in groups(&text).map_err(|(line, reason)| wrong(line, reason))? {
        let wrong = |reason: String| wrong(line, reason);
        match &*name {
            "inject-error" => options.inject_error.push(inject_error(&decode(pairs).map_err(wrong)?).map_err(wrong)?),
            "set-state" => options.set_state.push(set_state(&decode(pairs).map_err(wrong)?).map_err(wrong)?),
            other => return Err(wrong(format!("there is no group '{other}'"))),
        }
    }
    Ok(options)
}

fn decode<T: Qapi>(pairs: Vec<(String, String)>) -> Result<T, String> {
    T::decode(keyval::typed(keyval::nest(pairs)?, T::ty()), &At::Root).map_err(|e| e.to_string())
}

fn event(event: BlkdebugEvent) -> DebugEvent {
    match event {
        BlkdebugEvent::ReadAio => DebugEvent::ReadAio,
        BlkdebugEvent::WriteAio => DebugEvent::WriteAio,
        BlkdebugEvent::Pwritev => DebugEvent::Pwritev,
        BlkdebugEvent::PwritevZero => DebugEvent::PwritevZero,
        BlkdebugEvent::PwritevDone => DebugEvent::PwritevDone,
        BlkdebugEvent::FlushToOs => DebugEvent::FlushToOs,
        BlkdebugEvent::FlushToDisk => DebugEvent::FlushToDisk,
    }
}

fn whole<N: TryFrom<i64>>(name: &str, number: i64) -> Result<N, String> {
    N::try_from(number).map_err(|_| format!("Parameter '{name}' is out of range"))
}

/// A state; 0 stands for any.
fn state(state: Option<i64>) -> Result<Option<u64>, String> {
    state.filter(|s| *s != 0).map(|s| whole("state", s)).transpose()
}

/// An error.
///
/// # Errors
/// A number is out of range, or something is not implemented.
pub(crate) fn inject_error(o: &BlkdebugInjectErrorOptions) -> Result<InjectError, String> {
    const EIO: i64 = 5;
    if o.immediately == Some(true) {
        return Err("'immediately' is not implemented yet".to_owned());
    }
    let io_type = o.iotype.map(|kind| match kind {
        BlkdebugIOType::Read => IoType::Read,
        BlkdebugIOType::Write => IoType::Write,
        BlkdebugIOType::WriteZeroes => IoType::WriteZeroes,
        BlkdebugIOType::Discard => IoType::Discard,
        BlkdebugIOType::Flush => IoType::Flush,
    });
    Ok(InjectError {
        event: event(o.event),
        state: state(o.state)?,
        io_type,
        errno: whole::<u16>("errno", o.errno.unwrap_or(EIO))?.into(),
        // -1 stands for any.
        sector: o.sector.filter(|s| *s != -1).map(|s| whole("sector", s)).transpose()?,
        once: o.once.unwrap_or(false),
    })
}

/// A change of the state.
///
/// # Errors
/// A number is out of range.
pub(crate) fn set_state(o: &BlkdebugSetStateOptions) -> Result<SetState, String> {
    let new_state = whole("new_state", o.new_state)?;
    Ok(SetState { event: event(o.event), state: state(o.state)?, new_state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_fails() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            config(file.path())
        };
        let text = "[inject-error]\nevent = \"flush_to_disk\"\nerrno = \"28\"\nstate = \"1\"\nimmediately = \"off\"\nonce = \"on\"\n\
             [set-state]\nevent = \"write_aio\"\nnew_state = \"2\"\n";
        let error = InjectError {
            event: DebugEvent::FlushToDisk,
            state: Some(1),
            io_type: None,
            errno: 28,
            sector: None,
            once: true,
        };
        let then = SetState { event: DebugEvent::WriteAio, state: None, new_state: 2 };
        assert_eq!(read(text), Ok(DebugOptions { inject_error: vec![error], set_state: vec![then] }));
        for (text, part) in [
            ("[inject-error]\nerrno = \"5\"", "line 1: Parameter 'event' is missing"),
            ("[inject-error]\nevent = \"l2_load\"", "does not accept value 'l2_load'"),
            ("[inject-error]\nevent = \"read_aio\"\nimmediately = \"on\"", "not implemented"),
            ("[inject-error]\nevent = \"read_aio\"\nerrno = \"-1\"", "out of range"),
            ("\n[break]", "line 2: there is no group 'break'"),
        ] {
            let reason = read(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
        assert!(config(Path::new("/nowhere")).unwrap_err().contains("Could not read blkdebug config file"));
    }
}
