//! Frame times and what scripts do with their budget.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{RenderDirection, Sparkline, SparklineBar, Widget},
};

use super::{Theme, meter::meter, text::short};
use crate::{app::App, frame_times::milliseconds, snapshot::Budget};

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let gc = app.snapshot().load.gc.as_secs_f64() * 1e3;
    let inside = super::frame(buffer, area, format!(" frame time, ms (gc {}) ", short(gc)), theme);
    let rows = [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1), Constraint::Length(1)];
    let [times, curve, budget, rates] = inside.layout(&Layout::vertical(rows));
    draw_times(buffer, times, app, theme);
    draw_curve(buffer, curve, app, theme);
    draw_budget(buffer, budget, app.snapshot().budget, theme);
    draw_rates(buffer, rates, app, theme);
}

fn draw_times(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let times = app.frame_times();
    let number = |duration: std::time::Duration| short(duration.as_secs_f64() * 1e3);
    let figures = [("last", times.last()), ("mean", times.recent_mean()), ("max", times.recent_max())];
    let mut line = Line::default();
    for (name, duration) in figures {
        line.push_span(Span::styled(format!("{name} "), theme.faint()));
        line.push_span(Span::styled(format!("{:<5}", number(duration)), theme.strong()));
    }
    line.render(area, buffer);
}

/// The last frames, newest on the right. Those over the budget stand out.
fn draw_curve(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let limit = app.snapshot().budget.map(|budget| budget.limit);
    // A full row is a tenth of a millisecond at least, so that a quiet world draws a quiet curve.
    let micros =
        |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(1 << 32);
    let highest = app.frame_times().history().rev().take(area.width.into()).map(micros).max();
    let bars = app.frame_times().history().rev().take(area.width.into()).map(|duration| {
        let over = limit.is_some_and(|limit| duration > limit);
        let style = if over { theme.bad() } else { theme.accent() };
        SparklineBar::from(micros(duration)).style(style)
    });
    Sparkline::default()
        .direction(RenderDirection::RightToLeft)
        .max(highest.unwrap_or_default().max(100))
        .data(bars)
        .render(area, buffer);
}

fn draw_budget(buffer: &mut Buffer, area: Rect, budget: Option<Budget>, theme: Theme) {
    let Some(Budget { limit, used }) = budget else {
        return Line::styled("no budget in wall time", theme.faint()).render(area, buffer);
    };
    let fraction = if limit.is_zero() { 1.0 } else { used.as_secs_f64() / limit.as_secs_f64() };
    let style = match fraction {
        f if f < 0.7 => theme.good(),
        f if f < 1.0 => theme.warning(),
        _ => theme.bad(),
    };
    let figures = format!(" {:.0}% of {}", (fraction * 100.0).min(999.0), milliseconds(limit));
    let room = usize::from(area.width).saturating_sub("budget ".len() + figures.len());
    let [filled, rest] = meter(room, fraction, style, theme);
    Line::from(vec![Span::styled("budget ", theme.faint()), filled, rest, Span::raw(figures)])
        .render(area, buffer);
}

fn draw_rates(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let rates = app.rates();
    let (slices, messages) =
        if area.width < 36 { ("slices  ", "msg/s") } else { ("slices/frame  ", "messages/s") };
    let mut line = Line::default();
    let interrupted = app.snapshot().load.interrupted;
    if interrupted > 0 {
        let word = if area.width < 48 { "cut" } else { "interrupted" };
        let number = if interrupted < 10_000 { interrupted.to_string() } else { short(interrupted as f64) };
        line.push_span(Span::styled(format!("{number} {word}  "), theme.warning()));
    }
    line.extend([
        Span::styled(format!("{} ", short(rates.slices_per_frame)), theme.strong()),
        Span::styled(slices, theme.faint()),
        Span::styled(format!("{} ", short(rates.messages_per_second)), theme.strong()),
        Span::styled(messages, theme.faint()),
    ]);
    line.render(area, buffer);
}
