//! The page that tells of a run: one HTML file that needs nothing from outside, for light and dark screens.
//!
//! Lives here: words, tables, style. Not here: the drawing (`chart`), the judgement.
//!
//! Invariant: every text that came from outside is escaped.

use super::{FaultSeen, Role, Run, chart, grouped, middle};
use std::fmt::Write;

/// Writes the page. `history` is the name of the file with every call, beside the page.
pub fn page(run: &Run, history: &str) -> String {
    let mut html = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    html += &format!(
        "<title>Ramkeep demo: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        headline(run)
    );
    let tone = if run.is_passed() { "good" } else { "bad" };
    html += &format!(
        "<p class=\"kicker\">ramkeep demo</p>\n<h1 class=\"{tone}\">{}</h1>\n<p class=\"lead\">{}</p>\n",
        headline(run),
        lead(run)
    );
    html += &tiles(run);
    html += "<section>\n<h2>What happened</h2>\n";
    html += &legend(run);
    html += &chart::drawing(run);
    html += "</section>\n";
    html += &faults(run);
    html += &findings(run);
    html += &method(run, history);
    html += "</main>\n</body>\n</html>\n";
    html
}

/// Text that cannot be taken for markup.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

fn headline(run: &Run) -> String {
    match (run.acknowledged(), run.lost()) {
        (0, _) => "Nothing was acknowledged".to_owned(),
        (all, None) => format!("{} acknowledged writes, none of them read back", grouped(all)),
        (all, Some(lost)) => format!("{} of {} acknowledged writes lost", grouped(lost), grouped(all)),
    }
}

fn lead(run: &Run) -> String {
    match &run.against {
        Some(address) => format!(
            "Clients wrote to <code>{}</code> for {:.0} s, then read everything back.",
            escaped(address),
            run.seconds
        ),
        None => format!(
            "Three zones as processes on one machine. For {:.0} s clients wrote and read through whichever node answered, \
             while the primary’s zone was killed or cut off {} times. Then everything was read back.",
            run.seconds,
            run.faults.len()
        ),
    }
}

fn tiles(run: &Run) -> String {
    let times = run.unavailable_s();
    let seconds = |time: Option<f64>| time.map_or("none".to_owned(), |time| format!("{time:.2} s"));
    let or_unknown = |number: Option<u64>| number.map_or("unknown".to_owned(), grouped);
    let lost_tone = if run.lost() == Some(0) { "good" } else { "bad" };
    let verdict_tone = if run.verdict() == "linearizable" { "word good" } else { "word bad" };
    let mut tiles: Vec<(&str, String, &str)> = Vec::new();
    if run.against.is_none() {
        tiles.push(("faults", run.faults.len().to_string(), ""));
    }
    tiles.push(("acknowledged", grouped(run.acknowledged()), ""));
    tiles.push(("found", or_unknown(run.lost().map(|lost| run.acknowledged() - lost)), ""));
    tiles.push(("lost", or_unknown(run.lost()), lost_tone));
    tiles.push(("unavailable, median", seconds((!times.is_empty()).then(|| middle(&times))), ""));
    tiles.push(("unavailable, worst", seconds(times.last().copied()), ""));
    tiles.push(("checker", run.verdict().to_owned(), verdict_tone));
    let mut html = String::from("<dl class=\"tiles\">\n");
    for (name, value, tone) in tiles {
        writeln!(html, "<div><dt>{name}</dt><dd class=\"{tone}\">{value}</dd></div>")
            .expect("a string takes everything");
    }
    html + "</dl>\n"
}

fn legend(run: &Run) -> String {
    let mut html = String::from("<p class=\"legend\">");
    if run.against.is_none() {
        for role in Role::ALL {
            html += &format!("<span><i class=\"{}\"></i>{}</span>", role.class(), role.text());
        }
        html += "<span><i class=\"kill\"></i>killed</span><span><i class=\"cut\"></i>cut off</span>";
    }
    html + "<span><i class=\"gap\"></i>no write acknowledged</span></p>\n"
}

/// The faults; with a server that is not ours, the times in which it was unavailable.
fn faults(run: &Run) -> String {
    let longest = run.unavailable_s().last().copied().unwrap_or(0.0);
    if run.against.is_some() {
        let rows: Vec<String> = run
            .gaps()
            .iter()
            .map(|(from, to)| format!("<td>{from:.1} s</td>{}", time_cell(Some(to - from), longest)))
            .collect();
        return table("Unavailable", &["from", "for"], &rows);
    }
    let or_nobody = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    let row = |fault: &FaultSeen| {
        format!(
            "<td>{:.1} s</td><td>{}</td><td class=\"{}\">{}</td><td>{}</td>{}<td>{:.1} s</td>",
            fault.at_s,
            escaped(&fault.zone),
            fault.kind.word(),
            fault.kind.text(),
            or_nobody(fault.successor.as_deref().map(escaped)),
            time_cell(fault.unavailable_s, longest),
            fault.until_s
        )
    };
    let rows: Vec<String> = run.faults.iter().map(row).collect();
    table(
        "Faults",
        &["at", "the primary’s zone", "was", "then served", "without writes", "taken back at"],
        &rows,
    )
}

/// A time with a bar: the longest fills its cell.
fn time_cell(time_s: Option<f64>, longest_s: f64) -> String {
    match time_s {
        Some(time) => format!(
            "<td class=\"time\"><span class=\"bar\" style=\"width: {:.0}%\"></span><span>{time:.2} s</span></td>",
            time / longest_s.max(time).max(0.001) * 100.0
        ),
        None => "<td>never again</td>".to_owned(),
    }
}

/// A section with numbered rows; nothing where there are none.
fn table(title: &str, heads: &[&str], rows: &[String]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    let mut html = format!(
        "<section>\n<h2>{title}</h2>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">no.</th>{heads}</tr></thead>\n\
         <tbody>\n"
    );
    for (index, row) in rows.iter().enumerate() {
        writeln!(html, "<tr><td>{}</td>{row}</tr>", index + 1).expect("a string takes everything");
    }
    html + "</tbody>\n</table></div>\n</section>\n"
}

fn findings(run: &Run) -> String {
    let all: Vec<&String> = run.complaints.iter().chain(&run.violations).chain(&run.undecided).collect();
    if all.is_empty() {
        return String::new();
    }
    let items: String = all.iter().map(|text| format!("<li><pre>{}</pre></li>\n", escaped(text))).collect();
    format!("<section>\n<h2 class=\"bad\">Found</h2>\n<ul>\n{items}</ul>\n</section>\n")
}

fn method(run: &Run, history: &str) -> String {
    format!(
        "<section>\n<h2>How it was found out</h2>\n<ul>\n\
         <li>{} keys were written once each. Every one whose <code>SET</code> was answered <code>OK</code> was read back at \
         the end and compared.</li>\n\
         <li>{} more calls (registers, counters, hashes, lists, transactions with <code>WATCH</code>, <code>SCAN</code> loops) \
         went to a few keys that all clients share. The checker looked for one order of them that explains every answer and agrees with real time, and \
         whether the final read shows the last acknowledged write of each key. It took {:.1} s.</li>\n\
         <li>A call whose answer never came may have happened or not; it is never counted as acknowledged.</li>\n\
         <li>“Without writes” is the time from the fault until a write that was sent after it was acknowledged.</li>\n\
         <li>Every call with its answer: <a href=\"{history}\">{history}</a>. What clients asked was drawn from seed {}; \
         the moments are the machine’s.</li>\n</ul>\n</section>\n",
        grouped(run.counted),
        grouped(run.judged_calls),
        run.judged_in_s,
        run.seed,
        history = escaped(history)
    )
}

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #fff; --ink: #1d2329; --soft: #5d6872; --line: #dcdcd4;
  --primary: #1f6feb; --replica: #b9cdea; --nolease: #d9a441; --lost: #e3dfd2; --down: #8b2f2f; --gap: rgba(214, 59, 47, .16);
  --good: #15784a; --bad: #c22f26; --cut: #b36b00; --area: #1f6feb; --p99: #a06bd6; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161b; --card: #1a2027; --ink: #e7e9ea; --soft: #98a3ad;
  --line: #2c343d; --primary: #58a6ff; --replica: #2b4a70; --nolease: #c99433; --lost: #333b44; --down: #b04a45;
  --gap: rgba(255, 99, 88, .2); --good: #3ecf8e; --bad: #ff7b72; --cut: #e3a13d; --area: #58a6ff; --p99: #c39bf0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
.kicker { margin: 0; color: var(--soft); font: 600 13px/1 ui-monospace, monospace; letter-spacing: .08em; }
h1 { margin: 10px 0 8px; font-size: clamp(28px, 5vw, 46px); line-height: 1.1; letter-spacing: -.02em; }
h2 { margin: 40px 0 12px; font-size: 20px; }
.lead { max-width: 68ch; margin: 0; color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(132px, 1fr)); gap: 10px; margin: 28px 0 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 14px; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 2px 0 0; font-size: 21px; font-weight: 650; font-variant-numeric: tabular-nums; }
dd.word { font-size: 15px; padding-top: 5px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 10px; color: var(--soft); font-size: 13px; }
.legend i { display: inline-block; width: 14px; height: 10px; margin-right: 6px; border-radius: 2px; }
i.primary { background: var(--primary); } i.replica { background: var(--replica); } i.nolease { background: var(--nolease); }
i.kill, i.cut { height: 4px; vertical-align: middle; } i.kill { background: var(--bad); } i.cut { background: var(--cut); }
i.lost { background: var(--lost); } i.down { background: var(--down); } i.gap { background: var(--gap); }
svg { display: block; width: 100%; height: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11px; } svg .title { fill: var(--soft); } svg .label { font-weight: 600; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .gap { fill: var(--gap); }
svg rect.primary { fill: var(--primary); } svg rect.replica { fill: var(--replica); } svg rect.nolease { fill: var(--nolease); }
svg rect.lost { fill: var(--lost); } svg rect.down { fill: var(--down); opacity: .75; }
svg .kill rect, svg .kill text { fill: var(--bad); } svg .kill line { stroke: var(--bad); }
svg .cut rect, svg .cut text { fill: var(--cut); } svg .cut line { stroke: var(--cut); }
svg .kill line, svg .cut line { stroke-width: 1; stroke-dasharray: 3 3; } svg .kill text, svg .cut text { font-weight: 650; }
svg .area { fill: var(--area); opacity: .55; } svg .length { fill: var(--bad); font-size: 11px; font-weight: 650; }
svg .columns rect { fill: transparent; } svg .columns rect:hover { fill: var(--ink); opacity: .12; }
svg .p50, svg .p99 { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
svg .p50 { stroke: var(--primary); } svg .p99 { stroke: var(--p99); opacity: .8; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 10px; border-bottom: 1px solid var(--line); text-align: left; } th { color: var(--soft); font-size: 13px; font-weight: 500; }
.wide { overflow-x: auto; } td.kill { color: var(--bad); } td.cut { color: var(--cut); }
td.time { position: relative; min-width: 150px; } td.time span { position: relative; }
td.time .bar { position: absolute; left: 0; top: 5px; bottom: 5px; border-radius: 4px; background: var(--gap); }
li { margin: 6px 0; max-width: 80ch; } pre { overflow-x: auto; white-space: pre-wrap; margin: 0; }
code, pre { font-family: ui-monospace, monospace; font-size: .92em; } a { color: var(--primary); }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::sample;

    #[test]
    fn the_page_stands_alone_and_says_the_same_as_the_lines() {
        let html = page(&sample(), "history.jsonl");
        for part in [
            "0 of 12 745 acknowledged writes lost",
            "<td class=\"kill\">killed (kill -9)</td><td>b</td>",
            "<span>0.75 s</span>",
            "prefers-color-scheme: dark",
            "href=\"history.jsonl\"",
            "</svg>",
        ] {
            assert!(html.contains(part), "{part}");
        }
        for outside in ["http:", "https:", "<script", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }

    #[test]
    fn what_came_from_outside_is_no_markup() {
        let mut run = sample();
        run.against = Some("redis://<script>".into());
        run.violations.push("GET \"<b>\" & more".into());
        let html = page(&run, "h");
        assert!(!html.contains("<script>") && !html.contains("<b>"));
        assert!(html.contains("&quot;&lt;b&gt;&quot; &amp; more"));
        assert!(html.contains("class=\"bad\">Found"));
    }
}
