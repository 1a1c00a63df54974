//! Rows out of what programs print. Knows the formats, and nothing of who printed them.

use serde::{Deserialize, Serialize};
use serde_json::{Deserializer, Value};

use super::Row;

/// Characters of an input that an error quotes.
const QUOTED: usize = 60;

/// How a program prints its rows.
///
/// Cells of separated formats are always strings, an empty one is `""`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Format {
    /// An array of objects, or one object (`sqlite3 -json`, `jq`, `curl`). Nothing at all counts as
    /// no rows: that is what `sqlite3 -json` prints then.
    #[default]
    Json,
    /// One object a line (`jq -c`, `mongosh`).
    JsonLines,
    /// Comma-separated with quotes, as in RFC 4180 (`psql --csv`, `sqlite3 -csv -header`).
    Csv {
        /// Between cells.
        separator: char,
        /// The columns; without them the first line names them.
        columns: Option<Vec<String>>,
    },
    /// Cells as they are, without quotes or escapes, a tab between them (`psql -A -F $'\t' -P
    /// footer=off`, `mysql --batch --raw`, `redis-cli` with one named column).
    Tsv {
        /// The columns; without them the first line names them.
        columns: Option<Vec<String>>,
    },
}

/// Reads rows; an error ends the sentence "the output of `…`".
pub(super) fn read(output: &[u8], format: &Format) -> Result<Vec<Row>, String> {
    let text = std::str::from_utf8(output).map_err(|why| format!("is not UTF-8: {why}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Json => json(text),
        Format::JsonLines => json_lines(text),
        Format::Csv { separator, columns } => csv(text, *separator, columns.as_deref()),
        Format::Tsv { columns } => tsv(text, columns.as_deref()),
    }
}

fn json(text: &str) -> Result<Vec<Row>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let whole: Value = serde_json::from_str(text)
        .map_err(|why| format!("is not JSON: {why}; it begins with `{}`", quoted(text)))?;
    match whole {
        Value::Object(row) => Ok(vec![row]),
        Value::Array(items) => {
            let rows = items.into_iter().enumerate();
            rows.map(|(n, item)| object(item).ok_or(format!("has no object at [{n}]"))).collect()
        }
        _ => Err("is JSON, but neither an array of objects nor an object".into()),
    }
}

fn json_lines(text: &str) -> Result<Vec<Row>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(n, line)| {
            let mut values = Deserializer::from_str(line).into_iter::<Value>();
            match (values.next(), values.next()) {
                (Some(Ok(value)), None) => object(value),
                _ => None,
            }
            .ok_or_else(|| format!("has no JSON object in line {}: `{}`", n + 1, quoted(line)))
        })
        .collect()
}

fn csv(text: &str, separator: char, columns: Option<&[String]>) -> Result<Vec<Row>, String> {
    let separator = u8::try_from(separator).ok().filter(u8::is_ascii).ok_or_else(|| {
        format!("cannot be read: `{separator}` is not ASCII, which a separator must be")
    })?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        // A row of another length is told in words of our own.
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut lines = reader.records().map(|record| {
        let record = record.map_err(|why| format!("is not CSV: {why}"))?;
        let line = record.position().map_or(0, csv::Position::line);
        Ok((line, record.iter().map(str::to_owned).collect()))
    });
    table(&mut lines, columns)
}

fn tsv(text: &str, columns: Option<&[String]>) -> Result<Vec<Row>, String> {
    let mut lines = text
        .lines()
        .zip(1..)
        .map(|(line, n)| Ok((n, line.split('\t').map(str::to_owned).collect())));
    table(&mut lines, columns)
}

type Line = Result<(u64, Vec<String>), String>;

fn table(
    lines: &mut dyn Iterator<Item = Line>,
    columns: Option<&[String]>,
) -> Result<Vec<Row>, String> {
    let columns = match (columns, lines.next()) {
        (Some(columns), first) => {
            check(columns)?;
            let first = first.into_iter();
            return rows(&mut first.chain(lines), columns);
        }
        (None, Some(header)) => header?.1,
        // Not even a header: some programs print none without rows.
        (None, None) => return Ok(Vec::new()),
    };
    check(&columns)?;
    rows(lines, &columns)
}

fn rows(lines: &mut dyn Iterator<Item = Line>, columns: &[String]) -> Result<Vec<Row>, String> {
    lines
        .map(|line| {
            let (n, cells) = line?;
            if cells.len() != columns.len() {
                return Err(format!(
                    "has {} cells in line {n} and {} columns: `{}`{}",
                    cells.len(),
                    columns.len(),
                    quoted(&cells.join(" ")),
                    hint(&cells),
                ));
            }
            let cells = cells.into_iter().map(Value::from);
            Ok(columns.iter().cloned().zip(cells).collect())
        })
        .collect()
}

fn check(columns: &[String]) -> Result<(), String> {
    for (n, name) in columns.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("has no name for column {}", n + 1));
        }
        if columns[..n].contains(name) {
            return Err(format!("has two columns named `{name}`: name them apart (`AS`)"));
        }
    }
    Ok(())
}

/// What people leave out.
fn hint(cells: &[String]) -> &'static str {
    match cells {
        [only] if only.starts_with('(') && only.ends_with("row)") || only.ends_with("rows)") => {
            "; psql prints no such line with --csv or -P footer=off"
        }
        _ => "",
    }
}

fn object(value: Value) -> Option<Row> {
    match value {
        Value::Object(row) => Some(row),
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    match line.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(output: &str, format: &Format) -> Result<Value, String> {
        read(output.as_bytes(), format).map(|rows| rows.into_iter().map(Value::from).collect())
    }

    fn csv() -> Format {
        Format::Csv { separator: ',', columns: None }
    }

    fn tsv() -> Format {
        Format::Tsv { columns: None }
    }

    #[test]
    fn json_is_an_array_an_object_or_nothing() {
        let two = json!([{"a": 1}, {"a": {"b": null}}]);
        assert_eq!(rows(&two.to_string(), &Format::Json).unwrap(), two);
        assert_eq!(rows("{\"a\": 1}\n", &Format::Json).unwrap(), json!([{"a": 1}]));
        assert_eq!(rows("\n", &Format::Json).unwrap(), json!([]));
        let why = |text| rows(text, &Format::Json).unwrap_err();
        assert!(why("[{}, 1]").contains("no object at [1]"));
        assert!(why("7").contains("neither"));
        assert!(why("psql: error").contains("begins with `psql: error`"));
    }

    #[test]
    fn lines_of_json_hold_an_object_each() {
        let text = "{\"a\": 1}\n\n{\"a\": 2}\n";
        assert_eq!(rows(text, &Format::JsonLines).unwrap(), json!([{"a": 1}, {"a": 2}]));
        assert_eq!(rows("", &Format::JsonLines).unwrap(), json!([]));
        for bad in ["{}\n[1]", "{}\n{} {}", "{}\n{"] {
            let why = rows(bad, &Format::JsonLines).unwrap_err();
            assert!(why.contains("in line 2"), "{why}");
        }
    }

    #[test]
    fn csv_has_a_header_and_quotes() {
        let text = "id,name\n1,\"O'Brien, \"\"Bob\"\"\"\n2,\"two\nlines\"\n3,\n";
        let expected = json!([
            {"id": "1", "name": "O'Brien, \"Bob\""}, {"id": "2", "name": "two\nlines"},
            {"id": "3", "name": ""},
        ]);
        assert_eq!(rows(text, &csv()).unwrap(), expected);
        assert_eq!(rows("", &csv()).unwrap(), json!([]));
        let pipes = Format::Csv { separator: '|', columns: None };
        assert_eq!(rows("\u{feff}id|n\n1|2", &pipes).unwrap(), json!([{"id": "1", "n": "2"}]));
        let wide = Format::Csv { separator: '·', columns: None };
        assert!(rows("a", &wide).unwrap_err().contains("ASCII"));
    }

    #[test]
    fn tsv_takes_cells_as_they_are() {
        let text = "id\tname\n1\t\"quoted\\n\"\n2\t\n";
        let expected = json!([{"id": "1", "name": "\"quoted\\n\""}, {"id": "2", "name": ""}]);
        assert_eq!(rows(text, &tsv()).unwrap(), expected);
        let named = Format::Tsv { columns: Some(vec!["driver".into()]) };
        assert_eq!(rows("d1\nd2\n", &named).unwrap(), json!([{"driver": "d1"}, {"driver": "d2"}]));
    }

    #[test]
    fn rows_that_do_not_fit_are_told_with_their_line() {
        let why = rows("id\tname\n1\ta\n(1 row)\n", &tsv()).unwrap_err();
        assert!(why.contains("1 cells in line 3") && why.contains("footer=off"), "{why}");
        let why = rows("id,name\n1,a\n2\n", &csv()).unwrap_err();
        assert!(why.contains("1 cells in line 3") && !why.contains("footer"), "{why}");
        assert!(rows("id,id\n1,2\n", &csv()).unwrap_err().contains("two columns named `id`"));
        assert!(rows("id,\n1,2\n", &csv()).unwrap_err().contains("no name for column 2"));
        assert!(read(&[0xff], &csv()).unwrap_err().contains("UTF-8"));
    }
}
