//! How callers reach an engine.

use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use futures::StreamExt;
use futures::stream;
use tinderbox_protocol::{Error, Event, EventStream};

use crate::adapters::{Lease, Words};
use crate::sequence::Sequence;
use crate::shared::{Place, Shared};
use crate::{Stats, Submission, Vocabulary};

/// A way to an engine; clones lead to the same one.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    vocabulary: Arc<dyn Vocabulary>,
    submissions: Sender<Sequence>,
}

impl Handle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        vocabulary: Arc<dyn Vocabulary>,
        submissions: Sender<Sequence>,
    ) -> Handle {
        Handle {
            shared,
            vocabulary,
            submissions,
        }
    }

    /// Starts a sequence. Dropping the stream cancels it before the engine's next step.
    ///
    /// The engine never waits for a reader. What a slow one has not read yet is kept for it, and
    /// that is bounded: a sequence has at most `max_tokens` + 2 events.
    ///
    /// # Errors
    /// A wrong field, a prompt that does not fit, a full house, a stopped engine.
    pub fn submit(&self, submission: Submission) -> Result<EventStream, Error> {
        self.start(self.enter()?, submission, None)
    }

    /// A place in the house, in which the rest of a submission is made ready.
    ///
    /// # Errors
    /// A full house, a stopped engine.
    pub(crate) fn enter(&self) -> Result<Place, Error> {
        match self.is_stopped() {
            true => Err(self.unavailable()),
            false => self.shared.enter(),
        }
    }

    /// Starts a sequence in a place that was taken, with an adapter.
    pub(crate) fn start(
        &self,
        place: Place,
        submission: Submission,
        lease: Option<Lease>,
    ) -> Result<EventStream, Error> {
        let seed = submission
            .sampling
            .seed
            .unwrap_or_else(|| self.shared.fresh_seed());
        let bounds = (self.shared.context, self.shared.vocab);
        let (sender, events) = async_channel::unbounded();
        let words = Words::of(&*self.vocabulary, lease.as_ref());
        let mut sequence = Sequence::new(submission, bounds, seed, &words, place, sender)?;
        sequence.lease = lease;
        self.submissions
            .try_send(sequence)
            .map_err(|_| self.unavailable())?;
        Ok(event_stream(events))
    }

    /// Tokens one sequence can hold, prompt and answer together.
    pub fn context(&self) -> usize {
        self.shared.context
    }

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab
    }

    /// Most sequences taken in at once, running and waiting.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// How the engine is doing.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Takes nothing new; what was taken in is answered, then [`Engine::run`](crate::Engine::run)
    /// returns.
    pub fn stop(&self) {
        self.submissions.close();
    }

    /// Like [`Handle::stop`], but what is not yet answered ends with an error at the next step.
    pub fn abort(&self) {
        self.stop();
        self.shared.abort();
    }

    /// Ends before the next step what runs: answers with the tokens they have, as if those were
    /// asked for; what has none yet with an error. Nothing else is refused.
    pub fn cut_short(&self) {
        self.shared.cut_short();
    }

    /// Whether new submissions are refused.
    pub fn is_stopped(&self) -> bool {
        self.submissions.is_closed()
    }

    /// Why the engine ended for good, if it did.
    pub fn failure(&self) -> Option<&str> {
        self.shared.failure()
    }

    fn unavailable(&self) -> Error {
        let reason = match self.failure() {
            Some(failure) => failure.into(),
            None => "the server is stopping".into(),
        };
        Error::Unavailable {
            reason,
            retry_after: Duration::from_secs(10),
        }
    }
}

/// The channel as a stream that ends after the last event, and never without one.
fn event_stream(events: Receiver<Result<Event, Error>>) -> EventStream {
    let next = |events: Option<Receiver<_>>| async move {
        let events = events?;
        let event: Result<Event, Error> = events.recv().await.unwrap_or_else(|_| {
            Err(Error::Internal(
                "the engine ended before the answer was complete".into(),
            ))
        });
        let more = matches!(event, Ok(Event::Started(_) | Event::Token(_)));
        Some((event, more.then_some(events)))
    };
    stream::unfold(Some(events), next).boxed()
}
