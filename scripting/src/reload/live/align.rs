//! Finds in new text what was in the old: functions, instructions, locals.
//!
//! By meaning, never by line: functions by the place that their creator gives them, instructions by the longest
//! common subsequence of what they mean, locals by name and by the instruction that introduces them.

use super::code::{Body, Code, Variable};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// Above so many pairs of instructions that differ, only what is the same at the beginning and the end is found.
const MOST_PAIRS: usize = 20_000_000;

/// Which of one body's parts are which of another's, by number.
pub(super) struct Alignment {
    pub instructions: Vec<Option<usize>>,
    pub locals: Vec<Option<usize>>,
}

impl Alignment {
    fn new(old: &Body, new: &Body) -> Self {
        let meanings = |body: &Body| -> Vec<u64> { body.instructions.iter().map(|i| i.meaning).collect() };
        let instructions = common(&meanings(old), &meanings(new));
        let locals = match_locals(old, new, &instructions);
        Self { instructions, locals }
    }
}

/// Which bodies of one text are which of another.
pub(super) struct Matching {
    /// For each old body.
    pub bodies: Vec<Option<usize>>,
    alignments: Vec<OnceCell<Alignment>>,
}

impl Matching {
    pub fn new(old: &Code, new: &Code) -> Self {
        let mut matching = Self {
            bodies: vec![None; old.bodies.len()],
            alignments: (0..old.bodies.len()).map(|_| OnceCell::new()).collect(),
        };
        matching.bodies[0] = Some(0);
        // A creator comes before those that it makes.
        for index in 0..old.bodies.len() {
            if let Some(to) = matching.bodies[index] {
                for (child, to) in matching.children(old, new, index, to) {
                    matching.bodies[child] = Some(to);
                }
            }
        }
        matching
    }

    /// How an old body, which has a counterpart, fits on it.
    pub fn alignment(&self, old: &Code, new: &Code, index: usize) -> Option<&Alignment> {
        let to = self.bodies[index]?;
        Some(self.alignments[index].get_or_init(|| Alignment::new(&old.bodies[index], &new.bodies[to])))
    }

    /// The variable of the new text that an old one has become.
    pub fn variable(&self, old: &Code, new: &Code, variable: Variable) -> Option<Variable> {
        let function = self.bodies[variable.function]?;
        let local = self.alignment(old, new, variable.function)?.locals[variable.local]?;
        Some(Variable { function, local })
    }

    /// The functions that a body makes: those with a name by it, then those that are made by matching
    /// instructions, then, if as many are left on both sides, in their order.
    fn children(&self, old: &Code, new: &Code, index: usize, to: usize) -> Vec<(usize, usize)> {
        let by_place = |code: &Code, children: &[usize]| {
            let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for &child in children {
                places.entry(code.bodies[child].place.clone()).or_default().push(child);
            }
            places
        };
        let old_places = by_place(old, &old.bodies[index].children);
        let mut new_places = by_place(new, &new.bodies[to].children);
        let mut matched = Vec::new();
        for (place, olds) in old_places {
            let Some(mut news) = new_places.remove(&place) else { continue };
            if !place.is_empty() && olds.len() == news.len() {
                matched.extend(olds.into_iter().zip(news));
                continue;
            }
            let Some(alignment) = self.alignment(old, new, index) else { continue };
            let mut left = Vec::new();
            for child in olds {
                let made = old.bodies[child].creator.and_then(|(_, made)| alignment.instructions[made]);
                let same = |&new_child: &usize| {
                    made.is_some() && new.bodies[new_child].creator.map(|(_, made)| made) == made
                };
                match news.iter().position(same) {
                    Some(found) => matched.push((child, news.remove(found))),
                    None => left.push(child),
                }
            }
            if left.len() == news.len() {
                matched.extend(left.into_iter().zip(news));
            }
        }
        matched
    }
}

fn match_locals(old: &Body, new: &Body, instructions: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut found: Vec<Option<usize>> = vec![None; old.locals.len()];
    let mut taken = vec![false; new.locals.len()];
    let by_name = |body: &Body| {
        let mut names: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, local) in body.locals.iter().enumerate() {
            names.entry(local.name.clone()).or_default().push(index);
        }
        names
    };
    let (old_names, new_names) = (by_name(old), by_name(new));
    let introduced_alike = |a: usize, b: usize| {
        let (a, b) = (&old.locals[a], &new.locals[b]);
        match (old.before(a.start), new.before(b.start)) {
            (Some(a), Some(b)) => instructions[a] == Some(b),
            // Parameters.
            (None, None) => a.register == b.register,
            _ => false,
        }
    };
    for (name, olds) in &old_names {
        let Some(news) = new_names.get(name) else { continue };
        if olds.len() == 1 && news.len() == 1 {
            found[olds[0]] = Some(news[0]);
            taken[news[0]] = true;
            continue;
        }
        // Of several of one name those are the same that are introduced by the same instruction.
        for &a in olds {
            let same = news.iter().find(|&&b| !taken[b] && introduced_alike(a, b));
            if let Some(&b) = same {
                found[a] = Some(b);
                taken[b] = true;
            }
        }
        let left: Vec<usize> = olds.iter().copied().filter(|&a| found[a].is_none()).collect();
        let free: Vec<usize> = news.iter().copied().filter(|&b| !taken[b]).collect();
        if olds.len() == news.len() && left.len() == free.len() {
            for (a, b) in left.into_iter().zip(free) {
                found[a] = Some(b);
                taken[b] = true;
            }
        }
    }
    // Renamed: a name that is nowhere in the new text and one that was nowhere in the old.
    for (a, found) in found.iter_mut().enumerate() {
        if found.is_some() || new_names.contains_key(&old.locals[a].name) {
            continue;
        }
        let renamed = (0..new.locals.len())
            .find(|&b| !taken[b] && !old_names.contains_key(&new.locals[b].name) && introduced_alike(a, b));
        if let Some(b) = renamed {
            *found = Some(b);
            taken[b] = true;
        }
    }
    found
}

/// The longest common subsequence: for each of `a` its counterpart in `b`.
fn common(a: &[u64], b: &[u64]) -> Vec<Option<usize>> {
    let mut found = vec![None; a.len()];
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = a.len().min(b.len()) - head;
    let tail = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    for (i, found) in found.iter_mut().enumerate().take(head) {
        *found = Some(i);
    }
    for i in 0..tail {
        found[a.len() - 1 - i] = Some(b.len() - 1 - i);
    }
    let (inner_a, inner_b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let (rows, columns) = (inner_a.len(), inner_b.len());
    if rows == 0 || columns == 0 || rows * columns > MOST_PAIRS {
        return found;
    }
    // Of the longest ones, that with the most neighbours that stay neighbours: what comes with a statement that is
    // there twice tells which one it is. The best of what is behind i and j counts `pair` for each pair, which is
    // more than all neighbours together; `joined` is the best that begins with the pair of i and j itself.
    let width = columns + 1;
    let pair = rows.min(columns) as u32 + 1;
    let mut steps = vec![Step::default(); rows * columns];
    let (mut best, mut joined) = (vec![0u32; width], vec![0u32; width]);
    for i in (0..rows).rev() {
        let (below, joined_below) = (best.clone(), joined.clone());
        for j in (0..columns).rev() {
            let step = &mut steps[i * columns + j];
            joined[j] = 0;
            if inner_a[i] == inner_b[j] {
                step.goes_on = joined_below[j + 1] > 0 && joined_below[j + 1] + 1 >= below[j + 1];
                joined[j] = pair + below[j + 1].max(if step.goes_on { joined_below[j + 1] + 1 } else { 0 });
            }
            step.skips_a = below[j] >= best[j + 1];
            best[j] = joined[j].max(below[j]).max(best[j + 1]);
            step.matches = joined[j] > 0 && joined[j] == best[j];
        }
    }
    let (mut i, mut j, mut goes_on) = (0, 0, false);
    while i < rows && j < columns {
        let step = steps[i * columns + j];
        if step.matches || goes_on {
            found[head + i] = Some(head + j);
            goes_on = step.goes_on;
            i += 1;
            j += 1;
        } else if step.skips_a {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

/// What to do at a pair of places in two texts.
#[derive(Clone, Copy, Default)]
struct Step {
    /// They are a pair.
    matches: bool,
    /// If they are, so are the two behind them.
    goes_on: bool,
    /// If they are not, the first text's is left out, else the second one's.
    skips_a: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_or_deleted_does_not_shift_the_rest() {
        assert_eq!(common(&[1, 2, 3], &[1, 2, 3]), [Some(0), Some(1), Some(2)]);
        assert_eq!(common(&[1, 2, 3], &[1, 9, 2, 3]), [Some(0), Some(2), Some(3)]);
        assert_eq!(common(&[1, 2, 3, 4], &[1, 4]), [Some(0), None, None, Some(1)]);
        assert_eq!(common(&[1, 5, 2, 6, 3], &[7, 5, 8, 6, 9]), [None, Some(1), None, Some(3), None]);
        assert_eq!(common(&[], &[1]), []);
        assert_eq!(common(&[1, 1], &[1]), [Some(0), None]);
    }

    #[test]
    fn what_is_there_twice_is_the_one_among_its_neighbours() {
        // 1 2 is what it was, where 3 follows; an equal 1 2 was added above it.
        let old = [9, 1, 2, 3, 4, 8];
        let new = [7, 1, 2, 5, 6, 1, 2, 3, 4, 7];
        assert_eq!(common(&old, &new), [None, Some(5), Some(6), Some(7), Some(8), None]);
        let (old, new) = (new, old);
        let back = [None, None, None, None, None, Some(1), Some(2), Some(3), Some(4), None];
        assert_eq!(common(&old, &new), back);
    }

    #[test]
    fn as_many_are_found_as_there_can_be() {
        // Against the plain recursion, for all short texts of three words.
        fn length(a: &[u64], b: &[u64]) -> usize {
            match (a.split_first(), b.split_first()) {
                (Some((x, a_rest)), Some((y, b_rest))) if x == y => 1 + length(a_rest, b_rest),
                (Some((_, a_rest)), Some((_, b_rest))) => length(a_rest, b).max(length(a, b_rest)),
                _ => 0,
            }
        }
        let texts: Vec<Vec<u64>> =
            (0..3u64.pow(5)).map(|n| (0..5).map(|place| n / 3u64.pow(place) % 3).collect()).collect();
        for a in &texts {
            for b in texts.iter().step_by(7) {
                let found = common(a, b);
                assert_eq!(found.iter().flatten().count(), length(a, b), "{a:?} {b:?}");
                let pairs: Vec<(usize, usize)> =
                    found.iter().enumerate().filter_map(|(i, j)| Some((i, (*j)?))).collect();
                assert!(pairs.iter().all(|&(i, j)| a[i] == b[j]), "{a:?} {b:?}");
                assert!(pairs.windows(2).all(|two| two[0].1 < two[1].1), "{a:?} {b:?}");
            }
        }
    }
}
