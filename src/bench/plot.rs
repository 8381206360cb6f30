//! A report for the eye, as SVG: latency by percentile, throughput over time; a line for each path, in a mix
//! one for each kind of connection.
//!
//! [`lines`] makes charts of a report: pure. Here they are only drawn.

mod lines;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::bench::report::{Report, Uncounted};
use crate::chart::palette::{GRID, INK};
use lines::Chart;

const WIDTH: u32 = 960;
const HEADING: u32 = 64;
const CHART: u32 = 400;

const FONT: &str = "sans-serif";

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// There is nothing to draw.
    #[error("there is nothing to plot: no request was answered and no byte arrived")]
    Empty,
    /// A histogram cannot be read.
    #[error("{path}, {part}, latency: {error}")]
    Times {
        /// The path.
        path: String,
        /// The kind of connection.
        part: String,
        /// What is wrong.
        error: Uncounted,
    },
    /// What the drawing library says.
    #[error("cannot plot: {0}")]
    Draw(String),
}

/// Draws it. A stream has no latencies, so there is only its throughput.
///
/// # Errors
/// A report of nothing, or with a histogram that cannot be read.
pub fn plot(report: &Report) -> Result<String, PlotError> {
    let charts = lines::charts(report)?;
    if charts.is_empty() {
        return Err(PlotError::Empty);
    }
    let mut svg = String::new();
    draw(&lines::heading(report), &charts, &mut svg)
        .map_err(|error| PlotError::Draw(error.to_string()))?;
    Ok(svg)
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(heading: &[String; 2], charts: &[Chart], svg: &mut String) -> Drawn {
    let height = HEADING + CHART * u32::try_from(charts.len()).unwrap_or(1);
    let page = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    page.fill(&WHITE)?;
    let (head, body) = page.split_vertically(HEADING);
    for (text, size, down) in [(&heading[0], 24, 14), (&heading[1], 16, 42)] {
        let style = (FONT, size).into_font().color(&INK);
        head.draw(&Text::new(text.as_str(), (24, down), style))?;
    }
    for (area, chart) in body.split_evenly((charts.len(), 1)).iter().zip(charts) {
        draw_chart(area, chart)?;
    }
    page.present()
}

fn draw_chart(area: &DrawingArea<SVGBackend, Shift>, chart: &Chart) -> Drawn {
    let title = (FONT, 20).into_font().color(&INK);
    let small = (FONT, 15).into_font().color(&INK);
    let mut context = ChartBuilder::on(area)
        .caption(chart.title, title)
        .margin(12)
        .margin_right(32)
        .x_label_area_size(46)
        .y_label_area_size(84)
        .build_cartesian_2d(chart.x.clone(), chart.y.clone())?;
    context
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(small.clone())
        .axis_desc_style(small.clone())
        .x_desc(chart.x.title.as_str())
        .y_desc(chart.y.title.as_str())
        .draw()?;
    for line in &chart.lines {
        let color = line.color;
        for (at, stretch) in line.stretches.iter().enumerate() {
            let series = LineSeries::new(stretch.iter().copied(), color.stroke_width(2));
            let drawn = context.draw_series(series)?;
            if at == 0 {
                drawn.label(line.label.as_str()).legend(move |(x, y)| {
                    Rectangle::new([(x, y - 2), (x + 22, y + 2)], color.filled())
                });
            }
        }
    }
    context
        .configure_series_labels()
        .position(match chart.legend {
            lines::Corner::UpperLeft => SeriesLabelPosition::UpperLeft,
            lines::Corner::LowerRight => SeriesLabelPosition::LowerRight,
        })
        .margin(8)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(small)
        .draw()
}
