//! A page that stands by itself: one file, which fetches nothing and runs nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");

/// A browser that is shown the page asks nobody for anything and runs nothing, whatever is written into it.
fn policy() -> String {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
}

/// The whole page: what stands at its head, its sections, and where it comes from.
#[must_use]
pub fn page(title: &str, head: &Markup, body: &Markup, foot: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy());
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { (title) } (head) }
                main { (body) }
                footer { (foot) }
            }
        }
    };
    page.into_string()
}

/// What a chart is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Lines, told apart by their dashes as well.
    Lines,
    /// Panels beside each other, which need room.
    Panels,
}

/// A chart, with what it says for those who cannot see it.
#[must_use]
pub fn figure(of: Of, svg: &str, says: &str) -> Markup {
    let class = match of {
        Of::Lines => "lines",
        Of::Panels => "panels",
    };
    html! {
        figure.(class) role="img" aria-label=(says) tabindex="0" { (PreEscaped(svg)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::palette::{BAD, GRID, INK, LINES, hex};

    #[test]
    fn what_is_written_into_a_page_is_text() {
        let text = "<script>alert(\"&\")</script>";
        let page = page(
            text,
            &html! {},
            &html! { p title=(text) { (text) } },
            &html! {},
        );
        assert!(!page.contains("<script"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 4, "{page}");
        assert!(
            page.contains("title=\"&lt;script&gt;alert(&quot;&amp;&quot;)"),
            "{page}"
        );
    }

    #[test]
    fn every_colour_of_a_chart_has_another_where_it_is_dark() {
        for color in LINES.into_iter().chain([INK, GRID, BAD]) {
            let color = hex(color);
            let of = [
                format!("[fill=\"{color}\"]"),
                format!("[stroke=\"{color}\"]"),
            ];
            assert!(of.iter().any(|of| STYLE.contains(of)), "{color}");
        }
        for (nth, color) in LINES.into_iter().enumerate() {
            let line = format!("--line-{nth}: {};", hex(color).to_lowercase());
            assert!(STYLE.contains(&line), "{line}");
        }
    }

    #[test]
    fn every_line_but_the_first_has_its_dashes() {
        for (nth, color) in LINES.into_iter().enumerate() {
            let dashes = format!(".lines polyline[stroke=\"{}\"]", hex(color));
            assert_eq!(STYLE.contains(&dashes), nth > 0, "{nth}");
        }
    }
}
