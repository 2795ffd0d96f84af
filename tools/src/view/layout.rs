//! Where each panel goes, and which fold away in a small terminal.
//!
//! The map has the left and never folds. The panels stand in a column on its right; in a high terminal reloads and
//! errors get a strip below both. In a low one the strip opens only for a report that was chosen by key or for an
//! error that nobody has mended, over the foot of the map.

use ratatui::layout::{Constraint, Layout as Split, Rect};

use super::follow;
use crate::app::{App, Focus};

/// The smallest terminal that is drawn in.
pub(super) const SMALLEST: (u16, u16) = (60, 15);

/// From this height on there is always a strip.
const HIGH: u16 = 28;

/// From this width on the strip has room for two.
const WIDE: u16 = 100;

/// A panel of the column or the strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Panel {
    Stats,
    Tasklets,
    Stuck,
    Follow,
    Director,
    Reloads,
    Errors,
    Log,
}

/// What there is to show.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wants {
    /// The rows that the followed entity could use.
    following: Option<u16>,
    open_errors: bool,
    stuck: bool,
    log: bool,
    focus: Option<Panel>,
}

impl Wants {
    pub(super) fn of(app: &App) -> Self {
        Self {
            following: app.follow().map(|_| follow::rows(app)),
            open_errors: app.journal().open_errors() > 0,
            stuck: !app.snapshot().stuck.is_empty(),
            log: !app.journal().log_lines().is_empty(),
            focus: app.focus().map(|focus| match focus {
                Focus::Error(_) => Panel::Errors,
                Focus::Reload(_) => Panel::Reloads,
                Focus::Stuck(_) => Panel::Stuck,
            }),
        }
    }
}

/// The rectangles.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) header: Rect,
    pub(super) map: Rect,
    pub(super) panels: Vec<(Panel, Rect)>,
    pub(super) footer: Rect,
}

impl Layout {
    /// Divides `area`, or gives up where it is too small.
    pub(super) fn of(area: Rect, wants: &Wants) -> Option<Self> {
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            return None;
        }
        let strip = strip_height(area.height, wants);
        let rows =
            [Constraint::Length(1), Constraint::Fill(1), Constraint::Length(strip), Constraint::Length(1)];
        let [header, body, strip, footer] = area.layout(&Split::vertical(rows));
        let column = (area.width * 38 / 100).clamp(30, 54);
        let [map, column] =
            body.layout(&Split::horizontal([Constraint::Fill(1), Constraint::Length(column)]));
        let mut panels = in_column(column, wants, strip.height > 0);
        panels.extend(in_strip(strip, wants));
        Some(Self { header, map, panels, footer })
    }
}

fn strip_height(height: u16, wants: &Wants) -> u16 {
    match height {
        44.. => 11,
        // A report that was asked for is shown whole, with its source, if that can be.
        _ if wants.focus.is_some() => (height / 2).min(11),
        HIGH.. => height / 4 + 1,
        // Who follows someone wants to see that; the header tells of the errors.
        _ if wants.open_errors && wants.following.is_none() => (height / 2 - 2).min(8),
        _ => 0,
    }
}

fn in_strip(strip: Rect, wants: &Wants) -> Vec<(Panel, Rect)> {
    if strip.height == 0 {
        return Vec::new();
    }
    if strip.width < WIDE {
        let otherwise = if wants.open_errors { Panel::Errors } else { Panel::Reloads };
        return vec![(wants.focus.unwrap_or(otherwise), strip)];
    }
    let share = match wants.focus {
        Some(Panel::Reloads | Panel::Stuck) => 65,
        Some(_) => 35,
        None => 50,
    };
    let [left, right] =
        strip.layout(&Split::horizontal([Constraint::Percentage(share), Constraint::Fill(1)]));
    let chosen = if wants.focus == Some(Panel::Stuck) { Panel::Stuck } else { Panel::Reloads };
    vec![(chosen, left), (Panel::Errors, right)]
}

/// Panels from top to bottom. They are taken in the order of `ranks` as long as the least height of each fits; what is
/// left over makes the first of them as high as they can use, and the rest is the last one's.
fn in_column(column: Rect, wants: &Wants, has_strip: bool) -> Vec<(Panel, Rect)> {
    struct Rank {
        panel: Panel,
        least: u16,
        most: u16,
    }
    // The curve goes first.
    let curve_from = if wants.following.is_some() { 26 } else { 17 };
    let curve = if column.height >= curve_from { 1 } else { 0 };
    let mut ranks = vec![Rank { panel: Panel::Stats, least: 5 + curve, most: 7 + column.height / 20 }];
    ranks.push(Rank { panel: Panel::Tasklets, least: 4, most: 6 });
    if let Some(rows) = wants.following {
        let least = column.height.saturating_sub(9).clamp(6, 14);
        // First, for who follows someone looks there.
        ranks.insert(0, Rank { panel: Panel::Follow, least, most: rows.max(least) });
    }
    if !has_strip {
        ranks.push(Rank { panel: Panel::Reloads, least: 4, most: 8 });
    }
    if wants.stuck && wants.focus != Some(Panel::Stuck) {
        ranks.push(Rank { panel: Panel::Stuck, least: 3, most: 6 });
    }
    ranks.push(Rank { panel: Panel::Director, least: 4, most: 8 });
    if wants.log {
        ranks.push(Rank { panel: Panel::Log, least: 4, most: u16::MAX });
    }

    let mut left = column.height;
    let mut taken: Vec<(Panel, u16, u16)> = Vec::new();
    for rank in ranks {
        if let Some(less) = left.checked_sub(rank.least) {
            left = less;
            taken.push((rank.panel, rank.least, rank.most));
        }
    }
    for (_, height, most) in &mut taken {
        let more = left.min(*most - *height);
        *height += more;
        left -= more;
    }
    taken.sort_by_key(|(panel, ..)| *panel);
    if let Some((_, height, _)) = taken.last_mut() {
        *height += left;
    }
    let heights = taken.iter().map(|(_, height, _)| Constraint::Length(*height));
    let areas = Split::vertical(heights).split(column);
    taken.iter().zip(areas.iter()).map(|((panel, ..), area)| (*panel, *area)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panels(width: u16, height: u16, wants: Wants) -> Vec<Panel> {
        let layout = Layout::of(Rect::new(0, 0, width, height), &wants).expect("big enough");
        layout.panels.into_iter().map(|(panel, _)| panel).collect()
    }

    #[test]
    fn a_big_terminal_shows_all() {
        use Panel::*;
        let wants = Wants { following: Some(20), log: true, ..Wants::default() };
        assert_eq!(panels(160, 50, wants), [Stats, Tasklets, Follow, Director, Log, Reloads, Errors]);
    }

    #[test]
    fn panels_fold_in_a_small_one() {
        use Panel::*;
        let wants = Wants { log: true, ..Wants::default() };
        assert_eq!(panels(100, 30, wants), [Stats, Tasklets, Director, Log, Reloads, Errors]);
        assert_eq!(panels(80, 24, wants), [Stats, Tasklets, Director, Reloads, Log]);
        assert_eq!(panels(60, 15, wants), [Stats, Tasklets, Reloads]);
        assert_eq!(panels(60, 15, Wants { following: Some(20), ..wants }), [Stats, Follow]);
    }

    #[test]
    fn an_error_opens_the_strip_of_a_low_terminal() {
        use Panel::*;
        let errors = Wants { open_errors: true, ..Wants::default() };
        assert_eq!(panels(80, 24, errors).last(), Some(&Errors));
        let following = Wants { following: Some(20), ..errors };
        assert!(!panels(80, 24, following).contains(&Errors));
        let focus = Wants { focus: Some(Errors), ..following };
        assert_eq!(panels(80, 24, focus), [Stats, Follow, Errors]);
    }

    #[test]
    fn stuck_tasklets_have_a_panel_and_never_push_errors_out_of_a_low_terminal() {
        use Panel::*;
        let wants = Wants { open_errors: true, stuck: true, ..Wants::default() };
        assert_eq!(panels(160, 50, wants), [Stats, Tasklets, Stuck, Director, Reloads, Errors]);
        assert_eq!(panels(60, 15, wants).last(), Some(&Errors));
        assert_eq!(panels(80, 24, wants).last(), Some(&Errors));
        let focus = Wants { focus: Some(Stuck), ..wants };
        assert_eq!(panels(60, 15, focus).last(), Some(&Stuck));
        assert_eq!(panels(160, 50, focus), [Stats, Tasklets, Director, Stuck, Errors]);
    }

    #[test]
    fn nothing_overlaps_or_leaves_the_terminal() {
        for (width, height) in [(60, 15), (80, 24), (100, 30), (160, 50), (200, 60), (60, 60), (200, 15)] {
            for bits in 0..32 {
                let wants = Wants {
                    following: (bits & 1 > 0).then_some(20),
                    open_errors: bits & 2 > 0,
                    log: bits & 8 > 0,
                    stuck: bits & 16 > 0,
                    focus: (bits & 4 > 0).then_some(Panel::Reloads),
                };
                let area = Rect::new(0, 0, width, height);
                let layout = Layout::of(area, &wants).expect("big enough");
                let mut areas = vec![layout.header, layout.map, layout.footer];
                areas.extend(layout.panels.iter().map(|(_, area)| *area));
                assert_eq!(areas.iter().map(|area| area.area()).sum::<u32>(), area.area(), "{layout:?}");
                for (index, one) in areas.iter().enumerate() {
                    assert_eq!(one.intersection(area), *one);
                    assert!(areas[index + 1..].iter().all(|other| !one.intersects(*other)), "{layout:?}");
                }
            }
        }
    }
}
