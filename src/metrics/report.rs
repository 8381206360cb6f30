//! The percentile table that is printed at exit and on SIGUSR1.

use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::{Recorder, Times};

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["time", "count", "p50", "p90", "p99", "p99.9", "max"]);
        for (name, times) in [
            ("connect", &self.connect),
            ("session lifetime", &self.lifetime),
            ("added client_to_server", &self.added.client_to_server),
            ("added server_to_client", &self.added.server_to_client),
            ("stall client_to_server", &self.stall.client_to_server),
            ("stall server_to_client", &self.stall.server_to_client),
        ] {
            table.add_row(row(name, times));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}\n")?;
        for (name, value, help) in self.counters.named() {
            writeln!(f, " {name:<24}{value:>16}  {help}")?;
        }
        Ok(())
    }
}

fn row(name: &str, times: &Times) -> Vec<String> {
    let mut cells = vec![name.to_owned(), times.count().to_string()];
    if times.count() == 0 {
        return cells;
    }
    cells.extend([50.0, 90.0, 99.0, 99.9].map(|percent| human(times.percentile(percent))));
    cells.push(human(times.max()));
    cells
}

/// Three significant digits, in the unit that fits.
fn human(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "us"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        for (micros, text) in [
            (1, "1.00 us"),
            (999, "999 us"),
            (12_340, "12.3 ms"),
            (3_600_000_000, "3600 s"),
        ] {
            assert_eq!(human(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn the_table_names_every_histogram_and_counter() {
        let text = Recorder::default().to_string();
        for name in [
            "connect",
            "session lifetime",
            "added client_to_server",
            "pipes_evicted",
        ] {
            assert!(text.contains(name), "{name} in\n{text}");
        }
    }
}
