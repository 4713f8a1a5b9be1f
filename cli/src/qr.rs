//! A QR code as text.

use qrcode::{Color, EcLevel, QrCode};

use crate::{Failure, Result};

/// Light modules around the code, as its standard asks for.
const QUIET_ZONE: usize = 4;
/// Black on white by number in the palette of 256: themes recolour the names, and scanners want dark on light
/// whatever the terminal's own colours are.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const RESET: &str = "\x1b[0m";

/// Lines of half blocks, two rows of modules in one line of text, for a terminal.
pub fn for_terminal(text: &str) -> Result<String> {
    // The lowest level of error correction makes the smallest code: a screen has no stains.
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|error| Failure::new(format!("cannot make a QR code: {error}")))?;
    let width = code.width();
    let modules = code.to_colors();
    let is_dark = |x: usize, y: usize| {
        let inside = QUIET_ZONE..QUIET_ZONE + width;
        inside.contains(&x)
            && inside.contains(&y)
            && modules[(y - QUIET_ZONE) * width + (x - QUIET_ZONE)] == Color::Dark
    };
    let size = width + 2 * QUIET_ZONE;
    let mut lines = String::new();
    for y in (0..size).step_by(2) {
        lines += BLACK_ON_WHITE;
        for x in 0..size {
            lines.push(match (is_dark(x, y), is_dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        lines += RESET;
        lines.push('\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_have_the_same_width_and_their_own_colours() {
        let text = for_terminal("otpauth://totp/x:y?secret=GE&issuer=x").unwrap();
        let widths: Vec<usize> = text
            .lines()
            .map(|line| {
                let line = line.strip_prefix(BLACK_ON_WHITE).unwrap().strip_suffix(RESET).unwrap();
                line.chars().count()
            })
            .collect();
        assert!(widths.iter().all(|&width| width == widths[0]));
        assert_eq!(widths.len(), widths[0].div_ceil(2));
        assert!(text.lines().next().unwrap().contains("    "), "a quiet zone comes first");
    }
}
