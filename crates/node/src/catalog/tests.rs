//! What a catalog may say.

use super::*;

const SUM: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// A catalog of one model of one file, whose sources these are.
fn of_sources(sources: &str) -> String {
    format!(
        "[[model]]\nname = \"m\"\n[[model.file]]\nname = \"m.gguf\"\nbytes = 3\n\
         sha256 = \"{SUM}\"\nsources = {sources}\n"
    )
}

fn refused(text: &str) -> String {
    parse(Path::new("mine.toml"), text).unwrap_err().to_string()
}

#[test]
fn our_own_catalog_is_one() {
    let catalog = Catalog::read(None).unwrap();
    assert!(catalog.find(DEFAULT).is_some());
}

#[test]
fn each_form_of_a_source_is_read_in_order() {
    let text = of_sources(
        r#"[{ hub = "owner/repo" }, { hub = "owner/repo@v1", file = "sub/x.gguf" },
            { wheels = [{ name = "w-1", version = "0.1", member = "w/a" }, { name = "w-2", version = "0.2", member = "w/b" }] },
            { path = "models/m.gguf" }, { path = "/models/m.gguf" }]"#,
    );
    let entries = parse(Path::new("/etc/tinderbox/mine.toml"), &text).unwrap();
    let hub = |hub: &str, file: Option<&str>| Source::Hub {
        hub: hub.into(),
        file: file.map(str::to_owned),
    };
    let wheel = |name: &str, version: &str, member: &str| Wheel {
        name: name.into(),
        version: version.into(),
        member: member.into(),
    };
    let expected = [
        hub("owner/repo", None),
        hub("owner/repo@v1", Some("sub/x.gguf")),
        Source::Wheels(vec![wheel("w-1", "0.1", "w/a"), wheel("w-2", "0.2", "w/b")]),
        // Seen from the folder of the catalog.
        Source::Path("/etc/tinderbox/models/m.gguf".into()),
        Source::Path("/models/m.gguf".into()),
    ];
    assert_eq!(entries[0].files[0].sources, expected);
}

#[test]
fn a_wrong_source_is_refused_with_its_name() {
    for (sources, words) in [
        (r#"[{ hub = "owner/repo", path = "x" }]"#, "one of `hub`"),
        (r#"[{ file = "x" }]"#, "one of `hub`"),
        (r#"[{ path = "x", file = "y" }]"#, "one of `hub`"),
        (r#"[{ url = "http://x" }]"#, "unknown field `url`"),
        (
            r#"[{ wheels = [{ name = "w", member = "x" }] }]"#,
            "missing field `version`",
        ),
        (r#"[{ wheels = [] }]"#, "`wheels` is empty"),
        (
            r#"[{ wheels = [{ name = "--index-url=x", version = "1", member = "x" }] }]"#,
            "wheel `--index-url=x==1`",
        ),
        (r#"[{ hub = "repo" }]"#, "hub `repo`"),
        (r#"[{ hub = "../repo" }]"#, "hub `../repo`"),
        ("[]", "no source"),
    ] {
        let error = refused(&of_sources(sources));
        assert!(
            error.starts_with("mine.toml: ") && error.contains(words),
            "{sources}: {error}"
        );
    }
}

#[test]
fn a_wrong_entry_is_refused_with_its_model_and_file() {
    let right = of_sources(r#"[{ path = "x" }]"#);
    assert!(parse(Path::new("mine.toml"), &right).is_ok());
    let second = &right["[[model]]\nname = \"m\"\n".len()..];
    for (text, words) in [
        (right.replace("\"m\"", "\"../m\""), "model `../m`"),
        (right.replace("m.gguf", "../m.gguf"), "file `../m.gguf`"),
        (right.replace("bytes = 3", "bytes = 0"), "`bytes` is 0"),
        (right.replace(SUM, "abc"), "file `m.gguf`: `sha256`"),
        (right.replace(SUM, &SUM.to_uppercase()), "lower-case"),
        (right.replace("sha256", "sha1"), "sha1"),
        (format!("{right}{right}"), "model `m`: is there twice"),
        (format!("{right}{second}"), "file `m.gguf`: is there twice"),
        ("[[model]]\nname = \"m\"\nfile = []".into(), "no file"),
        ("models = 3".into(), "models"),
        ("[[model]".into(), "line 1"),
    ] {
        let error = refused(&text);
        assert!(
            error.starts_with("mine.toml: ") && error.contains(words),
            "{error} should have {words}"
        );
    }
}

#[test]
fn the_users_entries_are_added_and_count_before_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let mine = of_sources(r#"[{ path = "x" }]"#);
    let mirror = mine.replace("\"m\"", &format!("{DEFAULT:?}"));
    std::fs::write(&path, format!("{mine}{mirror}")).unwrap();
    let (ours, all) = (
        Catalog::read(None).unwrap(),
        Catalog::read(Some(&path)).unwrap(),
    );
    assert_eq!(all.entries().len(), ours.entries().len() + 1);
    let source = Source::Path(folder.path().join("x"));
    for name in ["m", DEFAULT] {
        assert_eq!(
            all.find(name).unwrap().files[0].sources,
            std::slice::from_ref(&source)
        );
    }
    let missing = Catalog::read(Some(&folder.path().join("none.toml"))).unwrap_err();
    assert!(missing.to_string().contains("none.toml"), "{missing}");
}
