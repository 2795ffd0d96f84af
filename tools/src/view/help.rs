//! The keys.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Rect},
    text::{Line, Span},
    widgets::{Clear, Widget},
};

use super::Theme;

const KEYS: [(&str, &str); 11] = [
    ("space p", "pause, go on"),
    (". n", "one tick"),
    ("+ -", "speed, from 0.25x to 8x"),
    ("f F", "follow the next creature, the one before"),
    ("tab", "follow the first of the next behaviour"),
    ("arrows", "follow the nearest that way"),
    ("e r", "errors, reloads: the newest, then older ones"),
    ("t", "stuck tasklets: y retry, s restart, k kill"),
    ("esc", "close, stop following"),
    ("? h", "these keys"),
    ("q ctrl-c", "quit"),
];

pub(super) fn draw(buffer: &mut Buffer, area: Rect, theme: Theme) {
    let around = area.centered(Constraint::Length(60), Constraint::Length(KEYS.len() as u16 + 3));
    Clear.render(around, buffer);
    let inside = super::frame(buffer, around, " keys ", theme);
    let keys = KEYS.map(|(key, meaning)| {
        Line::from(vec![Span::styled(format!(" {key:<9} "), theme.accent()), Span::raw(meaning)])
    });
    let hint = Line::styled(" Save a script and watch its creatures change.", theme.faint());
    super::lines(buffer, inside, keys.into_iter().chain([hint]));
}
