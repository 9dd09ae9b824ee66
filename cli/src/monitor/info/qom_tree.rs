//! The tree of objects.

use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use std::fmt::Write;

/// `info qom-tree`: the machine, or what is below a path.
pub(super) fn qom_tree(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let path = arguments.text("path").unwrap_or("/machine");
    m.machine()?.board().with(|s| {
        let t = &s.objects;
        let Ok(root) = t.resolve(path) else {
            return Ok(writeln!(out, "Path '{path}' could not be resolved.")?);
        };
        writeln!(out, "/{} ({})", t.name(root), t.type_name(root))?;
        for (depth, id) in t.descendants(root) {
            writeln!(out, "{:indent$}/{} ({})", "", t.name(id), t.type_name(id), indent = 2 * (depth + 1))?;
        }
        Ok(())
    })
}
