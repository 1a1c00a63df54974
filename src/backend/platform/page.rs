//! `GET /health` of a node: everything on it as JSON, and as a small page at `/health.html`.

use std::{fmt::Write as _, rc::Rc};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    meter::Times,
    watch::{Watch, level},
};
use crate::{
    backend::wire::platform::{Level, Report, Traffic},
    base::name::NodeName,
    world::HttpHandler,
};

/// Answers the health paths itself, and hands everything else on; without anybody to hand it to
/// there is nothing else.
pub fn with_health(watch: &Watch, inner: Option<HttpHandler>) -> HttpHandler {
    let watch = watch.clone();
    Rc::new(move |request: Request<Bytes>| -> LocalBoxFuture<'static, Response<Bytes>> {
        let path = request.uri().path();
        let page = match path {
            "/health" if request.method() == Method::GET => as_json(&watch.last()),
            "/health.html" if request.method() == Method::GET => as_html(&watch.last()),
            _ => match &inner {
                Some(inner) => return inner(request),
                None => answer(StatusCode::NOT_FOUND, "text/plain", "GET /health is all there is"),
            },
        };
        Box::pin(ready(page))
    })
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<String>) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn status(report: &Report) -> StatusCode {
    if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// A level in a word.
pub fn word(level: Level) -> &'static str {
    match level {
        Level::Fine => "fine",
        Level::Warn => "warn",
        Level::Bad => "bad",
    }
}

fn traffic(report: &Report, traffic: &Traffic) -> Value {
    let mut times = Times::default();
    times.merge(&traffic.recent_times);
    let us = |share| times.quantile(share).as_micros() as u64;
    let seconds = (report.span_ms as f64 / 1_000.0).max(0.001);
    json!({
        "from": traffic.from,
        "to": traffic.to,
        "calls": traffic.calls,
        "errors": traffic.errors,
        "news": traffic.news,
        "per_s": traffic.recent_calls as f64 / seconds,
        "p50_us": us(0.5),
        "p99_us": us(0.99),
    })
}

/// A report as JSON.
pub fn of(report: &Report) -> Value {
    let instance = report.instance.clone().unwrap_or_default();
    let name = NodeName::from(instance.name.as_str());
    let checks: Vec<Value> = report
        .checks
        .iter()
        .map(|c| json!({"check": c.name, "level": word(c.level()), "what": c.what}))
        .collect();
    let all = |rows: &[Traffic]| rows.iter().map(|row| traffic(report, row)).collect::<Vec<_>>();
    json!({
        "ready": report.ready,
        "why": if report.ready { "" } else { "still starting" },
        "level": word(level(report)),
        "name": instance.name,
        "version": instance.version,
        "az": name.az(),
        "host": instance.host,
        "incarnation": instance.incarnation,
        "services": instance.services,
        "up_s": report.up_ms as f64 / 1_000.0,
        "age_ms": report.age_ms,
        "config_version": report.config_version,
        "in_flight": report.in_flight,
        "in_flight_max": report.in_flight_max,
        "refused": report.refused,
        "checks": checks,
        "served": all(&report.served),
        "calls": all(&report.calls),
    })
}

fn as_json(report: &Report) -> Response<Bytes> {
    answer(status(report), "application/json", of(report).to_string())
}

fn as_html(report: &Report) -> Response<Bytes> {
    let told = of(report);
    let text =
        |value: &Value| escape(&value.as_str().map_or_else(|| value.to_string(), String::from));
    let mut page = format!(
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2><title>{0}</title>\
         <style>body{{font:14px sans-serif;margin:2em}}td,th{{padding:.2em .8em;text-align:left}}\
         .bad{{color:#b00}}.warn{{color:#a60}}.fine{{color:#070}}</style>\
         <h1>{0} <span class={1}>{1}</span></h1><p>version {2}, machine {3}, life {4}, up {5} s",
        text(&told["name"]),
        text(&told["level"]),
        told["version"],
        text(&told["host"]),
        told["incarnation"],
        told["up_s"],
    );
    let tables: [(&str, &[&str]); 3] = [
        ("checks", &["check", "level", "what"]),
        ("served", &["to", "per_s", "calls", "errors", "p50_us", "p99_us"]),
        ("calls", &["from", "to", "per_s", "calls", "errors", "p50_us", "p99_us"]),
    ];
    // Writing to a string cannot fail.
    for (name, columns) in tables {
        let _ = write!(page, "<h2>{name}</h2><table><tr>");
        for column in columns {
            let _ = write!(page, "<th>{column}");
        }
        for row in told[name].as_array().into_iter().flatten() {
            page.push_str("<tr>");
            for column in columns {
                let _ = write!(page, "<td>{}", text(&row[*column]));
            }
        }
        page.push_str("</table>");
    }
    answer(status(report), "text/html; charset=utf-8", page)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The service map's rows: calls between services, without the platform's own.
pub fn between_services(report: &Report) -> impl Iterator<Item = &Traffic> {
    let own = |service: &str| service.starts_with("platform/");
    report.calls.iter().filter(move |row| !own(&row.to) && !own(&row.from))
}
