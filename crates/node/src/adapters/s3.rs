//! S3-compatible storage: requests signed by `rusty-s3`, sent by `reqwest`.

use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use reqwest::{Client, StatusCode};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tinderbox_engine::{ADAPTER_FILES, AdapterFiles};
use tinderbox_protocol::Error;

use super::{absent, failed, too_large};

/// How long a signed address may be used: time for its one request to begin.
const VALID: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest silence in the middle of a transfer.
const SILENCE: Duration = Duration::from_secs(30);

/// A storage and the keys to it.
#[derive(Clone)]
pub struct S3 {
    endpoint: String,
    region: String,
    credentials: Credentials,
    client: Client,
}

impl S3 {
    /// The storage of the usual variables; `None` without `AWS_ACCESS_KEY_ID` and
    /// `AWS_SECRET_ACCESS_KEY`.
    ///
    /// # Errors
    /// As [`S3::new`].
    pub fn from_env() -> anyhow::Result<Option<S3>> {
        let Some(credentials) = Credentials::from_env() else {
            return Ok(None);
        };
        let first = |names: [&str; 2]| {
            let mut values = names.iter().filter_map(|name| std::env::var(name).ok());
            values.find(|value| !value.trim().is_empty())
        };
        let region = first(["AWS_REGION", "AWS_DEFAULT_REGION"]);
        let region = region.unwrap_or_else(|| "us-east-1".into());
        let endpoint = first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let s3 = S3::new(&endpoint, &region, credentials);
        s3.with_context(|| format!("AWS_ENDPOINT_URL: {endpoint} is no address of S3 storage"))
            .map(Some)
    }

    /// The storage at an address.
    ///
    /// # Errors
    /// An address that is no http or https URL.
    pub fn new(endpoint: &str, region: &str, credentials: Credentials) -> anyhow::Result<S3> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // A signature is for one address.
            .redirect(reqwest::redirect::Policy::none());
        let s3 = S3 {
            endpoint: endpoint.into(),
            region: region.into(),
            credentials,
            client: client.build()?,
        };
        s3.bucket("bucket")?;
        Ok(s3)
    }

    fn bucket(&self, name: &str) -> anyhow::Result<Bucket> {
        let (name, region) = (name.to_owned(), self.region.clone());
        Ok(Bucket::new(
            self.endpoint.parse()?,
            UrlStyle::Path,
            name,
            region,
        )?)
    }

    /// The adapter at `s3://BUCKET/FOLDER`; `s3://` may be left out.
    pub(super) async fn fetch(&self, id: &str, most: u64) -> Result<AdapterFiles, Error> {
        let path = id.strip_prefix("s3://").unwrap_or(id).trim_end_matches('/');
        // An address would take the others as steps upwards, or as nothing.
        let mut names = path.split('/');
        let plain = names.all(|name| !matches!(name, "" | "." | ".."));
        let Some((bucket, folder)) = path.split_once('/').filter(|_| plain) else {
            return Err(failed(id, "is no s3://BUCKET/FOLDER"));
        };
        let bucket = self.bucket(bucket).map_err(|error| failed(id, error))?;
        let (mut files, mut left) = (AdapterFiles::new(), most);
        for (index, name) in ADAPTER_FILES.into_iter().enumerate() {
            let key = format!("{folder}/{name}");
            let url = bucket.get_object(Some(&self.credentials), &key).sign(VALID);
            // The address has the signature in it, so no error may show it.
            let sent = self.client.get(url).send().await;
            let answer = sent.map_err(|error| failed(id, error.without_url()))?;
            match answer.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND if index == 0 => return Err(absent(id)),
                // Who may not list a bucket hears this of what is not there.
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN if index > 0 => continue,
                status => return Err(failed(id, format!("{name}: the storage answers {status}"))),
            }
            let (mut bytes, mut chunks) = (Vec::new(), answer.bytes_stream().boxed());
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| failed(id, error.without_url()))?;
                let more = left.checked_sub(chunk.len() as u64);
                left = more.ok_or_else(|| too_large(id, most))?;
                bytes.extend_from_slice(&chunk);
            }
            files.insert(name, bytes);
        }
        Ok(files)
    }
}
