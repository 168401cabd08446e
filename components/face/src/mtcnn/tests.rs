//! The cascade over networks whose answers are known.

use super::*;

const SETTINGS: Settings = Settings {
    normalization: Normalization { mean: 127.5, scale: 128.0 },
    thresholds: [0.6, 0.7, 0.7],
    pyramid_factor: 0.709,
    min_face: 20,
};

/// Answers with constants, and remembers what it was asked.
struct Constant {
    probability: f32,
    correction: f32,
    point: f32,
    /// How many values too many the last tensor of each answer has.
    surplus: usize,
    levels: Vec<(usize, usize)>,
    refined: usize,
    finished: usize,
}

impl Constant {
    fn new(probability: f32) -> Self {
        Self { probability, correction: 0.0, point: 0.5, surplus: 0, levels: vec![], refined: 0, finished: 0 }
    }

    fn probabilities(&self, count: usize) -> Vec<f32> {
        [1.0 - self.probability, self.probability].repeat(count)
    }

    fn corrections(&self, count: usize) -> Vec<f32> {
        vec![self.correction; 4 * count + self.surplus]
    }
}

impl Networks for Constant {
    type Error = ();

    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal, ()> {
        assert_eq!(planes.len(), 3 * height * width);
        self.levels.push((height, width));
        let (height, width) = ((height - 10).div_ceil(2), (width - 10).div_ceil(2));
        let cells = height * width;
        let probability = [vec![1.0 - self.probability; cells], vec![self.probability; cells]].concat();
        Ok(Proposal { height, width, probability, regression: self.corrections(cells) })
    }

    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement, ()> {
        assert_eq!(planes.len(), count * 3 * 24 * 24);
        self.refined += count;
        Ok(Refinement { probability: self.probabilities(count), regression: self.corrections(count) })
    }

    fn output(&mut self, planes: &[f32], count: usize) -> Result<Output, ()> {
        assert_eq!(planes.len(), count * 3 * 48 * 48);
        self.finished += count;
        let (probability, regression) = (self.probabilities(count), self.corrections(count));
        Ok(Output { probability, regression, landmarks: vec![self.point; 10 * count] })
    }
}

fn photograph(width: usize, height: usize) -> Photograph {
    Photograph::new(width, height, vec![90; 3 * width * height]).unwrap()
}

/// Without a copy.
fn search(
    photograph: &Photograph,
    settings: &Settings,
    networks: &mut Constant,
) -> Result<Vec<Detection>, DetectError<()>> {
    detect(photograph, None, settings, networks)
}

#[test]
fn what_is_proposed_on_a_copy_is_judged_on_the_photograph() {
    let settings = Settings { pyramid_factor: 0.1, ..SETTINGS };
    let first = |photograph: &Photograph, networks: &mut Constant| {
        let faces = detect(photograph, Some(&IntegralImage::shrunk(photograph, 20)), &settings, networks).unwrap();
        faces.into_iter().min_by(|a, b| a.bounding_box.x1.total_cmp(&b.bounding_box.x1)).unwrap().bounding_box
    };
    let mut networks = Constant::new(1.0);
    let (small, large) = (first(&photograph(20, 20), &mut networks), first(&photograph(60, 60), &mut networks));
    // Only the copy was looked through, and the box is where it was, in pixels three times as small.
    assert_eq!(networks.levels, [(13, 13); 2]);
    let edges = |it: BoundingBox| [it.x1, it.y1, it.x2, it.y2];
    assert_eq!(edges(small).map(|edge| 3.0 * edge), edges(large));
}

/// Remembers the first value of each crop, which in a photograph of one colour tells where it was cut out.
struct Seen {
    refined: Vec<f32>,
    finished: Vec<f32>,
}

impl Networks for Seen {
    type Error = ();

    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal, ()> {
        Constant::new(1.0).proposal(planes, height, width)
    }

    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement, ()> {
        self.refined.extend(planes.chunks(3 * 24 * 24).map(|crop| crop[0]));
        Constant::new(1.0).refinement(planes, count)
    }

    fn output(&mut self, planes: &[f32], count: usize) -> Result<Output, ()> {
        self.finished.extend(planes.chunks(3 * 48 * 48).map(|crop| crop[0]));
        Constant::new(1.0).output(planes, count)
    }
}

#[test]
fn what_is_large_in_the_copy_is_judged_there() {
    // In colours that tell them apart.
    let (photograph, other) = (photograph(240, 240), Photograph::new(240, 240, vec![7; 3 * 240 * 240]).unwrap());
    let copy = IntegralImage::shrunk(&other, 120);
    let normalization = Normalization { mean: 0.0, scale: 1.0 };
    let found = |min_face| {
        let settings = Settings { normalization, min_face, pyramid_factor: 0.1, ..SETTINGS };
        let mut seen = Seen { refined: vec![], finished: vec![] };
        detect(&photograph, Some(&copy), &settings, &mut seen).unwrap();
        seen
    };
    let all = |values: &[f32], colour: f32| !values.is_empty() && values.iter().all(|&value| value == colour);
    // The squares of the first level are eleven twelfths of the smallest face; twice what a network sees are plenty.
    let [small, medium, large] = [45, 60, 110].map(found);
    assert!(all(&small.refined, 90.0) && all(&small.finished, 90.0), "{:?}", small.refined);
    assert!(all(&medium.refined, 7.0) && all(&medium.finished, 90.0), "{:?}", medium.refined);
    assert!(all(&large.refined, 7.0) && all(&large.finished, 7.0), "{:?}", large.finished);
}

/// Is sure of the first candidate, less of the others, and moves those by a tenth up and to the left.
struct Unsure;

impl Networks for Unsure {
    type Error = ();

    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal, ()> {
        Constant::new(1.0).proposal(planes, height, width)
    }

    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement, ()> {
        Constant::new(1.0).refinement(planes, count)
    }

    fn output(&mut self, _: &[f32], count: usize) -> Result<Output, ()> {
        let probability = (0..count).flat_map(|index| if index == 0 { [0.0, 1.0] } else { [0.25, 0.75] }).collect();
        let regression = (0..4 * count).map(|index| if index < 4 { 0.0 } else { -0.1 }).collect();
        Ok(Output { probability, regression, landmarks: vec![0.5; 10 * count] })
    }
}

#[test]
fn with_a_copy_all_candidates_say_where_a_face_is() {
    // One level, of whose cells suppression leaves those at 1..20 and 5..23, as far down as across.
    let settings = Settings { pyramid_factor: 0.1, ..SETTINGS };
    let photograph = photograph(20, 20);
    let copy = IntegralImage::shrunk(&photograph, 20);
    let found = |copy| detect(&photograph, copy, &settings, &mut Unsure).unwrap();
    let (best, mean) = (found(None), found(Some(&copy)));
    assert_eq!((best.len(), mean.len()), (1, 1), "{best:?} {mean:?}");
    assert_eq!(best[0].bounding_box, BoundingBox::new(1.0, 1.0, 20.0, 20.0));
    // The other is 19 pixels wide with both edges, and moved to 3.1..21.1: three quarters of the first's weight.
    let (near, far) = ((1.0 + 0.75 * 3.1) / 1.75, (20.0 + 0.75 * 21.1) / 1.75);
    let BoundingBox { x1, y1, x2, y2 } = mean[0].bounding_box;
    for (found, expected) in [x1, y1, x2, y2].into_iter().zip([near, near, far, far]) {
        assert!((found - expected).abs() < 1e-4, "{mean:?}");
    }
    assert_eq!(mean[0].probability, 1.0);
}

#[test]
fn the_pyramid_ends_when_a_cell_covers_the_photograph() {
    let mut networks = Constant::new(0.0);
    search(&photograph(60, 40), &SETTINGS, &mut networks).unwrap();
    // Scales 0.6, 0.4254 and 0.3016 leave 24, 17.0 and 12.06 of the 40 pixels.
    assert_eq!(networks.levels, [(25, 37), (18, 26), (13, 19)]);
}

#[test]
fn a_photograph_smaller_than_a_face_has_none() {
    let mut networks = Constant::new(1.0);
    assert_eq!(search(&photograph(19, 400), &SETTINGS, &mut networks), Ok(vec![]));
    assert!(networks.levels.is_empty());
}

#[test]
fn nothing_probable_asks_no_further_network() {
    let mut networks = Constant::new(0.59);
    assert_eq!(search(&photograph(100, 100), &SETTINGS, &mut networks), Ok(vec![]));
    assert_eq!((networks.refined, networks.finished), (0, 0));
}

#[test]
fn landmarks_come_from_the_box_before_its_last_correction() {
    // One level of one cell, kept by all stages, each moving every edge by a tenth.
    let mut networks = Constant { correction: 0.1, ..Constant::new(1.0) };
    let settings = Settings { pyramid_factor: 0.1, ..SETTINGS };
    let faces = search(&photograph(20, 20), &settings, &mut networks).unwrap();
    // The level is 13 x 13 pixels: two cells each way, at 1..20 and 5..23 after floor((2i + 1) / 0.6), floor((2i + 12) / 0.6).
    assert_eq!(networks.levels, [(13, 13)]);
    let first = faces.iter().min_by(|a, b| a.bounding_box.x1.total_cmp(&b.bounding_box.x1)).unwrap();
    // 1..20 -> 2.9..21.9 -> by 20: 4.9..23.9, where the landmarks lie -> by 20 again: 6.9..25.9.
    let edges = [first.bounding_box.x1, first.bounding_box.x2, first.landmarks.nose.x];
    for (found, expected) in edges.into_iter().zip([6.9, 25.9, 13.9]) {
        assert!((found - expected).abs() < 1e-4, "{first:?}");
    }
}

#[test]
fn work_is_bounded_when_everything_looks_like_a_face() {
    let mut networks = Constant::new(0.99);
    let faces = search(&photograph(1600, 1200), &SETTINGS, &mut networks).unwrap();
    assert!(networks.refined <= MAX_REFINED && networks.finished <= MAX_OUTPUT && faces.len() <= MAX_OUTPUT);
    assert!(networks.finished > 0);
}

#[test]
fn numbers_that_are_not_finite_are_no_faces() {
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for networks in [
            Constant::new(odd),
            Constant { correction: odd, ..Constant::new(0.99) },
            Constant { point: odd, ..Constant::new(0.99) },
        ] {
            let mut networks = networks;
            for face in search(&photograph(64, 48), &SETTINGS, &mut networks).unwrap() {
                assert!(face.bounding_box.is_finite() && face.landmarks.is_finite(), "{face:?}");
            }
        }
    }
}

#[test]
fn an_answer_of_another_length_is_an_error() {
    let mut networks = Constant { surplus: 1, ..Constant::new(0.99) };
    let error = search(&photograph(64, 48), &SETTINGS, &mut networks).unwrap_err();
    assert!(matches!(error, DetectError::Shape { network: "proposal", tensor: "regression", .. }), "{error}");
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let mut networks = Constant::new(0.0);
    for settings in [
        Settings { min_face: 0, ..SETTINGS },
        Settings { min_face: 11, ..SETTINGS },
        Settings { pyramid_factor: 1.0, ..SETTINGS },
        Settings { pyramid_factor: f32::NAN, ..SETTINGS },
        Settings { thresholds: [0.6, f32::NAN, 0.7], ..SETTINGS },
        Settings { normalization: Normalization { mean: 0.0, scale: 0.0 }, ..SETTINGS },
    ] {
        let refused = search(&photograph(64, 48), &settings, &mut networks);
        assert!(matches!(refused, Err(DetectError::Settings(_))), "{settings:?}");
    }
}
