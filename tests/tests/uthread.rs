//! The library `uthread` in a game, where time passes (`semantics.md` section 6).

use bluetick_tests::{Game, script};

/// What each script begins with: `note` writes down what took place, `eq` compares, `kind` calls a function
/// and gives the kind of its error.
const WORDS: &str = r##"
local words = {}
local noted = {}
function words.note(...)
    local said = table.pack(...)
    for index = 1, said.n do said[index] = tostring(said[index]) end
    table.insert(noted, table.concat(said, ":"))
end
function words.notes()
    local all = table.concat(noted, " ")
    table.clear(noted)
    return all
end
function words.eq(got, expected)
    if got ~= expected then error(`expected {expected}, got {got}`, 2) end
end
function words.kind(f, ...)
    local ok, err = pcall(f, ...)
    return if ok then "none" elseif type(err) == "table" then err.kind else err
end
return words
"##;

/// A game in which one entity's script does this; frames are a quarter of a second, and after each one it
/// prints what was noted.
struct Play(Game);

impl Play {
    fn new(body: &str) -> Self {
        let words =
            "local words = require('./words') local note, eq, kind = words.note, words.eq, words.kind ";
        let mut game = Game::new([("words", WORDS.to_owned()), ("test", script(&format!("{words}{body}")))]);
        game.spawn("test");
        Self(game)
    }

    /// What was noted in this frame, in which nothing may fail.
    #[track_caller]
    fn frame(&mut self) -> String {
        self.0.frames(1);
        self.notes()
    }

    /// What was noted in so many frames, a `|` between two.
    #[track_caller]
    fn frames(&mut self, count: usize) -> String {
        (0..count).map(|_| self.frame()).collect::<Vec<_>>().join("|")
    }

    fn notes(&self) -> String {
        let vm = self.0.host.vm();
        let words: mlua::Table = match vm.module("words") {
            Some(mlua::Value::Table(words)) => words,
            other => panic!("the words are a table: {other:?}"),
        };
        words.get::<mlua::Function>("notes").unwrap().call(()).unwrap()
    }
}

#[test]
fn u6_a_waiter_that_runs_out_of_time_breaks_the_barrier_for_all() {
    let mut play = Play::new(
        "local b = uthread.Barrier(3)
         uthread.new(function() note(1, kind(b.wait, b)) end)
         uthread.new(function() note(2, kind(b.wait, b, 0.5)) end)
         synchro.sleep(1)
         note(kind(b.wait, b))
         local timed = uthread.Barrier(2, nil, 0.25)
         note(kind(timed.wait, timed))",
    );
    assert_eq!(play.frames(7), "||2:timeout 1:broken||broken|timeout|");
}

#[test]
fn u10_the_limit_of_the_outer_call_passes_through_the_inner_one() {
    let mut play = Play::new(
        "note(kind(function()
             uthread.timeout(1, function()
                 local inner = kind(uthread.timeout, 2, synchro.sleep, 5)
                 note('never', inner)
             end)
             note('never')
         end))
         note(kind(function()
             uthread.timeout(5, function()
                 note('inner', kind(uthread.timeout, 1, synchro.sleep, 5))
                 synchro.sleep(0.25)
                 note('goes on')
             end)
         end))",
    );
    assert_eq!(play.frames(11), "||||timeout||||inner:timeout|goes on none|");
}

#[test]
fn a_limit_says_where_it_was_set_and_what_came_in_time_is_returned() {
    let mut play = Play::new(
        "local ok, err = pcall(uthread.timeout, 1, synchro.sleep, 5)
         note(err.kind, err)
         note(uthread.timeout(1, function(...) synchro.sleep(0.25) return ..., 'v' end, 'a'))
         note(uthread.timeout(nil, function() synchro.sleep(0.25) return 'no limit' end))
         note(uthread.timeout(-1, function() synchro.sleep(0.25) return 'no limit' end))
         note(uthread.timeout(math.huge, function() synchro.sleep(0.25) return 'no limit' end))
         note(uthread.timeout(1e9, function() synchro.sleep(0.25) return 'none reached' end))
         note(kind(uthread.timeout, 0, synchro.sleep, 1))
         note(kind(uthread.timeout, 1, error, 'its own'))
         note(kind(uthread.timeout, 0 / 0, print), kind(uthread.timeout, '1', print), kind(uthread.timeout, 1))",
    );
    let said = play.frames(20);
    assert_eq!(
        said.split('|').filter(|said| !said.is_empty()).collect::<Vec<_>>().join("|"),
        "timeout:test.luau:1: timeout: 1 seconds have passed|a:v|no limit|no limit|no limit|none reached|\
         timeout its own type:type:type"
    );
    assert_eq!(play.0.frame().sleeping, 0, "timers are gone when they are not needed");
}

#[test]
fn a_limit_does_not_take_what_was_handed_over_in_the_same_frame() {
    // The timer's turn comes when the value is on its way.
    let mut play = Play::new(
        "local c = channel()
         c.preference = 1
         uthread.new(function() synchro.sleep(1) c:send('v') end)
         note(kind(uthread.timeout, 1, function()
             note(c:receive())
             synchro.sleep(1)
             note('never')
         end))",
    );
    assert_eq!(play.frames(8), "||||v timeout|||");
}

#[test]
fn a_limit_ends_loops_that_yield_in_whatever_way() {
    let mut play = Play::new(
        "note(kind(uthread.timeout, 0.5, function() while true do synchro.yield() end end))
         local laps = 0
         note(kind(uthread.timeout, 0.5, function()
             while true do
                 laps += 1
                 if laps % 10 == 0 then synchro.yield() else scheduler.schedule() end
             end
         end))
         note(kind(uthread.timeout, 0.5, function() scheduler.schedule_remove() end))
         note(kind(uthread.timeout, 0.5, function()
             pcall(function() synchro.sleep(5) end)
             note('a pcall does not stop it')
         end))
         local co = coroutine.wrap(function() synchro.sleep(5) end)
         note(kind(uthread.timeout, 0.5, co))",
    );
    let said = play.frames(12).replace('|', " ");
    assert_eq!(
        said.split_whitespace().collect::<Vec<_>>().join(" "),
        "timeout timeout timeout timeout timeout"
    );
}

#[test]
fn u11_timers_of_the_same_time_fire_in_order_and_one_that_fails_stops_no_other() {
    let mut game = Game::new([(
        "test",
        script(
            "for n = 1, 3 do
                 uthread.new(function()
                     synchro.sleep(0.25)
                     print(n)
                     if n == 2 then error('two') end
                     uthread.new(function() synchro.sleep(0) print('soon', n) end)
                 end)
             end",
        ),
    )]);
    game.spawn("test");
    game.frames(1);
    assert!(game.failure().message.ends_with("two"));
    assert_eq!(game.printed(), "1 2 3");
    game.frames(1);
    assert_eq!(game.printed(), "soon\t1 soon\t3");
}

#[test]
fn u14_a_timeout_and_a_send_in_the_same_frame_have_one_outcome_and_lose_no_value() {
    // The sender wakes before the timer, or after it, and prefers either.
    for preference in [-1, 0, 1] {
        for first in ["sender", "receiver"] {
            let mut play = Play::new(&format!(
                "local c = channel()
                 c.preference = {preference}
                 local function sender() uthread.new(function() synchro.sleep(0.5) note('sent', c:send('v')) end) end
                 local function receiver() uthread.new(function() note('received', uthread.receive(c, 0.5)) end) end
                 if '{first}' == 'sender' then sender() receiver() else receiver() sender() end
                 synchro.sleep(1)
                 note(c.balance)
                 if c.balance == 1 then note(c:receive()) end"
            ));
            let said = play.frames(6);
            let outcomes = said.matches("received:true:v").count() + said.matches("received:false").count();
            assert_eq!(outcomes, 1, "{first} {preference}: {said}");
            assert_eq!(said.contains("received:false"), said.contains("1 v"), "{first} {preference}: {said}");
            assert_eq!(
                said.contains("received:true:v"),
                said.contains("|0|"),
                "{first} {preference}: {said}"
            );
        }
    }
}

#[test]
fn a_receiver_with_a_limit_waits_like_any_other() {
    let mut play = Play::new(
        "local c = channel()
         for n = 1, 2 do uthread.new(function() note(n, uthread.receive(c, if n == 1 then 0.5 else nil)) end) end
         scheduler.schedule()
         note(c.balance)
         synchro.sleep(0.75)
         note(c.balance)
         c:send('v')
         note(uthread.receive(c, 0))
         uthread.new(function() c:send('w') end)
         scheduler.schedule()
         note(uthread.receive(c, 0))
         c:close()
         note(kind(uthread.receive, c, 1))
         note(kind(uthread.receive, 5, 1), kind(uthread.receive, c, '1'))",
    );
    assert_eq!(play.frames(4), "-2||1:false|-1 2:true:v false true:w closed type:type");
    assert_eq!(play.0.frame().sleeping, 0);
}

#[test]
fn waits_for_locks_and_events_can_be_limited() {
    let mut play = Play::new(
        "local s, l, r, e, v, c =
             uthread.Semaphore(0), uthread.Lock(), uthread.RLock(), uthread.Event(), uthread.ValueEvent(), uthread.Condition()
         uthread.new(function() l:acquire() r:acquire() end)
         scheduler.schedule()
         note(s:acquire(0.25))
         note(l:acquire(0.25))
         note(r:acquire(0.25))
         note(e:wait(0.25))
         note(kind(v.wait, v, 0.25))
         note(c:with(function() return c:wait(0.25), c.lock:held() end))
         note(c:with(function() return c:wait_for(function() return false end, 0.25), c.lock:held() end))
         note(s, l.waiters:count(), r.waiters:count(), e, v, c:waiting())
         -- In time.
         for _, f in { function() s:release() end, function() e:set() end, function() v:set('v') end } do
             uthread.new(function() synchro.sleep(0.25) f() end)
         end
         note(s:acquire(1), e:wait(1), v:wait(1))",
    );
    assert_eq!(
        play.frames(10),
        "|false|false|false|false|timeout|false:true|false:true \
         semaphore (0 free, 0 waiting):0:0:event (not set, 0 waiting):value event (not set, 0 waiting):0\
         |true:true:v|"
    );
    assert_eq!(play.0.frame().sleeping, 0);
}

#[test]
fn select_takes_timers_among_others() {
    let mut play = Play::new(
        "local a, b = channel(), channel()
         note(uthread.select({ a, 0.5, b, 0.25 }))
         note(a.balance, b.balance)
         note(uthread.select({ a, 0.25, 0.25 }))
         uthread.new(function() synchro.sleep(0.25) b:send('v') end)
         note(uthread.select({ a, b, 1, math.huge, -1 }))
         local t = uthread.new(function() synchro.sleep(0.25) return 'r' end)
         note(uthread.select({ 5, t }))
         note(uthread.select({ a, 0 }))
         note(a.balance, b.balance)",
    );
    assert_eq!(play.frames(6), "|4 0:0|2|2:v|2:r 2 0:0|");
    assert_eq!(play.0.frame().sleeping, 0);
}

#[test]
fn wait_until_looks_once_a_frame() {
    let mut play = Play::new(
        "local n = 0
         local function grown() n += 1 return n >= 3 and n end
         note(uthread.wait_until(grown))
         note(uthread.wait_until(grown))
         note(uthread.wait_until(function() return false end, 0.5))
         note(uthread.wait_until(function() return nil end, 0))
         note(kind(uthread.wait_until, function() error('oh no', 0) end), kind(uthread.wait_until))",
    );
    assert_eq!(play.frames(6), "||3 4||false false oh no:type|");
}

#[test]
fn a_race_of_sleepers_goes_to_the_shortest_and_at_a_tie_to_the_earlier() {
    let mut play = Play::new(
        "note(uthread.race({ { synchro.sleep, 1 }, { synchro.sleep, 0.25 } }))
         -- The second one sleeps through, so it is woken first; both are done in the same frame.
         note(uthread.race({ function() synchro.sleep(0.25) synchro.sleep(0.25) end, { synchro.sleep, 0.5 } }))
         note(uthread.all({ function() synchro.sleep(0.5) return 'a' end, function() synchro.sleep(0.25) return 'b' end })[1])",
    );
    assert_eq!(play.frames(7), "|2:nil||1||a|");
    assert_eq!(play.0.frame().sleeping, 0);
}

#[test]
fn an_entity_that_leaves_takes_its_helpers_along() {
    let mut game = Game::new([
        (
            "test",
            script(
                "scheduler.defer(function() print('run') end)
                 uthread.pool(function() scheduler.defer(function() print('pool') end) end)
                 uthread.group(function(group)
                     for n = 1, 2 do
                         group:new(function() scheduler.defer(function() print('member', n) end) synchro.sleep(100) end)
                     end
                     uthread.timeout(50, synchro.sleep, 100)
                 end)",
            ),
        ),
        ("other", script("uthread.pool(function() synchro.sleep(0.5) print('other') end)")),
    ]);
    let entity = game.spawn("test");
    game.frames(1);
    game.spawn("other");
    game.frames(1);
    game.world.despawn(entity);
    game.frames(1);
    let printed = game.printed();
    for words in ["run", "pool", "member\t1", "member\t2"] {
        assert!(printed.contains(words), "{printed}");
    }
    game.frames(3);
    assert_eq!(game.printed(), "other");
    assert_eq!(game.frame().sleeping, 0);
}

#[test]
fn after_a_shutdown_a_limit_is_over_at_once_and_nobody_waits_for_ever() {
    let mut play = Play::new(
        "tasklet(function() note(kind(uthread.wait_until, function() return false end)) end)()
         tasklet(function() note(kind(uthread.wait_until, function() return false end, 5)) end)()
         synchro.shutdown()
         note(kind(uthread.wait_until, function() return false end))
         note(kind(uthread.timeout, 5, scheduler.schedule))
         note(uthread.receive(channel(), 5))",
    );
    let said = play.frames(3);
    assert_eq!(said, "clock clock clock timeout false||");
    assert_eq!(play.0.host.vm().runnable(), 0);
}

#[test]
fn the_examples_of_the_chapter_do_what_they_say() {
    let chapter = include_str!("../../scripting/src/luau/lib/README.md");
    let examples: Vec<_> = chapter
        .split("```luau\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("the example ends").0)
        .collect();
    assert!(examples.len() >= 9, "{}", examples.len());
    for example in examples {
        let mut game = Game::new([("example", script(&format!("\n{example}\nprint('over')")))]);
        game.spawn("example");
        let mut said = String::new();
        for _ in 0..60 {
            let report = game.frame();
            assert!(report.failures.is_empty(), "{}\n{example}", report.failures[0]);
            said += &game.printed();
        }
        assert_eq!(said, "over", "{example}");
    }
}

#[test]
fn the_chapter_speaks_of_everything_there_is() {
    let chapter = include_str!("../../scripting/src/luau/lib/README.md");
    let game = Game::new([] as [(&str, &str); 0]);
    let uthread: mlua::Table = game.host.vm().lua().globals().get("uthread").unwrap();
    for pair in uthread.pairs::<String, mlua::Value>() {
        let (name, _) = pair.unwrap();
        assert!(chapter.contains(&format!("`uthread.{name}(")), "{name}");
    }
}
