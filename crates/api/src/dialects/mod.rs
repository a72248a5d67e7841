//! The dialects, one folder each, all of the same shape: wire types, one way from wire to
//! [`Batch`](crate::batch::Batch), one way back, one stream encoder, one error
//! [`Shape`](crate::failure::Shape).
//!
//! All answer on one host. A path that several dialects have is decided by the keys of the body
//! ([`shared`]); a prefix such as `/lorax` in front of a path forces one dialect.

mod litellm;
pub(crate) mod locallab;
mod lorax;
pub(crate) mod openai;
mod shared;
mod textsynth;
mod union;

use std::collections::BTreeMap;

use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use tinderbox_protocol::Error;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::failure::{Failure, Refusal};
use crate::{Context, Routes, own_routes};
use locallab::stream::Frame;

/// A way to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Lorax,
    TextSynth,
    LocalLab,
    LiteLlm,
}

impl Dialect {
    pub const ALL: [Dialect; 5] = [
        Dialect::OpenAi,
        Dialect::Lorax,
        Dialect::TextSynth,
        Dialect::LocalLab,
        Dialect::LiteLlm,
    ];

    /// Its name, and the first segment of the paths that force it.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Lorax => "lorax",
            Dialect::TextSynth => "textsynth",
            Dialect::LocalLab => "locallab",
            Dialect::LiteLlm => "litellm",
        }
    }

    /// What it is, for the reader of the API's description.
    pub fn about(self) -> &'static str {
        match self {
            Dialect::OpenAi => {
                "OpenAI's completions, with what vLLM adds and lm-evaluation-harness needs."
            }
            Dialect::Lorax => "LoRAX's native API: Text Generation Inference with adapters.",
            Dialect::TextSynth => "TextSynth's engines: completions, chat, log-probabilities.",
            Dialect::LocalLab => "LocalLab's API: generation, and which model is loaded.",
            Dialect::LiteLlm => "The endpoint that LiteLLM's custom provider asks.",
        }
    }

    fn routes(self) -> Routes {
        match self {
            Dialect::OpenAi => openai::routes(),
            Dialect::Lorax => lorax::routes(),
            Dialect::TextSynth => textsynth::routes(),
            Dialect::LocalLab => locallab::routes(),
            Dialect::LiteLlm => litellm::routes(),
        }
    }

    /// The dialect that a path's prefix forces, and the path behind the prefix.
    pub fn forced(path: &str) -> (Option<Dialect>, &str) {
        for dialect in Dialect::ALL {
            let after = path.strip_prefix('/');
            match after.and_then(|after| after.strip_prefix(dialect.name())) {
                Some("") => return (Some(dialect), "/"),
                Some(rest) if rest.starts_with('/') => return (Some(dialect), rest),
                _ => {}
            }
        }
        (None, path)
    }

    /// The dialect that is surely spoken at a path.
    pub fn of(path: &str) -> Option<Dialect> {
        let (forced, path) = Dialect::forced(path);
        let mut segments = path.split('/').skip(1);
        let first = segments.next().unwrap_or_default();
        forced.or_else(|| match (first, segments.next().unwrap_or_default()) {
            ("v1", "engines" | "credits") => Some(Dialect::TextSynth),
            (
                "generate_stream" | "info" | "invocations" | "ping" | "startup" | "embed"
                | "classify" | "classify_batch",
                "",
            )
            | (_, "deployments")
            | ("api-doc", _) => Some(Dialect::Lorax),
            ("generate", "batch")
            | ("chat" | "models" | "system" | "resources" | "network" | "startup-status", _) => {
                Some(Dialect::LocalLab)
            }
            ("v1", _) | ("tokenizer_info" | "detokenize", "") => Some(Dialect::OpenAi),
            _ => None,
        })
    }

    /// A failure in the dialect's shape.
    fn refuse(self, failure: Failure) -> Response {
        match self {
            Dialect::OpenAi => Refusal::<openai::errors::OpenAi>::from(failure).into_response(),
            Dialect::Lorax => Refusal::<lorax::errors::Lorax>::from(failure).into_response(),
            Dialect::TextSynth => {
                Refusal::<textsynth::errors::TextSynth>::from(failure).into_response()
            }
            Dialect::LocalLab => {
                Refusal::<locallab::errors::LocalLab>::from(failure).into_response()
            }
            Dialect::LiteLlm => Refusal::<litellm::errors::LiteLlm>::from(failure).into_response(),
        }
    }
}

/// Whether LocalLab's limit on how often a client may ask holds for a `POST` of this body.
pub fn is_limited(path: &str, body: &[u8]) -> bool {
    match Dialect::forced(path) {
        (None | Some(Dialect::LocalLab), "/generate/batch" | "/chat") => true,
        (Some(Dialect::LocalLab), "/generate") => true,
        (None, "/generate") => matches!(shared::generates(body), Ok(Dialect::LocalLab)),
        _ => false,
    }
}

/// Everything that is served. Of several that name a path the first has it, but for the prefixes.
pub(crate) fn routes() -> BTreeMap<String, MethodRouter<Context>> {
    let mut all = BTreeMap::new();
    let own = own_routes().into_iter().chain(shared::routes());
    let plain = Dialect::ALL.into_iter().flat_map(Dialect::routes);
    for (path, methods) in own.chain(plain) {
        all.entry(path.to_owned()).or_insert(methods);
    }
    for dialect in Dialect::ALL {
        let prefix = format!("/{}", dialect.name());
        for (path, methods) in dialect.routes().into_iter().chain(own_routes()) {
            if path == "/" {
                all.insert(prefix.clone(), methods.clone());
            }
            all.insert(format!("{prefix}{path}"), methods);
        }
    }
    all
}

/// What each dialect says of itself; what LoRAX has of OpenAI only where it is `forced`.
pub(crate) fn documents(forced: Option<Dialect>) -> Vec<(Dialect, OpenApi)> {
    let mut documents = vec![
        (Dialect::OpenAi, openai::Document::openapi()),
        (Dialect::Lorax, lorax::Document::openapi()),
        (Dialect::TextSynth, textsynth::Document::openapi()),
        (Dialect::LocalLab, locallab::Document::openapi()),
        (Dialect::LiteLlm, litellm::Document::openapi()),
    ];
    if let Some(forced) = forced {
        documents.push((Dialect::Lorax, openai::Generation::openapi()));
        documents.retain(|(dialect, _)| *dialect == forced);
    }
    documents
}

/// A failure in the shape of the path's dialect, in everybody's where none is sure.
pub fn refuse(path: &str, failure: Failure) -> Response {
    match Dialect::of(path) {
        Some(dialect) => dialect.refuse(failure),
        None => Refusal::<union::Union>::from(failure).into_response(),
    }
}

/// What ends the stream of an answer at a path where it fails: an error in the form that clients of this
/// stream look for.
pub fn break_off(path: &str, error: Error) -> Vec<u8> {
    let mut end = Vec::new();
    let (_, plain) = Dialect::forced(path);
    match (Dialect::of(path), plain) {
        // Nobody else streams there.
        (Some(Dialect::LocalLab) | None, "/generate") => {
            locallab::stream::broken(Frame::Text, error, &mut end);
        }
        (Some(Dialect::LocalLab), _) => locallab::stream::broken(Frame::Chat, error, &mut end),
        (Some(Dialect::TextSynth), _) => textsynth::stream::broken(error, &mut end),
        (Some(Dialect::OpenAi), _) => openai::form::broken(error, &mut end),
        // LoRAX has OpenAI's.
        (_, plain) if plain.starts_with("/v1/") => openai::form::broken(error, &mut end),
        // At `/`, too: LiteLLM asks for no streams.
        _ => lorax::stream::broken(error, &mut end),
    }
    end
}

/// Answers where nothing is served.
pub(crate) async fn no_route(uri: Uri) -> Response {
    let path = uri.path().to_owned();
    refuse(uri.path(), Failure::NoRoute { path })
}

/// Answers where the method is wrong.
pub(crate) async fn wrong_method(method: Method, uri: Uri) -> Response {
    let failure = Failure::WrongMethod {
        path: uri.path().to_owned(),
        method: method.to_string(),
    };
    refuse(uri.path(), failure)
}
