//! The drawing of a run: faults, roles, operations, latency on one axis of time.
//!
//! Lives here: an SVG that needs nothing from outside; its colours are the page's variables. Not here: the page.
//!
//! Invariant: only numbers and words of ours go into the drawing, names of nodes are escaped.

use super::page::escaped;
use super::{FaultKind, Lane, Role, Run};
use std::fmt::Write;

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 22.0;
const FAULTS_HEIGHT: f64 = 46.0;
const LANE_HEIGHT: f64 = 26.0;
const PLOT_HEIGHT: f64 = 120.0;
const PLOT_DISTANCE: f64 = 34.0;
/// Columns of the plots.
const BINS_MAX: usize = 300;
const BIN_S_MIN: f64 = 0.1;
/// Ends of the logarithmic axis of latency, in milliseconds.
const LATENCY_MS: (f64, f64) = (0.1, 10_000.0);

/// What happened in one column of the plots.
#[derive(Clone, Debug, Default, PartialEq)]
struct Bin {
    operations: u64,
    latencies_ms: Vec<f64>,
}

/// Column width in seconds, and the columns.
fn bins(run: &Run) -> (f64, Vec<Bin>) {
    let width_s = (run.seconds / BINS_MAX as f64).max(BIN_S_MIN);
    let mut bins = vec![Bin::default(); (run.seconds / width_s).ceil().max(1.0) as usize];
    let count = bins.len();
    let is_within = |at_s: f64| (0.0..=run.seconds).contains(&at_s);
    let place =
        |at_s: f64| is_within(at_s).then_some((at_s / width_s) as usize).filter(|place| *place < count);
    for at_s in &run.acknowledged_s {
        if let Some(place) = place(*at_s) {
            bins[place].operations += 1;
        }
    }
    for (at_s, latency_ms) in &run.latencies {
        if let Some(place) = place(*at_s) {
            bins[place].latencies_ms.push(*latency_ms);
        }
    }
    bins.iter_mut().for_each(|bin| bin.latencies_ms.sort_by(f64::total_cmp));
    (width_s, bins)
}

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

/// The whole drawing.
pub(super) fn drawing(run: &Run) -> String {
    let axis = Axis { seconds: run.seconds.max(0.1) };
    let lanes_top = if run.faults.is_empty() { 8.0 } else { FAULTS_HEIGHT };
    let operations_top = lanes_top + LANE_HEIGHT * run.lanes.len() as f64 + PLOT_DISTANCE;
    let latency_top = operations_top + PLOT_HEIGHT + PLOT_DISTANCE;
    let bottom = latency_top + PLOT_HEIGHT;
    let height = bottom + 30.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Timeline of faults, roles, acknowledged writes \
         and latency\">\n"
    );
    draw_gaps(run, axis, lanes_top, bottom, &mut svg);
    draw_time(axis, operations_top, bottom, &mut svg);
    draw_faults(run, axis, bottom, &mut svg);
    for (index, lane) in run.lanes.iter().enumerate() {
        draw_lane(lane, axis, lanes_top + LANE_HEIGHT * index as f64, &mut svg);
    }
    let (width_s, bins) = bins(run);
    draw_operations(width_s, &bins, axis, operations_top, &mut svg);
    draw_latency(width_s, &bins, axis, latency_top, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    svg.write_fmt(element).expect("a string takes everything");
    svg.push('\n');
}

/// Red where no write was acknowledged, through all plots.
fn draw_gaps(run: &Run, axis: Axis, top: f64, bottom: f64, svg: &mut String) {
    for (from, to) in run.gaps() {
        let (x, width) = (axis.x(from), axis.x(to) - axis.x(from));
        put(
            svg,
            format_args!(
                "<rect class=\"gap\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>no \
                 write acknowledged for {:.2} s</title></rect>",
                bottom - top,
                to - from
            ),
        );
    }
}

fn draw_time(axis: Axis, top: f64, bottom: f64, svg: &mut String) {
    let mut at_s = 0.0;
    while at_s <= axis.seconds + 1e-9 {
        let x = axis.x(at_s);
        put(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{top:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>"
            ),
        );
        put(
            svg,
            format_args!(
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at_s} s</text>",
                bottom + 18.0
            ),
        );
        at_s += axis.step_s();
    }
}

fn draw_faults(run: &Run, axis: Axis, bottom: f64, svg: &mut String) {
    for fault in &run.faults {
        let (x, end) = (axis.x(fault.at_s), axis.x(fault.until_s));
        let class = match fault.kind {
            FaultKind::Kill => "kill",
            FaultKind::Cut => "cut",
        };
        let zone = escaped(&fault.zone);
        put(
            svg,
            format_args!(
                "<g class=\"{class}\"><title>{:.1} s: zone {zone} {}</title><line x1=\"{x:.1}\" y1=\"26\" x2=\"{x:.1}\" \
                 y2=\"{bottom:.1}\"/><rect x=\"{x:.1}\" y=\"26\" width=\"{:.1}\" height=\"8\"/><text x=\"{x:.1}\" \
                 y=\"19\">{} {zone}</text></g>",
                fault.at_s,
                fault.kind.text(),
                (end - x).max(2.0),
                fault.kind.word()
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
        let (class, text) = match role {
            Role::Primary => ("primary", "primary"),
            Role::NoLease => ("nolease", "leads without a lease: answers nothing"),
            Role::Replica => ("replica", "replica"),
            Role::Lost => ("lost", "knows of no primary"),
            Role::Down => ("down", "down"),
        };
        let (x, width) = (axis.x(*from), axis.x(to) - axis.x(*from));
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

fn draw_plot_frame(title: &str, marks: &[(String, f64)], top: f64, svg: &mut String) {
    put(svg, format_args!("<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">{title}</text>", top - 8.0));
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

fn draw_operations(width_s: f64, bins: &[Bin], axis: Axis, top: f64, svg: &mut String) {
    let rates: Vec<f64> = bins.iter().map(|bin| bin.operations as f64 / width_s).collect();
    let highest = round_up(rates.iter().copied().fold(1.0, f64::max));
    let bottom = top + PLOT_HEIGHT;
    let y = |rate: f64| bottom - rate / highest * PLOT_HEIGHT;
    let marks: Vec<(String, f64)> =
        [0.0, 0.5, 1.0].iter().map(|part| (short(part * highest), y(part * highest))).collect();
    draw_plot_frame("acknowledged a second", &marks, top, svg);
    let mut path = format!("M{:.1} {bottom:.1}", axis.x(0.0));
    for (index, rate) in rates.iter().enumerate() {
        let (from, to) = (axis.x(index as f64 * width_s), axis.x((index + 1) as f64 * width_s));
        write!(path, "L{from:.1} {0:.1}L{to:.1} {0:.1}", y(*rate)).expect("a string takes everything");
    }
    put(svg, format_args!("<path class=\"area\" d=\"{path}L{:.1} {bottom:.1}Z\"/>", axis.x(axis.seconds)));
}

fn short(number: f64) -> String {
    if number >= 1_000.0 { format!("{} k", number / 1_000.0) } else { format!("{number}") }
}

fn draw_latency(width_s: f64, bins: &[Bin], axis: Axis, top: f64, svg: &mut String) {
    let (low, high) = (LATENCY_MS.0.log10(), LATENCY_MS.1.log10());
    let bottom = top + PLOT_HEIGHT;
    let y = |ms: f64| {
        let part = (ms.max(LATENCY_MS.0).log10() - low) / (high - low);
        bottom - part.clamp(0.0, 1.0) * PLOT_HEIGHT
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
    draw_plot_frame("latency of answered calls: median, and 99 of 100", &marks, top, svg);
    for (class, per_mille) in [("p99", 990), ("p50", 500)] {
        put(
            svg,
            format_args!(
                "<path class=\"{class}\" d=\"{}\"/>",
                latency_path(width_s, bins, axis, per_mille, y)
            ),
        );
    }
}

/// A line through the columns that have something; it breaks where one has nothing.
fn latency_path(width_s: f64, bins: &[Bin], axis: Axis, per_mille: usize, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for (index, bin) in bins.iter().enumerate() {
        let count = bin.latencies_ms.len();
        if count == 0 {
            is_drawing = false;
            continue;
        }
        let ms = bin.latencies_ms[(count * per_mille).div_ceil(1_000).max(1) - 1];
        let x = axis.x((index as f64 + 0.5) * width_s);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::sample;

    #[test]
    fn each_call_falls_into_its_column() {
        let (width_s, bins) = bins(&sample());
        assert_eq!((width_s, bins.len()), (0.1, 60));
        assert_eq!(bins.iter().map(|bin| bin.operations).sum::<u64>(), 52);
        assert_eq!(bins[5].latencies_ms, [1.0]);
        assert!(bins[20..27].iter().all(|bin| bin.operations == 0));
    }

    #[test]
    fn faults_roles_and_gaps_are_drawn() {
        let svg = drawing(&sample());
        for part in
            ["kill a", "no write acknowledged for 0.9", "a: down, 2.0 to 4.0 s", "b: primary, 2.7 to 6.0 s"]
        {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
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
