//! Makes a session that shows a difference as short as it can be.

/// Removes parts of `items`, larger ones first, as long as `still_fails` says yes; what is left cannot lose any single
/// item. At most `tries_max` sessions are tried.
pub fn shrink<T: Clone>(items: &[T], tries_max: usize, mut still_fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut kept = items.to_vec();
    let mut part = kept.len().div_ceil(2).max(1);
    let mut tries = 0;
    loop {
        let mut removed_any = false;
        // From the end: what comes last depends on what came before, not the other way round.
        let mut end = kept.len();
        while end > 0 {
            let start = end.saturating_sub(part);
            let candidate: Vec<T> = kept.iter().take(start).chain(kept.iter().skip(end)).cloned().collect();
            end = start;
            if candidate.is_empty() {
                continue;
            }
            if tries >= tries_max {
                return kept;
            }
            tries += 1;
            if still_fails(&candidate) {
                kept = candidate;
                removed_any = true;
            }
        }
        if part > 1 {
            part = part.div_ceil(2);
        } else if !removed_any {
            return kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shrink;

    #[test]
    fn only_what_the_difference_needs_is_left() {
        let items: Vec<u32> = (0..100).collect();
        let fails = |items: &[u32]| items.contains(&17) && items.contains(&71) && items.contains(&72);
        assert_eq!(shrink(&items, usize::MAX, fails), [17, 71, 72]);
    }

    #[test]
    fn the_number_of_tries_is_bounded() {
        let items: Vec<u32> = (0..100).collect();
        let mut tries = 0;
        let left = shrink(&items, 5, |items| {
            tries += 1;
            items.contains(&0)
        });
        assert_eq!(tries, 5);
        assert!(left.contains(&0));
    }

    #[test]
    fn nothing_goes_when_everything_is_needed() {
        assert_eq!(shrink(&[1, 2, 3], usize::MAX, |items| items.len() == 3), [1, 2, 3]);
    }
}
