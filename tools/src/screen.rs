//! The real terminal, borrowed for as long as a world plays on it.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, Stdout},
    panic,
    sync::{Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        event, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};

use crate::{
    app::{Action, App},
    ui::Console,
    view::{self, Theme},
};

/// What panics said while a screen was open. `None` while none is.
///
/// A panic's words would be lost on the alternate screen. And it need not be the end of the play: one in a Rust
/// tasklet is caught by the scheduler, and its words must not be written across the picture. So they are held until
/// the terminal is back.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// The terminal. It is given back as it was when this drops, by return, error or panic alike.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    theme: Theme,
    // Dropped after the terminal, which shows the cursor again when it goes.
    _loan: Loan,
}

impl Screen {
    pub(crate) fn open() -> io::Result<Self> {
        let loan = Loan::take()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(Self { terminal, theme: Theme::from_env(), _loan: loan })
    }
}

impl Console for Screen {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<Option<Action>> {
        if !event::poll(timeout)? {
            return Ok(None);
        }
        // A key that means nothing ends the wait as well; the caller waits on for what is left of it.
        Ok(Some(Action::from_event(&event::read()?).unwrap_or(Action::Redraw)))
    }

    fn draw(&mut self, app: &App) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, app, self.theme))?;
        Ok(())
    }
}

/// The terminal's raw mode and alternate screen, for as long as this lives.
struct Loan;

impl Loan {
    fn take() -> io::Result<Self> {
        hold_panics();
        // From here on a drop undoes whatever has been done.
        let loan = Self;
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        Ok(loan)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Whatever fails here, there is nobody left to tell, and the rest must be tried.
        let _ = execute!(io::stdout(), LeaveAlternateScreen);
        let _ = disable_raw_mode();
        let held = HELD.lock().unwrap_or_else(PoisonError::into_inner).take();
        for words in held.into_iter().flatten() {
            eprintln!("{words}");
        }
    }
}

fn hold_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        // For good: a hook can't be taken out again by a thread that panics.
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            match HELD.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                Some(held) => held.push(words(panic)),
                None => usual(panic),
            }
        }));
    });
    HELD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
}

fn words(panic: &panic::PanicHookInfo<'_>) -> String {
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => format!("{panic}\n{backtrace}"),
        _ => panic.to_string(),
    }
}
