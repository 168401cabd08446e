//! Times the steps of an analysis natively, on one thread: `cargo run --release -p face --example steps -- PHOTO`.

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use face::mtcnn::{Networks, Output, Proposal, Refinement};
use face::resize::{IntegralImage, Region};
use face::{decode, search};
use support::networks::Native;
use support::{CROP, MAX_PIXELS, MAX_SIDE, PRODUCT, SETTINGS};

const ROUNDS: usize = 15;

fn main() {
    let path = std::env::args_os().nth(1).map_or_else(|| support::asset("photos/obama.jpg"), Into::into);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut networks = Timed { networks: Native::load(), milliseconds: [0.0; 3], crops: [0; 2] };
    let mut steps: Vec<(&str, Vec<f64>)> = Vec::new();
    for _ in 0..ROUNDS {
        let mut last = Instant::now();
        let mut lap = |step: &'static str| {
            let milliseconds = last.elapsed().as_secs_f64() * 1e3;
            match steps.iter_mut().find(|(name, _)| *name == step) {
                Some((_, times)) => times.push(milliseconds),
                None => steps.push((step, vec![milliseconds])),
            }
            last = Instant::now();
        };
        let photograph = decode::decode(&bytes, MAX_PIXELS).unwrap_or_else(|error| panic!("{error}"));
        lap("decode");
        let copy = IntegralImage::shrunk(&photograph, MAX_SIDE);
        lap("copy");
        pyramid(&copy);
        lap("pyramid");
        networks.milliseconds = [0.0; 3];
        networks.crops = [0; 2];
        let faces =
            search::faces(&photograph, MAX_SIDE, &PRODUCT, &mut networks).unwrap_or_else(|error| panic!("{error}"));
        lap("detect, with copy and pyramid");
        let mut planes = Vec::new();
        CROP.append(&photograph, &faces.first().expect("a face").bounding_box, &mut planes);
        lap("crop");
        networks.networks.embed(&planes, 1);
        lap("embed");
    }
    for (step, mut times) in steps {
        times.sort_by(f64::total_cmp);
        println!("{step:30} {:7.2} ms", times[times.len() / 2]);
    }
    let [proposal, refinement, output] = networks.milliseconds;
    let [refined, finished] = networks.crops;
    println!(
        "of which, in the last round:   {proposal:.2} ms proposal, {refinement:.2} ms refinement of {refined} crops, {output:.2} ms output of {finished} crops"
    );
}

/// The levels that the cascade would make of a copy.
fn pyramid(copy: &IntegralImage) {
    let mut scale = 12.0 / f64::from(search::smallest(Some(copy)));
    let whole = Region { x: 0, y: 0, width: copy.width(), height: copy.height() };
    let mut planes = Vec::new();
    while copy.width().min(copy.height()) as f64 * scale >= 12.0 {
        let side = |pixels: usize| (pixels as f64 * scale + 1.0) as usize;
        let (width, height) = (side(copy.width()), side(copy.height()));
        planes.resize(3 * width * height, 0.0);
        copy.area(whole, width, height, SETTINGS.normalization, &mut planes);
        scale *= 0.709;
    }
}

/// Networks under a stopwatch.
struct Timed {
    networks: Native,
    milliseconds: [f64; 3],
    crops: [usize; 2],
}

impl Timed {
    fn time<T>(&mut self, stage: usize, run: impl FnOnce(&mut Native) -> T) -> T {
        let start = Instant::now();
        let answer = run(&mut self.networks);
        self.milliseconds[stage] += start.elapsed().as_secs_f64() * 1e3;
        answer
    }
}

impl Networks for Timed {
    type Error = ort::Error;

    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal, ort::Error> {
        self.time(0, |networks| networks.proposal(planes, height, width))
    }

    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement, ort::Error> {
        self.crops[0] += count;
        self.time(1, |networks| networks.refinement(planes, count))
    }

    fn output(&mut self, planes: &[f32], count: usize) -> Result<Output, ort::Error> {
        self.crops[1] += count;
        self.time(2, |networks| networks.output(planes, count))
    }
}
