//! A printed list of codes: cards that fold to the size of a bank card, as SVG, HTML and PDF, and
//! lines of text.
//!
//! All three pictures are one drawing, in millimetres of a page of A4 with its origin at the top
//! left.

use std::fmt::Write;
use std::path::Path;

use zeroize::Zeroizing;

use crate::{Failure, Result};

/// A page of A4.
const PAGE: (f64, f64) = (210.0, 297.0);
/// From the edges to the first card, and between cards.
const MARGIN: f64 = 12.0;
const GAP: f64 = 4.0;
/// ISO/IEC 7810 ID-1, what bank cards have. A card is folded once, so it is twice as high.
const CARD: (f64, f64) = (85.6, 54.0);
/// Inside a card.
const PADDING: f64 = 4.0;
/// Two beside and two below each other.
const CARDS_MAX: usize = 4;
const COLUMNS: usize = 3;
/// Of codes, on each half of a card.
const ROWS: (usize, usize) = (5, 8);
/// The most codes on a page.
pub const CODES_MAX: usize = CARDS_MAX * 2 * COLUMNS * ROWS.1;
/// The width of each character of a font of fixed width, in parts of its size.
const FIXED_WIDTH: f64 = 0.6;
/// About that of a character of the other fonts.
const USUAL_WIDTH: f64 = 0.55;

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SheetKind {
    Svg,
    Html,
    Pdf,
}

impl SheetKind {
    /// By the end of its name.
    pub fn of(path: &Path) -> Result<SheetKind> {
        match path.extension().map(|extension| extension.to_ascii_lowercase()) {
            Some(extension) if extension == "svg" => Ok(SheetKind::Svg),
            Some(extension) if extension == "html" => Ok(SheetKind::Html),
            Some(extension) if extension == "pdf" => Ok(SheetKind::Pdf),
            _ => Err(Failure::new(format!(
                "{}: a sheet's file ends in .svg, .pdf or .html",
                path.display()
            ))),
        }
    }
}

/// What is to be printed.
pub struct Sheet<'a> {
    /// Where the codes are good.
    pub issuer: &'a str,
    /// Whose they are.
    pub user: &'a str,
    /// "2026-11-22".
    pub date: &'a str,
    pub has_pin: bool,
    /// In order; at most [`CODES_MAX`].
    pub codes: &'a [Zeroizing<String>],
}

enum Face {
    Plain,
    Bold,
    /// All characters have [`FIXED_WIDTH`].
    Fixed,
}

enum Mark {
    /// From the left end of its base line.
    Text {
        at: (f64, f64),
        size: f64,
        face: Face,
        text: Zeroizing<String>,
    },
    Line {
        from: (f64, f64),
        to: (f64, f64),
        dashed: bool,
    },
}

impl Sheet<'_> {
    /// A line for each code, between one that says what it is and how it is used.
    pub fn text(&self) -> Zeroizing<String> {
        let mut out = Zeroizing::new(String::with_capacity(1024 + 32 * self.codes.len()));
        let Sheet { issuer, user, date, .. } = self;
        let count = self.codes.len();
        let _ = writeln!(out, "{issuer}: {count} paper codes for {user}, printed {date}");
        for (number, code) in (1..).zip(self.codes) {
            let _ = writeln!(out, "{number:4}  {}", grouped(code).as_str());
        }
        let _ = writeln!(out, "{USE}\n{}", self.password_hint());
        out
    }

    /// A file to be printed.
    pub fn file(&self, kind: SheetKind) -> Zeroizing<Vec<u8>> {
        let marks = self.marks();
        match kind {
            SheetKind::Svg => bytes(svg(&marks)),
            SheetKind::Html => bytes(html(self.user, &svg(&marks))),
            SheetKind::Pdf => pdf(&marks),
        }
    }

    fn password_hint(&self) -> &'static str {
        if self.has_pin { "Password: your PIN, then the code." } else { "Password: the code." }
    }

    fn marks(&self) -> Vec<Mark> {
        let cards = self.codes.len().div_ceil(2 * COLUMNS * ROWS.1).max(1);
        let on_each = self.codes.len().div_ceil(cards).max(1);
        let mut marks = Vec::new();
        let mut first = 1;
        for (card, codes) in self.codes.chunks(on_each).enumerate() {
            let x = MARGIN + (card % 2) as f64 * (CARD.0 + GAP);
            let y = MARGIN + (card / 2) as f64 * (2.0 * CARD.1 + GAP);
            self.draw_card((x, y), first, codes, &mut marks);
            first += codes.len();
        }
        marks
    }

    fn draw_card(
        &self,
        (x, y): (f64, f64),
        first: usize,
        codes: &[Zeroizing<String>],
        marks: &mut Vec<Mark>,
    ) {
        let (right, fold, bottom) = (x + CARD.0, y + CARD.1, y + 2.0 * CARD.1);
        for (from, to) in [
            ((x, y), (right, y)),
            ((x, bottom), (right, bottom)),
            ((x, y), (x, bottom)),
            ((right, y), (right, bottom)),
        ] {
            marks.push(Mark::Line { from, to, dashed: false });
        }
        marks.push(Mark::Line { from: (x, fold), to: (right, fold), dashed: true });

        let (left, width) = (x + PADDING, CARD.0 - 2.0 * PADDING);
        let last = first + codes.len() - 1;
        let about =
            format!("codes {first} to {last} of {}, printed {}", self.codes.len(), self.date);
        marks.push(fitted((left, y + 7.0), 3.6, width, Face::Bold, self.issuer));
        marks.push(fitted((left, y + 10.8), 3.0, width, Face::Plain, self.user));
        marks.push(fitted((left, y + 14.2), 2.4, width, Face::Plain, &about));
        marks.push(fitted((left, bottom - 7.0), 2.6, width, Face::Plain, USE));
        marks.push(fitted((left, bottom - 3.6), 2.6, width, Face::Plain, self.password_hint()));

        let rows = codes.len().div_ceil(2 * COLUMNS).clamp(ROWS.0, ROWS.1);
        let pitch = 36.0 / rows as f64;
        for (index, code) in codes.iter().enumerate() {
            let (half, place) = (index / (COLUMNS * rows), index % (COLUMNS * rows));
            let column = left + (place / rows) as f64 * width / COLUMNS as f64;
            let top = if half == 0 { y + 15.5 } else { fold + 4.5 };
            let base = top + ((place % rows) as f64 + 0.5) * pitch + 1.2;
            let number = (first + index).to_string();
            let size = 2.4;
            marks.push(Mark::Text {
                at: (column + 5.0 - number.len() as f64 * FIXED_WIDTH * size, base),
                size,
                face: Face::Fixed,
                text: Zeroizing::new(number),
            });
            let text = grouped(code);
            let room = width / COLUMNS as f64 - 6.4 - 1.0;
            let size = (room / (FIXED_WIDTH * text.len() as f64)).min(3.6);
            marks.push(Mark::Text { at: (column + 6.4, base), size, face: Face::Fixed, text });
        }
    }
}

const USE: &str = "Use the codes in order, and strike out each one.";

/// In two groups, as they may be typed.
fn grouped(code: &str) -> Zeroizing<String> {
    let (one, two) = code.split_at(code.len() / 2);
    Zeroizing::new([one, " ", two].concat())
}

/// Text that is made smaller, and cut in the end, where it would be too wide.
fn fitted(at: (f64, f64), size: f64, width: f64, face: Face, text: &str) -> Mark {
    const SMALLEST: f64 = 2.0;
    let count = text.chars().count().max(1) as f64;
    let size = (width / (USUAL_WIDTH * count)).clamp(SMALLEST.min(size), size);
    let most = (width / (USUAL_WIDTH * size)) as usize;
    let text = match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    };
    Mark::Text { at, size, face, text: Zeroizing::new(text) }
}

/// Large enough that nothing is moved, and left behind, while it grows.
fn buffer(marks: &[Mark]) -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(4096 + 512 * marks.len()))
}

fn bytes(mut text: Zeroizing<String>) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(std::mem::take(&mut *text).into_bytes())
}

fn svg(marks: &[Mark]) -> Zeroizing<String> {
    let mut out = buffer(marks);
    let (width, height) = PAGE;
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"
    );
    for mark in marks {
        match mark {
            Mark::Line { from, to, dashed } => {
                let dashes = if *dashed { " stroke-dasharray=\"2 1.5\"" } else { "" };
                let _ = writeln!(
                    out,
                    "<path d=\"M{:.2} {:.2}L{:.2} {:.2}\" stroke=\"#888\" stroke-width=\"0.15\"{dashes}/>",
                    from.0, from.1, to.0, to.1
                );
            }
            Mark::Text { at, size, face, text } => {
                let family = match face {
                    Face::Plain => "Helvetica,Arial,sans-serif\"",
                    Face::Bold => "Helvetica,Arial,sans-serif\" font-weight=\"bold\"",
                    Face::Fixed => "Courier,'Courier New',monospace\" font-weight=\"bold\"",
                };
                let _ = write!(
                    out,
                    "<text x=\"{:.2}\" y=\"{:.2}\" font-size=\"{size:.2}\" font-family=\"{family}",
                    at.0, at.1
                );
                // Fonts for codes differ a little in width.
                if let Face::Fixed = face {
                    let length = text.len() as f64 * FIXED_WIDTH * size;
                    let _ = write!(
                        out,
                        " textLength=\"{length:.2}\" lengthAdjust=\"spacingAndGlyphs\""
                    );
                }
                out.push('>');
                push_escaped(&mut out, text);
                out.push_str("</text>\n");
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

/// For XML and HTML. What XML can't hold is shown as the sign for that.
fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
}

fn html(user: &str, svg: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(svg.len() + 8 * user.len() + 1024));
    out.push_str(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Paper codes for ",
    );
    push_escaped(&mut out, user);
    let _ = write!(
        out,
        "</title>\n<style>\n@page {{ size: A4; margin: 0 }}\nhtml, body {{ margin: 0 }}\n\
         svg {{ display: block; break-inside: avoid; max-height: 100vh }}\n\
         @media screen {{ svg {{ max-height: none }} }}\n</style>\n"
    );
    out.push_str(svg);
    out.push_str("</html>\n");
    out
}

/// PDF 1.4 (ISO 32000-1) with three of the fonts that every reader has.
fn pdf(marks: &[Mark]) -> Zeroizing<Vec<u8>> {
    const POINTS: f64 = 72.0 / 25.4;
    let point = |(x, y): (f64, f64)| (x * POINTS, (PAGE.1 - y) * POINTS);
    let mut content = Zeroizing::new(Vec::with_capacity(4096 + 512 * marks.len()));
    let mut line = |text: &[&[u8]]| text.iter().for_each(|part| content.extend_from_slice(part));
    line(&[b"0.4 w 0.5 G\n"]);
    for mark in marks {
        match mark {
            Mark::Line { from, to, dashed } => {
                let ((x1, y1), (x2, y2)) = (point(*from), point(*to));
                let dashes = if *dashed { "[6 4]" } else { "[]" };
                let text = format!("{dashes} 0 d {x1:.2} {y1:.2} m {x2:.2} {y2:.2} l S\n");
                line(&[text.as_bytes()]);
            }
            Mark::Text { at, size, face, text } => {
                let (x, y) = point(*at);
                let font = match face {
                    Face::Plain => "/F1",
                    Face::Bold => "/F2",
                    Face::Fixed => "/F3",
                };
                let before = format!("BT {font} {:.2} Tf {x:.2} {y:.2} Td (", size * POINTS);
                line(&[before.as_bytes(), &in_pdf(text), b") Tj ET\n"]);
            }
        }
    }

    let font = |name: &str| {
        format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>")
    };
    let (width, height) = (PAGE.0 * POINTS, PAGE.1 * POINTS);
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.2} {height:.2}] /Contents 7 0 R \
             /Resources << /Font << /F1 4 0 R /F2 5 0 R /F3 6 0 R >> >> >>"
        ),
        font("Helvetica"),
        font("Helvetica-Bold"),
        font("Courier-Bold"),
    ];
    let mut out = Zeroizing::new(Vec::with_capacity(content.len() + 4096));
    out.extend_from_slice(b"%PDF-1.4\n");
    let mut places = Vec::new();
    for (number, object) in (1..).zip(&objects) {
        places.push(out.len());
        out.extend_from_slice(format!("{number} 0 obj\n{object}\nendobj\n").as_bytes());
    }
    places.push(out.len());
    let head = format!("7 0 obj\n<< /Length {} >>\nstream\n", content.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&content);
    out.extend_from_slice(b"endstream\nendobj\n");
    let table = out.len();
    let mut end = format!("xref\n0 {}\n0000000000 65535 f \n", places.len() + 1);
    for place in &places {
        let _ = writeln!(end, "{place:010} 00000 n ");
    }
    let _ = write!(
        end,
        "trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n",
        places.len() + 1
    );
    out.extend_from_slice(end.as_bytes());
    out
}

/// Characters of a string in PDF: these fonts have those of Latin-1 only.
fn in_pdf(text: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(2 * text.len()));
    for character in text.chars() {
        match character {
            '(' | ')' | '\\' => out.extend([b'\\', character as u8]),
            ' '..='~' | '\u{a0}'..='\u{ff}' => out.push(character as u8),
            _ => out.push(b'?'),
        }
    }
    out
}

/// Whether a PDF shows this text as it is.
pub fn pdf_can_show(text: &str) -> bool {
    text.chars().all(|character| matches!(character, ' '..='~' | '\u{a0}'..='\u{ff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(count: usize, digits: usize) -> Vec<Zeroizing<String>> {
        (1..=count).map(|number| Zeroizing::new(format!("{:0digits$}", number * 7919))).collect()
    }

    fn sheet(codes: &[Zeroizing<String>]) -> Sheet<'_> {
        Sheet { issuer: "a & b", user: "jörg (<1>)", date: "2026-11-22", has_pin: true, codes }
    }

    #[test]
    fn every_code_lies_on_its_card_and_on_no_other_one() {
        for count in [1, 5, 10, 15, 16, 30, 31, 48, 49, 100, CODES_MAX] {
            let codes = codes(count, 10);
            let mut places = Vec::new();
            for mark in sheet(&codes).marks() {
                let Mark::Text { at, size, face, text } = mark else { continue };
                let width = if let Face::Fixed = face { FIXED_WIDTH } else { USUAL_WIDTH };
                let end = at.0 + width * size * text.chars().count() as f64;
                let card = (at.0 - MARGIN).div_euclid(CARD.0 + GAP);
                let right = MARGIN + card * (CARD.0 + GAP) + CARD.0;
                assert!(end < right, "{} ends at {end} of {right}", text.as_str());
                assert!(at.1 < PAGE.1 - MARGIN && right < PAGE.0, "{count}");
                if let Face::Fixed = face {
                    let down = (at.1 - MARGIN).rem_euclid(2.0 * CARD.1 + GAP);
                    let from_fold = down - CARD.1;
                    assert!(!(-1.0..size).contains(&from_fold), "{count}: over the fold");
                    assert!((15.0..2.0 * CARD.1 - 9.0).contains(&down), "{count}: at {down}");
                    places.push((at, end, size));
                }
            }
            assert_eq!(places.len(), 2 * count);
            for (index, (one, end, size)) in places.iter().enumerate() {
                let is_over = |(two, end_of_two, _): &((f64, f64), f64, f64)| {
                    (one.1 - two.1).abs() < *size && one.0 < *end_of_two && two.0 < *end
                };
                assert!(
                    !places[index + 1..].iter().any(is_over),
                    "{count}: {index} is written over"
                );
            }
        }
    }

    #[test]
    fn what_is_long_is_made_smaller_and_cut_at_last() {
        let width = CARD.0 - 2.0 * PADDING;
        for (text, ends) in
            [("short", "short"), (&"w".repeat(50), "www"), (&"w".repeat(300), "...")]
        {
            let Mark::Text { size, text, .. } = fitted((0.0, 0.0), 3.6, width, Face::Bold, text)
            else {
                unreachable!("it is text");
            };
            assert!(text.ends_with(ends));
            let shown = text.trim_end_matches("...").chars().count() as f64;
            assert!(USUAL_WIDTH * size * shown <= width + 0.01, "{}", text.as_str());
        }
    }

    #[test]
    fn names_cant_leave_their_place_in_a_file() {
        let codes = codes(1, 8);
        let svg = String::from_utf8(sheet(&codes).file(SheetKind::Svg).to_vec()).unwrap();
        assert!(svg.contains(">jörg (&lt;1&gt;)</text>") && svg.contains(">a &amp; b</text>"));
        let html = String::from_utf8(sheet(&codes).file(SheetKind::Html).to_vec()).unwrap();
        assert!(html.contains("<title>Paper codes for jörg (&lt;1&gt;)</title>"));
        let pdf = sheet(&codes).file(SheetKind::Pdf);
        assert!(pdf.windows(14).any(|part| part == b"(j\xf6rg \\(<1>\\))"));
        assert!(pdf_can_show("jörg") && !pdf_can_show("Ива"));
    }

    #[test]
    fn a_files_kind_is_its_names_end() {
        assert_eq!(SheetKind::of(Path::new("a/x.PDF")).unwrap(), SheetKind::Pdf);
        assert_eq!(SheetKind::of(Path::new("x.svg")).unwrap(), SheetKind::Svg);
        assert_eq!(SheetKind::of(Path::new("x.html")).unwrap(), SheetKind::Html);
        for name in ["x", "x.png", "pdf"] {
            let refusal = SheetKind::of(Path::new(name)).unwrap_err().to_string();
            assert_eq!(refusal, format!("{name}: a sheet's file ends in .svg, .pdf or .html"));
        }
    }
}
