//! Draws a [`Figure`] as SVG.
//!
//! plotters draws; where things are is decided here, because a figure for people has its names at its lines and its finding on top.
//! Its backend knows whole pixels only, so the canvas is drawn at twice its size.

use crate::figure::{Axis, Figure, Ink, Line, Panel};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

const SCALE: i32 = 2;
const WIDTH: i32 = 860;
const MARGIN: i32 = 24;
const TOP: i32 = 98;
const PANEL: i32 = 218;
const GAP: i32 = 30;
/// Room for the numbers on the left of a panel, and for the names on its right.
const LEFT: i32 = 46;
const RIGHT: i32 = 138;

const TEXT: RGBColor = RGBColor(0x1f, 0x29, 0x33);
const SOFT: RGBColor = RGBColor(0x6b, 0x76, 0x84);
const GRID: RGBColor = RGBColor(0xe8, 0xeb, 0xef);
const SHADE: RGBColor = RGBColor(0xf6, 0xef, 0xe2);

const fn rgb(ink: Ink) -> RGBColor {
    match ink {
        Ink::Blue => RGBColor(0x1f, 0x6f, 0xd6),
        Ink::Red => RGBColor(0xcf, 0x3b, 0x3b),
        Ink::Green => RGBColor(0x1d, 0x8f, 0x63),
        Ink::Amber => RGBColor(0xc9, 0x7a, 0x12),
        Ink::Violet => RGBColor(0x7a, 0x4f, 0xc4),
        Ink::Grey => RGBColor(0x8a, 0x94, 0xa0),
    }
}

/// The figure as the text of an SVG file.
pub(crate) fn svg(figure: &Figure) -> Result<String, Box<dyn std::error::Error>> {
    let rows = if figure.side_by_side { 1 } else { figure.panels.len() as i32 };
    let height = TOP + rows * (PANEL + GAP + 22) - GAP + 16 + 8;
    let mut text = String::new();
    {
        let size = ((WIDTH * SCALE) as u32, (height * SCALE) as u32);
        let canvas = SVGBackend::with_string(&mut text, size).into_drawing_area();
        canvas.fill(&WHITE)?;
        write(&canvas, (MARGIN, 22), &figure.title, 19, TEXT, HPos::Left, true)?;
        for (row, line) in figure.subtitle.lines().enumerate() {
            write(&canvas, (MARGIN, 48 + 18 * row as i32), line, 13, SOFT, HPos::Left, false)?;
        }
        let count = figure.panels.len() as i32;
        for (place, panel) in figure.panels.iter().enumerate() {
            let place = place as i32;
            let frame = if figure.side_by_side {
                let each = (WIDTH - 2 * MARGIN) / count;
                let x = MARGIN + place * each;
                // Names are written only beside the last one.
                Frame { left: x + LEFT - 6, right: x + each - 22, top: TOP + 18, bottom: TOP + PANEL }
            } else {
                let top = TOP + place * (PANEL + GAP + 22) + 18;
                let room = if panel.lines.iter().all(|line| line.name.is_empty()) { 24 } else { RIGHT };
                Frame { left: MARGIN + LEFT, right: WIDTH - MARGIN - room, top, bottom: top + PANEL - 18 }
            };
            draw(&canvas, panel, &frame, !figure.side_by_side)?;
        }
        canvas.present()?;
    }
    // Drawn at twice the size, shown at once: and no wider than the page.
    let (big, small) = (size_of(WIDTH * SCALE, height * SCALE), size_of(WIDTH, height));
    Ok(text.replacen(&big, &format!("{small} style=\"max-width:100%;height:auto\""), 1))
}

fn size_of(width: i32, height: i32) -> String {
    format!("width=\"{width}\" height=\"{height}\"")
}

struct Frame {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Frame {
    /// A place in the frame, in the canvas' own pixels.
    fn at(&self, panel: &Panel, (x, y): (f64, f64)) -> (i32, i32) {
        let across = f64::from(self.right - self.left) * panel.x.place(x);
        let up = f64::from(self.bottom - self.top) * panel.y.place(y);
        let scale = f64::from(SCALE);
        (((f64::from(self.left) + across) * scale).round() as i32, ((f64::from(self.bottom) - up) * scale).round() as i32)
    }
}

fn draw(canvas: &Canvas<'_>, panel: &Panel, frame: &Frame, names: bool) -> Drawn {
    let Axis { from: low, to: high, .. } = panel.y;
    write(canvas, (frame.left - LEFT + 6, frame.top - 22), &panel.what, 12, TEXT, HPos::Left, true)?;
    for band in &panel.bands {
        let corners = [frame.at(panel, (band.from, high)), frame.at(panel, (band.to, low))];
        canvas.draw(&Rectangle::new(corners, SHADE.filled()))?;
    }
    for (value, text) in &panel.y.ticks {
        let (_, y) = frame.at(panel, (panel.x.from, *value));
        let ends = vec![(frame.left * SCALE, y), (frame.right * SCALE, y)];
        canvas.draw(&PathElement::new(ends, GRID.stroke_width(SCALE as u32)))?;
        write(canvas, (frame.left - 8, y / SCALE), text, 11, SOFT, HPos::Right, false)?;
    }
    for (value, text) in &panel.x.ticks {
        let (x, y) = frame.at(panel, (*value, low));
        canvas.draw(&PathElement::new(vec![(x, y), (x, y + 4 * SCALE)], SOFT.stroke_width(SCALE as u32)))?;
        write(canvas, (x / SCALE, frame.bottom + 14), text, 11, SOFT, HPos::Center, false)?;
    }
    for line in panel.lines.iter().filter(|line| line.filled) {
        trace(canvas, panel, frame, line)?;
    }
    for line in panel.lines.iter().filter(|line| !line.filled) {
        trace(canvas, panel, frame, line)?;
    }
    for band in &panel.bands {
        let (left, top) = frame.at(panel, (band.from, high));
        write(canvas, (left / SCALE, top / SCALE - 8), &band.text, 11, RGBColor(0x9a, 0x77, 0x2c), HPos::Left, false)?;
    }
    for (x, y, ink, text) in &panel.notes {
        let (x, y) = frame.at(panel, (*x, *y));
        write(canvas, (x / SCALE, y / SCALE), text, 12, rgb(*ink), HPos::Left, false)?;
    }
    if names { name(canvas, panel, frame) } else { Ok(()) }
}

fn trace(canvas: &Canvas<'_>, panel: &Panel, frame: &Frame, line: &Line) -> Drawn {
    let mut path: Vec<(i32, i32)> = Vec::with_capacity(line.points.len() * 2);
    for &point in &line.points {
        let (x, y) = frame.at(panel, point);
        if let (true, Some(&(_, before))) = (line.steps, path.last()) {
            path.push((x, before));
        }
        path.push((x, y));
    }
    let (Some(&first), Some(&last)) = (path.first(), path.last()) else { return Ok(()) };
    if line.filled {
        let (_, ground) = frame.at(panel, (panel.x.from, panel.y.from));
        let around = path.iter().copied().chain([(last.0, ground), (first.0, ground)]);
        canvas.draw(&Polygon::new(around.collect::<Vec<_>>(), rgb(line.ink).mix(0.18).filled()))?;
        return Ok(());
    }
    canvas.draw(&PathElement::new(path, rgb(line.ink).stroke_width(2 * SCALE as u32)))?;
    Ok(())
}

/// The names of the lines, beside their ends, as near as they can be without running into each other.
fn name(canvas: &Canvas<'_>, panel: &Panel, frame: &Frame) -> Drawn {
    const STEP: i32 = 15;
    let mut names: Vec<(i32, &Line)> = Vec::new();
    for line in panel.lines.iter().filter(|line| !line.name.is_empty()) {
        if let Some(&last) = line.points.last() {
            names.push((frame.at(panel, last).1 / SCALE, line));
        }
    }
    names.sort_by_key(|(y, _)| *y);
    for place in 1..names.len() {
        names[place].0 = names[place].0.max(names[place - 1].0 + STEP);
    }
    let mut floor = frame.bottom + 4;
    for (y, _) in names.iter_mut().rev() {
        *y = (*y).min(floor);
        floor = *y - STEP;
    }
    for (y, line) in names {
        write(canvas, (frame.right + 8, y), &line.name, 12, rgb(line.ink), HPos::Left, true)?;
    }
    Ok(())
}

fn write(canvas: &Canvas<'_>, (x, y): (i32, i32), text: &str, size: i32, ink: RGBColor, side: HPos, bold: bool) -> Drawn {
    let family = "Inter, Helvetica Neue, Helvetica, Arial, sans-serif";
    let mut font = (family, size * SCALE).into_font();
    if bold {
        font = font.style(FontStyle::Bold);
    }
    let style = TextStyle::from(font).color(&ink).pos(Pos::new(side, VPos::Center));
    canvas.draw(&Text::new(text.to_string(), (x * SCALE, y * SCALE), style))?;
    Ok(())
}
