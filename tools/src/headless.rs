//! The player without a terminal: [`play`] runs a [`Session`] as fast as it can and tells it as text.
//!
//! The text has no wall time in it: the same world, seed and number of frames print the same text. What the wall
//! clock says goes to another stream, in lines that begin with `timing`.

use std::{
    io::{self, Write},
    time::Instant,
};

use crate::{
    frame_times::{FrameTimes, milliseconds},
    journal::Event,
    rates::RateMeter,
    report::{self, ReportLine, printable},
    session::{Session, TICK, TICK_RATE},
    snapshot::TaskletState,
};

/// How many frames are played where nobody says.
pub const DEFAULT_FRAMES: u64 = 600;

/// Plays `frames` frames of `session`. The text goes to `out`, a line when it is true; what the wall clock says goes
/// to `timing`.
///
/// # Errors
/// Where a stream can't be written to. A closed pipe is no error: whoever read has read enough, and it ends.
pub fn play(
    session: &mut impl Session,
    frames: u64,
    out: &mut impl Write,
    timing: &mut impl Write,
) -> io::Result<()> {
    match tell(session, frames, out, timing) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    }
}

fn tell(
    session: &mut impl Session,
    frames: u64,
    out: &mut impl Write,
    timing: &mut impl Write,
) -> io::Result<()> {
    let mut times = FrameTimes::default();
    let mut meter = RateMeter::default();
    let snapshot = session.snapshot(None);
    meter.observe(&snapshot);
    writeln!(out, "bluetick  scene {}  seed {}  frames {frames}", printable(&snapshot.scene), snapshot.seed)?;
    writeln!(
        out,
        "{:>6}  {:>7}  {:>9}  {:>8}  {:>8}  {:>7}  {:>6}  {:>12}  {:>10}",
        "frame",
        "sim s",
        "creatures",
        "runnable",
        "sleeping",
        "waiting",
        "failed",
        "slices/frame",
        "messages/s"
    )?;
    let mut told = 0;
    tell_events(session, &mut told, out, timing)?;

    for frame in 1..=frames {
        let start = Instant::now();
        session.tick(TICK);
        times.record(start.elapsed());
        tell_events(session, &mut told, out, timing)?;
        if frame % u64::from(TICK_RATE) == 0 {
            let snapshot = session.snapshot(None);
            let rates = meter.observe(&snapshot);
            let tasklets = snapshot.tasklets;
            writeln!(
                out,
                "{:>6}  {:>7.2}  {:>9}  {:>8}  {:>8}  {:>7}  {:>6}  {:>12.1}  {:>10.1}",
                snapshot.frame,
                snapshot.sim_time,
                snapshot.creatures.len(),
                tasklets.runnable,
                tasklets.sleeping,
                tasklets.waiting,
                tasklets.failed,
                rates.slices_per_frame,
                rates.messages_per_second,
            )?;
            out.flush()?;
        }
    }

    tell_summary(session, out)?;
    out.flush()?;
    writeln!(
        timing,
        "timing  {frames} frames in {}: mean {}, longest {}",
        milliseconds(times.total()),
        milliseconds(times.mean()),
        milliseconds(times.max())
    )?;
    let load = session.snapshot(None).load;
    writeln!(
        timing,
        "timing  of that the garbage collector {}, at most {} in a frame",
        milliseconds(load.gc_total),
        milliseconds(load.gc_max)
    )
}

/// Tells what has happened since `told`, under the frame's and sim time's columns.
fn tell_events(
    session: &impl Session,
    told: &mut u64,
    out: &mut impl Write,
    timing: &mut impl Write,
) -> io::Result<()> {
    let journal = session.journal();
    for (stamp, event) in journal.since(*told) {
        let lines = match event {
            Event::Announcement(text) => vec![format!("» {}", printable(text))],
            Event::Log(text) => vec![printable(text)],
            Event::Reload(reload) => texts(report::reload(reload)),
            Event::Error(error) => texts(report::error(error)),
        };
        let mut head = format!("{:>6}  {:>7.2}", stamp.frame, stamp.sim_time);
        for line in lines {
            writeln!(out, "{head:15}  {line}")?;
            head.clear();
        }
        if let Event::Reload(reload) = event
            && let Some(took) = reload.took
        {
            writeln!(timing, "timing  reload {}  {}", printable(&reload.title), milliseconds(took))?;
        }
    }
    *told = journal.newest();
    Ok(())
}

fn texts(lines: Vec<ReportLine>) -> Vec<String> {
    lines.into_iter().map(|line| line.text).collect()
}

fn tell_summary(session: &mut impl Session, out: &mut impl Write) -> io::Result<()> {
    let snapshot = session.snapshot(None);
    let totals = session.journal().totals();
    let open = session.journal().open_errors();
    writeln!(out, "summary  scene {}  seed {}", printable(&snapshot.scene), snapshot.seed)?;
    writeln!(out, "  frames         {}", snapshot.frame)?;
    writeln!(out, "  sim time       {:.2} s", snapshot.sim_time)?;
    let kinds: Vec<String> =
        snapshot.kinds().iter().map(|kind| format!("{} {}", printable(&kind.name), kind.count)).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!("  ({})", kinds.join(", ")) };
    writeln!(out, "  creatures      {}{kinds}", snapshot.creatures.len())?;
    let states = TaskletState::ALL.map(|state| format!("{} {}", state.name(), snapshot.tasklets.of(state)));
    writeln!(out, "  tasklets       {}  ({})", snapshot.tasklets.total(), states.join(", "))?;
    writeln!(out, "  slices         {}  (interrupted {})", snapshot.slices, snapshot.load.interrupted)?;
    writeln!(out, "  messages       {}", snapshot.messages)?;
    writeln!(out, "  announcements  {}", totals.announcements)?;
    writeln!(out, "  reloads        {}  (refused {})", totals.reloads, totals.refused)?;
    let times = if totals.raised == 1 { "time" } else { "times" };
    writeln!(
        out,
        "  errors         {}  (raised {} {times}, not mended {open})",
        totals.errors, totals.raised
    )?;
    writeln!(out, "  world          {:016x}", session.digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn text(seed: u64, frames: u64) -> (String, String) {
        let (mut out, mut timing) = (Vec::new(), Vec::new());
        play(&mut Sample::new(seed), frames, &mut out, &mut timing).expect("a Vec takes all");
        (String::from_utf8(out).expect("text"), String::from_utf8(timing).expect("text"))
    }

    #[test]
    fn the_same_seed_prints_the_same_text_and_another_seed_does_not() {
        let (first, _) = text(7, DEFAULT_FRAMES);
        assert_eq!(first, text(7, DEFAULT_FRAMES).0);
        let world = |text: &str| text.lines().last().map(str::to_owned);
        assert_ne!(world(&first), world(&text(8, DEFAULT_FRAMES).0));
    }

    #[test]
    fn every_sim_second_has_a_line_under_the_heading() {
        let (out, _) = text(1, 200);
        let heading = out.lines().nth(1).expect("heading");
        let figures = |line: &&str| !line.contains(char::is_alphabetic) && !line.is_empty();
        let reports: Vec<&str> = out.lines().filter(figures).collect();
        assert_eq!(reports.len(), 3, "{out}");
        for (second, line) in (1..).zip(reports) {
            assert_eq!(line.len(), heading.len(), "{line}");
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words[..2], [format!("{}", second * 60), format!("{second}.00")], "{line}");
        }
    }

    #[test]
    fn what_happens_is_told_when_it_happens() {
        let (out, timing) = text(1, DEFAULT_FRAMES);
        let place = |needle: &str| {
            out.lines().position(|line| line.contains(needle)).unwrap_or_else(|| panic!("{needle}\n{out}"))
        };
        assert!(place("» Wave 1") < place("reload  hunter.luau #1 -> #2"));
        assert!(place("reload  hunter.luau #1 -> #2") < place("failed  hunter.luau:27 in chase"));
        assert!(place("failed  hunter.luau:27 in chase") < place("summary"));
        assert!(out.contains(">   27 |     local d = dist(self.postion, prey)"), "{out}");
        assert_eq!(out.matches("failed  hunter.luau:27").count(), 1, "an error is told once\n{out}");
        assert!(timing.contains("timing  reload hunter.luau #1 -> #2  4.1 ms"), "{timing}");
    }

    #[test]
    fn what_has_happened_once_has_happened_1_time() {
        for (frames, raised) in [(250, "1 time,"), (310, "2 times,")] {
            let (out, _) = text(1, frames);
            assert!(out.contains(&format!("errors         1  (raised {raised} not mended 1)")), "{out}");
        }
    }

    #[test]
    fn the_wall_clock_is_on_the_other_stream_only() {
        let (out, timing) = text(1, 120);
        assert!(!out.contains(" ms") && !out.contains("timing"), "{out}");
        assert!(timing.lines().all(|line| line.starts_with("timing  ")), "{timing}");
        assert!(timing.contains("timing  120 frames in "), "{timing}");
    }

    #[test]
    fn a_closed_pipe_ends_it_quietly() {
        struct Pipe(usize, io::ErrorKind);
        impl Write for Pipe {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                match self.0.checked_sub(bytes.len()) {
                    Some(left) => self.0 = left,
                    None => return Err(self.1.into()),
                }
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sample = Sample::new(1);
        assert!(play(&mut sample, 600, &mut Pipe(500, io::ErrorKind::BrokenPipe), &mut Vec::new()).is_ok());
        let full = play(&mut sample, 600, &mut Pipe(500, io::ErrorKind::StorageFull), &mut Vec::new());
        assert_eq!(full.expect_err("a full disk is an error").kind(), io::ErrorKind::StorageFull);
    }
}
