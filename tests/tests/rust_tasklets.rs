//! Tasklets of the game whose body is Rust: with the world, with entities and with scripts.

use bevy_ecs::prelude::*;
use bluetick::{Error, ErrorKind, TaskletContext};
use bluetick_tests::{Game, Health, script};
use std::cell::RefCell;
use std::rc::Rc;

type Words = Rc<RefCell<Vec<&'static str>>>;

/// Says a word when it is dropped.
struct Guard(Words, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

/// A game with one entity that has some health.
fn game() -> (Game, Entity) {
    let mut game = Game::new([("idle", script("synchro.sleep(1000)"))]);
    let entity = game.world.spawn(Health { current: 1.0, max: 10.0 }).id();
    (game, entity)
}

/// Heals its entity by 1 a second.
fn heal(context: &TaskletContext) -> Result<(), Error> {
    let entity = context.entity().expect("it belongs to an entity");
    loop {
        context.sleep(1.0)?;
        context.world(|world| {
            if let Some(mut health) = world.get_mut::<Health>(entity) {
                health.current += 1.0;
            }
        })?;
    }
}

#[test]
fn a_rust_tasklet_of_an_entity_sleeps_and_changes_the_world() {
    let (mut game, entity) = game();
    game.host.entity_tasklet(&mut game.world, entity, "healer", heal).unwrap();
    game.frames(13);
    assert_eq!(game.world.get::<Health>(entity).unwrap().current, 4.0);
}

#[test]
fn it_ends_with_its_entity_and_so_does_what_it_has_made() {
    for with_script in [false, true] {
        let (mut game, entity) = game();
        if with_script {
            game.world.entity_mut(entity).insert(bluetick::Script::new("idle"));
        }
        let words = Words::default();
        let (outer, inner) = (words.clone(), words.clone());
        let tasklet = game
            .host
            .entity_tasklet(&mut game.world, entity, "parent", move |context| -> Result<(), Error> {
                let _guard = Guard(outer, "parent");
                let scheduler = context.scheduler().clone();
                context.scheduler().spawn(move || {
                    let _guard = Guard(inner, "child");
                    scheduler.schedule_remove()
                })?;
                context.sleep(1000.0)
            })
            .unwrap();
        game.frames(2);
        assert!(tasklet.blocked() && words.borrow().is_empty());
        game.world.despawn(entity);
        game.frames(1);
        assert!(!tasklet.alive());
        assert_eq!(*words.borrow(), ["parent", "child"], "with a script: {with_script}");
        assert_eq!(game.host.vm().stats().parked, 0);
    }
}

#[test]
fn it_ends_when_all_entities_are_thrown_away() {
    let (mut game, entity) = game();
    let tasklet = game.host.entity_tasklet(&mut game.world, entity, "healer", heal).unwrap();
    game.frames(2);
    game.world.clear_entities();
    game.frames(2);
    assert!(!tasklet.alive());
}

#[test]
fn what_it_fails_with_is_reported_with_its_entity_and_its_name() {
    let (mut game, entity) = game();
    game.host
        .entity_tasklet(&mut game.world, entity, "careless", |context| -> Result<(), Error> {
            context.next_frame()?;
            panic!("there is no such thing");
        })
        .unwrap();
    game.frames(1);
    let failure = game.failure();
    assert_eq!((failure.entity, failure.tasklet.as_str()), (Some(entity), "tasklet 'careless'"));
    assert!(failure.message.contains("there is no such thing"), "{}", failure.message);
    game.frames(2);
}

#[test]
fn an_entity_that_is_not_there_gets_no_tasklet() {
    let (mut game, entity) = game();
    game.world.despawn(entity);
    let refused = game.host.entity_tasklet(&mut game.world, entity, "healer", heal).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Gone);
}

#[test]
fn nothing_waits_while_the_world_is_borrowed_and_the_world_is_there_in_frames_only() {
    let (mut game, _) = game();
    let kinds = Rc::new(RefCell::new(Vec::new()));
    let noted = kinds.clone();
    game.host
        .tasklet("borrower", move |context| -> Result<(), Error> {
            let refused = context.world(|_| context.next_frame())?.unwrap_err();
            noted.borrow_mut().push(refused.kind);
            let again = context.world(|_| context.world(|_| ()))?.unwrap_err();
            noted.borrow_mut().push(again.kind);
            context.next_frame()
        })
        .unwrap();
    game.frames(3);
    assert_eq!(*kinds.borrow(), [ErrorKind::Boundary, ErrorKind::Type]);
}

#[test]
fn a_script_and_a_rust_tasklet_of_a_game_talk_over_a_channel() {
    let shop = script(
        "local given = self.inbox:receive()
         for order in given.orders do given.goods:send(order .. ' for ' .. self.Health.current) end",
    );
    let mut game = Game::new([("shop", shop)]);
    let scheduler = game.host.vm().scheduler();
    let (orders, goods) = (scheduler.channel::<String>(), scheduler.channel::<String>());
    let got = Rc::new(RefCell::new(Vec::new()));
    let list = got.clone();
    let (send, receive) = (orders.clone(), goods.clone());
    game.host
        .tasklet("customer", move |context| -> Result<(), Error> {
            for order in ["soup", "bread"] {
                send.send(order.into())?;
                list.borrow_mut().push(receive.receive()?);
                context.next_frame()?;
            }
            Ok(())
        })
        .unwrap();
    let table = game.host.vm().lua().create_table().unwrap();
    table.set("orders", &orders).unwrap();
    table.set("goods", &goods).unwrap();
    let shop = game.world.spawn((Health { current: 3.0, max: 3.0 }, bluetick::Script::new("shop"))).id();
    game.frames(1);
    game.host.send(shop, table).unwrap();
    game.frames(4);
    assert_eq!(*got.borrow(), ["soup for 3", "bread for 3"]);
}
