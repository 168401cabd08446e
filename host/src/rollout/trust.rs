//! Whose code may run here: Ed25519 signatures in the format of minisign.
//!
//! Owns the list of trusted keys and the check of a signature. Must never know what the signed bytes are.
//!
//! # Layout
//!
//! - `signing`: the other side: keys and signatures are made there.

pub(crate) mod signing;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign_verify::{PublicKey, Signature};
use serde::Serialize;

/// The most that a key file or a signature may have, bytes: four lines, two of them comments.
pub(crate) const LONGEST: u64 = 8 << 10;

/// A key's name: what minisign prints, 16 upper-case hexadecimal digits. Whoever makes a key may choose it, so it proves
/// nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId([u8; 8]);

impl KeyId {
    /// From the decoded base64 line of a public key or signature: two bytes of algorithm, then the id.
    fn of_line(line: &str) -> Option<Self> {
        let bytes = STANDARD.decode(line.trim()).ok()?;
        Some(Self(bytes.get(2..10)?.try_into().ok()?))
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", u64::from_le_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys whose signatures are accepted.
#[derive(Debug)]
pub(crate) struct Trust {
    keys: Vec<(KeyId, PublicKey)>,
}

/// Who signed, for records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Signer {
    /// The id of the trusted key.
    pub(crate) key: String,
    /// The comment that the signature covers, too: as a rule the time and the file's name. Without control characters.
    pub(crate) comment: String,
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.key, self.comment)
    }
}

/// An entry of `components.trusted_keys` is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// Neither a key nor the path of a file that can be read.
    #[error(
        "the trusted key \"{entry}\" is neither a public key nor a file that can be read: {reason}; give the second line of a .pub file (it begins with RW), or its path"
    )]
    Unreadable {
        /// The entry.
        entry: String,
        /// The operating system's words.
        reason: io::Error,
    },
    /// The file holds something else.
    #[error(
        "the trusted key \"{path}\" holds no public key of minisign; it has a line of 56 characters that begins with RW, as `visavis components keygen` writes it"
    )]
    NoKey {
        /// The file.
        path: String,
    },
}

/// The bytes are not what somebody trusted has signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// There is no signature, and there must be one.
    #[error(
        "it is not signed, and only what one of the keys {trusted} has signed is accepted; sign it with `visavis components sign FILE --key KEY` and keep FILE.minisig beside it"
    )]
    Missing {
        /// The ids of all trusted keys.
        trusted: String,
    },
    /// The signature cannot be read.
    #[error("its signature is not in minisign's format: {problem}; sign it anew with `visavis components sign`")]
    Malformed {
        /// What is wrong.
        problem: String,
    },
    /// The signature covers the bytes themselves instead of their hash.
    #[error("its signature is in minisign's legacy format; sign it anew, without -l")]
    Legacy,
    /// No trusted key has this id.
    #[error(
        "it is signed with the key {key}, which is not trusted; trusted are {trusted}: sign it with one of them, or add the public key of {key} to components.trusted_keys if you know whose it is"
    )]
    UnknownKey {
        /// The signing key's id, as the signature says.
        key: KeyId,
        /// The ids of all trusted keys.
        trusted: String,
    },
    /// The signature does not fit.
    #[error(
        "its signature by the key {key} does not fit: the file, the signature or its comment was changed, or they belong to others; fetch both again, or sign the file anew"
    )]
    Wrong {
        /// The signing key's id, as the signature says.
        key: KeyId,
    },
}

impl Trust {
    /// Takes the entries of `components.trusted_keys`: each a public key's base64 line, or the path of a file that holds it.
    pub(crate) fn load(entries: &[String]) -> Result<Self, KeyError> {
        let keys = entries.iter().map(|entry| match key(entry) {
            Some(key) => Ok(key),
            None => {
                let unreadable = |reason| KeyError::Unreadable { entry: entry.clone(), reason };
                let mut text = Vec::new();
                File::open(entry).and_then(|file| file.take(LONGEST).read_to_end(&mut text)).map_err(unreadable)?;
                let text = String::from_utf8_lossy(&text);
                text.lines().take(2).find_map(key).ok_or_else(|| KeyError::NoKey { path: entry.clone() })
            }
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// Whether nobody is trusted by name, and so signatures are not asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The ids of all trusted keys, with commas between them.
    pub(crate) fn ids(&self) -> String {
        self.keys.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Checks the text of a `.minisig` file against the bytes that it is said to sign, and answers who signed. Without trusted
    /// keys nothing is checked, and the answer is nobody: a signature by just anyone says nothing.
    pub(crate) fn check(&self, bytes: &[u8], signature: Option<&str>) -> Result<Option<Signer>, TrustError> {
        if self.is_empty() {
            return Ok(None);
        }
        let text = signature.ok_or_else(|| TrustError::Missing { trusted: self.ids() })?;
        let malformed = |problem: &str| TrustError::Malformed { problem: problem.to_owned() };
        if text.len() as u64 > LONGEST {
            return Err(malformed(&format!("it has {} bytes, and at most {LONGEST} make sense", text.len())));
        }
        let signature = Signature::decode(text).map_err(|error| malformed(&error.to_string()))?;
        let id = text.lines().nth(1).and_then(KeyId::of_line).ok_or_else(|| malformed("it names no key"))?;
        let mut same = self.keys.iter().filter(|(known, _)| *known == id).peekable();
        if same.peek().is_none() {
            return Err(TrustError::UnknownKey { key: id, trusted: self.ids() });
        }
        // Ids are not unique by force: somebody may make a key under the id of another.
        let mut refusal = TrustError::Wrong { key: id };
        for (_, key) in same {
            match key.verify(bytes, &signature, false) {
                Ok(()) => {
                    let comment = signature.trusted_comment().replace(char::is_control, " ");
                    return Ok(Some(Signer { key: id.to_string(), comment }));
                }
                Err(minisign_verify::Error::UnexpectedAlgorithm) => refusal = TrustError::Legacy,
                Err(_) => {}
            }
        }
        Err(refusal)
    }
}

fn key(line: &str) -> Option<(KeyId, PublicKey)> {
    let key = PublicKey::from_base64(line.trim()).ok()?;
    Some((KeyId::of_line(line)?, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by minisign 0.11.
    const PUBLIC: &str = "RWQMNUcEAMpKNSxiyoH+7iun/mDvhocVY+7dU5Cs2647GoN4em0fX2/x";
    const WORD: &[u8] = b"minisign";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUQMNUcEAMpKNYfx/nGQFR2YuvSacvOwlZ6qdr1kjsc31Si4IoVcRLfO9dAn4lu4PzvPQeCoedhoBEPMjmV4/JCmqgWyVHlTAAw=\n\
        trusted comment: release 7 of the scorer\n\
        kZPqU6Voxyqet8qII+i1uw5SV/NI06rB8R/CeWSw2Orf/AJPKWeosIAPBrfRGXn+dl8+ovIYij5noj0wXxcqBw==\n";
    /// Over a hundred zero bytes, with `minisign -S -l`.
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWQMNUcEAMpKNSSLiju086NP0lglR5Ak9uyLin/QFiHZ1+sRdhogbqNX9fUtS6xCq4yUXa+aFjAXi5ayK70X4CgEqOsyn1jCXgc=\n\
        trusted comment: timestamp:1795383602\tfile:data\n\
        k4FwMCjQDn4DqSbCsymHvVYIUGcLtUa20m05qMr5rjHBcsa0GrSf9IVbE3MnsESzfrEpJsiVfW9LJTFGpM3CCA==\n";
    /// Another key of that program's author, from its manual.
    const STRANGER: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

    fn trust(keys: &[&str]) -> Trust {
        Trust::load(&keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_the_minisign_program_signed_is_accepted() {
        let signer = trust(&[STRANGER, PUBLIC]).check(WORD, Some(SIGNATURE)).unwrap().unwrap();
        assert_eq!(signer.to_string(), "354ACA000447350C (release 7 of the scorer)");
        let windows = SIGNATURE.replace('\n', "\r\n");
        assert!(trust(&[PUBLIC]).check(WORD, Some(&windows)).is_ok());
    }

    #[test]
    fn what_nobody_trusted_signed_is_refused_with_the_mend() {
        let (ours, theirs) = (trust(&[PUBLIC]), trust(&[STRANGER]));
        let refusal = |trust: &Trust, bytes, signature| trust.check(bytes, signature).unwrap_err();
        let cases = [
            (refusal(&ours, WORD, None), "not signed, and only what one of the keys 354ACA000447350C"),
            (refusal(&ours, b"Minisign", Some(SIGNATURE)), "by the key 354ACA000447350C does not fit"),
            (
                refusal(&theirs, WORD, Some(SIGNATURE)),
                "354ACA000447350C, which is not trusted; trusted are E7620F1842B4E81F",
            ),
            (refusal(&ours, &[0; 100], Some(LEGACY)), "legacy format; sign it anew, without -l"),
            (refusal(&ours, WORD, Some("")), "not in minisign's format"),
            (refusal(&ours, WORD, Some(&"x".repeat(10_000))), "it has 10000 bytes"),
        ];
        for (error, words) in cases {
            assert!(error.to_string().contains(words), "{error}\nlacks {words}");
        }
    }

    #[test]
    fn a_signature_with_any_changed_character_is_refused() {
        let trust = trust(&[PUBLIC]);
        // All but the first comment, which nothing covers.
        let text = SIGNATURE.trim_end();
        for at in text.find('\n').unwrap() + 1..text.len() {
            // Base64's letters, so that most of these are signatures still.
            for letter in ["A", "B", "/", "\n", "\u{e9}"] {
                let changed = format!("{}{letter}{}", &text[..at], &text[at + 1..]);
                assert!(changed == text || trust.check(WORD, Some(&changed)).is_err(), "{at}: {changed}");
            }
            assert!(trust.check(WORD, Some(&text[..at])).is_err(), "{at}");
        }
    }

    #[test]
    fn without_trusted_keys_nobody_is_the_signer() {
        let trust = trust(&[]);
        for signature in [None, Some(SIGNATURE), Some("nonsense")] {
            assert_eq!(trust.check(WORD, signature).unwrap(), None);
        }
    }

    #[test]
    fn a_key_is_a_line_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let whole = path("whole.pub", &format!("untrusted comment: minisign public key\n{PUBLIC}\n"));
        let line = path("line.pub", PUBLIC);
        assert_eq!(Trust::load(&[whole, line]).unwrap().ids(), "354ACA000447350C, 354ACA000447350C");

        let other = path("other.pub", "untrusted comment: x\nRWQMNUcEAMpKNSxi\n");
        let error = Trust::load(std::slice::from_ref(&other)).unwrap_err().to_string();
        assert!(error.contains(&other) && error.contains("begins with RW"), "{error}");
        let error = Trust::load(&["RWQMNUcE".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("\"RWQMNUcE\"") && error.contains("its path"), "{error}");
    }

    #[test]
    fn a_comment_prints_no_control_characters() {
        let pair = signing::Pair::generate(None).unwrap();
        let secret = signing::Secret::parse(&pair.secret).unwrap().open(None).unwrap();
        let signature = secret.sign(b"x", "a\u{1b}[2J\nb.wasm").unwrap();
        let signer = trust(&[pair.public.lines().nth(1).unwrap()]).check(b"x", Some(&signature)).unwrap().unwrap();
        assert!(signer.comment.contains("b.wasm") && !signer.comment.contains(char::is_control), "{signer:?}");
    }
}
