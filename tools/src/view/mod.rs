//! The picture: an [`App`] drawn into a terminal of any size.
//!
//! A panel a file. Each draws into the rectangle that `layout` gives it, shows the most important first, and cuts
//! what doesn't fit.

mod bars;
mod errors;
mod follow;
mod help;
mod layout;
mod map;
mod meter;
mod news;
mod reloads;
mod stats;
mod stuck;
mod tasklets;
mod text;
mod theme;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    text::Line,
    widgets::{Block, BorderType, Padding, Widget},
};

pub use self::theme::Theme;
use crate::app::App;

/// Draws all of it.
pub fn draw(frame: &mut Frame, app: &App, theme: Theme) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let Some(layout) = layout::Layout::of(area, &layout::Wants::of(app)) else {
        return bars::too_small(buffer, area, theme);
    };
    bars::header(buffer, layout.header, app, theme);
    map::draw(buffer, layout.map, app, theme);
    for (panel, area) in layout.panels {
        match panel {
            layout::Panel::Stats => stats::draw(buffer, area, app, theme),
            layout::Panel::Tasklets => tasklets::draw(buffer, area, app, theme),
            layout::Panel::Stuck => stuck::draw(buffer, area, app, theme),
            layout::Panel::Follow => follow::draw(buffer, area, app, theme),
            layout::Panel::Director => news::director(buffer, area, app, theme),
            layout::Panel::Log => news::log(buffer, area, app, theme),
            layout::Panel::Reloads => reloads::draw(buffer, area, app, theme),
            layout::Panel::Errors => errors::draw(buffer, area, app, theme),
        }
    }
    bars::footer(buffer, layout.footer, theme);
    if app.shows_help() {
        help::draw(buffer, area, theme);
    }
}

/// Draws the frame of a panel. Returns what is inside.
fn frame<'a>(buffer: &mut Buffer, area: Rect, title: impl Into<Line<'a>>, theme: Theme) -> Rect {
    // Air beside the border where there is some to give.
    let air = if area.width >= 36 { 1 } else { 0 };
    let block = block(title, theme).padding(Padding::horizontal(air));
    let inside = block.inner(area);
    block.render(area, buffer);
    inside
}

fn block<'a>(title: impl Into<Line<'a>>, theme: Theme) -> Block<'a> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(theme.faint())
        .title_style(theme.title())
        .title(title.into())
}

/// Draws lines from the top, and as many as there is room for.
fn lines<'a>(buffer: &mut Buffer, area: Rect, lines: impl IntoIterator<Item = Line<'a>>) {
    for (row, line) in area.rows().zip(lines) {
        line.render(row, buffer);
    }
}

#[cfg(test)]
mod tests;
