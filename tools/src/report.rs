//! The words in which reloads and errors are told, in the terminal and in text alike.

use crate::journal::{Fate, Reload, ScriptError};

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
    let fate = match error.fate {
        _ if error.mended => "mended",
        Fate::Failed => "failed",
        Fate::Parked => "parked",
    };
    let mut first = String::from(fate);
    match (&error.place, &error.tasklet) {
        (Some(place), _) => first += &format!("  {place}"),
        (None, Some(tasklet)) => first += &format!("  {tasklet}"),
        (None, None) => {}
    }
    first += &match error.count {
        1 => "   1 tasklet".to_string(),
        count => format!("   {count} tasklets"),
    };
    if let Some((entity, name)) = &error.entity {
        let also = if error.count > 1 { "first: " } else { "" };
        first += &format!(" ({also}entity {entity}, \"{name}\")");
    }

    let mut lines = vec![line(if error.mended { Tone::Faint } else { Tone::Bad }, first)];
    lines.extend(error.message.lines().map(|text| line(Tone::Text, format!("  {text}"))));
    let failing = error.place.as_ref().map(|place| place.line);
    for source in &error.excerpt {
        let marked = failing == Some(source.number);
        let (mark, tone) = if marked { ('>', Tone::Marked) } else { (' ', Tone::Faint) };
        // The editor's tabs would end up at other stops here.
        let text = source.text.replace('\t', "    ");
        lines.push(line(tone, format!("  {mark} {:>4} | {text}", source.number)));
    }
    lines.extend(error.traceback.iter().map(|text| line(Tone::Faint, format!("    {text}"))));
    lines.extend(error.notes.iter().map(|text| line(Tone::Text, format!("  {text}"))));
    lines
}

/// `text` on one line and without control characters: what a script says must not steer the terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{journal::SourceLine, sample};

    fn text(lines: Vec<ReportLine>) -> String {
        lines.into_iter().map(|line| line.text + "\n").collect()
    }

    #[test]
    fn a_reload_reads_as_hot_reload_4_has_it() {
        let report = reload(&Reload {
            title: "guard.luau #3 -> #4, ai/util.luau #7 -> #8".into(),
            refused: false,
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
    fn what_a_script_says_cannot_steer_the_terminal() {
        let mut evil = sample::error("hunter.luau", 27);
        evil.message = "\u{1b}[2Jgone\u{7}".into();
        evil.excerpt = vec![SourceLine { number: 27, text: "\tif x \u{1b}]0;title\u{7}".into() }];
        assert!(!error(&evil).iter().any(|line| line.text.contains(char::is_control)));
    }
}
