//! Typed access to a GGUF file's metadata.

use std::collections::BTreeMap;

use super::value::{Array, Strings, Value};
use crate::Error;

/// The key-value pairs of a GGUF file, with its name for messages.
#[derive(Clone, Debug)]
pub struct Metadata {
    file: String,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    pub(super) fn new(file: &str, values: BTreeMap<String, Value>) -> Self {
        Metadata {
            file: file.to_owned(),
            values,
        }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// A value of any type.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.values.iter()
    }

    /// Takes a value out, so that a large one is not held twice.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key)
    }

    /// A whole number of any integer type.
    ///
    /// # Errors
    /// Where the key holds something else.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        self.typed(key, "a whole number", Value::as_u64)
    }

    /// A whole number that counts something in memory.
    ///
    /// # Errors
    /// Where the key holds something else, or more than 2³¹.
    pub fn usize(&self, key: &str) -> Result<Option<usize>, Error> {
        // 2³¹ bounds every product of two such counts on 64 bits.
        let small = |value: &Value| value.as_u64().filter(|n| *n <= 1 << 31).map(|n| n as usize);
        self.typed(key, "a whole number up to 2147483648", small)
    }

    /// A finite number.
    ///
    /// # Errors
    /// Where the key holds something else.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(key, "a finite number", |value| {
            value.as_f32().filter(|x| x.is_finite())
        })
    }

    /// A truth value.
    ///
    /// # Errors
    /// Where the key holds something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// Where the key holds something else.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An array of strings.
    ///
    /// # Errors
    /// Where the key holds something else.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, Error> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::String(strings)) => Some(strings),
            _ => None,
        })
    }

    /// The value, or the error that it is missing.
    ///
    /// # Errors
    /// `value`'s own, and [`Error::MissingKey`].
    pub fn required<T>(&self, key: &str, value: Result<Option<T>, Error>) -> Result<T, Error> {
        value?.ok_or_else(|| Error::MissingKey {
            file: self.file.clone(),
            key: key.to_owned(),
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        match read(value) {
            Some(found) => Ok(Some(found)),
            None => {
                let (file, key) = (self.file.clone(), key.to_owned());
                let found = match value {
                    Value::String(_) | Value::Array(_) => value.kind().to_owned(),
                    _ => format!("{value:?}"),
                };
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
