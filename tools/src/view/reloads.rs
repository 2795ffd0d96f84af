//! The last reloads and what they did.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Widget, Wrap},
};

use super::Theme;
use crate::{
    app::{App, Focus},
    frame_times::milliseconds,
    journal::{Reload, Stamped},
    report::{self, Tone, printable},
};

/// Below this width of a panel the reason of a refusal stands before what was refused.
const NARROW: u16 = 40;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let reloads = app.journal().reloads();
    let chosen = reloads.iter().rposition(|reload| app.focus() == Some(Focus::Reload(reload.stamp.number)));
    let title = match chosen {
        Some(index) => format!(" reload {} of {} ", index + 1, reloads.len()),
        None => " reloads ".into(),
    };
    let inside = super::frame(buffer, area, title, theme);
    if reloads.is_empty() {
        return super::lines(buffer, inside, [Line::styled("save a script, see it change", theme.faint())]);
    }
    let shown: Vec<Line> = match chosen {
        Some(index) => lines(&reloads[index], inside.width, theme),
        // Newest first, each with its details, to the foot of the panel.
        None => {
            let newest = reloads.iter().rev().flat_map(|reload| lines(reload, inside.width, theme));
            newest.take(inside.height.into()).collect()
        }
    };
    Paragraph::new(shown).wrap(Wrap { trim: false }).render(inside, buffer);
}

fn lines(reload: &Stamped<Reload>, width: u16, theme: Theme) -> Vec<Line<'static>> {
    let mut lines: Vec<Line> = report::reload(&reload.what)
        .into_iter()
        .map(|line| Line::styled(line.text, theme.tone(line.tone)))
        .collect();
    if reload.what.refused
        && width < NARROW
        && let Some(reason) = reload.what.details.first()
    {
        // Its code can wait: where and why come first, since a low panel has room for little else.
        let (code, reason) = reason.split_once("  ").unwrap_or(("", reason));
        let style = theme.tone(Tone::Bad);
        lines.splice(
            ..2,
            [
                Line::styled(printable(&format!("refused  {reason}")), style),
                Line::styled(printable(&format!("  {}  {code}", reload.what.title)), theme.tone(Tone::Text)),
            ],
        );
    }
    if let (Some(first), Some(took)) = (lines.first_mut(), reload.what.took) {
        let took = milliseconds(took);
        // At the right edge where there is room.
        let gap = usize::from(width).saturating_sub(first.width() + took.len());
        if gap >= 2 {
            first.push_span(Span::raw(" ".repeat(gap)));
            first.push_span(Span::styled(took, theme.faint()));
        }
    }
    lines
}
