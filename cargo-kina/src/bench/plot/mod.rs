//! Pictures of figures, as SVG that needs no other files and is readable on light and on dark pages.
//!
//! - `range`: the ranges of axes. `scheme`: colours.

mod range;
mod scheme;

use std::fmt::Write;

use plotters::element::DashedPathElement;
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, Color, EmptyElement, IntoDrawingArea, LineSeries, PathElement,
    Rectangle, SVGBackend, SeriesLabelPosition, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use self::range::AxisRange;
use self::scheme::{ALARM, COLOURS, GRID, PAGE, TEXT};
use super::report::readable;

const WIDTH: u32 = 760;
const HEIGHT_OF_LINES: u32 = 360;
const HEIGHT_OF_BAR: u32 = 34;
/// The heights of the title and of the axis.
const HEIGHT_AROUND_BARS: u32 = 88;
const WIDTH_OF_Y_AXIS: u32 = 66;
const WIDTH_OF_LABELS: u32 = 242;
/// The room for the value beside the longest bar, and for half of an axis's last label.
const WIDTH_OF_VALUES: u32 = 48;
/// Limit on the labels of an axis. With ten, plotters would label nine values between two powers of ten.
const LABELS_MAX: usize = 9;

type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<AxisRange, AxisRange>>;

/// One line of a picture.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub name: String,
    pub points: Vec<Point>,
    /// Set if there are too many points to draw them one by one.
    pub is_bare: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// The interval of the true value.
    pub interval: Option<[f64; 2]>,
    /// Set if something is wrong here.
    pub is_alarm: bool,
    /// The text that is shown on pointing at it.
    pub title: String,
}

/// One axis of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Axis<'a> {
    pub title: &'a str,
    pub is_log: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Bar {
    pub label: String,
    pub value: f64,
    pub interval: Option<[f64; 2]>,
    /// The limit to draw.
    pub limit: Option<f64>,
}

/// Lines over a plane.
pub fn lines(title: &str, x_axis: Axis<'_>, y_axis: Axis<'_>, lines: &[Line]) -> anyhow::Result<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_range = AxisRange::around(points().map(|point| point.x), x_axis.is_log);
    let highest = points().flat_map(|point| [point.y, point.interval.map_or(point.y, |[_, high]| high)]);
    let y_range = AxisRange::around(highest, y_axis.is_log);
    let (mut svg, mut titles) = (String::new(), String::new());
    let (ranges, axis_titles) = ((x_range, y_range), (x_axis.title, y_axis.title));
    let mut chart = chart(&mut svg, HEIGHT_OF_LINES, WIDTH_OF_Y_AXIS, title, ranges, axis_titles)?;
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let series = LineSeries::new(line.points.iter().map(|point| (point.x, point.y)), colour.stroke_width(2));
        let series = chart.draw_series(series)?;
        if 1 < lines.len() {
            let sample = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
            series.label(line.name.as_str()).legend(sample);
        }
        for point in line.points.iter().filter(|point| !line.is_bare || point.is_alarm) {
            if let Some([low, high]) = point.interval {
                chart.draw_series([PathElement::new([(point.x, low), (point.x, high)], colour)])?;
            }
            let (colour, radius) = if point.is_alarm { (ALARM, 6) } else { (colour, 4) };
            chart.draw_series([Circle::new((point.x, point.y), radius, colour.filled())])?;
            let (x, y) = chart.backend_coord(&(point.x, point.y));
            // An element of plotters has no text of this kind.
            writeln!(
                titles,
                r#"<circle cx="{x}" cy="{y}" r="{radius}" fill="none" pointer-events="all"><title>{}</title></circle>"#,
                escaped(&point.title)
            )?;
        }
    }
    if 1 < lines.len() {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(scheme::text())
            .background_style(PAGE)
            .border_style(GRID)
            .margin(6)
            .legend_area_size(24)
            .draw()?;
    }
    chart.plotting_area().present()?;
    drop(chart);
    Ok(scheme::finished(&svg, title, &titles))
}

/// Bars beside their names.
pub fn bars(title: &str, unit: &str, bars: &[Bar], is_log: bool) -> anyhow::Result<String> {
    let right_end = |bar: &Bar| bar.interval.map_or(bar.value, |[_, high]| high.max(bar.value));
    let reach = bars.iter().flat_map(|bar| [bar.value, right_end(bar), bar.limit.unwrap_or(bar.value)]);
    let range = AxisRange::around(reach, is_log);
    let (start, count) = (range.low(), bars.len() as f64);
    let mut below = unit.to_owned();
    if bars.iter().any(|bar| bar.interval.is_some()) {
        below += "; thin lines: 95 % interval of the median";
    }
    if bars.iter().any(|bar| bar.limit.is_some()) {
        below += "; dashed: budget";
    }
    let mut svg = String::new();
    let height = HEIGHT_AROUND_BARS + HEIGHT_OF_BAR * bars.len() as u32;
    let ranges = (range, AxisRange::Linear((0.0..count).into()));
    let mut chart = chart(&mut svg, height, WIDTH_OF_LABELS, title, ranges, (&below, ""))?;
    let label_style = scheme::text().pos(Pos::new(HPos::Right, VPos::Center));
    let value_style = scheme::text().pos(Pos::new(HPos::Left, VPos::Center));
    for (index, bar) in bars.iter().enumerate() {
        // From above.
        let at = |part: f64| count - index as f64 - part;
        let middle = at(0.5);
        chart.draw_series([Rectangle::new([(start, at(0.2)), (bar.value, at(0.8))], COLOURS[0].filled())])?;
        let label = Text::new(bar.label.clone(), (-8, 0), &label_style);
        chart.draw_series([EmptyElement::at((start, middle)) + label])?;
        if let Some([low, high]) = bar.interval {
            chart.draw_series([PathElement::new([(low, middle), (high, middle)], TEXT.stroke_width(2))])?;
        }
        let mut right = right_end(bar);
        if let Some(limit) = bar.limit {
            let ends = [(limit, at(0.1)), (limit, at(0.9))];
            chart.draw_series([DashedPathElement::new(ends, 5, 4, ALARM.stroke_width(2))])?;
            // The value stands beyond a limit that it would cover.
            let x_of = |value| chart.backend_coord(&(value, middle)).0;
            if (x_of(limit) - x_of(right)).unsigned_abs() < WIDTH_OF_VALUES {
                right = right.max(limit);
            }
        }
        let value = Text::new(readable(bar.value), (7, 0), &value_style);
        chart.draw_series([EmptyElement::at((right, middle)) + value])?;
    }
    chart.plotting_area().present()?;
    drop(chart);
    Ok(scheme::finished(&svg, title, ""))
}

/// The fraction of the samples below each value.
pub fn distributions(title: &str, unit: &str, samples: &[(&str, &[f64])]) -> anyhow::Result<String> {
    let drawn: Vec<Line> = samples
        .iter()
        .map(|(name, values)| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            let count = sorted.len() as f64;
            let points = sorted.iter().enumerate().flat_map(|(index, value)| {
                // A step: the part that is below it, and the part with it.
                [index, index + 1].map(|below| Point { x: *value, y: 100.0 * below as f64 / count, ..Point::default() })
            });
            Line { name: (*name).to_owned(), points: points.collect(), is_bare: true }
        })
        .collect();
    let (x_axis, y_axis) = (Axis { title: unit, is_log: true }, Axis { title: "% of samples below", is_log: false });
    lines(title, x_axis, y_axis, &drawn)
}

/// Text with all markup escaped.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Begins a picture with its title and axes. A vertical axis without a title has neither labels nor a grid.
fn chart<'a>(
    svg: &'a mut String,
    height: u32,
    width_of_y_axis: u32,
    title: &str,
    (x_range, y_range): (AxisRange, AxisRange),
    (x_title, y_title): (&str, &str),
) -> anyhow::Result<Chart<'a>> {
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&PAGE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, scheme::heading())
        .margin(8)
        .margin_right(WIDTH_OF_VALUES)
        .x_label_area_size(42)
        .y_label_area_size(width_of_y_axis)
        .build_cartesian_2d(x_range, y_range)?;
    let mut mesh = chart.configure_mesh();
    if y_title.is_empty() {
        mesh.disable_y_mesh().disable_y_axis();
    }
    mesh.max_light_lines(0)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(LABELS_MAX)
        .y_labels(LABELS_MAX)
        .label_style(scheme::text())
        .axis_desc_style(scheme::quiet_text())
        .x_desc(x_title)
        .y_desc(y_title)
        .draw()?;
    Ok(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_name_what_they_show() {
        let point = |x: f64, is_alarm| Point { x, y: 2.0 * x, is_alarm, title: "a < b".to_owned(), interval: None };
        let line = Line { name: "one".to_owned(), points: vec![point(1.0, false), point(2.0, true)], is_bare: false };
        let axis = Axis { title: "runs", is_log: false };
        let drawn = lines("trend & more", axis, axis, &[line.clone(), Line { name: "two".to_owned(), ..line }]);
        let svg = drawn.expect("drawn");
        let parts = [
            "aria-label=\"trend &amp; more\"",
            "a &lt; b",
            "\none\n",
            "\ntwo\n",
            "fill=\"#CF222E\"",
            "prefers-color-scheme",
            "[fill='#CF222E']{fill:#f85149}",
        ];
        for part in parts {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        let bar = Bar { label: "warm".to_owned(), value: 6.7, interval: Some([6.0, 7.0]), limit: Some(5.0) };
        let svg = bars("ways", "ms", &[bar], true).expect("drawn");
        assert!(svg.contains("\nwarm\n") && svg.contains("\n6.7\n") && svg.contains("stroke=\"#CF222E\""), "{svg}");
        assert!(distributions("d", "ms", &[("warm", &[2.0, 1.0])]).expect("drawn").contains("polyline"));
    }
}
