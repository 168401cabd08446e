//! What an analyzer of a benchmark is told, by whichever program calls it.
//!
//! Owns the values. Must never know which program's bindings it is compiled with: `super` names them.

use super::{Detector, Embed, Embedder, Settings};

/// What an analyzer is told; this one looks at none of it.
pub(super) fn settings() -> Settings {
    let none = String::new;
    let (mean, scale) = (0.0, 1.0);
    Settings {
        detector: Detector {
            proposal: none(),
            refinement: none(),
            output: none(),
            mean,
            scale,
            thresholds: (0.0, 0.0, 0.0),
            pyramid_factor: 0.0,
        },
        embedder: Embedder {
            graph: none(),
            input: none(),
            output: none(),
            size: 0,
            mean,
            scale,
            crop_margin: 0.0,
            dimension: 0,
        },
        embed: Embed::Every,
        min_face: 0,
        detect_max_side: 0,
        max_pixels: 0,
    }
}
