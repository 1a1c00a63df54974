//! `report.html`: one file, no network, no script needed to read it. Charts are drawn as SVG here;
//! the page's words and style are in `report.html.jinja`.

use std::fmt::Write as _;

use minijinja::{Environment, Value, context, value::Serde};

use super::{
    console::span,
    figures::Figures,
    service_map,
    summary::Summary,
    timeline::{Bucket, Timeline},
    waterfall,
};

const TEMPLATE: &str = include_str!("report.html.jinja");
const WIDTH: f64 = 920.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 22.0;

/// The page.
pub fn render(summary: &Summary, figures: &Figures) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.add_filter("span", |us: u64| span(us));
    environment.add_filter("fixed", |value: f64, digits: usize| format!("{value:.digits$}"));
    // The name ends in .html: values are escaped.
    environment.add_template("report.html", TEMPLATE)?;
    let charts = [
        ("Location updates a second (planned)", rate_chart(figures, &figures.pings)),
        ("Location updates: response time, ms", latency_chart(figures, &figures.pings)),
        ("Job flow: ops a second (planned)", rate_chart(figures, &figures.flow)),
        ("Job flow: response time, ms", latency_chart(figures, &figures.flow)),
    ];
    let charts: Vec<_> = charts.into_iter().map(|(title, svg)| context! { title, svg }).collect();
    let traces: Vec<_> = figures
        .traces
        .iter()
        .map(|shown| {
            let (id, why) = (shown.trace.to_string(), &shown.why);
            context! { id, why, whose => shown.trace.subject().to_string(), svg => waterfall::render(&shown.hops) }
        })
        .collect();
    environment.get_template("report.html")?.render(context! {
        s => Value::from(Serde(summary)),
        charts,
        service_map => service_map::svg(&summary.services),
        traces,
    })
}

/// A line of a chart: its CSS class and its points (seconds, value).
struct Series {
    class: &'static str,
    label: &'static str,
    points: Vec<(f64, f64)>,
}

fn rate_chart(figures: &Figures, line: &Timeline) -> String {
    let width = line.width().as_secs_f64();
    let per_s = |pick: fn(&Bucket) -> u64| {
        line.buckets().map(|(at, bucket)| (at, pick(bucket) as f64 / width)).collect()
    };
    let series = [
        Series { class: "all", label: "planned", points: per_s(Bucket::count) },
        Series { class: "ok", label: "ok", points: per_s(|b| b.outcomes[0]) },
        Series {
            class: "bad",
            label: "fail + info",
            points: per_s(|b| b.outcomes[1] + b.outcomes[2]),
        },
    ];
    draw(figures, &series)
}

fn latency_chart(figures: &Figures, line: &Timeline) -> String {
    let at = |quantile: f64| {
        line.buckets()
            .filter(|(_, bucket)| bucket.count() > 0)
            .map(|(at, bucket)| {
                (at, bucket.response_us.value_at_quantile(quantile) as f64 / 1_000.0)
            })
            .collect()
    };
    let series = [
        Series { class: "ok", label: "p50", points: at(0.5) },
        Series { class: "all", label: "p90", points: at(0.9) },
        Series { class: "bad", label: "p99", points: at(0.99) },
    ];
    draw(figures, &series)
}

/// An SVG with the faults shaded, a dashed line at time zero, and the series on top.
fn draw(figures: &Figures, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|s| &s.points);
    let end = points().map(|p| p.0).fold(1.0, f64::max);
    let top = points().map(|p| p.1).fold(1e-9, f64::max) * 1.05;
    let x = |seconds: f64| LEFT + (WIDTH - LEFT) * (seconds / end).clamp(0.0, 1.0);
    let y = |value: f64| (HEIGHT - BOTTOM) * (1.0 - value / top);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    // Writing to a string cannot fail.
    for fault in figures.faults.values() {
        let Some(from) = fault.injected.map(|at| x(at.as_secs_f64())) else { continue };
        let to = fault.healed.map_or(WIDTH, |at| x(at.as_secs_f64()));
        let _ = write!(
            svg,
            "<rect class=\"fault\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{} {}</title></rect>",
            (to - from).max(1.0),
            HEIGHT - BOTTOM,
            escape(&fault.kind),
            escape(fault.victims.first().map_or("", String::as_str)),
        );
    }
    let zero = x(figures.zero().as_secs_f64());
    let base = HEIGHT - BOTTOM;
    let _ = write!(
        svg,
        "<line class=\"zero\" x1=\"{zero:.1}\" x2=\"{zero:.1}\" y1=\"0\" y2=\"{base:.1}\"/>"
    );
    for share in [0.0, 0.5, 1.0] {
        let value = top / 1.05 * share;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/>\
             <text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{value:.1}</text>",
            y(value),
            LEFT - 6.0,
            (y(value) + 4.0).max(10.0),
        );
    }
    for second in ticks(end) {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second:.0} s</text>",
            x(second),
            HEIGHT - 6.0,
        );
    }
    for (n, line) in series.iter().enumerate() {
        let mut path = String::new();
        for (at, value) in &line.points {
            let _ = write!(path, "{:.1},{:.1} ", x(*at), y(*value));
        }
        let _ = write!(
            svg,
            "<polyline class=\"{0}\" points=\"{path}\"/>\
             <text class=\"{0}\" x=\"{1}\" y=\"12\">{2}</text>",
            line.class,
            LEFT + 10.0 + 90.0 * n as f64,
            line.label,
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Some six round moments for the axis.
fn ticks(end: f64) -> impl Iterator<Item = f64> {
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 600.0, 3_600.0, 14_400.0]
        .into_iter()
        .find(|step| end / step <= 7.0)
        .unwrap_or(86_400.0);
    (0..).map(move |n| f64::from(n) * step).take_while(move |at| *at <= end)
}

/// Text as it may stand in the page.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
