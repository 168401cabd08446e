//! One key: `visavis_`, its id of 16 hexadecimal digits, `_`, and 64 hexadecimal digits that nobody can guess.
//!
//! Owns its form and its hash. Must never hold a key for longer than it takes to hash or show it.
//!
//! The hash is BLAKE3 in its mode for deriving keys, and not a slow one as for passwords: what is hashed has 256 random bits, so
//! there is nothing to be guessed, however fast a guess is; and a slow hash would let strangers keep the processor busy.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What every key begins with, so that one in a log or a repository is found by those who look for such things.
const PREFIX: &str = "visavis_";

/// Digits of an id, and of the secret behind it.
const DIGITS: (usize, usize) = (16, 64);

/// What is kept of a key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Hash(blake3::Hash);

impl Hash {
    /// The hash of a whole key.
    pub(super) fn of(key: &str) -> Self {
        Self(blake3::derive_key("visavis API keys v1: hashes of keys", key.as_bytes()).into())
    }

    /// Whether these are the same, in a time that does not depend on where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        // Hashes of blake3 compare in constant time.
        self.0 == other.0
    }
}

// Of no use to who reads it, but no log needs it either.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(..)")
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0.to_hex().to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        blake3::Hash::from_hex(text).map(Self).map_err(|_| "a hash has 64 hexadecimal digits")
    }
}

/// A fresh id.
pub(super) fn new_id() -> io::Result<String> {
    random::<{ DIGITS.0 / 2 }>().map(|bytes| hex::encode(*bytes))
}

/// A fresh key of this id.
pub(super) fn generate(id: &str) -> io::Result<Zeroizing<String>> {
    let secret = random::<{ DIGITS.1 / 2 }>()?;
    let digits = Zeroizing::new(hex::encode(*secret));
    Ok(Zeroizing::new(format!("{PREFIX}{id}_{}", digits.as_str())))
}

/// The id that a key names; `None` when the text has not the form of a key.
pub(super) fn id_of(key: &str) -> Option<&str> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let lower = |digits: &str| digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    ((id.len(), secret.len()) == DIGITS && lower(id) && lower(secret)).then_some(id)
}

fn random<const N: usize>() -> io::Result<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_id_and_is_known_by_its_hash() {
        let id = new_id().unwrap();
        let [one, other] = [generate(&id).unwrap(), generate(&id).unwrap()];
        assert_eq!((id_of(&one), one.len()), (Some(id.as_str()), 8 + 16 + 1 + 64));
        assert!(Hash::of(&one).is(&Hash::of(&one)) && !Hash::of(&one).is(&Hash::of(&other)));
        let written = serde_json::to_string(&Hash::of(&one)).unwrap();
        assert!(serde_json::from_str::<Hash>(&written).unwrap().is(&Hash::of(&one)));
        assert!(!written.contains(&one[25..]) && !format!("{:?}", Hash::of(&one)).contains(&written[1..9]));
        assert!(serde_json::from_str::<Hash>("\"0011\"").is_err());
    }

    #[test]
    fn what_has_another_form_is_no_key() {
        let key = generate("0123456789abcdef").unwrap();
        for text in [
            "",
            "visavis_",
            &key[1..],
            &key[..key.len() - 1],
            &format!("{}0", key.as_str()),
            &key.to_uppercase(),
            &key.replace("_0", "_g"),
            &format!(" {}", key.as_str()),
        ] {
            assert_eq!(id_of(text), None, "{text}");
        }
    }
}
