//! What is written down, what is not, and who may change it.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn new(name: &str) -> New {
    New {
        name: name.to_owned(),
        scopes: vec![Scope::Status, Scope::Verify, Scope::Status],
        per_minute: Some(60),
        max_waiting: None,
        lifetime: Some(Duration::from_secs(100)),
    }
}

#[test]
fn what_was_made_is_read_again_and_holds_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/keys.json");
    assert!(Keys::read(&path).unwrap().keys.is_empty());
    let web = Keys::add(&path, new("web shop"), 1000).unwrap();
    let other = Keys::add(&path, New { lifetime: None, ..new("other") }, 1001).unwrap();
    let keys = Keys::read(&path).unwrap().keys;
    assert_eq!(keys, [web.record.clone(), other.record.clone()]);
    assert_eq!(web.record.scopes, [Scope::Verify, Scope::Status]);
    assert!(web.record.may(Scope::Status) && !web.record.may(Scope::Admin));
    assert!(!web.record.has_expired(1099) && web.record.has_expired(1100) && !other.record.has_expired(u64::MAX));
    assert!(web.record.is(&Hash::of(&web.key), 1000) && !web.record.is(&Hash::of(&other.key), 1000));
    let text = fs::read_to_string(&path).unwrap();
    for key in [&web.key, &other.key] {
        let (named, secret) = key.rsplit_once('_').unwrap();
        assert!(!text.contains(secret) && text.contains(key::id_of(key).unwrap()) && named.len() == 24);
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_rotated_key_keeps_its_id_and_the_old_one_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let first = Keys::add(&path, new("web"), 1000).unwrap();
    let second = Keys::rotate(&path, "web", Duration::from_secs(60), 2000).unwrap();
    assert_eq!((&second.record.id, &second.record.name), (&first.record.id, &first.record.name));
    assert!(first.key != second.key);
    let record = &Keys::read(&path).unwrap().keys[0];
    for (key, at, taken) in [(&first, 2059, true), (&first, 2060, false), (&second, 2000, true), (&second, 9999, true)]
    {
        assert_eq!(record.is(&Hash::of(&key.key), at), taken, "{at}");
    }
    assert_eq!((record.overlap(2000), record.overlap(2060)), (Some(60), None));
    // The next rotation ends the first key at once.
    let third = Keys::rotate(&path, &first.record.id, Duration::ZERO, 2010).unwrap();
    let record = &Keys::read(&path).unwrap().keys[0];
    for (key, taken) in [(&first, false), (&second, false), (&third, true)] {
        assert_eq!(record.is(&Hash::of(&key.key), 2011), taken);
    }
    assert_eq!(Keys::revoke(&path, "web").unwrap().id, first.record.id);
    assert!(Keys::read(&path).unwrap().keys.is_empty());
    for refused in [Keys::revoke(&path, "web").err(), Keys::rotate(&path, "web", Duration::ZERO, 0).err()] {
        assert!(matches!(refused, Some(FileError::Unknown(name)) if name == "web"));
    }
}

#[test]
fn names_that_confuse_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let made = Keys::add(&path, new("web"), 0).unwrap();
    for name in ["web", &made.record.id] {
        assert!(matches!(Keys::add(&path, new(name), 0), Err(FileError::Taken(_))), "{name}");
    }
    for name in ["", " web", "we\u{7}b", "a\nb", &"n".repeat(65)] {
        assert!(matches!(Keys::add(&path, new(name), 0), Err(FileError::Name(..))), "{name:?}");
    }
    assert_eq!(Keys::read(&path).unwrap().keys.len(), 1);
}

#[test]
fn a_file_that_cannot_be_used_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let made = Keys::add(&path, new("web"), 0).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let twice = serde_json::to_string(&Keys { keys: vec![made.record.clone(), made.record] }).unwrap();
    for broken in
        ["", "{}", &text.replace("verify", "everything"), &text.replace("\"per_minute\"", "\"per_hour\""), &twice]
    {
        fs::write(&path, broken).unwrap();
        let told = Keys::read(&path).unwrap_err().to_string();
        assert!(told.contains("keys.json") && told.contains("`visavis keys add`"), "{told}");
        assert!(Keys::revoke(&path, "web").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), broken, "it is left as it was");
    }
    fs::write(&path, &text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(Keys::read(&path).unwrap_err().to_string().contains("chmod 600"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let aside = folder.path().join("keys.json.new");
    fs::write(&aside, "").unwrap();
    let told = Keys::add(&path, new("other"), 0).unwrap_err().to_string();
    assert!(told.contains("try again") && told.contains("keys.json.new"), "{told}");
    assert!(aside.exists() && Keys::read(&path).unwrap().keys.len() == 1);
    assert!(matches!(Keys::read(folder.path()), Err(FileError::Io { .. })));
}
