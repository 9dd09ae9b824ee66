//! `-readconfig`: options in a file (QEMU's format: `[group "id"]`, then `key = "value"`).

use super::Problem;
use std::io::Read;
use std::path::Path;

/// Which option a group stands for.
const GROUPS: &[(&str, &str)] = &[
    ("accel", "accel"),
    ("action", "action"),
    ("boot-opts", "boot"),
    ("chardev", "chardev"),
    ("device", "device"),
    ("drive", "drive"),
    ("global", "global"),
    ("icount", "icount"),
    ("machine", "machine"),
    ("memory", "m"),
    ("mon", "mon"),
    ("name", "name"),
    ("object", "object"),
    ("rtc", "rtc"),
    ("smp-opts", "smp"),
];

/// Largest file that is read.
const MOST: u64 = 1 << 20;

/// The words of a command line that mean what a file says.
///
/// # Errors
/// The file cannot be read, or a line is not understood.
pub fn words(path: &str) -> Result<Vec<String>, Problem> {
    let wrong = |reason: String| Problem::new("readconfig", path, reason);
    let text = read(Path::new(path)).map_err(|e| wrong(e.to_string()))?;
    parse(&text).map_err(|(line, reason)| wrong(format!("line {line}: {reason}")))
}

/// The text of such a file.
///
/// # Errors
/// The host's reason; it is no text, or a long one.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MOST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST { Err(std::io::Error::other("is larger than 1 MiB")) } else { Ok(text) }
}

/// A group: where it begins, what it is called, its id, and its keys with their values.
pub(crate) struct Group {
    /// The number of its line.
    pub(crate) line: usize,
    /// Its name.
    pub(crate) name: String,
    /// Its id, or nothing.
    pub(crate) id: String,
    /// The keys with their values, in order.
    pub(crate) pairs: Vec<(String, String)>,
}

/// The groups of a file in QEMU's format.
///
/// # Errors
/// A line is not understood: its number, and why.
pub(crate) fn groups(text: &str) -> Result<Vec<Group>, (usize, String)> {
    let mut groups: Vec<Group> = Vec::new();
    for (n, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let header = header.strip_suffix(']').ok_or_else(|| (n, "parse error: ']' is missing".to_owned()))?;
            let (group, id) = header.split_once(char::is_whitespace).unwrap_or((header, ""));
            let id = id.trim().trim_matches('"').to_owned();
            groups.push(Group { line: n, name: group.to_owned(), id, pairs: Vec::new() });
        } else {
            let pair = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            let quoted = |value: &str| Some(value.strip_prefix('"')?.strip_suffix('"')?.to_owned());
            let (key, value) = pair
                .and_then(|(key, value)| Some((key, quoted(value)?)))
                .ok_or_else(|| (n, "parse error: write key = \"value\"".to_owned()))?;
            let group = groups.last_mut().ok_or_else(|| (n, "no group defined".to_owned()))?;
            group.pairs.push((key.to_owned(), value));
        }
    }
    Ok(groups)
}

fn parse(text: &str) -> Result<Vec<String>, (usize, String)> {
    let mut words: Vec<String> = Vec::new();
    for Group { line, name, id, pairs } in groups(text)? {
        let option = GROUPS.iter().find(|(g, _)| *g == name);
        let (_, option) = option.ok_or_else(|| (line, format!("there is no option group '{name}'")))?;
        let mut list = if id.is_empty() { String::new() } else { format!("id={}", doubled(&id)) };
        for (key, value) in pairs {
            let pair = format!("{key}={}", doubled(&value));
            // What says which kind it is comes first, where the option looks for it.
            list = match &*key {
                _ if list.is_empty() => pair,
                "driver" | "backend" | "qom-type" | "type" => format!("{pair},{list}"),
                _ => format!("{list},{pair}"),
            };
        }
        words.extend([format!("-{option}"), list]);
    }
    Ok(words)
}

fn doubled(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_become_options() {
        let text = "# all of it\n[memory]\n  size = \"200\"\n\n[device \"com2\"]\nindex = \"1\"\ndriver = \"isa-serial\"\n[object \"m\"]\nqom-type=\"memory-backend-file\"\nmem-path = \"/a,b\"\n";
        assert_eq!(
            parse(text).unwrap(),
            [
                "-m",
                "size=200",
                "-device",
                "driver=isa-serial,id=com2,index=1",
                "-object",
                "qom-type=memory-backend-file,id=m,mem-path=/a,,b"
            ]
        );
    }

    #[test]
    fn mistakes_have_a_line() {
        for (text, line, part) in [
            ("size = \"1\"", 1, "no group defined"),
            ("[memory]\nsize = 1", 2, "write key"),
            ("\n[spice]", 2, "no option group 'spice'"),
            ("[memory", 1, "']'"),
        ] {
            let (n, reason) = parse(text).unwrap_err();
            assert!(n == line && reason.contains(part), "{text}: {n} {reason}");
        }
        assert!(words("/nowhere").is_err());
    }
}
