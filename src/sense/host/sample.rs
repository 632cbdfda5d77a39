//! A parser for one sample line of the Prometheus text format, version 0.0.4.
//!
//! ```text
//! metric_name [ "{" [ label_name "=" '"' value '"' { "," label_name "=" '"' value '"' } [ "," ] ] "}" ] number [ timestamp ]
//! ```
//!
//! Each token may be surrounded by blanks and tabs. A label's value may contain any character, including braces and
//! blanks; a backslash, a quote and a line feed are written `\\`, `\"` and `\n`. The number has the format of Go's
//! `strconv.ParseFloat`: `NaN`, `+Inf` and `-Inf` are numbers.
//!
//! Source: "Exposition formats" of the Prometheus documentation.

use std::borrow::Cow;

/// One sample: a series and its value. A timestamp is checked but not stored.
#[derive(Debug, PartialEq)]
pub(in crate::sense) struct Sample<'a> {
    /// The metric and its labels as written in the line, for messages.
    pub(in crate::sense) series: &'a str,
    /// The metric's name.
    pub(in crate::sense) metric: &'a str,
    labels: Vec<Label<'a>>,
    /// The value, in the metric's unit.
    pub(in crate::sense) value: f64,
}

/// A label's name and its unescaped value.
type Label<'a> = (&'a str, Cow<'a, str>);

impl<'a> Sample<'a> {
    /// Parse a line without its line feed. Returns `None` if it is not a valid sample.
    pub(in crate::sense) fn parse(line: &'a str) -> Option<Self> {
        let line = trim(line);
        let (metric, rest) = name(line, is_metric_char)?;
        let (labels, rest) = match skip_blanks(rest).strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest.strip_prefix(BLANKS)?),
        };
        let series = trim(&line[..line.len() - rest.len()]);
        let mut fields = rest.split(BLANKS).filter(|field| !field.is_empty());
        let value = fields.next()?.parse().ok()?;
        if let Some(timestamp_ms) = fields.next() {
            timestamp_ms.parse::<i64>().ok()?;
        }
        fields.next().is_none().then_some(Sample { series, metric, labels, value })
    }

    /// All labels, by name and value.
    #[cfg(any(all(test, feature = "sim"), feature = "fuzzing"))]
    pub(super) fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (*name, value.as_ref()))
    }

    /// The value of the label `name`.
    pub(in crate::sense) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_ref())
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

fn trim(text: &str) -> &str {
    text.trim_matches(BLANKS)
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches(BLANKS)
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_metric_char(c: char) -> bool {
    is_label_char(c) || c == ':'
}

/// Split a name from the front. It can't begin with a digit.
fn name(text: &str, is_name_char: fn(char) -> bool) -> Option<(&str, &str)> {
    let length = text.find(|c| !is_name_char(c)).unwrap_or(text.len());
    let is_name = length > 0 && !text.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| text.split_at(length))
}

/// Split labels from the front, including the closing brace. Names must be unique.
fn labels(mut text: &str) -> Option<(Vec<Label<'_>>, &str)> {
    let mut labels: Vec<Label> = Vec::new();
    loop {
        text = skip_blanks(text);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (label, rest) = name(text, is_label_char)?;
        let rest = skip_blanks(rest).strip_prefix('=')?;
        let (value, rest) = quoted(skip_blanks(rest).strip_prefix('"')?)?;
        if labels.iter().any(|(earlier, _)| *earlier == label) {
            return None;
        }
        labels.push((label, value));
        text = skip_blanks(rest);
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None if text.starts_with('}') => {}
            None => return None,
        }
    }
}

/// Split a label's value from the front, including the closing quote. Borrows unless it has escapes.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type OwnedLabels<'a> = Vec<(&'a str, String)>;

    /// The metric, the labels in their order and the value.
    fn parsed(line: &str) -> Option<(&str, OwnedLabels<'_>, f64)> {
        let sample = Sample::parse(line)?;
        let labels = sample.labels.into_iter().map(|(name, value)| (name, value.into_owned()));
        Some((sample.metric, labels.collect(), sample.value))
    }

    fn labels(line: &str) -> OwnedLabels<'_> {
        parsed(line).unwrap_or_else(|| panic!("{line} is legal")).1
    }

    #[test]
    fn a_line_of_node_exporter_is_a_sample() {
        let line = r#"node_cpu_seconds_total{cpu="0",mode="idle"} 1.93725e+06"#;
        let expected = vec![("cpu", "0".to_string()), ("mode", "idle".to_string())];
        assert_eq!(parsed(line), Some(("node_cpu_seconds_total", expected, 1_937_250.0)));
        let sample = Sample::parse(line).unwrap();
        assert_eq!(sample.label("mode"), Some("idle"));
        assert_eq!(sample.label("node"), None);
        assert_eq!(sample.series, r#"node_cpu_seconds_total{cpu="0",mode="idle"}"#);
        assert_eq!(parsed("node_load1 0.5"), Some(("node_load1", vec![], 0.5)));
    }

    #[test]
    fn braces_commas_and_blanks_in_a_labels_value_end_nothing() {
        let line = r#"m{a="}",b="{x=\"1\", y}",c=" , ",d="} 7"} 1"#;
        let expected = [("a", "}"), ("b", "{x=\"1\", y}"), ("c", " , "), ("d", "} 7")];
        assert_eq!(labels(line), expected.map(|(name, value)| (name, value.to_string())));
    }

    #[test]
    fn blanks_and_tabs_may_stand_around_each_token() {
        for line in [
            r#"m{a="1",b="2"} 3"#,
            r#"m { a = "1" , b = "2" } 3"#,
            "\tm\t{\ta\t=\t\"1\"\t,\tb\t=\t\"2\"\t}\t3\t",
            r#"  m{ a="1", b="2", }  3  "#,
            r#"m{a="1",b="2"}3"#,
        ] {
            let expected = vec![("a", "1".to_string()), ("b", "2".to_string())];
            assert_eq!(parsed(line), Some(("m", expected, 3.0)), "{line}");
            assert_eq!(labels(line).len(), 2);
        }
        assert_eq!(parsed("m \t 3"), Some(("m", vec![], 3.0)));
    }

    #[test]
    fn escapes_stand_for_backslash_quote_and_line_feed() {
        assert_eq!(labels(r#"m{a="C:\\n\"\n"} 1"#), [("a", "C:\\n\"\n".to_string())]);
        assert_eq!(labels(r#"m{a="\\"} 1"#), [("a", "\\".to_string())]);
        assert_eq!(parsed(r#"m{a="\t"} 1"#), None);
    }

    #[test]
    fn there_may_be_no_labels_a_last_comma_and_a_timestamp() {
        assert_eq!(parsed("m{} 1"), Some(("m", vec![], 1.0)));
        assert_eq!(labels(r#"m{a="1",} 1"#), [("a", "1".to_string())]);
        assert_eq!(parsed(r#"m 1 1395066363000"#), Some(("m", vec![], 1.0)));
        assert_eq!(parsed(r#"m 1 -3982045"#), Some(("m", vec![], 1.0)));
        assert_eq!(Sample::parse("m{} 1 2").unwrap().series, "m{}");
    }

    #[test]
    fn infinities_and_nan_are_numbers() {
        assert_eq!(Sample::parse("m +Inf").unwrap().value, f64::INFINITY);
        assert_eq!(Sample::parse("m -Inf").unwrap().value, f64::NEG_INFINITY);
        assert!(Sample::parse("m NaN").unwrap().value.is_nan());
    }

    #[test]
    fn what_is_not_in_the_format_is_refused() {
        for line in [
            "",
            "m",
            "m ",
            "m x",
            "m 1 x",
            "m 1 2 3",
            "m 1 2.5",
            "1m 1",
            "{} 1",
            r#"m{a="1" 1"#,
            r#"m{a="1} 1"#,
            r#"m{a=1} 1"#,
            r#"m{a} 1"#,
            r#"m{,} 1"#,
            r#"m{a="1",,} 1"#,
            r#"m{a="1"b="2"} 1"#,
            r#"m{a="1",a="1"} 1"#,
            r#"m{a:b="1"} 1"#,
            r#"m{0="1"} 1"#,
            r#"m{a="1"}"#,
            r#"m{a="\"} 1"#,
            "m\u{a0}1",
        ] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back_as_it_was_written(values in prop::collection::vec("\\PC{0,12}|[\\\\\"\n{}, ]{0,6}", 0..4), value: f64) {
            let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let written: Vec<String> =
                values.iter().enumerate().map(|(nr, value)| format!("l{nr}=\"{}\"", escaped(value))).collect();
            let line = format!("m{{{}}} {value}", written.join(","));
            let sample = Sample::parse(&line).expect("it is legal");
            prop_assert!(sample.value == value || value.is_nan() && sample.value.is_nan());
            for (nr, value) in values.iter().enumerate() {
                prop_assert_eq!(sample.label(&format!("l{nr}")), Some(value.as_str()));
            }
        }

        #[test]
        fn no_line_makes_it_panic(line in "(m|\\{|\\}|,|=|\"|\\\\|[ \t]|1|é){0,16}") {
            let _ = Sample::parse(&line);
        }
    }
}
