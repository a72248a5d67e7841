//! Who may ask, how often, and how much.
//!
//! A key is known by its SHA-256 sum, and never kept or logged. It is one of the secret `KEYS`, or the
//! name of an entry of the KV namespace `API_KEYS`, whose value says what it allows: a [`Grant`]. With
//! neither, everybody may ask, and is told apart by address.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use tinderbox_api::{Failure, Keys, Limits, is_limited, is_open, key_sum};
use tinderbox_protocol::Error;
use worker::kv::KvStore;
use worker::{Env, Headers, console_error, console_warn};

use crate::config::{number, text};
use crate::world::{header, now};

/// How long an answer of KV is believed; KV itself takes as long to spread a change.
const BELIEVED: Duration = Duration::from_secs(60);
/// How long it is where KV cannot be asked.
const BELIEVED_BLINDLY: Duration = Duration::from_secs(3600);
/// Keys that are remembered; a caller with more wrong ones makes others be asked for again.
const REMEMBERED: usize = 1000;
/// The rate limiter of those for whom none is named.
const LIMITER: &str = "RATE_LIMITER";
/// The longest period of a rate limiter: it does not say when it takes requests again.
const PERIOD: Duration = Duration::from_secs(60);
/// When to come back where a service of the platform fails.
const SOON: Duration = Duration::from_secs(5);
/// Requests a minute and client in LocalLab's dialect: its documented limit.
const LOCALLAB_RATE: u32 = 60;

/// What a key allows.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
struct Grant {
    /// Whose it is, for those who keep the list.
    name: String,
    /// The rate limiter binding that holds its limit.
    limiter: Option<String>,
    /// Tokens its requests may ask for in a day (UTC), prompts and answers together.
    tokens_per_day: Option<u64>,
}

/// Who asks.
pub struct Caller {
    /// The sum of the key, or the address.
    id: String,
    address: Option<IpAddr>,
    grant: Grant,
}

/// What decides about callers.
pub struct Access {
    env: Env,
    keys: Keys,
    store: Option<KvStore>,
    known: RefCell<HashMap<String, Known>>,
    locallab: Limits,
}

/// What KV said of a key, and when.
#[derive(Clone)]
struct Known {
    grant: Option<Grant>,
    since: Duration,
}

impl Access {
    /// As the variables and bindings say.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn of(env: &Env) -> Result<Access, String> {
        let mut keys = Keys::default();
        for sum in text(env, "KEYS").unwrap_or_default().split_whitespace() {
            keys.add_hash(sum).map_err(|error| {
                format!("KEYS: a SHA-256 sum is 64 hexadecimal digits: {error}")
            })?;
        }
        let rate = number(env, "LOCALLAB_RATE", LOCALLAB_RATE)?;
        Ok(Access {
            env: env.clone(),
            keys,
            store: env.kv("API_KEYS").ok(),
            known: RefCell::default(),
            locallab: Limits::per_minute(rate),
        })
    }

    /// Whether callers need a key.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.store.is_some()
    }

    /// Who asks.
    ///
    /// # Errors
    /// [`Failure::Unauthorized`]; [`Error::Unavailable`] where that cannot be known now.
    pub async fn caller(&self, path: &str, headers: &Headers) -> Result<Caller, Failure> {
        let address = header(headers, "cf-connecting-ip").and_then(|text| text.parse().ok());
        let caller = |id: String, grant| Caller { id, address, grant };
        if is_open(path) || !self.has_keys() {
            let id = address.map_or_else(String::new, |address: IpAddr| address.to_string());
            return Ok(caller(id, Grant::default()));
        }
        let sum = key_sum(header(headers, "authorization").as_deref());
        let id: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        let grant = match self.keys.holds(&sum) {
            true => Some(Grant::default()),
            false => self.granted(&id).await?,
        };
        grant
            .map(|grant| caller(id, grant))
            .ok_or(Failure::Unauthorized)
    }

    /// What KV says of a key.
    async fn granted(&self, sum: &str) -> Result<Option<Grant>, Failure> {
        let Some(store) = &self.store else {
            return Ok(None);
        };
        let known = self.known.borrow().get(sum).cloned();
        let believed = |longest| {
            let recent = |known: &&Known| now().saturating_sub(known.since) < longest;
            known
                .as_ref()
                .filter(recent)
                .map(|known| known.grant.clone())
        };
        if let Some(grant) = believed(BELIEVED) {
            return Ok(grant);
        }
        let found = store.get(sum).cache_ttl(BELIEVED.as_secs()).text().await;
        let grant = match found {
            Ok(None) => None,
            Ok(Some(text)) => Some(serde_json::from_str(&text).map_err(|error| {
                console_error!("API_KEYS: the entry of a key is no grant: {error}");
                Error::Internal("what this key allows is not configured rightly".into())
            })?),
            Err(error) => {
                console_error!("API_KEYS: {error}");
                let unknown = || unavailable("Keys cannot be looked up now.");
                return believed(BELIEVED_BLINDLY).ok_or_else(unknown);
            }
        };
        let mut known = self.known.borrow_mut();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        let since = now();
        known.insert(
            sum.to_owned(),
            Known {
                grant: grant.clone(),
                since,
            },
        );
        Ok(grant)
    }

    /// Counts a request that may take this many tokens.
    ///
    /// # Errors
    /// [`Failure::TooOften`], and such a request does not count; [`Error::Unavailable`] where a
    /// limit cannot be looked up.
    pub async fn admit(
        &self,
        caller: &Caller,
        (path, body): (&str, &[u8]),
        tokens: usize,
    ) -> Result<(), Failure> {
        if is_limited(path, body) {
            self.locallab.check(caller.address, now())?;
        }
        self.count_request(caller).await?;
        match caller.grant.tokens_per_day {
            Some(most) if tokens > 0 => self.count_tokens(caller, tokens, most).await,
            _ => Ok(()),
        }
    }

    async fn count_request(&self, caller: &Caller) -> Result<(), Failure> {
        let name = caller.grant.limiter.as_deref();
        let limiter = match (self.env.rate_limiter(name.unwrap_or(LIMITER)), name) {
            (Ok(limiter), _) => limiter,
            (Err(_), None) => return Ok(()),
            (Err(error), Some(_)) => return Err(misconfigured(&error)),
        };
        match limiter.limit(caller.id.clone()).await {
            Ok(outcome) if outcome.success => Ok(()),
            Ok(_) => Err(Failure::TooOften {
                retry_after: PERIOD,
            }),
            Err(error) => {
                // It protects the nodes, which have bounds of their own.
                console_warn!("a rate limiter cannot be asked: {error}");
                Ok(())
            }
        }
    }

    /// Asks the Durable Object of the key (`tokens.mjs`).
    async fn count_tokens(&self, caller: &Caller, tokens: usize, most: u64) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Taken {
            /// Seconds until there are tokens again; none where they were taken.
            wait: Option<u64>,
        }
        let objects = self.env.durable_object("TOKENS");
        let objects = objects.map_err(|error| misconfigured(&error))?;
        let asked = async {
            let object = objects.get_by_name(&caller.id)?;
            let url = format!("http://tokens/?tokens={tokens}&most={most}");
            object.fetch_with_str(&url).await?.json::<Taken>().await
        };
        match asked.await {
            Ok(Taken { wait: None }) => Ok(()),
            Ok(Taken { wait: Some(wait) }) => Err(Failure::TooOften {
                retry_after: Duration::from_secs(wait),
            }),
            Err(error) => {
                console_error!("TOKENS: {error}");
                Err(unavailable("The tokens of this key cannot be counted now."))
            }
        }
    }
}

fn misconfigured(error: &worker::Error) -> Failure {
    console_error!("the limits of a key: {error}");
    Error::Internal("the limits of this key are not configured rightly".into()).into()
}

fn unavailable(reason: &str) -> Failure {
    let reason = reason.into();
    let retry_after = SOON;
    Error::Unavailable {
        reason,
        retry_after,
    }
    .into()
}
