//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), for payloads of some hundred kilobytes.
//!
//! Owns the derivation of one message's key; ring does the work on its bytes, in half the time of portable code. Must never know
//! what is encrypted or where a nonce comes from.

use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// Bytes of a key.
pub(super) const KEY: usize = 32;

/// Bytes of a nonce: enough that random ones never meet.
pub(super) const NONCE: usize = 24;

/// Bytes that a message grows by.
pub(super) const TAG: usize = 16;

/// The message was changed, or its key, nonce or associated data is another one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tampered;

/// A key, wiped from memory when dropped.
pub(super) struct Cipher(Zeroizing<[u8; KEY]>);

impl Cipher {
    pub(super) fn new(key: Zeroizing<[u8; KEY]>) -> Self {
        Self(key)
    }

    /// Encrypts in place and appends the tag. The same nonce must never come twice.
    pub(super) fn encrypt(&self, nonce: &[u8; NONCE], associated: &[u8], message: &mut Vec<u8>) {
        let (key, nonce) = self.of_message(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(associated), message)
            .expect("a message is far below the cipher's limit of 256 GiB");
    }

    /// Undoes [`Cipher::encrypt`] in place.
    ///
    /// # Errors
    ///
    /// [`Tampered`]; the buffer then holds nothing of use.
    pub(super) fn decrypt(
        &self,
        nonce: &[u8; NONCE],
        associated: &[u8],
        message: &mut Vec<u8>,
    ) -> Result<(), Tampered> {
        let (key, nonce) = self.of_message(nonce);
        let length = key.open_in_place(nonce, Aad::from(associated), message).map_err(|_| Tampered)?.len();
        message.truncate(length);
        Ok(())
    }

    /// HChaCha20 makes a key of the first 16 bytes of the nonce; the last 8 are that key's own nonce, after four zeros.
    fn of_message(&self, nonce: &[u8; NONCE]) -> (LessSafeKey, Nonce) {
        let (first, last) = nonce.split_at(16);
        let first: [u8; 16] = first.try_into().expect("it was split there");
        let key = Zeroizing::new(<[u8; KEY]>::from(hchacha::<R20>(&(*self.0).into(), &first.into())));
        let mut short = [0; 12];
        short[4..].copy_from_slice(last);
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key[..]).expect("the key has the cipher's length");
        (LessSafeKey::new(key), Nonce::assume_unique_for_key(short))
    }
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::{AeadInOut, KeyInit};
    use chacha20poly1305::{XChaCha20Poly1305, XNonce};

    use super::*;

    /// What another implementation of the same draft makes of it.
    fn expected(key: [u8; KEY], nonce: [u8; NONCE], associated: &[u8], message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        let cipher = XChaCha20Poly1305::new(&key.into());
        cipher.encrypt_in_place(&XNonce::from(nonce), associated, &mut message).unwrap();
        message
    }

    #[test]
    fn messages_are_those_of_the_draft_and_come_back() {
        for length in [0, 1, 15, 16, 17, 63, 64, 65, 1000, 200_000] {
            let byte = |at: usize| (at * 31 + length) as u8;
            let (key, nonce) = (std::array::from_fn(byte), std::array::from_fn(|at| byte(at + 7)));
            let message: Vec<_> = (0..length).map(byte).collect();
            let cipher = Cipher::new(Zeroizing::new(key));
            let mut sealed = message.clone();
            cipher.encrypt(&nonce, b"associated", &mut sealed);
            assert_eq!(sealed, expected(key, nonce, b"associated", &message), "{length}");
            assert_eq!(sealed.len(), length + TAG);
            cipher.decrypt(&nonce, b"associated", &mut sealed).unwrap();
            assert_eq!(sealed, message);
        }
    }

    #[test]
    fn what_was_changed_is_refused() {
        let cipher = Cipher::new(Zeroizing::new([7; KEY]));
        let nonce = [9; NONCE];
        let mut sealed = b"a photograph".to_vec();
        cipher.encrypt(&nonce, b"task", &mut sealed);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(cipher.decrypt(&nonce, b"task", &mut changed), Err(Tampered), "byte {at}");
        }
        for at in 0..NONCE {
            let mut other = nonce;
            other[at] ^= 1;
            assert_eq!(cipher.decrypt(&other, b"task", &mut sealed.clone()), Err(Tampered), "byte {at} of the nonce");
        }
        assert_eq!(cipher.decrypt(&nonce, b"another", &mut sealed.clone()), Err(Tampered));
        assert_eq!(cipher.decrypt(&nonce, b"task", &mut sealed[..TAG - 1].to_vec()), Err(Tampered));
    }
}
