//! Values to the text that goes over the wire, laid out as QEMU does it.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// A message, with the end of its line.
pub(super) fn encode(value: &Value, pretty: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let written = if pretty {
        value.serialize(&mut Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b"    ")))
    } else {
        value.serialize(&mut Serializer::with_formatter(&mut out, Spaced))
    };
    written.expect("a value can be written to memory");
    if pretty {
        out = String::from_utf8_lossy(&out).replace('\n', "\r\n").into_bytes();
    }
    out.extend(b"\r\n");
    out
}

/// One line, with a space after each colon and comma.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_for_programs_and_several_for_people() {
        let value = json!({"return": [1, {"a": "b\r\n"}], "id": null});
        assert_eq!(encode(&value, false), b"{\"return\": [1, {\"a\": \"b\\r\\n\"}], \"id\": null}\r\n");
        let pretty = "{\r\n    \"return\": [\r\n        1,\r\n        {\r\n            \"a\": \"b\\r\\n\"\r\n        }\r\n    ],\r\n    \"id\": null\r\n}\r\n";
        assert_eq!(encode(&value, true), pretty.as_bytes());
    }
}
