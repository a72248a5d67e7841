//! The Hugging Face Hub, through `hf-hub`: it knows URLs, tokens, redirects and errors; we keep the
//! bytes, so that a cut transfer goes on where it stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use hf_hub::repository::RepoTreeEntry;
use hf_hub::{HFClient, HFError};
use tinderbox_engine::ADAPTER_FILES;
use tinderbox_model::gguf;

use super::transfer::{self, Progress, Quiet};
use super::{PullError, lock};
use crate::catalog::stays_inside;

/// Longest wait for a connection: with no hub reachable the next source is tried at once.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest silence in the middle of a transfer.
const SILENCE: Duration = Duration::from_secs(30);

/// Names the files of a repository that was fetched whole.
const LIST: &str = "files.txt";

/// A way to the hub.
pub struct Hub {
    client: HFClient,
}

impl Hub {
    /// The hub at `endpoint`, else at `HF_ENDPOINT`, else the public one; with `token`, else the
    /// user's own (`HF_TOKEN`), if there is one.
    ///
    /// # Errors
    /// Where the endpoint is no URL.
    pub fn new(endpoint: Option<&str>, token: Option<&str>) -> Result<Hub, PullError> {
        let fail = |reason: String| PullError::Fetch {
            from: "hub".into(),
            reason,
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE);
        let http = http.build().map_err(|e| fail(e.to_string()))?;
        let mut client = HFClient::builder()
            .client(http)
            .cache_enabled(false)
            .retry_max_attempts(1);
        if let Some(endpoint) = endpoint {
            client = client.endpoint(endpoint);
        }
        if let Some(token) = token {
            client = client.token(token);
        }
        Ok(Hub {
            client: client.build().map_err(|e| fail(e.to_string()))?,
        })
    }

    /// Fetches one file to `target`; an earlier try of the same version is taken up.
    pub(super) async fn fetch(
        &self,
        repo: &str,
        file: &str,
        revision: Option<&str>,
        target: &Path,
        sha256: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<(), PullError> {
        let from = format!("hf:{repo}/{file}");
        let fail = |e: HFError| PullError::Fetch {
            from: from.clone(),
            reason: explain(&e),
        };
        let (owner, name) = repo.split_once('/').unwrap_or(("", repo));
        let model = self.client.model(owner, name);
        let facts = model
            .get_file_metadata()
            .filepath(file)
            .maybe_revision(revision);
        let facts = facts.send().await.map_err(fail)?;

        let part = transfer::part(target, &facts.etag);
        let mut done = std::fs::metadata(&part).map_or(0, |m| m.len());
        if done > facts.file_size {
            std::fs::remove_file(&part).map_err(|e| PullError::disk(&part, e))?;
            done = 0;
        }
        if done < facts.file_size || facts.file_size == 0 {
            progress.begin(file, done, facts.file_size);
            // The commit is pinned: what is asked for now is what the first bytes came from.
            let stream = model
                .download_file_stream()
                .filename(file)
                .revision(&facts.commit_hash);
            let sent = match done {
                0 => stream.send().await,
                _ => stream.range(done..facts.file_size).send().await,
            };
            let (length, bytes) = sent.map_err(fail)?;
            // A server that ignores the range sends the whole file again.
            if done > 0 && length == Some(facts.file_size) {
                std::fs::remove_file(&part).map_err(|e| PullError::disk(&part, e))?;
            }
            let appended = transfer::append(&part, &from, bytes.boxed(), progress).await;
            progress.end();
            appended?;
        }
        let found = std::fs::metadata(&part).map_or(0, |m| m.len());
        if facts.file_size > 0 && found < facts.file_size {
            let reason = format!(
                "cut after {found} of {} bytes; run it again to resume",
                facts.file_size
            );
            return Err(PullError::Fetch { from, reason });
        }
        // A server that ignores the range and tells no length has appended the whole file.
        if facts.file_size > 0 && found > facts.file_size {
            std::fs::remove_file(&part).map_err(|e| PullError::disk(&part, e))?;
            let reason = format!(
                "sent {found} bytes of a file of {}; deleted, run it again",
                facts.file_size
            );
            return Err(PullError::Fetch { from, reason });
        }
        // A large file's ETag is its SHA-256.
        let own = Some(facts.etag.as_str()).filter(|etag| is_sha256(etag));
        transfer::finish(&part, target, &from, sha256.or(own))
    }

    /// Fetches what `OWNER/REPO[@REVISION][/FILE]` names, and answers with the file or folder.
    pub(super) async fn fetch_model(
        &self,
        reference: &str,
        cache: &Path,
        progress: &dyn Progress,
    ) -> Result<PathBuf, PullError> {
        let wrong = || PullError::Unknown(format!("hf:{reference}"));
        let (owner, rest) = reference.split_once('/').ok_or_else(wrong)?;
        let (name, file) = match rest.split_once('/') {
            Some((name, file)) => (name, Some(file)),
            None => (rest, None),
        };
        let (name, revision) = revision(name);
        let named = [owner, name, revision.unwrap_or("x"), file.unwrap_or("x")];
        if !named.into_iter().all(stays_inside) {
            return Err(wrong());
        }
        let repo = format!("{owner}/{name}");
        let folder = cache
            .join("hub")
            .join(owner)
            .join(name)
            .join(revision.unwrap_or("main"));
        // Written last: what is here once is whole, and is found again with no network.
        let list = folder.join(LIST);
        let listed = std::fs::read_to_string(&list).ok();
        let files = match (file, &listed) {
            // All parts, where it is one of a split file.
            (Some(file), _) => split(file),
            (None, Some(listed)) => listed.lines().map(str::to_owned).collect(),
            (None, None) => {
                let listed = self.list(&repo, revision).await?.into_iter();
                choose(&repo, listed.map(|(file, _)| file).collect())?
            }
        };
        for file in &files {
            let target = folder.join(file);
            if target.exists() {
                continue;
            }
            let _lock = lock(&target)?;
            if !target.exists() {
                self.fetch(&repo, file, revision, &target, None, progress)
                    .await?;
            }
        }
        if file.is_none() && listed.is_none() {
            std::fs::write(&list, files.join("\n")).map_err(|e| PullError::disk(&list, e))?;
        }
        let whole = |file: &&String| file.ends_with(".gguf");
        Ok(files
            .iter()
            .find(whole)
            .map_or(folder.clone(), |file| folder.join(file)))
    }

    /// Fetches the adapter that `OWNER/REPO[@REVISION]` names, whose files may have `most` bytes
    /// together, to a folder below `root`, and answers with that folder.
    pub async fn fetch_adapter(
        &self,
        reference: &str,
        root: &Path,
        most: u64,
    ) -> Result<PathBuf, PullError> {
        let from = || format!("hf:{reference}");
        let (repo, revision) = revision(reference);
        let named = [repo, revision.unwrap_or("main")];
        // The name becomes part of an address as it is.
        let plain = |sign: char| sign.is_ascii_alphanumeric() || "._-/".contains(sign);
        let named_well = repo.split('/').count() == 2 && repo.chars().all(plain);
        if !named.into_iter().all(stays_inside) || !named_well {
            return Err(PullError::Absent { from: from() });
        }
        let folder = root.join(repo).join(named[1]);
        // Written last, as with models.
        let list = folder.join(LIST);
        if list.exists() {
            return Ok(folder);
        }
        let mut files = self.list(repo, revision).await?;
        files.retain(|(file, _)| ADAPTER_FILES.contains(&file.as_str()));
        let wrong = |reason: String| PullError::Repository {
            repo: repo.into(),
            reason,
        };
        if files.is_empty() {
            let reason = format!("holds no adapter: {} is not there", ADAPTER_FILES[0]);
            return Err(wrong(reason));
        }
        let bytes: u64 = files.iter().map(|(_, bytes)| *bytes).sum();
        if bytes > most {
            let reason = format!("its files have {bytes} bytes, and adapters may have {most}");
            return Err(wrong(reason));
        }
        for (file, _) in &files {
            let target = folder.join(file);
            let _lock = lock(&target)?;
            if !target.exists() {
                self.fetch(repo, file, revision, &target, None, &Quiet)
                    .await?;
            }
        }
        let names: Vec<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
        std::fs::write(&list, names.join("\n")).map_err(|e| PullError::disk(&list, e))?;
        Ok(folder)
    }

    /// The files of a repository, and their bytes.
    async fn list(
        &self,
        repo: &str,
        revision: Option<&str>,
    ) -> Result<Vec<(String, u64)>, PullError> {
        let from = || format!("hf:{repo}");
        let fail = |e: HFError| match e {
            HFError::RepoNotFound { .. }
            | HFError::RevisionNotFound { .. }
            | HFError::EntryNotFound { .. } => PullError::Absent { from: from() },
            // A listing has no name for it.
            HFError::Http { context } if context.status.as_u16() == 404 => {
                PullError::Absent { from: from() }
            }
            e => PullError::Fetch {
                from: from(),
                reason: explain(&e),
            },
        };
        let (owner, name) = repo.split_once('/').unwrap_or(("", repo));
        let model = self.client.model(owner, name);
        let tree = model
            .list_tree()
            .maybe_revision(revision)
            .send()
            .map_err(fail)?;
        let paths = tree.try_filter_map(|entry| async {
            Ok(match entry {
                RepoTreeEntry::File { path, size, .. } => Some((path, size)),
                RepoTreeEntry::Directory { .. } => None,
            })
        });
        paths.try_collect().await.map_err(fail)
    }
}

/// All parts of a split GGUF file in order, where this is one; else the file alone.
fn split(file: &str) -> Vec<String> {
    let parts = gguf::parts(Path::new(file)).into_iter();
    // What was text before is text still.
    parts
        .map(|part| part.to_string_lossy().into_owned())
        .collect()
}

/// Takes a revision off a repository's name: `NAME@REVISION`.
pub(super) fn revision(name: &str) -> (&str, Option<&str>) {
    match name.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (name, None),
    }
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit())
}

/// hf-hub's own message and what lies behind it.
fn explain(error: &HFError) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}

/// The files of a repository that make its model: the only GGUF, or a folder of safetensors.
fn choose(repo: &str, files: Vec<String>) -> Result<Vec<String>, PullError> {
    let fail = |reason: String| {
        Err(PullError::Repository {
            repo: repo.into(),
            reason,
        })
    };
    if let Some(file) = files.iter().find(|file| !stays_inside(file)) {
        return fail(format!("lists {file:?}, which is no path in a repository"));
    }
    // Below the top lie other forms of the model, and `consolidated.safetensors` is one, too.
    let tensors = |file: &String| {
        file.starts_with("model") && file.ends_with(".safetensors") && !file.contains('/')
    };
    if files.iter().any(|file| file == "config.json") && files.iter().any(tensors) {
        let wanted = |file: &String| {
            let more = [
                "model.safetensors.index.json",
                "config.json",
                "generation_config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "special_tokens_map.json",
                "chat_template.jinja",
            ];
            tensors(file) || more.contains(&file.as_str())
        };
        return Ok(files.into_iter().filter(wanted).collect());
    }
    // A split file counts once, by its first part.
    let first = |file: &String| file.ends_with(".gguf") && split(file)[0] == *file;
    let ggufs: Vec<String> = files.into_iter().filter(first).collect();
    match &ggufs[..] {
        [] => fail("holds neither a .gguf file nor config.json with safetensors".into()),
        [one] => Ok(split(one)),
        _ => fail(format!(
            "holds several models; name one: {}",
            ggufs.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_ggufs_are_listed_and_a_folder_takes_only_model_files() {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let error = choose("a/b", names(&["x.gguf", "y.gguf"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("x.gguf, y.gguf"), "{error}");
        let folder = [
            "config.json",
            "model.safetensors",
            "README.md",
            "tokenizer.json",
            "consolidated.safetensors",
            "onnx/model.safetensors",
            "onnx/model-00001-of-00002.safetensors",
        ];
        let chosen = choose("a/b", names(&folder)).unwrap();
        assert_eq!(
            chosen,
            ["config.json", "model.safetensors", "tokenizer.json"]
        );
        let shards = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
        ];
        assert_eq!(choose("a/b", names(&shards)).unwrap(), shards);
        assert!(choose("a/b", names(&["README.md"])).is_err());
        let parts = ["q/m-00001-of-00002.gguf", "q/m-00002-of-00002.gguf"];
        assert_eq!(choose("a/b", names(&parts)).unwrap(), parts);
        let two = names(&[parts[0], parts[1], "x.gguf"]);
        let error = choose("a/b", two).unwrap_err().to_string();
        assert!(
            error.ends_with("name one: q/m-00001-of-00002.gguf, x.gguf"),
            "{error}"
        );
        for outside in ["../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "..\\x.gguf"] {
            let error = choose("a/b", names(&[outside])).unwrap_err();
            assert!(matches!(error, PullError::Repository { .. }), "{error}");
        }
    }
}
