//! The words in which reloads and errors are told, in the terminal and in text alike.

use crate::{
    journal::{Fate, Reload, ScriptError, SourceLine},
    snapshot::StuckGroup,
};

/// What a line of a report is, for who can colour it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// The first line of good news.
    Good,
    /// The first line of bad news.
    Bad,
    /// What it is about.
    Text,
    /// The source line that failed.
    Marked,
    /// Its surroundings.
    Faint,
}

/// A line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportLine {
    /// What it is.
    pub tone: Tone,
    /// Its text, indented below the first line.
    pub text: String,
}

fn line(tone: Tone, text: impl AsRef<str>) -> ReportLine {
    ReportLine { tone, text: printable(text.as_ref()) }
}

/// The report of a reload. What it took is left out: that is the wall clock's.
pub fn reload(reload: &Reload) -> Vec<ReportLine> {
    let first = if reload.refused {
        line(Tone::Bad, format!("reload refused  {}", reload.title))
    } else {
        line(Tone::Good, format!("reload  {}", reload.title))
    };
    let details = reload.details.iter().map(|text| line(Tone::Text, format!("  {text}")));
    std::iter::once(first).chain(details).collect()
}

/// The report of an error: what and where, in whom, the source, the way there.
pub fn error(error: &ScriptError) -> Vec<ReportLine> {
    let mut first = String::from(error.fate.name());
    match (&error.place, &error.tasklet) {
        (Some(place), _) => first += &format!("  {place}"),
        (None, Some(tasklet)) => first += &format!("  {tasklet}"),
        (None, None) => {}
    }
    first += &match error.count {
        1 => "   1 tasklet".to_string(),
        // One that starts again by itself may have failed more than once.
        count if error.fate == Fate::Failed => format!("   {count} times"),
        count => format!("   {count} tasklets"),
    };
    if let Some((entity, name)) = &error.entity {
        let also = if error.count > 1 { "first: " } else { "" };
        first += &format!(" ({also}entity {entity}, \"{name}\")");
    }
    if let Some(code) = error.code {
        first += &format!("   {code}");
    }

    let mut lines = vec![line(if error.fate.is_open() { Tone::Bad } else { Tone::Faint }, first)];
    lines.extend(error.message.lines().map(|text| line(Tone::Text, format!("  {text}"))));
    let failing = error.place.as_ref().map(|place| place.line);
    lines.extend(excerpt(&error.excerpt, failing));
    lines.extend(error.traceback.iter().map(|text| line(Tone::Faint, format!("    {text}"))));
    lines.extend(error.notes.iter().map(|text| line(Tone::Text, format!("  {text}"))));
    lines
}

/// The report of tasklets that are stuck: what and where, how many, the source, what can be done.
pub fn stuck(group: &StuckGroup) -> Vec<ReportLine> {
    let (what, tone) = if group.parked { ("parked", Tone::Bad) } else { ("old", Tone::Text) };
    let whose = match group.count {
        1 => format!("1 tasklet ({})", group.first),
        count => format!("{count} tasklets (first: {})", group.first),
    };
    let mut lines = vec![line(tone, format!("{what}  {}   {whose}   {}", group.place, group.code))];
    lines.extend(group.message.lines().map(|text| line(Tone::Text, format!("  {text}"))));
    lines.extend(excerpt(&group.excerpt, Some(group.line)));
    lines.push(line(Tone::Text, format!("  {}", group.advice)));
    lines
}

/// Source, with a mark at one line.
fn excerpt(source: &[SourceLine], marked: Option<u32>) -> impl Iterator<Item = ReportLine> {
    source.iter().map(move |source| {
        let (mark, tone) =
            if marked == Some(source.number) { ('>', Tone::Marked) } else { (' ', Tone::Faint) };
        // The editor's tabs would end up at other stops here.
        let text = source.text.replace('\t', "    ");
        line(tone, format!("  {mark} {:>4} | {text}", source.number))
    })
}

/// `text` on one line and without control characters: what a script says must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn text(lines: Vec<ReportLine>) -> String {
        lines.into_iter().map(|line| line.text + "\n").collect()
    }

    #[test]
    fn a_reload_reads_as_hot_reload_4_has_it() {
        let report = reload(&Reload {
            title: "guard.luau #3 -> #4, ai/util.luau #7 -> #8".into(),
            refused: false,
            modules: vec![],
            held: vec![],
            details: vec!["212 tasklets moved, 1 parked".into(), "now    SPEED 5 -> 8".into()],
            took: None,
        });
        assert_eq!(
            text(report),
            "reload  guard.luau #3 -> #4, ai/util.luau #7 -> #8\n  212 tasklets moved, 1 parked\n  now    SPEED 5 -> 8\n"
        );
    }

    #[test]
    fn an_error_says_what_where_in_whom_and_shows_the_line() {
        assert_eq!(
            text(error(&sample::error("hunter.luau", 27))),
            concat!(
                "failed  hunter.luau:27 in chase   1 tasklet (entity 4v1, \"gate guard\")\n",
                "  attempt to index nil with 'x'\n",
                "      26 | function Hunter.chase(self, prey)\n",
                "  >   27 |     local d = dist(self.postion, prey)\n",
                "      28 |     if d < 2 then\n",
                "    hunter.luau:27 in chase\n",
                "    hunter.luau:12 in run\n",
            )
        );
    }

    #[test]
    fn a_parked_error_says_so_with_its_code_and_what_to_do() {
        let mut parked = sample::error("guard.luau", 27);
        (parked.fate, parked.code, parked.count) = (Fate::Parked, Some("RL201"), 10_000);
        parked.notes = vec!["it goes on from line 27 when guard.luau is saved again;  locals: hp=57".into()];
        let told = text(error(&parked));
        assert!(
            told.starts_with(
                "parked  guard.luau:27 in chase   10000 tasklets (first: entity 4v1, \"gate guard\")   RL201\n"
            ),
            "{told}"
        );
        assert!(
            told.ends_with("  it goes on from line 27 when guard.luau is saved again;  locals: hp=57\n"),
            "{told}"
        );
    }

    #[test]
    fn tasklets_on_old_text_are_told_with_that_text() {
        assert_eq!(
            text(stuck(&sample::stuck(7, false))),
            concat!(
                "old  guard.luau#3:21 in patrol   3 tasklets (first: guard of entity 4v1)   RL104\n",
                "  new local 'target' has no value at this wait\n",
                "      20 |     while true do\n",
                "  >   21 |         rest()\n",
                "      22 |     end\n",
                "  give it a constant ('local target = nil'), or restart guard.luau\n",
            )
        );
    }

    #[test]
    fn what_a_script_says_cannot_steer_the_terminal() {
        let mut evil = sample::error("hunter.luau", 27);
        evil.message = "\u{1b}[2Jgone\u{7}".into();
        evil.excerpt = vec![SourceLine { number: 27, text: "\tif x \u{1b}]0;title\u{7}".into() }];
        assert!(!error(&evil).iter().any(|line| line.text.contains(char::is_control)));
    }
}
