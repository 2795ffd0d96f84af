//! Tasklets by state.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{Theme, meter::meter, text::short};
use crate::{app::App, snapshot::TaskletState};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let counts = app.snapshot().tasklets;
    let title = format!(" tasklets {} ", counts.total());
    let inside = super::frame(buffer, area, title, theme);
    if usize::from(inside.height) >= TaskletState::ALL.len() {
        let lines = TaskletState::ALL.map(|state| {
            let count = counts.of(state);
            let share = count as f64 / counts.total().max(1) as f64;
            let name = format!("{:<8} {count:>6} ", state.name());
            let style = theme.tasklet(state);
            let [filled, rest] =
                meter(usize::from(inside.width).saturating_sub(name.len() + 2), share, style, theme);
            Line::from(vec![mark(state, count, theme), Span::raw(name), filled, rest])
        });
        return super::lines(buffer, inside, lines);
    }
    let column = usize::from(inside.width) / 2;
    let lines = TaskletState::ALL.chunks(2).map(|states| {
        Line::from_iter(states.iter().flat_map(|&state| {
            let count = counts.of(state);
            let figures = format!("{} {}", state.name(), whole(count));
            [mark(state, count, theme), Span::raw(format!("{figures:<0$}", column.saturating_sub(2)))]
        }))
    });
    super::lines(buffer, inside, lines);
}

fn whole(count: usize) -> String {
    if count < 10_000 { count.to_string() } else { short(count as f64) }
}

/// The state's colour; a failed tasklet has a mark of its own, for those who see no colours.
fn mark(state: TaskletState, count: usize, theme: Theme) -> Span<'static> {
    match state {
        TaskletState::Failed if count == 0 => Span::styled("· ", theme.faint()),
        TaskletState::Failed => Span::styled("✗ ", theme.tasklet(state)),
        _ => Span::styled("● ", theme.tasklet(state)),
    }
}
