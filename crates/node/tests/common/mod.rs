//! The binary on a tiny model, over loopback.
#![allow(dead_code)] // Each test uses a part.

#[path = "../../../engine/tests/engine/tiny_file.rs"]
pub mod tiny_file;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// Tokens that the tiny model holds.
pub const CONTEXT: u32 = 65536;

pub fn tinderbox() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tinderbox"))
}

/// Writes the model `tiny` into a folder.
pub fn tiny_model(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.gguf");
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let file = tiny_file::tiny(CONTEXT, true, template);
    std::fs::write(&path, file.to_bytes()).unwrap();
    path
}

/// A process that logs into a file. It goes with its folder.
pub struct Process {
    pub child: Child,
    folder: TempDir,
}

impl Process {
    /// Starts `tinderbox serve` on the CPU and a port of its own, with what `set` adds. Its model is the
    /// tiny one where `set` names none.
    pub fn serve(set: impl FnOnce(&mut Command)) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let mut command = tinderbox();
        command.args(["serve", "--port", "0"]);
        command.env("TINDERBOX_DEVICE", "cpu");
        command.env("TINDERBOX_MODEL", tiny_model(folder.path()));
        command.stdout(Stdio::piped());
        command.stderr(File::create(folder.path().join("log")).unwrap());
        set(&mut command);
        let child = command.spawn().unwrap();
        Process { child, folder }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until the log says so.
    pub async fn logged(&self, words: &str) {
        for _ in 0..3000 {
            if self.log().contains(words) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no `{words}` in:\n{}", self.log());
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        for _ in 0..3000 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it did not end:\n{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is ready.
pub struct Server {
    pub process: Process,
    pub url: String,
}

impl Server {
    pub fn start(set: impl FnOnce(&mut Command)) -> Server {
        let mut process = Process::serve(set);
        let lines = BufReader::new(process.child.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let found = line.contains("address");
            found.then(|| line.split_whitespace().last().unwrap().to_owned())
        });
        let url = address.unwrap_or_else(|| panic!("it did not start:\n{}", process.log()));
        Server { process, url }
    }

    /// Bytes of memory that it holds.
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let mut lines = status.lines();
        let line = lines.find(|line| line.starts_with("VmRSS")).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }

    #[cfg(not(target_os = "linux"))]
    pub fn memory(&self) -> u64 {
        0
    }
}
