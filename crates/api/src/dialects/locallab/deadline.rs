//! `max_time`: answers that end when their time is over.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::unfold;
use tinderbox_protocol::{Event, EventStream, Finish, FinishReason};

use crate::Place;

/// The stream, ended as by `max_tokens` with the first token at or after an uptime.
pub(super) fn cut(events: EventStream, deadline: Duration, place: Arc<dyn Place>) -> EventStream {
    let next = move |(events, tokens): (Option<EventStream>, usize)| {
        let place = place.clone();
        async move {
            let mut events = events?;
            let event = events.next().await?;
            let Ok(Event::Token(token)) = event else {
                return Some((event, (Some(events), tokens)));
            };
            let tokens = tokens + 1;
            if place.uptime() < deadline {
                return Some((Ok(Event::Token(token)), (Some(events), tokens)));
            }
            let end = Finish {
                reason: FinishReason::Length,
                text: token.text,
                completion_tokens: tokens,
                // Not known before the end; this dialect does not tell it.
                seed: 0,
            };
            Some((Ok(Event::Finished(end)), (None, tokens)))
        }
    };
    unfold((Some(events), 0), next).boxed()
}
