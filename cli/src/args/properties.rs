//! QEMU's lists of properties: `value,key=value,flag`, with `,,` for a comma in a value.

use super::Problem;
use gearbox_core::closest;
use gearbox_core::object::parse_switch;

/// A list of properties of one option, taken out one after the other.
pub struct Properties {
    option: &'static str,
    text: String,
    pairs: Vec<(String, Option<String>)>,
}

impl Properties {
    /// Takes `text` apart. With `implied`, a first item without `=` is the value of that key.
    pub fn parse(option: &'static str, text: &str, implied: Option<&str>) -> Self {
        let mut items = items(text);
        if let Some(implied) = implied
            && !items[0].contains('=')
        {
            items[0].insert_str(0, &format!("{implied}="));
        }
        Self::of(option, text, items)
    }
    /// Takes `text` apart whose first item is no property but a subject, such as an address.
    pub fn with_subject(option: &'static str, text: &str) -> (String, Self) {
        let mut items = items(text);
        (items.remove(0), Self::of(option, text, items))
    }
    fn of(option: &'static str, text: &str, items: Vec<String>) -> Self {
        let pairs = items.into_iter().filter(|item| !item.is_empty()).map(|item| match item.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (item, None),
        });
        Self { option, text: text.to_owned(), pairs: pairs.collect() }
    }
    /// Something that is wrong with the whole option.
    pub fn problem(&self, reason: impl std::fmt::Display) -> Problem {
        Problem::new(self.option, &*self.text, reason)
    }
    /// Takes a key out. Of several, the last one counts.
    ///
    /// # Errors
    /// The key is there without a value.
    pub fn take(&mut self, key: &str) -> Result<Option<String>, Problem> {
        let mut found = None;
        self.pairs.retain(|(k, v)| {
            let hit = k == key;
            if hit {
                found = Some(v.clone());
            }
            !hit
        });
        match found {
            Some(None) => Err(self.problem(format!("'{key}' needs a value: {key}=..."))),
            Some(value) => Ok(value),
            None => Ok(None),
        }
    }
    /// Takes a key out with all its values, in order.
    ///
    /// # Errors
    /// The key is there without a value.
    pub fn take_all(&mut self, key: &str) -> Result<Vec<String>, Problem> {
        let mut found = Vec::new();
        self.pairs.retain(|(k, v)| {
            let hit = k == key;
            if hit {
                found.push(v.clone());
            }
            !hit
        });
        let all: Option<Vec<_>> = found.into_iter().collect();
        all.ok_or_else(|| self.problem(format!("'{key}' needs a value: {key}=...")))
    }
    /// Does a key have this value?
    pub fn is(&self, key: &str, value: &str) -> bool {
        self.pairs.iter().any(|(k, v)| k == key && v.as_deref() == Some(value))
    }
    /// Takes a switch out: `key`, `nokey`, or `key=on|off`.
    ///
    /// # Errors
    /// Its value is neither.
    pub fn take_switch(&mut self, key: &str) -> Result<Option<bool>, Problem> {
        let negated = format!("no{key}");
        let mut found = None;
        self.pairs.retain(|(k, v)| {
            let hit = *k == key || (*k == negated && v.is_none());
            if hit {
                found = Some((k.clone(), v.clone()));
            }
            !hit
        });
        match found {
            None => Ok(None),
            Some((k, None)) => Ok(Some(k == key)),
            Some((_, Some(v))) => switch(&v).map(Some).map_err(|reason| self.problem(format!("{key}: {reason}"))),
        }
    }
    /// Takes a whole number out.
    ///
    /// # Errors
    /// It is none.
    pub fn take_number(&mut self, key: &str) -> Result<Option<u32>, Problem> {
        self.take(key)?
            .map(|v| v.parse().map_err(|_| self.problem(format!("'{key}' takes a whole number, not '{v}'"))))
            .transpose()
    }
    /// What has not been taken, with `on` for the value of a bare key.
    pub fn rest(self) -> Vec<(String, String)> {
        self.pairs.into_iter().map(|(k, v)| (k, v.unwrap_or_else(|| "on".to_owned()))).collect()
    }
    /// Nothing may be left.
    ///
    /// # Errors
    /// The first key that is, with what was close to it among those that are `known`.
    pub fn end(&self, known: &[&str]) -> Result<(), Problem> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(self.problem(unknown("option", key, known.iter().copied()))),
        }
    }
}

/// Splits at single commas; never empty.
fn items(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.next_if_eq(&',').is_none() => items.push(String::new()),
            c => items.last_mut().expect("never empty").push(c),
        }
    }
    items
}

/// Most names that a message lists.
const MOST_NAMES: usize = 16;

/// The text about an unknown name among those that are `known`.
pub fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match closest(name, known.clone()) {
        Some(close) => format!("unknown {what} '{name}'; did you mean '{close}'?"),
        None if known.clone().count() > MOST_NAMES => {
            format!("unknown {what} '{name}'; 'help' in its place lists what there is")
        }
        None => format!("unknown {what} '{name}'; there are: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// A switch's value as QEMU spells it.
///
/// # Errors
/// It is neither on nor off.
pub fn switch(value: &str) -> Result<bool, String> {
    parse_switch(value).ok_or_else(|| format!("expected 'on' or 'off', not '{value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_doubled_and_the_first_key_is_implied() {
        let mut p = Properties::parse("chardev", "file,path=a,,b,append,nowait,path=c,,d", Some("type"));
        assert_eq!(p.take("type").unwrap().as_deref(), Some("file"));
        assert_eq!(p.take("path").unwrap().as_deref(), Some("c,d"));
        assert_eq!(p.take_switch("append").unwrap(), Some(true));
        assert_eq!(p.take_switch("wait").unwrap(), Some(false));
        assert_eq!(p.take_switch("mux").unwrap(), None);
        p.end(&[]).unwrap();
    }

    #[test]
    fn mistakes_name_the_option_as_it_was_given() {
        let mut p = Properties::parse("smp", "2,cores=x,thraeds=1,sockets", Some("cpus"));
        assert_eq!(
            p.take_number("cores").unwrap_err().to_string(),
            "-smp 2,cores=x,thraeds=1,sockets: 'cores' takes a whole number, not 'x'"
        );
        assert!(p.take("sockets").unwrap_err().to_string().ends_with("'sockets' needs a value: sockets=..."));
        assert_eq!(p.take_number("cpus").unwrap(), Some(2));
        let e = p.end(&["cpus", "threads"]).unwrap_err();
        assert!(e.to_string().ends_with("unknown option 'thraeds'; did you mean 'threads'?"), "{e}");
        assert_eq!(switch("maybe").unwrap_err(), "expected 'on' or 'off', not 'maybe'");
    }
}
