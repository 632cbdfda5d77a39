//! Parsers of option values. Their errors name the expected form.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Shorter rounds would cost more than they could measure.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "takes a duration such as 100ms or 2s".to_string())
}

pub(super) fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < INTERVAL_MIN {
        return Err(format!("must be at least {}", humantime::format_duration(INTERVAL_MIN)));
    }
    Ok(interval)
}

/// A longer probe would be a load of its own.
const PROBE_MAX: Duration = Duration::from_millis(100);

pub(super) fn parse_probe(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        burst if (Duration::from_millis(1)..=PROBE_MAX).contains(&burst) => Ok(burst),
        _ => Err("takes a duration from 1ms to 100ms; --no-probe turns it off".into()),
    }
}

pub(super) fn parse_page_cost(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(cost) if (Duration::from_nanos(100)..=Duration::from_millis(100)).contains(&cost) => Ok(cost),
        _ => Err("takes a duration from 100ns to 100ms, such as 10us".into()),
    }
}

pub(super) fn parse_node(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "takes the number of a node, such as 1".to_string())
}

pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("takes a share from 0 to 1, such as 0.05".into()),
    }
}

pub(super) fn parse_threshold_ticks(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ticks) if ticks.is_finite() && ticks > 0.0 => Ok(ticks),
        _ => Err("takes a number of ticks above 0".into()),
    }
}

pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..1e6).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("takes a number of seconds above 0, such as 1 or 0.5".into()),
    }
}

pub(super) fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>();
    let on_loopback = port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let refused =
        |_| "takes a port, or an address of this machine and a port, such as 9100 or 0.0.0.0:9100".to_string();
    on_loopback.or_else(|_| text.parse()).map_err(refused)
}
