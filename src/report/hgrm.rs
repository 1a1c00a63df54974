//! `latency.hgrm`: percentile distributions that `HdrHistogram`'s plotters read, one block an op.

use std::fmt::Write as _;

use super::figures::Figures;
use crate::history::op::OpKind;

/// Ticks for each halving of the distance to 100 %.
const TICKS: u32 = 5;

/// The text of the file; values in milliseconds, response time from the planned moment.
pub fn render(figures: &Figures) -> String {
    let mut text = String::new();
    for op in OpKind::ALL {
        let Some(seen) = figures.op(*op) else { continue };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {op}: response time, ms");
        let _ = writeln!(
            text,
            "{:>12} {:>14} {:>10} {:>14}",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        );
        let mut total = 0;
        for step in seen.response_us.iter_quantiles(TICKS) {
            total += step.count_since_last_iteration();
            let quantile = step.quantile_iterated_to();
            let value = step.value_iterated_to() as f64 / 1_000.0;
            let _ = write!(text, "{value:>12.3} {quantile:>14.12} {total:>10}");
            let _ = if quantile < 1.0 {
                writeln!(text, " {:>14.2}", 1.0 / (1.0 - quantile))
            } else {
                writeln!(text)
            };
        }
        let _ = writeln!(text);
    }
    text
}
