//! What the director announces and what scripts print: the newest at the foot.

use std::collections::VecDeque;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    Theme,
    text::{fit, wrap},
};
use crate::{app::App, journal::Stamped, report::printable};

/// The width of the sim time before each text.
const TIME: usize = 7;

pub(super) fn director(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let inside = super::frame(buffer, area, " director ", theme);
    newest(buffer, inside, app.journal().announcements(), theme.text(), theme);
}

pub(super) fn log(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let inside = super::frame(buffer, area, " log ", theme);
    newest(buffer, inside, app.journal().log_lines(), theme.faint(), theme);
}

fn newest(buffer: &mut Buffer, area: Rect, news: &VecDeque<Stamped<String>>, style: Style, theme: Theme) {
    let room = usize::from(area.width).saturating_sub(TIME);
    let mut rows = Vec::new();
    for entry in news.iter().rev() {
        if rows.len() >= area.height.into() {
            break;
        }
        let time = format!("{:>1$.1} ", entry.stamp.sim_time, TIME - 1);
        let texts = wrap(&printable(&entry.what), room, area.height.into());
        // From the foot up; the time stands beside the first row only.
        for (row, text) in texts.into_iter().enumerate().rev() {
            let time = if row == 0 { fit(&time, TIME) } else { " ".repeat(TIME) };
            rows.push(Line::from(vec![Span::styled(time, theme.faint()), Span::styled(text, style)]));
        }
    }
    rows.truncate(area.height.into());
    super::lines(buffer, area, rows.into_iter().rev());
}
