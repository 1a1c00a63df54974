//! The service map: who calls whom, health as colour, traffic as width. As SVG for the page and as
//! text for a terminal; drawn for whatever was seen.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{console::span, html::escape};
use crate::history::services::{Calls, Level, ServiceMap};

const WIDTH: f64 = 920.0;
const ROW: f64 = 34.0;
const BOX: (f64, f64) = (172.0, 22.0);
/// Strokes are no wider.
const STROKE_MAX: f64 = 9.0;
/// Share of calls that fail from which on traffic is drawn as a warning, or as bad.
const ERRORS: [f64; 2] = [0.001, 0.05];

/// Tiers from left to right; what is in none of them stands at the end.
const TIERS: [&str; 4] = ["api", "orchestration", "core", "storage"];

fn tier(service: &str) -> usize {
    let first = service.split('/').next().unwrap_or_default();
    TIERS.iter().position(|tier| *tier == first).unwrap_or(TIERS.len())
}

fn level(calls: &Calls) -> Level {
    let share = calls.errors as f64 / (calls.calls.max(1) as f64);
    if share >= ERRORS[1] {
        Level::Bad
    } else if share >= ERRORS[0] {
        Level::Warn
    } else {
        Level::Fine
    }
}

/// Where each service stands: the middle of its left side.
fn places(map: &ServiceMap) -> (BTreeMap<&str, (f64, f64)>, f64) {
    let services = map.services();
    let columns = services.keys().map(|name| tier(name)).max().unwrap_or_default();
    let step = (WIDTH - BOX.0) / (columns.max(1) as f64);
    let rows = |column| services.keys().filter(move |name| tier(name) == column);
    let most = (0..=columns).map(|column| rows(column).count()).max().unwrap_or_default();
    let height = most as f64 * ROW + 10.0;
    let mut places = BTreeMap::new();
    for column in 0..=columns {
        let free = height - rows(column).count() as f64 * ROW;
        for (n, name) in rows(column).enumerate() {
            let y = free / 2.0 + (n as f64 + 0.5) * ROW;
            places.insert(*name, (column as f64 * step, y));
        }
    }
    (places, height)
}

/// The map as SVG; empty where nothing was seen.
pub fn svg(map: &ServiceMap) -> String {
    if map.calls.is_empty() {
        return String::new();
    }
    let (places, height) = places(map);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">");
    // Writing to a string cannot fail.
    for calls in &map.calls {
        let (Some(from), Some(to)) = (places.get(&*calls.from), places.get(&*calls.to)) else {
            continue;
        };
        let (x1, x2) = (from.0 + BOX.0, if to.0 > from.0 { to.0 } else { to.0 + BOX.0 });
        let bend = if to.0 > from.0 { (x2 - x1) / 2.0 } else { 40.0 };
        let width = (0.6 + (1.0 + calls.per_s).ln()).min(STROKE_MAX);
        let _ = write!(
            svg,
            "<path class=\"arc {}\" stroke-width=\"{width:.1}\" d=\"M{x1:.0} {:.0} C{:.0} {:.0} \
             {:.0} {:.0} {x2:.0} {:.0}\"><title>{} → {}: {}</title></path>",
            level(calls).word(),
            from.1,
            x1 + bend,
            from.1,
            if to.0 > from.0 { x2 - bend } else { x2 + bend },
            to.1,
            to.1,
            escape(&calls.from),
            escape(&calls.to),
            escape(&told(calls)),
        );
    }
    for (name, level) in map.services() {
        let Some((x, y)) = places.get(name) else { continue };
        let _ = write!(
            svg,
            "<rect class=\"service {}\" x=\"{x:.0}\" y=\"{:.0}\" width=\"{}\" height=\"{}\" \
             rx=\"4\"/><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            level.word(),
            y - BOX.1 / 2.0,
            BOX.0,
            BOX.1,
            x + BOX.0 / 2.0,
            y + 4.0,
            escape(name),
        );
    }
    svg.push_str("</svg>");
    svg
}

fn told(calls: &Calls) -> String {
    let mut words = format!("{:.1}/s", calls.per_s);
    if calls.calls > 0 {
        let _ = write!(words, ", p50 {}, p99 {}", span(calls.p50_us), span(calls.p99_us));
    }
    if calls.errors > 0 {
        let _ = write!(words, ", {} of {} failed", calls.errors, calls.calls);
    }
    words
}

/// The map as text: one line for each pair, under who calls.
pub fn text(map: &ServiceMap) -> String {
    let levels = map.services();
    let word = |name: &str| match levels.get(name) {
        Some(Level::Fine) | None => String::new(),
        Some(level) => format!(" [{}]", level.word()),
    };
    let mut text = String::new();
    let mut last = None;
    for calls in &map.calls {
        if last != Some(&calls.from) {
            let _ = writeln!(text, "{}{}", calls.from, word(&calls.from));
            last = Some(&calls.from);
        }
        let to = format!("{}{}", calls.to, word(&calls.to));
        let _ = writeln!(text, "  → {to:<30} {}", told(calls));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::services::Instance;

    fn map() -> ServiceMap {
        let calls = |from: &str, to: &str, errors| Calls {
            from: from.into(),
            to: to.into(),
            calls: 100,
            errors,
            per_s: 12.5,
            p99_us: 1_500,
            ..Calls::default()
        };
        let core = Instance {
            name: "a/core-1".into(),
            services: vec!["core/job".into(), "core/<odd>".into()],
            ..Instance::default()
        };
        let api = Instance { name: "a/api-1".into(), ..Instance::default() };
        ServiceMap {
            instances: vec![api, core],
            calls: vec![
                calls("api", "core/job", 0),
                calls("api", "core/<odd>", 20),
                calls("core/job", "storage/kv", 0),
            ],
        }
    }

    #[test]
    fn every_service_and_every_arc_is_drawn_whatever_they_are_called() {
        let svg = svg(&map());
        assert_eq!(svg.matches("<path").count(), 3);
        assert_eq!(svg.matches("<rect").count(), 4);
        assert!(svg.contains("core/&lt;odd&gt;") && !svg.contains("<odd>"));
        assert!(
            svg.contains("arc bad") && svg.contains("service bad"),
            "storage: nobody serves it"
        );
        assert_eq!(super::svg(&ServiceMap::default()), "");
    }

    #[test]
    fn the_text_has_a_line_for_each_pair() {
        let text = text(&map());
        assert!(text.contains("12.5/s") && text.contains("20 of 100 failed"), "{text}");
        assert!(text.contains("storage/kv [bad]"), "{text}");
        assert_eq!(text.lines().count(), 5);
    }
}
