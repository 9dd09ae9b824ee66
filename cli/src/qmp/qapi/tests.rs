use super::*;
use serde_json::json;

qapi_enum! {
    /// A colour.
    enum Colour {
        /// Red.
        Red = "red",
        /// Light blue.
        LightBlue = "light-blue",
    }
}

qapi_struct! {
    /// A point.
    struct Point {
        /// To the right.
        x: i32,
        /// Upwards.
        y_axis = "y-axis": Option<u8>,
    }

    /// A line.
    struct Line {
        /// Through these.
        points: Vec<Point>,
        /// In it.
        colour: Colour,
    }
}

qapi_union! {
    /// A shape.
    union Shape {
        /// Its name.
        name: Option<String>,
    }
    /// Its kind.
    kind: "type"
    /// Kinds of shapes.
    enum ShapeKind("ShapeType") {
        /// A point.
        Point(Point) = "point",
        /// Nothing.
        Void(Empty) = "void",
    }
}

fn error<T: Qapi>(value: serde_json::Value) -> String {
    T::decode(value, &Path::Root).err().map(|e| e.desc).unwrap_or_default()
}

#[test]
fn there_and_back() {
    let line = json!({"points": [{"x": -1}, {"x": 2, "y-axis": 3}], "colour": "light-blue"});
    let decoded = Line::decode(line.clone(), &Path::Root).unwrap();
    assert_eq!(decoded.points[1].y_axis, Some(3));
    assert_eq!((decoded.colour, decoded.encode()), (Colour::LightBlue, line.clone()));
    assert_eq!(check(&line, Line::ty()), Ok(()));
    for shape in [json!({"type": "point", "x": 1}), json!({"name": "n", "type": "void"})] {
        assert_eq!(check(&shape, Shape::ty()), Ok(()));
        assert_eq!(Shape::decode(shape.clone(), &Path::Root).unwrap().encode(), shape);
    }
}

#[test]
fn mistakes_are_told_in_the_words_of_qemu() {
    for (value, told) in [
        (json!({"colour": "red"}), "Parameter 'points' is missing"),
        (
            json!({"points": [{"x": "1"}], "colour": "red"}),
            "Invalid parameter type for 'points[0].x', expected: integer",
        ),
        (json!({"points": [{}], "colour": "red"}), "Parameter 'points[0].x' is missing"),
        (json!({"points": {}, "colour": "red"}), "Invalid parameter type for 'points', expected: array"),
        (json!({"points": [], "colour": 1}), "Invalid parameter type for 'colour', expected: string"),
        (json!({"points": [], "colour": "blue"}), "Parameter 'colour' does not accept value 'blue'"),
        (json!({"points": [], "colour": "red", "z": 1}), "Parameter 'z' is unexpected"),
        (json!({"points": [{"x": 1, "y-axis": 256}], "colour": "red"}), "Parameter 'points[0].y-axis' expects uint8_t"),
        (json!([]), "Invalid parameter type for '<anonymous>', expected: object"),
    ] {
        assert_eq!(error::<Line>(value), told);
    }
    assert_eq!(error::<Shape>(json!({"type": "void", "x": 1})), "Parameter 'x' is unexpected");
    assert_eq!(error::<Shape>(json!({"type": "cube"})), "Parameter 'type' does not accept value 'cube'");
    assert_eq!(error::<u64>(json!("7")), "Parameter '<anonymous>' expects uint64");
    assert_eq!(u64::decode(json!(-1), &Path::Root), Ok(u64::MAX));
}

#[test]
fn what_the_schema_does_not_have_is_found() {
    for value in [
        json!({"points": [], "colour": "green"}),
        json!({"points": []}),
        json!({"points": [], "colour": "red", "more": 1}),
        json!({"points": [{"x": 1.5}], "colour": "red"}),
        json!([]),
    ] {
        assert!(check(&value, Line::ty()).is_err(), "{value}");
    }
    assert!(check(&json!({"type": "void", "x": 1}), Shape::ty()).is_err());
}
