//! How a transfer goes: a bar on a terminal, a line at its start and end elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};

use crate::pull::Progress;

/// Progress on standard error.
#[derive(Default)]
pub struct Bar {
    current: Mutex<Option<ProgressBar>>,
}

const STYLE: &str = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

impl Progress for Bar {
    fn begin(&self, file: &str, done: u64, total: u64) {
        if total == 0 || !std::io::stderr().is_terminal() {
            eprintln!("fetching {file}");
            return;
        }
        let style = ProgressStyle::with_template(STYLE);
        let bar = ProgressBar::new(total)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(file.to_owned());
        bar.set_position(done);
        *self.lock() = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.lock() {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.lock().take() {
            bar.finish_and_clear();
        }
    }
}

impl Bar {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<ProgressBar>> {
        self.current
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
