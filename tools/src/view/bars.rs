//! The first and the last row: what plays, and what to press.

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Rect},
    text::{Line, Span},
    widgets::Widget,
};

use super::{
    Theme,
    layout::SMALLEST,
    text::{counted, fit, width},
};
use crate::app::App;

/// The scene, its clock and its errors.
pub(super) fn header(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let snapshot = app.snapshot();
    let room = usize::from(area.width);
    let left = Line::from(vec![
        Span::styled(" bluetick ", theme.accent()),
        Span::styled(format!(" {}", fit(&snapshot.scene, room / 4)), theme.strong()),
        Span::styled(format!("  seed {}", snapshot.seed), theme.faint()),
    ]);

    let state = match (app.is_paused(), app.is_behind()) {
        (true, _) => Span::styled("‖ paused", theme.warning().patch(theme.strong())),
        (false, false) => Span::styled(format!("▶ {}x", app.speed()), theme.good().patch(theme.strong())),
        (false, true) => Span::styled(format!("▶ {}x, too slow", app.speed()), theme.warning()),
    };
    // Slower than the player has asked for, because there is too much to do.
    let dilation = (snapshot.load.dilation < 0.9995)
        .then(|| Span::styled(format!("time {:.2}x", snapshot.load.dilation), theme.warning()));
    let errors = app.journal().open_errors();
    let refused = app.journal().refused();
    let stuck: usize = snapshot.stuck.iter().map(|group| group.count).sum();
    // The most important first: what doesn't fit is left out from the end.
    let parts = [
        Some(state),
        dilation,
        (errors > 0).then(|| Span::styled(counted(errors, "error"), theme.bad())),
        (refused > 0).then(|| Span::styled(format!("{refused} refused"), theme.bad())),
        (stuck > 0).then(|| Span::styled(format!("{stuck} stuck"), theme.warning())),
        Some(Span::styled(format!("{:.1} s", snapshot.sim_time), theme.text())),
        Some(Span::styled(format!("frame {}", snapshot.frame), theme.text())),
        Some(Span::styled(counted(snapshot.creatures.len(), "creature"), theme.faint())),
    ];
    let mut right = Line::default().alignment(Alignment::Right);
    let mut used = left.width() + 2;
    for part in parts.into_iter().flatten() {
        used += part.width() + 3;
        if used > room {
            break;
        }
        right.push_span(part);
        right.push_span("   ");
    }
    right.spans.pop();
    right.push_span(" ");
    left.render(area, buffer);
    right.render(area, buffer);
}

/// The keys, as many as fit.
pub(super) fn footer(buffer: &mut Buffer, area: Rect, theme: Theme) {
    let keys = [
        ("q", "quit"),
        ("?", "help"),
        ("space", "pause"),
        ("e", "errors"),
        ("t", "stuck"),
        ("r", "reloads"),
        ("f", "follow"),
        ("+-", "speed"),
        (".", "step"),
        ("tab", "next kind"),
        ("arrows", "follow that way"),
        ("esc", "back"),
    ];
    let mut line = Line::default();
    let mut used = 0;
    for (key, meaning) in keys {
        used += width(key) + width(meaning) + 4;
        if used > usize::from(area.width) {
            break;
        }
        line.push_span(Span::styled(format!(" {key}"), theme.accent()));
        line.push_span(Span::styled(format!(" {meaning}  "), theme.faint()));
    }
    line.render(area, buffer);
}

/// Says that there is too little room to draw in.
pub(super) fn too_small(buffer: &mut Buffer, area: Rect, theme: Theme) {
    let lines = [
        Line::styled("bluetick plays on, but", theme.text()),
        Line::styled(format!("needs {} x {} cells;", SMALLEST.0, SMALLEST.1), theme.strong()),
        Line::styled(format!("here are {} x {}.", area.width, area.height), theme.text()),
        Line::styled("q quits", theme.faint()),
    ];
    let top = area.height.saturating_sub(lines.len() as u16) / 2;
    let middle = Rect { y: area.y + top, height: area.height - top, ..area };
    super::lines(buffer, middle, lines.map(|line| line.alignment(Alignment::Center)));
}
