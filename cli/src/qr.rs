//! QR codes: in a terminal, as SVG, as PNG.

use std::fmt::Write;
use std::path::Path;

use clap::ValueEnum;
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use crate::{Failure, Result};

/// Light modules around the code, as its standard asks for.
const QUIET_ZONE: usize = 4;
/// As few as scanners get along with on a screen.
const LEAST_QUIET_ZONE: usize = 1;
/// Lines of a terminal below the code: what is said next, and the line of the cursor. Without them
/// the code's top would leave the screen.
const LINES_BELOW: usize = 2;
/// What is assumed of a terminal that doesn't say how large it is.
const USUAL: Window = Window { columns: 80, lines: 24 };
/// Pixels of a module in a PNG: readable on a screen, and on paper.
const PIXELS: usize = 8;
/// Black on white by number in the palette of 256: themes recolour the names, and scanners want
/// dark on light whatever the terminal's own colours are.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
/// Where both rows are dark, the background is: the glyph of a full block leaves gaps in many
/// fonts.
const ALL_BLACK: &str = "\x1b[48;5;16m";
const RESET: &str = "\x1b[0m";

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImageKind {
    Svg,
    Png,
}

impl ImageKind {
    /// What a file's name ends in, behind the dot.
    pub fn extension(self) -> &'static str {
        match self {
            ImageKind::Svg => "svg",
            ImageKind::Png => "png",
        }
    }

    /// By the end of its name.
    pub fn of(path: &Path) -> Result<ImageKind> {
        match path.extension().map(|extension| extension.to_ascii_lowercase()) {
            Some(extension) if extension == "svg" => Ok(ImageKind::Svg),
            Some(extension) if extension == "png" => Ok(ImageKind::Png),
            _ => Err(Failure::new(format!(
                "{}: a QR code's file ends in .svg or .png",
                path.display()
            ))),
        }
    }
}

/// Room in a terminal.
#[derive(Clone, Copy)]
pub struct Window {
    pub columns: usize,
    pub lines: usize,
}

impl Window {
    pub fn of_stdout() -> Window {
        match rustix::termios::tcgetwinsize(std::io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Window { columns: size.ws_col.into(), lines: size.ws_row.into() }
            }
            _ => USUAL,
        }
    }
}

/// A QR code.
pub struct Picture {
    modules: Vec<Color>,
    width: usize,
}

impl Picture {
    pub fn of(text: &str) -> Result<Picture> {
        // The lowest level of error correction makes the smallest code: a screen has no stains.
        let code = QrCode::with_error_correction_level(text, EcLevel::L)
            .map_err(|error| Failure::new(format!("cannot make a QR code: {error}")))?;
        Ok(Picture { width: code.width(), modules: code.to_colors() })
    }

    /// Modules on each side, with its quiet zone.
    fn size(&self) -> usize {
        self.width + 2 * QUIET_ZONE
    }

    /// By place in that; light outside.
    fn is_dark(&self, x: usize, y: usize) -> bool {
        let inside = QUIET_ZONE..QUIET_ZONE + self.width;
        inside.contains(&x)
            && inside.contains(&y)
            && self.modules[(y - QUIET_ZONE) * self.width + (x - QUIET_ZONE)] == Color::Dark
    }

    /// The room it takes with such a quiet zone.
    fn room(&self, zone: usize) -> Window {
        let size = self.width + 2 * zone;
        Window { columns: size, lines: size.div_ceil(2) + LINES_BELOW }
    }

    /// The smallest terminal it fits into.
    pub fn least(&self) -> Window {
        self.room(LEAST_QUIET_ZONE)
    }

    /// Lines of half blocks, with as much of the quiet zone as there is room for. `None`: it would
    /// be broken.
    pub fn for_terminal(&self, window: Window, in_colour: bool) -> Option<Zeroizing<String>> {
        let fits = |&zone: &usize| {
            let room = self.room(zone);
            room.columns <= window.columns && room.lines <= window.lines
        };
        let zone = (LEAST_QUIET_ZONE..=QUIET_ZONE).rev().find(fits)?;
        Some(self.in_half_blocks(zone, in_colour))
    }

    /// Two rows of modules in one line of text. Without colours the light modules are the ones
    /// drawn, which is right on a dark terminal.
    fn in_half_blocks(&self, zone: usize, in_colour: bool) -> Zeroizing<String> {
        let places = QUIET_ZONE - zone..QUIET_ZONE + self.width + zone;
        let size = places.len();
        let mut lines = String::with_capacity(size * size * 4);
        for y in places.clone().step_by(2) {
            let mut colours = "";
            for x in places.clone() {
                let (upper, lower) = (self.is_dark(x, y), self.is_dark(x, y + 1));
                let needed = if upper && lower { ALL_BLACK } else { BLACK_ON_WHITE };
                if in_colour && colours != needed {
                    colours = needed;
                    lines += colours;
                }
                lines.push(match (upper == in_colour, lower == in_colour) {
                    (true, true) if in_colour => ' ',
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            if in_colour {
                lines += RESET;
            }
            lines.push('\n');
        }
        Zeroizing::new(lines)
    }

    pub fn image(&self, kind: ImageKind) -> Result<Zeroizing<Vec<u8>>> {
        match kind {
            ImageKind::Svg => Ok(Zeroizing::new(self.svg().into_bytes())),
            ImageKind::Png => {
                self.png().map_err(|error| Failure::new(format!("cannot make a PNG: {error}")))
            }
        }
    }

    /// One path: each run of dark modules in a row is a rectangle.
    fn svg(&self) -> String {
        let size = self.size();
        let mut path = String::new();
        for y in 0..size {
            let mut x = 0;
            while x < size {
                let run = (x..size).take_while(|&x| self.is_dark(x, y)).count();
                if run > 0 {
                    write!(path, "M{x} {y}h{run}v1h-{run}z").expect("writing to memory");
                }
                x += run.max(1);
            }
        }
        let side = size * PIXELS;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{side}\" height=\"{side}\" \
             viewBox=\"0 0 {size} {size}\" shape-rendering=\"crispEdges\">\n\
             <rect width=\"{size}\" height=\"{size}\" fill=\"#fff\"/>\n<path d=\"{path}\" fill=\"#000\"/>\n</svg>\n"
        )
    }

    fn png(&self) -> std::result::Result<Zeroizing<Vec<u8>>, png::EncodingError> {
        let side = self.size() * PIXELS;
        let mut pixels = Zeroizing::new(Vec::with_capacity(side * side));
        for y in 0..side {
            pixels.extend(
                (0..side).map(|x| if self.is_dark(x / PIXELS, y / PIXELS) { 0 } else { 255 }),
            );
        }
        let mut image = Zeroizing::new(Vec::new());
        let mut encoder = png::Encoder::new(&mut *image, side as u32, side as u32);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels)?;
        writer.finish()?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture::of("otpauth://totp/x:y?secret=GE&issuer=x").unwrap()
    }

    #[test]
    fn all_lines_have_the_same_width_and_their_own_colours() {
        let text = picture().in_half_blocks(QUIET_ZONE, true);
        let width = |line: &str| {
            let line = line.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(RESET).unwrap();
            line.replace(BLACK_ON_WHITE, "").replace(ALL_BLACK, "").chars().count()
        };
        let widths: Vec<usize> = text.lines().map(width).collect();
        assert!(widths.iter().all(|&width| width == widths[0]));
        assert_eq!(widths.len(), widths[0].div_ceil(2));
        assert!(text.lines().next().unwrap().contains("    "), "a quiet zone comes first");
    }

    #[test]
    fn without_colours_the_light_modules_are_drawn() {
        let text = picture().in_half_blocks(QUIET_ZONE, false);
        assert!(!text.contains('\x1b'));
        assert!(text.lines().next().unwrap().chars().all(|c| c == '█'), "the quiet zone");
    }

    #[test]
    fn it_takes_the_room_there_is_and_never_more() {
        let lines = |columns, lines| {
            let drawn = picture().for_terminal(Window { columns, lines }, true)?;
            Some(drawn.lines().count() + LINES_BELOW)
        };
        let (width, least) = (picture().width, picture().least());
        assert_eq!(lines(200, 100), Some(picture().size().div_ceil(2) + LINES_BELOW));
        for height in least.lines..40 {
            assert!(lines(200, height).unwrap() <= height, "{height}");
        }
        assert_eq!(lines(width + 2, 100), Some(least.lines));
        assert_eq!((lines(width + 1, 100), lines(200, least.lines - 1)), (None, None));
    }

    #[test]
    fn an_images_kind_is_its_names_end() {
        assert_eq!(ImageKind::of(Path::new("a/x.SVG")).unwrap(), ImageKind::Svg);
        assert_eq!(ImageKind::of(Path::new("x.png")).unwrap(), ImageKind::Png);
        for name in ["x", "x.jpg", "svg"] {
            let refusal = ImageKind::of(Path::new(name)).unwrap_err().to_string();
            assert_eq!(refusal, format!("{name}: a QR code's file ends in .svg or .png"));
        }
    }
}
