//! Charts in plain text: bars of eighths, and numbers as people read them. Pure functions of
//! values; knows nothing of what they mean.

/// From nothing to full, in eighths.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Bars of `values` against `top`, as `rows` lines from the highest to the lowest. A value above
/// nothing shows at least the lowest eighth.
pub fn bars(values: &[f64], top: f64, rows: usize) -> Vec<String> {
    let full = rows * 8;
    let height = |value: f64| {
        if top <= 0.0 || value <= 0.0 {
            return 0;
        }
        ((value / top * full as f64).round() as usize).clamp(1, full)
    };
    let row = |row: usize| {
        let below = (rows - 1 - row) * 8;
        values.iter().map(|value| EIGHTHS[height(*value).saturating_sub(below).min(8)]).collect()
    };
    (0..rows).map(row).collect()
}

/// The means of `values` over `columns` stretches of nearly the same length; fewer values than
/// columns are drawn wider.
pub fn columns(values: &[f64], columns: usize) -> Vec<f64> {
    let count = values.len();
    if count == 0 {
        return Vec::new();
    }
    (0..columns)
        .map(|column| {
            let from = column * count / columns;
            let to = ((column + 1) * count / columns).max(from + 1);
            values[from..to].iter().sum::<f64>() / (to - from) as f64
        })
        .collect()
}

/// A number with its thousands apart: `1,234,567`; below ten with one digit more, below a tenth with
/// two.
pub fn number(value: f64) -> String {
    if (0.005..0.095).contains(&value) {
        return format!("{value:.2}");
    }
    if value > 0.0 && value < 9.95 && (value - value.round()).abs() >= 0.05 {
        return format!("{value:.1}");
    }
    let plain = format!("{:.0}", value.max(0.0));
    let mut told = String::new();
    for (index, digit) in plain.chars().enumerate() {
        if index > 0 && (plain.len() - index).is_multiple_of(3) {
            told.push(',');
        }
        told.push(digit);
    }
    told
}

/// Bytes: `812 B`, `12.3 kB`, `1.20 GB`.
pub fn bytes(value: f64) -> String {
    match value {
        ..1e3 => format!("{value:.0} B"),
        ..1e6 => format!("{:.1} kB", value / 1e3),
        ..1e9 => format!("{:.1} MB", value / 1e6),
        ..1e12 => format!("{:.2} GB", value / 1e9),
        _ => format!("{:.2} TB", value / 1e12),
    }
}

/// Seconds: `7.5s`, `45s`, `1m 30s`, `24h`, `2d 3h`.
pub fn seconds(value: f64) -> String {
    if value < 10.0 && value.fract() >= 0.05 {
        return format!("{value:.1}s");
    }
    let whole = value.round() as u64;
    let parts = [
        (whole / 86_400, 'd'),
        (whole / 3_600 % 24, 'h'),
        (whole / 60 % 60, 'm'),
        (whole % 60, 's'),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if told.is_empty() { "0s".into() } else { told.join(" ") }
}

/// Words in lines of `width` at most, each after `indent`.
pub fn wrapped(text: &str, indent: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push('\n');
            used = 0;
        }
        let before = if used == 0 { indent } else { " " };
        lines.push_str(before);
        lines.push_str(word);
        used += before.chars().count() + length;
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_stand_on_each_other() {
        assert_eq!(bars(&[0.0, 0.01, 4.0, 8.0], 8.0, 1), [" ▁▄█"]);
        assert_eq!(bars(&[0.0, 0.01, 4.0, 6.0, 8.0], 8.0, 2), ["   ▄█", " ▁███"]);
        assert_eq!(bars(&[1.0], 0.0, 1), [" "]);
    }

    #[test]
    fn columns_keep_the_mean() {
        assert_eq!(columns(&[1.0, 3.0, 5.0, 7.0], 2), [2.0, 6.0]);
        assert_eq!(columns(&[1.0, 3.0], 4), [1.0, 1.0, 3.0, 3.0]);
        assert_eq!(columns(&[], 4), Vec::<f64>::new());
    }

    #[test]
    fn numbers_read_well() {
        let told = [0.0, 0.02, 0.44, 9.0, 999.6, 1_234_567.0].map(number);
        assert_eq!(told, ["0", "0.02", "0.4", "9", "1,000", "1,234,567"]);
        assert_eq!([999.0, 12_340.0, 1.2e9].map(bytes), ["999 B", "12.3 kB", "1.20 GB"]);
        let told = [0.0, 7.5, 90.0, 86_400.0, 183_600.0].map(seconds);
        assert_eq!(told, ["0s", "7.5s", "1m 30s", "1d", "2d 3h"]);
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        assert_eq!(wrapped("one two three", "  ", 9), "  one two\n  three\n");
    }
}
