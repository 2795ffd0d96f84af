//! Errors of scripts, with their source.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Widget, Wrap},
};

use super::{Theme, text::fit};
use crate::{
    app::{App, Focus},
    journal::{ScriptError, Stamped},
    report::{self, Tone},
};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let errors = app.journal().errors();
    let chosen = errors.iter().rposition(|error| app.focus() == Some(Focus::Error(error.stamp.number)));
    let title = match (chosen, app.journal().open_errors()) {
        (Some(index), _) => format!(" error {} of {} ", index + 1, errors.len()),
        (None, 0) => " errors ".into(),
        (None, open) => format!(" errors {open} "),
    };
    let inside = super::frame(buffer, area, title, theme);
    if errors.is_empty() {
        return super::lines(buffer, inside, [Line::styled("none", theme.faint())]);
    }
    let shown: Vec<Line> = match chosen {
        Some(index) => lines(&errors[index], inside.width, theme),
        None => {
            // The ones to mend before those that are settled; newest first among each.
            let open = errors.iter().rev().filter(|error| error.what.fate.is_open());
            let settled = errors.iter().rev().filter(|error| !error.what.fate.is_open());
            open.chain(settled)
                .flat_map(|error| lines(error, inside.width, theme))
                .take(inside.height.into())
                .collect()
        }
    };
    Paragraph::new(shown).wrap(Wrap { trim: false }).render(inside, buffer);
}

fn lines(error: &Stamped<ScriptError>, width: u16, theme: Theme) -> Vec<Line<'static>> {
    let told = report::error(&error.what).into_iter();
    // Of a settled one the first lines are enough.
    let most = if error.what.fate.is_open() { usize::MAX } else { 2 };
    told.take(most)
        .map(|line| {
            let text = match line.tone {
                // Words are broken between rows; source is not.
                Tone::Marked | Tone::Faint => fit(&line.text, width.into()),
                Tone::Good | Tone::Bad | Tone::Text => line.text,
            };
            Line::styled(text, theme.tone(line.tone))
        })
        .collect()
}
