//! `visavis compile`: components as machine code, before anybody waits for it.
//!
//! Owns which components are compiled and what is said of each. Must never know how code is made or what makes it trusted.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use crate::app;
use crate::arguments;
use crate::config::Config;
use crate::rollout::kind::{self, Kind};
use crate::runtime::artifact;
use crate::runtime::portable::Portable;
use crate::runtime::{Clockwork, Slot, Source};

/// Runs the command.
pub(crate) fn run(config: &Config, arguments: &arguments::Compile) -> anyhow::Result<ExitCode> {
    let sources = if arguments.files.is_empty() { configured(config)? } else { named(&arguments.files)? };
    match &arguments.out {
        Some(folder) => {
            let portable = Portable::new(arguments.target.as_deref())?;
            for (slot, source) in &sources {
                let start = Instant::now();
                let path = portable.compile(source, folder)?;
                let size = fs::metadata(&path).map_or(0, |meta| meta.len()) / 1024;
                let milliseconds = start.elapsed().as_millis();
                println!("{:<9}  {size:>6} K  {milliseconds:>5} ms  {}", slot.to_string(), path.display());
            }
            eprintln!("visavis: compiled for {}", portable.describe());
        }
        None => {
            let clockwork = Clockwork::start(app::sizes(config))?;
            let cache = app::cache(config)?;
            for (slot, source) in &sources {
                let start = Instant::now();
                let compiled = artifact::prepare(&clockwork, &cache, *slot, source)?;
                let milliseconds = start.elapsed().as_millis();
                let done =
                    if compiled { format!("compiled in {milliseconds} ms") } else { "compiled before".to_owned() };
                println!("{:<9}  {done}  {}", slot.to_string(), source.origin);
            }
            eprintln!("visavis: the code is in {}", config.components.cache.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn configured(config: &Config) -> anyhow::Result<Vec<(Slot, Source)>> {
    let components = &config.components;
    let slots = [
        (Slot::Gateway, &components.gateway),
        (Slot::Analyzer, &components.analyzer),
        (Slot::Scorer, &components.scorer),
        (Slot::Annotator, &components.annotator),
    ];
    slots.into_iter().map(|(slot, component)| Ok((slot, Source::read(slot, &component.path)?))).collect()
}

fn named(files: &[impl AsRef<Path>]) -> anyhow::Result<Vec<(Slot, Source)>> {
    let mut sources = Vec::new();
    for file in files.iter().map(AsRef::as_ref) {
        let bytes = super::components::read(file)?;
        match kind::of(&bytes).with_context(|| file.display().to_string())? {
            Kind::Component(slot) => sources.push((slot, Source::new(bytes, file.display().to_string()))),
            Kind::Bundle(bundle) => sources.extend(
                bundle
                    .components
                    .into_iter()
                    .map(|(slot, bytes)| (slot, Source::new(bytes, format!("the {slot} of {}", file.display())))),
            ),
        }
    }
    Ok(sources)
}
