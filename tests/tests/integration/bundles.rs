//! Keys, signatures and bundles, by way of `visavis components`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use visavis_tests::components;
use visavis_tests::host::Setup;
use visavis_tests::photos::assets;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs `visavis components` in the folder of the set-up.
fn run(setup: &Setup, line: &str) -> Output {
    setup.run(["components"].into_iter().chain(line.split_whitespace()))
}

fn fine(setup: &Setup, line: &str) -> String {
    let output = run(setup, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    stdout(&output)
}

/// Runs it where it must end with this status, and answers what it complains about.
fn refused(setup: &Setup, status: i32, line: &str) -> String {
    let output = run(setup, line);
    assert_eq!(output.status.code(), Some(status), "{line}: {}\n{}", stdout(&output), stderr(&output));
    stderr(&output)
}

/// A folder with the scorer in it and a pair of keys.
fn house() -> (Setup, PathBuf) {
    let setup = Setup::new();
    let scorer = setup.folder().join("scorer.wasm");
    fs::copy(assets().join("components/scorer.wasm"), &scorer).expect("set-up has made the scorer");
    fine(&setup, "keygen --no-password");
    (setup, scorer)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("a file of this test");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("a file of this test");
}

#[test]
fn what_a_trusted_key_signed_is_accepted() {
    let (setup, _) = house();
    assert!(fine(&setup, "sign scorer.wasm --key visavis.key").contains("scorer.wasm.minisig"));
    let told = fine(&setup, "verify scorer.wasm --key visavis.pub");
    assert!(told.contains("signed by") && told.contains("file:scorer.wasm"), "{told}");
    assert!(told.contains("component for the slot scorer"), "{told}");

    // The key's own line does as well as its file, and the configuration as well as the flag.
    let public = fs::read_to_string(setup.folder().join("visavis.pub")).unwrap();
    let line = public.lines().nth(1).unwrap();
    fine(&setup, &format!("verify scorer.wasm --key {line}"));
    let by_variable = setup.clone().set("VISAVIS_COMPONENTS__TRUSTED_KEYS", &format!("{line}, visavis.pub"));
    fine(&by_variable, "verify scorer.wasm");
    let toml = format!("[components]\ntrusted_keys = [\"{line}\"]\n");
    fs::write(setup.folder().join("visavis.toml"), toml).unwrap();
    fine(&setup, "verify scorer.wasm");
    fs::rename(setup.folder().join("scorer.wasm.minisig"), setup.folder().join("else.minisig")).unwrap();
    fine(&setup, "verify scorer.wasm --signature else.minisig");
}

#[test]
fn a_changed_byte_another_key_and_no_signature_are_refused() {
    let (setup, scorer) = house();
    let key = "--key visavis.pub";
    assert!(refused(&setup, 1, &format!("verify scorer.wasm {key}")).contains("not signed"));
    fine(&setup, "sign scorer.wasm --key visavis.key");
    fine(&setup, "keygen --no-password --out other.key");
    let complaint = refused(&setup, 1, "verify scorer.wasm --key other.pub");
    assert!(complaint.contains("which is not trusted") && complaint.contains("components.trusted_keys"), "{complaint}");

    let size = fs::metadata(&scorer).unwrap().len() as usize;
    for at in [0, size / 2, size - 1] {
        flip(&scorer, at);
        let complaint = refused(&setup, 1, &format!("verify scorer.wasm {key}"));
        assert!(complaint.contains("does not fit"), "{complaint}");
        flip(&scorer, at);
    }
    fine(&setup, &format!("verify scorer.wasm {key}"));
    let signature = setup.folder().join("scorer.wasm.minisig");
    let text = fs::read_to_string(&signature).unwrap();
    fs::write(&signature, text.replace("file:scorer", "file:sCorer")).unwrap();
    assert!(
        refused(&setup, 1, &format!("verify scorer.wasm {key}")).contains("comment"),
        "the comment is covered, too"
    );
    fs::write(&signature, &text[..text.len() / 2]).unwrap();
    assert!(refused(&setup, 1, &format!("verify scorer.wasm {key}")).contains("minisign's format"));
}

#[test]
fn without_a_key_nothing_is_checked_and_that_is_said() {
    let (setup, _) = house();
    let output = run(&setup, "verify scorer.wasm");
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("not checked"), "{}", stdout(&output));
    assert!(stderr(&output).contains("--key"), "{}", stderr(&output));
    assert!(refused(&setup, 2, "verify missing.wasm --key visavis.pub").contains("missing.wasm"));
    let complaint = refused(&setup, 2, "verify scorer.wasm --key nobody.pub");
    assert!(complaint.contains("nobody.pub") && complaint.contains("RW"), "{complaint}");
}

#[test]
fn keys_are_private_and_never_written_over() {
    let (setup, _) = house();
    let mode = |name: &str| fs::metadata(setup.folder().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("visavis.key"), 0o600);
    let before = fs::read(setup.folder().join("visavis.key")).unwrap();
    assert!(refused(&setup, 2, "keygen --no-password").contains("visavis.key is there already"));
    fs::rename(setup.folder().join("visavis.key"), setup.folder().join("kept.key")).unwrap();
    assert!(refused(&setup, 2, "keygen --no-password").contains("visavis.pub is there already"));
    assert!(!setup.folder().join("visavis.key").exists());
    assert_eq!(fs::read(setup.folder().join("kept.key")).unwrap(), before);
}

#[test]
fn a_password_protects_a_key() {
    let (setup, _) = house();
    let knowing = setup.clone().set("VISAVIS_KEY_PASSWORD", "correct horse");
    fine(&knowing, "keygen --out locked.key");
    fine(&knowing, "sign scorer.wasm --key locked.key");
    fine(&setup, "verify scorer.wasm --key locked.pub");
    let guessing = setup.clone().set("VISAVIS_KEY_PASSWORD", "battery staple");
    let complaint = refused(&guessing, 2, "sign scorer.wasm --key locked.key");
    assert!(complaint.contains("locked.key") && complaint.contains("password"), "{complaint}");
    let complaint = refused(&setup, 2, "sign scorer.wasm --key visavis.pub");
    assert!(complaint.contains("not a secret key"), "{complaint}");
}

#[test]
fn only_what_could_be_deployed_is_signed() {
    let (setup, scorer) = house();
    let bytes = fs::read(&scorer).unwrap();
    let cases: [(&str, &[u8], &str); 4] = [
        ("letter.txt", b"dear reader", "no bundle"),
        ("module.wasm", b"\0asm\x01\0\0\0", "core WebAssembly module"),
        ("cut.wasm", &bytes[..bytes.len() / 2], "damaged"),
        ("empty", b"", "no bundle"),
    ];
    for (name, bytes, words) in cases {
        fs::write(setup.folder().join(name), bytes).unwrap();
        let complaint = refused(&setup, 2, &format!("sign {name} --key visavis.key"));
        assert!(complaint.contains(name) && complaint.contains(words), "{complaint}");
        assert!(!setup.folder().join(format!("{name}.minisig")).exists());
    }
}

#[test]
fn a_bundle_says_what_is_in_it() {
    let (setup, _) = house();
    let gateway = assets().join("components/gateway.wasm");
    let flags = format!(
        "--name faces --version 1.2.0 --scorer scorer.wasm --gateway {} --detector mtcnn --embedder \
         facenet-casia-webface --non-frontal report",
        gateway.display()
    );
    let told = fine(&setup, &format!("bundle --out faces.bundle {flags}"));
    fine(&setup, "sign faces.bundle --key visavis.key");
    let verified = fine(&setup, "verify faces.bundle --key visavis.pub");
    let parts = [
        "bundle faces 1.2.0",
        "gateway ",
        "scorer ",
        "mtcnn/proposal, SHA-256 88737b6df20c235448728ade9a1c085a330c6f38b81b2771cb1fc15c1594d5ae",
        "facenet-casia-webface/embedding, SHA-256 bd9bdb2b",
        // The embedder's own, from the manifest.
        "1.06 (slope 18)",
        "report",
        "the same as before",
    ];
    for part in parts {
        assert!(told.contains(part) && verified.contains(part), "{part} is missing in\n{told}\n{verified}");
    }
    // Any tar reads it, and the same parts give the same file.
    fine(&setup, &format!("bundle --out again.bundle {flags}"));
    let bytes = fs::read(setup.folder().join("faces.bundle")).unwrap();
    assert!(bytes == fs::read(setup.folder().join("again.bundle")).unwrap(), "the same parts, another file");
    let listed = std::process::Command::new("tar").arg("tf").arg(setup.folder().join("faces.bundle")).output();
    assert_eq!(stdout(&listed.expect("tar is installed")), "bundle.toml\ngateway.wasm\nscorer.wasm\n");

    flip(&setup.folder().join("faces.bundle"), bytes.len() / 2);
    assert!(refused(&setup, 1, "verify faces.bundle --key visavis.pub").contains("does not fit"));
    let complaint = refused(&setup, 2, "sign faces.bundle --key visavis.key");
    assert!(complaint.contains("wasm") && complaint.contains("SHA-256"), "{complaint}");
    fs::write(setup.folder().join("again.bundle"), &bytes[..bytes.len() - 100]).unwrap();
    assert!(refused(&setup, 2, "sign again.bundle --key visavis.key").contains("cut off"));
}

#[test]
fn parts_that_do_not_belong_together_make_no_bundle() {
    let (setup, _) = house();
    fs::write(setup.folder().join("trapping.wasm"), components::trapping("analyzer")).unwrap();
    let cases = [
        ("", "nothing in it"),
        ("--gateway scorer.wasm", "--gateway scorer.wasm is a component for the slot scorer"),
        ("--scorer trapping.wasm", "is a component for the slot analyzer"),
        ("--scorer missing.wasm", "missing.wasm"),
        ("--scorer visavis.pub", "--scorer visavis.pub"),
        ("--embedder arcface", "`facenet-casia-webface`"),
        ("--scorer scorer.wasm --embedding-space changes --threshold 1", "neither an analyzer nor an embedder"),
        ("--analyzer trapping.wasm --embedding-space changes", "give the new one"),
        ("--scorer scorer.wasm --threshold 2.5", "0 to 2"),
        ("--scorer scorer.wasm --slope 18", "give verify.threshold"),
    ];
    for (flags, words) in cases {
        let complaint = refused(&setup, 2, &format!("bundle --out b --name n --version 1 {flags}"));
        assert!(complaint.contains(words), "{complaint}\nlacks {words}");
        assert!(!setup.folder().join("b").exists());
    }
    fine(
        &setup,
        "bundle --out b --name n --version 1 --analyzer trapping.wasm --embedding-space changes --threshold 1",
    );
    let complaint = refused(&setup, 2, "bundle --out c --name ../n --version 1 --scorer scorer.wasm");
    assert!(complaint.contains("name is \"../n\""), "{complaint}");
}

#[test]
fn doctor_names_the_trusted_keys() {
    let (setup, _) = house();
    let output = setup.run(["doctor"]);
    assert!(stdout(&output).contains("needs no signature"), "{}", stdout(&output));
    let trusting = setup.clone().set("VISAVIS_COMPONENTS__TRUSTED_KEYS", "visavis.pub");
    let output = trusting.run(["doctor"]);
    assert!(stdout(&output).contains("must be signed by"), "{}", stdout(&output));
    let output = setup.set("VISAVIS_COMPONENTS__TRUSTED_KEYS", "gone.pub").run(["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("gone.pub"), "{}", stdout(&output));
}
