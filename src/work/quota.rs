//! The CPU quota of a cgroup: the tightest `cpu.max` of it and its ancestors.

use std::path::Path;

/// The lowest quota of the cgroup `inside` the hierarchy at `root` and of its ancestors, in CPUs; `None` without a
/// limit.
pub fn cpu_quota(root: &Path, inside: &Path) -> Option<f64> {
    let ancestors = inside.ancestors().map(|path| path.strip_prefix("/").unwrap_or(path));
    // The root has no cpu.max, and a cgroup may be removed meanwhile: neither limits anything.
    let texts = ancestors.filter_map(|path| std::fs::read_to_string(root.join(path).join("cpu.max")).ok());
    texts.filter_map(|text| parse(&text)).min_by(f64::total_cmp)
}

/// `max 100000` or `QUOTA PERIOD`, both in µs.
fn parse(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota_us, period_us) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period_us > 0.0).then_some(quota_us / period_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_path_applies() {
        let root = std::env::temp_dir().join(format!("vnuma-quota-{}", std::process::id()));
        std::fs::create_dir_all(root.join("batch/job")).unwrap();
        std::fs::write(root.join("batch/cpu.max"), "150000 100000\n").unwrap();
        std::fs::write(root.join("batch/job/cpu.max"), "max 100000\n").unwrap();
        assert_eq!(cpu_quota(&root, Path::new("/batch/job")), Some(1.5));
        std::fs::write(root.join("batch/job/cpu.max"), "50000 100000\n").unwrap();
        assert_eq!(cpu_quota(&root, Path::new("/batch/job")), Some(0.5));
        assert_eq!(cpu_quota(&root, Path::new("/")), None);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
