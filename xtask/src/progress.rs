//! What a person sees while something runs: progress bars on a terminal, plain lines elsewhere, all on stderr.
//!
//! Stdout belongs to results. Knows nothing of what runs.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Runs one step of many, and says its name, what came of it and how long it took.
///
/// `work` answers what it did, or nothing when all was there already; then nothing is said.
pub(crate) fn step(name: &str, work: impl FnOnce() -> Result<Option<String>>) -> Result<()> {
    let start = Instant::now();
    let done = work().with_context(|| format!("step `{name}` failed"))?;
    if let Some(done) = done {
        note(&format!("{name}: {done} ({})", seconds(start.elapsed())));
    }
    Ok(())
}

/// Says something that is neither a result nor an error.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// A bar that fills with `total` bytes.
pub(crate) fn bytes(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = "{msg} {wide_bar:.green/dim} {bytes}/{total_bytes} {bytes_per_sec}";
    begin(bar, template, what, &format!("{what} ({})", HumanBytes(total)))
}

/// A sign of life for work of unknown length.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(120));
    begin(bar, "{spinner:.green} {msg} {elapsed:.dim}", what, what)
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        all => format!("{} min {} s", all / 60, all % 60),
    }
}

/// Draws the bar, or says once what begins where no bar can be drawn.
fn begin(bar: ProgressBar, template: &str, what: &str, plain: &str) -> ProgressBar {
    if bar.is_hidden() {
        note(plain);
    }
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style).with_message(Cow::Owned(what.to_owned()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failure_names_its_step() {
        let error = step("models", || bail!("the disk is full")).unwrap_err();
        assert_eq!(format!("{error:#}"), "step `models` failed: the disk is full");
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(seconds(Duration::from_millis(1460)), "1.5 s");
        assert_eq!(seconds(Duration::from_secs(131)), "2 min 11 s");
    }
}
