//! Stacks as a picture: the wider a box, the more time was spent in it and in its calls, above it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::plot::escaped;
use super::fold::Stacks;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const TOP: f64 = 58.0;
/// Narrower boxes are left out.
const WIDTH_MIN: f64 = 1.5;
const CHARACTER: f64 = 6.6;
const DEPTH_MAX: usize = 60;

const STYLE: &str = "<style>text{font:11px ui-monospace,monospace;fill:#1f2328}.title{font:600 15px system-ui,sans-serif}\
    .page{fill:#fff}.kina{fill:#7cb8ff}.net{fill:#ffc680}.crypto{fill:#d2b4fb}.system{fill:#d1d9e0}.other{fill:#a5e0b0}\
    rect{stroke:#fff;stroke-width:.5}.key{stroke:none}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.kina{fill:#1f5fb8}.net{fill:#8a4b0f}\
    .crypto{fill:#5b3a9c}.system{fill:#3d444d}.other{fill:#1f6a35}rect{stroke:#0d1117}}</style>";

const KINDS: [(&str, &str); 5] = [
    ("kina", "kina"),
    ("net", "gRPC, HTTP, tokio"),
    ("crypto", "TLS"),
    ("system", "system"),
    ("other", "other libraries"),
];

#[derive(Default)]
struct Node<'a> {
    count: u64,
    calls: BTreeMap<&'a str, Node<'a>>,
}

/// Draws the stacks.
pub(super) fn draw(title: &str, stacks: &Stacks) -> String {
    let mut root = Node::default();
    for (stack, count) in stacks.iter() {
        root.count += count;
        let mut node = &mut root;
        for frame in stack.iter().take(DEPTH_MAX) {
            node = node.calls.entry(frame.as_str()).or_default();
            node.count += count;
        }
    }
    let scale = WIDTH / root.count.max(1) as f64;
    let height = TOP + ROW * root.depth(scale) as f64 + 8.0;
    let title = escaped(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" aria-label=\"{title}\">{STYLE}\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"8\" y=\"20\">{title}</text>\n"
    );
    for (index, (class, name)) in KINDS.iter().enumerate() {
        let x = 8.0 + 170.0 * index as f64;
        put(
            &mut svg,
            format_args!(
                r#"<rect class="key {class}" x="{x}" y="31" width="14" height="14"/><text x="{}" y="42">{name}</text>"#,
                x + 20.0
            ),
        );
    }
    root.draw_calls(&mut svg, 0.0, height - 8.0, scale, root.count);
    svg + "</svg>\n"
}

impl Node<'_> {
    /// The number of rows that its calls need.
    fn depth(&self, scale: f64) -> usize {
        let shown = self.calls.values().filter(|call| WIDTH_MIN <= call.count as f64 * scale);
        shown.map(|call| 1 + call.depth(scale)).max().unwrap_or(0)
    }

    fn draw_calls(&self, svg: &mut String, left: f64, bottom: f64, scale: f64, all: u64) {
        let mut left = left;
        for (name, call) in &self.calls {
            let width = call.count as f64 * scale;
            if WIDTH_MIN <= width {
                let top = bottom - ROW;
                let percent = 100.0 * call.count as f64 / all as f64;
                let letters = (width / CHARACTER) as usize;
                let shown: String =
                    if 3 < letters { short(name).chars().take(letters).collect() } else { String::new() };
                put(
                    svg,
                    format_args!(
                        r#"<g><title>{}: {percent:.1} %, {} samples</title><rect class="{}" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{}"/><text x="{:.1}" y="{:.1}">{}</text></g>"#,
                        escaped(name),
                        call.count,
                        kind(name),
                        ROW - 1.0,
                        left + 2.0,
                        bottom - 5.0,
                        escaped(&shown)
                    ),
                );
                call.draw_calls(svg, left, top, scale, all);
            }
            left += width;
        }
    }
}

/// The crate and the last part of a name, which readers look for.
fn short(name: &str) -> String {
    let plain = name.trim_start_matches('<');
    let parts: Vec<&str> = plain.split("::").collect();
    match parts.as_slice() {
        [_, .., _] if !plain.contains([' ', '<']) && 3 < parts.len() => {
            format!("{}::…::{}", parts[0], parts[parts.len() - 2..].join("::"))
        }
        _ => plain.to_owned(),
    }
}

fn kind(name: &str) -> &'static str {
    let is_of = |crates: &[&str]| crates.iter().any(|part| name.contains(part));
    if name.contains("kina") {
        "kina"
    } else if is_of(&["rustls", "ring::", "ring_core", "webpki", "rcgen"]) {
        "crypto"
    } else if is_of(&["tonic", "h2::", "hyper", "tower", "http::", "prost", "tokio", "mio::", "kube_"]) {
        "net"
    } else if name.contains("::") {
        "other"
    } else {
        "system"
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
    fn boxes_are_as_wide_as_their_share() {
        let text = "engine\n 1 memcpy\n 2 kina_engine::rewind::pass\n\nengine\n 1 h2::frame::encode\n\n";
        let svg = draw("a <title>", &Stacks::read(text).expect("stacks"));
        assert!(svg.contains("a &lt;title&gt;"));
        assert!(svg.contains("kina_engine::rewind::pass: 50.0 %, 1 samples"), "{svg}");
        assert!(svg.contains(r#"class="kina" x="600.0""#) && svg.contains(r#"width="600.0""#), "{svg}");
        assert_eq!(short("kina_engine::rewind::rewinder::pass"), "kina_engine::…::rewinder::pass");
    }
}
