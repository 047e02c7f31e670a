//! Small text helpers: hexadecimal and time as the journal writes them, and the closest known word for "did you mean".

pub use wiab_journal::{hex, rfc3339};

/// The known word closest to `wanted`, if it is close enough to be a typing mistake.
pub fn nearest<'a>(wanted: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wanted.chars().count() / 3).max(1);
    known
        .map(|word| (distance(wanted, word), word))
        .filter(|(edits, _)| *edits <= limit)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// Edit distance with adjacent swaps counted as one edit (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let substitute = at(&last, column) + usize::from(a != b);
            let mut best = substitute
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = row > 0
                && column > 0
                && left.get(row - 1) == Some(b)
                && right.get(column - 1) == Some(a);
            if swapped {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_found_only_when_it_is_close() {
        let known = ["after", "probe", "timeout"];
        assert_eq!(nearest("aftr", known.into_iter()), Some("after"));
        assert_eq!(nearest("porbe", known.into_iter()), Some("probe"));
        assert_eq!(nearest("kubernetes", known.into_iter()), None);
    }
}
