//! A bar in one row: heavy as far as it is filled, light from there.

use ratatui::{style::Style, text::Span};

use super::Theme;

/// A bar of `width` cells, filled from 0 to 1.
pub(super) fn meter(width: usize, fraction: f64, style: Style, theme: Theme) -> [Span<'static>; 2] {
    let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
    let mut filled = (width as f64 * fraction).round() as usize;
    // Something is more than nothing.
    if fraction > 0.0 {
        filled = filled.max(1.min(width));
    }
    [Span::styled("━".repeat(filled), style), Span::styled("─".repeat(width - filled), theme.faint())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_is_as_heavy_as_it_is_full() {
        let text =
            |fraction| meter(4, fraction, Style::new(), Theme::PLAIN).map(|span| span.content).concat();
        assert_eq!([0.0, 0.01, 0.5, 1.0, 7.0].map(text), ["────", "━───", "━━──", "━━━━", "━━━━"]);
        assert_eq!([-1.0, f64::NAN].map(text), ["────", "────"]);
        assert_eq!(text(f64::INFINITY), "━━━━");
    }
}
