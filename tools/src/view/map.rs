//! The world from above.

use std::{cmp::Reverse, collections::HashMap};

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Position, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::Widget,
};

use super::{
    Theme,
    text::{fit, width},
};
use crate::{
    app::App,
    report::printable,
    snapshot::{Bounds, Creature, EntityId, Kind, Landmark, Snapshot, TaskletState},
};

/// How many times higher than wide a cell is.
const CELL_ASPECT: f64 = 2.0;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, app: &App, theme: Theme) {
    let snapshot = app.snapshot();
    let inside = super::block("", theme).inner(area);
    let scale = Scale::fit(snapshot.bounds, inside);

    let mut block = super::block(heading(snapshot, inside.width.into(), theme), theme).title_bottom(legend(
        app.kinds(),
        inside.width.into(),
        theme,
    ));
    let missing =
        snapshot.creatures.iter().filter(|creature| scale.cell(creature.x, creature.y).is_none()).count();
    if missing > 0 {
        let title = Line::styled(format!(" {missing} off the map "), theme.faint());
        block = block.title_top(title.alignment(Alignment::Right));
    }
    block.render(area, buffer);

    draw_ground(buffer, &scale, inside, theme);
    for landmark in &snapshot.landmarks {
        draw_landmark(buffer, &scale, landmark, theme);
    }
    draw_creatures(buffer, &scale, app, theme);
}

/// From the world's units to the panel's cells, as large as it goes with the same scale both ways.
struct Scale {
    bounds: Bounds,
    /// World units of a column; a row has [`CELL_ASPECT`] times as many.
    unit: f64,
    /// The cells that the world covers, in the middle of the panel.
    cells: Rect,
}

impl Scale {
    fn fit(bounds: Bounds, panel: Rect) -> Self {
        let [wide, high] = [0, 1].map(|axis| bounds.max[axis] - bounds.min[axis]);
        // A world without extent, or with an endless one, is no reason not to draw.
        let (bounds, wide, high) = if wide.is_finite() && high.is_finite() && wide > 0.0 && high > 0.0 {
            (bounds, wide, high)
        } else {
            (Bounds { min: [-50.0; 2], max: [50.0; 2] }, 100.0, 100.0)
        };
        let unit = (wide / f64::from(panel.width)).max(high / (CELL_ASPECT * f64::from(panel.height)));
        let columns = ((wide / unit).round() as u16).clamp(1.min(panel.width), panel.width);
        let rows = ((high / unit / CELL_ASPECT).round() as u16).clamp(1.min(panel.height), panel.height);
        let cells = Rect {
            x: panel.x + (panel.width - columns) / 2,
            y: panel.y + (panel.height - rows) / 2,
            width: columns,
            height: rows,
        };
        Self { bounds, unit, cells }
    }

    /// The cell of a point, if it is on the map.
    fn cell(&self, x: f64, y: f64) -> Option<Position> {
        let Bounds { min, max } = self.bounds;
        // NaN is within nothing.
        if !(min[0]..=max[0]).contains(&x) || !(min[1]..=max[1]).contains(&y) || self.cells.is_empty() {
            return None;
        }
        // The far edges belong to the last column and row.
        let column = (((x - min[0]) / self.unit) as u16).min(self.cells.width - 1);
        let row = (((max[1] - y) / self.unit / CELL_ASPECT) as u16).min(self.cells.height - 1);
        Some(Position { x: self.cells.x + column, y: self.cells.y + row })
    }

    /// The cells of the straight line between two points, as far as it is on the map.
    fn line(&self, from: [f64; 2], to: [f64; 2]) -> impl Iterator<Item = Position> {
        let ends = clip(from, to, self.bounds);
        // Steps of half a cell at most, however long the wall is outside.
        let steps = 2 * (self.cells.width + self.cells.height);
        ends.into_iter().flat_map(move |(from, to)| {
            (0..=steps).filter_map(move |step| {
                let t = f64::from(step) / f64::from(steps.max(1));
                self.cell(from[0] + (to[0] - from[0]) * t, from[1] + (to[1] - from[1]) * t)
            })
        })
    }
}

/// The part of a line that is within `bounds` (Liang and Barsky).
fn clip(from: [f64; 2], to: [f64; 2], bounds: Bounds) -> Option<([f64; 2], [f64; 2])> {
    let (mut enter, mut leave) = (0.0_f64, 1.0_f64);
    for axis in 0..2 {
        let step = to[axis] - from[axis];
        if !step.is_finite() || !from[axis].is_finite() {
            return None;
        }
        if step == 0.0 {
            if !(bounds.min[axis]..=bounds.max[axis]).contains(&from[axis]) {
                return None;
            }
            continue;
        }
        let one = (bounds.min[axis] - from[axis]) / step;
        let other = (bounds.max[axis] - from[axis]) / step;
        enter = enter.max(one.min(other));
        leave = leave.min(one.max(other));
    }
    let at = |t: f64| [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * t);
    (enter <= leave).then(|| (at(enter), at(leave)))
}

/// The scene and the names of its spots, on the head of the frame: on the map creatures would walk over them.
fn heading(snapshot: &Snapshot, room: usize, theme: Theme) -> Line<'static> {
    let mut line = Line::raw(format!(" {} ", fit(&printable(&snapshot.scene), 20)));
    let mut told = Vec::new();
    for landmark in &snapshot.landmarks {
        let Landmark::Spot { name, glyph, hue, .. } = landmark else { continue };
        if told.contains(&(name, glyph)) {
            continue;
        }
        told.push((name, glyph));
        let entry = entry(*glyph, theme.hue(*hue), fit(&printable(name), 12), theme);
        if line.width() + width(&entry[0].content) + width(&entry[1].content) > room {
            break;
        }
        line.extend(entry);
    }
    line
}

/// A glyph and what it stands for, undimmed on the frame.
fn entry(symbol: char, style: Style, meaning: String, theme: Theme) -> [Span<'static>; 2] {
    let regular = theme.title().remove_modifier(Modifier::BOLD);
    [
        Span::styled(format!(" {}", glyph(symbol)), style.patch(theme.title())),
        Span::styled(format!(" {meaning} "), regular),
    ]
}

/// Behaviours and how many have each, on the foot of the frame.
fn legend(kinds: &[Kind], room: usize, theme: Theme) -> Line<'static> {
    let mut line = Line::default();
    let mut left = room;
    for (index, kind) in kinds.iter().enumerate() {
        let meaning = format!("{} {}", fit(&printable(&kind.name), 16), kind.count);
        let entry = entry(kind.glyph, theme.hue(kind.hue), meaning, theme);
        let more = format!(" +{} ", kinds.len() - index);
        // There must be room for the mark that says there is more.
        let reserve = if index + 1 < kinds.len() { more.len() } else { 0 };
        let needs = width(&entry[0].content) + width(&entry[1].content);
        let Some(less) = left.checked_sub(needs).filter(|&less| less >= reserve) else {
            line.push_span(Span::styled(fit(&more, left), theme.faint()));
            break;
        };
        left = less;
        line.extend(entry);
    }
    line
}

/// A few faint dots, so that one sees how far things are and where the world ends.
fn draw_ground(buffer: &mut Buffer, scale: &Scale, panel: Rect, theme: Theme) {
    // The world's edges, where they are not the panel's.
    for y in scale.cells.top()..scale.cells.bottom() {
        for x in [scale.cells.left().wrapping_sub(1), scale.cells.right()] {
            if (panel.left()..panel.right()).contains(&x) {
                put(buffer, Position { x, y }, '┊', theme.faint());
            }
        }
    }
    for x in scale.cells.left()..scale.cells.right() {
        for y in [scale.cells.top().wrapping_sub(1), scale.cells.bottom()] {
            if (panel.top()..panel.bottom()).contains(&y) {
                put(buffer, Position { x, y }, '┈', theme.faint());
            }
        }
    }

    let Rect { width, height, .. } = scale.cells;
    for position in scale.cells.positions() {
        let (column, row) = (position.x - scale.cells.x, position.y - scale.cells.y);
        let on_grid = |at: u16, every: u16, end: u16| at % every == every / 2 || at + 1 == end && end < every;
        if on_grid(column, 8, width) && on_grid(row, 4, height) {
            put(buffer, position, '·', theme.faint());
        }
    }
}

fn draw_landmark(buffer: &mut Buffer, scale: &Scale, landmark: &Landmark, theme: Theme) {
    match landmark {
        Landmark::Wall { from, to } => {
            for position in scale.line(*from, *to) {
                put(buffer, position, '▒', theme.text());
            }
        }
        Landmark::Spot { at, glyph, hue, .. } => {
            let Some(position) = scale.cell(at[0], at[1]) else { return };
            put(buffer, position, *glyph, theme.hue(*hue).patch(theme.strong()));
        }
    }
}

/// How much a creature is worth seeing among those in its cell: whom one follows, who failed, who is one of few.
type Worth = (bool, bool, Reverse<usize>, Reverse<EntityId>);

fn draw_creatures(buffer: &mut Buffer, scale: &Scale, app: &App, theme: Theme) {
    let count: HashMap<&str, usize> = app.kinds().iter().map(|kind| (&*kind.name, kind.count)).collect();
    let worth = |creature: &Creature| -> Worth {
        (
            app.follow() == Some(creature.entity),
            creature.tasklet == Some(TaskletState::Failed),
            Reverse(count.get(&*creature.behaviour).copied().unwrap_or_default()),
            Reverse(creature.entity),
        )
    };
    let mut seen: HashMap<Position, (Worth, &Creature)> = HashMap::new();
    for creature in &app.snapshot().creatures {
        let Some(position) = scale.cell(creature.x, creature.y) else { continue };
        let candidate = (worth(creature), creature);
        seen.entry(position)
            .and_modify(|best| {
                if candidate.0 > best.0 {
                    *best = candidate;
                }
            })
            .or_insert(candidate);
    }
    let mut followed_at = None;
    for (position, ((followed, failed, ..), creature)) in seen {
        let style = match (followed, failed) {
            (true, _) => theme.hue(creature.hue).patch(theme.followed()),
            (false, true) => theme.bad().add_modifier(Modifier::UNDERLINED),
            (false, false) => theme.hue(creature.hue),
        };
        put(buffer, position, creature.glyph, style);
        if followed {
            followed_at = Some(position);
        }
    }
    if let Some(Position { x, y }) = followed_at {
        // Pointed at from both sides, so that it is found in a crowd.
        if x > scale.cells.x {
            put(buffer, Position { x: x - 1, y }, '▸', theme.accent());
        }
        if x + 1 < scale.cells.right() {
            put(buffer, Position { x: x + 1, y }, '◂', theme.accent());
        }
    }
}

fn put(buffer: &mut Buffer, position: Position, symbol: char, style: Style) {
    if let Some(cell) = buffer.cell_mut(position) {
        cell.set_char(glyph(symbol)).set_style(Style::reset().patch(style));
    }
}

/// `symbol`, or a dot where it wouldn't take exactly one cell.
fn glyph(symbol: char) -> char {
    let mut bytes = [0; 4];
    if symbol.is_control() || width(symbol.encode_utf8(&mut bytes)) != 1 { '•' } else { symbol }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORLD: Bounds = Bounds { min: [-40.0, -20.0], max: [40.0, 20.0] };

    #[test]
    fn the_aspect_is_kept_and_the_map_is_in_the_middle() {
        // 80 x 40 units are 80 x 20 cells.
        assert_eq!(Scale::fit(WORLD, Rect::new(0, 0, 80, 20)).cells, Rect::new(0, 0, 80, 20));
        assert_eq!(Scale::fit(WORLD, Rect::new(0, 0, 80, 40)).cells, Rect::new(0, 10, 80, 20));
        assert_eq!(Scale::fit(WORLD, Rect::new(0, 0, 80, 10)).cells, Rect::new(20, 0, 40, 10));
    }

    #[test]
    fn north_is_up_and_edges_are_on_the_map() {
        let scale = Scale::fit(WORLD, Rect::new(1, 1, 80, 20));
        assert_eq!(scale.cell(-40.0, 20.0), Some(Position { x: 1, y: 1 }));
        assert_eq!(scale.cell(40.0, -20.0), Some(Position { x: 80, y: 20 }));
        assert_eq!(scale.cell(0.5, 0.0), Some(Position { x: 41, y: 11 }));
        for (x, y) in [(40.1, 0.0), (f64::NAN, 0.0), (0.0, f64::INFINITY), (1e300, -1e300)] {
            assert_eq!(scale.cell(x, y), None);
        }
    }

    #[test]
    fn walls_are_drawn_as_far_as_they_are_on_the_map() {
        let scale = Scale::fit(WORLD, Rect::new(0, 0, 80, 20));
        let columns = |from, to| {
            let mut columns: Vec<u16> = scale.line(from, to).map(|position| position.x).collect();
            columns.dedup();
            columns
        };
        assert_eq!(columns([-1e12, 0.0], [1e12, 0.0]), (0..80).collect::<Vec<_>>());
        assert_eq!(columns([-38.0, 0.0], [-36.5, 0.0]), [2, 3]);
        assert_eq!(columns([0.0, 30.0], [9.0, 21.0]), []);
        assert_eq!(columns([f64::NAN, 0.0], [9.0, 0.0]), []);
    }
}
