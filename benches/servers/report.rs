//! What was measured: a table as it grows, and build/bench.json at the end.

use std::fmt::Write as _;

/// What a figure has to be.
#[derive(Clone, Copy)]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// It is told, and held against the last release's by whoever makes the next.
    Nothing,
}

impl Wanted {
    fn holds(self, value: f64) -> bool {
        match self {
            Wanted::AtLeast(least) => value >= least,
            Wanted::AtMost(most) => value <= most,
            Wanted::Nothing => true,
        }
    }
}

/// One figure.
pub struct Row {
    pub server: &'static str,
    pub name: String,
    pub unit: &'static str,
    /// The median, where there are several.
    pub value: f64,
    pub spread: Option<(f64, f64)>,
    pub wanted: Wanted,
    /// CPU time per request as a ratio to the baseline's.
    pub cpu: Option<f64>,
}

#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Whether every row is as wanted.
    pub fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.wanted.holds(row.value))
    }

    pub fn add(&mut self, row: Row) {
        let mut line =
            format!("{:<6} {:<66} {:>9.3} {}", row.server, row.name, row.value, row.unit);
        if let Some((low, high)) = row.spread {
            write!(line, " ({low:.3} to {high:.3})").expect("writing to memory");
        }
        match row.wanted {
            Wanted::AtLeast(least) => write!(line, ", wanted: at least {least}"),
            Wanted::AtMost(most) => write!(line, ", wanted: at most {most}"),
            Wanted::Nothing => Ok(()),
        }
        .expect("writing to memory");
        if let Some(cpu) = row.cpu {
            write!(line, "; CPU time per request {cpu:.3}").expect("writing to memory");
        }
        if !row.wanted.holds(row.value) {
            line += "  <--";
        }
        println!("{line}");
        self.rows.push(row);
    }

    /// A ratio of rates, from as many rounds as there are pairs.
    pub fn add_ratio(
        &mut self,
        server: &'static str,
        name: &str,
        wanted: Wanted,
        rounds: &[(Measured, Measured)],
    ) {
        let mut rates: Vec<f64> =
            rounds.iter().map(|(target, base)| target.rate / base.rate).collect();
        let mut costs: Vec<f64> =
            rounds.iter().map(|(target, base)| target.cpu / base.cpu).collect();
        let value = median(&mut rates);
        self.add(Row {
            server,
            name: name.to_owned(),
            unit: "times as many per second",
            value,
            spread: Some((rates[0], rates[rates.len() - 1])),
            wanted,
            cpu: Some(median(&mut costs)),
        });
    }

    /// A table for docs/performance.md.
    pub fn to_markdown(&self) -> String {
        let mut table = String::from(
            "| server | what | figure | wanted | CPU time per request |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let wanted = match row.wanted {
                Wanted::AtLeast(least) => format!("at least {least}"),
                Wanted::AtMost(most) => format!("at most {most}"),
                Wanted::Nothing => "told".to_owned(),
            };
            let unit = if row.cpu.is_some() { "" } else { row.unit };
            let cpu = row.cpu.map_or(String::new(), |cpu| format!("{cpu:.2}"));
            let figure = format!("{:.*} {unit}", if row.value < 100.0 { 2 } else { 0 }, row.value);
            writeln!(
                table,
                "| {} | {} | {} | {wanted} | {cpu} |",
                row.server,
                row.name,
                figure.trim_end()
            )
            .expect("writing to memory");
        }
        table
    }

    pub fn to_json(&self) -> String {
        let number =
            |value: Option<f64>| value.map_or("null".to_owned(), |value| format!("{value:.4}"));
        let rows = self.rows.iter().map(|row| {
            let (least, most) = match row.wanted {
                Wanted::AtLeast(least) => (Some(least), None),
                Wanted::AtMost(most) => (None, Some(most)),
                Wanted::Nothing => (None, None),
            };
            format!(
                "  {{\"server\": \"{}\", \"name\": \"{}\", \"unit\": \"{}\", \"value\": {}, \"lowest\": {}, \"highest\": {}, \
                 \"at_least\": {}, \"at_most\": {}, \"holds\": {}, \"cpu_per_request\": {}}}",
                row.server,
                row.name,
                row.unit,
                number(Some(row.value)),
                number(row.spread.map(|spread| spread.0)),
                number(row.spread.map(|spread| spread.1)),
                number(least),
                number(most),
                row.wanted.holds(row.value),
                number(row.cpu),
            )
        });
        format!("[\n{}\n]\n", rows.collect::<Vec<_>>().join(",\n"))
    }
}

/// A server under load for a while.
#[derive(Clone, Copy)]
pub struct Measured {
    /// Requests per second.
    pub rate: f64,
    /// Microseconds of the server's CPU time per request.
    pub cpu: f64,
}

/// Sorts them, too.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
