//! Tables with columns.

use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::output::{Paint, Style};

/// Spaces between columns.
const GAP: u16 = 2;

/// Rows of cells, printed in columns as wide as necessary.
#[derive(Debug)]
pub(super) struct Table {
    layout: comfy_table::Table,
    /// The cells, as the layout has them.
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
        let mut layout = comfy_table::Table::new();
        layout.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
        for column in layout.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        let headings = headings.iter().map(|text| Cell::painted(*text, Paint::Heading)).collect();
        Self { layout, rows: vec![headings] }
    }

    pub(super) fn push(&mut self, row: Vec<Cell>) {
        for (column, cell) in row.iter().enumerate() {
            if cell.is_number
                && let Some(column) = self.layout.column_mut(column)
            {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.layout.add_row(row.iter().map(|cell| &cell.text));
        self.rows.push(row);
    }

    /// The lines; empty without rows. No line is wider than `width_max` characters.
    pub(super) fn lines(&self, style: Style, width_max: Option<usize>) -> Vec<String> {
        if self.layout.row_count() == 0 {
            return Vec::new();
        }
        let width_max = width_max.unwrap_or(usize::MAX);
        self.layout.lines().zip(&self.rows).map(|(line, row)| painted(&line, row, style, width_max)).collect()
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
}

/// Cuts a line of the layout, and paints its cells: beside their texts it has spaces alone.
fn painted(line: &str, row: &[Cell], style: Style, width_max: usize) -> String {
    let end = line.char_indices().nth(width_max).map_or(line.len(), |(end, _)| end);
    let line = line[..end].trim_end();
    let (mut painted, mut rest) = (String::new(), line);
    for Cell { text, paint, .. } in row {
        let start = rest.find(text.as_str()).unwrap_or_else(|| rest.len() - rest.trim_start().len());
        let (gap, from_text) = rest.split_at(start);
        let (shown, after) = from_text.split_at(text.len().min(from_text.len()));
        painted += gap;
        painted += &style.paint(*paint, shown);
        rest = after;
    }
    painted + rest
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

    #[test]
    fn a_wide_character_moves_no_column() {
        let mut table = Table::new(&["NAME", "WHOSE"]);
        table.push(vec![Cell::text("\u{6d4b}\u{8bd5}"), Cell::text("a")]);
        table.push(vec![Cell::text("four"), Cell::text("b")]);
        assert_eq!(table.lines(Style::PLAIN, None)[1..], ["\u{6d4b}\u{8bd5}  a", "four  b"]);
    }

    #[test]
    fn only_the_texts_are_painted() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.push(vec![Cell::painted("bad", Paint::Bad), Cell::number("12345")]);
        let lines = table.lines(Style::COLOURED, None);
        assert_eq!(lines, ["\x1b[1mNAME\x1b[0m   \x1b[1mSIZE\x1b[0m", "\x1b[31mbad\x1b[0m   12345"]);
        assert_eq!(table.lines(Style::COLOURED, Some(2))[1], "\x1b[31mba\x1b[0m");
    }
}
