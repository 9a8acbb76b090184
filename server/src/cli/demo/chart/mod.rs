//! The drawing of a run: faults, roles, writes, latency on one axis of time.
//!
//! Lives here: an SVG that needs nothing from outside; its colours are the page's variables. What a column holds is told
//! where the pointer rests, without a script. Not here: the page, the cutting into columns (`bins`).
//!
//! Invariant: only numbers and words of ours go into the drawing, names of nodes are escaped.

mod bins;

use super::page::escaped;
use super::{FaultKind, Lane, Run, grouped};
use bins::{Bin, Bins};
use std::fmt::Write;

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 22.0;
const FAULTS_HEIGHT: f64 = 46.0;
const LANE_HEIGHT: f64 = 26.0;
const PLOT_HEIGHT: f64 = 130.0;
/// Room above a plot, for its title and key.
const PLOT_HEAD: f64 = 42.0;
/// Room below all, for the axis of time and what it means.
const FOOT: f64 = 46.0;
/// With more of them than this their words would cover each other; they are told where the pointer rests.
const LABELS_MAX: usize = 16;
/// Ends of the logarithmic axis of latency, in milliseconds.
const LATENCY_MS: (f64, f64) = (0.1, 10_000.0);

/// The axis of time.
#[derive(Clone, Copy)]
struct Axis {
    seconds: f64,
}

impl Axis {
    fn x(self, at_s: f64) -> f64 {
        LEFT + (at_s / self.seconds).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    /// A distance between marks that leaves about ten of them.
    fn step_s(self) -> f64 {
        let steps = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];
        steps.into_iter().find(|step| self.seconds / step <= 12.0).unwrap_or(600.0)
    }
}

/// From where to where a part of the drawing reaches, downwards.
#[derive(Clone, Copy)]
struct Band {
    top: f64,
    bottom: f64,
}

impl Band {
    fn below(top: f64, height: f64) -> Band {
        Band { top, bottom: top + height }
    }

    fn height(self) -> f64 {
        self.bottom - self.top
    }
}

/// The whole drawing.
pub(super) fn drawing(run: &Run) -> String {
    let axis = Axis { seconds: run.seconds.max(0.1) };
    let lanes_top = if run.faults.is_empty() { 8.0 } else { FAULTS_HEIGHT };
    let lanes = Band::below(lanes_top, LANE_HEIGHT * run.lanes.len() as f64);
    let writes = Band::below(lanes.bottom + PLOT_HEAD, PLOT_HEIGHT);
    let latency = Band::below(writes.bottom + PLOT_HEAD, PLOT_HEIGHT);
    let height = latency.bottom + FOOT;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of faults, roles, acknowledged writes \
         and latency\">\n"
    );
    let bins = Bins::of(run);
    draw_gaps(run, axis, Band { top: lanes.top, bottom: latency.bottom }, &mut svg);
    draw_time(axis, writes, latency, &mut svg);
    draw_faults(run, axis, latency.bottom, &mut svg);
    for (index, lane) in run.lanes.iter().enumerate() {
        draw_lane(lane, axis, lanes.top + LANE_HEIGHT * index as f64, &mut svg);
    }
    draw_writes(&bins, axis, writes, &mut svg);
    draw_latency(&bins, axis, latency, &mut svg);
    draw_gap_lengths(run, axis, writes, &mut svg);
    draw_columns(run, &bins, axis, Band { top: writes.top, bottom: latency.bottom }, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    svg.write_fmt(element).expect("a string takes everything");
    svg.push('\n');
}

/// Red where no write was acknowledged, through all plots.
fn draw_gaps(run: &Run, axis: Axis, band: Band, svg: &mut String) {
    for (from, to) in run.gaps() {
        let (x, width) = (axis.x(from), axis.x(to) - axis.x(from));
        let (top, height) = (band.top, band.height());
        put(
            svg,
            format_args!(
                "<rect class=\"gap\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>no \
                 write acknowledged for {:.2} s</title></rect>",
                to - from
            ),
        );
    }
}

/// How long each of them was, where there is room for words.
fn draw_gap_lengths(run: &Run, axis: Axis, plot: Band, svg: &mut String) {
    let gaps = run.gaps();
    if gaps.len() > LABELS_MAX {
        return;
    }
    for (from, to) in gaps {
        let (x, y) = (axis.x((from + to) / 2.0), plot.top + 13.0);
        put(
            svg,
            format_args!(
                "<text class=\"length\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{:.2} s</text>",
                to - from
            ),
        );
    }
}

fn draw_time(axis: Axis, writes: Band, latency: Band, svg: &mut String) {
    let mut at_s = 0.0;
    while at_s <= axis.seconds + 1e-9 {
        let x = axis.x(at_s);
        for Band { top, bottom } in [writes, latency] {
            put(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>"
                ),
            );
        }
        let y = latency.bottom + 18.0;
        put(
            svg,
            format_args!(
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{at_s} s</text>"
            ),
        );
        at_s += axis.step_s();
    }
    let (x, y) = ((LEFT + WIDTH - RIGHT) / 2.0, latency.bottom + 36.0);
    put(
        svg,
        format_args!(
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">seconds since the begin</text>"
        ),
    );
}

fn draw_faults(run: &Run, axis: Axis, bottom: f64, svg: &mut String) {
    for fault in &run.faults {
        let (x, end) = (axis.x(fault.at_s), axis.x(fault.until_s));
        let class = match fault.kind {
            FaultKind::Kill => "kill",
            FaultKind::Cut => "cut",
        };
        let zone = escaped(&fault.zone);
        let word = fault.kind.word();
        let label = match run.faults.len() > LABELS_MAX {
            true => String::new(),
            false => format!("<text x=\"{x:.1}\" y=\"19\">{word} {zone}</text>"),
        };
        put(
            svg,
            format_args!(
                "<g class=\"{class}\"><title>{:.1} to {:.1} s: zone {zone} {}</title><line x1=\"{x:.1}\" y1=\"26\" \
                 x2=\"{x:.1}\" y2=\"{bottom:.1}\"/><rect x=\"{x:.1}\" y=\"26\" width=\"{:.1}\" height=\"8\"/>{label}</g>",
                fault.at_s,
                fault.until_s,
                fault.kind.text(),
                (end - x).max(2.0),
            ),
        );
    }
}

fn draw_lane(lane: &Lane, axis: Axis, top: f64, svg: &mut String) {
    let name = escaped(&lane.name);
    put(
        svg,
        format_args!(
            "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">zone {name}</text>",
            LEFT - 10.0,
            top + 15.0
        ),
    );
    for (index, (from, role)) in lane.roles.iter().enumerate() {
        let to = lane.roles.get(index + 1).map_or(axis.seconds, |next| next.0);
        let (x, width) = (axis.x(*from), axis.x(to) - axis.x(*from));
        let (class, text) = (role.class(), role.text());
        if width > 0.05 {
            put(
                svg,
                format_args!(
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" \
                     rx=\"3\"><title>{name}: {text}, {from:.1} to {to:.1} s</title></rect>",
                    top + 2.0,
                    LANE_HEIGHT - 6.0
                ),
            );
        }
    }
}

/// Title, key, and the marks of the upright axis, each with its height.
fn draw_plot_frame(title: &str, key: &[(&str, &str)], marks: &[(String, f64)], plot: Band, svg: &mut String) {
    let y = plot.top - 12.0;
    put(svg, format_args!("<text class=\"title\" x=\"{LEFT}\" y=\"{y:.1}\">{title}</text>"));
    let mut x = WIDTH - RIGHT;
    for (class, text) in key.iter().rev() {
        put(
            svg,
            format_args!("<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>"),
        );
        // A generous width for these letters, then the line that they explain.
        x -= text.chars().count() as f64 * 6.6 + 8.0;
        let (from, middle) = (x - 22.0, y - 4.0);
        put(svg, format_args!("<path class=\"{class}\" d=\"M{from:.1} {middle:.1}H{x:.1}\"/>"));
        x = from - 20.0;
    }
    for (text, y) in marks {
        put(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\"/><text class=\"tick\" \
                 x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 10.0,
                y + 4.0
            ),
        );
    }
}

/// The next 1, 2 or 5 with zeros that is not below.
fn round_up(number: f64) -> f64 {
    let power = 10_f64.powf(number.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|it| *it >= number).unwrap_or(number)
}

fn draw_writes(bins: &Bins, axis: Axis, plot: Band, svg: &mut String) {
    let highest = round_up(bins.rates().fold(1.0, f64::max));
    let y = |rate: f64| plot.bottom - rate / highest * PLOT_HEIGHT;
    let marks: Vec<(String, f64)> =
        [0.0, 0.5, 1.0].iter().map(|part| (short(part * highest) + " /s", y(part * highest))).collect();
    draw_plot_frame("writes acknowledged a second", &[], &marks, plot, svg);
    let mut path = format!("M{:.1} {:.1}", axis.x(0.0), plot.bottom);
    for (index, rate) in bins.rates().enumerate() {
        let (from, to) = (axis.x(index as f64 * bins.width_s), axis.x((index + 1) as f64 * bins.width_s));
        write!(path, "L{from:.1} {0:.1}L{to:.1} {0:.1}", y(rate)).expect("a string takes everything");
    }
    let end = axis.x(axis.seconds);
    put(svg, format_args!("<path class=\"area\" d=\"{path}L{end:.1} {:.1}Z\"/>", plot.bottom));
}

fn short(number: f64) -> String {
    if number >= 1_000.0 { format!("{} k", number / 1_000.0) } else { format!("{number}") }
}

fn draw_latency(bins: &Bins, axis: Axis, plot: Band, svg: &mut String) {
    let (low, high) = (LATENCY_MS.0.log10(), LATENCY_MS.1.log10());
    let y = |ms: f64| {
        let part = (ms.max(LATENCY_MS.0).log10() - low) / (high - low);
        plot.bottom - part.clamp(0.0, 1.0) * PLOT_HEIGHT
    };
    let marks: Vec<(String, f64)> = [
        (0.1, "0.1 ms"),
        (1.0, "1 ms"),
        (10.0, "10 ms"),
        (100.0, "0.1 s"),
        (1_000.0, "1 s"),
        (10_000.0, "10 s"),
    ]
    .into_iter()
    .map(|(ms, text)| (text.to_owned(), y(ms)))
    .collect();
    let key = [("p50", "median"), ("p99", "99 of 100")];
    draw_plot_frame(
        "latency of answered calls, from 0.1 ms to 10 s by powers of ten",
        &key,
        &marks,
        plot,
        svg,
    );
    for (class, per_mille) in [("p99", 990), ("p50", 500)] {
        let path = latency_path(bins, axis, per_mille, y);
        put(svg, format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
    }
}

/// A line through the columns that have something; it breaks where one has nothing.
fn latency_path(bins: &Bins, axis: Axis, per_mille: usize, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for (index, bin) in bins.list.iter().enumerate() {
        let Some(ms) = bin.latency_ms(per_mille) else {
            is_drawing = false;
            continue;
        };
        let x = axis.x((index as f64 + 0.5) * bins.width_s);
        let step = if is_drawing { 'L' } else { 'M' };
        write!(path, "{step}{x:.1} {:.1}", y(ms)).expect("a string takes everything");
        if !is_drawing {
            // A column alone still shows, as a short line.
            write!(path, "h1").expect("a string takes everything");
        }
        is_drawing = true;
    }
    path
}

/// A veil over each column of the plots, which tells what the column holds.
fn draw_columns(run: &Run, bins: &Bins, axis: Axis, plots: Band, svg: &mut String) {
    let gaps = run.gaps();
    let (top, height) = (plots.top, plots.height());
    svg.push_str("<g class=\"columns\">\n");
    for (index, (bin, rate)) in bins.list.iter().zip(bins.rates()).enumerate() {
        let (from_s, to_s) = (index as f64 * bins.width_s, (index + 1) as f64 * bins.width_s);
        let (x, end) = (axis.x(from_s), axis.x(to_s));
        let middle_s = (from_s + to_s) / 2.0;
        let gap = gaps.iter().find(|(from, to)| (*from..*to).contains(&middle_s));
        let story = told(bin, rate, gap.map(|(from, to)| to - from));
        put(
            svg,
            format_args!(
                "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{from_s:.1} to \
                 {to_s:.1} s: {story}</title></rect>",
                end - x
            ),
        );
    }
    svg.push_str("</g>\n");
}

/// A column in words.
fn told(bin: &Bin, rate: f64, gap_s: Option<f64>) -> String {
    let mut text = match gap_s {
        Some(length) => format!("no write acknowledged, for {length:.2} s in all"),
        None => format!("{} writes a second", grouped(rate.round() as u64)),
    };
    if let (Some(median), Some(slow)) = (bin.latency_ms(500), bin.latency_ms(990)) {
        let calls = bin.latencies_ms.len();
        text += &format!("; {calls} answers, median {median:.1} ms, 99 of 100 within {slow:.1} ms");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::sample;

    #[test]
    fn faults_roles_and_gaps_are_drawn_and_told() {
        let svg = drawing(&sample());
        for part in [
            ">kill a</text>",
            "no write acknowledged for 0.9",
            ">0.90 s</text>",
            "a: down, 2.0 to 4.0 s",
            "b: primary, 2.7 to 6.0 s",
            "2.0 to 4.0 s: zone a killed (kill -9)",
            "0.5 to 0.6 s: 20 writes a second; 1 answers, median 1.0 ms, 99 of 100 within 1.0 ms",
            "2.2 to 2.3 s: no write acknowledged, for 0.90 s in all",
            "seconds since the begin",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn where_there_is_no_room_words_wait_for_the_pointer() {
        let mut run = sample();
        run.faults = vec![run.faults[0].clone(); LABELS_MAX + 1];
        let svg = drawing(&run);
        assert!(!svg.contains(">kill a</text>") && svg.contains("zone a killed"), "{svg}");
    }

    #[test]
    fn an_empty_run_is_drawn_too() {
        let svg = drawing(&Run::default());
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (number, round) in [(0.3, 1.0), (1.0, 1.0), (1_201.0, 2_000.0), (5_001.0, 10_000.0)] {
            assert_eq!(round_up(number), round);
        }
    }
}
