//! The chart as SVG: light, and to be told apart in print without colour, too.

use std::time::Duration;

use plotters::prelude::*;

use super::{Chart, Gathered, title};
use crate::diagnose::explain::Report;
use crate::diagnose::explain::words::grouped;

const SIZE: (u32, u32) = (1_100, 640);
const INK: RGBColor = RGBColor(38, 38, 38);
const GRID: RGBColor = RGBColor(225, 225, 225);
const DATA: RGBColor = RGBColor(31, 119, 180);
const ACKNOWLEDGED: RGBColor = RGBColor(35, 139, 69);
const ALLOWED: RGBColor = RGBColor(140, 110, 60);
const SACK: RGBColor = RGBColor(117, 107, 177);
const FAULT: RGBColor = RGBColor(203, 24, 29);
const FONT: &str = "sans-serif";

/// Why there is no chart.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// There is nothing to draw.
    #[error("there is no connection to draw")]
    Empty,
    /// What the drawing library says.
    #[error("cannot draw: {0}")]
    Draw(String),
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Draws what was gathered of a connection of the report, whose capture begins at `begin`.
///
/// # Errors
/// A capture without a connection.
pub fn draw(gathered: Gathered, report: &Report, begin: Duration) -> Result<String, DrawError> {
    let (story, chart) = gathered.chart(begin).ok_or(DrawError::Empty)?;
    let number = story as u64 + 1;
    let flow = report.flows.iter().find(|flow| flow.flow == number);
    let mut svg = String::new();
    render(&chart, &title(flow), &mut svg).map_err(|error| DrawError::Draw(error.to_string()))?;
    Ok(svg)
}

/// What is drawn is around this.
fn bounds(chart: &Chart) -> [(f64, f64); 2] {
    let mut x = (f64::MAX, f64::MIN);
    let mut y = (f64::MAX, f64::MIN);
    let mut widen = |at: f64, place: f64| {
        x = (x.0.min(at), x.1.max(at));
        y = (y.0.min(place), y.1.max(place));
    };
    for (at, from, to) in &chart.data {
        widen(*at, *from);
        widen(*at, *to);
    }
    for (at, place) in chart.acknowledged.iter().chain(&chart.invalid) {
        widen(*at, *place);
    }
    if x.0 > x.1 {
        return [(0.0, 1.0), (0.0, 1.0)];
    }
    let span = |(from, to): (f64, f64), least: f64| {
        let room = ((to - from) * 0.08).max(least);
        (from - room, to + room)
    };
    // Above there is room for the window, if it is not far away.
    let far = y.1 + (y.1 - y.0).max(1.0) * 0.6;
    let allowed = chart
        .allowed
        .iter()
        .map(|(_, place)| *place)
        .filter(|place| *place <= far);
    y.1 = allowed.fold(y.1, f64::max);
    [span(x, 1e-6), span(y, 1.0)]
}

fn render(chart: &Chart, title: &str, svg: &mut String) -> Drawn {
    let page = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    page.fill(&WHITE)?;
    let [x, y] = bounds(chart);
    let small = (FONT, 15).into_font().color(&INK);
    let digits = (2.0 - (x.1 - x.0).log10()).ceil().clamp(0.0, 6.0) as usize;
    let mut context = ChartBuilder::on(&page)
        .caption(title, (FONT, 20).into_font().color(&INK))
        .margin(12)
        .margin_right(32)
        .x_label_area_size(46)
        .y_label_area_size(110)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
    context
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(small.clone())
        .axis_desc_style(small.clone())
        .x_desc("seconds since the capture began")
        .y_desc("bytes since the connection began")
        .x_label_formatter(&|at| format!("{at:.digits$}"))
        .y_label_formatter(&|place| match *place < 0.0 {
            true => String::new(),
            false => grouped(*place as u64),
        })
        .draw()?;
    let legend = |color: RGBColor, width: u32| {
        move |(x, y): (i32, i32)| PathElement::new([(x, y), (x + 22, y)], color.stroke_width(width))
    };
    // Beyond the frame nothing is drawn.
    let inside = |place: f64| place.clamp(y.0, y.1);
    let steps = |points: &[(f64, f64)]| {
        let mut line: Vec<(f64, f64)> = Vec::with_capacity(points.len() * 2);
        for (at, place) in points {
            if let Some((_, before)) = line.last().copied() {
                line.push((*at, before));
            }
            line.push((*at, inside(*place)));
        }
        line
    };
    let upright = |segments: &[(f64, f64, f64)], color: RGBColor, width: u32| {
        let path = move |(at, from, to): &(f64, f64, f64)| {
            PathElement::new(
                [(*at, inside(*from)), (*at, inside(*to))],
                color.stroke_width(width),
            )
        };
        segments.iter().map(path).collect::<Vec<_>>()
    };
    let highest = chart
        .allowed
        .iter()
        .map(|(_, place)| *place)
        .fold(0.0, f64::max);
    if !chart.allowed.is_empty() {
        let name = match highest > y.1 {
            true => "the end of the receiver's window (above the frame where it is at its edge)",
            false => "the end of the receiver's window",
        };
        context
            .draw_series(LineSeries::new(
                steps(&chart.allowed),
                ALLOWED.stroke_width(1),
            ))?
            .label(name)
            .legend(legend(ALLOWED, 1));
    }
    context
        .draw_series(upright(&chart.data, DATA, 2))?
        .label("data")
        .legend(legend(DATA, 2));
    context
        .draw_series(LineSeries::new(
            steps(&chart.acknowledged),
            ACKNOWLEDGED.stroke_width(2),
        ))?
        .label("acknowledged")
        .legend(legend(ACKNOWLEDGED, 2));
    if !chart.sack.is_empty() {
        context
            .draw_series(upright(&chart.sack, SACK, 4))?
            .label("SACK blocks")
            .legend(legend(SACK, 4));
    }
    if !chart.invalid.is_empty() {
        let marks = chart.invalid.iter();
        let marks =
            marks.map(|(at, place)| Cross::new((*at, inside(*place)), 7, FAULT.stroke_width(3)));
        context
            .draw_series(marks)?
            .label("INVALID")
            .legend(|(x, y)| Cross::new((x + 11, y), 5, FAULT.stroke_width(3)));
        let (at, place) = chart.invalid[0];
        // The text stands where there is room for it.
        let right = at < (x.0 + x.1) / 2.0;
        let (offset, anchor) = match right {
            true => (14, plotters::style::text_anchor::HPos::Left),
            false => (-14, plotters::style::text_anchor::HPos::Right),
        };
        let position =
            plotters::style::text_anchor::Pos::new(anchor, plotters::style::text_anchor::VPos::Top);
        let style = (FONT, 16).into_font().color(&FAULT).pos(position);
        let text = Text::new(chart.label.clone(), (offset, 10), style);
        let placed = EmptyElement::at((at, inside(place))) + text;
        context.draw_series(std::iter::once(placed))?;
    }
    context
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .margin(8)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(small)
        .draw()?;
    page.present()
}
