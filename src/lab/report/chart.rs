//! Transfers over time as one chart: a line each, how it ended, and where the first packet was INVALID. Pure.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::axis::{Axis, scale};
use crate::chart::palette::{BAD, GRID, INK};
use crate::lab::error::{Error, Result};
use crate::lab::report::transfer::{Objection, Transfer, name};
use crate::lab::row::Outcome;

const SIZE: (u32, u32) = (960, 400);
const FONT: &str = "sans-serif";
const LETTERS: i32 = 16;
/// What stands beside a mark begins so far from it.
const ASIDE: i32 = 7;
/// So much time is shown for each second until the last end, and so much at most where others go on without one.
const ROOM: f64 = 1.08;
const PATIENCE: f64 = 2.5;

/// A line of the chart.
pub(super) struct Line<'a> {
    pub(super) transfer: &'a Transfer,
    pub(super) color: RGBColor,
}

/// Draws them; the first line is drawn last, over the others.
pub(super) fn draw(lines: &[Line<'_>]) -> Result<String> {
    let mut svg = String::new();
    drawn(lines, &mut svg).map_err(|error| Error::Io {
        what: "drawing a transfer over time".to_owned(),
        source: std::io::Error::other(error.to_string()),
    })?;
    Ok(svg)
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;
type Coordinates = Cartesian2d<Axis, Axis>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Coordinates>;

fn drawn(lines: &[Line<'_>], svg: &mut String) -> Drawn {
    let carried = || {
        lines
            .iter()
            .filter_map(|line| line.transfer.carried.as_ref())
    };
    let most = carried().map(|carried| carried.last.1).max().unwrap_or(0) as f64;
    let (unit, name) = scale(
        most,
        &[(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes")],
    );
    let until = shown(lines.iter().map(|line| line.transfer));
    let page = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut context = ChartBuilder::on(&page)
        .margin(8)
        .margin_right(24)
        .margin_top(26)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d(
            Axis::linear("seconds since the connection was opened", until, false),
            Axis::linear(&format!("{name} acknowledged"), most / unit, true),
        )?;
    let letters = (FONT, LETTERS).into_font().color(&INK);
    context
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(INK)
        .label_style(letters.clone())
        .axis_desc_style(letters)
        .x_desc("seconds since the connection was opened")
        .y_desc(format!("{name} acknowledged"))
        .draw()?;
    for line in lines.iter().rev() {
        if let Some(points) = points(line.transfer, until, unit) {
            let style = line.color.stroke_width(3);
            context.draw_series(LineSeries::new(points.iter().copied(), style))?;
            let end = points.last().copied().unwrap_or_default();
            mark_end(context.plotting_area(), line, end)?;
        }
    }
    let mut rejected: Vec<(Objection, &Transfer)> = lines
        .iter()
        .filter_map(|line| Some((line.transfer.objection?, line.transfer)))
        .collect();
    rejected.sort_by(|(one, _), (other, _)| one.at.total_cmp(&other.at));
    for (nth, (objection, transfer)) in rejected.into_iter().enumerate() {
        mark_invalid(
            context.plotting_area(),
            transfer,
            objection,
            (nth, until, unit),
        )?;
    }
    page.present()
}

/// How many seconds are shown. A stall may go on for as long as it likes: where others have ended, it is cut off.
pub(super) fn shown<'a>(transfers: impl Iterator<Item = &'a Transfer> + Clone) -> f64 {
    let stalled = |transfer: &&Transfer| transfer.row.outcome == Outcome::Stall;
    let ends = |of: bool| {
        let transfers = transfers.clone().filter(move |each| stalled(each) == of);
        transfers.map(Transfer::end).fold(0.0, f64::max)
    };
    let (others, stalls) = (ends(false), ends(true));
    match others > 0.0 {
        true => (others * ROOM).max(stalls.min(others * PATIENCE)),
        false => stalls.max(0.001),
    }
}

/// The line in the units of the axes, as far as it is shown. It grows in steps, and is flat in between.
fn points(transfer: &Transfer, until: f64, unit: f64) -> Option<Vec<(f64, f64)>> {
    let carried = transfer.carried.as_ref()?;
    let mut points = vec![(0.0, 0.0)];
    let mut height = 0.0;
    for (at, sum) in carried.points.iter().take_while(|(at, _)| *at <= until) {
        points.push((*at, height));
        height = *sum as f64 / unit;
        points.push((*at, height));
    }
    points.push((transfer.end().min(until), height));
    Some(points)
}

/// As the table's sign for it, in the colour of the line.
fn mark_end(area: &Area<'_>, line: &Line<'_>, at: (f64, f64)) -> Drawn {
    let color = line.color;
    match line.transfer.row.outcome {
        Outcome::Ok => area.draw(&Circle::new(at, 7, color.filled())),
        Outcome::Reset => area.draw(&Cross::new(at, 8, color.stroke_width(4))),
        Outcome::Error => area.draw(&TriangleMarker::new(at, 9, color.filled())),
        Outcome::Stall => {
            let square = EmptyElement::at(at) + Rectangle::new([(-7, -7), (7, 7)], color.filled());
            area.draw(&square)
        }
    }
}

/// A thin line up from where the line is by then, and words at its head, each lower than those of an earlier one: so
/// no line goes through words.
fn mark_invalid(
    area: &Area<'_>,
    transfer: &Transfer,
    objection: Objection,
    (nth, until, unit): (usize, f64, f64),
) -> Drawn {
    let Some(carried) = &transfer.carried else {
        return Ok(());
    };
    let x = objection.at.min(until);
    let height = carried.by(objection.at) as f64 / unit;
    let (_, pixel) = area.map_coordinate(&(x, height));
    let (_, rows) = area.get_pixel_range();
    let top = rows.start - pixel + (LETTERS + 5) * nth as i32;
    let (aside, anchor) = match x > until * 0.6 {
        true => (-ASIDE, HPos::Right),
        false => (ASIDE, HPos::Left),
    };
    let letters = (FONT, LETTERS).into_font().color(&BAD);
    let letters = letters.pos(Pos::new(anchor, VPos::Center));
    let says = format!(
        "◆ first INVALID of {}, on the {}",
        name(&transfer.row),
        objection.host
    );
    area.draw(
        &(EmptyElement::at((x, height))
            + PathElement::new(vec![(0, 0), (0, top)], BAD.stroke_width(2))
            + Text::new(says, (aside, top), letters)),
    )
}
