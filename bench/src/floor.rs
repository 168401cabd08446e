//! What wasm, `wasi:nn` and the host cost: the same photographs by the networks alone, by `components/face` without a sandbox,
//! and by a host.
//!
//! Owns the steps and their order. Must never know callers that stand in line: one pair at a time.

use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use face::embedding::Crop;
use face::mtcnn::Settings;
use face::resize::{IntegralImage, Normalization, Region};
use face::{decode, search};
use serde_json::Value;
use visavis_tests::form::Form;
use visavis_tests::host::Setup;
use visavis_tests::photos;

use crate::Effort;
use crate::networks::{Given, NETWORKS, Networks};
use crate::report::{Bound, Report, Role};
use crate::sample::{median, milliseconds};

const NORMALIZATION: Normalization = Normalization { mean: 127.5, scale: 128.0 };
/// The settings of a host that was not told otherwise, with the detector and the embedder that set-up makes.
const SETTINGS: Settings = Settings {
    normalization: NORMALIZATION,
    thresholds: [0.6, 0.7, 0.7],
    pyramid_factor: 0.709,
    min_face: search::AUTO,
};
const CROP: Crop = Crop { size: 160, margin: 32.0, normalization: NORMALIZATION };
const MAX_SIDE: usize = 480;
const MAX_PIXELS: u64 = 40_000_000;

/// What the sandbox, `wasi:nn` and the host may cost over the same code without them, percent.
const OVERHEAD: f64 = 25.0;

const HOST: (Role, &str) = (Role::Visavis, "visavis");
const NATIVE: (Role, &str) = (Role::Floor, "components/face, no sandbox");
const BARE: (Role, &str) = (Role::Floor, "ONNX Runtime alone");

const PAIR: [&str; 2] = ["obama.jpg", "obama2.jpg"];

pub(crate) fn run(effort: Effort) -> Result<Report> {
    let rounds = effort.choose(41, 3);
    let mut report = Report::new(
        "What the sandbox costs, step by step",
        &[
            "The sample pair, one verification at a time, both photographs at the same time on threads of their own. ONNX Runtime \
             alone is given the very tensors that the networks get in an analysis, and nothing else is done; `components/face` \
             is the analyzer's own code compiled for this processor, with sessions set as the host sets them; the figures of \
             visavis are the `timings_ms` of its results, and for the last step what a client waits over HTTP with the embedded \
             queue. Each round measures all three, one after the other.",
            "Detection holds the copy of at most 480 pixels, the pyramid, all three networks of the cascade and what lies between \
             them. The copy and the pyramid are measured once more by themselves.",
        ],
    );
    let files = PAIR.map(photos::photo);
    let host = Setup::new().start();
    let client = host.client();
    let form = Form::photos(PAIR[0], PAIR[1]);
    let models = &client.verify(&form)["result"]["models"];
    let mut networks = [Networks::load(models)?, Networks::load(models)?];
    networks.iter_mut().for_each(Networks::listen);
    both([&files[0], &files[1]], &mut networks, |file, networks| analyse(file, networks))?;
    let given = networks.each_mut().map(Networks::heard);
    for _ in 0..rounds {
        let (alone, _) = both([&given[0], &given[1]], &mut networks, |given, networks| networks.repeat(given))?;
        let times = networks.each_mut().map(Networks::take_times);
        let (native, steps) = both([&files[0], &files[1]], &mut networks, |file, networks| analyse(file, networks))?;
        let inside = networks.each_mut().map(Networks::take_times);
        let pyramids = [pyramid(&files[0])?, pyramid(&files[1])?];
        let begin = Instant::now();
        let status = client.verify(&form);
        let waited = milliseconds(begin.elapsed());
        ensure!(status["result"]["verified"] == true, "the sample pair was not verified: {status}");
        let timings = &status["result"]["timings_ms"];
        for at in 0..2 {
            let said = &timings[["image1", "image2"][at]];
            let steps = Steps { pyramid: pyramids[at], ..steps[at] };
            note(&mut report, at, said, &steps, &inside[at], &times[at])?;
        }
        let total = figure(timings, "total")?;
        report.add("score", HOST, "ms", figure(timings, "score")?);
        let case = "both photographs, to the verdict";
        report.add(case, HOST, "ms", total);
        report.add(case, NATIVE, "ms", native);
        report.add(case, BARE, "ms", alone);
        report.add("queue, gateway and HTTP", HOST, "ms", waited - total);
    }
    compare(&mut report);
    Ok(report)
}

/// The tensors that the networks are given in a verification of the sample pair.
pub(crate) fn tensors() -> Result<Vec<Given>> {
    let files = PAIR.map(photos::photo);
    let host = Setup::new().start();
    let models = &host.client().verify(&Form::photos(PAIR[0], PAIR[1]))["result"]["models"];
    let mut networks = Networks::load(models)?;
    networks.listen();
    files.iter().try_for_each(|file| analyse(file, &mut networks).map(|_| ()))?;
    Ok(networks.heard())
}

/// The steps of one photograph.
fn note(
    report: &mut Report,
    at: usize,
    said: &Value,
    steps: &Steps,
    inside: &[f64; 4],
    alone: &[f64; 4],
) -> Result<()> {
    let case = |step: &str| format!("{}: {step}", PAIR[at]);
    for (step, native) in [("decode", steps.decode), ("detect", steps.detect), ("crop", steps.crop)] {
        report.add(&case(step), HOST, "ms", figure(said, step)?);
        report.add(&case(step), NATIVE, "ms", native);
        if step == "detect" {
            report.add(&case(step), BARE, "ms", alone[..3].iter().sum());
            report.add(&case("of which the copy and the pyramid"), NATIVE, "ms", steps.pyramid);
            for network in 0..3 {
                let case = case(&format!("of which {}", NETWORKS[network]));
                report.add(&case, NATIVE, "ms", inside[network]);
                report.add(&case, BARE, "ms", alone[network]);
            }
        }
    }
    report.add(&case("embed (FaceNet)"), HOST, "ms", figure(said, "embed")?);
    report.add(&case("embed (FaceNet)"), NATIVE, "ms", steps.embed);
    report.add(&case("embed (FaceNet)"), BARE, "ms", alone[3]);
    Ok(())
}

/// Of medians: single rounds of the three are not of one another's kind.
fn compare(report: &mut Report) {
    let case = "both photographs, to the verdict";
    let [host, native, bare] = [HOST, NATIVE, BARE].map(|(_, who)| median(&report.samples(case, who)));
    let queue = median(&report.samples("queue, gateway and HTTP", HOST.1));
    let percent = |more: f64, less: f64| (more / less - 1.0) * 100.0;
    let sandbox = "sandbox, wasi:nn and host over components/face without them";
    report.add(sandbox, HOST, "%", percent(host, native));
    report.hold(sandbox, HOST.1, Bound::AtMost(OVERHEAD));
    report.add("with queue, gateway and HTTP, over the same", HOST, "%", percent(host + queue, native));
    report.add("with all of it, over ONNX Runtime alone", HOST, "%", percent(host + queue, bare));
}

fn figure(timings: &Value, step: &str) -> Result<f64> {
    timings[step].as_f64().with_context(|| format!("a result's timings name no {step}: {timings}"))
}

/// One photograph's steps, milliseconds.
#[derive(Clone, Copy, Default)]
struct Steps {
    decode: f64,
    detect: f64,
    pyramid: f64,
    crop: f64,
    embed: f64,
}

/// What the analyzer does, in its order.
fn analyse(file: &[u8], networks: &mut Networks) -> Result<Steps> {
    let mut steps = Steps::default();
    let mut last = Instant::now();
    let mut lap = || {
        let now = Instant::now();
        milliseconds(now - std::mem::replace(&mut last, now))
    };
    let photograph = decode::decode(file, MAX_PIXELS)?;
    steps.decode = lap();
    let found =
        search::faces(&photograph, MAX_SIDE, &SETTINGS, networks).map_err(|error| anyhow::anyhow!("{error}"))?;
    steps.detect = lap();
    let mut planes = Vec::new();
    CROP.append(&photograph, &found.first().context("the photograph shows a face")?.bounding_box, &mut planes);
    steps.crop = lap();
    networks.embed(&planes)?;
    steps.embed = lap();
    Ok(steps)
}

/// Does something with both photographs at the same time, on threads of their own; yields how long both took, milliseconds.
fn both<T: Sync, R: Send>(
    inputs: [&T; 2],
    networks: &mut [Networks; 2],
    act: impl Fn(&T, &mut Networks) -> Result<R> + Sync,
) -> Result<(f64, [R; 2])> {
    let [first, second] = networks;
    let begin = Instant::now();
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(|| act(inputs[0], first));
        let other = act(inputs[1], second);
        (one.join().unwrap_or_else(|broken| std::panic::resume_unwind(broken)), other)
    });
    let took = milliseconds(begin.elapsed());
    Ok((took, [one?, other?]))
}

/// How long it takes to make the copy and the levels that the cascade makes of a photograph, milliseconds.
fn pyramid(file: &[u8]) -> Result<f64> {
    let photograph = decode::decode(file, MAX_PIXELS)?;
    let begin = Instant::now();
    let copy = IntegralImage::shrunk(&photograph, MAX_SIDE);
    let whole = Region { x: 0, y: 0, width: copy.width(), height: copy.height() };
    let mut scale = 12.0 / f64::from(search::smallest(Some(&copy)));
    let mut planes = Vec::new();
    while copy.width().min(copy.height()) as f64 * scale >= 12.0 {
        let [width, height] = [copy.width(), copy.height()].map(|pixels| (pixels as f64 * scale + 1.0) as usize);
        planes.resize(3 * width * height, 0.0);
        copy.area(whole, width, height, NORMALIZATION, &mut planes);
        scale *= f64::from(SETTINGS.pyramid_factor);
    }
    Ok(milliseconds(begin.elapsed()))
}
