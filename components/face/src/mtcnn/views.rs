//! The photograph and its copy, and from which of them a candidate is cut out.
//!
//! Owns the way between their pixels. Must never know what a network answers.

use super::REFINEMENT_SIDE;
use super::candidate::Candidate;
use crate::photograph::Photograph;
use crate::resize::Region;

/// A candidate of which the copy shows so many pixels for each that the refinement network sees is cut out of the copy: averages of
/// averages are as good to it, and take a fraction of the time. The output network's last word needs the photograph.
const PLENTY: f32 = 2.0;

/// A photograph, and the copy on which faces were proposed.
#[derive(Clone, Copy)]
pub(super) struct Views<'a> {
    pub(super) photograph: &'a Photograph,
    pub(super) copy: &'a Photograph,
}

impl<'a> Views<'a> {
    /// How many pixels of the photograph are one of the copy, across and down.
    fn ratios(self) -> (f32, f32) {
        let ratio = |whole: usize, part: usize| whole as f32 / part as f32;
        let Self { photograph, copy } = self;
        (ratio(photograph.width(), copy.width()), ratio(photograph.height(), copy.height()))
    }

    /// From pixels of the copy to pixels of the photograph.
    pub(super) fn enlarge(self, candidate: Candidate) -> Candidate {
        let (across, down) = self.ratios();
        candidate.place(|x| x * across, |y| y * down)
    }

    /// What the refinement network is to see; `None` where there are no pixels.
    pub(super) fn crop(self, candidate: &Candidate) -> Option<Crop<'a>> {
        let (across, down) = self.ratios();
        // Edges are cut to whole pixels towards 0, by half a pixel on average, which in the copy is more.
        let place = |edge: f32, ratio: f32| (edge - 0.5) / ratio + 0.5;
        let small = candidate.place(|x| place(x, across), |y| place(y, down));
        let shown = small.bounding_box.width().min(small.bounding_box.height());
        if shown >= PLENTY * REFINEMENT_SIDE as f32 {
            crop(self.copy, &small)
        } else {
            crop(self.photograph, candidate)
        }
    }
}

/// Where in which image.
pub(super) type Crop<'a> = (&'a Photograph, Region);

/// What a network is to see of an image; `None` where there are no pixels.
pub(super) fn crop<'a>(image: &'a Photograph, candidate: &Candidate) -> Option<Crop<'a>> {
    Some((image, candidate.region(image.width(), image.height())?))
}
