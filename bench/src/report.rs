//! What a benchmark found, as a table, a plot and raw figures.
//!
//! Owns the files of every benchmark: table, plot, raw figures, and where a benchmark says what matters most a plot of that alone. Must never know how a figure was taken.
//!
//! # Layout
//!
//! - `plot`: the drawing.

mod plot;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::Effort;
use crate::machine::Machine;
use crate::sample::{digits, median, range};

/// What a benchmark found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// A heading.
    pub(crate) title: String,
    /// Paragraphs: what was done, and what must be known to read the figures.
    pub(crate) about: Vec<String>,
    /// The figures; those of one case stand together.
    pub(crate) rows: Vec<Row>,
    /// The cases that matter most, in the order of a plot of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headlines: Vec<String>,
}

/// One figure, taken once a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What was measured, of whomever; figures of one case are compared.
    pub(crate) case: String,
    /// Who was measured.
    pub(crate) who: String,
    pub(crate) role: Role,
    pub(crate) unit: String,
    pub(crate) bound: Option<Bound>,
    /// One value a round.
    pub(crate) samples: Vec<f64>,
}

/// What somebody is in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Ours.
    Visavis,
    /// What people use instead.
    Peer,
    /// What cannot be gone below, for it does less.
    Floor,
}

/// What a figure is held to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn value(self) -> f64 {
        match self {
            Self::AtLeast(value) | Self::AtMost(value) => value,
        }
    }

    fn is_held(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn describe(self) -> String {
        match self {
            Self::AtLeast(value) => format!("≥ {}", digits(value)),
            Self::AtMost(value) => format!("≤ {}", digits(value)),
        }
    }
}

/// The raw figures, with all that they mean nothing without.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    name: String,
    quick: bool,
    machine: Machine,
    #[serde(flatten)]
    report: Report,
}

impl Report {
    pub(crate) fn new(title: &str, about: &[&str]) -> Self {
        let about = about.iter().map(|text| (*text).to_owned()).collect();
        Self { title: title.to_owned(), about, rows: Vec::new(), headlines: Vec::new() }
    }

    /// Notes one value of a figure, in the order in which figures come first.
    pub(crate) fn add(&mut self, case: &str, (role, who): (Role, &str), unit: &str, value: f64) {
        match self.row(case, who) {
            Some(row) => row.samples.push(value),
            None => {
                let (case, who, unit) = (case.to_owned(), who.to_owned(), unit.to_owned());
                self.rows.push(Row { case, who, role, unit, bound: None, samples: vec![value] });
            }
        }
    }

    /// Holds a figure that was noted to a bound.
    pub(crate) fn hold(&mut self, case: &str, who: &str, bound: Bound) {
        if let Some(row) = self.row(case, who) {
            row.bound = Some(bound);
        }
    }

    /// The values of a figure, one a round; none where it was not noted.
    pub(crate) fn samples(&self, case: &str, who: &str) -> Vec<f64> {
        let row = self.rows.iter().find(|row| row.case == case && row.who == who);
        row.map_or_else(Vec::new, |row| row.samples.clone())
    }

    fn row(&mut self, case: &str, who: &str) -> Option<&mut Row> {
        self.rows.iter_mut().find(|row| row.case == case && row.who == who)
    }

    /// The cases with their figures, in the order in which they were first noted.
    fn cases(&self) -> Vec<(&str, Vec<&Row>)> {
        let mut cases: Vec<(&str, Vec<&Row>)> = Vec::new();
        for row in &self.rows {
            match cases.iter_mut().find(|(case, _)| *case == row.case) {
                Some((_, rows)) => rows.push(row),
                None => cases.push((&row.case, vec![row])),
            }
        }
        cases
    }

    /// Writes the files of the benchmark `name`, reads the raw figures again, and yields the table.
    pub(crate) fn write(&self, folder: &Path, name: &str, machine: &Machine, effort: Effort) -> Result<String> {
        for row in &self.rows {
            let finite = !row.samples.is_empty() && row.samples.iter().all(|value| value.is_finite());
            ensure!(finite, "{}, {}: {:?} are no figures", row.case, row.who, row.samples);
        }
        let quick = effort == Effort::Quick;
        let record = Record { name: name.to_owned(), quick, machine: machine.clone(), report: self.clone() };
        let table = record.table();
        fs::create_dir_all(folder).with_context(|| format!("can not make {}", folder.display()))?;
        let write = |ending: &str, content: &str| {
            let path = folder.join(format!("{name}.{ending}"));
            fs::write(&path, content).with_context(|| format!("can not write {}", path.display()))
        };
        write("md", &table)?;
        let cases = self.cases();
        write("svg", &plot::draw(&self.title, &cases))?;
        let headlines = self.headlines.iter().filter_map(|name| cases.iter().find(|(case, _)| case == name).cloned());
        if !self.headlines.is_empty() {
            write("short.svg", &plot::draw(&self.title, &headlines.collect::<Vec<_>>()))?;
        }
        let mut json = serde_json::to_string_pretty(&record)?;
        json.push('\n');
        write("json", &json)?;
        let read: Record = serde_json::from_str(&json).context("the raw figures can not be read again")?;
        ensure!(read.report.rows.len() == self.rows.len(), "the raw figures are not whole");
        Ok(table)
    }
}

impl Record {
    /// Markdown.
    fn table(&self) -> String {
        let Report { title, about, .. } = &self.report;
        let mut text = format!("# {title}\n\n");
        if self.quick {
            text.push_str("A short run, to see that all of it works: these figures mean nothing.\n\n");
        }
        let line = "| | who | median | least to greatest | unit | bound |\n|---|---|--:|--:|---|---|\n";
        let _ = writeln!(text, "`cargo xtask bench {}`. {}\n", self.name, self.machine.describe());
        for paragraph in about {
            let _ = writeln!(text, "{paragraph}\n");
        }
        text.push_str(line);
        for (case, rows) in self.report.cases() {
            for (at, row) in rows.iter().enumerate() {
                let (middle, (least, greatest)) = (median(&row.samples), range(&row.samples));
                let spread = match row.samples.len() {
                    1 => "one round".to_owned(),
                    rounds => format!("{} to {} ({rounds})", digits(least), digits(greatest)),
                };
                let bound = row.bound.map_or_else(String::new, |bound| {
                    format!("{}: {}", bound.describe(), if bound.is_held(middle) { "holds" } else { "**missed**" })
                });
                let who = if row.role == Role::Visavis { format!("**{}**", row.who) } else { row.who.clone() };
                let case = if at == 0 { case } else { "" };
                let _ = writeln!(text, "| {case} | {who} | {} | {spread} | {} | {bound} |", digits(middle), row.unit);
            }
        }
        let _ = write!(text, "\nIn brackets the number of rounds. ![{title}]({}.svg)\n", self.name);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_and_can_be_read() {
        let mut report = Report::new("Things", &["How."]);
        for value in [3.0, 1.0, 2.0] {
            report.add("speed", (Role::Visavis, "ours"), "tasks/s", value);
            report.add("speed", (Role::Floor, "nothing & less"), "tasks/s", 2.0 * value);
        }
        report.add("size", (Role::Visavis, "ours"), "MB", 1.0);
        report.hold("speed", "ours", Bound::AtLeast(2.5));
        report.headlines = vec!["size".to_owned()];
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::look().unwrap();
        let table = report.write(folder.path(), "things", &machine, Effort::Quick).unwrap();
        assert!(
            table.contains("| speed | **ours** | 2.00 | 1.00 to 3.00 (3) | tasks/s | ≥ 2.50: **missed** |"),
            "{table}"
        );
        assert!(table.contains("mean nothing"), "{table}");
        let svg = fs::read_to_string(folder.path().join("things.svg")).unwrap();
        assert!(svg.starts_with("<svg ") && svg.contains("nothing &amp; less"), "{svg}");
        let short = fs::read_to_string(folder.path().join("things.short.svg")).unwrap();
        assert!(short.contains("size") && !short.contains("speed"), "{short}");
        let record: Record =
            serde_json::from_str(&fs::read_to_string(folder.path().join("things.json")).unwrap()).unwrap();
        assert_eq!(record.report.rows[0].samples, [3.0, 1.0, 2.0]);
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        let mut report = Report::new("Things", &[]);
        report.add("speed", (Role::Peer, "theirs"), "tasks/s", f64::NAN);
        let (folder, machine) = (tempfile::tempdir().unwrap(), Machine::look().unwrap());
        assert!(report.write(folder.path(), "things", &machine, Effort::Full).is_err());
    }
}
