//! A comparison as a picture: for each work and candidate its ratio to direct, with its interval.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::bench::compare::paired::Ratio;
use crate::bench::compare::plan::{Measure, Shape, Work};
use crate::bench::compare::result::{Compared, Comparison, Figure, Setting};

/// Pixels: what a panel is wide, and what stands beside its middle.
const PANEL: i32 = 620;
const NAMES: i32 = 110;
const FIGURES: i32 = 200;
/// Pixels: what a line of a panel is high, its heading, its foot, and the title of all.
const LINE: i32 = 20;
const HEADING: i32 = 40;
const FOOT: i32 = 14;
const TITLE: i32 = 58;

/// Direct, peers, ours, our other engines: colours that differ for the colour-blind too (Okabe, Ito 2008).
const DIRECT: RGBColor = RGBColor(90, 90, 90);
const PEERS: RGBColor = RGBColor(0, 114, 178);
const OURS: RGBColor = RGBColor(213, 94, 0);
const ENGINES: RGBColor = RGBColor(204, 121, 167);
const GRID: RGBColor = RGBColor(220, 220, 220);

/// What cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw: {0}")]
pub struct Undrawable(String);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One panel: a work by the measure that it is about.
struct Panel<'a> {
    compared: &'a Compared,
    /// The right end of its scale, which all panels share.
    most: f64,
}

/// Draws a comparison as an SVG: a column for each setting of the devices, a panel for each work.
///
/// # Errors
/// If the library cannot.
pub fn svg(comparison: &Comparison) -> Result<String, Undrawable> {
    let columns: Vec<Vec<&Compared>> = comparison.settings.iter().map(panels).collect();
    let most = most(columns.iter().flatten().flat_map(|panel| &panel.figures));
    let heights = columns.iter().map(|column| {
        let panels = column.iter();
        panels.map(|compared| height(compared)).sum::<i32>()
    });
    let height = heights.max().unwrap_or(0) + TITLE + FOOT;
    let width = PANEL * columns.len().max(1) as i32;
    let mut text = String::new();
    {
        let backend = SVGBackend::with_string(&mut text, (width as u32, height as u32));
        let area = backend.into_drawing_area();
        draw(&area, comparison, &columns, most).map_err(|error| Undrawable(error.to_string()))?;
        area.present()
            .map_err(|error| Undrawable(error.to_string()))?;
    }
    Ok(text)
}

type Drawn = Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

fn draw(area: &Area<'_>, comparison: &Comparison, columns: &[Vec<&Compared>], most: f64) -> Drawn {
    area.fill(&WHITE)?;
    let terms = &comparison.terms;
    let way = match terms.shape {
        Shape::Forward => "clients come to the relay",
        Shape::Gateway => "the relay takes what passes by (TPROXY)",
    };
    let title = format!("Ratio to direct, {way}; more is better");
    text(area, &title, (12, 16), 16, HPos::Left)?;
    let rounds = match terms.rounds {
        1 => "1 round".to_owned(),
        rounds => format!("{rounds} rounds, intervals of 95 %"),
    };
    for (nth, (column, setting)) in columns.iter().zip(&comparison.settings).enumerate() {
        let left = PANEL * nth as i32;
        let heading = format!("offloads {}, {rounds}", setting.offload);
        text(area, &heading, (left + 12, 40), 13, HPos::Left)?;
        let mut top = TITLE;
        for compared in column {
            let panel = Panel { compared, most };
            panel.draw(&area.margin(top, 0, left, 0))?;
            top += height(compared);
        }
    }
    Ok(())
}

/// What is drawn of a setting: each work by what it is about.
fn panels(setting: &Setting) -> Vec<&Compared> {
    let about = |work: &Work| {
        let measures = [Measure::Gbits, Measure::Requests].into_iter();
        let of_work = measures.filter_map(|measure| setting.find(*work, measure));
        of_work.collect::<Vec<_>>()
    };
    Work::ALL.iter().flat_map(about).collect()
}

fn height(compared: &Compared) -> i32 {
    HEADING + LINE * compared.figures.len() as i32 + FOOT
}

/// The right end of the scale: everything fits, and 1 always does.
fn most<'a>(figures: impl Iterator<Item = &'a Figure>) -> f64 {
    let ends = figures.filter_map(|figure| {
        let ratio = figure.to_direct?;
        Some(ratio.interval.map_or(ratio.ratio, |interval| interval.high))
    });
    // An interval of two rounds may reach anywhere: it is cut off at twice direct.
    (ends.fold(1.0, f64::max) * 1.05).min(2.0)
}

fn color(candidate: &str) -> RGBColor {
    match candidate.split('#').next() {
        Some("direct") => DIRECT,
        Some("unmangle") => OURS,
        Some("tokio-splice" | "copy") => ENGINES,
        _ => PEERS,
    }
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, anchor: HPos) -> Drawn {
    let style = ("sans-serif", size).into_font().color(&BLACK);
    let style = style.pos(Pos::new(anchor, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))
}

fn line(area: &Area<'_>, from: (i32, i32), to: (i32, i32), style: impl Into<ShapeStyle>) -> Drawn {
    area.draw(&PathElement::new(vec![from, to], style))
}

// === impl Panel ===

impl Panel<'_> {
    fn draw(&self, area: &Area<'_>) -> Drawn {
        let Compared { work, unit, .. } = self.compared;
        let of = match (work, self.compared.measure) {
            (Work::Mix, Measure::Gbits) => " (its streams)",
            (Work::Rr64Bulk, Measure::Gbits) => " (its stream)",
            (Work::Mix | Work::Rr64Bulk, _) => " (its requests)",
            _ => "",
        };
        text(area, &format!("{work}{of}"), (12, 12), 14, HPos::Left)?;
        let bottom = HEADING + LINE * self.compared.figures.len() as i32;
        for tenths in (0..).step_by(2) {
            let ratio = f64::from(tenths) / 10.0;
            if ratio > self.most {
                break;
            }
            let x = self.x(ratio);
            let style = match tenths {
                10 => DIRECT.stroke_width(1),
                _ => GRID.stroke_width(1),
            };
            line(area, (x, HEADING - 4), (x, bottom), style)?;
            text(
                area,
                &format!("{ratio:.1}"),
                (x, HEADING - 12),
                10,
                HPos::Center,
            )?;
        }
        for (nth, figure) in self.compared.figures.iter().enumerate() {
            let y = HEADING + LINE * nth as i32 + LINE / 2;
            let name = &figure.candidate;
            text(area, name, (NAMES - 6, y), 12, HPos::Right)?;
            let told = format!("{} {unit}", rounded(figure.median));
            text(area, &told, (PANEL - FIGURES + 16, y), 12, HPos::Left)?;
            if let Some(ratio) = figure.to_direct {
                self.dot(area, ratio, y, color(name))?;
            }
        }
        Ok(())
    }

    /// The ratio as a dot, its interval as a line through it.
    fn dot(&self, area: &Area<'_>, ratio: Ratio, y: i32, color: RGBColor) -> Drawn {
        if let Some(interval) = ratio.interval {
            let ends = [interval.low, interval.high].map(|ratio| self.x(ratio));
            line(area, (ends[0], y), (ends[1], y), color.stroke_width(3))?;
            // One that goes on beyond the scale has no end there.
            let inside = [interval.low, interval.high].map(|end| end <= self.most);
            for (x, _) in ends.into_iter().zip(inside).filter(|(_, inside)| *inside) {
                line(area, (x, y - 4), (x, y + 4), color.stroke_width(1))?;
            }
        }
        area.draw(&Circle::new((self.x(ratio.ratio), y), 4, color.filled()))
    }

    fn x(&self, ratio: f64) -> i32 {
        let width = f64::from(PANEL - NAMES - FIGURES);
        NAMES + (width * ratio.clamp(0.0, self.most) / self.most).round() as i32
    }
}

/// Three digits, or all before the point.
pub fn rounded(figure: f64) -> String {
    match figure {
        f if f >= 100.0 => format!("{f:.0}"),
        f if f >= 10.0 => format!("{f:.1}"),
        f if f >= 0.1 => format!("{f:.2}"),
        f => format!("{f:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::compare::gathered::tests::gathered;
    use crate::bench::compare::plan::Offload;
    use crate::bench::compare::result::FORMAT;
    use crate::bench::compare::result::tests::terms;

    fn comparison() -> Comparison {
        let (gathered, candidates) = gathered();
        let setting = |offload| gathered.told(offload, &[Work::Stream1], &candidates);
        Comparison {
            format: FORMAT,
            terms: terms(3),
            absent: Vec::new(),
            settings: vec![setting(Offload::On), setting(Offload::Off)],
            idle: Vec::new(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn every_candidate_has_a_dot_in_every_panel() {
        let drawn = svg(&comparison()).unwrap();
        let picture = roxmltree::Document::parse(&drawn).unwrap();
        let count = |name: &str| {
            let elements = picture.descendants();
            elements
                .filter(|element| element.has_tag_name(("http://www.w3.org/2000/svg", name)))
                .count()
        };
        assert_eq!(count("circle"), 2 * 4, "{drawn}");
        for name in ["direct", "haproxy", "nginx", "unmangle", "offloads off"] {
            assert!(drawn.contains(name), "{name}");
        }
    }

    #[test]
    fn a_comparison_in_which_everybody_failed_can_be_drawn() {
        let mut none = comparison();
        none.settings.clear();
        assert!(svg(&none).unwrap().contains("<svg"));
    }

    #[test]
    fn figures_keep_three_digits() {
        let told = [12_345.6, 123.4, 12.34, 1.234, 0.1234, 0.01234].map(rounded);
        assert_eq!(told, ["12346", "123", "12.3", "1.23", "0.12", "0.012"]);
    }
}
