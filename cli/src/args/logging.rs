//! `-d` and `-D`: what is logged, and where.

use super::{Problem, properties::unknown};

/// What `-d` takes: its name, what it logs, and the filter directives that it stands for.
pub const ITEMS: &[(&str, &str, &str)] = &[(
    "guest_errors",
    "what the guest does wrong: accesses to nothing, reserved bits, instructions and registers that are not there",
    "guest_error=debug",
)];

/// Reads all `-d` options into filter directives.
///
/// # Errors
/// An item that is not there.
pub fn directives(arguments: &[String]) -> Result<Vec<&'static str>, Problem> {
    let mut found = Vec::new();
    for text in arguments {
        for item in text.split(',') {
            match ITEMS.iter().find(|(name, ..)| *name == item) {
                Some((.., directive)) => found.push(*directive),
                None => return Err(Problem::new("d", &**text, unknown("item", item, ITEMS.iter().map(|i| i.0)))),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_directives_and_others_are_refused() {
        assert_eq!(directives(&["guest_errors".to_owned()]).unwrap(), ["guest_error=debug"]);
        let e = directives(&["guest_errors,in_asm".to_owned()]).unwrap_err();
        assert!(
            e.to_string().starts_with("-d guest_errors,in_asm: unknown item 'in_asm'; there are: guest_errors"),
            "{e}"
        );
    }
}
