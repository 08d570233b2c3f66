//! Which of two sequences' elements stay, in order: the shortest edit script where the two differ little, anchors that
//! occur once where they differ much. Elements are numbers that are equal for equal things; what they stand for, and
//! whether two with one number really are equal, is the caller's.

use std::collections::HashMap;

/// Differences up to which the shortest script is searched: its memory is the square, 0.5 MiB.
const MOST_EDITS: usize = 256;

/// Pairs of positions that stay, increasing on both sides. Takes a step of `work` for each pair compared; where that is
/// not enough, fewer pairs are found.
pub(crate) fn kept(old: &[u64], new: &[u64], work: &mut u64) -> Vec<(usize, usize)> {
    shortest(old, new, work).unwrap_or_else(|| anchors(old, new, work))
}

/// The pairs that a shortest edit script keeps (E. Myers, "An O(ND) Difference Algorithm and Its Variations", 1986, the
/// greedy form). `None` when the two differ by more than `MOST_EDITS`, or the work does not suffice.
fn shortest(old: &[u64], new: &[u64], work: &mut u64) -> Option<Vec<(usize, usize)>> {
    let most = MOST_EDITS.min(old.len() + new.len());
    if old.len().abs_diff(new.len()) > most {
        return None;
    }
    // How far into `old` the paths on each diagonal (old index - new index) have come; diagonal 0 stands at `middle`.
    let middle = most + 1;
    let mut reached = vec![0_usize; 2 * middle + 1];
    let mut rounds = Vec::new();
    // Half of the work is for those who come after a search that leads nowhere.
    let mut steps = *work / 2;
    *work -= steps;
    for edits in 0..=most {
        // What this round reads, kept for the way back: its diagonals and one more on either side.
        rounds.push(reached[middle - edits - 1..=middle + edits + 1].to_vec());
        for step in 0..=edits {
            // Diagonal + middle; `at + edits - middle` is 2 × step.
            let at = middle + 2 * step - edits;
            let start = came_from(&reached, at, step == 0, step == edits).1;
            let mut x = start;
            let mut y = x + middle - at;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                x += 1;
                y += 1;
            }
            // Eight comparisons of numbers side by side cost about a step.
            steps = steps.checked_sub(1 + (x - start) as u64 / 8)?;
            reached[at] = x;
            if x >= old.len() && y >= new.len() {
                *work += steps;
                return Some(way_back(&rounds, old.len(), new.len()));
            }
        }
    }
    *work += steps;
    None
}

/// From which neighbouring diagonal a path on the diagonal at `at` comes, and where it starts there: down from the one
/// above (an insertion) or right from the one below (a deletion), whichever has come further.
fn came_from(reached: &[usize], at: usize, lowest: bool, highest: bool) -> (usize, usize) {
    if lowest || (!highest && reached[at - 1] < reached[at + 1]) {
        (at + 1, reached[at + 1])
    } else {
        (at - 1, reached[at - 1] + 1)
    }
}

fn way_back(rounds: &[Vec<usize>], mut x: usize, mut y: usize) -> Vec<(usize, usize)> {
    let mut kept = Vec::new();
    for (edits, reached) in rounds.iter().enumerate().skip(1).rev() {
        // In a saved round diagonal 0 stands at edits + 1.
        let middle = edits + 1;
        let at = x + middle - y;
        let (from, start) = came_from(reached, at, at == 1, at == 2 * edits + 1);
        while x > start {
            x -= 1;
            y -= 1;
            kept.push((x, y));
        }
        x = reached[from];
        y = x + middle - from;
    }
    while x > 0 {
        x -= 1;
        kept.push((x, x));
    }
    kept.reverse();
    kept
}

/// The longest increasing chain of elements that occur exactly once on either side (patience), and whatever continues
/// one of them without a break.
fn anchors(old: &[u64], new: &[u64], work: &mut u64) -> Vec<(usize, usize)> {
    let length = (old.len() + new.len()) as u64;
    let Some(left) = work.checked_sub(2 * length) else {
        *work = 0;
        return Vec::new();
    };
    *work = left;
    let chain = longest_chain(&common_once(old, new));
    let mut kept: Vec<(usize, usize)> = Vec::with_capacity(chain.len());
    for (mut x, mut y) in chain {
        let (floor_x, floor_y) = kept.last().map_or((0, 0), |(x, y)| (x + 1, y + 1));
        if x < floor_x || y < floor_y {
            continue;
        }
        let mark = kept.len();
        let (anchor_x, anchor_y) = (x, y);
        while x > floor_x && y > floor_y && old[x - 1] == new[y - 1] {
            x -= 1;
            y -= 1;
            kept.push((x, y));
        }
        kept[mark..].reverse();
        (x, y) = (anchor_x, anchor_y);
        while x < old.len() && y < new.len() && old[x] == new[y] {
            kept.push((x, y));
            x += 1;
            y += 1;
        }
    }
    kept
}

/// Where the elements stand that are once in `old` and once in `new`, in the order of `new`.
pub(crate) fn common_once(old: &[u64], new: &[u64]) -> Vec<(usize, usize)> {
    let mut places: HashMap<u64, (Option<usize>, u32)> = HashMap::with_capacity(old.len());
    for (at, element) in old.iter().enumerate() {
        places.entry(*element).and_modify(|place| place.0 = None).or_insert((Some(at), 0));
    }
    for element in new {
        if let Some(place) = places.get_mut(element) {
            place.1 = place.1.saturating_add(1);
        }
    }
    let once = |element: &u64| match places.get(element) {
        Some((Some(at), 1)) => Some(*at),
        _ => None,
    };
    new.iter().enumerate().filter_map(|(at, element)| once(element).map(|old| (old, at))).collect()
}

/// The longest subsequence that increases in the first of each pair; the second does already.
fn longest_chain(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The pair that ends the best chain of each length, and before each pair the one it follows.
    let mut ends: Vec<usize> = Vec::new();
    let mut follows = vec![usize::MAX; pairs.len()];
    for (at, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].0 < pair.0);
        if let Some(before) = length.checked_sub(1) {
            follows[at] = ends[before];
        }
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut chain = Vec::with_capacity(ends.len());
    let mut at = ends.last().copied();
    while let Some(here) = at {
        chain.push(pairs[here]);
        at = Some(follows[here]).filter(|before| *before != usize::MAX);
    }
    chain.reverse();
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(old: &[u64], new: &[u64], kept: &[(usize, usize)]) {
        assert!(kept.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1), "{kept:?}");
        assert!(kept.iter().all(|(x, y)| old[*x] == new[*y]), "{old:?} {new:?} {kept:?}");
    }

    /// The length of the longest common subsequence, by the table everybody knows.
    fn longest(old: &[u64], new: &[u64]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for x in old {
            let mut diagonal = 0;
            for (at, y) in new.iter().enumerate() {
                let best = if x == y { diagonal + 1 } else { row[at + 1].max(row[at]) };
                diagonal = row[at + 1];
                row[at + 1] = best;
            }
        }
        row[new.len()]
    }

    #[test]
    fn little_differences_keep_as_much_as_can_be_kept() {
        for seed in 0..5_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let letters = rng.u64(1..12);
            let mut sequence = || (0..rng.usize(..30)).map(|_| rng.u64(..letters)).collect::<Vec<_>>();
            let (old, new) = (sequence(), sequence());
            let kept = kept(&old, &new, &mut 1_000_000);
            valid(&old, &new, &kept);
            assert_eq!(kept.len(), longest(&old, &new), "seed {seed}: {old:?} {new:?}");
        }
    }

    #[test]
    fn great_differences_keep_what_occurs_once() {
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let old: Vec<u64> = (0..2_000).collect();
            let mut new = old.clone();
            for at in 0..400 {
                new.insert(rng.usize(..new.len()), 10_000 + at);
            }
            assert!(shortest(&old, &new, &mut { 1 << 40 }).is_none());
            let kept = kept(&old, &new, &mut { 1 << 40 });
            valid(&old, &new, &kept);
            assert_eq!(kept.len(), old.len(), "seed {seed}");
        }
    }

    #[test]
    fn anchors_hold_whatever_the_sequences_are() {
        for seed in 0..20_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let letters = rng.u64(1..40);
            let mut sequence = || (0..rng.usize(..30)).map(|_| rng.u64(..letters)).collect::<Vec<_>>();
            let (old, new) = (sequence(), sequence());
            valid(&old, &new, &anchors(&old, &new, &mut 1_000_000));
        }
    }

    #[test]
    fn two_long_rows_of_the_same_element_end_at_the_work() {
        let mut old = vec![0; 2_000_000];
        let mut new = old.clone();
        // Ends that differ, so that every diagonal is a match from end to end.
        old.extend((1..200).map(|at| at * 2));
        new.extend((1..200).map(|at| at * 2 + 1));
        let mut work = 8 << 20;
        let _ = kept(&old, &new, &mut work);
        assert!(work <= 8 << 20);
        assert_eq!(kept(&old, &new, &mut 0), Vec::new(), "no work, no pair");
    }
}
