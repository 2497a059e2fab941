//! The colours of pictures, and what every picture has around it: a name, and other colours on dark pages.

use plotters::prelude::{Color, IntoFont, RGBColor, TextStyle};

pub(super) const TEXT: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const QUIET: RGBColor = RGBColor(0x59, 0x63, 0x6e);
pub(super) const PAGE: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(super) const GRID: RGBColor = RGBColor(0xd1, 0xd9, 0xe0);
pub(super) const ALARM: RGBColor = RGBColor(0xcf, 0x22, 0x2e);
/// The colours that distinguish lines.
pub(super) const COLOURS: [RGBColor; 6] = [
    RGBColor(0x09, 0x69, 0xda),
    RGBColor(0xbc, 0x4c, 0x00),
    RGBColor(0x1a, 0x7f, 0x37),
    RGBColor(0x82, 0x50, 0xdf),
    RGBColor(0x9a, 0x67, 0x00),
    RGBColor(0xbf, 0x39, 0x89),
];
/// The colours on dark pages, in the order of those above.
const DARK: [&str; 11] = [
    "#e6edf3", "#9198a1", "#0d1117", "#3d444d", "#f85149", "#4493f8", "#f0883e", "#3fb950", "#ab7df8", "#d29922",
    "#db61a2",
];
const FONT: &str = "system-ui, sans-serif";
/// A size to plotters is this many times the size in the SVG.
const FONT_SCALE: f64 = 1.24;

pub(super) fn heading() -> TextStyle<'static> {
    (FONT, 15.0 * FONT_SCALE).into_font().color(&TEXT)
}

pub(super) fn text() -> TextStyle<'static> {
    (FONT, 12.0 * FONT_SCALE).into_font().color(&TEXT)
}

pub(super) fn quiet_text() -> TextStyle<'static> {
    text().color(&QUIET)
}

/// A drawn SVG with its name, its dark colours, and further elements at its end.
pub(super) fn finished(svg: &str, title: &str, elements: &str) -> String {
    let (tag, drawn) = svg.split_once('>').unwrap_or((svg, ""));
    let drawn = drawn.trim_end();
    let drawn = drawn.strip_suffix("</svg>").unwrap_or(drawn);
    let style = dark_style();
    format!(
        "{tag} role=\"img\" aria-label=\"{}\"><style>{style}</style>{drawn}{elements}</svg>\n",
        super::escaped(title)
    )
}

/// Colours are attributes in the SVG of plotters, and rules take precedence over attributes.
fn dark_style() -> String {
    let light = [TEXT, QUIET, PAGE, GRID, ALARM].into_iter().chain(COLOURS);
    let rules = light.zip(DARK).map(|(light, dark)| {
        let (red, green, blue) = light.rgb();
        let light = format!("#{red:02X}{green:02X}{blue:02X}");
        format!("[fill='{light}']{{fill:{dark}}}[stroke='{light}']{{stroke:{dark}}}")
    });
    format!("@media(prefers-color-scheme:dark){{{}}}", rules.collect::<String>())
}
