//! The table as text, and the place where it stands in the README. Nothing but text is done here.

/// What stands around the table.
const MARKS: [&str; 2] = ["<!-- observed -->\n", "<!-- /observed -->\n"];

/// A heading of each column, and rows that begin with their label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

// === impl Table ===

impl Table {
    /// As it stands in the README.
    pub fn render(&self) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = row(&[&[String::new()], &self.head[..]].concat()).replacen("|  |", "| |", 1);
        text += &format!("|{}\n", "---|".repeat(self.head.len() + 1));
        text.extend(self.rows.iter().map(|cells| row(cells)));
        text
    }

    /// Reads what [`Self::render`] wrote.
    fn parse(text: &str) -> Self {
        let mut lines = text.lines().map(|line| {
            let cells = line.trim().trim_start_matches('|').trim_end_matches('|');
            cells
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect::<Vec<_>>()
        });
        let head = lines
            .next()
            .unwrap_or_default()
            .into_iter()
            .skip(1)
            .collect();
        let rows = lines.skip(1).collect();
        Self { head, rows }
    }

    /// What a text with a table says otherwise, a line for each; none if it is this table to the letter.
    pub fn differences(&self, text: &str) -> Result<Vec<String>, String> {
        let [_, written, _] = parts(text)?;
        if written == self.render() {
            return Ok(Vec::new());
        }
        let written = Self::parse(written);
        let mut differences = Vec::new();
        for observed in &self.rows {
            let label = &observed[0];
            let Some(says) = written.rows.iter().find(|row| row[0] == *label) else {
                differences.push(format!("{label}: the row is missing"));
                continue;
            };
            for (nth, heading) in self.head.iter().enumerate() {
                let says = says.get(nth + 1).map_or("nothing", String::as_str);
                let observed = &observed[nth + 1];
                if says != observed {
                    let line =
                        format!("{label}, {heading}: it says {says:?}, observed {observed:?}");
                    differences.push(line);
                }
            }
        }
        let known = |label: &String| self.rows.iter().any(|row| row[0] == *label);
        let unknown = written.rows.iter().filter(|row| !known(&row[0]));
        differences.extend(unknown.map(|row| format!("{}: nobody observes this row", row[0])));
        if differences.is_empty() {
            differences.push("the headings, the order of rows or the spaces differ".to_owned());
        }
        Ok(differences)
    }

    /// The text with this table in the place of the one that it has.
    pub fn put_into(&self, text: &str) -> Result<String, String> {
        let [before, _, after] = parts(text)?;
        Ok([before, &self.render(), after].concat())
    }
}

/// What stands before the table with its mark, the table, and what stands after it with its mark.
fn parts(text: &str) -> Result<[&str; 3], String> {
    let place = |mark: &str| match text.match_indices(mark).collect::<Vec<_>>()[..] {
        [(at, _)] => Ok(at),
        ref others => Err(format!(
            "{:?} stands there {} times, not once",
            mark.trim(),
            others.len()
        )),
    };
    let begin = place(MARKS[0])? + MARKS[0].len();
    let end = place(MARKS[1])?;
    let table = text
        .get(begin..end)
        .ok_or("the marks are in the wrong order")?;
    Ok([&text[..begin], table, &text[end..]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        Table {
            head: words("direct relayed"),
            rows: vec![words("port kept kept"), words("refusal RST accepted")],
        }
    }

    fn readme(table: &Table) -> String {
        format!("before\n{}{}{}after\n", MARKS[0], table.render(), MARKS[1])
    }

    #[test]
    fn a_table_is_found_again_as_it_was_written() {
        let text = readme(&table());
        assert_eq!(table().differences(&text).unwrap(), [""; 0]);
        assert_eq!(table().put_into(&text).unwrap(), text);
        let empty = format!("before\n{}{}after\n", MARKS[0], MARKS[1]);
        assert_eq!(table().put_into(&empty).unwrap(), text);
    }

    #[test]
    fn a_cell_that_is_stale_is_named_with_both_words() {
        let text = readme(&table()).replace("RST | accepted", "RST | refused");
        assert_eq!(
            table().differences(&text).unwrap(),
            ["refusal, relayed: it says \"refused\", observed \"accepted\""]
        );
    }

    #[test]
    fn a_row_too_few_and_one_too_many_are_named() {
        let text = readme(&table()).replace("| port |", "| colour |");
        assert_eq!(
            table().differences(&text).unwrap(),
            [
                "port: the row is missing",
                "colour: nobody observes this row"
            ]
        );
    }

    #[test]
    fn an_order_or_a_heading_that_differs_is_not_passed_over() {
        let mut other = table();
        other.rows.reverse();
        assert_eq!(table().differences(&readme(&other)).unwrap().len(), 1);
        let text = readme(&table()).replace("relayed", "with it");
        assert_eq!(table().differences(&text).unwrap().len(), 1);
    }

    #[test]
    fn without_its_marks_there_is_no_table() {
        let text = readme(&table()).replace(MARKS[1], "");
        assert!(
            table()
                .differences(&text)
                .unwrap_err()
                .contains("/observed")
        );
        let twice = readme(&table()).replace("before\n", MARKS[0]);
        assert!(table().put_into(&twice).unwrap_err().contains("2 times"));
    }
}
