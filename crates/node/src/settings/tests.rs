//! Layers, ranges, secrets.

use super::*;

#[test]
#[allow(clippy::result_large_err)] // figment's own signature
fn flags_win_over_environment_over_file_over_defaults() {
    figment::Jail::expect_with(|jail| {
        jail.create_file("t.toml", "port = 1\nmodel = \"file\"\nmax_queue = 7\n")?;
        jail.set_env("TINDERBOX_PORT", "2");
        jail.set_env("TINDERBOX_MODEL", "environment");
        let flags = Flags {
            model: Some("flag".into()),
            ..Flags::default()
        };
        let file = PathBuf::from("t.toml");
        let settings = Settings::read(Some(&file), &flags, &ServeFlags::default()).unwrap();
        assert_eq!((settings.port, settings.model.as_str()), (2, "flag"));
        assert_eq!((settings.max_queue, settings.shutdown_timeout), (7, 30));
        Ok(())
    });
}

#[test]
#[allow(clippy::result_large_err)]
fn an_unknown_key_in_the_file_is_refused_by_name() {
    figment::Jail::expect_with(|jail| {
        jail.create_file("t.toml", "prot = 1\n")?;
        let file = PathBuf::from("t.toml");
        let read = Settings::read(Some(&file), &Flags::default(), &ServeFlags::default());
        assert!(read.unwrap_err().to_string().contains("prot"));
        Ok(())
    });
}

#[test]
#[allow(clippy::result_large_err)]
fn a_key_of_digits_is_a_key_and_only_its_hash_is_kept() {
    figment::Jail::expect_with(|jail| {
        jail.set_env("TINDERBOX_API_KEY", "0918273645");
        let settings = Settings::read(None, &Flags::default(), &ServeFlags::default()).unwrap();
        let sum = "25f7a965336d1bac6b0925ab3291292639368b390b3bd33a7fa477a2ade4e893";
        assert_eq!(settings.api_key.as_deref(), Some(sum));
        Ok(())
    });
}

#[test]
#[allow(clippy::result_large_err)]
fn a_wrong_or_empty_key_is_refused_and_not_printed() {
    figment::Jail::expect_with(|jail| {
        let file = PathBuf::from("t.toml");
        for key in ["918273645", "\"\""] {
            jail.create_file("t.toml", &format!("api_key = {key}\n"))?;
            let read = Settings::read(Some(&file), &Flags::default(), &ServeFlags::default());
            let error = read.unwrap_err().to_string();
            assert!(
                error.contains("api_key") && !error.contains("918273645"),
                "{error}"
            );
        }
        Ok(())
    });
}

#[test]
#[allow(clippy::result_large_err)]
fn ranges_hold_for_every_layer() {
    figment::Jail::expect_with(|jail| {
        for name in ["CONTEXT", "THREADS", "MAX_SEQUENCES"] {
            jail.set_env(format!("TINDERBOX_{name}"), "0");
            let read = Settings::read(None, &Flags::default(), &ServeFlags::default());
            let error = read.unwrap_err().to_string();
            assert!(error.contains(&name.to_lowercase()), "{error}");
            jail.set_env(format!("TINDERBOX_{name}"), "16");
        }
        Ok(())
    });
}
