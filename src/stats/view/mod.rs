//! Histogram logs, shown: read ([`log`]), as tables ([`table`]), as text plots ([`ascii`]),
//! as pictures ([`png`]) and as a page ([`html`]).
//!
//! ```text
//! FILE… ─▶ line ─▶ decode ─▶ log ─▶ Series (file, tag, intervals, total) ─▶ table · ascii · png · html
//! ```
//! Everything here is for people and off every hot path. A tag `lost` is a series like any other in tables, but its
//! counts are also the loss in plots over time (`sherwood load` writes it so).

pub mod ascii;
pub mod canvas;
pub mod curve;
pub mod decode;
pub mod figure;
pub mod html;
pub mod line;
pub mod log;
pub mod names;
pub mod png;
pub mod table;

pub use log::{Interval, Log, Series, Unit, read, read_all};
