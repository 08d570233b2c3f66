//! A handoff's link as a QR code, for a camera: as an image for pages, as text for terminals.

use qrcode::{EcLevel, QrCode, render, types::QrError};

/// Modules of white around the code, which readers need (ISO/IEC 18004 §9.1). The renderer draws as many.
const QUIET: usize = 4;

fn encode(link: &str) -> Result<QrCode, QrError> {
    // Low: nothing is printed and scratched here, and fewer modules are read from farther away.
    QrCode::with_error_correction_level(link, EcLevel::L)
}

/// An SVG image, without an XML declaration, so that it can stand in a page.
///
/// # Errors
/// [`QrError`]: the link is longer than a QR code holds.
pub fn svg(link: &str) -> Result<String, QrError> {
    let image = encode(link)?.render::<render::svg::Color<'_>>().min_dimensions(240, 240).build();
    Ok(image.find("<svg").map_or(image.clone(), |at| image[at..].to_owned()))
}

/// Lines of half blocks, two modules a character, white on black: terminals are dark more often than not, and a reader
/// takes a code of either kind only with its quiet zone.
///
/// # Errors
/// As [`svg`].
pub fn half_blocks(link: &str) -> Result<String, QrError> {
    let code = encode(link)?;
    let width = code.width();
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < width);
        inside(x).zip(inside(y)).is_some_and(|at| code[at] == qrcode::Color::Dark)
    };
    let side = width + 2 * QUIET;
    let mut text = String::new();
    for y in (0..side).step_by(2) {
        for x in 0..side {
            text.push(match (dark(x, y), dark(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LINK: &str = "https://sync.example.com/handoff#AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn the_image_is_one_svg_element_and_names_nothing_outside_itself() {
        let svg = svg(LINK).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"), "{svg:.40}");
        assert!(!svg.contains("href") && !svg.contains("script"));
    }

    #[test]
    fn the_half_blocks_are_the_modules_of_the_code_in_a_white_frame() {
        let text = half_blocks(LINK).unwrap();
        let code = encode(LINK).unwrap();
        let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        let module = |x: usize, y: usize| {
            let (upper, lower) = match lines[y / 2][x] {
                '█' => (false, false),
                '▀' => (false, true),
                '▄' => (true, false),
                ' ' => (true, true),
                other => panic!("{other:?}"),
            };
            if y.is_multiple_of(2) { upper } else { lower }
        };
        for y in 0..code.width() {
            for x in 0..code.width() {
                assert_eq!(module(x + QUIET, y + QUIET), code[(x, y)] == qrcode::Color::Dark, "{x}, {y}");
            }
        }
        assert!((0..code.width() + 2 * QUIET).all(|at| !module(at, 0) && !module(0, at) && !module(at, QUIET - 1)));
    }

    #[test]
    fn a_link_that_no_code_holds_is_refused() {
        svg(&"x".repeat(3_000)).unwrap_err();
        half_blocks(&"x".repeat(3_000)).unwrap_err();
    }
}
