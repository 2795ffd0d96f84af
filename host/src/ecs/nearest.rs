//! Names in messages: the nearest existing one to one that does not exist, lists of them, long ones.

pub(crate) use bluetick_scripting::did_you_mean;

/// A longer name is shortened in messages.
const LONGEST: usize = 48;

/// `name` as it goes into a message: whole if it is short.
pub(crate) fn shorten(name: &str) -> String {
    match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    }
}

/// `a, b and c`.
pub(crate) fn enumerate<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 24;
    let mut names: Vec<&str> = names.into_iter().take(MOST + 1).collect();
    let more = names.len() > MOST;
    names.truncate(MOST);
    match names.split_last() {
        None => "nothing".to_owned(),
        Some(_) if more => names.join(", ") + " and more",
        Some((only, [])) => (*only).to_owned(),
        Some((last, rest)) => rest.join(", ") + " and " + last,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumerates_in_prose() {
        assert_eq!(enumerate([]), "nothing");
        assert_eq!(enumerate(["a"]), "a");
        assert_eq!(enumerate(["a", "b", "c"]), "a, b and c");
    }
}
