//! The percentile table that is printed at exit and on SIGUSR1.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::{Recorder, Times, human};

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["time", "count", "p50", "p90", "p99", "p99.9", "max"]);
        for (name, times) in [
            ("connect", &self.connect),
            ("setup", &self.setup),
            (
                "first byte client_to_server",
                &self.first_byte.client_to_server,
            ),
            (
                "first byte server_to_client",
                &self.first_byte.server_to_client,
            ),
            ("session lifetime", &self.lifetime),
            ("added client_to_server", &self.added.client_to_server),
            ("added server_to_client", &self.added.server_to_client),
            ("stall client_to_server", &self.stall.client_to_server),
            ("stall server_to_client", &self.stall.server_to_client),
            ("rtt downstream", &self.rtt.downstream),
            ("rtt upstream", &self.rtt.upstream),
        ] {
            table.add_row(row(name, times));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        writeln!(f, "{table}\n")?;
        for (name, value, help) in self.counters.named() {
            if value > 0 {
                writeln!(f, " {name:<24}{value:>16}  {help}")?;
            }
        }
        writeln!(f, " everything else that is counted is 0")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_histogram_and_the_counters_that_have_counted() {
        let mut recorder = Recorder::default();
        recorder.counters.accepted = 3;
        let text = recorder.to_string();
        for name in ["connect", "session lifetime", "added client_to_server"] {
            assert!(text.contains(name), "{name} in\n{text}");
        }
        let counters: Vec<&str> = text.lines().rev().take(2).collect();
        assert!(counters[0].contains("everything else"), "{text}");
        let words: Vec<&str> = counters[1].split_whitespace().take(2).collect();
        assert_eq!(words, ["accepted", "3"]);
    }
}
