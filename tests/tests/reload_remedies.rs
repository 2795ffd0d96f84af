//! What is done about tasklets that are parked or finish on old text: by the game, by scripts, and by what a module
//! says of itself.

use bevy_ecs::prelude::*;
use bluetick::{Restart, Script, ScriptStatus, Which};
use bluetick_tests::{Game, looping, looping_with, script};

/// Failed at its second line of the loop in all entities, of which there are three.
fn parked() -> (Game, [Entity; 3]) {
    let mut game =
        Game::edited([("m", looping("print('begins')", "print('loops')\nlocal x = self.nothing.at.all"))]);
    let entities = [(); 3].map(|()| game.spawn("m"));
    let report = game.frame();
    assert_eq!((report.failures.len(), report.failures[0].count, report.parked), (1, 3, 3));
    game.printed();
    (game, entities)
}

#[test]
fn parked_tasklets_are_retried_one_by_one_by_entity_by_file_and_all() {
    let (mut game, entities) = parked();
    let tasklets = game.host.stuck()[0].tasklets.clone();
    assert_eq!(game.host.retry(&mut game.world, Which::One(tasklets[0])), 1);
    assert_eq!(game.status(entities[0]), ScriptStatus::Running);
    let report = game.frame();
    assert_eq!((report.failures[0].count, report.parked), (1, 3), "it fails again, and is parked again");
    assert_eq!(game.printed(), "", "it has gone on from the statement that failed");
    assert_eq!(game.host.retry(&mut game.world, Which::Entity(entities[1])), 1);
    assert_eq!(game.host.retry(&mut game.world, Which::File("other")), 0);
    assert_eq!(game.host.retry(&mut game.world, Which::File("m.luau")), 2, "the others");
    assert_eq!(game.host.retry(&mut game.world, Which::All), 0, "nobody is parked any more");
    assert_eq!(game.frame().parked, 3);
    assert_eq!(game.host.retry(&mut game.world, Which::Those(&tasklets)), 3);
}

#[test]
fn parked_scripts_begin_anew_or_end_when_the_game_says_so() {
    let (mut game, entities) = parked();
    assert_eq!(game.host.restart(&mut game.world, Which::Entity(entities[0])), 1);
    game.frame();
    assert_eq!(game.printed(), "begins loops");
    assert_eq!(game.host.kill(&mut game.world, Which::File("m")), 3);
    let report = game.frame();
    assert!(report.failures.is_empty() && report.parked == 0, "{report:#?}");
    assert_eq!(game.host.script_counts(), (0, 0));
    assert!(entities.iter().all(|&entity| game.status(entity) == ScriptStatus::Finished));
    assert!(game.host.stuck().is_empty());
}

#[test]
fn parked_scripts_end_with_their_entities_and_run_what_they_have_deferred() {
    let text = looping("scheduler.defer(function() print('end') end)", "error('oh')");
    let mut game = Game::edited([("m", text)]);
    let entity = game.spawn("m");
    assert_eq!(game.frame().parked, 1);
    assert_eq!(game.printed(), "", "it waits for as long as it is parked");
    game.world.despawn(entity);
    let report = game.frame();
    assert_eq!((report.failures.len(), report.parked), (0, 0));
    assert_eq!(game.printed(), "end");
}

#[test]
fn stale_tasklets_are_restarted_main_ones_and_others() {
    let text = |word: &str, above: &str| {
        looping_with(
            &format!(
                "function M.helper(name)
{above}
while true do print('{word}', name) synchro.yield() end
end"
            ),
            "self:spawn(M.helper, 'a')\nself:spawn(M.helper, 'b')",
            "",
        )
    };
    let mut game = Game::edited([("m", text("old", ""))]);
    let entity = game.spawn("m");
    game.frames(1);
    game.save("m", text("new", "local t = os.clock()"));
    let report = game.frame().reload.expect("a reload");
    assert_eq!((report.moved, report.stale), (1, 2), "{report}");
    assert_eq!(game.printed(), "old\ta old\tb old\ta old\tb");
    let stuck = game.host.stuck();
    assert_eq!((stuck.len(), stuck[0].tasklets.len(), stuck[0].function.as_str()), (1, 2, "helper"));
    assert_eq!(stuck[0].entity, Some(entity));
    assert_eq!(game.host.retry(&mut game.world, Which::All), 0, "they have not failed");
    assert_eq!(game.host.restart(&mut game.world, Which::One(stuck[0].tasklets[1])), 1);
    game.frames(1);
    assert_eq!(game.printed(), "new\tb old\ta", "with the arguments that it had");
    assert_eq!(game.host.restart(&mut game.world, Which::File("m.luau")), 1);
    game.frames(1);
    assert_eq!(game.printed(), "new\ta new\tb");
    assert!(game.host.stuck().is_empty());
}

#[test]
fn a_module_can_want_its_tasklets_to_begin_anew_instead_of_finishing_on_old_text() {
    let text = |word: &str, above: &str| {
        looping_with(
            "M.reload = 'restart'",
            &format!("{above}\nprint('begins')"),
            &format!("print('{word}')"),
        )
    };
    let mut game = Game::edited([("m", text("old", ""))]);
    let entity = game.spawn("m");
    game.frames(1);
    game.save("m", text("new", "local t = os.clock()"));
    let report = game.frame().reload.expect("a reload");
    assert_eq!((report.stale, report.restarted, report.pins.len()), (0, 1, 0), "{report}");
    assert!(report.to_string().contains("1 tasklet begins anew"), "{report}");
    assert_eq!(game.printed(), "begins old begins new");
    assert_eq!(game.status(entity), ScriptStatus::Running);
    // Where it fits, it moves as always.
    game.save("m", text("newer", "local t = os.clock()"));
    assert_eq!(game.frame().reload.expect("a reload").moved, 1);
    assert_eq!(game.printed(), "newer");
}

#[test]
fn on_reload_is_told_of_the_versions_and_migrate_meets_each_instance_before_it_runs_on() {
    let text = |more: &str, body: &str| looping_with(more, "self.state.hp = 5", body);
    let mut game = Game::edited([("m", text("", "print(self.name, self.state.hp)"))]);
    for name in ["x", "y"] {
        game.world.spawn((Name::new(name), Script::new("m")));
    }
    game.frames(1);
    let hooks = "function M.on_reload(info) print('reloaded', info.module, info.from, info.to) end
function M.migrate(self, from, to)
    print('migrate', self.name, from, to)
    self.state.health = self.state.hp * 10
    if self.name == 'y' then error('no way') end
end";
    game.save("m", text(hooks, "print(self.name, self.state.health)"));
    let report = game.frame();
    assert!(report.failures.is_empty());
    let reload = report.reload.expect("a reload");
    assert_eq!(reload.hook_errors.len(), 1, "{reload}");
    assert!(reload.hook_errors[0].starts_with("m: migrate: m.luau:"), "{reload}");
    assert!(reload.hook_errors[0].contains("no way"), "{reload}");
    assert_eq!(game.printed(), "x\t5 y\t5 reloaded\tm\t1\t2 migrate\tx\t1\t2 migrate\ty\t1\t2 x\t50 y\t50");
}

#[test]
fn a_tasklet_goes_on_in_its_newest_text_by_its_own_choice() {
    let text = |word: &str, above: &str| {
        looping_with(
            "function M.other(name, n) print('other', name, n) synchro.sleep(100) end",
            &format!("{above}\nscheduler.defer(function() print('end') end)"),
            &format!(
                "print('{word}', scheduler.getcurrent().stale)
if scheduler.getcurrent().stale then reload.again('run', self) print('never') end
if '{word}' == 'third' then reload.again('other', self.name, nil, 3) end"
            ),
        )
    };
    let mut game = Game::edited([("m", text("first", ""))]);
    let entity = game.world.spawn((Name::new("bob"), Script::new("m"))).id();
    game.frames(1);
    game.save("m", text("second", "local t = os.clock()"));
    let report = game.frame().reload.expect("a reload");
    assert_eq!(report.stale, 1, "{report}");
    game.frames(1);
    assert_eq!(game.printed(), "first\tfalse first\ttrue end second\tfalse");
    assert_eq!(game.status(entity), ScriptStatus::Running);
    game.save("m", text("third", "local t = os.clock()"));
    game.frames(2);
    assert_eq!(game.printed(), "third\tfalse end other\tbob\tnil");
    game.frames(3);
    assert_eq!(game.host.script_counts(), (1, 0), "it is the script's main tasklet still");
    game.world.despawn(entity);
    game.frames(1);
    game.host.vm().lua().gc_collect().expect("garbage can be collected");
    game.frames(1);
    assert_eq!(game.host.vm().stats().tasklets, 0);
}

#[test]
fn wishes_that_cannot_come_true_are_errors_where_they_are_made() {
    let mut game = Game::edited([(
        "m",
        script(
            "print(pcall(reload.rollback, 'm'))
            print(pcall(reload.rollback))
            print(pcall(reload.again, 'nothing'))
            print(pcall(reload.again))
            local ended = tasklet(function() end)
            print(pcall(ended.restart, ended))
            print(scheduler.getcurrent():retry())",
        ),
    )]);
    game.spawn("m");
    game.frames(2);
    let printed = game.printed();
    for part in [
        "'m' has had no other text since the game began, or is not loaded",
        "reload.rollback: the path of a script: expected a string, got nothing",
        "m.luau has no function 'nothing'",
        "reload.again: the name of a function: expected a string, got nothing",
        "dead",
        "false",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    // And at the top level of a file.
    game.save("top", "reload.again('x') return {}");
    game.spawn("top");
    assert!(game.failure().message.contains("reload.again is only possible where a tasklet could wait"));
}

#[test]
fn scripts_retry_and_restart_each_other() {
    let doctor = "local M = {}
function M.run(self)
    synchro.yield()
    for patient in world:query('Marked') do
        local t = patient.state.tasklet
        print(t.alive, t.paused, t.stale, t:retry(), t:retry())
    end
    synchro.yield()
    for patient in world:query('Marked') do patient.state.tasklet:restart() end
end
return M";
    let patient = looping(
        "self.state.tasklet = scheduler.getcurrent()\nprint('begins')",
        "print('loops')\nerror('oh')",
    );
    let mut game = Game::edited([("doctor", doctor.to_owned()), ("patient", patient)]);
    game.world.spawn((bluetick_tests::Marked, Script::new("patient")));
    game.spawn("doctor");
    assert_eq!(game.frame().parked, 1);
    assert_eq!(game.frame().parked, 1, "it fails at its place again");
    game.frame();
    assert_eq!(game.printed(), "begins loops true\ttrue\tfalse\ttrue\tfalse");
    assert_eq!(game.frame().parked, 1);
    assert_eq!(game.printed(), "begins loops");
}

#[test]
fn a_parked_script_is_not_started_again_by_itself_and_without_parking_it_is() {
    for park in [true, false] {
        let mut game = Game::build([("m", script("print('begins') error('oh')"))], |b| b.park_failed(park));
        game.world.spawn(Script::new("m").restart(Restart::Always { first: 0.5, longest: 0.5 }));
        let mut parked = 0;
        for _ in 0..12 {
            parked = game.frame().parked;
        }
        let begins = game.printed().split(' ').count();
        assert_eq!((begins > 1, parked), (!park, usize::from(park)), "{begins} with parking {park}");
    }
}

#[test]
fn a_parked_script_that_is_never_to_start_again_goes_on_when_it_is_mended() {
    let mut game = Game::edited([("m", script("\nprint('before')\nerror('oh')"))]);
    let entity = game.world.spawn(Script::new("m").restart(Restart::Never)).id();
    game.frame();
    game.save("m", script("\nprint('before')\nprint('after')"));
    game.frames(1);
    assert_eq!(game.printed(), "before after");
    assert_eq!(game.status(entity), ScriptStatus::Finished);
}

#[test]
fn the_error_handler_of_one_script_silences_no_other() {
    let mut game = Game::edited([
        ("quiet", script("scheduler.set_error_handler(function(e) print('handled') end) error('a')")),
        ("loud", script("error('b')")),
    ]);
    game.spawn("quiet");
    game.spawn("loud");
    let failure = game.failure();
    assert!(failure.message.ends_with(": b"), "{failure}");
    assert_eq!(game.printed(), "handled");
}

#[test]
fn a_script_with_a_profile_may_not_roll_others_back() {
    let profiles =
        bluetick::Profiles::from_toml("[mods]\nscripts = ['mods/*']\nfunctions = []\n").expect("profiles");
    let text = script("print(pcall(reload.rollback, 'm')) print(pcall(reload.now))");
    let mut game = Game::build([("mods/x", text), ("m", script(""))], |b| b.profiles(profiles));
    game.spawn("mods/x");
    game.frames(1);
    let printed = game.printed();
    assert_eq!(printed.matches("false").count(), 2, "{printed}");
    assert!(printed.contains("function reload"), "{printed}");
}
