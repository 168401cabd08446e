//! Published weights in, ONNX out, in memory and byte for byte the same every time.
//!
//! A conversion is a pure function of its source: no clock, no file, no unordered map. Sources come from outside, so a
//! broken or hostile one is an error, never a panic.
//!
//! - `onnx`: writes ONNX.
//! - `tensor`: constant tensors and the reordering of their axes.
//! - `tensorflow` and `facenet`: reads a frozen TensorFlow graph; translates InceptionResnetV1.
//! - `quantize` and `ranges`: makes an ONNX model compute in 8-bit integers, with ranges that were measured once.
//! - `pickle`, `torch` and `mtcnn`: reads a PyTorch state dictionary; builds MTCNN's three nets around it.

mod facenet;
mod mtcnn;
mod onnx;
mod pickle;
mod quantize;
mod ranges;
mod tensor;
mod tensorflow;
mod torch;

pub use self::quantize::{Observed, observe};
pub use self::ranges::Ranges;
use crate::graph::Conversion;

/// Why a source could not be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The source is not of the format that the conversion reads, or is broken.
    #[error("not {format}: {problem}")]
    Malformed {
        /// The format that was expected.
        format: &'static str,
        /// Where the source departs from it.
        problem: String,
    },
    /// The source is well-formed, but holds another network than the conversion knows.
    #[error("{place}: {problem}")]
    Unsupported {
        /// The node, layer or tensor.
        place: String,
        /// What the conversion can not translate.
        problem: String,
    },
}

/// Converts the bytes of a source file to the bytes of an ONNX file.
///
/// # Errors
/// When `source` is broken, or holds another network than `conversion` translates.
pub fn convert(conversion: Conversion, source: &[u8]) -> Result<Vec<u8>, ConvertError> {
    match conversion {
        Conversion::MtcnnProposal => mtcnn::proposal(&torch::state_dictionary(source)?),
        Conversion::MtcnnRefinement => mtcnn::refinement(&torch::state_dictionary(source)?),
        Conversion::MtcnnOutput => mtcnn::output(&torch::state_dictionary(source)?),
        Conversion::FacenetInceptionResnetV1 => {
            Ok(facenet::embedding(&tensorflow::Graph::parse(source)?)?.into_bytes())
        }
        Conversion::FacenetInceptionResnetV1Int8 => {
            quantize::quantize(&facenet::embedding(&tensorflow::Graph::parse(source)?)?, &Ranges::shipped()?)
        }
    }
}

impl ConvertError {
    fn unsupported(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Unsupported { place: place.into(), problem: problem.into() }
    }
}
