//! Stacks as a picture: the wider a box, the more time was spent in it and in its calls, above it.

use anyhow::Context;
use inferno::flamegraph::color::{BackgroundColor, Color, MultiPalette, Palette};
use inferno::flamegraph::{self, Options};

use super::fold::Stacks;

/// Narrower boxes are left out. In percent.
const WIDTH_MIN: f64 = 0.1;
/// The width of a character by its height. At inferno's default, names leave their boxes where a page only shows the picture.
const FONT_WIDTH: f64 = 0.62;
/// The boxes have colours that suit black texts on any page.
const DARK_STYLE: &str = "@media(prefers-color-scheme:dark){stop{stop-color:#0d1117}\
    #title,#details,#matched,#search,#unzoom{fill:#e6edf3}}</style>";

/// Draws the stacks.
pub(super) fn draw(title: &str, stacks: &Stacks) -> anyhow::Result<String> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.colors = Palette::Multi(MultiPalette::Rust);
    options.bgcolors = Some(BackgroundColor::Flat(Color::new(0xff, 0xff, 0xff)));
    // A function has the same colour in every picture.
    options.deterministic = true;
    options.min_width = WIDTH_MIN;
    options.font_width = FONT_WIDTH;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, stacks.folded().lines(), &mut svg)
        .context("drawing the flame graph failed")?;
    Ok(String::from_utf8(svg)?.replacen("</style>", DARK_STYLE, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_as_wide_as_their_share() {
        let event = "engine 7/8 1.5: cpu-clock:\n";
        let text = format!(
            "{event} 1 memcpy (libc)\n 2 kina_engine::rewind::pass (kina)\n\n{event} 1 h2::frame::encode (kina)\n\n"
        );
        let svg = draw("a <title>", &Stacks::read(&text).expect("stacks")).expect("drawn");
        assert!(svg.contains("a &lt;title&gt;"));
        assert!(svg.contains("kina_engine::rewind::pass (1 samples, 50.00%)"), "{svg}");
        assert!(svg.contains(r#"x="50.0000%""#) && svg.contains(r#"width="50.0000%""#), "{svg}");
        assert!(svg.contains("prefers-color-scheme"));
    }
}
