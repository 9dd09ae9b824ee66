use super::*;
use serde_json::json;

/// All messages in `input`, which comes in pieces of `piece` bytes.
fn read(input: &[u8], piece: usize) -> Vec<Result<Value, JsonError>> {
    let mut reader = Reader::default();
    let mut all = Vec::new();
    for mut piece in input.chunks(piece) {
        while let Some(message) = reader.next(&mut piece) {
            all.push(message);
        }
    }
    all
}

fn values(input: &[u8]) -> Vec<Option<Value>> {
    read(input, 1).into_iter().map(Result::ok).collect()
}

#[test]
fn values_of_every_kind_cut_anywhere() {
    let text = br#" {'a': [1, -2, 18446744073709551615, 1.5e3, true, null, {}], "b'\u00e4\ud83d\ude00": 'x"\'\n\/'} [] 7 "s" "#;
    let expected = [
        json!({"a": [1, -2, u64::MAX, 1500.0, true, null, {}], "b'\u{e4}\u{1f600}": "x\"'\n/"}),
        json!([]),
        json!(7),
        json!("s"),
    ];
    for piece in [1, 2, 3, 7, 1000] {
        let got: Vec<_> = read(text, piece).into_iter().map(Result::unwrap).collect();
        assert_eq!(got, expected, "in pieces of {piece}");
    }
}

#[test]
fn numbers_keep_their_type() {
    let got = parse("[-9223372036854775808, 9223372036854775808, 18446744073709551616, -0, 0.0]").unwrap();
    assert!(got[0].is_i64() && got[1].is_u64() && got[2].is_f64() && got[4].is_f64());
    assert_eq!(got[3], json!(0));
    assert_eq!(parse("1e999"), Err(JsonError::Syntax("number out of range".into())));
}

#[test]
fn one_answer_to_a_mistake_and_on_at_the_next_object() {
    let ok = Some(json!({"x": 1}));
    for wrong in [
        &b"{]\n"[..],
        b"{\xff",
        b"{\x01",
        b"{'bad \xff",
        b"{'execute': 'y', 'id':'\n",
        b"%p",
        b"{'a' 1}",
        b"{'a': 1, 'a': 2}",
        b"{1: 2}",
        b"[1 2]",
        b"[1,]",
        b"{,}",
        b"{'a':}",
        b"['\\u12']",
        b"['\\ud800']",
        b"['\\q']",
        b"['\xc3\x28']",
        b"[nul]",
        b"]",
        b"- ",
        b"01 ",
        b"1.x",
    ] {
        let input = [wrong, b"{'x': 1}"].concat();
        assert_eq!(values(&input), [None, ok.clone()], "{}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn mistakes_are_told_by_name() {
    for (text, told) in [
        ("{'a' 1}", "JSON parse error, missing : in object pair"),
        ("[1 2]", "JSON parse error, expected separator in list"),
        ("{'a':1 'b'}", "JSON parse error, expected separator in dict"),
        ("[,]", "JSON parse error, expecting value"),
        ("[what]", "JSON parse error, invalid keyword 'what'"),
        ("{'a': 1", "JSON parse error, premature EOI"),
        ("", "JSON parse error, premature EOI"),
        ("1 2", "JSON parse error, ' 2' after the value"),
        ("#", "JSON parse error, stray '#'"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), told, "{text}");
    }
    assert_eq!(parse("true"), Ok(json!(true)));
}

#[test]
fn what_is_too_much_is_told_and_forgotten() {
    let limits = Limits { bytes: 100, tokens: 20, nesting: 4 };
    let first = |input: &[u8]| {
        let (mut reader, mut input) = (Reader::with_limits(limits), input);
        let first = reader.next(&mut input);
        assert!(reader.lexer.size() <= limits.bytes && reader.message.bytes <= limits.bytes);
        first.map(|r| r.map_err(|e| e.to_string()))
    };
    let error = |what: &str| Some(Err(format!("JSON {what} limit exceeded")));
    assert_eq!(first(&[b"'", &[b'x'; 200][..]].concat()), error("token size"));
    assert_eq!(first(&[b"['", &[b'x'; 60][..], b"','", &[b'x'; 60][..]].concat()), error("token size"));
    assert_eq!(first(b"[1,2,3,4,5,6,7,8,9,10,11"), error("token count"));
    assert_eq!(first(b"[[[[["), error("nesting depth"));
    assert_eq!(first(b"[[[[]]]]"), Some(Ok(json!([[[[]]]]))));
}

#[test]
fn the_default_nesting_is_allowed_and_one_more_is_not() {
    let depth = Limits::default().nesting;
    let nested = |n: usize| ["[".repeat(n), "]".repeat(n)].concat();
    assert!(parse(&nested(depth)).is_ok());
    assert_eq!(parse(&nested(depth + 1)), Err(JsonError::Limit("nesting depth")));
}

#[test]
fn any_bytes_end_and_leave_a_reader_that_works() {
    // A generator of our own keeps the bytes the same on every run: xorshift64.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let alphabet = b"{}[]:,\"'\\ue0019.-+ntrul\n\t\xff\xc3\xa9\x00 ";
    for _ in 0..2000 {
        let mut input: Vec<u8> = (0..random() % 200).map(|_| alphabet[random() as usize % alphabet.len()]).collect();
        input.extend(b"\xff\n{'x': 1}");
        let last = read(&input, 1 + random() as usize % 9).pop();
        assert_eq!(last, Some(Ok(json!({"x": 1}))), "{}", String::from_utf8_lossy(&input));
    }
}
