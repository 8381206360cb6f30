//! Colours. They are dark enough to be read on white, and differ for the colour-blind as far as six can; no line is
//! told by its colour alone.

use plotters::style::RGBColor;

/// Text and axes.
pub const INK: RGBColor = RGBColor(38, 38, 38);
/// Lines behind what is shown.
pub const GRID: RGBColor = RGBColor(225, 225, 225);
/// What went wrong.
pub const BAD: RGBColor = RGBColor(179, 22, 27);
/// One for each line of a chart, in order.
pub const LINES: [RGBColor; 8] = [
    RGBColor(11, 95, 184),
    RGBColor(176, 74, 0),
    RGBColor(122, 46, 143),
    RGBColor(93, 102, 112),
    RGBColor(20, 113, 58),
    RGBColor(0, 108, 122),
    RGBColor(168, 50, 110),
    RGBColor(107, 98, 0),
];

/// As SVG writes it.
#[must_use]
pub fn hex(RGBColor(red, green, blue): RGBColor) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}
