//! Rules that docs and comments cite by numbers are in `scripting/SEMANTICS.md`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// What a citation begins with; whatever case the letters have.
const NAME: &str = "semantics.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// All texts of the workspace that may cite rules.
fn texts() -> Vec<PathBuf> {
    let (mut texts, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if [".rs", ".md", ".luau"].iter().any(|end| name.ends_with(end)) {
                texts.push(path);
            }
        }
    }
    texts
}

/// The number that a text begins with, `8`, `2b` or `2.6`, and what follows it.
fn number(text: &str) -> Option<(&str, &str)> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let mut end = digits(text);
    if end == 0 {
        return None;
    }
    match text[end..].strip_prefix('.').map(digits) {
        Some(more) if more > 0 => end += 1 + more,
        _ if text[end..].starts_with(|c: char| c.is_ascii_lowercase()) => end += 1,
        _ => {}
    }
    (!text[end..].starts_with(char::is_alphanumeric)).then(|| text.split_at(end))
}

/// The numbers in a range: its ends, and those between two of whole numbers or of one section.
fn range(first: &str, last: &str) -> Vec<String> {
    let parts = |number: &str| {
        let (section, rule) = number.rsplit_once('.').unwrap_or(("", number));
        rule.parse::<u32>().ok().map(|rule| (section.to_owned(), rule))
    };
    match (parts(first), parts(last)) {
        (Some((section, from)), Some((other, to))) if section == other => {
            let dot = if section.is_empty() { "" } else { "." };
            (from..=to).map(|rule| format!("{section}{dot}{rule}")).collect()
        }
        _ => vec![first.to_owned(), last.to_owned()],
    }
}

/// The numbers that a text cites, ranges with all that is in them: `semantics.md` 2.18, 10.3, or 2.4 to 2.6.
fn citations(text: &str) -> Vec<String> {
    // A comment may break its lines within a citation.
    let words = text.lines().map(|line| line.trim().trim_start_matches(['/', '!', '-', '*', ' ']));
    let text = words.collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let mut cited: Vec<String> = Vec::new();
    for rest in text.split(NAME).skip(1) {
        let mut rest = rest.trim_start_matches('`').trim_start();
        rest = rest.strip_prefix("sections").or(rest.strip_prefix("section")).unwrap_or(rest).trim_start();
        let mut ranges = false;
        while let Some((next, behind)) = number(rest) {
            match cited.last() {
                Some(first) if ranges => cited.extend(range(first, next)),
                _ => cited.push(next.to_owned()),
            }
            let joins = [" to ", "-", "–", ", ", " and "];
            let Some(join) = joins.into_iter().find(|&join| behind.starts_with(join)) else { break };
            ranges = joins[..3].contains(&join);
            rest = &behind[join.len()..];
        }
    }
    cited
}

/// The numbers that have an entry: paragraphs that begin with one in bold, and headings.
fn entries(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| {
        let begin = line.strip_prefix("**").or(line.trim_start_matches('#').strip_prefix(' '))?;
        let (number, behind) = number(begin)?;
        behind.starts_with(['*', '.']).then(|| number.to_owned())
    });
    lines.collect()
}

#[test]
fn every_rule_that_is_cited_has_an_entry() {
    let rules = std::fs::read_to_string(root().join("scripting/SEMANTICS.md")).expect("the rules");
    let rules = entries(&rules.to_ascii_lowercase());
    let known: HashSet<&String> = rules.iter().collect();
    assert_eq!(known.len(), rules.len(), "a rule is there twice");
    let (mut found, mut missing) = (0, Vec::new());
    for path in texts() {
        let text = std::fs::read_to_string(&path).expect("a text");
        let cited = citations(&text);
        found += cited.len();
        let unknown = cited.iter().filter(|&number| !known.contains(number));
        let file = path.strip_prefix(root()).expect("in the workspace");
        missing.extend(unknown.map(|number| format!("{} cites {number}", file.display())));
    }
    assert!(found > 0, "nobody cites a rule: the search is wrong");
    assert!(missing.is_empty(), "not in scripting/SEMANTICS.md: {missing:#?}");
}

#[test]
fn citations_are_read_as_people_write_them() {
    for (text, numbers) in [
        ("(`semantics.md` 2.18, 10.3)", "2.18 10.3"),
        ("`semantics.md` 2.4 to 2.6, for both", "2.4 2.4 2.5 2.6"),
        ("`semantics.md` 5.1-5.3: clock", "5.1 5.1 5.2 5.3"),
        ("`SEMANTICS.md` sections 0 to 2.", "0 0 1 2"),
        ("after `semantics.md` 5E, 5F", "5e 5f"),
        ("`semantics.md` 5.26.", "5.26"),
        ("(`semantics.md`\n    /// 5.23)", "5.23"),
        ("those of `semantics.md`. Those of 2 hosts", ""),
        ("`semantics.md` 8, each in Luau and 3 in Rust", "8"),
    ] {
        assert_eq!(citations(text).join(" "), numbers, "{text}");
    }
    assert_eq!(
        entries("# 2. channels\n## 2b. sending\n**2.4** a **2.5** b\n5.1 to\n10 ms"),
        ["2", "2b", "2.4"]
    );
}
