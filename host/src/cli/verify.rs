//! `visavis verify`: are the people in two photographs the same?
//!
//! Owns the exit status: 0 verified, 1 not verified, 2 undecided.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use super::{Bench, deadline, read, reason};
use crate::app;
use crate::arguments;
use crate::config::Config;
use crate::runtime::Cancel;
use crate::runtime::annotator::Annotator;
use crate::runtime::bindings::annotate::Photograph;
use crate::task::Wishes;
use crate::worker::pipeline::Verified;

/// Runs the command.
pub(crate) async fn run(config: &Config, arguments: &arguments::Verify) -> anyhow::Result<ExitCode> {
    let files = [&arguments.first, &arguments.second];
    let photographs = [read(files[0]).await?, read(files[1]).await?];
    let bench = Bench::set_up(config)?;
    // The flags for threshold and frontal rule have become configuration.
    let pipeline = Arc::clone(&bench.pipeline);
    let decided = pipeline.verify_in_full(photographs.clone(), Wishes::default(), deadline(), Cancel::default()).await;
    let verified = match decided {
        Ok(verified) => verified,
        Err(failed) => {
            let error = reason(failed).context("the verification was stopped")?;
            if arguments.json {
                println!("{}", json!({ "error": error }));
            }
            let file = error.image.and_then(|image| files.get(usize::from(image) - 1));
            match file {
                Some(file) => eprintln!("visavis: {}: {} ({})", file.display(), error.message, error.code.as_str()),
                None => eprintln!("visavis: {} ({})", error.message, error.code.as_str()),
            }
            return Ok(ExitCode::from(2));
        }
    };
    if let Some(out) = &arguments.annotate {
        annotate(config, &bench, files, photographs, &verified, out).await?;
    }
    if arguments.json {
        println!("{}", verified.result);
    } else {
        print!("{}", table(files, &verified));
    }
    Ok(ExitCode::from(u8::from(!verified.verdict.verified)))
}

async fn annotate(
    config: &Config,
    bench: &Bench,
    files: [&std::path::PathBuf; 2],
    photographs: [Arc<Vec<u8>>; 2],
    verified: &Verified,
    out: &Path,
) -> anyhow::Result<()> {
    let annotator = Annotator::load(&bench.clockwork, &bench.cache, &app::slot(&config.components.annotator))?;
    let mut described = Vec::new();
    for ((file, bytes), analysis) in files.into_iter().zip(photographs).zip(&verified.analyses) {
        described.push(Photograph {
            bytes: bytes.to_vec(),
            frontal: Arc::clone(&bench.pipeline).frontal(analysis.faces.clone()).await?,
            analysis: analysis.clone(),
            caption: file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned(),
        });
    }
    let (verdict, threshold) = (verified.verdict, verified.threshold);
    let drawn = tokio::task::spawn_blocking(move || annotator.annotate(&described, Some(verdict), threshold)).await??;
    let png = drawn.map_err(anyhow::Error::msg).context("the photographs cannot be drawn")?;
    tokio::fs::write(out, png).await.with_context(|| format!("cannot write {}", out.display()))
}

/// The verdict first, then what led to it.
fn table(files: [&std::path::PathBuf; 2], verified: &Verified) -> String {
    let Verified { analyses, verdict, threshold, .. } = verified;
    let mut text = String::new();
    let word = if verdict.verified { "VERIFIED: the same person" } else { "NOT VERIFIED: different people" };
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{word}\n");
    let _ = writeln!(text, "  score       {:.4}    (0.5 at the threshold)", verdict.score);
    let _ = writeln!(text, "  distance    {:.4}    (threshold {threshold})", verdict.euclidean_distance);
    let _ = writeln!(text, "  similarity  {:.4}    (cosine)", verdict.cosine_similarity);
    let compared = [(verdict.faces.0, verdict.frontal.0), (verdict.faces.1, verdict.frontal.1)];
    for ((file, analysis), (index, frontal)) in files.into_iter().zip(analyses).zip(compared) {
        let Some(face) = usize::try_from(index).ok().and_then(|index| analysis.faces.get(index)) else { continue };
        let pose = &face.pose;
        let _ = writeln!(
            text,
            "\n  {}\n    {} x {} pixels, face {:.0} x {:.0} with confidence {:.4}, {} (yaw {:.0}, pitch {:.0}, roll {:.0} degrees)",
            file.display(),
            analysis.width,
            analysis.height,
            face.box_.x2 - face.box_.x1,
            face.box_.y2 - face.box_.y1,
            face.confidence,
            if frontal { "frontal" } else { "not frontal" },
            pose.yaw,
            pose.pitch,
            pose.roll,
        );
    }
    text
}
