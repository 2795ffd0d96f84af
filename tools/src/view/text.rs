//! Texts made to fit.

use ratatui::{style::Style, text::Span};

/// The cells that `text` takes in a row.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// `text` in at most `room` cells, with `…` where it was cut.
pub(super) fn fit(text: &str, room: usize) -> String {
    // A cell takes a few bytes at most in any sensible text; a huge one is not measured to its end.
    let longest = room.saturating_mul(16).saturating_add(16);
    let start = &text[..text.floor_char_boundary(longest)];
    if start.len() == text.len() && width(text) <= room {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut left = room.saturating_sub(1);
    for grapheme in Span::raw(start).styled_graphemes(Style::new()) {
        match left.checked_sub(width(grapheme.symbol)) {
            Some(less) => left = less,
            None => break,
        }
        fitted.push_str(grapheme.symbol);
    }
    if room > 0 {
        fitted.push('…');
    }
    fitted
}

/// `text` broken between words into rows of `room` cells, `most` rows at most.
pub(super) fn wrap(text: &str, room: usize, most: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let word = fit(word, room);
        let more = width(&word);
        let last = rows.len() - 1;
        if used == 0 {
            used = more;
        } else if used + 1 + more <= room {
            rows[last].push(' ');
            used += 1 + more;
        } else if rows.len() < most {
            rows.push(String::new());
            used = more;
        } else {
            rows[last] = fit(&format!("{} {word}", rows[last]), room);
            break;
        }
        if let Some(row) = rows.last_mut() {
            row.push_str(&word);
        }
    }
    rows
}

/// A number in four digits or fewer: `52.1`, `312`, `1.2k`.
pub(super) fn short(number: f64) -> String {
    match number {
        n if !n.is_finite() => "-".into(),
        n if n < 99.95 => format!("{n:.1}"),
        n if n < 9_999.5 => format!("{n:.0}"),
        n if n < 999_500.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.0}M", n / 1e6),
    }
}

/// So many of what `one` is one of.
pub(super) fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_with_a_mark() {
        assert_eq!(fit("guard", 5), "guard");
        assert_eq!(fit("guards", 5), "guar…");
        assert_eq!(fit("guard", 1), "…");
        assert_eq!(fit("guard", 0), "");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert!(width(&fit(&"x\u{301}".repeat(100_000), 9)) <= 9);
    }

    #[test]
    fn texts_are_broken_between_words() {
        assert_eq!(wrap("Wave 1: twelve raiders", 10, 9), ["Wave 1:", "twelve", "raiders"]);
        assert_eq!(wrap("Wave 1: twelve raiders", 14, 9), ["Wave 1: twelve", "raiders"]);
        assert_eq!(wrap("Wave 1: twelve raiders", 10, 2), ["Wave 1:", "twelve ra…"]);
        assert_eq!(wrap("incomprehensible", 10, 2), ["incompreh…"]);
        assert_eq!(wrap("", 10, 2), [""]);
    }

    #[test]
    fn numbers_stay_short() {
        let shorts = [0.0, 99.94, 99.96, 9_999.0, 12_345.0, 2e6, f64::NAN].map(short);
        assert_eq!(shorts, ["0.0", "99.9", "100", "9999", "12k", "2M", "-"]);
    }
}
