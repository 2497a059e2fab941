//! Pictures of figures, as SVG that needs no other files and is readable on light and on dark pages.

mod scale;

use std::fmt::Write;

use self::scale::Scale;
use super::report::readable;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 42.0;
const BOTTOM: f64 = 46.0;
const HEIGHT_OF_LINES: f64 = 360.0;
const HEIGHT_OF_BAR: f64 = 34.0;
const WIDTH_OF_LABELS: f64 = 250.0;
/// Number of colours, which distinguish lines.
const COLOURS: usize = 6;

const STYLE: &str = "<style>\
    text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}.quiet{fill:#59636e}\
    .page{fill:#fff}.grid{stroke:#d1d9e0}.limit{stroke:#cf222e;stroke-dasharray:5 4}.alarm{fill:#cf222e;stroke:#cf222e}\
    .line{fill:none;stroke-width:2}.whisker{stroke:#1f2328;stroke-width:1.5}\
    .c0{stroke:#0969da}.c1{stroke:#bc4c00}.c2{stroke:#1a7f37}.c3{stroke:#8250df}.c4{stroke:#9a6700}.c5{stroke:#bf3989}\
    .f0{fill:#0969da}.f1{fill:#bc4c00}.f2{fill:#1a7f37}.f3{fill:#8250df}.f4{fill:#9a6700}.f5{fill:#bf3989}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.quiet{fill:#9198a1}.page{fill:#0d1117}.grid{stroke:#3d444d}\
    .limit{stroke:#f85149}.alarm{fill:#f85149;stroke:#f85149}.whisker{stroke:#e6edf3}\
    .c0{stroke:#4493f8}.c1{stroke:#f0883e}.c2{stroke:#3fb950}.c3{stroke:#ab7df8}.c4{stroke:#d29922}.c5{stroke:#db61a2}\
    .f0{fill:#4493f8}.f1{fill:#f0883e}.f2{fill:#3fb950}.f3{fill:#ab7df8}.f4{fill:#d29922}.f5{fill:#db61a2}}\
    </style>";

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
pub fn lines(title: &str, x_axis: Axis<'_>, y_axis: Axis<'_>, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_scale = Scale::around(points().map(|point| point.x), x_axis.is_log);
    let highest = points().flat_map(|point| [point.y, point.interval.map_or(point.y, |[_, high]| high)]);
    let y_scale = Scale::around(highest, y_axis.is_log);
    let (width, height) = (WIDTH - LEFT - RIGHT, HEIGHT_OF_LINES - TOP - BOTTOM);
    let x_at = |value: f64| LEFT + width * x_scale.place(value);
    let y_at = |value: f64| TOP + height * (1.0 - y_scale.place(value));
    let mut svg = begin(title, HEIGHT_OF_LINES);
    for tick in y_scale.ticks() {
        let y = y_at(tick);
        put(
            &mut svg,
            format_args!(r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/>"#, LEFT + width),
        );
        let (x, y) = (LEFT - 8.0, y + 4.0);
        put(&mut svg, format_args!(r#"<text x="{x}" y="{y:.1}" text-anchor="end">{}</text>"#, readable(tick)));
    }
    for tick in x_scale.ticks() {
        let (x, y) = (x_at(tick), TOP + height);
        put(&mut svg, format_args!(r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{y:.1}"/>"#));
        let y = y + 17.0;
        put(&mut svg, format_args!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle">{}</text>"#, readable(tick)));
    }
    let (middle, below) = (LEFT + width / 2.0, HEIGHT_OF_LINES - 10.0);
    let x_title = escaped(x_axis.title);
    put(
        &mut svg,
        format_args!(r#"<text class="quiet" x="{middle}" y="{below}" text-anchor="middle">{x_title}</text>"#),
    );
    let (x, y) = (16.0, TOP + height / 2.0);
    put(
        &mut svg,
        format_args!(
            r#"<text class="quiet" x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{}</text>"#,
            escaped(y_axis.title)
        ),
    );
    for (index, line) in lines.iter().enumerate() {
        let colour = index % COLOURS;
        let path: Vec<String> =
            line.points.iter().map(|point| format!("{:.1},{:.1}", x_at(point.x), y_at(point.y))).collect();
        put(&mut svg, format_args!(r#"<polyline class="line c{colour}" points="{}"/>"#, path.join(" ")));
        for point in line.points.iter().filter(|point| !line.is_bare || point.is_alarm) {
            let x = x_at(point.x);
            if let Some([low, high]) = point.interval {
                let (low, high) = (y_at(low), y_at(high));
                put(
                    &mut svg,
                    format_args!(r#"<line class="c{colour}" x1="{x:.1}" x2="{x:.1}" y1="{low:.1}" y2="{high:.1}"/>"#),
                );
            }
            let (class, radius) = if point.is_alarm { ("alarm".to_owned(), 6) } else { (format!("f{colour}"), 4) };
            put(
                &mut svg,
                format_args!(
                    r#"<circle class="{class}" cx="{x:.1}" cy="{:.1}" r="{radius}"><title>{}</title></circle>"#,
                    y_at(point.y),
                    escaped(&point.title)
                ),
            );
        }
    }
    legend(&mut svg, lines);
    svg + "</svg>\n"
}

/// Bars beside their names.
pub fn bars(title: &str, unit: &str, bars: &[Bar], is_log: bool) -> String {
    let reach = bars
        .iter()
        .flat_map(|bar| [bar.value, bar.interval.map_or(bar.value, |[_, high]| high), bar.limit.unwrap_or(bar.value)]);
    let scale = Scale::around(reach, is_log);
    let height = TOP + BOTTOM + HEIGHT_OF_BAR * bars.len() as f64;
    let width = WIDTH - WIDTH_OF_LABELS - RIGHT - 60.0;
    let x_at = |value: f64| WIDTH_OF_LABELS + width * scale.place(value);
    let mut svg = begin(title, height);
    let bottom = height - BOTTOM;
    for tick in scale.ticks() {
        let (x, y) = (x_at(tick), bottom + 17.0);
        put(&mut svg, format_args!(r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}"/>"#));
        put(&mut svg, format_args!(r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{}</text>"#, readable(tick)));
    }
    for (index, bar) in bars.iter().enumerate() {
        let top = TOP + HEIGHT_OF_BAR * index as f64 + 7.0;
        let (middle, end) = (top + 10.0, x_at(bar.value));
        let (x, y, label) = (WIDTH_OF_LABELS - 8.0, middle + 4.0, escaped(&bar.label));
        put(&mut svg, format_args!(r#"<text x="{x}" y="{y}" text-anchor="end">{label}</text>"#));
        let size = (end - WIDTH_OF_LABELS).max(1.0);
        put(
            &mut svg,
            format_args!(r#"<rect class="f0" x="{WIDTH_OF_LABELS}" y="{top}" width="{size:.1}" height="20" rx="2"/>"#),
        );
        let mut right = end;
        if let Some([low, high]) = bar.interval {
            let (low, high) = (x_at(low), x_at(high));
            right = right.max(high);
            put(
                &mut svg,
                format_args!(r#"<line class="whisker" x1="{low:.1}" x2="{high:.1}" y1="{middle}" y2="{middle}"/>"#),
            );
        }
        if let Some(limit) = bar.limit {
            let (x, bottom) = (x_at(limit), top + 24.0);
            put(
                &mut svg,
                format_args!(
                    r#"<line class="limit" x1="{x:.1}" x2="{x:.1}" y1="{}" y2="{bottom}" stroke-width="2"/>"#,
                    top - 4.0
                ),
            );
            if (x - right).abs() < 60.0 {
                right = right.max(x);
            }
        }
        put(&mut svg, format_args!(r#"<text x="{:.1}" y="{y}">{}</text>"#, right + 7.0, readable(bar.value)));
    }
    let (x, y, mut below) = (WIDTH_OF_LABELS + width / 2.0, height - 10.0, unit.to_owned());
    if bars.iter().any(|bar| bar.interval.is_some()) {
        below += "; thin lines: 95 % interval of the median";
    }
    if bars.iter().any(|bar| bar.limit.is_some()) {
        below += "; dashed: budget";
    }
    put(
        &mut svg,
        format_args!(r#"<text class="quiet" x="{x}" y="{y}" text-anchor="middle">{}</text>"#, escaped(&below)),
    );
    svg + "</svg>\n"
}

/// The fraction of the samples below each value.
pub fn distributions(title: &str, unit: &str, samples: &[(&str, &[f64])]) -> String {
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

fn begin(title: &str, height: f64) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{title}\">{STYLE}\n<rect class=\"page\" width=\"100%\" height=\"100%\" rx=\"6\"/>\n\
         <text class=\"title\" x=\"14\" y=\"25\">{title}</text>\n"
    )
}

fn legend(svg: &mut String, lines: &[Line]) {
    let (x, width) = (LEFT + 14.0, 8.0 * lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0) as f64);
    if lines.len() < 2 {
        return;
    }
    let height = 18.0 * lines.len() as f64 + 8.0;
    put(
        svg,
        format_args!(
            r#"<rect class="page grid" x="{}" y="{}" width="{}" height="{height}" rx="4"/>"#,
            x - 6.0,
            TOP + 6.0,
            width + 40.0
        ),
    );
    for (index, line) in lines.iter().enumerate() {
        let (y, colour) = (TOP + 22.0 + 18.0 * index as f64, index % COLOURS);
        put(
            svg,
            format_args!(
                r#"<line class="line c{colour}" x1="{x}" x2="{}" y1="{}" y2="{}"/><text x="{}" y="{y}">{}</text>"#,
                x + 18.0,
                y - 4.0,
                y - 4.0,
                x + 24.0,
                escaped(&line.name)
            ),
        );
    }
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    // Writing into a text cannot fail.
    let _ = writeln!(svg, "{element}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_name_what_they_show() {
        let point = |x: f64, is_alarm| Point { x, y: 2.0 * x, is_alarm, title: "a < b".to_owned(), interval: None };
        let line = Line { name: "one".to_owned(), points: vec![point(1.0, false), point(2.0, true)], is_bare: false };
        let axis = Axis { title: "runs", is_log: false };
        let svg = lines("trend & more", axis, axis, &[line.clone(), Line { name: "two".to_owned(), ..line }]);
        for part in ["trend &amp; more", "a &lt; b", ">one<", ">two<", "class=\"alarm\"", "prefers-color-scheme"] {
            assert!(svg.contains(part), "{part}");
        }
        let bar = Bar { label: "warm".to_owned(), value: 6.7, interval: Some([6.0, 7.0]), limit: Some(5.0) };
        let svg = bars("ways", "ms", &[bar], true);
        assert!(svg.contains(">warm<") && svg.contains(">6.7<") && svg.contains("class=\"limit\""));
        assert!(distributions("d", "ms", &[("warm", &[2.0, 1.0])]).contains("polyline"));
    }
}
