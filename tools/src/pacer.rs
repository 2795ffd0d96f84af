//! Wall time into ticks.

use std::time::Duration;

use crate::session::TICK_RATE;

/// The longest wall time that is caught up with. After a longer one (the process was stopped, the terminal hung) the
/// world goes on where it was instead of running after the clock.
const LONGEST_CATCH_UP: f64 = 0.1;

/// Says how many ticks are due, at a speed that may change.
#[derive(Debug, Default)]
pub struct Pacer {
    /// Ticks and a fraction that are due and have not been handed out.
    due: f64,
}

impl Pacer {
    /// Lets `elapsed` wall time go by at `speed` sim seconds a wall second. Returns the whole ticks that are due.
    pub fn advance(&mut self, elapsed: Duration, speed: f64) -> u32 {
        self.due += elapsed.as_secs_f64().min(LONGEST_CATCH_UP) * speed * f64::from(TICK_RATE);
        // Sixty ticks of a sixtieth are a second, in binary fractions too.
        let whole = (self.due + 1e-6).floor();
        self.due -= whole;
        whole as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks_in_a_second(speed: f64) -> u32 {
        let mut pacer = Pacer::default();
        (0..40).map(|_| pacer.advance(Duration::from_millis(25), speed)).sum()
    }

    #[test]
    fn a_wall_second_has_sixty_ticks_times_the_speed() {
        assert_eq!(ticks_in_a_second(1.0), 60);
        assert_eq!(ticks_in_a_second(0.25), 15);
        assert_eq!(ticks_in_a_second(8.0), 480);
    }

    #[test]
    fn a_long_stop_is_not_caught_up_with() {
        assert_eq!(Pacer::default().advance(Duration::from_secs(3600), 1.0), 6);
    }
}
