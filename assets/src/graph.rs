//! Who requires whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::AssetName;

type Edges = BTreeMap<AssetName, BTreeSet<AssetName>>;

/// The requires between scripts. Ordered containers make every answer the same in every run.
#[derive(Default)]
pub(crate) struct Graph {
    requires: Edges,
    required_by: Edges,
}

impl Graph {
    /// Adds one require to those known of `name`.
    pub fn depends(&mut self, name: AssetName, on: AssetName) {
        self.required_by.entry(on.clone()).or_default().insert(name.clone());
        self.requires.entry(name).or_default().insert(on);
    }

    /// Replaces all requires known of `name`.
    pub fn record(&mut self, name: AssetName, on: impl IntoIterator<Item = AssetName>) {
        for old in self.requires.remove(&name).unwrap_or_default() {
            if let Some(requiring) = self.required_by.get_mut(&old) {
                requiring.remove(&name);
            }
        }
        for on in on {
            self.depends(name.clone(), on);
        }
    }

    /// What `name` itself requires, by name.
    pub fn dependencies(&self, name: &str) -> Vec<AssetName> {
        self.requires.get(name).into_iter().flatten().cloned().collect()
    }

    /// `names` and all that require them, however far around, each after what it requires.
    pub fn affected(&self, names: impl IntoIterator<Item = AssetName>) -> Vec<AssetName> {
        let mut waiting = BTreeSet::new();
        let mut found: Vec<AssetName> = names.into_iter().collect();
        while let Some(name) = found.pop() {
            if waiting.insert(name.clone()) {
                found.extend(self.required_by.get(&name).into_iter().flatten().cloned());
            }
        }

        // How many of the others each still waits for.
        let mut missing: BTreeMap<AssetName, usize> = waiting
            .iter()
            .map(|name| {
                let requires = self.requires.get(name).into_iter().flatten();
                (name.clone(), requires.filter(|on| *on != name && waiting.contains(*on)).count())
            })
            .collect();
        let mut ready: BTreeSet<AssetName> =
            missing.iter().filter(|(_, count)| **count == 0).map(|(name, _)| name.clone()).collect();
        let mut order = Vec::with_capacity(waiting.len());
        // A cycle has no right order, and the VM refuses it; here it must only not be lost or loop for ever.
        while let Some(name) = ready.pop_first().or_else(|| waiting.first().cloned()) {
            waiting.remove(&name);
            for requiring in self.required_by.get(&name).into_iter().flatten() {
                if let Some(count) = missing.get_mut(requiring)
                    && *requiring != name
                {
                    *count = count.saturating_sub(1);
                    if *count == 0 && waiting.contains(requiring) {
                        ready.insert(requiring.clone());
                    }
                }
            }
            order.push(name);
        }
        order
    }

    /// All that require `name`, however far around, each after what it requires.
    pub fn dependents(&self, name: &str) -> Vec<AssetName> {
        let mut affected = self.affected([AssetName::from(name)]);
        affected.retain(|other| other != name);
        affected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (name, on) in edges {
            graph.depends((*name).into(), (*on).into());
        }
        graph
    }

    #[test]
    fn dependents_are_transitive_and_come_after_what_they_require() {
        let graph = graph(&[("a", "util"), ("z", "util"), ("a", "z"), ("boss", "a"), ("shop", "coins")]);
        assert_eq!(graph.dependents("util"), ["z", "a", "boss"]);
        assert_eq!(graph.dependents("coins"), ["shop"]);
        assert!(graph.dependents("boss").is_empty());
        assert!(graph.dependents("unheard of").is_empty());
        assert_eq!(graph.dependencies("a"), ["util", "z"]);
    }

    #[test]
    fn a_batch_is_ordered_as_a_whole() {
        let graph = graph(&[("a", "z"), ("boss", "a")]);
        assert_eq!(graph.affected(["a".into(), "z".into()]), ["z", "a", "boss"]);
    }

    #[test]
    fn recording_replaces_what_was_known() {
        let mut graph = graph(&[("a", "x"), ("a", "y")]);
        graph.record("a".into(), ["y".into(), "z".into()]);
        assert_eq!(graph.dependencies("a"), ["y", "z"]);
        assert!(graph.dependents("x").is_empty());
        assert_eq!(graph.dependents("z"), ["a"]);
    }

    #[test]
    fn a_cycle_is_given_once_in_an_order_that_does_not_vary() {
        let graph = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a"), ("e", "e")]);
        assert_eq!(graph.dependents("a"), ["c", "b", "d"]);
        assert!(graph.dependents("e").is_empty());
    }

    proptest! {
        #[test]
        fn without_cycles_every_module_follows_all_that_it_requires(
            edges in prop::collection::vec((0u8..12, 0u8..12), 0..40), start in 0u8..12
        ) {
            let name = |number: u8| AssetName::from(format!("m{number:02}"));
            let mut graph = Graph::default();
            // A larger number requires a smaller one, so there is no cycle; mixed so that names give no hint.
            for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
                graph.depends(name(a.max(b) * 5 % 12), name(a.min(b) * 5 % 12));
            }
            let order = graph.affected([name(start)]);
            for (place, module) in order.iter().enumerate() {
                for on in graph.dependencies(module) {
                    prop_assert!(!order[place..].contains(&on), "{} before {}", module, on);
                }
            }
        }
    }
}
