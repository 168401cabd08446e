//! Section `verify`: the operator's policy.
//!
//! Owns its keys, their defaults and bounds. Must never know where a value came from, or how it is followed.

use crate::config::sections::{Field, GIB, KIB, field};
use crate::config::value::{Count, Optional, Or, Raw, Size, Value, choose};
use crate::task::NonFrontal;

/// Section `verify`: the operator's policy. A client may override the first two for one task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verify {
    /// Two faces are one person when the Euclidean distance of their embeddings is at most this; `None` is the
    /// embedder's own.
    pub(crate) threshold: Option<f32>,
    /// What to do with a face that does not look into the camera.
    pub(crate) non_frontal: NonFrontal,
    /// The smallest face to look for: shorter side in pixels of the copy on which it is proposed; `None`: by the photograph.
    pub(crate) min_face: Option<u32>,
    /// Faces are searched on a copy whose longer side is at most this many pixels; 0 searches the photograph itself.
    pub(crate) detect_max_side: u32,
    /// The most pixels, width times height, that a photograph may declare.
    pub(crate) max_pixels: u64,
    /// How much memory analyses of photographs may take that are kept in case the photographs come again, bytes; `None`: none
    /// is kept.
    pub(crate) cache: Option<usize>,
}

impl Value for &mut NonFrontal {
    fn read(&mut self, raw: &Raw) -> Result<(), String> {
        choose(*self, raw, &[("reject", NonFrontal::Reject), ("report", NonFrontal::Report)])
    }

    fn show(&self) -> String {
        match self {
            NonFrontal::Reject => "reject",
            NonFrontal::Report => "report",
        }
        .to_owned()
    }
}

impl Verify {
    /// As it is when nothing is set.
    pub(super) fn defaults() -> Self {
        Self {
            threshold: None,
            non_frontal: NonFrontal::Reject,
            min_face: None,
            detect_max_side: 480,
            max_pixels: 40_000_000,
            cache: None,
        }
    }

    /// Its keys, with the place of each value and the bounds that are held.
    pub(super) fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            field(
                "verify.threshold",
                Optional { value: &mut self.threshold, bounds: 0.0..=2.0, absent: "the embedder's own" },
            ),
            field("verify.non_frontal", &mut self.non_frontal),
            // The detector's first network looks at squares of 12 pixels: smaller faces would have to be invented.
            field(
                "verify.min_face",
                Or { word: "auto", value: &mut self.min_face, of: |it| Box::new(Count(it, 12..=4096)) },
            ),
            field("verify.detect_max_side", Count(&mut self.detect_max_side, 0..=4096)),
            field("verify.max_pixels", Count(&mut self.max_pixels, 1..=250_000_000)),
            field(
                "verify.cache",
                Or { word: "off", value: &mut self.cache, of: |it| Box::new(Size(it, 64 * KIB..=64 * GIB)) },
            ),
        ]
    }
}
