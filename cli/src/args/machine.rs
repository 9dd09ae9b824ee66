//! Memory, CPUs, clock and identity of the machine.

use super::{Problem, Properties};
use gearbox_core::accel::Icount;
use gearbox_core::machine::{RtcBase, RtcClock, RtcConfig};
use gearbox_core::x86::topology::Topology;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Date, PrimitiveDateTime, Time};

/// Most memory that a machine has.
const MOST_MEMORY: u64 = 64 << 30;
/// Least memory: what lies below 1 MiB must be there.
const LEAST_MEMORY: u64 = 1 << 20;
/// Memory comes in pages.
const PAGE: u64 = 4096;

/// `-m`: a number of MiB, or one with a suffix; in bytes, as is the `default`.
pub fn memory(arguments: &[String], default: u64) -> Result<u64, Problem> {
    let mut size = default;
    for text in arguments {
        let mut p = Properties::parse("m", text, Some("size"));
        for key in ["slots", "maxmem"] {
            if p.take(key)?.is_some() {
                return Err(p.problem(format!("'{key}' is not implemented yet; memory is what -m says for good")));
            }
        }
        if let Some(text) = p.take("size")? {
            size = bytes(&text).map_err(|reason| p.problem(reason))?;
        }
        p.end(&["size"])?;
    }
    Ok(size)
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "B" => 0,
        "K" => 10,
        "" | "M" => 20,
        "G" => 30,
        "T" => 40,
        other => return Err(format!("unknown suffix '{other}'; there are K, M and G")),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |digits: &str| {
        digits.parse::<u64>().map_err(|_| format!("'{text}' is no size; write 512, 512M or 2G")).map(u128::from)
    };
    // The fraction has parsed as a u64, so it has at most 20 digits or leading zeros, which mean nothing at a page's precision.
    let fraction = &fraction[..fraction.len().min(20)];
    let size = (number(whole)? << shift) + (number(fraction)? << shift) / 10u128.pow(fraction.len() as u32);
    match u64::try_from(size) {
        Ok(size) if size < LEAST_MEMORY => Err("a PC needs at least 1M".to_owned()),
        Ok(size) if size <= MOST_MEMORY => Ok(size.next_multiple_of(PAGE)),
        _ => Err("more than 64G are not implemented yet".to_owned()),
    }
}

/// `-smp`: the CPUs that there can be, and how many of them are there at the start. What is not given follows, in favour of cores over sockets as QEMU
/// does it from 6.2 on.
pub fn topology(arguments: &[String]) -> Result<(Topology, u32), Problem> {
    const KEYS: [&str; 7] = ["cpus", "sockets", "dies", "clusters", "cores", "threads", "maxcpus"];
    let mut given = [None; 7];
    let Some(last) = arguments.last() else { return Ok((Topology::default(), 1)) };
    for text in arguments {
        let mut p = Properties::parse("smp", text, Some("cpus"));
        for (key, value) in KEYS.iter().zip(&mut given) {
            match p.take_number(key)? {
                Some(0) => return Err(p.problem(format!("'{key}' must be at least 1"))),
                Some(n) => *value = Some(n),
                None => {}
            }
        }
        p.end(&KEYS)?;
    }
    let wrong = |reason: String| Problem::new("smp", last, reason);
    let [cpus, sockets, dies, clusters, cores, threads, maxcpus] = given;
    for (key, n) in [("dies", dies), ("clusters", clusters)] {
        if n.is_some_and(|n| n > 1) {
            return Err(wrong(format!("'{key}' above 1 is not implemented yet")));
        }
    }
    let total = maxcpus.or(cpus);
    let product = |a: Option<u32>, b: Option<u32>| a.unwrap_or(1).saturating_mul(b.unwrap_or(1)).max(1);
    let topology = match (sockets, cores, threads, total) {
        (s, Some(c), Some(t), None) => Topology { sockets: s.unwrap_or(1), cores: c, threads: t },
        (s, c, t, None) => Topology { sockets: s.unwrap_or(1), cores: c.unwrap_or(1), threads: t.unwrap_or(1) },
        (s, None, t, Some(n)) => {
            Topology { sockets: s.unwrap_or(1), cores: (n / product(s, t)).max(1), threads: t.unwrap_or(1) }
        }
        (None, Some(c), t, Some(n)) => {
            Topology { sockets: (n / product(Some(c), t)).max(1), cores: c, threads: t.unwrap_or(1) }
        }
        (Some(s), Some(c), t, Some(n)) => {
            Topology { sockets: s, cores: c, threads: t.unwrap_or((n / product(Some(s), Some(c))).max(1)) }
        }
    };
    let Topology { sockets, cores, threads } = topology;
    match total {
        Some(n) if n != topology.total() => Err(wrong(format!(
            "{sockets} sockets of {cores} cores of {threads} threads are {}, not {n} CPUs",
            topology.total()
        ))),
        Some(n) if cpus.is_some_and(|c| c > n) => Err(wrong("maxcpus must be equal to or greater than smp".to_owned())),
        _ => Ok((topology, cpus.unwrap_or(topology.total()))),
    }
}

/// `-rtc`.
pub fn rtc(arguments: &[String]) -> Result<RtcConfig, Problem> {
    let mut rtc = RtcConfig::default();
    for text in arguments {
        let mut p = Properties::parse("rtc", text, None);
        match p.take("base")?.as_deref() {
            None => {}
            Some("utc") => rtc.base = RtcBase::Utc,
            Some("localtime") => rtc.base = RtcBase::Localtime,
            Some(at) => {
                rtc.base = RtcBase::At(date_time(at).ok_or_else(|| {
                    p.problem(format!("base: '{at}' is neither utc, localtime nor a time such as 2026-06-17T16:01:21"))
                })?);
            }
        }
        match p.take("clock")?.as_deref() {
            None => {}
            Some("host") => rtc.clock = RtcClock::Host,
            Some("vm") => rtc.clock = RtcClock::Vm,
            Some("rt") => return Err(p.problem("clock: 'rt' is not implemented yet; there are host and vm")),
            Some(other) => return Err(p.problem(format!("clock: '{other}' is unknown; there are host and vm"))),
        }
        match p.take("driftfix")?.as_deref() {
            None | Some("none") => {}
            Some(_) => return Err(p.problem("driftfix: only 'none' is implemented yet")),
        }
        p.end(&["base", "clock", "driftfix"])?;
    }
    Ok(rtc)
}

/// `-icount`.
pub fn icount(arguments: &[String]) -> Result<Option<Icount>, Problem> {
    let mut icount = None;
    for text in arguments {
        let mut p = Properties::parse("icount", text, Some("shift"));
        for key in ["rr", "rrfile", "rrsnapshot"] {
            if p.take(key)?.is_some() {
                return Err(p.problem(format!("'{key}': recording and replaying are not implemented yet")));
            }
        }
        let (shift, sleep, align) = (p.take("shift")?, p.take_switch("sleep")?, p.take_switch("align")?);
        icount = Some(Icount::new(shift.as_deref(), sleep, align).map_err(|e| p.problem(e))?);
        p.end(&["shift", "sleep", "align"])?;
    }
    Ok(icount)
}

/// Seconds since 1970 of a date, with or without a time of day.
fn date_time(text: &str) -> Option<i64> {
    const DATE: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]");
    const DATE_TIME: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let at = PrimitiveDateTime::parse(text, DATE_TIME)
        .or_else(|_| Date::parse(text, DATE).map(|d| d.with_time(Time::MIDNIGHT)))
        .ok()?;
    Some(at.assume_utc().unix_timestamp())
}

/// `-uuid`, in the order of its text.
pub fn uuid(text: &str) -> Result<[u8; 16], Problem> {
    let wrong = |e| Problem::new("uuid", text, format!("not a UUID such as 550e8400-e29b-41d4-a716-446655440000: {e}"));
    uuid::Uuid::parse_str(text).map(uuid::Uuid::into_bytes).map_err(wrong)
}

/// `-name`.
pub fn name(text: &str) -> Result<String, Problem> {
    let mut p = Properties::parse("name", text, Some("guest"));
    let name = p.take("guest")?.unwrap_or_default();
    for key in ["process", "debug-threads"] {
        if p.take(key)?.is_some() {
            return Err(p.problem(format!("'{key}' is not implemented yet")));
        }
    }
    p.end(&["guest"])?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one<T>(f: fn(&[String]) -> Result<T, Problem>, text: &str) -> Result<T, String> {
        f(&[text.to_owned()]).map_err(|p| p.reason)
    }

    #[test]
    fn memory_in_every_spelling() {
        for (text, mib) in
            [("512", 512), ("512M", 512), ("size=2G", 2048), ("1.5g", 1536), ("2048k", 2), ("64G", 65536)]
        {
            assert_eq!(one(|a: &[String]| memory(a, 128 << 20), text), Ok(mib << 20), "{text}");
        }
        assert_eq!(memory(&[], 128 << 20).unwrap(), 128 << 20);
        for (text, reason) in [
            ("0", "a PC needs at least 1M"),
            ("65G", "more than 64G are not implemented yet"),
            ("99999999999999999999", "'99999999999999999999' is no size; write 512, 512M or 2G"),
            ("9999999999999G", "more than 64G are not implemented yet"),
            ("lots", "unknown suffix 'LOTS'; there are K, M and G"),
            ("-5", "'-5' is no size; write 512, 512M or 2G"),
            ("", "'' is no size; write 512, 512M or 2G"),
            ("1.M", "'1.M' is no size; write 512, 512M or 2G"),
            ("512,slots=2", "'slots' is not implemented yet; memory is what -m says for good"),
            ("512,sise=2", "unknown option 'sise'; did you mean 'size'?"),
        ] {
            assert_eq!(one(|a: &[String]| memory(a, 128 << 20), text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn topologies_are_completed_as_qemu_does() {
        let t = |sockets, cores, threads| {
            let topology = Topology { sockets, cores, threads };
            Ok((topology, topology.total()))
        };
        for (text, expected) in [
            ("4", t(1, 4, 1)),
            ("cpus=4,sockets=2", t(2, 2, 1)),
            ("8,cores=2,threads=2", t(2, 2, 2)),
            ("8,sockets=2,cores=2", t(2, 2, 2)),
            ("sockets=2,cores=3", t(2, 3, 1)),
            ("2,maxcpus=2,dies=1", t(1, 2, 1)),
        ] {
            assert_eq!(one(topology, text), expected, "{text}");
        }
        assert_eq!(topology(&[]).unwrap(), (Topology::default(), 1));
        let four = Topology { sockets: 1, cores: 4, threads: 1 };
        assert_eq!(one(topology, "2,maxcpus=4"), Ok((four, 2)));
        for (text, reason) in [
            ("0", "'cpus' must be at least 1"),
            ("3,cores=2", "1 sockets of 2 cores of 1 threads are 2, not 3 CPUs"),
            ("4,maxcpus=2", "maxcpus must be equal to or greater than smp"),
            ("2,dies=2", "'dies' above 1 is not implemented yet"),
            ("many", "'cpus' takes a whole number, not 'many'"),
            ("2,core=2", "unknown option 'core'; did you mean 'cores'?"),
        ] {
            assert_eq!(one(topology, text), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn clocks() {
        let base = |text| one(rtc, text).map(|r| r.base);
        assert_eq!(base("base=localtime"), Ok(RtcBase::Localtime));
        assert_eq!(base("base=1970-01-02"), Ok(RtcBase::At(86_400)));
        assert_eq!(base("base=2006-06-17T16:01:21,clock=vm"), Ok(RtcBase::At(1_150_560_081)));
        assert_eq!(one(rtc, "clock=vm,driftfix=none").map(|r| r.clock), Ok(RtcClock::Vm));
        for text in ["base=soon", "clock=rt", "clock=sun", "driftfix=slew", "bse=utc"] {
            assert!(one(rtc, text).is_err(), "{text}");
        }
    }

    #[test]
    fn identity() {
        assert_eq!(uuid("00010203-0405-0607-0809-0a0b0c0d0e0f").unwrap(), std::array::from_fn(|n| n as u8));
        assert!(uuid("zebra").is_err());
        assert_eq!(name("box").unwrap(), "box");
        assert!(name("box,process=x").is_err());
    }
}
