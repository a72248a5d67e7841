//! Fields that take one of several JSON types. Their readers never hold a body in an intermediate
//! form, so ten megabytes of token ids cost what the ids cost.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use utoipa::ToSchema;

use super::messages::Message;

/// A text or several, token ids or lists of them, or messages.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
    /// For the chat template; lm-evaluation-harness sends it with `--apply_chat_template`.
    Messages(Vec<Message>),
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(PromptVisitor)
    }
}

struct PromptVisitor;

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(
            "a string, or a list of strings, of token ids, of lists of token ids or of messages",
        )
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Prompt, E> {
        Ok(Prompt::Text(text.into()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Prompt, E> {
        Ok(Prompt::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Prompt, A::Error> {
        // The first item says what kind the list has.
        Ok(match list.next_element()? {
            None => Prompt::Texts(Vec::new()),
            Some(Item::Text(first)) => Prompt::Texts(rest(first, list)?),
            Some(Item::Id(first)) => Prompt::Tokens(rest(first, list)?),
            Some(Item::Ids(first)) => Prompt::TokenLists(rest(first, list)?),
            Some(Item::Message(first)) => Prompt::Messages(rest(first, list)?),
        })
    }
}

fn rest<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
    first: T,
    mut list: A,
) -> Result<Vec<T>, A::Error> {
    let mut items = vec![first];
    while let Some(item) = list.next_element()? {
        items.push(item);
    }
    Ok(items)
}

/// First item of a prompt list.
enum Item {
    Text(String),
    Id(u32),
    Ids(Vec<u32>),
    Message(Message),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string, a token id, a list of token ids or a message")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Text(text.into()))
    }

    fn visit_u64<E: Error>(self, id: u64) -> Result<Item, E> {
        let id = u32::try_from(id);
        id.map(Item::Id)
            .map_err(|_| E::custom("a token id has 32 bits"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Item, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Item::Ids)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
        Message::deserialize(MapAccessDeserializer::new(map)).map(Item::Message)
    }
}
