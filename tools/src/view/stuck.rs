//! Tasklets that need somebody: parked ones, and those that finish on old text.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Widget, Wrap},
};

use super::{Theme, text::fit};
use crate::{
    app::{App, Focus},
    report::{self, Tone, printable},
    snapshot::StuckGroup,
};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let groups = &app.snapshot().stuck;
    let chosen = groups.iter().position(|group| app.focus() == Some(Focus::Stuck(group.number)));
    let tasklets: usize = groups.iter().map(|group| group.count).sum();
    let title = match chosen {
        Some(index) => format!(" stuck {} of {} ", index + 1, groups.len()),
        None if groups.is_empty() => " stuck ".into(),
        None => format!(" stuck {tasklets} "),
    };
    let inside = super::frame(buffer, area, title, theme);
    if groups.is_empty() {
        return super::lines(buffer, inside, [Line::styled("nobody any more", theme.faint())]);
    }
    let Some(group) = chosen.map(|index| &groups[index]) else {
        let rows = groups.iter().map(|group| short(group, inside.width, theme));
        return super::lines(buffer, inside, rows);
    };
    // What can be done stands at the foot, however long the rest is.
    let foot = Rect { y: inside.bottom().saturating_sub(1), height: inside.height.min(1), ..inside };
    let above = Rect { height: inside.height.saturating_sub(1), ..inside };
    let told = report::stuck(group).into_iter().map(|line| {
        let text = match line.tone {
            Tone::Marked | Tone::Faint => fit(&line.text, above.width.into()),
            Tone::Good | Tone::Bad | Tone::Text => line.text,
        };
        Line::styled(text, theme.tone(line.tone))
    });
    Paragraph::new(told.collect::<Vec<_>>()).wrap(Wrap { trim: false }).render(above, buffer);
    super::lines(buffer, foot, [keys(group, theme)]);
}

/// A group in one row.
fn short(group: &StuckGroup, width: u16, theme: Theme) -> Line<'static> {
    let (what, tone) = if group.parked { ("parked", Tone::Bad) } else { ("old", Tone::Text) };
    let text = format!("{what} {} x {}  {}", group.count, printable(&group.place), group.code);
    Line::styled(fit(&text, width.into()), theme.tone(tone))
}

fn keys(group: &StuckGroup, theme: Theme) -> Line<'static> {
    let mut keys = vec![("s", "restart"), ("k", "kill"), ("t", "next")];
    if group.parked {
        keys.insert(0, ("y", "retry"));
    }
    Line::from_iter(keys.into_iter().flat_map(|(key, meaning)| {
        [Span::styled(key, theme.accent()), Span::styled(format!(" {meaning}  "), theme.faint())]
    }))
}
