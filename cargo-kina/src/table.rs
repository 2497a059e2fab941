//! Tables with columns.

use super::output::{Paint, Style};

const GAP: &str = "  ";

/// Rows of cells, printed in columns as wide as necessary.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    paint: Paint,
    is_number: bool,
}

impl Table {
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The lines; empty without rows. No line is wider than `width_max` characters.
    pub(super) fn lines(&self, style: Style, width_max: Option<usize>) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let headings = self.headings.iter().enumerate().map(|(column, text)| Cell {
            text: (*text).to_owned(),
            paint: Paint::Heading,
            is_number: self.rows.iter().filter_map(|row| row.get(column)).any(|cell| cell.is_number),
        });
        let headings: Vec<Cell> = headings.collect();
        let rows: Vec<&[Cell]> =
            std::iter::once(headings.as_slice()).chain(self.rows.iter().map(Vec::as_slice)).collect();
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max().unwrap_or_default())
            .collect();
        rows.iter().map(|row| line(row, &widths, style, width_max.unwrap_or(usize::MAX))).collect()
    }
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::painted(text, Paint::Plain)
    }

    pub(super) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        // Control characters in a name must not move the cursor.
        let text = text.into().chars().map(|character| if character.is_control() { '?' } else { character }).collect();
        Self { text, paint, is_number: false }
    }

    /// Aligned to the right.
    pub(super) fn number(text: impl Into<String>) -> Self {
        Self { is_number: true, ..Self::text(text) }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

fn line(row: &[Cell], widths: &[usize], style: Style, width_max: usize) -> String {
    let mut line = String::new();
    let mut room = width_max;
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let gap = if column == 0 { "" } else { GAP };
        let is_last = column + 1 == row.len();
        let padding = " ".repeat(width - cell.width());
        let text = match (cell.is_number, is_last) {
            (true, _) => format!("{padding}{}", cell.text),
            (false, true) => cell.text.clone(),
            (false, false) => format!("{}{padding}", cell.text),
        };
        let shown: String = format!("{gap}{text}").chars().take(room).collect();
        room -= shown.chars().count();
        line.push_str(&style.paint(cell.paint, &shown));
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "SIZE", "WHOSE"]);
        table.push(vec![Cell::text("a"), Cell::number("1"), Cell::text("a\x1bb")]);
        table.push(vec![Cell::text("longer"), Cell::number("12345"), Cell::text("")]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_necessary() {
        let lines = table().lines(Style::PLAIN, None);
        assert_eq!(lines, ["NAME     SIZE  WHOSE", "a           1  a?b", "longer  12345"]);
        assert!(Table::new(&["NAME"]).lines(Style::PLAIN, None).is_empty());
    }

    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let lines = table().lines(Style::PLAIN, Some(10));
        assert_eq!(lines, ["NAME     S", "a", "longer  12"]);
    }
}
