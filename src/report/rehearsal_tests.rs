//! The text of a hand-made rehearsal against the golden one, and the shape of the JSON.

use super::*;

/// A minute: a ramp of ten seconds, 40 of demand, 10 to settle.
fn minute() -> Rehearsal {
    let ramp = |second: usize, top: f64| top * (second.min(10) as f64) / 10.0;
    let while_demand =
        |second: usize, value: f64| if (10..50).contains(&second) { value } else { 0.0 };
    let seconds = || 0..60_usize;
    let updates: Vec<f64> = seconds().map(|s| ramp(s, 1_600.0)).collect();
    let drivers: Vec<f64> = seconds().map(|s| ramp(s, 12_000.0)).collect();
    let requests: Vec<f64> =
        seconds().map(|s| while_demand(s, 9_000.0 + 6_000.0 * (s % 2) as f64)).collect();
    let weight: Vec<f64> = updates.iter().map(|rate| rate * 420.0).collect();
    let total = updates.iter().sum::<f64>();
    Rehearsal {
        schema: SCHEMA,
        tool: "robot-city 0.1.0".into(),
        scenario: "by-hand".into(),
        seed: "7".into(),
        basis: Basis {
            way: Way::Sampled,
            demand_s: 20.0,
            updates: 24_000,
            requests: 80,
            told: "Made by hand for a test: a text long enough that it has to be broken into two \
                   lines, since one line takes a hundred columns at most."
                .into(),
        },
        starts_at: "2026-06-19T21:30".into(),
        time_scale: 50.0,
        length_s: 60.0,
        bucket_s: 1.0,
        parts: [("fill", 0.0), ("demand", 10.0), ("settle", 50.0), ("end", 58.0)]
            .map(|(name, from_s)| Part { name: name.into(), from_s })
            .into(),
        lines: vec![
            Line::new("updates_per_s", "updates/s", updates.clone(), Some(total)),
            Line::new("requests_per_hour", "job requests/h", requests, Some(133.0)),
            Line::new("drivers", "drivers on shift", drivers, None),
            Line::new("ops_per_s", "ops/s", updates.clone(), Some(total)),
            Line::new("request_bytes_per_s", "requests", weight, Some(total * 420.0)),
        ],
        ops: vec![
            OpLine::new(OpKind::DriverPing, total, [total * 420.0, total * 120.0], updates),
            OpLine::new(OpKind::PassengerPay, 118.4, [59_200.0, 21_000.0], vec![2.4; 60]),
        ],
        warnings: vec!["two jobs would still be open at the end".into()],
    }
}

#[test]
fn the_text_is_as_committed() {
    let text = minute().render();
    let file = "tests/golden/rehearsal.txt";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(file).unwrap();
    assert_eq!(text, golden, "UPDATE_GOLDEN=1 cargo test --lib rehearsal takes the new text over");
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "wider than {WIDTH} columns: {line}");
    }
}

#[test]
fn the_json_reads_back_and_says_its_schema() {
    let rehearsal = minute();
    let json = serde_json::to_value(&rehearsal).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["basis"]["way"], "sampled");
    assert_eq!(json["ops"][0]["op"], "driver.ping");
    assert_eq!(json["lines"][0]["values"].as_array().unwrap().len(), 60);
    assert!((json["lines"][0]["peak"].as_f64().unwrap() - 1_600.0).abs() < 1e-9);
    assert_eq!(serde_json::from_value::<Rehearsal>(json).unwrap(), rehearsal);
}

#[test]
fn nothing_at_all_is_drawn_without_a_panic() {
    let empty = Rehearsal {
        length_s: 0.0,
        parts: Vec::new(),
        lines: vec![Line::new("drivers", "drivers", Vec::new(), None)],
        ops: Vec::new(),
        ..minute()
    };
    assert!(empty.render().contains("rehearsal of by-hand"));
}
