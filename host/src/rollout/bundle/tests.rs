//! What a bundle may be, and what hostile bytes are answered with.

#[path = "../../../../fuzz/src/bundles.rs"]
mod properties;

use proptest::prelude::*;

use super::*;

fn parts() -> Parts {
    let model = |name: &str, part: &str| {
        let graphs = BTreeMap::from([(format!("{name}/{part}"), "0a".repeat(32))]);
        Some(Model { name: name.to_owned(), graphs })
    };
    Parts {
        name: "faces".to_owned(),
        version: "1.2.0".to_owned(),
        embedding_space: EmbeddingSpace::Changes,
        components: BTreeMap::from([
            (Slot::Scorer, b"a scorer".to_vec()),
            (Slot::Analyzer, vec![7; 1500]),
            (Slot::Gateway, Vec::new()),
        ]),
        models: Models { detector: model("mtcnn", "proposal"), embedder: model("facenet", "embedding") },
        verify: Policy { threshold: Some(1.06), slope: Some(18.0), non_frontal: None },
    }
}

fn packed() -> Vec<u8> {
    Bundle::pack(parts()).unwrap()
}

/// A name, what it is, and its bytes.
type Entry<'a> = (&'a str, tar::EntryType, &'a [u8]);

/// An archive of any entries, in the layout of bundles.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        // `set_path` would refuse what a hostile hand writes.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        archive.append(&header, *bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

fn manifest(components: &str) -> String {
    format!("format = 1\nname = \"a\"\nversion = \"1\"\n[verify]\nthreshold = 1.0\n{components}")
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[test]
fn what_is_packed_is_read() {
    let bytes = packed();
    let bundle = Bundle::read(&bytes).unwrap();
    let Parts { name, version, embedding_space, components, models, verify } = parts();
    assert_eq!((&bundle.manifest.name, &bundle.manifest.version), (&name, &version));
    assert_eq!((&bundle.manifest.models, &bundle.manifest.verify), (&models, &verify));
    assert_eq!((bundle.manifest.embedding_space, &bundle.components), (embedding_space, &components));
    assert_eq!(bundle.digest, hex::encode(Sha256::digest(&bytes)));
    assert!(!format!("{bundle:?}").contains("7, 7"), "components are not printed");
}

#[test]
fn the_same_parts_give_the_same_bytes() {
    assert_eq!(packed(), packed());
    // Another digest is another layout, and every bundle that lies on a node's disk would be refused by this host.
    let mut bytes = Vec::new();
    write(b"format = 1\n", [(file(Slot::Scorer), &b"a scorer"[..])].into_iter(), &mut bytes).unwrap();
    let expected = "ec3c0ab47904db57118af5dbee181504fd5f63e5a7ad777a0e6efa7031ba9cfb";
    assert_eq!(hex::encode(Sha256::digest(&bytes)), expected);
}

#[test]
fn a_bundle_without_what_belongs_together_is_not_packed() {
    let error = Bundle::pack(Parts { verify: Policy::default(), ..parts() }).unwrap_err().to_string();
    assert!(error.contains("bundle.toml") && error.contains("threshold"), "{error}");
    let components = BTreeMap::from([(Slot::Annotator, Vec::new())]);
    let error = Bundle::pack(Parts { components, ..parts() }).unwrap_err().to_string();
    assert!(error.contains("annotator.wasm"), "{error}");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = packed();
    for length in 0..bytes.len() {
        assert!(Bundle::read(&bytes[..length]).is_err(), "{length} of {}", bytes.len());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Bundle::read(&longer).is_err());
}

#[test]
fn entries_that_no_bundle_has_are_named() {
    let plain = manifest("");
    let toml: Entry<'_> = ("bundle.toml", FILE, plain.as_bytes());
    assert!(Bundle::read(&archive(&[toml])).is_ok());
    let scorer = manifest(&format!("[components.scorer]\nsha256 = \"{}\"\n", hex::encode(Sha256::digest(b"s"))));
    let named: Entry<'_> = ("bundle.toml", FILE, scorer.as_bytes());
    assert!(Bundle::read(&archive(&[named, ("scorer.wasm", FILE, b"s")])).is_ok());
    let large = vec![b' '; MANIFEST_LIMIT + 1];
    let cases: [(&[Entry<'_>], &str); 12] = [
        (&[], "has no bundle.toml"),
        (&[("scorer.wasm", FILE, b"s")], "has no bundle.toml"),
        (&[named], "\"scorer.wasm\" is missing"),
        (&[named, ("scorer.wasm", FILE, b"t")], "\"scorer.wasm\" has SHA-256"),
        (&[toml, ("scorer.wasm", FILE, b"s")], "\"scorer.wasm\" is there, and bundle.toml does not name it"),
        (&[named, ("scorer.wasm", FILE, b"s"), ("scorer.wasm", FILE, b"s")], "is there twice"),
        (&[("scorer.wasm", FILE, b"s"), named], "laid out"),
        (&[toml, ("../../etc/passwd", FILE, b"x")], "\"../../etc/passwd\" is none"),
        (&[toml, ("facenet.onnx", FILE, b"x")], "\"facenet.onnx\" is none"),
        (&[named, ("scorer.wasm", tar::EntryType::Symlink, b"")], "is not an ordinary file"),
        (&[toml, ("long", tar::EntryType::GNULongName, b"x")], "is not an ordinary file"),
        (&[("bundle.toml", FILE, &large)], "has more than 65536 bytes"),
    ];
    for (entries, words) in cases {
        let error = Bundle::read(&archive(entries)).unwrap_err().to_string();
        assert!(error.contains(words), "{error}\nlacks {words}");
    }
    let names: Vec<_> = (0..10_000).map(|number| number.to_string()).collect();
    let many: Vec<Entry<'_>> = names.iter().map(|name| (name.as_str(), FILE, &b""[..])).collect();
    assert!(Bundle::read(&archive(&many)).unwrap_err().to_string().contains("one more than a bundle has"));
}

#[test]
fn other_files_are_no_bundles() {
    let noise: Vec<_> = (0..5000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [&b""[..], b"x", &[0; 1024], b"\0asm\x0d\0\x01\0", &noise] {
        assert!(matches!(Bundle::read(bytes), Err(BundleError::NotABundle { .. })), "{} bytes", bytes.len());
    }
}

#[test]
fn a_length_that_was_declared_is_not_believed() {
    let mut header = tar::Header::new_ustar();
    header.set_path("bundle.toml").unwrap();
    for size in [1, 1 << 40, (1 << 63) - 1, u64::MAX - 600, u64::MAX] {
        header.set_size(size);
        header.set_cksum();
        assert!(Bundle::read(header.as_bytes()).is_err(), "{size}");
        assert!(Bundle::read(&[header.as_bytes(), &[0; 1024][..]].concat()).is_err(), "{size}");
    }
}

#[test]
fn what_a_fuzzer_found_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/regressions/bundle");
    let mut replayed = 0;
    for finding in std::fs::read_dir(folder).unwrap() {
        let path = finding.unwrap().path();
        println!("{}", path.display());
        properties::bundle(&std::fs::read(path).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{folder} holds nothing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Either a changed bundle is refused, or it is one that somebody could have packed: there is no second way to write it.
    #[test]
    fn changed_bytes_are_refused_or_another_whole_bundle(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let whole = packed();
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(bundle) = Bundle::read(&bytes) {
            prop_assert_eq!(&bundle.components, &parts().components);
            // Only what the manifest says may differ: its header, the components and their padding are as they were.
            let size = tar::Header::from_byte_slice(&whole[..512]).entry_size().unwrap() as usize;
            let end = 512 + size;
            prop_assert_eq!(&bytes[..512], &whole[..512]);
            prop_assert_eq!(&bytes[end..], &whole[end..]);
        }
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        prop_assert!(Bundle::read(&bytes).is_err());
    }
}
