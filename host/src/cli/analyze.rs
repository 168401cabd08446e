//! `visavis analyze`: every face in each photograph.
//!
//! Owns the line that describes a photograph.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};

use super::{Bench, deadline, paint, read, reason};
use crate::arguments;
use crate::config::Config;
use crate::pipeline::Pipeline;
use crate::pipeline::report;
use crate::runtime::bindings::types::Analysis;
use crate::task::TaskError;

/// Runs the command. A photograph that cannot be read gets a line with its error; the others are described all the same.
pub(crate) async fn run(config: &Config, arguments: &arguments::Analyze) -> anyhow::Result<ExitCode> {
    let bench = Bench::set_up(config)?;
    let mut all_read = true;
    for file in &arguments.images {
        let described = describe(Arc::clone(&bench.pipeline), file).await?;
        match described {
            Ok((analysis, frontal)) if arguments.json => println!("{}", line(file, &analysis, &frontal)),
            Ok((analysis, frontal)) => anstream::print!("{}", table(file, &analysis, &frontal)),
            Err(error) => {
                all_read = false;
                if arguments.json {
                    println!("{}", json!({ "file": file, "error": error }));
                }
                eprintln!("visavis: {}: {} ({})", file.display(), error.message, error.code.as_str());
            }
        }
    }
    Ok(ExitCode::from(if all_read { 0 } else { 2 }))
}

async fn describe(pipeline: Arc<Pipeline>, file: &Path) -> anyhow::Result<Result<(Analysis, Vec<bool>), TaskError>> {
    let photograph = match read(file).await {
        Ok(photograph) => photograph,
        Err(error) => {
            let message = format!("{error:#}");
            return Ok(Err(TaskError {
                code: crate::task::ErrorCode::InvalidImage,
                message,
                image: None,
                details: None,
            }));
        }
    };
    match Arc::clone(&pipeline).analyze(photograph, deadline()).await {
        Ok(analysis) => {
            let frontal = pipeline.frontal(analysis.faces.clone()).await?;
            Ok(Ok((analysis, frontal)))
        }
        Err(failed) => {
            let error = reason(failed).context("the analysis was stopped")?;
            // There is one photograph only, so its number says nothing.
            Ok(Err(TaskError { image: None, ..error }))
        }
    }
}

fn line(file: &Path, analysis: &Analysis, frontal: &[bool]) -> Value {
    let faces: Vec<_> = analysis
        .faces
        .iter()
        .zip(frontal)
        .map(|(face, frontal)| {
            json!({
                "box": report::bounding_box(face),
                "confidence": report::number(face.confidence),
                "landmarks": report::landmarks(face),
                "pose": report::pose(&face.pose),
                "frontal": frontal,
                "embedding": face.embedding.iter().map(|value| report::number(*value)).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({ "file": file, "width": analysis.width, "height": analysis.height, "faces": faces })
}

fn table(file: &Path, analysis: &Analysis, frontal: &[bool]) -> String {
    let count = match analysis.faces.len() {
        0 => paint::bad("no face"),
        1 => paint::good("1 face"),
        count => paint::good(&format!("{count} faces")),
    };
    let mut text = format!("{}: {} x {} pixels, {count}\n", file.display(), analysis.width, analysis.height);
    for (face, frontal) in analysis.faces.iter().zip(frontal) {
        let b = face.box_;
        text += &format!(
            "  ({:.0}, {:.0}) to ({:.0}, {:.0}), confidence {:.4}, {}, {}\n",
            b.x1,
            b.y1,
            b.x2,
            b.y2,
            face.confidence,
            if *frontal { "frontal".to_owned() } else { paint::fair("not frontal") },
            super::pose(&face.pose),
        );
    }
    text
}
