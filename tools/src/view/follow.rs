//! The followed entity: its script, where its tasklet waits, its state and components.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{Theme, meter::meter, text::fit};
use crate::{
    app::App,
    report::printable,
    snapshot::{EntityId, Entry, Followed, TaskletState},
};

/// How far keys are indented at most: a table may be nested deeper than a panel is wide.
const DEEPEST: usize = 8;

/// The rows that the panel could use. In steps, so that a state table that grows and shrinks doesn't shake the others.
pub(super) fn rows(app: &App) -> u16 {
    let entries = app
        .snapshot()
        .followed
        .as_ref()
        .map_or(0, |followed| followed.state.len().saturating_add(followed.components.len()));
    // The frame, four rows about it, two headings.
    let rows = entries.saturating_add(8).min(60) as u16;
    rows.next_multiple_of(4)
}

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let Some(entity) = app.follow() else { return };
    let followed = app.snapshot().followed.as_ref().filter(|followed| followed.entity == entity);
    let Some(followed) = followed else { return draw_gone(buffer, area, entity, theme) };

    let room = usize::from(area.width.saturating_sub(6));
    let title = Line::from(vec![
        Span::raw(format!(" {} ", fit(&printable(&followed.name), room.saturating_sub(12)))),
        Span::styled(format!("{entity} "), theme.faint()),
    ]);
    let inside = super::frame(buffer, area, title, theme);
    let width = usize::from(inside.width);
    let health = app
        .snapshot()
        .creatures
        .iter()
        .find(|creature| creature.entity == entity)
        .and_then(|creature| creature.health);
    let mut shown = about(followed, health, width, theme);

    // State and components share what is left; neither may take the other's half. Too little is the state's alone.
    let left = usize::from(inside.height).saturating_sub(shown.len());
    let needs = |entries: &[Entry]| if entries.is_empty() { 0 } else { entries.len() + 1 };
    let state = match needs(&followed.components) {
        _ if left < 6 => left,
        components => needs(&followed.state).min(left - components.min(left / 2)),
    };
    shown.extend(section("state", &followed.state, state, width, theme));
    shown.extend(section("components", &followed.components, left - state, width, theme));
    super::lines(buffer, inside, shown);
}

fn draw_gone(buffer: &mut Buffer, area: Rect, entity: EntityId, theme: Theme) {
    let inside = super::frame(buffer, area, format!(" {entity} "), theme);
    super::lines(
        buffer,
        inside,
        [
            Line::styled("is gone", theme.warning()),
            Line::styled("f follows the next, esc none", theme.faint()),
        ],
    );
}

fn about(followed: &Followed, health: Option<f32>, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let text = |text: &str| fit(&printable(text), width.saturating_sub(2));
    let mut lines = vec![Line::styled(text(&followed.script), theme.text())];
    let mark = if followed.tasklet == Some(TaskletState::Failed) { "✗ " } else { "● " };
    let style = followed.tasklet.map_or(theme.faint(), |state| theme.tasklet(state));
    lines.push(Line::from(vec![
        Span::styled(mark, style),
        Span::styled(text(&followed.status), theme.strong()),
    ]));
    if let Some(place) = &followed.waits_at {
        lines.push(Line::from(vec![
            Span::styled("at ", theme.faint()),
            Span::styled(fit(&printable(&place.to_string()), width.saturating_sub(3)), theme.accent()),
        ]));
    }
    if let Some(health) = health {
        let style = match health {
            h if h > 0.5 => theme.good(),
            h if h > 0.2 => theme.warning(),
            _ => theme.bad(),
        };
        let figures = format!(" {:.0}%", f64::from(health.clamp(-9.99, 9.99)) * 100.0);
        let room = width.saturating_sub("health ".len() + figures.len()).min(24);
        let [filled, rest] = meter(room, health.into(), style, theme);
        lines.push(Line::from(vec![
            Span::styled("health ", theme.faint()),
            filled,
            rest,
            Span::raw(figures),
        ]));
    }
    lines
}

/// A heading and the entries under it, in `rows` rows.
fn section(
    heading: &'static str,
    entries: &[Entry],
    rows: usize,
    width: usize,
    theme: Theme,
) -> Vec<Line<'static>> {
    if entries.is_empty() || rows < 2 {
        return Vec::new();
    }
    let mut lines = vec![Line::styled(heading, theme.faint())];
    let shown = if entries.len() < rows { entries.len() } else { rows - 2 };
    for entry in &entries[..shown] {
        let key = fit(&printable(&entry.key), width / 2);
        let key = format!("{:indent$}{key} ", "", indent = 2 + 2 * entry.depth.min(DEEPEST));
        let room = width.saturating_sub(super::text::width(&key).max(14));
        // Values begin in one column where keys are short enough.
        let pad = 14_usize.saturating_sub(super::text::width(&key));
        lines.push(Line::from(vec![
            Span::styled(key + &" ".repeat(pad), theme.text()),
            Span::styled(fit(&printable(&entry.value), room), theme.strong()),
        ]));
    }
    if shown < entries.len() {
        lines.push(Line::styled(format!("  … {} more", entries.len() - shown), theme.faint()));
    }
    lines
}
