//! Watchdogs: timers that a working guest sets back again and again. What happens when one expires is the machine's policy
//! ([`WatchdogExpired`](gearbox_core::board::SystemRequest::WatchdogExpired)).

pub mod i6300esb;
pub mod ib700;
