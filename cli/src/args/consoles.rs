//! Where serial and parallel ports, the debug console and the monitor are connected.

use super::properties::unknown;
use super::qmp::QmpServer;
use super::{Problem, Problems, Properties};
use gearbox_core::backend::chardev::{ChardevSpec, SocketAddress, SocketRole};
use std::time::Duration;

/// What a console is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing: there is no such port at all.
    None,
    /// A back end of its own; with `monitor`, shared with a monitor.
    New {
        /// The back end.
        spec: ChardevSpec,
        /// It was given as `mon:`.
        monitor: bool,
    },
    /// A `-chardev`.
    Id(String),
    /// A console of the view in the terminal (`-display curses`).
    Screen,
}

impl Target {
    /// A back end of its own.
    pub fn new(spec: ChardevSpec) -> Self {
        Self::New { spec, monitor: false }
    }
    /// Is it, or shares it, standard input and output?
    pub fn is_stdio(&self) -> bool {
        matches!(self, Self::New { spec: ChardevSpec::Stdio, .. })
    }
}

/// A `-chardev`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chardev {
    /// Its name.
    pub id: String,
    /// What it is.
    pub spec: ChardevSpec,
    /// Several users share it.
    pub mux: bool,
    /// For standard input: the interrupt key makes a signal.
    pub signals: bool,
}

/// Types of `-chardev`, with their options.
pub const CHARDEV_TYPES: &[(&str, &str)] = &[
    ("null", ""),
    ("stdio", "signal=on|off"),
    ("file", "path=PATH,append=on|off"),
    ("pipe", "path=PATH"),
    ("pty", ""),
    ("socket", "path=PATH, host=HOST,port=PORT or fd=NUMBER; server=on|off,wait=on|off,reconnect=SECONDS"),
];

/// Types that QEMU has and Gearbox has not.
const MISSING_TYPES: &str = "vc udp telnet tn3270 websocket serial tty parallel parport ringbuf msmouse wctablet braille testdev spicevmc spiceport con fd";

/// `-serial`, `-parallel`, `-monitor` and `-debugcon`.
///
/// # Errors
/// A kind of back end that is unknown or not there.
pub fn target(option: &'static str, text: &str) -> Result<Target, Problem> {
    let wrong = |reason: String| Problem::new(option, text, reason);
    if let Some(rest) = text.strip_prefix("mon:") {
        return match target(option, rest) {
            Ok(Target::New { spec, monitor: false }) => Ok(Target::New { spec, monitor: true }),
            Ok(_) => Err(wrong("a monitor can only share a back end, such as mon:stdio".to_owned())),
            Err(e) => Err(Problem { value: Some(text.to_owned()), ..e }),
        };
    }
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let needs = |what: &str| if rest.is_empty() { Err(wrong(format!("needs {what}"))) } else { Ok(()) };
    let spec = match (kind, text.contains(':')) {
        ("none", false) => return Ok(Target::None),
        ("null", false) => ChardevSpec::Null,
        ("stdio", false) => ChardevSpec::Stdio,
        ("pty", false) => ChardevSpec::Pty,
        ("chardev", true) => {
            needs("the id of a -chardev: chardev:ID")?;
            return Ok(Target::Id(rest.to_owned()));
        }
        ("file", true) => {
            needs("a path: file:PATH")?;
            ChardevSpec::File { path: rest.into(), append: false }
        }
        ("pipe", true) => {
            needs("a path: pipe:PATH")?;
            ChardevSpec::Pipe { path: rest.into() }
        }
        ("unix" | "tcp", true) => {
            needs(if kind == "unix" { "a path: unix:PATH" } else { "an address: tcp:HOST:PORT" })?;
            return socket(option, text, kind).map(Target::new);
        }
        _ if kind.starts_with("/dev/") || MISSING_TYPES.split(' ').any(|m| m == kind) => {
            return Err(wrong(format!(
                "'{kind}' is not implemented yet; there are stdio, pty, file:, pipe:, unix: and tcp:"
            )));
        }
        _ => {
            let known = ["none", "null", "stdio", "mon:stdio", "pty", "file:", "pipe:", "unix:", "tcp:", "chardev:"];
            return Err(wrong(unknown("console", text, known.into_iter())));
        }
    };
    Ok(Target::new(spec))
}

fn socket(option: &'static str, text: &str, kind: &str) -> Result<ChardevSpec, Problem> {
    let (address, mut p) = Properties::with_subject(option, text);
    let at = address.split_once(':').map_or("", |(_, at)| at).to_owned();
    let address = if kind == "unix" { SocketAddress::Unix(at.into()) } else { SocketAddress::Tcp(tcp_address(&at)) };
    let spec = server_or_client(&mut p, address)?;
    p.end(&["server", "wait", "nowait", "reconnect"])?;
    Ok(spec)
}

/// Without a host, a server listens on every address and a client goes to this host.
fn tcp_address(at: &str) -> String {
    if at.starts_with(':') { format!("0.0.0.0{at}") } else { at.to_owned() }
}

fn server_or_client(p: &mut Properties, address: SocketAddress) -> Result<ChardevSpec, Problem> {
    let server = p.take_switch("server")?.unwrap_or(false);
    let wait = p.take_switch("wait")?;
    let reconnect = p.take_number("reconnect")?.filter(|seconds| *seconds > 0);
    let role = match (server, wait, reconnect) {
        (false, Some(_), _) => return Err(p.problem("'wait' is for servers; add 'server'")),
        (true, _, Some(_)) => return Err(p.problem("'reconnect' is for clients")),
        (false, None, every) => SocketRole::Client { reconnect: every.map(|s| Duration::from_secs(s.into())) },
        (true, wait, None) => SocketRole::Server { wait: wait.unwrap_or(true) },
    };
    Ok(ChardevSpec::Socket { address, role })
}

/// `-chardev`.
///
/// # Errors
/// What is missing, unknown, or not there.
pub fn chardev(text: &str) -> Result<Chardev, Problem> {
    let mut p = Properties::parse("chardev", text, Some("backend"));
    let kind = p.take("backend")?.unwrap_or_default();
    if !CHARDEV_TYPES.iter().any(|(name, _)| *name == kind) {
        let reason = if MISSING_TYPES.split(' ').any(|m| m == kind) {
            format!("'{kind}' is not implemented yet; -chardev help lists what is")
        } else {
            unknown("type", &kind, CHARDEV_TYPES.iter().map(|(name, _)| *name))
        };
        return Err(p.problem(reason));
    }
    let id = p.take("id")?.filter(|id| !id.is_empty()).ok_or_else(|| p.problem("needs an id: id=NAME"))?;
    let mux = p.take_switch("mux")?.unwrap_or(false);
    let mut signals = !mux;
    let path = |p: &mut Properties| -> Result<_, Problem> {
        p.take("path")?.filter(|path| !path.is_empty()).ok_or_else(|| p.problem("needs a path: path=PATH"))
    };
    let spec = match &*kind {
        "null" => ChardevSpec::Null,
        "pty" => ChardevSpec::Pty,
        "stdio" => {
            signals = p.take_switch("signal")?.unwrap_or(signals);
            ChardevSpec::Stdio
        }
        "file" => ChardevSpec::File { path: path(&mut p)?.into(), append: p.take_switch("append")?.unwrap_or(false) },
        "pipe" => ChardevSpec::Pipe { path: path(&mut p)?.into() },
        _ => {
            let address = match (p.take("path")?, p.take("port")?, p.take_number("fd")?) {
                (Some(path), None, None) => SocketAddress::Unix(path.into()),
                (None, Some(port), None) => {
                    SocketAddress::Tcp(tcp_address(&format!("{}:{port}", p.take("host")?.unwrap_or_default())))
                }
                (None, None, Some(fd)) => SocketAddress::Inherited(fd as i32),
                _ => return Err(p.problem("needs path=PATH, or host=HOST and port=PORT, or fd=NUMBER")),
            };
            server_or_client(&mut p, address)?
        }
    };
    p.end(&["id", "mux", "path", "append", "signal", "host", "port", "fd", "server", "wait", "reconnect"])?;
    Ok(Chardev { id, spec, mux, signals })
}

/// All consoles of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consoles {
    /// `-chardev`.
    pub chardevs: Vec<Chardev>,
    /// `-serial`, in order.
    pub serials: Vec<Target>,
    /// `-parallel`, in order.
    pub parallels: Vec<Target>,
    /// `-monitor`.
    pub monitor: Option<Target>,
    /// `-debugcon`.
    pub debugcon: Option<Target>,
    /// `-qtest`.
    pub qtest: Option<Target>,
    /// `-qmp`, `-qmp-pretty` and `-mon mode=control`.
    pub qmp: Vec<QmpServer>,
}

/// What the command line says besides where each console goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults {
    /// `-nographic`.
    pub nographic: bool,
    /// `-display none`.
    pub no_display: bool,
    /// `-nodefaults`.
    pub nodefaults: bool,
    /// `-display curses`.
    pub curses: bool,
    /// Serial ports are what `-device` says.
    pub own_serials: bool,
    /// Parallel ports are.
    pub own_parallels: bool,
}

impl Consoles {
    /// All of them, with the options that name them.
    pub fn targets(&self) -> impl Iterator<Item = (&'static str, &Target)> {
        let ports = self.serials.iter().map(|t| ("serial", t)).chain(self.parallels.iter().map(|t| ("parallel", t)));
        let single = [("monitor", &self.monitor), ("debugcon", &self.debugcon), ("qtest", &self.qtest)];
        let qmp = self.qmp.iter().map(|q| ("qmp", &q.target));
        ports.chain(single.into_iter().filter_map(|(option, t)| Some((option, t.as_ref()?)))).chain(qmp)
    }

    /// Fills in what was not given: a parallel port without a printer, a serial port and a monitor. The first serial port and the monitor share the terminal,
    /// as with `-nographic`, for there is no display to put them in; unless something else was put there, or `-display none` or `-nodefaults` ask for silence.
    ///
    /// With a view in the terminal both are consoles of that.
    pub fn complete(&mut self, d: Defaults) {
        if !d.nodefaults && !d.own_parallels && self.parallels.is_empty() {
            self.parallels.push(Target::new(ChardevSpec::Null));
        }
        let no_serial = self.serials.is_empty() && !d.own_serials;
        if d.curses {
            if !d.nodefaults && no_serial {
                self.serials.push(Target::Screen);
            }
            if !d.nodefaults && self.monitor.is_none() {
                self.monitor = Some(Target::Screen);
            }
            return;
        }
        let taken =
            self.targets().any(|(_, t)| t.is_stdio()) || self.chardevs.iter().any(|c| c.spec == ChardevSpec::Stdio);
        let quiet = d.nodefaults || taken || (d.no_display && !d.nographic);
        let shared = self.serials.iter().any(|s| matches!(s, Target::New { monitor: true, .. }));
        match (no_serial, self.monitor.is_none() && self.qmp.is_empty() && !shared) {
            (true, monitor) if !quiet => self.serials.push(Target::New { spec: ChardevSpec::Stdio, monitor }),
            (true, _) if !d.nodefaults => self.serials.push(Target::new(ChardevSpec::Null)),
            (false, true) if d.nographic && !quiet => self.monitor = Some(Target::new(ChardevSpec::Stdio)),
            _ => {}
        }
    }

    /// Checks that every id exists once, that what has one user has one, and that there is one standard input and one shared monitor. Unless `all` back
    /// ends are there, others may be meant.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self, all: bool) -> Result<(), Problems> {
        let mut problems = Problems::default();
        for (n, c) in self.chardevs.iter().enumerate() {
            if self.chardevs[..n].iter().any(|other| other.id == c.id) {
                problems.add(Problem::new("chardev", &*c.id, "there is another one of this id"));
            }
        }
        let uses: Vec<_> = self.targets().collect();
        for (option, target) in &uses {
            if let Target::Id(id) = target
                && !self.chardevs.iter().any(|c| c.id == *id)
                && all
            {
                let reason = unknown("chardev", id, self.chardevs.iter().map(|c| c.id.as_str()));
                problems.add(Problem::new(option, format!("chardev:{id}"), reason));
            }
        }
        let stdio = uses.iter().filter(|(_, t)| t.is_stdio()).map(|(o, _)| *o);
        let chardevs = self.chardevs.iter().filter(|c| c.spec == ChardevSpec::Stdio).map(|_| "chardev");
        let view = uses.iter().find(|(_, t)| **t == Target::Screen).map(|_| "display");
        let stdio = view.into_iter().chain(stdio);
        if let Some(option) = stdio.chain(chardevs).nth(1) {
            problems.add(Problem::new(
                option,
                "stdio",
                "standard input and output are in use already; share them with -chardev stdio,id=ID,mux=on",
            ));
        }
        let shared = uses.iter().filter(|(_, t)| matches!(t, Target::New { monitor: true, .. })).count();
        if shared + usize::from(self.monitor.as_ref().is_some_and(|m| *m != Target::None)) > 1 {
            problems.add(Problem::new("monitor", "mon:", "there is one monitor; it is connected twice"));
        }
        problems.or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(server: bool, wait: bool) -> ChardevSpec {
        let role = if server { SocketRole::Server { wait } } else { SocketRole::Client { reconnect: None } };
        ChardevSpec::Socket { address: SocketAddress::Unix("/a=b".into()), role }
    }

    #[test]
    fn every_spelling_of_a_console() {
        for (text, expected) in [
            ("none", Target::None),
            ("null", Target::new(ChardevSpec::Null)),
            ("stdio", Target::new(ChardevSpec::Stdio)),
            ("mon:stdio", Target::New { spec: ChardevSpec::Stdio, monitor: true }),
            ("file:/a,b", Target::new(ChardevSpec::File { path: "/a,b".into(), append: false })),
            ("pty", Target::new(ChardevSpec::Pty)),
            ("chardev:c0", Target::Id("c0".into())),
            ("unix:/a=b", Target::new(unix(false, true))),
            ("unix:/a=b,server", Target::new(unix(true, true))),
            ("unix:/a=b,server=on,wait=off", Target::new(unix(true, false))),
            ("unix:/a=b,server,nowait", Target::new(unix(true, false))),
        ] {
            assert_eq!(target("serial", text), Ok(expected), "{text}");
        }
        for (text, reason) in [
            ("stdoi", "unknown console 'stdoi'; did you mean 'stdio'?"),
            ("vc", "'vc' is not implemented yet; there are stdio, pty, file:, pipe:, unix: and tcp:"),
            ("file:", "needs a path: file:PATH"),
            ("unix:/x,nowait", "'wait' is for servers; add 'server'"),
            ("unix:/x,sever", "unknown option 'sever'; did you mean 'server'?"),
            ("mon:none", "a monitor can only share a back end, such as mon:stdio"),
        ] {
            assert_eq!(target("serial", text).map_err(|p| p.reason), Err(reason.to_owned()), "{text}");
        }
    }

    #[test]
    fn chardevs() {
        let c = chardev("socket,id=a,path=/a=b,server=on,wait=off,mux=on").unwrap();
        assert_eq!(c, Chardev { id: "a".into(), spec: unix(true, false), mux: true, signals: false });
        assert!(chardev("stdio,id=s").unwrap().signals && !chardev("stdio,id=s,signal=off").unwrap().signals);
        assert_eq!(
            chardev("socket,id=t,port=99,server").unwrap().spec,
            ChardevSpec::Socket {
                address: SocketAddress::Tcp("0.0.0.0:99".into()),
                role: SocketRole::Server { wait: true }
            }
        );
        for (text, reason) in [
            ("stdio", "needs an id: id=NAME"),
            ("fiel,id=a", "unknown type 'fiel'; did you mean 'file'?"),
            ("ringbuf,id=a", "'ringbuf' is not implemented yet; -chardev help lists what is"),
            ("file,id=a", "needs a path: path=PATH"),
            ("socket,id=a", "needs path=PATH, or host=HOST and port=PORT, or fd=NUMBER"),
            (
                "null,id=a,logfile=x",
                "unknown option 'logfile'; there are: id, mux, path, append, signal, host, port, fd, server, wait, reconnect",
            ),
        ] {
            assert_eq!(chardev(text).map_err(|p| p.reason), Err(reason.to_owned()), "{text}");
        }
    }

    fn complete(serials: &[&str], monitor: Option<&str>, d: Defaults) -> (Vec<Target>, Option<Target>) {
        let mut c = Consoles {
            serials: serials.iter().map(|s| target("serial", s).unwrap()).collect(),
            monitor: monitor.map(|m| target("monitor", m).unwrap()),
            ..Consoles::default()
        };
        c.complete(d);
        c.check(true).unwrap();
        (c.serials, c.monitor)
    }

    #[test]
    fn what_is_not_given_goes_to_the_terminal_unless_it_is_taken() {
        let stdio = |monitor| vec![Target::New { spec: ChardevSpec::Stdio, monitor }];
        let null = || vec![Target::new(ChardevSpec::Null)];
        let plain = Defaults::default();
        let nographic = Defaults { nographic: true, ..plain };
        let headless = Defaults { no_display: true, ..plain };
        assert_eq!(complete(&[], None, plain), (stdio(true), None));
        assert_eq!(complete(&[], None, nographic), (stdio(true), None));
        assert_eq!(complete(&[], None, Defaults { nographic: true, ..headless }), (stdio(true), None));
        assert_eq!(complete(&[], None, headless), (null(), None));
        assert_eq!(complete(&[], Some("none"), plain), (stdio(false), Some(Target::None)));
        assert_eq!(complete(&[], Some("stdio"), plain).0, null());
        assert_eq!(complete(&[], None, Defaults { nodefaults: true, ..plain }), (vec![], None));
        let mut tested = Consoles { qtest: Some(Target::new(ChardevSpec::Stdio)), ..Consoles::default() };
        tested.complete(plain);
        assert_eq!((tested.serials, tested.monitor), (null(), None));
        assert_eq!(complete(&["null"], None, plain).1, None);
        assert_eq!(complete(&["null"], None, nographic).1, Some(Target::new(ChardevSpec::Stdio)));
        assert_eq!(complete(&["stdio"], None, nographic).1, None);
        assert_eq!(
            complete(&[], None, Defaults { own_serials: true, ..nographic }),
            (vec![], Some(stdio(false).remove(0)))
        );
        let parallels = |given: &[Target], d| {
            let mut c = Consoles { parallels: given.to_vec(), ..Consoles::default() };
            c.complete(d);
            c.parallels
        };
        assert_eq!((parallels(&[], plain), parallels(&[], Defaults { curses: true, ..plain })), (null(), null()));
        assert_eq!(parallels(&[Target::None], plain), [Target::None]);
        assert_eq!(parallels(&[], Defaults { nodefaults: true, ..plain }), []);
        assert_eq!(parallels(&[], Defaults { own_parallels: true, ..plain }), []);
    }

    #[test]
    fn conflicts_are_told() {
        let mut c = Consoles { serials: vec![target("serial", "chardev:x").unwrap()], ..Consoles::default() };
        c.chardevs = vec![chardev("stdio,id=y").unwrap(), chardev("null,id=y").unwrap()];
        c.monitor = Some(target("monitor", "stdio").unwrap());
        let told = c.check(true).unwrap_err().to_string();
        for part in [
            "-chardev y: there is another one of this id",
            "-serial chardev:x: unknown chardev 'x'",
            "-chardev stdio: standard input and output are in use already",
        ] {
            assert!(told.contains(part), "{told}");
        }
    }
}
