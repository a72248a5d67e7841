//! Where the time of a step goes. Nothing is measured between [`finish`] and the next [`start`].

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whose time a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// The host's own work, and its waiting for the device.
    Host,
    /// The host hands an operation to a GPU.
    Queue,
    /// An operation's kernels run.
    Kernels,
}

/// A piece of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whose it is.
    pub track: Track,
    /// What was done, as in `linear Q4_1 576x1536`.
    pub name: String,
    /// Since [`start`].
    pub start: Duration,
    /// How long it took.
    pub length: Duration,
}

/// A span that the device still has to tell.
type Pending = Pin<Box<dyn Future<Output = Option<Span>> + Send>>;

struct Recording {
    start: Instant,
    spans: Vec<Span>,
    pending: Vec<Pending>,
}

static RECORDING: Mutex<Option<Recording>> = Mutex::new(None);
/// Whether there is a recording: asked for each operation.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Begins to measure, for all of the process. What was measured before and not fetched is lost.
///
/// Each operation on a GPU becomes a submit of its own then, so that steps take longer.
pub fn start() {
    set(Some(Recording {
        start: Instant::now(),
        spans: Vec::new(),
        pending: Vec::new(),
    }));
}

/// Whether somebody measures.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Ends measuring, and waits until the device has told the last span. In order of their starts.
pub async fn finish() -> Vec<Span> {
    let Some(recording) = set(None) else {
        return Vec::new();
    };
    let mut spans = recording.spans;
    for pending in recording.pending {
        spans.extend(pending.await);
    }
    spans.sort_by_key(|span| span.start);
    spans
}

fn set(recording: Option<Recording>) -> Option<Recording> {
    IS_ON.store(recording.is_some(), Ordering::Relaxed);
    let mut current = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut current, recording)
}

fn record(add: impl FnOnce(&mut Recording)) {
    let mut current = RECORDING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(recording) = current.as_mut() {
        add(recording);
    }
}

/// Ends its span when it is dropped.
#[must_use]
pub struct Entered(Option<(Track, String, Instant)>);

/// Begins a span. `name` is made only where it is measured.
pub fn enter(track: Track, name: impl FnOnce() -> String) -> Entered {
    Entered(is_on().then(|| (track, name(), Instant::now())))
}

impl Drop for Entered {
    fn drop(&mut self) {
        let Some((track, name, began)) = self.0.take() else {
            return;
        };
        let length = began.elapsed();
        record(|recording| {
            recording.spans.push(Span {
                track,
                name,
                start: began.saturating_duration_since(recording.start),
                length,
            });
        });
    }
}

/// Runs what hands an operation to a GPU: a span in the queue, and one of its kernels as the device
/// measures them.
#[cfg(all(feature = "gpu", not(target_arch = "wasm32")))]
pub(crate) fn launch<T>(
    client: &burn::cubecl::client::Client,
    name: impl Fn() -> String,
    work: impl FnOnce() -> T,
) -> T {
    if !is_on() {
        return work();
    }
    let window = client.profile_start();
    let queued = enter(Track::Queue, &name);
    let out = work();
    drop(queued);
    // A device without a clock of its own has no spans.
    let Ok(measured) = window.and_then(|window| client.profile_end(window)) else {
        return out;
    };
    let name = name();
    record(|recording| {
        let start = recording.start;
        recording.pending.push(Box::pin(async move {
            let ticks = measured.resolve().await?;
            Some(Span {
                track: Track::Kernels,
                name,
                start: ticks.start_duration_since(start),
                length: ticks.duration(),
            })
        }));
    });
    out
}

/// In a tab nobody measures.
#[cfg(all(feature = "gpu", target_arch = "wasm32"))]
pub(crate) fn launch<C, T>(_: &C, _: impl Fn() -> String, work: impl FnOnce() -> T) -> T {
    work()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the recording is the process's.
    #[test]
    fn what_is_entered_between_start_and_finish_is_a_span() {
        run_now(async {
            drop(enter(Track::Host, || unreachable!("nobody measures")));
            start();
            let outer = enter(Track::Host, || "step".into());
            drop(enter(Track::Kernels, || "linear".into()));
            drop(outer);
            let spans = finish().await;
            let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
            assert_eq!(names, ["step", "linear"]);
            let end = |span: &Span| span.start + span.length;
            assert!(end(&spans[0]) >= end(&spans[1]));
            assert!(finish().await.is_empty());
        });
    }

    /// Runs what never waits.
    fn run_now(future: impl Future<Output = ()>) {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(future).poll(&mut context).is_ready());
    }
}
