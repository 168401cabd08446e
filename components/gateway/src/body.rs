//! Reading a request's body within the limit.
//!
//! Owns the count of its bytes. Must never know what they mean or where they come from.

use crate::problem::{Code, Problem};

/// Why a source of bytes gave out before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupted {
    /// The host counted more than it lets through.
    TooLarge,
    /// The client went away, or its framing is broken.
    Broken,
}

/// Collects a body. `next` answers the next bytes, and `None` at the end; `declared` is the Content-Length.
///
/// A body over `limit` is refused as soon as that is known: by its declared length before a byte is read, else by the
/// first byte too many.
pub fn collect(
    mut next: impl FnMut() -> Result<Option<Vec<u8>>, Interrupted>,
    declared: Option<u64>,
    limit: u64,
) -> Result<Vec<u8>, Problem> {
    if declared.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut body = Vec::new();
    // Room for all of it at once, so that a photograph is not copied again and again while the body grows.
    reserve(&mut body, declared.unwrap_or(0))?;
    loop {
        match next() {
            Ok(Some(bytes)) => {
                if (body.len() + bytes.len()) as u64 > limit {
                    return Err(too_large(limit));
                }
                reserve(&mut body, bytes.len() as u64)?;
                body.extend_from_slice(&bytes);
            }
            Ok(None) => return Ok(body),
            Err(Interrupted::TooLarge) => return Err(too_large(limit)),
            Err(Interrupted::Broken) => {
                let detail = format!("The body broke off after {} bytes; send all of it.", body.len());
                return Err(Problem::new(Code::MalformedRequest, detail));
            }
        }
    }
}

fn reserve(body: &mut Vec<u8>, more: u64) -> Result<(), Problem> {
    let reserved = usize::try_from(more).ok().and_then(|more| body.try_reserve(more).ok());
    reserved.ok_or_else(|| {
        Problem::new(
            Code::InternalError,
            "The gateway's memory cannot hold the body; its operator should raise the gateway's memory limit or lower \
             the body limit.",
        )
    })
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("The body is larger than the limit of {limit} bytes; send smaller photographs."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect_all(chunks: &[&[u8]], declared: Option<u64>, limit: u64) -> Result<Vec<u8>, Code> {
        let mut chunks = chunks.iter().map(|chunk| chunk.to_vec());
        collect(|| Ok(chunks.next()), declared, limit).map_err(|problem| problem.code())
    }

    #[test]
    fn a_body_up_to_the_limit_is_collected() {
        assert_eq!(collect_all(&[b"ab", b"", b"c"], Some(3), 3), Ok(b"abc".to_vec()));
        assert_eq!(collect_all(&[], None, 0), Ok(vec![]));
    }

    #[test]
    fn a_declared_length_over_the_limit_is_refused_unread() {
        let refused = collect(|| panic!("nothing is read"), Some(u64::MAX), 10).unwrap_err();
        assert_eq!(refused.code(), Code::BodyTooLarge);
    }

    #[test]
    fn reading_stops_at_the_first_byte_too_many() {
        let mut reads = 0;
        let endless = || {
            reads += 1;
            Ok(Some(vec![0; 4]))
        };
        assert_eq!(collect(endless, None, 10).unwrap_err().code(), Code::BodyTooLarge);
        assert_eq!(reads, 3);
    }

    #[test]
    fn a_broken_source_says_how_far_it_came() {
        let mut chunks = [Ok(Some(vec![1, 2])), Err(Interrupted::Broken)].into_iter();
        let refused = collect(|| chunks.next().unwrap(), None, 10).unwrap_err();
        assert_eq!(refused.code(), Code::MalformedRequest);
        assert!(refused.detail().contains("2 bytes"), "{}", refused.detail());
        assert_eq!(collect(|| Err(Interrupted::TooLarge), None, 10).unwrap_err().code(), Code::BodyTooLarge);
    }
}
