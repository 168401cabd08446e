//! A payload as bytes, and back.
//!
//! Owns the layout `photograph 1 | photograph 2 | trailer`. The trailer stands last so that the first photograph is never
//! moved, neither on the way in nor on the way out. Must never know keys or storage.

use crate::task::{NonFrontal, Payload, Wishes};

/// Lengths of the photographs (2 x u64), threshold (flag, f32), rule for faces that look away (u8); little-endian.
const TRAILER: usize = 8 + 8 + 1 + 4 + 1;

/// The bytes are not a payload.
#[derive(Debug, thiserror::Error)]
#[error("the stored payload has not the layout that this version of visavis writes")]
pub(super) struct Malformed;

/// Turns a payload into bytes, with room for `spare` more behind them.
pub(super) fn encode(payload: Payload, spare: usize) -> Vec<u8> {
    let Payload { photographs: [first, second], wishes: Wishes { threshold, non_frontal } } = payload;
    let lengths = [first.len() as u64, second.len() as u64];
    let mut bytes = first;
    bytes.reserve_exact(second.len() + TRAILER + spare);
    bytes.extend_from_slice(&second);
    bytes.extend_from_slice(&lengths[0].to_le_bytes());
    bytes.extend_from_slice(&lengths[1].to_le_bytes());
    bytes.push(u8::from(threshold.is_some()));
    bytes.extend_from_slice(&threshold.unwrap_or_default().to_le_bytes());
    bytes.push(match non_frontal {
        None => 0,
        Some(NonFrontal::Reject) => 1,
        Some(NonFrontal::Report) => 2,
    });
    bytes
}

/// Turns bytes back into the payload.
pub(super) fn decode(mut bytes: Vec<u8>) -> Result<Payload, Malformed> {
    let (photographs, trailer) = bytes.split_last_chunk::<TRAILER>().ok_or(Malformed)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, has_threshold, threshold @ .., non_frontal] = *trailer;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let second = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    if first.checked_add(second) != Some(photographs.len() as u64) {
        return Err(Malformed);
    }
    let threshold = match has_threshold {
        0 => None,
        1 => Some(f32::from_le_bytes(threshold)),
        _ => return Err(Malformed),
    };
    let non_frontal = match non_frontal {
        0 => None,
        1 => Some(NonFrontal::Reject),
        2 => Some(NonFrontal::Report),
        _ => return Err(Malformed),
    };
    bytes.truncate(bytes.len() - TRAILER);
    // `first` is at most the length of the buffer, so it fits.
    let second = bytes.split_off(first as usize);
    Ok(Payload { photographs: [bytes, second], wishes: Wishes { threshold, non_frontal } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wishes() -> impl Strategy<Value = Wishes> {
        let rule = prop_oneof![Just(NonFrontal::Reject), Just(NonFrontal::Report)];
        (proptest::option::of(-9.0f32..9.0), proptest::option::of(rule))
            .prop_map(|(threshold, non_frontal)| Wishes { threshold, non_frontal })
    }

    proptest! {
        #[test]
        fn a_payload_survives_its_bytes(first: Vec<u8>, second: Vec<u8>, wishes in wishes(), spare in 0usize..64) {
            let payload = Payload { photographs: [first, second], wishes };
            let bytes = encode(payload.clone(), spare);
            prop_assert!(bytes.capacity() >= bytes.len() + spare);
            prop_assert_eq!(decode(bytes).unwrap(), payload);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            if let Ok(payload) = decode(bytes.clone()) {
                prop_assert_eq!(payload.photographs.concat().len() + TRAILER, bytes.len());
            }
        }
    }

    #[test]
    fn a_photograph_that_changes_its_border_changes_the_bytes() {
        let split = |at: usize| {
            let photographs = [vec![7; at], vec![7; 10 - at]];
            encode(Payload { photographs, wishes: Wishes::default() }, 0)
        };
        assert_ne!(split(3), split(4));
    }
}
