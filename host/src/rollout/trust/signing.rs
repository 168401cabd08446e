//! Makes keys and signatures in the format of minisign.
//!
//! Owns the only use of secret keys. Must never know where they lie, who asks for a password, or what is signed.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox};
use zeroize::Zeroizing;

use super::KeyId;

/// Where the checksum lies in a secret key: after algorithms, salt, limits, id and the key itself.
const CHECKSUM: Range<usize> = 126..158;

/// A fresh pair of keys, as the texts of their two files.
pub(crate) struct Pair {
    /// The name that both share.
    pub(crate) id: KeyId,
    /// The secret one; encrypted with the password if there is one.
    pub(crate) secret: String,
    /// The public one.
    pub(crate) public: String,
}

/// A secret key's file, as it lies there.
pub(crate) struct Secret {
    text: String,
    bytes: Zeroizing<Vec<u8>>,
    encrypted: bool,
}

/// A secret key that can sign.
pub(crate) struct Signing(SecretKey);

/// No key or no signature can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningError {
    /// The file is no secret key.
    #[error("it is not a secret key of minisign; `visavis components keygen` makes one")]
    NoKey,
    /// The password does not open it.
    #[error("the key cannot be opened: {0}")]
    Closed(minisign::PError),
    /// The library failed.
    #[error("{0}")]
    Failed(#[from] minisign::PError),
}

impl Pair {
    /// Makes a pair. With a password the secret key is encrypted, under scrypt.
    pub(crate) fn generate(password: Option<&str>) -> Result<Self, SigningError> {
        let KeyPair { pk, sk } = match password {
            Some(password) => KeyPair::generate_encrypted_keypair(Some(password.to_owned()))?,
            None => KeyPair::generate_unencrypted_keypair()?,
        };
        let id = KeyId::of_bytes(pk.keynum()).ok_or(SigningError::NoKey)?;
        let secret = sk.to_box(Some(&format!("visavis secret key {id}: never give it away")))?.into_string();
        Ok(Self { id, secret, public: pk.to_box()?.into_string() })
    }
}

impl Secret {
    /// Reads the text of a secret key's file.
    pub(crate) fn parse(text: &str) -> Result<Self, SigningError> {
        // Two letters of algorithm, then two of how the key is encrypted.
        let bytes =
            text.lines().nth(1).and_then(|line| STANDARD.decode(line.trim()).ok()).ok_or(SigningError::NoKey)?;
        let bytes = Zeroizing::new(bytes);
        let encrypted = match bytes.get(..4) {
            Some(b"Ed\0\0") => false,
            Some(b"EdSc") => true,
            _ => return Err(SigningError::NoKey),
        };
        if bytes.len() != CHECKSUM.end {
            return Err(SigningError::NoKey);
        }
        Ok(Self { text: text.to_owned(), bytes, encrypted })
    }

    /// Whether a password is needed to open it.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Opens the key; the password is only used if the key is encrypted.
    pub(crate) fn open(self, password: Option<&str>) -> Result<Signing, SigningError> {
        let file = SecretKeyBox::from(self.text);
        let opened = if self.encrypted {
            // Without one, the library would ask for it on the terminal by itself.
            file.into_secret_key(Some(password.unwrap_or_default().to_owned()))
        } else if self.bytes[CHECKSUM] == [0; CHECKSUM.end - CHECKSUM.start] {
            // The minisign program writes no checksum when it does not encrypt, and the library would miss it.
            SecretKey::from_bytes(&self.bytes)
        } else {
            file.into_unencrypted_secret_key()
        };
        opened.map(Signing).map_err(SigningError::Closed)
    }
}

impl Signing {
    /// Signs bytes, and answers the text of the `.minisig` file. The signature covers the time and the file's name, too.
    pub(crate) fn sign(&self, bytes: &[u8], file_name: &str) -> Result<String, SigningError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // A comment is one line.
        let file_name = file_name.replace(char::is_control, "_");
        let comment = format!("timestamp:{now}\tfile:{file_name}\thashed");
        // With the public key at hand the signature is checked at once: not every key file has a checksum.
        let public = PublicKey::from_secret_key(&self.0)?;
        let signature = minisign::sign(Some(&public), &self.0, bytes, Some(&comment), Some("signature by visavis"))?;
        Ok(signature.into_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Trust;
    use super::*;

    fn signed(pair: &Pair, password: Option<&str>) -> Result<String, SigningError> {
        Secret::parse(&pair.secret)?.open(password)?.sign(b"a component", "scorer.wasm")
    }

    #[test]
    fn a_signature_is_accepted_by_the_other_side() {
        let pair = Pair::generate(None).unwrap();
        let key = pair.public.lines().nth(1).unwrap().to_owned();
        let trust = Trust::load(&[key]).unwrap();
        let signer = trust.check(b"a component", Some(&signed(&pair, None).unwrap())).unwrap().unwrap();
        assert_eq!(signer.key, pair.id.to_string());
        assert!(signer.comment.contains("file:scorer.wasm"), "{signer:?}");
    }

    #[test]
    fn an_encrypted_key_opens_with_its_password_alone() {
        let pair = Pair::generate(Some("correct horse")).unwrap();
        assert!(Secret::parse(&pair.secret).unwrap().is_encrypted());
        assert!(signed(&pair, Some("correct horse")).is_ok());
        for wrong in [None, Some("correct horse "), Some("")] {
            assert!(matches!(signed(&pair, wrong), Err(SigningError::Closed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_key_that_the_minisign_program_made_signs() {
        // By `minisign -G -W`, version 0.11, for this test alone.
        const SECRET: &str = "untrusted comment: minisign encrypted secret key\nRWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADDVHBADKSjVrN7L81DYl8tjnJMEM0v0jyFJjZWMsTrr7MOBs9oSwiSxiyoH+7iun/mDvhocVY+7dU5Cs2647GoN4em0fX2/xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
        const PUBLIC: &str = "RWQMNUcEAMpKNSxiyoH+7iun/mDvhocVY+7dU5Cs2647GoN4em0fX2/x";
        let trust = Trust::load(&[PUBLIC.to_owned()]).unwrap();
        let signature = |secret: &str| Secret::parse(secret)?.open(None)?.sign(b"a component", "scorer.wasm");
        let signer = trust.check(b"a component", Some(&signature(SECRET).unwrap())).unwrap().unwrap();
        assert_eq!(signer.key, "354ACA000447350C");
        let mut bytes = STANDARD.decode(SECRET.lines().nth(1).unwrap()).unwrap();
        bytes[100] ^= 1;
        let damaged = format!("a\n{}\n", STANDARD.encode(&bytes));
        assert!(
            matches!(signature(&damaged), Err(SigningError::Failed(_))),
            "it has no checksum, and is noticed all the same"
        );
    }

    #[test]
    fn other_texts_are_no_secret_keys() {
        let pair = Pair::generate(None).unwrap();
        let line = pair.secret.lines().nth(1).unwrap();
        for text in ["", "one line", "a\nb", &pair.public, &format!("a\n{}", &line[..20])] {
            let opened = Secret::parse(text).and_then(|secret| secret.open(None));
            assert!(opened.is_err(), "{text}");
        }
        let mut bytes = STANDARD.decode(line).unwrap();
        bytes[80] ^= 1;
        let damaged = format!("a\n{}\n", STANDARD.encode(&bytes));
        assert!(matches!(Secret::parse(&damaged).unwrap().open(None), Err(SigningError::Closed(_))));
    }
}
