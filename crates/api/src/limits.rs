//! How often one client may ask: a token bucket for each address.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::failure::Failure;

/// Requests a minute where nothing is said: LocalLab's documented limit.
const PER_MINUTE: u32 = 60;

/// Most requests at once, as documented by LocalLab.
const BURST: u32 = 10;

/// Checks after which full buckets are forgotten, so that memory follows the clients of the last
/// seconds and not all there ever were.
const SWEEP: u64 = 1024;

/// Where a request comes from, among its extensions; the place puts it there. Requests without
/// one share a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// How often one client may ask. The default is 60 times a minute, 10 of them at once.
pub struct Limits(Option<Buckets>);

struct Buckets {
    limiter: RateLimiter<Client, HashMapStateStore<Client>, Uptime, NoOpMiddleware<Nanos>>,
    checks: AtomicU64,
}

type Client = Option<IpAddr>;

impl Limits {
    /// A number of requests a minute and client, at most 10 of them at once; 0 is no limit.
    pub fn per_minute(requests: u32) -> Limits {
        let burst = NonZeroU32::new(requests.min(BURST));
        let quotas = NonZeroU32::new(requests).zip(burst);
        Limits(quotas.map(|(requests, burst)| {
            let quota = Quota::per_minute(requests).allow_burst(burst);
            Buckets {
                limiter: RateLimiter::hashmap_with_clock(quota, Uptime::default()),
                checks: AtomicU64::default(),
            }
        }))
    }

    /// No limit.
    pub fn none() -> Limits {
        Limits(None)
    }

    /// Counts a request at a time since the server's start.
    ///
    /// # Errors
    /// [`Failure::TooOften`] with the time to wait; such a request does not count.
    pub fn check(&self, client: Option<IpAddr>, uptime: Duration) -> Result<(), Failure> {
        let Some(Buckets { limiter, checks }) = &self.0 else {
            return Ok(());
        };
        let now = limiter.clock().advance(uptime);
        if checks.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            limiter.retain_recent();
        }
        let admitted = limiter.check_key(&client);
        admitted.map_err(|until| Failure::TooOften {
            retry_after: until.wait_time_from(now),
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::per_minute(PER_MINUTE)
    }
}

/// The limiter's clock, in nanoseconds: it shows the time of the latest check, because only the
/// place can read one.
#[derive(Clone, Default)]
struct Uptime(Arc<AtomicU64>);

impl Uptime {
    fn advance(&self, uptime: Duration) -> Nanos {
        let nanos = u64::from(Nanos::from(uptime));
        self.0.fetch_max(nanos, Ordering::Relaxed).max(nanos).into()
    }
}

impl Clock for Uptime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let limits = Limits::default();
        // One new client each 10 ms: a bucket is full again after a second.
        for client in 0..10 * SWEEP as u32 {
            let now = Duration::from_millis(10) * client;
            let client = IpAddr::from(client.to_be_bytes());
            assert!(limits.check(Some(client), now).is_ok());
        }
        let held = limits.0.unwrap().limiter.len();
        assert!(held < 2 * SWEEP as usize, "{held} buckets");
    }
}
