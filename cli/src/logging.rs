//! Where log lines go, and which there are.

use crate::args::Config;
use crate::args::logging::ITEMS;
use crate::failure::Failure;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// What is logged without being asked for: warnings, but not those about the guest, which `-d` asks for.
const DEFAULT: (&str, &str) = ("warn", "guest_error=off");

/// Writes lines.
type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// Changes what was started.
struct Started {
    filter: Box<dyn Fn(EnvFilter) + Send + Sync>,
    lines: Box<dyn Fn(Lines) + Send + Sync>,
}

static STARTED: OnceLock<Started> = OnceLock::new();

/// The filter for what the user asked for by these directives. `RUST_LOG`, in `tracing`'s syntax, takes the place of what is logged otherwise.
fn filter(directives: &[&str]) -> Result<EnvFilter, String> {
    let all = match std::env::var("RUST_LOG") {
        Ok(base) => directives.iter().fold(base, |all, one| format!("{all},{one}")),
        // Of two directives about one target the filter keeps the first.
        Err(_) if directives.is_empty() => format!("{},{}", DEFAULT.0, DEFAULT.1),
        Err(_) => format!("{},{}", DEFAULT.0, directives.join(",")),
    };
    EnvFilter::try_new(&all).map_err(|e| format!("RUST_LOG {all}: {e}"))
}

fn to_file(path: &Path) -> io::Result<Lines> {
    Ok(fmt::layer().with_ansi(false).with_writer(Mutex::new(File::create(path)?)).boxed())
}

fn to_stderr() -> Lines {
    let ansi = io::stderr().is_terminal();
    fmt::layer().with_ansi(ansi).without_time().with_writer(io::stderr).boxed()
}

/// Starts logging as `-d` and `-D` say. The first machine of a process decides for all.
pub(crate) fn start(config: &Config) -> Result<(), Failure> {
    let filter = filter(&config.log).map_err(Failure::line)?;
    let lines = match &config.log_file {
        Some(path) => to_file(path).map_err(|e| Failure::line(format!("-D {}: {e}", path.display())))?,
        None => to_stderr(),
    };
    let (lines, lines_handle) = reload::Layer::new(lines);
    let (filter, filter_handle) = reload::Layer::new(filter);
    // Somebody who embeds us may have a subscriber of their own; then theirs stays.
    if tracing_subscriber::registry().with(lines).with(filter).try_init().is_ok() {
        // A layer that is gone has nobody to change it for.
        let filter = Box::new(move |new| {
            let _ = filter_handle.reload(new);
        });
        let lines = Box::new(move |new| {
            let _ = lines_handle.reload(new);
        });
        let _ = STARTED.set(Started { filter, lines });
    }
    Ok(())
}

fn started() -> Result<&'static Started, String> {
    STARTED.get().ok_or_else(|| "the log belongs to the program that started the machine".to_owned())
}

/// Logs these items of `-d` from now on, in place of those before.
///
/// # Errors
/// There is no such item, or the log is not ours.
pub(crate) fn set_items(names: &[&str]) -> Result<(), String> {
    let directive = |name: &&str| ITEMS.iter().find(|(n, ..)| n == name).map(|(.., directive)| *directive);
    let directives: Option<Vec<_>> = names.iter().map(directive).collect();
    let filter = filter(&directives.ok_or("there is no such item")?)?;
    (started()?.filter)(filter);
    Ok(())
}

/// Writes to this file from now on.
///
/// # Errors
/// It cannot be created, or the log is not ours.
pub(crate) fn set_file(path: &Path) -> Result<(), String> {
    let started = started()?;
    let lines = to_file(path).map_err(|e| format!("Error opening logfile {}: {e}", path.display()))?;
    (started.lines)(lines);
    Ok(())
}
