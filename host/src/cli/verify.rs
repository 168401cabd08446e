//! `visavis verify`: are the people in two photographs the same? Or in each pair of a table.
//!
//! Owns the exit status: 0 verified, 1 not verified, 2 undecided; of a table, 0 when each pair has its row.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::json;

use super::batch::pairs::Pairs;
use super::batch::results::Results;
use super::batch::{self, End};
use super::{Bench, deadline, paint, read, reason};
use crate::app;
use crate::arguments;
use crate::config::Config;
use crate::pipeline::{Failed, Verified};
use crate::runtime::annotator::Annotator;
use crate::runtime::bindings::annotate::Photograph;
use crate::runtime::bindings::score::Verdict;
use crate::runtime::bindings::types::Analysis;
use crate::runtime::{Cancel, Slot};
use crate::task::Wishes;

/// Runs the command.
pub(crate) async fn run(config: &Config, arguments: &arguments::Verify) -> anyhow::Result<ExitCode> {
    match (&arguments.pairs, &arguments.first, &arguments.second) {
        (Some(pairs), ..) => all(config, arguments, pairs).await,
        (None, Some(first), Some(second)) => one(config, arguments, [first, second]).await,
        _ => bail!("two photographs are needed, or a table of pairs (--pairs)"),
    }
}

async fn all(config: &Config, arguments: &arguments::Verify, table: &Path) -> anyhow::Result<ExitCode> {
    if arguments.json && arguments.out.is_none() {
        bail!("--json prints the summary on stdout, where the rows go without --out; name a file with --out");
    }
    let pairs = Pairs::read(table)?;
    batch::check(&arguments.dir, &pairs)?;
    let results = Results::open(arguments.out.as_deref(), table)?;
    let rows_on_stdout = results.are_on_stdout();
    let bench = Bench::set_up(config)?;
    let (tally, end) = batch::tally(&bench.pipeline, &arguments.dir, &pairs, Some(results)).await?;
    if let End::Stopped(signal) = end {
        return Ok(batch::stopped_by(signal, &tally, &pairs));
    }
    let summary = tally.summary();
    if arguments.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else if rows_on_stdout {
        anstream::eprint!("{}", summary.text());
    } else {
        anstream::print!("{}", summary.text());
    }
    Ok(ExitCode::from(if tally.failed() { 2 } else { 0 }))
}

async fn one(config: &Config, arguments: &arguments::Verify, files: [&Path; 2]) -> anyhow::Result<ExitCode> {
    let photographs = [read(files[0]).await?, read(files[1]).await?];
    let bench = Bench::set_up(config)?;
    let (start, deadline, cancel) = (Instant::now(), deadline(), Cancel::default());
    let pipeline = &bench.pipeline;
    let analyses = match Arc::clone(pipeline)
        .analyze_both(photographs.clone(), None, deadline, cancel.clone(), &Default::default())
        .await
    {
        Ok(analyses) => analyses,
        Err(failed) => return undecided(failed, files, arguments.json),
    };
    // The flags for threshold and frontal rule have become configuration.
    let decided = Arc::clone(pipeline)
        .decide(Arc::clone(&analyses), Wishes::default(), start, deadline, cancel, &Default::default())
        .await;
    // Why there is no verdict is seen best in a picture, so there is one either way.
    if let Some(out) = &arguments.annotate {
        let verdict = decided.as_ref().ok().map(|verified| verified.verdict);
        annotate(config, &bench, files, photographs, &analyses, verdict, out).await?;
    }
    match decided {
        Ok(verified) => {
            if arguments.json {
                println!("{}", verified.result);
            } else {
                anstream::print!("{}", table(files, &analyses, &verified));
            }
            Ok(ExitCode::from(u8::from(!verified.verdict.verified)))
        }
        Err(failed) => undecided(failed, files, arguments.json),
    }
}

fn undecided(failed: Failed, files: [&Path; 2], as_json: bool) -> anyhow::Result<ExitCode> {
    let error = reason(failed).context("the verification was stopped")?;
    if as_json {
        println!("{}", json!({ "error": error }));
    }
    let code = error.code.as_str();
    match error.image.and_then(|image| files.get(usize::from(image) - 1)) {
        Some(file) => eprintln!("visavis: {}: {} ({code})", file.display(), error.message),
        None => eprintln!("visavis: {} ({code})", error.message),
    }
    Ok(ExitCode::from(2))
}

async fn annotate(
    config: &Config,
    bench: &Bench,
    files: [&Path; 2],
    photographs: [Arc<Vec<u8>>; 2],
    analyses: &[Analysis; 2],
    verdict: Option<Verdict>,
    out: &Path,
) -> anyhow::Result<()> {
    let annotator = Annotator::load(
        &bench.clockwork,
        &bench.cache,
        app::candidate(Slot::Annotator, &config.components.annotator)?,
    )?;
    let mut described = Vec::new();
    for ((file, bytes), analysis) in files.into_iter().zip(photographs).zip(analyses) {
        described.push(Photograph {
            bytes: bytes.to_vec(),
            frontal: Arc::clone(&bench.pipeline).frontal(analysis.faces.clone()).await?,
            analysis: analysis.clone(),
            caption: file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned(),
        });
    }
    let threshold = bench.pipeline.policy.defaults.threshold;
    let drawn = tokio::task::spawn_blocking(move || annotator.annotate(&described, verdict, threshold)).await??;
    let png = drawn.map_err(anyhow::Error::msg).context("the photographs cannot be drawn")?;
    tokio::fs::write(out, png).await.with_context(|| format!("cannot write {}", out.display()))
}

/// The verdict first, then what led to it.
fn table(files: [&Path; 2], analyses: &[Analysis; 2], verified: &Verified) -> String {
    let Verified { verdict, threshold, .. } = verified;
    let mut text = String::new();
    let word = if verdict.verified {
        paint::good("VERIFIED: the same person")
    } else {
        paint::bad("NOT VERIFIED: different people")
    };
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{word}\n");
    let _ = writeln!(text, "  score       {:.4}    (0.5 at the threshold)", verdict.score);
    let _ = writeln!(text, "  distance    {:.4}    (threshold {threshold})", verdict.euclidean_distance);
    let _ = writeln!(text, "  similarity  {:.4}    (cosine)", verdict.cosine_similarity);
    let compared = [(verdict.faces.0, verdict.frontal.0), (verdict.faces.1, verdict.frontal.1)];
    for ((file, analysis), (index, frontal)) in files.into_iter().zip(analyses).zip(compared) {
        let Some(face) = usize::try_from(index).ok().and_then(|index| analysis.faces.get(index)) else { continue };
        let _ = writeln!(
            text,
            "\n  {}\n    {} x {} pixels, face {:.0} x {:.0} with confidence {:.4}, {} ({})",
            file.display(),
            analysis.width,
            analysis.height,
            face.box_.x2 - face.box_.x1,
            face.box_.y2 - face.box_.y1,
            face.confidence,
            if frontal { "frontal".to_owned() } else { paint::fair("not frontal") },
            super::pose(&face.pose),
        );
    }
    text
}
