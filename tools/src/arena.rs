//! The world that `bluetick run` plays: the components, resources and functions that a project's scripts
//! and scenes find, and the few systems that are not theirs.

use std::collections::HashMap;
use std::convert::Infallible;
use std::{cell::RefCell, rc::Rc};

use bevy_ecs::prelude::*;
use bevy_reflect::Reflect;
use bevy_reflect::std_traits::ReflectDefault;
use bluetick::ecs::Handle;
use bluetick::{HostBuilder, ScriptHost};
use glam::Vec3;

/// Where something is, in units of the world.
#[derive(Component, Reflect, Default, Clone, Debug)]
#[reflect(Default)]
pub struct Transform {
    /// Eastward, northward, up.
    pub translation: Vec3,
}

/// How fast it moves, in units a second of simulated time.
#[derive(Component, Reflect, Default, Clone, Debug)]
#[reflect(Default)]
pub struct Velocity {
    /// The way it goes in a second.
    pub linear: Vec3,
}

/// How well it is. At 0 it is taken from the world.
#[derive(Component, Reflect, Clone, Debug)]
#[reflect(Default)]
pub struct Health {
    /// Now.
    pub current: f32,
    /// At best.
    pub max: f32,
}

impl Default for Health {
    fn default() -> Self {
        Self { current: 10.0, max: 10.0 }
    }
}

/// Whose side it is on; scripts look for others by it.
#[derive(Component, Reflect, Default, Clone, Debug)]
#[reflect(Default)]
pub struct Team {
    /// Its name.
    pub name: String,
}

/// How it looks on the map.
#[derive(Component, Reflect, Clone, Debug)]
#[reflect(Default)]
pub struct Glyph {
    /// A character one cell wide.
    pub symbol: char,
    /// `plain`, `red`, `green`, `yellow`, `blue`, `magenta` or `cyan`.
    pub hue: String,
}

impl Default for Glyph {
    fn default() -> Self {
        Self { symbol: '?', hue: "plain".into() }
    }
}

/// Brings wolves into the world.
#[derive(Component, Reflect, Default, Clone, Debug)]
#[reflect(Default)]
pub struct Den;

/// The part of the world in which everything stays.
#[derive(Resource, Reflect, Clone, Debug)]
#[reflect(Default)]
pub struct Arena {
    /// Its south-western corner.
    pub min: Vec3,
    /// Its north-eastern corner.
    pub max: Vec3,
}

impl Default for Arena {
    fn default() -> Self {
        Self { min: Vec3::ZERO, max: Vec3::new(60.0, 30.0, 0.0) }
    }
}

/// Side of a cell of the [`Grid`], in units of the world.
const CELL: f32 = 4.0;

/// Who stands in which cell.
type Cells = HashMap<(i32, i32), Vec<(Entity, Vec3)>>;

/// Who stands where, by team; made anew for each frame.
#[derive(Resource, Default)]
struct Grid {
    teams: HashMap<String, Cells>,
    counts: HashMap<String, usize>,
}

fn cell(at: Vec3) -> (i32, i32) {
    ((at.x / CELL).floor() as i32, (at.y / CELL).floor() as i32)
}

impl Grid {
    fn rebuild(world: &mut World) {
        let mut grid = Self::default();
        for (entity, team, transform) in world.query::<(Entity, &Team, &Transform)>().iter(world) {
            // Nobody is found who is nowhere.
            if transform.translation.is_finite() {
                let cells = grid.teams.entry(team.name.clone()).or_default();
                cells.entry(cell(transform.translation)).or_default().push((entity, transform.translation));
                *grid.counts.entry(team.name.clone()).or_default() += 1;
            }
        }
        world.insert_resource(grid);
    }

    /// The members of a team within a distance, nearest first; among equals the older entity.
    fn within(&self, at: Vec3, team: &str, radius: f32) -> Vec<(f32, Entity)> {
        let Some(cells) = self.teams.get(team) else { return Vec::new() };
        let radius = radius.clamp(0.0, 1e3);
        let (low, high) = (cell(at - radius), cell(at + radius));
        let mut found = Vec::new();
        for x in low.0..=high.0 {
            for y in low.1..=high.1 {
                for &(entity, place) in cells.get(&(x, y)).into_iter().flatten() {
                    let distance = place.distance(at);
                    if distance <= radius {
                        found.push((distance, entity));
                    }
                }
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found
    }
}

/// What scripts have said that nobody has read yet.
#[derive(Clone, Default)]
pub struct Said {
    /// The lines that they have printed.
    pub printed: Rc<RefCell<Vec<String>>>,
    /// What they have announced, each after so many of those lines.
    pub announced: Rc<RefCell<Vec<(usize, String)>>>,
}

/// Registers all that scripts find in this world.
pub fn register(builder: HostBuilder, said: &Said) -> HostBuilder {
    let Said { printed, announced } = said.clone();
    builder
        .keep_printed_in(printed.clone())
        .component::<Transform>()
        .component::<Velocity>()
        .component::<Health>()
        .component::<Team>()
        .component::<Glyph>()
        .component::<Den>()
        .resource::<Arena>()
        .function("nearest", nearest)
        .function("neighbours", neighbours)
        .function("count_team", |world: &mut World, team: String| {
            Ok::<_, Infallible>(world.resource::<Grid>().counts.get(&team).copied().unwrap_or(0))
        })
        .function("announce", move |_: &mut World, text: String| {
            announced.borrow_mut().push((printed.borrow().len(), text));
            Ok::<_, Infallible>(())
        })
}

/// `world:nearest(entity, team, radius)`: the nearest other member of the team, or nil.
fn nearest(
    world: &mut World,
    (from, team, radius): (Handle, String, f32),
) -> Result<Option<Handle>, Infallible> {
    let found = around(world, from.0, &team, radius);
    Ok(found.into_iter().next().map(Handle))
}

/// `world:neighbours(entity, team, radius)`: the other members of the team, nearest first.
fn neighbours(
    world: &mut World,
    (from, team, radius): (Handle, String, f32),
) -> Result<Vec<Handle>, Infallible> {
    Ok(around(world, from.0, &team, radius).into_iter().map(Handle).collect())
}

fn around(world: &World, from: Entity, team: &str, radius: f32) -> Vec<Entity> {
    let Some(at) = world.get::<Transform>(from).map(|transform| transform.translation) else {
        return Vec::new();
    };
    let found = world.resource::<Grid>().within(at, team, radius);
    // The grid is of the frame's beginning: some may be gone since.
    found
        .into_iter()
        .map(|(_, entity)| entity)
        .filter(|&e| e != from && world.get_entity(e).is_ok())
        .collect()
}

/// Makes the resources that the systems need.
pub fn set_up(world: &mut World) {
    world.init_resource::<Arena>();
    world.init_resource::<Grid>();
}

/// One frame: everything moves and stays inside, the dead are taken away, and then the scripts run.
pub fn step(world: &mut World, host: &mut ScriptHost, dt: f64) -> bluetick::FrameReport {
    let Arena { min, max } = world.resource::<Arena>().clone();
    for (mut transform, mut velocity) in world.query::<(&mut Transform, &mut Velocity)>().iter_mut(world) {
        let next = transform.translation + velocity.linear * dt as f32;
        if !next.is_finite() {
            velocity.linear = Vec3::ZERO;
            continue;
        }
        let inside = next.clamp(min, max);
        if inside != next {
            // Whoever runs into the edge turns round.
            let edge = |inside: f32, next: f32, v: f32| if inside == next { v } else { -v };
            velocity.linear.x = edge(inside.x, next.x, velocity.linear.x);
            velocity.linear.y = edge(inside.y, next.y, velocity.linear.y);
        }
        if inside != transform.translation {
            transform.translation = inside;
        }
    }
    let dead: Vec<Entity> = world
        .query::<(Entity, &Health)>()
        .iter(world)
        .filter(|(_, health)| health.current <= 0.0)
        .map(|(entity, _)| entity)
        .collect();
    for entity in dead {
        world.despawn(entity);
    }
    Grid::rebuild(world);
    host.tick(world, dt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_finds_the_same_as_a_look_at_everybody() {
        let mut world = World::new();
        let spots = (0..200).map(|i| Vec3::new((i * 37 % 61) as f32 - 5.0, (i * 53 % 31) as f32 - 3.0, 0.0));
        let all: Vec<(Entity, Vec3)> = spots
            .map(|at| {
                let team = Team { name: "sheep".into() };
                (world.spawn((Transform { translation: at }, team)).id(), at)
            })
            .collect();
        Grid::rebuild(&mut world);
        for &(_, at) in &all {
            let mut expected: Vec<Entity> =
                all.iter().filter(|(_, other)| other.distance(at) <= 7.0).map(|(e, _)| *e).collect();
            let found = world.resource::<Grid>().within(at, "sheep", 7.0);
            assert!(found.is_sorted_by(|a, b| a.0 <= b.0));
            let mut found: Vec<Entity> = found.into_iter().map(|(_, entity)| entity).collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected);
        }
    }
}
