//! A trace as a waterfall: one row for each message, in the order in which they were sent, with a
//! light bar for the caller's wait and a dark one for the callee's work. An SVG without script.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    html::escape,
    traces::{depths, millis},
};
use crate::{
    base::time::Time,
    history::hop::{Hop, HopKind, MessageId},
};

const WIDTH: f64 = 920.0;
/// Where the bars begin.
const BARS: f64 = 380.0;
const ROW: f64 = 18.0;
const INDENT: f64 = 12.0;
/// Rows of one trace; what comes after them is counted.
const ROWS_MAX: usize = 60;

/// One message.
#[derive(Default)]
struct Row<'a> {
    path: &'a str,
    who: String,
    depth: usize,
    waits: Option<(Time, Option<Time>)>,
    works: Option<(Time, Option<Time>)>,
    error: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn see(&mut self, hop: &'a Hop) {
        let part = match hop.kind {
            HopKind::Req | HopKind::Rep => &mut self.waits,
            HopKind::In | HopKind::Out => &mut self.works,
        };
        match (hop.kind, part) {
            (HopKind::Req | HopKind::In, part) => {
                part.get_or_insert((hop.at, None));
            }
            (HopKind::Out | HopKind::Rep, Some((_, end))) => *end = Some(hop.at),
            // Its begin was lost; how long it took is known.
            (HopKind::Out | HopKind::Rep, part) => {
                let begun = hop.at.0.saturating_sub(hop.took.unwrap_or_default());
                *part = Some((Time(begun), Some(hop.at)));
            }
        }
        // The callee's words say more than the robot's name for the op.
        if self.path.is_empty() || hop.path.starts_with('/') {
            self.path = &hop.path;
        }
        let to = if hop.to.as_str().is_empty() { "all" } else { hop.to.as_str() };
        if self.who.is_empty() {
            self.who = format!("{} → {to}", hop.from);
        }
        self.error = self.error.or(hop.error.as_deref());
    }
}

/// The rows of a trace, in the order in which their messages begin.
fn rows(hops: &[Hop]) -> Vec<Row<'_>> {
    let depths = depths(hops);
    let mut places: BTreeMap<MessageId, usize> = BTreeMap::new();
    let mut rows: Vec<Row<'_>> = Vec::new();
    for hop in hops {
        let place = *places.entry(hop.message).or_insert(rows.len());
        if place == rows.len() {
            let depth = depths.get(&hop.message).copied().unwrap_or_default();
            rows.push(Row { depth, ..Row::default() });
        }
        rows[place].see(hop);
    }
    rows
}

/// The waterfall of one trace.
pub fn render(hops: &[Hop]) -> String {
    let (Some(first), Some(last)) = (hops.first(), hops.last()) else { return String::new() };
    let span = last.at.since(first.at).as_secs_f64().max(1e-6);
    let rows = rows(hops);
    let shown = rows.len().min(ROWS_MAX);
    let height = ROW * (shown + 1 + usize::from(rows.len() > shown)) as f64 + 4.0;
    let x = |at: Time| BARS + (WIDTH - BARS) * at.since(first.at).as_secs_f64() / span;
    let mut svg = format!("<svg class=\"trace\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        "<text x=\"{BARS}\" y=\"12\">0</text>\
         <text x=\"{WIDTH}\" y=\"12\" text-anchor=\"end\">{}</text>",
        millis((span * 1e9) as u128)
    );
    for (n, row) in rows.iter().take(ROWS_MAX).enumerate() {
        let y = ROW * (n + 1) as f64;
        let bad = if row.error.is_some() { " bad" } else { "" };
        let _ = write!(
            svg,
            "<g><title>{} {}{}</title><text class=\"{bad}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            escape(row.path),
            escape(&row.who),
            row.error.map_or(String::new(), |error| format!(": {}", escape(error))),
            INDENT * row.depth.min(12) as f64,
            y + 13.0,
            escape(row.path),
        );
        let bars = [("waits", row.waits, 3.0, 12.0), ("works", row.works, 6.0, 6.0)];
        for (class, bar, down, high) in bars {
            let Some((from, to)) = bar else { continue };
            let (from, to) = (x(from), to.map_or(WIDTH, x));
            let _ = write!(
                svg,
                "<rect class=\"{class}{bad}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                 height=\"{high}\"/>",
                y + down,
                (to - from).max(1.0),
            );
        }
        svg.push_str("</g>");
    }
    if rows.len() > shown {
        let (y, more) = (ROW * (shown + 2) as f64 - 5.0, rows.len() - shown);
        let _ = write!(svg, "<text x=\"0\" y=\"{y:.1}\">and {more} more messages</text>");
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::{super::traces::tests::sample, *};

    #[test]
    fn each_message_has_a_row_with_the_wait_and_the_work_in_it() {
        let hops = sample();
        let rows = rows(&hops);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].path, rows[0].depth), ("/v1/customer/quote", 0));
        assert_eq!((rows[1].path, rows[1].depth), ("/core/fare/quote", 1));
        assert_eq!(rows[1].error, Some("Invalid: out of town"));
        assert_eq!(rows[0].waits, Some((Time(0), Some(Time(16_500_000)))));
        assert_eq!(rows[0].works, Some((Time(8_000_000), Some(Time(8_500_000)))));
        let svg = render(&hops);
        assert_eq!(svg.matches("<rect").count(), 4, "{svg}");
        assert!(svg.contains("16.500 ms") && svg.contains("class=\"works bad\""), "{svg}");
    }

    #[test]
    fn an_end_without_its_begin_is_drawn_by_its_length() {
        let mut hops = sample();
        hops.remove(3);
        let rows = rows(&hops);
        assert_eq!(rows[1].works, Some((Time(8_200_000), Some(Time(8_300_000)))));
        assert_eq!(render(&[]), "");
    }
}
