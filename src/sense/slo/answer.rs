//! The value of an answer: of a page in Prometheus's text format, or of Prometheus's HTTP API.

use serde::Deserialize;

use super::spec::Query;
use crate::sense::host::sample::Sample;

/// Why an answer has no value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AnswerError {
    /// No series matches.
    #[error("no series matches: check its name and labels")]
    NoSeries,
    /// Every value is NaN, as that of a quantile without requests.
    #[error("the value is NaN, as without requests")]
    NoNumber,
    /// A value that is no latency.
    #[error("the value is {0}, which is no latency")]
    Impossible(String),
    /// It isn't what Prometheus's API answers.
    #[error("the answer isn't that of Prometheus's API to a query: {0}")]
    Unreadable(String),
    /// Prometheus refused the query.
    #[error("Prometheus refuses the query: {0}")]
    Refused(String),
}

/// The largest value.
pub fn value(query: &Query, text: &str) -> Result<f64, AnswerError> {
    let values = match query {
        Query::Page { metric, labels } => page_values(metric, labels, text),
        Query::Api => api_values(text)?,
    };
    if values.is_empty() {
        return Err(AnswerError::NoSeries);
    }
    let largest = values.into_iter().filter(|value| !value.is_nan()).max_by(f64::total_cmp);
    let largest = largest.ok_or(AnswerError::NoNumber)?;
    match largest {
        0.0.. if largest.is_finite() => Ok(largest),
        // The last bucket of a histogram has no bound.
        f64::INFINITY => Ok(f64::MAX),
        _ => Err(AnswerError::Impossible(largest.to_string())),
    }
}

/// The reason in an answer by which Prometheus's API refuses a query.
pub fn refusal(text: &str) -> Option<AnswerError> {
    api_values(text).err().filter(|err| matches!(err, AnswerError::Refused(_)))
}

fn page_values(metric: &str, labels: &[(String, String)], text: &str) -> Vec<f64> {
    let samples = text.lines().filter(|line| line.starts_with(metric)).filter_map(Sample::parse);
    let matches = |sample: &Sample<'_>| {
        sample.metric == metric && labels.iter().all(|(name, value)| sample.label(name) == Some(value))
    };
    samples.filter(matches).map(|sample| sample.value).collect()
}

#[derive(Deserialize)]
struct ApiAnswer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<ApiData>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
enum ApiData {
    Vector(Vec<ApiSeries>),
    Scalar(ApiValue),
}

#[derive(Deserialize)]
struct ApiSeries {
    value: ApiValue,
}

/// Time of the evaluation, and the value as text.
#[derive(Deserialize)]
struct ApiValue(
    #[allow(dead_code, reason = "it is when Prometheus was asked, not when the value was measured")] f64,
    String,
);

fn api_values(text: &str) -> Result<Vec<f64>, AnswerError> {
    let unreadable = |why: String| AnswerError::Unreadable(why);
    let answer: ApiAnswer = serde_json::from_str(text).map_err(|err| unreadable(err.to_string()))?;
    if answer.status != "success" {
        // It becomes part of a log line.
        return Err(AnswerError::Refused(answer.error.replace(char::is_control, " ")));
    }
    let values = match answer.data.ok_or_else(|| unreadable("it has no data".to_owned()))? {
        ApiData::Vector(series) => series.into_iter().map(|series| series.value).collect(),
        ApiData::Scalar(value) => vec![value],
    };
    let number = |ApiValue(_, text): ApiValue| text.parse::<f64>().map_err(|_| unreadable(format!("'{text}'")));
    values.into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sense::slo::SloSpec;

    fn of(spec: &str, text: &str) -> Result<f64, AnswerError> {
        value(&spec.parse::<SloSpec>().unwrap().query, text)
    }

    #[test]
    fn the_largest_matching_series_of_a_page_counts() {
        let page = "# TYPE p99 gauge\np99{job=\"a\"} 0.002\np99{job=\"b\",node=\"1\"} 0.007\np99{job=\"b\"} NaN\np99_other 9\n";
        assert_eq!(of("http://h#p99<1", page), Ok(0.007));
        assert_eq!(of("http://h#p99{job=\"a\"}<1", page), Ok(0.002));
        assert_eq!(of("http://h#p99{job=\"c\"}<1", page), Err(AnswerError::NoSeries));
        assert_eq!(of("http://h#p99<1", "p99 NaN\n"), Err(AnswerError::NoNumber));
        assert_eq!(of("http://h#p99<1", "p99 +Inf\n"), Ok(f64::MAX));
        assert_eq!(of("http://h#p99<1", "p99 -1\n"), Err(AnswerError::Impossible("-1".to_owned())));
    }

    #[test]
    fn the_api_answers_with_a_vector_or_a_scalar() {
        const API: &str = "http://h/api/v1/query#x<1";
        let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"a":"b"},"value":[1.5,"0.25"]},{"metric":{},"value":[1.5,"0.5"]}]}}"#;
        assert_eq!(of(API, vector), Ok(0.5));
        assert_eq!(of(API, r#"{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}"#), Ok(3.0));
        assert_eq!(
            of(API, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
            Err(AnswerError::NoSeries)
        );
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse\nerror"}"#;
        assert_eq!(of(API, refused), Err(AnswerError::Refused("parse error".to_owned())));
        for damaged in ["", "{}", "null", r#"{"status":"success"}"#, "<html>"] {
            assert!(matches!(of(API, damaged), Err(AnswerError::Unreadable(_))), "{damaged}");
        }
    }
}
