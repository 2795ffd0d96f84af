//! Colours and weights.
//!
//! Only the sixteen colours that a terminal's theme defines, never black or white and never a background, so that the
//! picture is legible on dark and light alike. Nothing is told by colour alone, so it is legible without any too.

use ratatui::style::{Color, Modifier, Style};

use crate::{
    report::Tone,
    snapshot::{Hue, TaskletState},
};

/// How things look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Theme {
    colour: bool,
}

impl Theme {
    /// With colours.
    pub const COLOUR: Self = Self { colour: true };

    /// With weights only.
    pub const PLAIN: Self = Self { colour: false };

    /// Without colours where the variable `NO_COLOR` is set and not empty (<https://no-color.org>).
    pub fn from_env() -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour }
    }

    fn paint(self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn text(self) -> Style {
        Style::new()
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What one looks at last. Dimmed text colour: "bright black" is invisible in some themes.
    pub(super) fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// A panel's title on its frame, whose faintness it must not inherit.
    pub(super) fn title(self) -> Style {
        Style::new().remove_modifier(Modifier::DIM).add_modifier(Modifier::BOLD)
    }

    pub(super) fn accent(self) -> Style {
        self.paint(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn good(self) -> Style {
        self.paint(Color::Green)
    }

    pub(super) fn warning(self) -> Style {
        self.paint(Color::Yellow)
    }

    pub(super) fn bad(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn followed(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED)
    }

    pub(super) fn hue(self, hue: Hue) -> Style {
        match hue {
            Hue::Plain => self.text(),
            Hue::Red => self.paint(Color::Red),
            Hue::Green => self.paint(Color::Green),
            Hue::Yellow => self.paint(Color::Yellow),
            Hue::Blue => self.paint(Color::Blue),
            Hue::Magenta => self.paint(Color::Magenta),
            Hue::Cyan => self.paint(Color::Cyan),
        }
    }

    pub(super) fn tasklet(self, state: TaskletState) -> Style {
        match state {
            TaskletState::Runnable => self.good(),
            TaskletState::Sleeping => self.paint(Color::Blue),
            TaskletState::Waiting => self.warning(),
            TaskletState::Failed => self.bad(),
        }
    }

    pub(super) fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Good => self.good().add_modifier(Modifier::BOLD),
            Tone::Bad => self.bad(),
            Tone::Text => self.text(),
            Tone::Marked => self.strong(),
            Tone::Faint => self.faint(),
        }
    }
}
