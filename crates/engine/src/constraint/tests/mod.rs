//! Constraints over a vocabulary of bytes and some longer tokens, without a model.

mod gbnf;
mod hostile;
mod keywords;
mod measure;
mod random;
mod schemas;
mod suite;

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde_json::Value;
use tinderbox_protocol::{Constraint, Error};

use super::{Guide, Guides};
use crate::Vocabulary;

/// The ids 0 to 255 are the bytes.
const LONGER: [&str; 16] = [
    "{\"", "\":", "\": ", "\",", "\", \"", "},", "]}", "[]", "true", "false", "null", "ab", " ",
    "10", "é", "😀",
];
const MARK: u32 = 256 + LONGER.len() as u32;
const END: u32 = MARK + 1;
const VOCAB: usize = END as usize + 1;

struct Bytes;

impl Vocabulary for Bytes {
    fn bytes(&self, id: u32) -> Vec<u8> {
        match id {
            0..256 => vec![id as u8],
            MARK => b"<mark>".to_vec(),
            END => b"<end>".to_vec(),
            _ => LONGER[id as usize - 256].into(),
        }
    }

    fn is_special(&self, id: u32) -> bool {
        id >= MARK
    }

    fn end_tokens(&self) -> &[u32] {
        &[END]
    }
}

fn guides() -> Guides {
    Guides::new(Arc::new(Bytes), VOCAB)
}

fn schema(schema: Value) -> Constraint {
    Constraint::JsonSchema(schema)
}

/// Place and reason of a refusal.
fn refusal(constraint: &Constraint) -> (String, String) {
    match guides().guide(constraint) {
        Err(Error::Constraint { place, reason }) => (place, reason),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{constraint:?} is followed"),
    }
}

/// Whether byte after byte of a text is allowed, and the end behind it.
fn accepts(guide: &Guide, text: &str) -> bool {
    let mut walk = guide.start();
    let mut complete = false;
    for byte in text.bytes() {
        if complete || !walk.mask(true).unwrap().is_allowed(byte.into()) {
            return false;
        }
        complete = walk.take(byte.into()).unwrap();
    }
    complete || walk.mask(true).unwrap().is_allowed(END)
}

/// An answer of tokens drawn at random from the masks, which ends where it can more often than not;
/// `None` where it is not complete after `most` tokens.
fn draw(guide: &Guide, random: &mut ChaCha8Rng, most: usize) -> Option<String> {
    let mut walk = guide.start();
    let mut text = Vec::new();
    for _ in 0..most {
        let mask = walk.mask(true).unwrap();
        let allowed: Vec<u32> = (0..VOCAB as u32)
            .filter(|id| mask.is_allowed(*id))
            .collect();
        assert!(!allowed.contains(&MARK));
        let ends = [END, b'"'.into(), b'}'.into(), b']'.into()];
        let ending = ends.into_iter().find(|end| allowed.contains(end));
        let id = match ending {
            Some(end) if random.next_u32().is_multiple_of(2) => end,
            _ => allowed[random.next_u32() as usize % allowed.len()],
        };
        if id != END {
            text.extend(Bytes.bytes(id));
        }
        if walk.take(id).unwrap() {
            return Some(String::from_utf8(text).unwrap());
        }
    }
    None
}
