//! "Did you mean ...?": the nearest existing name to one that does not exist.

use strsim::damerau_levenshtein;

/// Names longer than this are not typing errors; comparing them would only cost time.
const LONGEST: usize = 48;

/// The name among `names` that `wanted` was most likely meant to be, if any is near enough.
///
/// Letter case does not count, a swap of two letters counts once, and about one letter in three may
/// be wrong.
fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wanted.is_empty() || wanted.len() > LONGEST {
        return None;
    }
    let limit = (wanted.chars().count() / 3).max(1);
    let lower = wanted.to_lowercase();
    names
        .into_iter()
        .filter(|name| name.len() <= LONGEST)
        .map(|name| (damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|&(distance, name)| distance <= limit && distance < name.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// ` (did you mean 'x'?)`, of the nearest of the names to one that there isn't; or nothing.
///
/// ```
/// use bluetick_scripting::did_you_mean;
///
/// assert_eq!(did_you_mean("prnit", ["pairs", "print"]), " (did you mean 'print'?)");
/// assert_eq!(did_you_mean("banana", ["pairs", "print"]), "");
/// ```
pub fn did_you_mean<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wanted, names).map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_swapped_a_missing_and_a_wrongly_cased_letter() {
        let names = ["current", "max", "Health"];
        assert_eq!(nearest("curernt", names), Some("current"));
        assert_eq!(nearest("curent", names), Some("current"));
        assert_eq!(nearest("health", names), Some("Health"));
        assert_eq!(nearest("mox", names), Some("max"));
    }

    #[test]
    fn is_silent_when_nothing_is_near() {
        assert_eq!(nearest("banana", ["current", "max"]), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest(&"a".repeat(1 << 20), ["a"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
