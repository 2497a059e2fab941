//! A decoder for the PNG files of screenshots: eight bits a channel, not interlaced.

use std::collections::HashMap;
use std::io::Read;

pub struct Image {
    pub width: u32,
    pub height: u32,
    channels: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// Decodes a file.
    ///
    /// # Panics
    /// If it is not such an image.
    pub fn decode(file: &[u8]) -> Self {
        let mut rest = file.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("a PNG file");
        let (mut header, mut packed) = (Vec::new(), Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).expect("small");
            let (kind, after) = after.split_at(4);
            let (content, after) = after.split_at(length);
            match kind {
                b"IHDR" => header = content.to_vec(),
                b"IDAT" => packed.extend_from_slice(content),
                _ => {}
            }
            // A checksum follows each chunk.
            rest = &after[4..];
        }
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (width, height) = (number(0), number(4));
        let channels = match (header[8], header[9], header[12]) {
            (8, 2, 0) => 3,
            (8, 6, 0) => 4,
            other => panic!("depth, colours and interlacing {other:?}"),
        };
        let mut filtered = Vec::new();
        flate2::read::ZlibDecoder::new(packed.as_slice()).read_to_end(&mut filtered).expect("zlib");
        let line_bytes = usize::try_from(width).expect("small") * channels;
        let pixels = unfilter(&filtered, line_bytes, channels);
        assert_eq!(pixels.len(), line_bytes * usize::try_from(height).expect("small"));
        Self { width, height, channels, pixels }
    }

    /// Counts the pixels of each colour.
    pub fn colours(&self) -> HashMap<[u8; 3], usize> {
        let mut colours = HashMap::new();
        for pixel in self.pixels.chunks_exact(self.channels) {
            *colours.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
        }
        colours
    }
}

/// Undoes the filters. Each line begins with the kind of difference between its bytes and those beside and above.
fn unfilter(filtered: &[u8], line_bytes: usize, channels: usize) -> Vec<u8> {
    let mut pixels: Vec<u8> = Vec::with_capacity(filtered.len());
    let mut above = vec![0; line_bytes];
    for line in filtered.chunks_exact(line_bytes + 1) {
        let mut current = line[1..].to_vec();
        for index in 0..line_bytes {
            let left = if index < channels { 0 } else { current[index - channels] };
            let (up, corner) = (above[index], if index < channels { 0 } else { above[index - channels] });
            let guess = match line[0] {
                0 => 0,
                1 => left,
                2 => up,
                3 => u8::try_from((u16::from(left) + u16::from(up)) / 2).expect("a mean of bytes"),
                4 => paeth(left, up, corner),
                other => panic!("filter {other}"),
            };
            current[index] = current[index].wrapping_add(guess);
        }
        pixels.extend_from_slice(&current);
        above = current;
    }
    pixels
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let (a, b, c) = (i16::from(left), i16::from(up), i16::from(corner));
    let guess = a + b - c;
    let (to_left, to_up, to_corner) = ((guess - a).abs(), (guess - b).abs(), (guess - c).abs());
    if to_left <= to_up && to_left <= to_corner {
        left
    } else if to_up <= to_corner {
        up
    } else {
        corner
    }
}
