//! Where log lines go.

use crate::args::Config;
use crate::failure::Failure;
use std::fs::File;
use std::io::IsTerminal;
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;

/// What is logged without being asked for: warnings, but not those about the guest, which `-d` asks for.
const DEFAULT: (&str, &str) = ("warn", "guest_error=off");

/// Starts logging as `-d` and `-D` say; `RUST_LOG`, in `tracing`'s syntax, takes the place of what is logged without `-d`. The first machine of a
/// process decides for all.
pub(crate) fn start(config: &Config) -> Result<(), Failure> {
    let directives = match std::env::var("RUST_LOG") {
        Ok(base) => config.log.iter().fold(base, |all, one| format!("{all},{one}")),
        // Of two directives about one target the filter keeps the first.
        Err(_) if config.log.is_empty() => format!("{},{}", DEFAULT.0, DEFAULT.1),
        Err(_) => format!("{},{}", DEFAULT.0, config.log.join(",")),
    };
    let filter = EnvFilter::try_new(&directives).map_err(|e| Failure::line(format!("RUST_LOG {directives}: {e}")))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // Somebody who embeds us may have a subscriber of their own; then theirs stays.
    match &config.log_file {
        Some(path) => {
            let file = File::create(path).map_err(|e| Failure::line(format!("-D {}: {e}", path.display())))?;
            let _ = builder.with_ansi(false).with_writer(Mutex::new(file)).try_init();
        }
        None => {
            let ansi = std::io::stderr().is_terminal();
            let _ = builder.with_ansi(ansi).without_time().with_writer(std::io::stderr).try_init();
        }
    }
    Ok(())
}
