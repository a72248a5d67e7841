//! Typed access to the JSON files of a folder. A `null` is the same as an absent field.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::Error;

/// An object of a JSON file, with its place for messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    file: String,
    /// Path to this object, as in `rope_scaling.`.
    path: String,
    map: Map<String, Value>,
}

impl Fields {
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: String| Error::Malformed {
            file: file.to_owned(),
            place: "JSON".to_owned(),
            reason,
        };
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Fields {
                file: file.to_owned(),
                path: String::new(),
                map,
            }),
            Ok(_) => Err(malformed("the file holds no object".to_owned())),
            Err(error) => Err(malformed(error.to_string())),
        }
    }

    /// Whether the field is there, be it `null`.
    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// The field unless it is absent or `null`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// All fields that are not `null`.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let fields = self.map.iter().filter(|(_, value)| !value.is_null());
        fields.map(|(key, value)| (key.as_str(), value))
    }

    pub fn usize(&self, key: &str) -> Result<Option<usize>, Error> {
        // 2³¹ bounds every product of two such counts on 64 bits.
        let small = |value: &Value| value.as_u64().filter(|n| *n <= 1 << 31).map(|n| n as usize);
        self.typed(key, "a whole number up to 2147483648", small)
    }

    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        let finite = |value: &Value| value.as_f64().map(|x| x as f32).filter(|x| x.is_finite());
        self.typed(key, "a finite number", finite)
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn object(&self, key: &str) -> Result<Option<Fields>, Error> {
        let map = self.typed(key, "an object", Value::as_object)?;
        let path = format!("{}{key}.", self.path);
        Ok(map.map(|map| Fields {
            file: self.file.clone(),
            path,
            map: map.clone(),
        }))
    }

    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.typed(key, "a list of numbers", |value| {
            value
                .as_array()?
                .iter()
                .map(|x| x.as_f64().map(|x| x as f32))
                .collect()
        })
    }

    pub fn strs(&self, key: &str) -> Result<Option<Vec<&str>>, Error> {
        self.typed(key, "a list of strings", |value| {
            value.as_array()?.iter().map(Value::as_str).collect()
        })
    }

    /// Token ids: one, or a list.
    pub fn ids(&self, key: &str) -> Result<Vec<u32>, Error> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = self.typed(key, "a token id or a list of them", |value| match value {
            Value::Array(ids) => ids.iter().map(id).collect(),
            one => Some(vec![id(one)?]),
        })?;
        Ok(ids.unwrap_or_default())
    }

    /// A token's text: a string, or an object with `content`.
    pub fn token(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a token's text", |value| match value {
            Value::Object(token) => token.get("content")?.as_str(),
            text => text.as_str(),
        })
    }

    /// `chat_template`: a string, or a list of `{name, template}` of which `default` is taken.
    pub fn template(&self) -> Result<Option<&str>, Error> {
        self.typed(
            "chat_template",
            "a template or a list of named ones",
            |value| match value {
                Value::Array(named) => {
                    let default = named.iter().find(|entry| entry["name"] == "default");
                    default.or(named.first())?.get("template")?.as_str()
                }
                text => text.as_str(),
            },
        )
    }

    /// The entries of an object, in the file's order.
    pub fn entries<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<(String, T)>, Error> {
        let entries = self.typed(key, expected, |value| {
            let entries = value.as_object()?.iter();
            entries
                .map(|(key, value)| Some((key.clone(), read(value)?)))
                .collect()
        })?;
        Ok(entries.unwrap_or_default())
    }

    /// The distinct values of an object of strings.
    pub fn string_values(&self, key: &str) -> Result<BTreeSet<String>, Error> {
        let values = self.typed(key, "an object of strings", |value| {
            value
                .as_object()?
                .values()
                .map(|text| text.as_str().map(str::to_owned))
                .collect()
        });
        self.required(key, values)
    }

    /// The value, or the error that it is missing.
    pub fn required<T>(&self, key: &str, value: Result<Option<T>, Error>) -> Result<T, Error> {
        let key = || format!("{}{key}", self.path);
        value?.ok_or_else(|| Error::MissingKey {
            file: self.file.clone(),
            key: key(),
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(found) => Ok(Some(found)),
            None => {
                let found: String = value.to_string().chars().take(80).collect();
                let (file, key) = (self.file.clone(), format!("{}{key}", self.path));
                Err(Error::WrongType {
                    file,
                    key,
                    found,
                    expected,
                })
            }
        }
    }
}
