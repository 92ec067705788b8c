//! Lines, discs and letters on a white picture, for every PNG: no system font, no display, the same bytes everywhere.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster};
use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, PremultipliedColorU8, Stroke, Transform,
};

/// Okabe and Ito's colours, which people with any colour vision tell apart; black left out.
pub const COLORS: [[u8; 3]; 7] = [
    [0, 114, 178],
    [213, 94, 0],
    [0, 158, 115],
    [204, 121, 167],
    [230, 159, 0],
    [86, 180, 233],
    [120, 110, 20],
];
/// Of axes and letters.
pub const INK: [u8; 3] = [40, 44, 52];
/// Of the lines behind a plot.
pub const GRID: [u8; 3] = [226, 229, 234];

/// Where a text stands beside its point.
#[derive(Clone, Copy, Debug)]
pub enum Align {
    /// Behind it.
    Left,
    /// Around it.
    Center,
    /// Before it.
    Right,
}

/// A picture being drawn.
pub struct Canvas(Pixmap);

impl Canvas {
    /// A white picture of so many pixels.
    ///
    /// # Errors
    /// No memory for so large a picture.
    pub fn new(width: u32, height: u32) -> Result<Canvas, String> {
        let mut pixels = Pixmap::new(width, height).ok_or("no room for a picture")?;
        pixels.fill(Color::WHITE);
        Ok(Canvas(pixels))
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// The encoder's.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        self.0.encode_png().map_err(|e| e.to_string())
    }

    /// Draws a line through points, with round corners.
    pub fn line(&mut self, points: &[(f32, f32)], [r, g, b]: [u8; 3], width: f32) {
        let mut path = PathBuilder::new();
        for (at, &(x, y)) in points.iter().enumerate() {
            if at == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
        }
        // A path without extent draws nothing.
        let Some(path) = path.finish() else { return };
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color_rgba8(r, g, b, 255);
        let stroke =
            Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, ..Stroke::default() };
        self.0.stroke_path(&path, &paint, &stroke, Transform::identity(), None);
    }

    /// Draws a line of text; `y` is its upper edge.
    pub fn text(&mut self, x: f32, y: f32, text: &str, color: [u8; 3], align: Align) {
        let glyph = |c| get_raster(c, FontWeight::Regular, RasterHeight::Size24);
        let width = glyph(' ').map_or(0, |g| g.width());
        let whole = (width * text.chars().count()) as f32;
        let start = match align {
            Align::Left => x,
            Align::Center => x - whole / 2.0,
            Align::Right => x - whole,
        };
        for (at, c) in text.chars().enumerate() {
            let Some(glyph) = glyph(c).or_else(|| glyph('?')) else { continue };
            for (row, pixels) in glyph.rows().enumerate() {
                for (column, &strength) in pixels.iter().enumerate() {
                    let (px, py) = (start as i64 + (at * width + column) as i64, y as i64 + row as i64);
                    self.blend(px, py, color, strength);
                }
            }
        }
    }

    /// Draws a filled disc.
    pub fn disc(&mut self, x: f32, y: f32, radius: f32, [r, g, b]: [u8; 3]) {
        let Some(path) = PathBuilder::from_circle(x, y, radius) else { return };
        let mut paint = Paint { anti_alias: true, ..Paint::default() };
        paint.set_color_rgba8(r, g, b, 255);
        self.0.fill_path(&path, &paint, FillRule::Winding, Transform::identity(), None);
    }

    /// Mixes a colour into a pixel; outside of the picture nothing happens.
    fn blend(&mut self, x: i64, y: i64, color: [u8; 3], strength: u8) {
        if strength == 0 || x < 0 || y < 0 || x >= self.0.width() as i64 || y >= self.0.height() as i64 {
            return;
        }
        let at = y as usize * self.0.width() as usize + x as usize;
        let under = self.0.pixels()[at];
        let mix = |below: u8, above: u8| {
            ((below as u32 * (255 - strength as u32) + above as u32 * strength as u32) / 255) as u8
        };
        let (r, g, b) =
            (mix(under.red(), color[0]), mix(under.green(), color[1]), mix(under.blue(), color[2]));
        if let Some(pixel) = PremultipliedColorU8::from_rgba(r, g, b, 255) {
            self.0.pixels_mut()[at] = pixel;
        }
    }
}
