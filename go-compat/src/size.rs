//! Sizes as nats-server shows them.

/// A size as log lines show it: `1.86 GB`, with 1024 as the base; below that, bytes.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn friendly_bytes(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::friendly_bytes;

    #[test]
    fn sizes_are_shown_with_two_digits() {
        for (bytes, shown) in [
            (-1, "-1 B"),
            (1023, "1023 B"),
            (1024, "1.00 KB"),
            (1_500_000, "1.43 MB"),
            (2_000_000_000, "1.86 GB"),
        ] {
            assert_eq!(friendly_bytes(bytes), shown);
        }
    }
}
