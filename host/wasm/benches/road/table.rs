//! The one table, printed while it grows, and the targets below it.

use std::io::Write as _;

use crate::Result;

use crate::measure::Measured;

pub(crate) struct Table {
    targets: Vec<Target>,
}

/// What was to be reached.
struct Target {
    name: String,
    at_most: f64,
    measured: f64,
    unit: &'static str,
}

const WIDTH: usize = 54;

impl Table {
    pub(crate) fn begin() -> Result<Self> {
        let table = Table { targets: Vec::new() };
        say(&format!(
            "\n{:WIDTH$} {:>11} {:>11} {:>11} {:>10} {:>6} {:>6}",
            "time of one call, in us", "wall median", "wall least", "CPU median", "calls/s", "wall x", "CPU x"
        ))?;
        Ok(table)
    }

    /// Adds a group; its first row is what the others are compared with.
    pub(crate) fn group(&mut self, title: &str, rows: &[Measured]) -> Result<()> {
        say(&format!("\n{title}"))?;
        for row in rows {
            let Measured { name, wall, wall_least, cpu, wall_ratio, cpu_ratio, note } = row;
            let name = format!("  {name}");
            let line = format!(
                "{name:WIDTH$} {wall:>11.2} {wall_least:>11.2} {cpu:>11.2} {:>10.0} {wall_ratio:>6.3} {cpu_ratio:>6.3}  {note}",
                1e6 / wall
            );
            say(line.trim_end())?;
        }
        Ok(())
    }

    /// Adds a group that is told in words.
    #[allow(dead_code, reason = "of one benchmark")]
    pub(crate) fn lines(&mut self, title: &str, lines: &[String]) -> Result<()> {
        say(&format!("\n{title}"))?;
        lines.iter().try_for_each(|line| say(&format!("  {line}")))
    }

    pub(crate) fn target(&mut self, name: impl Into<String>, at_most: f64, measured: f64, unit: &'static str) {
        self.targets.push(Target { name: name.into(), at_most, measured, unit });
    }

    pub(crate) fn end(self) -> Result<()> {
        say("\ntargets")?;
        for Target { name, at_most, measured, unit } in self.targets {
            let verdict = if measured <= at_most { "met" } else { "missed" };
            let name = format!("  {name}");
            say(&format!("{name:WIDTH$} at most {at_most:.2}{unit}: {measured:.3}{unit}, {verdict}"))?;
        }
        Ok(())
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
