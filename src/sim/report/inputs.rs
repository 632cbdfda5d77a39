//! The inputs' digests: of each file at the end of the page, and one of all of them in a line that is printed on every sheet.

use sha2::{Digest, Sha256};

use super::page::line;
use super::Report;
use crate::html::escape;
use crate::sim::trace::Input;

/// Files up to this number are listed without a click.
const FEW: usize = 8;

/// The inputs of all runs and sweeps of a report.
pub(super) struct Inputs<'a> {
    versions: Vec<&'a str>,
    lists: Vec<&'a [Input]>,
}

impl<'a> Inputs<'a> {
    pub(super) fn of(report: &'a Report) -> Inputs<'a> {
        let mut all = Inputs { versions: Vec::new(), lists: Vec::new() };
        let runs = report.runs.iter().map(|run| (run.version.as_str(), run.inputs.as_slice()));
        let sweeps = report.sweeps.iter().map(|sweep| (sweep.version.as_str(), sweep.inputs.as_slice()));
        for (version, inputs) in runs.chain(sweeps) {
            if !all.versions.contains(&version) {
                all.versions.push(version);
            }
            if !all.lists.contains(&inputs) {
                all.lists.push(inputs);
            }
        }
        all
    }

    /// One line for each file, as `sha256sum` writes it.
    fn listed(inputs: &[Input]) -> String {
        inputs.iter().map(|input| format!("{}  {}/{}\n", input.sha256, input.table, input.name)).collect()
    }

    fn digest(&self) -> String {
        let all: String = self.lists.iter().map(|inputs| Inputs::listed(inputs)).collect();
        Sha256::digest(all).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The style that prints version and digest at the bottom of every sheet, in browsers that know margin boxes.
    pub(super) fn sheet_style(&self) -> String {
        // Only what can't end the string.
        let plain = |text: &str| text.replace(|c: char| !(c.is_ascii_alphanumeric() || " .,-+".contains(c)), "");
        let text =
            format!("vnuma-sim {}, SHA-256 of the list of inputs {}", plain(&self.versions.join(", ")), self.digest());
        format!(
            "@page {{ margin: 12mm 12mm 16mm; @bottom-left {{ content: \"{text}\"; font: 7pt sans-serif; color: #555; }} \
             @bottom-right {{ content: counter(page); font: 7pt sans-serif; color: #555; }} }}\n"
        )
    }

    /// Add the list, and its digest.
    pub(super) fn add(&self, page: &mut String) {
        line(page, "<h2>Inputs</h2>");
        for inputs in &self.lists {
            let open = if inputs.len() <= FEW { " open" } else { "" };
            line(page, &format!("<details{open}><summary>{} files, SHA-256 of each</summary>", inputs.len()));
            line(page, &format!("<pre><code>{}</code></pre></details>", escape(&Inputs::listed(inputs))));
        }
        line(page, &format!("<p>SHA-256 of this list: <code>{}</code></p>", self.digest()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_list() {
        let input =
            |name: &str| Input { table: "task_usage".to_owned(), name: name.to_owned(), sha256: "0a".to_owned() };
        let inputs = [input("a"), input("b")];
        assert_eq!(Inputs::listed(&inputs), "0a  task_usage/a\n0a  task_usage/b\n");
        // printf '0a  task_usage/a\n0a  task_usage/b\n' | sha256sum
        let wanted = "83a6c9a543728d83a5cba86423f5691397c9fbd8de4d6a2431a61c92f9f9c198";
        let all = Inputs { versions: vec!["1\"; }"], lists: vec![&inputs] };
        assert_eq!(all.digest(), wanted);
        assert!(all.sheet_style().contains(&format!("\"vnuma-sim 1 , SHA-256 of the list of inputs {wanted}\"")));
    }
}
