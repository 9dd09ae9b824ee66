//! Sizes for people.

/// A number of bytes with three digits and a unit, as people read it (QEMU's `size_to_str`).
pub(crate) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut unit, mut scaled) = (0, bytes as f64);
    while scaled >= 1000.0 && unit + 1 < UNITS.len() {
        (unit, scaled) = (unit + 1, scaled / 1024.0);
    }
    let decimals = if scaled == 0.0 { 0 } else { (2.0 - scaled.log10().floor()).max(0.0) as usize };
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human_size;

    #[test]
    fn sizes_are_those_of_qemu() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (1000, "0.977 KiB"),
            (200 << 10, "200 KiB"),
            (1 << 20, "1 MiB"),
            (3 << 29, "1.5 GiB"),
            (2 << 30, "2 GiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
    }
}
