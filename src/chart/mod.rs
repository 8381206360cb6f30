//! What charts and the pages around them have in common, whoever has something to show: pure.
//!
//! Charts are drawn by `plotters` in fixed colours, as files of their own need them. On a [`page`] its style sheet
//! gives the same colours another value where it is dark, and lines their dashes.

pub mod axis;
pub mod page;
pub mod palette;
