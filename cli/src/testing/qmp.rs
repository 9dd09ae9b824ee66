//! A client of QMP (QEMU, docs/interop/qmp-spec).

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Why a command of [`Qmp`] has no result.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The machine answered with an error.
    #[error("{command}: {class}: {desc}")]
    Command {
        /// The command.
        command: String,
        /// `GenericError`, `CommandNotFound`, `DeviceNotFound` and so on.
        class: String,
        /// In words, for humans.
        desc: String,
    },
    /// What came is not in the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The connection broke, or nothing came in time.
    #[error("{what}: {source}")]
    Lost {
        /// What was waited for.
        what: String,
        /// What happened.
        source: io::Error,
    },
}

impl QmpError {
    /// What an answer to `command` says.
    pub(super) fn result(command: &str, mut answer: Value) -> Result<Value, Self> {
        if let Some(error) = answer.get("error") {
            let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            return Err(Self::Command { command: command.to_owned(), class: text("class"), desc: text("desc") });
        }
        let result = answer.get_mut("return").map(Value::take);
        result.ok_or_else(|| Self::Protocol(format!("{command}: {answer} is no answer")))
    }
    /// A result that is text.
    pub(super) fn text(result: Value) -> Result<String, Self> {
        result.as_str().map(str::to_owned).ok_or_else(|| Self::Protocol(format!("{result} is no text")))
    }
    /// Class of the error that the machine answered.
    pub fn class(&self) -> Option<&str> {
        match self {
            Self::Command { class, .. } => Some(class),
            _ => None,
        }
    }
}

/// One client's session.
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// A line of which a part has come.
    partial: Vec<u8>,
    greeting: Value,
    events: VecDeque<Value>,
    next_id: u64,
    patience: Duration,
}

impl Qmp {
    /// Takes the greeting on a connection that was just made. Capabilities are still to be negotiated.
    ///
    /// # Errors
    /// No greeting comes within `patience`, which later answers have as well.
    pub fn new(stream: UnixStream, patience: Duration) -> Result<Self, QmpError> {
        let (events, greeting) = (VecDeque::new(), Value::Null);
        let stream = BufReader::new(stream);
        let mut this = Self { stream, partial: Vec::new(), greeting, events, next_id: 1, patience };
        let mut first = this.receive("the greeting", patience)?;
        match first.get_mut("QMP") {
            Some(greeting) => this.greeting = greeting.take(),
            None => return Err(QmpError::Protocol(format!("{first} is no greeting"))),
        }
        Ok(this)
    }
    /// What the machine said of itself: `version` and `capabilities`.
    pub fn greeting(&self) -> &Value {
        &self.greeting
    }
    /// Negotiates capabilities, such as `oob`; afterwards commands are taken.
    ///
    /// # Errors
    /// The machine does not offer one of them.
    pub fn negotiate(&mut self, capabilities: &[&str]) -> Result<(), QmpError> {
        let arguments = if capabilities.is_empty() { json!({}) } else { json!({ "enable": capabilities }) };
        self.execute("qmp_capabilities", arguments).map(drop)
    }

    /// Executes a command; its result. Events that come meanwhile are kept.
    ///
    /// # Errors
    /// The machine answers with an error, or is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.request("execute", command, arguments)
    }
    /// Executes a command out of band: the machine does not let it wait for others.
    ///
    /// # Errors
    /// As [`Qmp::execute`]; also where `oob` has not been negotiated.
    pub fn execute_oob(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.request("exec-oob", command, arguments)
    }
    /// Has a line of the human monitor carried out; what it shows.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn monitor(&mut self, line: &str) -> Result<String, QmpError> {
        QmpError::text(self.execute("human-monitor-command", json!({ "command-line": line }))?)
    }
    fn request(&mut self, how: &str, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let id = json!(self.next_id);
        self.next_id += 1;
        let mut request = json!({ how: command, "id": id });
        if arguments.as_object().is_none_or(|a| !a.is_empty()) {
            request["arguments"] = arguments;
        }
        self.send_raw(format!("{request}\n").as_bytes())
            .map_err(|source| QmpError::Lost { what: command.to_owned(), source })?;
        let answer = self.receive_answer(command)?;
        if answer.get("id") != Some(&id) {
            return Err(QmpError::Protocol(format!("{command}: {answer} is not the answer to {id}")));
        }
        QmpError::result(command, answer)
    }
    /// The next answer, whatever it says and whomever it answers; events on the way are kept.
    ///
    /// # Errors
    /// The connection is broken, or nothing comes in time.
    pub fn receive_answer(&mut self, what: &str) -> Result<Value, QmpError> {
        loop {
            let object = self.receive(what, self.patience)?;
            if object.get("event").is_none() {
                return Ok(object);
            }
            self.events.push_back(object);
        }
    }
    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Waits for an event of that name, and takes it; others before it are kept.
    ///
    /// # Errors
    /// It does not come within `timeout`, or the machine is gone.
    pub fn event(&mut self, name: &str, timeout: Duration) -> Result<Value, QmpError> {
        let is = |event: &Value| event.get("event").and_then(Value::as_str) == Some(name);
        if let Some(at) = self.events.iter().position(is)
            && let Some(event) = self.events.remove(at)
        {
            return Ok(event);
        }
        let end = Instant::now() + timeout;
        loop {
            let object = self.receive(name, end.saturating_duration_since(Instant::now()))?;
            if is(&object) {
                return Ok(object);
            }
            match object.get("event") {
                Some(_) => self.events.push_back(object),
                None => return Err(QmpError::Protocol(format!("{object} answers nothing"))),
            }
        }
    }
    /// Takes the events that came so far.
    pub fn take_events(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    /// The next object. A line that has come in part is kept when the time is over.
    fn receive(&mut self, what: &str, timeout: Duration) -> Result<Value, QmpError> {
        let lost = |source| QmpError::Lost { what: what.to_owned(), source };
        let end = Instant::now() + timeout;
        loop {
            // A timeout of zero would mean none.
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.get_ref().set_read_timeout(Some(left)).map_err(lost)?;
            let before = self.partial.len();
            match self.stream.read_until(b'\n', &mut self.partial) {
                Ok(n) if n == 0 || !self.partial.ends_with(b"\n") => {
                    return Err(lost(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) => {
                    let line = std::mem::take(&mut self.partial);
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    return serde_json::from_slice(&line).map_err(|e| {
                        QmpError::Protocol(format!("{e}: {}", String::from_utf8_lossy(&line).trim_end()))
                    });
                }
                // Slow is not late.
                Err(_) if self.partial.len() > before && Instant::now() < end => {}
                Err(e) => return Err(lost(e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREETING: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n";
    const SOON: Duration = Duration::from_millis(20);

    fn told(lines: &str) -> (Qmp, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(GREETING.as_bytes()).unwrap();
        theirs.write_all(lines.as_bytes()).unwrap();
        (Qmp::new(ours, Duration::from_secs(5)).unwrap(), theirs)
    }

    #[test]
    fn events_between_answers_are_kept() {
        let (mut q, machine) = told(
            "{\"return\": {}, \"id\": 1}\n{\"event\": \"STOP\"}\n{\"event\": \"RESET\"}\n{\"return\": 5, \"id\": 2}\n\
             {\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}, \"id\": 3}\n",
        );
        assert_eq!(q.greeting()["capabilities"], json!(["oob"]));
        q.negotiate(&["oob"]).unwrap();
        assert_eq!(q.execute("x", json!({})).unwrap(), 5);
        assert_eq!(q.execute("y", json!({"a": 1})).unwrap_err().class(), Some("CommandNotFound"));
        assert!(q.event("RESET", SOON).is_ok());
        assert_eq!(q.take_events(), [json!({"event": "STOP"})]);
        assert!(matches!(q.event("RESET", SOON), Err(QmpError::Lost { .. })));
        let sent: Vec<_> = BufReader::new(machine).lines().take(3).map(Result::unwrap).collect();
        assert_eq!(sent[0], r#"{"execute":"qmp_capabilities","id":1,"arguments":{"enable":["oob"]}}"#);
        assert_eq!(sent[1], r#"{"execute":"x","id":2}"#);
    }

    #[test]
    fn what_is_not_the_protocol() {
        let (mut q, _machine) = told("{\"return\": 1, \"id\": 7}\nnonsense\n");
        assert!(matches!(q.execute("x", json!({})), Err(QmpError::Protocol(_))));
        assert!(matches!(q.execute("x", json!({})), Err(QmpError::Protocol(_))));
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"{\"return\": {}}\n").unwrap();
        assert!(Qmp::new(ours, SOON).is_err());
    }
}
