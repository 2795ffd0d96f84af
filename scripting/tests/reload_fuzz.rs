//! Random programs, edited at random while they run (scenario 49).
//!
//! Edits that don't change what a program means must not change what it does: its trace is that of a run
//! without any reload. After arbitrary edits nobody can say what it should do; there the VM checks its heap.
//!
//! Runs with a fixed seed. `BLUETICK_FUZZ=10000` runs so many programs of each kind, `BLUETICK_SEED=7` others. Where
//! the process ends, `BLUETICK_SHOW=1` and `--nocapture` print each program before it runs, and `BLUETICK_FIRST=812`
//! begins with that one.

mod fuzz;
use fuzz::{Author, Campaign};

fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn campaign(edit: fn(&mut Author, &mut fuzz::Program)) -> Campaign {
    let (count, seed) = (setting("BLUETICK_FUZZ", 350), setting("BLUETICK_SEED", 1) as u64);
    let (first, shows) = (setting("BLUETICK_FIRST", 0), setting("BLUETICK_SHOW", 0) > 0);
    Campaign { first, count, seed, parks: false, edit, compare: false, shows, check: || () }
}

#[test]
fn s49_edits_that_mean_nothing_change_nothing() {
    let campaign = Campaign { compare: true, ..campaign(Author::rephrase) };
    let counts = campaign.run();
    println!("{counts:?}");
    assert!(counts.reloads >= 6 * campaign.count && counts.moved > counts.pinned, "{counts:?}");
    assert_eq!(counts.refused, 0, "{counts:?}");
}

#[test]
fn s49_arbitrary_edits_leave_the_vm_sound() {
    let campaign = Campaign { parks: true, ..campaign(Author::mutate) };
    let counts = campaign.run();
    println!("{counts:?}");
    assert!(counts.reloads >= 6 * campaign.count && counts.moved > 0 && counts.pinned > 0, "{counts:?}");
    assert!(counts.parked > 0 && counts.resumed > 0, "{counts:?}");
}
