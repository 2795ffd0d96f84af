//! A kill at every point where a program can wait, of everybody who waits there: whatever the library
//! counts and queues is right afterwards.

mod script;
use bluetick_scripting::{OwnerId, Tasklet, VmConfig};
use mlua::Function;
use script::clock::Clock;
use script::{load, vm_with};

/// Each program has a function that starts it, and one that says that all is well after it, which may
/// itself wait. Tasklets that may be killed call `enter`.
const PROGRAMS: [(&str, &str); 15] = [
    (
        "semaphore",
        "local s = uthread.Semaphore(2)
         for n = 1, 4 do
             spawn(function()
                 s:with(function() scheduler.schedule() end)
                 if s:acquire(if n % 2 == 0 then 0.5 else nil) then
                     scheduler.defer(function() s:release() end)
                     if n < 3 then synchro.sleep(1) end
                 end
             end)
         end
         return function() eq(tostring(s), 'semaphore (2 free, 0 waiting)') end",
    ),
    (
        "locks",
        "local l, r = uthread.Lock(), uthread.RLock()
         for n = 1, 4 do
             spawn(function()
                 r:with(function()
                     r:with(function()
                         l:with(function() scheduler.schedule() end)
                         synchro.yield()
                     end)
                 end)
                 if l:acquire(0.25) then
                     local ok, err = scheduler.pcall(synchro.sleep, 0.25)
                     l:release()
                     if not ok then error(err) end
                 end
             end)
         end
         return function()
             eq(tostring(l), 'lock (free, 0 waiting)')
             eq(tostring(r), 'reentrant lock (free, 0 waiting)')
         end",
    ),
    (
        "condition",
        "local c = uthread.Condition()
         local ready = 0
         for n = 1, 3 do
             spawn(function()
                 c:with(function()
                     c.lock:with(function() c:wait_for(function() return ready >= n end, if n == 2 then 0.5 else nil) end)
                     eq(c.lock:held(), true)
                     scheduler.schedule()
                     eq(c.lock:held(), true)
                     if ready < 3 then c:wait(0.25) end
                     eq(c.lock:held(), true)
                 end)
             end)
         end
         spawn(function()
             for n = 1, 3 do
                 c:with(function() ready += 1 c:notify(2) scheduler.schedule() end)
             end
             c:with(function() c:notify_all() end)
         end)
         return function()
             c:with(function() ready = 3 c:notify_all() end)
             synchro.sleep(1)
             eq(tostring(c), 'condition (0 waiting; reentrant lock (free, 0 waiting))')
         end",
    ),
    (
        "notifications",
        "-- One notification for each of two waiters: a third one, killed or not, takes none of them away.
         local c = uthread.Condition(uthread.Lock())
         local woken = 0
         for n = 1, 3 do
             spawn(function() c:with(function() if c:wait(2) then woken += 1 end end) end)
         end
         local notifier = uthread.new(function()
             synchro.sleep(0.5)
             for _ = 1, 2 do c:with(function() c:notify() end) end
         end)
         return function()
             -- Of whoever was killed after it was notified, the notification was passed on.
             eq(woken, 2)
             eq(notifier.alive, false)
             eq(tostring(c), 'condition (0 waiting; lock (free, 0 waiting))')
         end",
    ),
    (
        "events",
        "local e, v = uthread.Event(), uthread.ValueEvent()
         for n = 1, 3 do
             spawn(function()
                 e:wait(if n == 2 then 0.25 else nil)
                 pcall(v.wait, v, if n == 3 then 0.25 else nil)
             end)
         end
         spawn(function() synchro.sleep(0.5) e:set() scheduler.schedule() v:set(5) end)
         return function()
             e:set()
             if not v:is_set() then v:set(5) end
             scheduler.schedule()
             eq(e:waiting() + v:waiting(), 0)
         end",
    ),
    (
        "barrier",
        "local b = uthread.Barrier(3, function() scheduler.schedule() end)
         local passed, failed = 0, 0
         for n = 1, 3 do
             spawn(function()
                 for round = 1, 2 do
                     local ok, err = pcall(b.wait, b)
                     if ok then passed += 1 else failed += 1 eq(err.kind, 'broken') return end
                     scheduler.schedule()
                 end
             end)
         end
         return function()
             if killed() == 0 then eq(passed, 6) end
             b:abort()
             scheduler.schedule()
             b:reset()
             eq(tostring(b), 'barrier (0 of 3 have come)')
             eq(b:waiting(), 0)
         end",
    ),
    (
        "bounded queue",
        "local q = uthread.QueueChannel(1)
         local sent, received = { 0, 0 }, { 0, 0 }
         local count = 0
         for who = 1, 2 do
             spawn(function()
                 for n = 1, 3 do
                     q:send({ who = who, n = n })
                     sent[who] = n
                 end
             end)
         end
         spawn(function()
             while true do
                 local got, v = uthread.receive(q, 1)
                 if not got then break end
                 -- In order, none twice, none left out.
                 eq(v.n, received[v.who] + 1)
                 received[v.who] = v.n
                 scheduler.schedule()
             end
         end)
         return function()
             while q.balance > 0 do
                 local v = q:receive()
                 eq(v.n > received[v.who], true)
                 received[v.who] = v.n
                 scheduler.schedule()
             end
             if killed() == 0 then eq(received[1] + received[2], 6) end
             for who = 1, 2 do eq(received[who] >= sent[who], true) end
             eq(q.balance, 0)
             eq(#q, 0)
         end",
    ),
    (
        "gather",
        "local c = channel()
         local function job(n)
             enter()
             synchro.sleep(n / 4)
             scheduler.schedule()
             return n
         end
         spawn(function()
             pcall(function()
                 local results = uthread.all({ { job, 1 }, { job, 2 }, function() enter() return uthread.parallel({ { job, 1 }, { job, 2 }, { job, 1 } }, 2) end })
                 eq(results[3][3], 1)
             end)
             pcall(uthread.all, { { job, 3 }, function() enter() scheduler.schedule() error('oh no') end, { c.receive, c } })
         end)
         return function() eq(c.balance, 0) end",
    ),
    (
        "race",
        "local c = channel()
         local function loser()
             enter()
             scheduler.defer(function() end)
             local ok, err = scheduler.pcall(c.receive, c)
             scheduler.schedule()
             if not ok then error(err, 0) end
         end
         local function winner(n) enter() synchro.sleep(n / 4) return n end
         spawn(function()
             pcall(uthread.race, { loser, { winner, 2 }, { winner, 1 }, loser })
             pcall(uthread.any, { loser, { winner, 2 }, function() enter() scheduler.schedule() error('oh no') end })
         end)
         return function()
             -- With all winners killed, the losers are waited for.
             while c.balance < 0 do c:send(nil) scheduler.schedule() end
             eq(c.balance, 0)
         end",
    ),
    (
        "group",
        "local c = channel()
         local function member(n)
             enter()
             if n == 0 then error('oh no') end
             local ok, err = scheduler.pcall(function() if n % 2 == 0 then c:receive() else synchro.sleep(n / 4) end end)
             scheduler.schedule()
             if not ok then error(err, 0) end
         end
         spawn(function()
             pcall(uthread.group, function(outer)
                 outer:new(member, 1)
                 outer:new(function()
                     enter()
                     uthread.group(function(inner) inner:new(member, 3) inner:new(member, 2) synchro.sleep(0.25) inner:cancel() end)
                 end)
                 synchro.sleep(0.5)
             end)
             pcall(uthread.group, function(group)
                 group:new(member, 2)
                 group:new(function() enter() synchro.sleep(0.5) member(0) end)
                 c:receive()
             end)
         end)
         return function()
             -- With the one killed that would fail, the others are waited for.
             while c.balance < 0 do c:send(nil) scheduler.schedule() end
             eq(c.balance, 0)
         end",
    ),
    (
        "timeout",
        "local c = channel()
         spawn(function()
             pcall(uthread.timeout, 0.5, function()
                 pcall(uthread.timeout, 0.25, function() c:receive() end)
                 pcall(uthread.timeout, 2, function() synchro.sleep(5) end)
             end)
             uthread.timeout(1, function() uthread.receive(c, 0.25) scheduler.schedule() uthread.wait_until(function() return false end, 0.25) end)
         end)
         return function() eq(c.balance, 0) end",
    ),
    (
        "select",
        "local a, b, q = channel(), channel(), uthread.QueueChannel()
         local taken, given = 0, 0
         spawn(function()
             for _ = 1, 6 do
                 local which = uthread.select({ a, b, q, 0.5 })
                 if which < 4 then taken += 1 end
             end
         end)
         for n, c in { a, b, q } do
             spawn(function() synchro.sleep(n / 4) c:send(n) given += 1 scheduler.schedule() end)
         end
         return function()
             for _, c in { a, b, q } do
                 while c.balance > 0 do c:receive() taken += 1 scheduler.schedule() end
                 eq(c.balance, 0)
             end
             -- A value that a killed receiver was handed is lost with it, and no other.
             eq(given - taken <= killed(), true)
             eq(taken >= given - killed(), true)
         end",
    ),
    (
        "joins",
        "local inner = spawn(function() synchro.sleep(0.5) return 'v' end)
         for n = 1, 2 do
             spawn(function()
                 local ok, result = pcall(uthread.join, inner)
                 eq(if ok then result else result.kind, if ok then 'v' else 'cancelled')
                 ok, result = pcall(uthread.select, { channel(), inner, 5 })
                 eq(if ok then result else result.kind, if ok then 2 else 'cancelled')
             end)
         end
         return function() eq(inner.alive, false) end",
    ),
    (
        "pool",
        "local done = 0
         for n = 1, 3 do uthread.pool(function() enter() scheduler.schedule() done += 1 end) end
         spawn(function()
             synchro.sleep(0.5)
             for n = 1, 3 do uthread.pool(function() enter() done += 1 end) scheduler.schedule() end
         end)
         return function()
             -- A job is lost only with the helper that does it, or with whoever was to give it out.
             if killed() == 0 then eq(done, 6) end
             local before = done
             for n = 1, 5 do uthread.pool(function() done += 1 end) end
             synchro.sleep(0.25)
             eq(done, before + 5)
         end",
    ),
    (
        "mixture",
        "local s, q = uthread.Semaphore(1), uthread.QueueChannel(2)
         for n = 1, 3 do
             spawn(function()
                 pcall(uthread.group, function(group)
                     group:new(function() enter() s:with(function() q:send(n) scheduler.schedule() end) end)
                     uthread.timeout(2, function() s:with(function() return q:receive() end) end)
                 end)
             end)
         end
         return function()
             eq(tostring(s), 'semaphore (1 free, 0 waiting)')
             while q.balance > 0 do q:receive() scheduler.schedule() end
             eq(q.balance, 0)
         end",
    ),
];

/// Around a program: what it may use.
const FRAME: &str = "
    local victims, dead = {}, 0
    local function enter()
        local me = scheduler.getcurrent()
        if not table.find(victims, me) then table.insert(victims, me) end
    end
    local function spawn(f)
        return uthread.new(function() enter() local ok, err = scheduler.pcall(f) if not ok then error(err, 0) end return err end)
    end
    local function killed() return dead end
    local check = (function() PROGRAM end)()
    return function() return victims end,
        function() dead += 1 end,
        function() check() note('well') end,
        function(t) t:kill() end
";

/// Frames after which every program has ended.
const FRAMES: usize = 30;

/// One run of a program, in which the `victim`th of those that may be killed is killed after so many slices.
fn run(name: &str, program: &str, slices: usize, victim: usize, pending: bool) -> Outcome {
    let clock = Clock::default();
    let vm = vm_with(VmConfig::default(), |vm| clock.install(vm));
    let context = format!("{name}: victim {victim} after {slices} slices, pending: {pending}");
    let frame = load(&vm, &FRAME.replace("PROGRAM", program));
    type Functions = (Function, Function, Function, Function);
    let (victims, note_kill, check, kill): Functions =
        frame.call(()).unwrap_or_else(|error| panic!("{context}: {error}"));
    let mut left = slices;
    let mut outcome = Outcome::Over;
    let mut killed = false;
    for _ in 0..FRAMES {
        loop {
            vm.run_ready(|| {
                let go_on = left > 0 || killed;
                left = left.saturating_sub(1);
                go_on
            });
            if killed || vm.runnable() == 0 && left > 0 {
                break;
            }
            killed = true;
            vm.lua().gc_collect().expect("the collector runs");
            let all: Vec<Tasklet> = victims.call(()).expect("the list of victims");
            outcome = match all.get(victim) {
                None => return Outcome::Nobody,
                Some(victim) if !victim.alive() => return Outcome::Dead,
                Some(victim) => {
                    note_kill.call::<()>(()).expect("it is noted");
                    if pending {
                        vm.kill(victim.id()).expect("it does not run");
                    } else {
                        vm.spawn(&kill, victim.clone(), OwnerId::default()).expect("a tasklet can be made");
                    }
                    Outcome::Killed
                }
            };
        }
        clock.tick(&vm);
    }
    vm.spawn(&check, (), OwnerId::default()).expect("a tasklet can be made");
    for _ in 0..FRAMES {
        vm.run_ready(|| true);
        clock.tick(&vm);
    }
    for ended in vm.take_ended() {
        if let Some(failure) = ended.failure {
            panic!("{context}: {}: {}\n{}", failure.name, failure.message, failure.traceback);
        }
    }
    assert_eq!(script::notes(&vm), "well", "{context}");
    let stats = vm.stats();
    assert_eq!((stats.runnable, stats.parked), (0, 0), "{context}");
    // Idle helpers of a pool wait for jobs; nobody else waits for anything.
    assert!(name == "pool" || stats.waiting == 0, "{context}: {stats:?}");
    outcome
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The program ended in fewer slices.
    Over,
    /// There was no such victim yet.
    Nobody,
    /// That victim had ended.
    Dead,
    Killed,
}

#[test]
fn a_kill_at_every_point_of_every_program_leaves_counts_and_queues_right() {
    for (name, program) in PROGRAMS {
        let mut kills = 0;
        for pending in [true, false] {
            for slices in 1.. {
                let over = 'victims: {
                    for victim in 0.. {
                        match run(name, program, slices, victim, pending) {
                            Outcome::Over => break 'victims true,
                            Outcome::Nobody => break,
                            Outcome::Dead => {}
                            Outcome::Killed => kills += 1,
                        }
                    }
                    false
                };
                if over {
                    break;
                }
            }
        }
        assert!(kills >= 10, "{name}: only {kills} kills");
        println!("{name}: {kills} kills");
    }
}
