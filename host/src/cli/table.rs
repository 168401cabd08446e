//! Columns that stand below each other, and short words for spans of time.
//!
//! Owns the look of a list for people. Must never know what is listed.

use std::time::Duration;

use super::paint::width;

/// Two blanks between columns, no blanks at the ends of lines. The first row is the heading. Cells may be painted.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let widest = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(widest);
    let lines = rows.iter().map(|row| {
        let padded = |(cell, widest): (&String, usize)| format!("{cell}{}", " ".repeat(widest - width(cell)));
        let cells: Vec<_> = row.iter().zip(widths).map(padded).collect();
        format!("{}\n", cells.join("  ").trim_end())
    });
    lines.collect()
}

/// A span of time in its largest unit, rounded down: `3 min`.
pub(super) fn span(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A text on one line, for a cell.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["id", "why"], ["ä", "it\ttrapped"], ["long", ""]].map(|row| row.map(line));
        assert_eq!(table(&rows), "id    why\nä     it trapped\nlong\n");
        let rows = [["id", "why"], ["bad", "it trapped"]].map(|row| row.map(line));
        let painted = rows.each_ref().map(|[id, why]| [crate::cli::paint::bad(id), why.clone()]);
        assert_eq!(anstream::adapter::strip_str(&table(&painted)).to_string(), table(&rows));
    }

    #[test]
    fn spans_are_short() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7300, "2 h"), (86_400, "1 d")]
        {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
