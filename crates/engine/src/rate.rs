//! How fast things happen.

use std::time::Duration;

/// Events a second over about the last half minute of work. Only the time that is recorded
/// counts, so an idle hour does not look like a slow one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    events: f64,
    seconds: f64,
}

/// Time after which an event weighs 1/e.
const MEMORY: f64 = 30.0;

impl Rate {
    /// Adds `events` that took `time`.
    pub fn record(&mut self, events: usize, time: Duration) {
        let seconds = time.as_secs_f64();
        let keep = (-seconds / MEMORY).exp();
        self.events = self.events * keep + events as f64;
        self.seconds = self.seconds * keep + seconds;
    }

    /// Events a second; 0 before anything was measured.
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.events / self.seconds
        } else {
            0.0
        }
    }

    /// Likely time to the next event. Before the first one it is the time waited so far.
    pub fn interval(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds / self.events.max(1.0)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_measured_as_it_is() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), 0.0);
        for _ in 0..1000 {
            rate.record(5, Duration::from_millis(500));
        }
        assert!(
            (rate.per_second() - 10.0).abs() < 1e-6,
            "{}",
            rate.per_second()
        );
        assert!((rate.interval().as_secs_f64() - 0.1).abs() < 1e-6);
    }

    #[test]
    fn the_rate_follows_a_change_within_a_few_half_minutes() {
        let mut rate = Rate::default();
        for _ in 0..100 {
            rate.record(100, Duration::from_secs(1));
        }
        for _ in 0..150 {
            rate.record(1, Duration::from_secs(1));
        }
        assert!(rate.per_second() < 2.0, "{}", rate.per_second());
    }

    #[test]
    fn before_the_first_event_the_interval_is_the_time_waited() {
        let mut rate = Rate::default();
        rate.record(0, Duration::from_secs(3));
        assert_eq!(rate.interval(), Duration::from_secs(3));
    }
}
